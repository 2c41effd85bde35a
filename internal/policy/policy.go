// Package policy decides who may do what: oslo.policy's check strings compiled to closures, the rule defaults of release 2025.1
// under upstream's names, and an operator's policy.yaml over them. A check string that deployments have written for years must mean here what
// it means there; gen/golden.py computes the expected answers with upstream's own engine.
//
// It knows credentials, a target's attributes and rules. It must not know HTTP, SQL, or any service's types: a service describes its object through Target.
package policy

// Target is the object a rule is asked about, by upstream's flat attribute names: `project_id`, `target.user.domain_id`, and in
// the network service also `network:project_id` and `ext_parent:project_id`, which the implementation resolves when asked. The second
// result says whether the attribute exists: a check on an absent one refuses, one on a nil compares with the text "None", as upstream does.
type Target interface {
	Attr(name string) (any, bool)
}

// Map is a Target of ready values.
type Map map[string]any

// Attr returns the value stored under name.
func (m Map) Attr(name string) (any, bool) {
	v, ok := m[name]
	return v, ok
}

// TargetFunc makes a Target of a function, for attributes that are looked up only when a rule wants them.
type TargetFunc func(name string) (any, bool)

// Attr calls f.
func (f TargetFunc) Attr(name string) (any, bool) { return f(name) }

// Owned is a Target with an owner and nothing else: what most compute and placement rules ask about.
type Owned struct{ ProjectID, UserID string }

// Attr answers project_id, tenant_id and user_id.
func (o Owned) Attr(name string) (any, bool) {
	switch name {
	case "project_id", "tenant_id":
		return o.ProjectID, true
	case "user_id":
		return o.UserID, true
	}
	return nil, false
}

// Operation is a request that a rule guards.
type Operation struct{ Method, Path string }

// Rule is a default. Check is the release's new default alone; the older one is not or-ed to it (oslo.policy's enforce_new_defaults). ScopeTypes lists the token
// scopes that may ask at all; empty means any. A policy.yaml that still overrides the rule by a name in Deprecated is honoured.
type Rule struct {
	Name, Check, Description string
	ScopeTypes               []string
	Operations               []Operation
	Deprecated               *Deprecated
}

// Deprecated is a rule's name and check in an earlier release.
type Deprecated struct{ Name, Check string }

// Verdict is the answer to one question. Its zero value refuses.
type Verdict uint8

// The verdicts. WrongScope means that the rule was not asked because the token's scope is none of the rule's; services answer it
// with the same status as Refused but other words.
const (
	Refused Verdict = iota
	WrongScope
	Granted
)

// OK reports whether the verdict grants.
func (v Verdict) OK() bool { return v == Granted }

func (v Verdict) String() string {
	switch v {
	case Granted:
		return "granted"
	case WrongScope:
		return "wrong scope"
	}
	return "refused"
}
