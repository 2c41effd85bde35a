package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity"
	"github.com/hanok-cloud/hanok/internal/policy"
	"github.com/hanok-cloud/hanok/internal/policylog"
)

// PolicyRule is a rule as `hanok policy list` shows it.
type PolicyRule struct {
	Service    string   `json:"service"`
	Name       string   `json:"name"`
	Check      string   `json:"check"`
	Default    string   `json:"default"`
	Overridden bool     `json:"overridden"`
	Line       int      `json:"line,omitempty"`
	By         string   `json:"by,omitempty"` // the earlier name by which policy.yaml overrides it
	Scopes     []string `json:"scopes,omitempty"`
	Operations []string `json:"operations,omitempty"`
}

func (r PolicyRule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Name)
	check := r.Check
	if check == "" {
		check = "@ (everybody)"
	}
	fmt.Fprintf(&b, "  check       %s\n", check)
	if r.Overridden {
		by := ""
		if r.By != "" && r.By != r.Name {
			by = " as " + r.By
		}
		fmt.Fprintf(&b, "  overridden  line %d of %s.yaml%s\n", r.Line, r.Service, by)
		if r.Default != "" {
			fmt.Fprintf(&b, "  default     %s\n", r.Default)
		}
	}
	if len(r.Scopes) > 0 {
		fmt.Fprintf(&b, "  scopes      %s\n", strings.Join(r.Scopes, ", "))
	}
	for _, o := range r.Operations {
		fmt.Fprintf(&b, "  %s\n", o)
	}
	return b.String()
}

// PolicyQuestion is what `hanok policy check` asks.
type PolicyQuestion struct {
	Who           identity.Who
	Service, Rule string
	// Target is the object's attributes; without a project_id of its own it is the caller's.
	Target map[string]string
}

// PolicyAnswer is the verdict and why.
type PolicyAnswer struct {
	Service string        `json:"service"`
	Rule    string        `json:"rule"`
	User    string        `json:"user"`
	Scope   string        `json:"scope"`
	Roles   []string      `json:"roles"`
	Target  policy.Map    `json:"target"`
	Verdict string        `json:"verdict"`
	Granted bool          `json:"granted"`
	Why     policy.Reason `json:"why"`
	Passing []string      `json:"passing"`
}

func (a PolicyAnswer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s\n", a.Rule, a.Service, a.Verdict)
	fmt.Fprintf(&b, "user    %s, %s\nroles   %s\n", a.User, a.Scope, orNobody(a.Roles, "none"))
	fmt.Fprintf(&b, "target  %s\nwhy\n", showTarget(a.Target))
	showReason(&b, a.Why, "  ")
	fmt.Fprintf(&b, "passes  %s\n", orNobody(a.Passing, "nobody"))
	return b.String()
}

// PolicyExplanation is why a request was refused.
type PolicyExplanation struct {
	Refusal api.Refusal    `json:"refusal"`
	Asked   []PolicyAnswer `json:"asked"`
	Passing []string       `json:"passing"`
	// Changed tells that the rules in force now would let the request pass.
	Changed bool `json:"changed"`
}

func (x PolicyExplanation) String() string {
	var b strings.Builder
	f := x.Refusal
	fmt.Fprintf(&b, "%s  %s\n%s %s (%s) was answered %d", f.RequestID, f.At.UTC().Format(time.RFC3339), f.Method, f.Path, f.Service, f.Status)
	if f.Status == http.StatusNotFound {
		b.WriteString(", which hides that policy refused")
	}
	fmt.Fprintf(&b, "\nuser    %s (%s), %s\nroles   %s\ntarget  %s\n", f.UserName, f.UserID, scopeOf(f.Creds()), orNobody(f.Roles, "none"), showTarget(f.Target))
	for _, a := range x.Asked {
		fmt.Fprintf(&b, "%s: %s\n", a.Rule, a.Verdict)
		showReason(&b, a.Why, "  ")
	}
	fmt.Fprintf(&b, "passes  %s\n", orNobody(x.Passing, "nobody"))
	if x.Changed {
		b.WriteString("note    the rules have changed since: this request would pass now\n")
	}
	return b.String()
}

func orNobody(l []string, empty string) string {
	if len(l) == 0 {
		return empty
	}
	return strings.Join(l, "; ")
}

func showTarget(t policy.Map) string {
	var parts []string
	for _, k := range sortedKeys(t) {
		v := t[k]
		if v == nil {
			v = "None"
		}
		parts = append(parts, fmt.Sprintf("%s=%v", k, v))
	}
	return orNobody(parts, "nothing that the rule looks at")
}

