package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
)

// Enforcer answers for one service: rule names of different services collide (`admin_api`, `context_is_admin`), so each has its own.
// It may be asked while overrides are loaded.
type Enforcer struct {
	defaults []Rule
	byName   map[string]*Rule
	set      atomic.Pointer[ruleset]
}

// ruleset is the rules in force, as one file made them.
type ruleset struct {
	rules   map[string]*compiled
	loaded  int64    // which load made it, counted from 1
	unknown []string // names that the file defines and nothing asks
}

// New builds an enforcer from defaults. Token scopes are enforced, as 2025.1 does.
func New(defaults ...[]Rule) (*Enforcer, error) {
	e := &Enforcer{byName: map[string]*Rule{}}
	e.defaults = slices.Concat(defaults...)
	for i := range e.defaults {
		r := &e.defaults[i]
		if e.byName[r.Name] != nil {
			return nil, fmt.Errorf("policy rule %q is defined twice", r.Name)
		}
		e.byName[r.Name] = r
	}
	set, err := e.build(nil)
	if err != nil {
		return nil, err
	}
	set.loaded = 1
	e.set.Store(set)
	return e, nil
}

// Has reports whether a rule of that name exists, by default or by an override. A route table asks at start.
func (e *Enforcer) Has(rule string) bool { return e.set.Load().rules[rule] != nil }

// Scopes are the token scopes that a rule takes; none means any.
func (e *Enforcer) Scopes(rule string) []string {
	if r := e.byName[rule]; r != nil {
		return r.ScopeTypes
	}
	return nil
}

// Loaded counts the loads of rules: what somebody derived from the rules' names or checks is void when it has moved.
func (e *Enforcer) Loaded() int64 { return e.set.Load().loaded }

// Unknown lists the names that the overrides define though no default has them, no earlier release had them and no other rule refers
// to them: most likely they are misspelt.
func (e *Enforcer) Unknown() []string { return slices.Clone(e.set.Load().unknown) }

// Rules returns the defaults in their order, for documents and listings.
func (e *Enforcer) Rules() []Rule { return slices.Clone(e.defaults) }

// Allowed reports whether rule grants. A rule that does not exist refuses.
func (e *Enforcer) Allowed(rule string, c *Creds, t Target) bool {
	return e.Check(rule, c, t) == Granted
}

// Check asks rule about t in the name of c. t may be nil when the rule is about no object.
func (e *Enforcer) Check(rule string, c *Creds, t Target) Verdict {
	return e.set.Load().rules[rule].check(c, t)
}

// CheckAll asks several rules at once, as the network service does with an action and the attributes that a request sets
// (`create_network`, `create_network:shared`): all must grant. The token's scope is compared with the first rule's only.
func (e *Enforcer) CheckAll(c *Creds, t Target, rules ...string) Verdict {
	set := e.set.Load().rules
	for i, name := range rules {
		r := set[name]
		if i == 0 {
			if v := r.check(c, t); v != Granted {
				return v
			}
		} else if r == nil || !r.fn(c, t) {
			return Refused
		}
	}
	if len(rules) == 0 {
		return Refused
	}
	return Granted
}

func (r *compiled) check(c *Creds, t Target) Verdict {
	if r == nil || c == nil {
		return Refused
	}
	if len(r.scopes) > 0 && !slices.Contains(r.scopes, c.Scope()) {
		return WrongScope
	}
	if r.fn(c, t) {
		return Granted
	}
	return Refused
}

// build compiles the defaults with overrides on top.
func (e *Enforcer) build(overrides []override) (*ruleset, error) {
	src := make(map[string]*compiled, len(e.defaults)+len(overrides))
	for i := range e.defaults {
		r := &e.defaults[i]
		ch, err := Parse(r.Check)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", r.Name, err)
		}
		src[r.Name] = &compiled{n: ch.n, text: r.Check, scopes: r.ScopeTypes}
	}
	put := func(name string, o override) {
		c := &compiled{n: o.check.n, text: o.text, line: o.line, by: o.name}
		if r := e.byName[name]; r != nil {
			c.scopes = r.ScopeTypes
		}
		src[name] = c
	}
	byName := map[string]override{}
	for _, o := range overrides {
		put(o.name, o)
		byName[o.name] = o
	}
	for i := range e.defaults {
		if o, ok := renamed(e.defaults[i], byName); ok {
			put(e.defaults[i].Name, o)
		}
	}
	names := slices.Sorted(maps.Keys(src)) // the same file gets the same complaint
	for _, name := range names {
		c := src[name]
		fn, err := compile(c.n, func(n string) *compiled { return src[n] })
		if err == nil {
			err = cycle(name, c.n, func(n string) node { return src[n].n })
		}
		if err != nil {
			if c.line > 0 {
				return nil, fmt.Errorf("line %d: rule %q: %w", c.line, name, err)
			}
			return nil, fmt.Errorf("rule %q: %w", name, err)
		}
		c.fn = fn
	}
	return &ruleset{rules: src, unknown: e.unknown(overrides, src)}, nil
}

// unknown finds the names of a file that nothing can ask.
func (e *Enforcer) unknown(overrides []override, src map[string]*compiled) []string {
	known := map[string]bool{}
	for _, r := range e.defaults {
		known[r.Name] = true
		if r.Deprecated != nil {
			known[r.Deprecated.Name] = true
		}
	}
	for _, c := range src {
		walk(c.n, func(n node) {
			if r, ok := n.(ruleNode); ok {
				known[string(r)] = true
			}
		})
	}
	var out []string
	for _, o := range overrides {
		// get_network:mtu is a rule about an attribute, which the network service asks whether or not a default has it.
		of, _, attribute := strings.Cut(o.name, ":")
		if !known[o.name] && !(attribute && e.byName[of] != nil) {
			out = append(out, o.name)
		}
	}
	return out
}

// renamed returns the override that reaches r by its earlier name: it counts unless the file has the new name too, the text is the
// earlier default, or it only points at the new rule, as generated sample files do (oslo_policy/policy.py, _handle_deprecated_rule).
func renamed(r Rule, byName map[string]override) (override, bool) {
	d := r.Deprecated
	if d == nil || d.Name == r.Name {
		return override{}, false
	}
	o, ok := byName[d.Name]
	if _, both := byName[r.Name]; !ok || both || o.text == d.Check || o.text == "rule:"+r.Name {
		return override{}, false
	}
	return o, true
}

// walk visits every node of a tree.
func walk(n node, visit func(node)) {
	visit(n)
	switch n := n.(type) {
	case notNode:
		walk(n.n, visit)
	case andNode:
		for _, m := range n {
			walk(m, visit)
		}
	case orNode:
		for _, m := range n {
			walk(m, visit)
		}
	}
}

// cycle reports a rule that leads back to itself, which would recurse for ever.
func cycle(name string, n node, of func(string) node) error {
	seen := map[string]bool{}
	var back bool
	var look func(node)
	look = func(n node) {
		walk(n, func(n node) {
			r, ok := n.(ruleNode)
			switch {
			case !ok || back:
			case string(r) == name:
				back = true
			case !seen[string(r)]:
				seen[string(r)] = true
				look(of(string(r)))
			}
		})
	}
	if look(n); back {
		return fmt.Errorf("it leads back to itself")
	}
	return nil
}
