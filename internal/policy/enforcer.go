package policy

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Enforcer answers for one service: rule names of different services collide (`admin_api`, `context_is_admin`), so each has its own.
// It may be asked while overrides are loaded.
type Enforcer struct {
	defaults []Rule
	byName   map[string]*Rule
	set      atomic.Pointer[map[string]*compiled]
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
	e.set.Store(&set)
	return e, nil
}

// Has reports whether a rule of that name exists, by default or by an override. A route table asks at start.
func (e *Enforcer) Has(rule string) bool { return (*e.set.Load())[rule] != nil }

// Rules returns the defaults in their order, for documents and listings.
func (e *Enforcer) Rules() []Rule { return slices.Clone(e.defaults) }

// Allowed reports whether rule grants. A rule that does not exist refuses.
func (e *Enforcer) Allowed(rule string, c *Creds, t Target) bool {
	return e.Check(rule, c, t) == Granted
}

// Check asks rule about t in the name of c. t may be nil when the rule is about no object.
func (e *Enforcer) Check(rule string, c *Creds, t Target) Verdict {
	return (*e.set.Load())[rule].check(c, t)
}

// CheckAll asks several rules at once, as the network service does with an action and the attributes that a request sets
// (`create_network`, `create_network:shared`): all must grant. The token's scope is compared with the first rule's only.
func (e *Enforcer) CheckAll(c *Creds, t Target, rules ...string) Verdict {
	set := *e.set.Load()
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
func (e *Enforcer) build(overrides []override) (map[string]*compiled, error) {
	type source struct {
		check Check
		line  int // of policy.yaml; 0 in the defaults
	}
	src := make(map[string]source, len(e.defaults)+len(overrides))
	for _, r := range e.defaults {
		ch, err := Parse(r.Check)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", r.Name, err)
		}
		src[r.Name] = source{check: ch}
	}
	byName := map[string]override{}
	for _, o := range overrides {
		src[o.name] = source{o.check, o.line}
		byName[o.name] = o
	}
	for _, r := range e.defaults {
		if o, ok := renamed(r, byName); ok {
			src[r.Name] = source{o.check, o.line}
		}
	}
	set := make(map[string]*compiled, len(src))
	for name := range src {
		set[name] = &compiled{}
		if r := e.byName[name]; r != nil {
			set[name].scopes = r.ScopeTypes
		}
	}
	names := make([]string, 0, len(src))
	for name := range src {
		names = append(names, name)
	}
	slices.Sort(names) // the same file gets the same complaint
	for _, name := range names {
		fn, err := compile(src[name].check.n, func(n string) *compiled { return set[n] })
		if err == nil {
			err = cycle(name, src[name].check.n, func(n string) node { return src[n].check.n })
		}
		if err != nil {
			if l := src[name].line; l > 0 {
				return nil, fmt.Errorf("line %d: rule %q: %w", l, name, err)
			}
			return nil, fmt.Errorf("rule %q: %w", name, err)
		}
		set[name].fn = fn
	}
	return set, nil
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

// cycle reports a rule that leads back to itself, which would recurse for ever.
func cycle(name string, n node, of func(string) node) error {
	seen := map[string]bool{}
	var walk func(node) error
	walk = func(n node) error {
		switch n := n.(type) {
		case notNode:
			return walk(n.n)
		case andNode:
			for _, m := range n {
				if err := walk(m); err != nil {
					return err
				}
			}
		case orNode:
			for _, m := range n {
				if err := walk(m); err != nil {
					return err
				}
			}
		case ruleNode:
			if string(n) == name {
				return fmt.Errorf("it leads back to itself")
			}
			if !seen[string(n)] {
				seen[string(n)] = true
				return walk(of(string(n)))
			}
		}
		return nil
	}
	return walk(n)
}