func showReason(b *strings.Builder, r policy.Reason, indent string) {
	mark := "no "
	if r.OK {
		mark = "yes"
	}
	fmt.Fprintf(b, "%s%s %s", indent, mark, r.Text)
	if r.Note != "" {
		fmt.Fprintf(b, "   (%s)", r.Note)
	}
	b.WriteByte('\n')
	for _, p := range r.Parts {
		showReason(b, p, indent+"  ")
	}
}

func scopeOf(c *policy.Creds) string {
	switch {
	case c.SystemScope != "":
		return "on the system"
	case c.DomainID != "":
		return "on domain " + c.DomainID
	case c.ProjectID != "":
		return "on project " + c.ProjectID
	}
	return "without a scope"
}

// policyControl answers the policy commands for services, on a database.
type policyControl struct {
	services []*api.Service
	identity *identity.Service
	db       *db.DB
	refusals *policylog.Log
}

func (c *controller) policyControl() *policyControl {
	return &policyControl{services: c.services, identity: c.identity, db: c.db, refusals: c.refusals}
}

func (p *policyControl) routes(mux *http.ServeMux) {
	if p == nil {
		return
	}
	mux.HandleFunc("GET /policy/list", func(w http.ResponseWriter, r *http.Request) {
		out, err := listPolicies(p.services, r.FormValue("service"))
		answer(w, out, err)
	})
	mux.HandleFunc("GET /policy/check", func(w http.ResponseWriter, r *http.Request) {
		q, err := questionOf(r.URL.Query())
		if err != nil {
			answer(w, nil, err)
			return
		}
		out, err := p.check(r.Context(), q)
		answer(w, out, err)
	})
	mux.HandleFunc("GET /policy/explain", func(w http.ResponseWriter, r *http.Request) {
		out, err := p.explain(r.Context(), r.FormValue("request"))
		answer(w, out, err)
	})
}

func listPolicies(services []*api.Service, service string) ([]PolicyRule, error) {
	var out []PolicyRule
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
		if service != "" && s.Name != service {
			continue
		}
		for _, r := range s.Policy.List() {
			p := PolicyRule{Service: s.Name, Name: r.Name, Check: r.Check, Default: r.Rule.Check, Overridden: r.Overridden, Line: r.Line, By: r.By, Scopes: r.ScopeTypes}
			for _, o := range r.Operations {
				p.Operations = append(p.Operations, o.Method+" "+o.Path)
			}
			out = append(out, p)
		}
	}
	if out == nil {
		return nil, fmt.Errorf("there is no service %s; there are %s", service, strings.Join(names, ", "))
	}
	return out, nil
}

func (q PolicyQuestion) values() url.Values {
	v := url.Values{"service": {q.Service}, "rule": {q.Rule}, "user": {q.Who.User}, "user_domain": {q.Who.UserDomain}, "project": {q.Who.Project},
		"project_domain": {q.Who.ProjectDomain}, "domain": {q.Who.Domain}}
	if q.Who.System {
		v.Set("system", "all")
	}
	for k, x := range q.Target {
		v.Add("target", k+"="+x)
	}
	return v
}

func questionOf(v url.Values) (PolicyQuestion, error) {
	q := PolicyQuestion{Service: v.Get("service"), Rule: v.Get("rule"), Target: map[string]string{}, Who: identity.Who{User: v.Get("user"),
		UserDomain: v.Get("user_domain"), Project: v.Get("project"), ProjectDomain: v.Get("project_domain"), Domain: v.Get("domain"), System: v.Get("system") != ""}}
	for _, t := range v["target"] {
		k, x, ok := strings.Cut(t, "=")
		if !ok {
			return q, fmt.Errorf("target %q is not of the form attribute=value", t)
		}
		q.Target[k] = x
	}
	return q, nil
}

func (p *policyControl) check(ctx context.Context, q PolicyQuestion) (PolicyAnswer, error) {
	s, err := enforcer(p.services, q.Service, q.Rule)
	if err != nil {
		return PolicyAnswer{}, err
	}
	c, err := p.identity.CallerOf(ctx, q.Who)
	if err != nil {
		return PolicyAnswer{}, err
	}
	all := policy.Map{"project_id": c.ProjectID, "tenant_id": c.ProjectID, "owner": c.ProjectID, "user_id": c.UserID}
	for k, v := range q.Target {
		all[k] = v
		if k == "project_id" {
			all["tenant_id"], all["owner"] = v, v
		}
	}
	target := s.Policy.Snapshot(all, q.Rule)
	a := ask1(s, q.Rule, c.Creds, target)
	a.User = c.UserName + " (" + c.UserID + ")"
	return a, nil
}

