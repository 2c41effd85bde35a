package policy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

type checkFunc func(c *Creds, t Target) bool

// compiled is a rule's place: rule:x holds the pointer, so that rules may name each other in any order.
type compiled struct {
	fn     checkFunc
	scopes []string
	n      node
	text   string
	line   int    // of policy.yaml; 0: the default
	by     string // the name in policy.yaml, which may be a deprecated one
}

func refuse(*Creds, Target) bool { return false }
func grant(*Creds, Target) bool  { return true }

// compile turns a tree into a closure; resolve returns the place of a named rule, nil if there is none.
func compile(n node, resolve func(name string) *compiled) (checkFunc, error) {
	switch n := n.(type) {
	case constNode:
		if n {
			return grant, nil
		}
		return refuse, nil
	case notNode:
		fn, err := compile(n.n, resolve)
		if err != nil {
			return nil, err
		}
		return func(c *Creds, t Target) bool { return !fn(c, t) }, nil
	case andNode:
		fns, err := compileAll(n, resolve)
		if err != nil {
			return nil, err
		}
		return func(c *Creds, t Target) bool {
			for _, fn := range fns {
				if !fn(c, t) {
					return false
				}
			}
			return true
		}, nil
	case orNode:
		fns, err := compileAll(n, resolve)
		if err != nil {
			return nil, err
		}
		return func(c *Creds, t Target) bool {
			for _, fn := range fns {
				if fn(c, t) {
					return true
				}
			}
			return false
		}, nil
	case ruleNode:
		r := resolve(string(n))
		if r == nil {
			return nil, fmt.Errorf("it names the rule %q, which is not defined", string(n))
		}
		return func(c *Creds, t Target) bool { return r.fn(c, t) }, nil
	case leafNode:
		return compileLeaf(n)
	}
	return nil, fmt.Errorf("unknown node %T", n)
}

func compileAll(ns []node, resolve func(string) *compiled) ([]checkFunc, error) {
	fns := make([]checkFunc, len(ns))
	for i, n := range ns {
		var err error
		if fns[i], err = compile(n, resolve); err != nil {
			return nil, err
		}
	}
	return fns, nil
}

func compileLeaf(n leafNode) (checkFunc, error) {
	if n.kind == "field" {
		return compileField(n.match)
	}
	tmpl, err := parseTemplate(n.match)
	if err != nil {
		return nil, err
	}
	if n.kind == "role" {
		if name, ok := tmpl.static(); ok {
			return func(c *Creds, _ Target) bool { return c.HasRole(name) }, nil
		}
		return func(c *Creds, t Target) bool {
			name, ok := tmpl.fill(t)
			return ok && c.HasRole(name)
		}, nil
	}
	if get, ok := field(n.kind); ok {
		return func(c *Creds, t Target) bool { return tmpl.equals(t, orNone(get(c))) }, nil
	}
	if s, ok, err := literal(n.kind); err != nil {
		return nil, err
	} else if ok {
		return func(_ *Creds, t Target) bool { return tmpl.equals(t, s) }, nil
	}
	switch n.kind {
	case "is_admin":
		return func(c *Creds, t Target) bool { return tmpl.equals(t, text(c.IsAdmin)) }, nil
	case "system":
		// oslo.policy copies a set system_scope to `system`, and adds no such key otherwise.
		return func(c *Creds, t Target) bool { return c.SystemScope != "" && tmpl.equals(t, c.SystemScope) }, nil
	case "roles", "service_roles":
		get := func(c *Creds) []string { return c.Roles }
		if n.kind == "service_roles" {
			get = func(c *Creds) []string { return c.ServiceRoles }
		}
		return func(c *Creds, t Target) bool {
			for _, r := range get(c) {
				if tmpl.equals(t, r) {
					return true
				}
			}
			return false
		}, nil
	}
	path := strings.Split(n.kind, ".")
	return func(c *Creds, t Target) bool {
		if len(c.Values) == 0 && n.kind != "is_admin_project" {
			return false
		}
		want, ok := tmpl.fill(t)
		if !ok {
			return false
		}
		if _, set := c.Values[path[0]]; !set && n.kind == "is_admin_project" {
			return want == "True" // oslo.context's default
		}
		return find(c.Values, path, want)
	}, nil
}

// literal reads a kind that is a constant, as Python's literal_eval would, and returns its text.
func literal(kind string) (string, bool, error) {
	switch kind {
	case "True", "False", "None":
		return kind, true, nil
	}
	if q := kind[0]; q == '\'' || q == '"' {
		if len(kind) < 2 || kind[len(kind)-1] != q || strings.ContainsAny(kind[1:len(kind)-1], `\`+string(q)) {
			return "", false, fmt.Errorf("%s is not a plain quoted text", kind)
		}
		return kind[1 : len(kind)-1], true, nil
	}
	if i, err := strconv.ParseInt(kind, 10, 64); err == nil && strconv.FormatInt(i, 10) == kind {
		return kind, true, nil
	}
	return "", false, nil
}

// compileField reads `networks:shared=True`, neutron's check on an attribute's value (neutron/policy.py, FieldCheck). A value with a
// leading ~ is a regular expression anchored at its start. `networks:shared` on an object that has no such attribute asks its network's.
func compileField(match string) (checkFunc, error) {
	resource, assign, ok := strings.Cut(match, ":")
	name, want, ok2 := strings.Cut(assign, "=")
	if !ok || !ok2 {
		return nil, fmt.Errorf("field:%s is not of the form field:resource:attribute=value", match)
	}
	compare := func(v any) bool { return sameField(v, want) }
	if expr, ok := strings.CutPrefix(want, "~"); ok {
		re, err := regexp.Compile(`\A(?:` + expr + `)`)
		if err != nil {
			return nil, fmt.Errorf("field:%s: %w", match, err)
		}
		compare = func(v any) bool {
			s, ok := v.(string)
			return ok && re.MatchString(s)
		}
	}
	parent := ""
	if resource == "networks" && name == "shared" {
		parent = "network:shared"
	}
	return func(_ *Creds, t Target) bool {
		v, ok := attr(t, name)
		if !ok && parent != "" {
			v, ok = attr(t, parent)
		}
		return ok && v != nil && compare(v)
	}, nil
}

// sameField compares with the value's own type, as the attribute map's conversion does upstream.
func sameField(v any, want string) bool {
	if b, ok := v.(bool); ok {
		switch strings.ToLower(want) {
		case "true", "1":
			return b
		case "false", "0":
			return !b
		}
		return false
	}
	return equalText(v, want)
}
