package policy

import (
	"slices"
	"strings"
)

// InForce is a rule as it is asked now.
type InForce struct {
	Rule
	// Check is what is asked: the default, or the override's.
	Check string
	// Overridden tells that policy.yaml has it, on Line, under the name By (the rule's own, or one of an earlier release).
	Overridden bool
	Line       int
	By         string
}

// List returns every rule in force: the defaults in their order, then what only policy.yaml defines.
func (e *Enforcer) List() []InForce {
	set := e.set.Load().rules
	out := make([]InForce, 0, len(set))
	add := func(r Rule) {
		c := set[r.Name]
		out = append(out, InForce{Rule: r, Check: c.text, Overridden: c.line > 0, Line: c.line, By: c.by})
	}
	for _, r := range e.defaults {
		add(r)
	}
	var own []string
	earlier := map[string]bool{} // names of earlier releases: their overrides are listed with the rules that they reach
	for _, r := range e.defaults {
		if r.Deprecated != nil {
			earlier[r.Deprecated.Name] = true
		}
	}
	for name := range set {
		if e.byName[name] == nil && !earlier[name] {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	for _, name := range own {
		add(Rule{Name: name})
	}
	return out
}

// Reason is a part of a check with its answer, for people.
type Reason struct {
	Text  string   `json:"text"` // as the check string has it
	OK    bool     `json:"ok"`
	Note  string   `json:"note,omitempty"` // what was compared
	Parts []Reason `json:"parts,omitempty"`
}

// Why asks rule as Check does and tells how each part of it answered.
func (e *Enforcer) Why(rule string, c *Creds, t Target) (Verdict, Reason) {
	set := e.set.Load().rules
	v := set[rule].check(c, t)
	out := Reason{Text: "rule:" + rule, OK: v.OK()}
	switch {
	case set[rule] == nil:
		out.Note = "there is no such rule, so it refuses"
	case v == WrongScope:
		out.Note = "it takes tokens of scope " + strings.Join(set[rule].scopes, " or ") + ", and this one's is " + c.Scope()
	default:
		out = e.reason(set, ruleNode(rule), c, t)
	}
	return v, out
}

func (e *Enforcer) reason(set map[string]*compiled, n node, c *Creds, t Target) Reason {
	out := Reason{Text: show(n)}
	if fn, err := compile(n, func(name string) *compiled { return set[name] }); err == nil {
		out.OK = fn(c, t)
	}
	parts := func(ns ...node) {
		for _, m := range ns {
			out.Parts = append(out.Parts, e.reason(set, m, c, t))
		}
	}
	switch n := n.(type) {
	case ruleNode:
		if r := set[string(n)]; r != nil {
			if out.Note = show(r.n); r.line > 0 {
				out.Note += " (policy.yaml)"
			}
			parts(r.n)
			if len(out.Parts[0].Parts) > 0 { // one level less to read
				out.Parts = out.Parts[0].Parts
			}
		}
	case notNode:
		parts(n.n)
	case andNode:
		parts(n...)
	case orNode:
		parts(n...)
	case leafNode:
		out.Note = compared(n, c, t)
	}
	return out
}

// compared tells which values a leaf looked at.
func compared(n leafNode, c *Creds, t Target) string {
	var notes []string
	switch n.kind {
	case "role", "roles":
		if len(c.Roles) == 0 {
			notes = append(notes, "no roles")
		} else {
			notes = append(notes, "roles are "+strings.Join(c.Roles, ", "))
		}
	case "service_roles":
		notes = append(notes, "the service token's roles are "+strings.Join(c.ServiceRoles, ", "))
	case "field":
	default:
		if get, ok := field(n.kind); ok {
			notes = append(notes, "the caller's is "+orNone(get(c)))
		}
	}
	for _, name := range leafAttributes(n) {
		if v, ok := attr(t, name); ok {
			notes = append(notes, "the target's "+name+" is "+text(v))
		} else {
			notes = append(notes, "the target has no "+name)
		}
	}
	return strings.Join(notes, "; ")
}

// show writes a tree as a check string.
func show(n node) string {
	list := func(ns []node, word string) string {
		s := make([]string, len(ns))
		for i, m := range ns {
			s[i] = show(m)
			switch m.(type) {
			case andNode, orNode:
				s[i] = "(" + s[i] + ")"
			}
		}
		return strings.Join(s, " "+word+" ")
	}
	switch n := n.(type) {
	case constNode:
		if n {
			return "@"
		}
		return "!"
	case notNode:
		switch n.n.(type) {
		case andNode, orNode:
			return "not (" + show(n.n) + ")"
		}
		return "not " + show(n.n)
	case andNode:
		return list(n, "and")
	case orNode:
		return list(n, "or")
	case ruleNode:
		return "rule:" + string(n)
	case leafNode:
		return n.kind + ":" + n.match
	}
	return "?"
}

// Attributes lists the target's attributes that rules may look at, themselves and through the rules that they name.
func (e *Enforcer) Attributes(rules ...string) []string {
	set := e.set.Load().rules
	found, seen := map[string]bool{}, map[string]bool{}
	var look func(name string)
	look = func(name string) {
		r := set[name]
		if r == nil || seen[name] {
			return
		}
		seen[name] = true
		walk(r.n, func(n node) {
			switch n := n.(type) {
			case ruleNode:
				look(string(n))
			case leafNode:
				for _, a := range leafAttributes(n) {
					found[a] = true
				}
			}
		})
	}
	for _, r := range rules {
		look(r)
	}
	out := make([]string, 0, len(found))
	for a := range found {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// Snapshot copies what rules may look at out of a target that lives only as long as its request.
func (e *Enforcer) Snapshot(t Target, rules ...string) Map {
	m := Map{}
	for _, a := range e.Attributes(rules...) {
		if v, ok := attr(t, a); ok {
			m[a] = v
		}
	}
	return m
}

func leafAttributes(n leafNode) []string {
	if n.kind == "field" {
		resource, assign, _ := strings.Cut(n.match, ":")
		name, _, _ := strings.Cut(assign, "=")
		if resource == "networks" && name == "shared" {
			return []string{name, "network:shared"}
		}
		return []string{name}
	}
	tmpl, err := parseTemplate(n.match)
	if err != nil {
		return nil
	}
	var out []string
	for _, p := range tmpl {
		if p.attr {
			out = append(out, p.text)
		}
	}
	return out
}