func ask1(s *api.Service, rule string, c *policy.Creds, target policy.Map) PolicyAnswer {
	v, why := s.Policy.Why(rule, c, target)
	return PolicyAnswer{Service: s.Name, Rule: rule, User: c.UserID, Scope: scopeOf(c), Roles: c.Roles, Target: target, Verdict: v.String(), Granted: v.OK(),
		Why: why, Passing: s.Policy.Passing(target, rule)}
}

func (p *policyControl) explain(ctx context.Context, requestID string) (PolicyExplanation, error) {
	if err := p.refusals.Flush(ctx); err != nil {
		return PolicyExplanation{}, err
	}
	var x PolicyExplanation
	found := false
	err := p.db.Read(ctx, func(tx *db.Tx) (err error) {
		x.Refusal, found, err = policylog.Find(tx, requestID)
		return err
	})
	if err != nil {
		return x, err
	}
	if !found {
		return x, fmt.Errorf("no request %s was refused by policy lately: it may have been answered 401 (no valid token), have failed for another reason, or be too long ago", requestID)
	}
	for _, s := range p.services {
		if s.Name != x.Refusal.Service {
			continue
		}
		x.Changed = s.Policy.CheckAll(x.Refusal.Creds(), x.Refusal.Target, x.Refusal.Rules...).OK()
		for _, rule := range x.Refusal.Rules {
			x.Asked = append(x.Asked, ask1(s, rule, x.Refusal.Creds(), x.Refusal.Target))
		}
		x.Passing = s.Policy.Passing(x.Refusal.Target, x.Refusal.Rules...)
	}
	return x, nil
}

// PolicyList asks the running cloud for its rules; without one it reads what the next start would use.
func PolicyList(ctx context.Context, paths Paths, service string) ([]PolicyRule, error) {
	var out []PolicyRule
	err := ask(ctx, paths, "GET", "/policy/list?service="+url.QueryEscape(service), &out)
	if !errors.Is(err, ErrNotRunning) {
		return out, err
	}
	services, err := defaultServices()
	if err != nil {
		return nil, err
	}
	if _, err := newPolicies(policyDir, services, newLogger(config.Default())); err != nil {
		return nil, err
	}
	return listPolicies(services, service)
}

// defaultServices are the services as far as their rules go.
func defaultServices() ([]*api.Service, error) {
	var out []*api.Service
	for _, s := range []struct {
		name  string
		rules func() []policy.Rule
	}{{"identity", identity.Rules}, {"image", policy.Glance}, {"placement", policy.Placement}, {"network", policy.Neutron}, {"compute", policy.Nova}} {
		e, err := policy.New(s.rules())
		if err != nil {
			return nil, err
		}
		out = append(out, &api.Service{Name: s.name, Policy: e})
	}
	return out, nil
}

// PolicyFiles tells of each policy file whether it can be read, and what in it is no rule.
func PolicyFiles() ([]PolicyState, error) {
	services, err := defaultServices()
	if err != nil {
		return nil, err
	}
	var out []PolicyState
	for _, s := range services {
		f := policyFile{service: s.Name, name: filepath.Join(policyDir, s.Name+".yaml"), rules: s.Policy}
		if stampOf(f.name) == "" {
			continue
		}
		state := PolicyState{Service: s.Name, File: f.name}
		if err := f.load(); err != nil {
			state.Error = err.Error()
		}
		state.Rules, state.Unknown = overridden(s.Policy), s.Policy.Unknown()
		out = append(out, state)
	}
	return out, nil
}

// PolicyCheck asks a rule in the name of a user: through the running cloud, or in its database when none runs.
func PolicyCheck(ctx context.Context, c *config.Config, paths Paths, q PolicyQuestion) (PolicyAnswer, error) {
	var out PolicyAnswer
	err := ask(ctx, paths, "GET", "/policy/check?"+q.values().Encode(), &out)
	if !errors.Is(err, ErrNotRunning) {
		return out, err
	}
	err = offline(ctx, c, paths, func(ctl *controller) (err error) {
		out, err = ctl.policyControl().check(ctx, q)
		return err
	})
	return out, err
}

// PolicyExplain says why a request was refused.
func PolicyExplain(ctx context.Context, c *config.Config, paths Paths, requestID string) (PolicyExplanation, error) {
	var out PolicyExplanation
	err := ask(ctx, paths, "GET", "/policy/explain?request="+url.QueryEscape(requestID), &out)
	if !errors.Is(err, ErrNotRunning) {
		return out, err
	}
	err = offline(ctx, c, paths, func(ctl *controller) (err error) {
		out, err = ctl.policyControl().explain(ctx, requestID)
		return err
	})
	return out, err
}

func sortedKeys(m policy.Map) []string { return slices.Sorted(maps.Keys(m)) }
