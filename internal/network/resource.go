package network

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// object is a loaded resource.
type object interface {
	std() *standard
	doc() doc // all attributes; what the caller may not see is taken out later
}

// resource is one kind of Neutron's objects: its attribute map and what its rules do with it. The handlers of all kinds are the same.
type resource struct {
	name       string // security_group
	collection string // security_groups
	member     string // what one is called in bodies; empty: the name
	path       string // security-groups; empty: the collection
	table      string
	notFound   func(id string) *fault.Error
	attrs      []attr
	byName     map[string]*attr
	// shareable names the rbac object type of kinds that have a computed attribute shared.
	shareable string
	// guarded kinds answer a refused change with 404 to those whom they are shared with: upstream fetches them for policy without the attribute
	// shared (neutron/pecan_wsgi/hooks/policy_enforcement.py, fetch_resource).
	guarded bool
	// parent is the column of the object whose owner has a say: network_id, security_group_id.
	parent string
	// nested kinds live below an object of another kind; nil: they have paths of their own.
	nested *nested
	// scope limits a query to what the caller may know of; nil: what its project owns.
	scope func(w *db.Where, c *call)
	// filters add conditions for query parameters that are no plain columns.
	filters map[string]func(w *db.Where, c *call, values []string) error
	// quota is the quota's name; empty: none.
	quota string

	load   func(c *call, ids []string) ([]object, error)
	create func(c *call, v values) (object, error)
	update func(c *call, o object, v values) (object, error) // nil: not offered
	remove func(c *call, o object) error
	// beforeList may look after what a list promises (the default security group); it runs outside of a transaction.
	beforeList func(ctx context.Context, s *Service, r *api.Request) error
	// bulk checks a whole bulk request; nil: nothing to check.
	bulk func(c *call, all []values) error
	// checkCreate asks about the parent before policy (upstream's ownership hook); nil: nothing.
	checkCreate func(c *call, v values) error
}

// nested says below which kind a kind lives: /floatingips/{parent}/port_forwardings. The column, which is also an attribute, holds the parent's id.
// Rules of nested kinds have the parent in their name, and ask about its owner as ext_parent.
type nested struct {
	below  *resource
	column string
}

func (r *resource) attr(name string) *attr { return r.byName[name] }

// key is what one object is called in bodies.
func (r *resource) key() string {
	if r.member != "" {
		return r.member
	}
	return r.name
}

func (r *resource) urlPath() string {
	if r.nested != nil {
		return r.nested.below.urlPath() + "/{parent}/" + r.collection
	}
	if r.path != "" {
		return r.path
	}
	return r.collection
}

// call is one request inside a transaction.
type call struct {
	s         *Service
	tx        *db.Tx
	r         *api.Request
	caller    *api.Caller
	creds     *policy.Creds
	admin     bool
	serves    bool // a service of the cloud, which knows of everybody's objects
	projectID string
	nets      map[string]*network // looked up for policy
	parents   map[string]parent   // see parentNetwork
	internal  bool                // the service itself acts: no quota, no owner checks
}

func (s *Service) call(tx *db.Tx, r *api.Request, caller *api.Caller) *call {
	c := &call{s: s, tx: tx, r: r, caller: caller, creds: &policy.Creds{}}
	if caller != nil {
		c.projectID = caller.ProjectID
		if caller.Creds != nil {
			c.creds = caller.Creds
		}
	}
	c.admin = s.policy.Allowed("context_is_admin", c.creds, nil)
	// neutron_lib/context.py, is_service_role
	c.serves = s.policy.Allowed("service_api", c.creds, nil) || s.policy.Allowed("context_is_advsvc", c.creds, nil)
	return c
}

// rule is what is asked for an action: a name that nobody defines stands for the rule named default (oslo_policy/policy.py, Rules.__missing__).
func (s *Service) rule(name string) string {
	if s.policy.Has(name) {
		return name
	}
	return "default"
}

// routes are the handlers of a kind.
func (s *Service) resourceRoutes(r *resource) []api.Route {
	base := "/v2.0/" + r.urlPath()
	get, create, update, remove := s.rule("get_"+r.name), s.rule("create_"+r.name), s.rule("update_"+r.name), s.rule("delete_"+r.name)
	routes := []api.Route{
		api.Handle("GET", base, api.Object(get), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (*api.List, error) {
			return s.list(ctx, q, r)
		}),
		api.Handle("GET", base+"/{id}", api.Object(get), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			return s.show(ctx, q, r, q.Path("id"))
		}),
		api.Handle("DELETE", base+"/{id}", api.Object(remove), http.StatusNoContent, func(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
			return api.None{}, s.delete(ctx, q, r, q.Path("id"))
		}),
	}
	if r.create != nil {
		routes = append(routes, api.Handle("POST", base, api.Object(create), http.StatusCreated, func(ctx context.Context, q *api.Request, in map[string]any) (api.JSON, error) {
			return s.create(ctx, q, r, in)
		}))
	}
	if r.update != nil {
		routes = append(routes, api.Handle("PUT", base+"/{id}", api.Object(update), http.StatusOK, func(ctx context.Context, q *api.Request, in map[string]any) (api.JSON, error) {
			return s.change(ctx, q, r, q.Path("id"), in)
		}))
	}
	return routes
}

// show answers GET of one object.
func (s *Service) show(ctx context.Context, q *api.Request, r *resource, id string) (api.JSON, error) {
	q.Asked()
	var out api.JSON
	err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		o, shared, err := c.findNested(r, id)
		if err != nil {
			return err
		}
		t := c.target(r, o.std().ProjectID, shared, o)
		if !s.policy.Allowed("get_"+r.name, c.creds, t) {
			q.Denied(t, "get_"+r.name)
			return resourceNotFound()
		}
		out, err = c.render(r, o, shared, q.Query()["fields"])
		return err
	})
	return out, err
}

// find loads an object that the caller may know of.
func (c *call) find(r *resource, id string) (object, bool, error) {
	w := &db.Where{}
	w.Add("t.id = ?", id)
	c.scoped(r, w)
	return c.findWhere(r, id, w)
}

// findNested is find for what the request's path names: a nested object has to belong to the parent there, which the caller has to know.
func (c *call) findNested(r *resource, id string) (object, bool, error) {
	if r.nested == nil {
		return c.find(r, id)
	}
	parent := c.r.Path("parent")
	if _, _, err := c.find(r.nested.below, parent); err != nil {
		return nil, false, err
	}
	w := &db.Where{}
	w.Add("t.id = ?", id).Add("t."+r.nested.column+" = ?", parent)
	return c.findWhere(r, id, w)
}

// findAny loads an object, whoever asks.
func (c *call) findAny(r *resource, id string) (object, bool, error) {
	w := &db.Where{}
	w.Add("t.id = ?", id)
	return c.findWhere(r, id, w)
}

func (c *call) findWhere(r *resource, id string, w *db.Where) (object, bool, error) {
	sharedExpr := c.sharedExpr(r, w)
	shared, err := db.One(c.tx, db.Value[bool], `SELECT `+sharedExpr+` FROM `+r.table+` t`+w.SQL(), w.Args()...)
	if errors.Is(err, db.ErrNotFound) {
		if o, err := c.one(r, id); err == nil { // it is there, for others
			c.denied(c.target(r, o.std().ProjectID, false, o), "get_"+r.name)
		}
		return nil, false, r.notFound(id)
	}
	if err != nil {
		return nil, false, err
	}
	o, err := c.one(r, id)
	return o, shared, err
}

// one loads an object by id, whoever owns it.
func (c *call) one(r *resource, id string) (object, error) {
	os, err := r.load(c, []string{id})
	if err != nil {
		return nil, err
	}
	if len(os) == 0 {
		return nil, r.notFound(id)
	}
	return os[0], nil
}

func (c *call) scoped(r *resource, w *db.Where) {
	if c.admin || c.serves || c.internal {
		return
	}
	if r.scope == nil {
		w.Add("t.project_id = ?", c.projectID)
		return
	}
	r.scope(w, c)
}

// sharedExpr tells in SQL whether the object is shared with the caller.
func (c *call) sharedExpr(r *resource, w *db.Where) string {
	switch r.shareable {
	case "":
		return "FALSE"
	case "subnet":
		return `EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'network' AND p.object_id = t.network_id AND p.action = 'access_as_shared' AND p.target_project IN ('*', ` + w.Arg(c.projectID) + `))`
	}
	return `EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = '` + r.shareable + `' AND p.object_id = t.id AND p.action = 'access_as_shared' AND p.target_project IN ('*', ` + w.Arg(c.projectID) + `))`
}

// sharedScope is the scope of kinds that rbac policies open to other projects.
func sharedScope(objectType string) func(w *db.Where, c *call) {
	return func(w *db.Where, c *call) {
		w.Add(`t.project_id = ? OR EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = '`+objectType+`' AND p.object_id = t.id AND p.target_project IN ('*', ?))`,
			c.projectID, c.projectID)
	}
}

func (c *call) render(r *resource, o object, shared bool, fields []string) (api.JSON, error) {
	v := c.view(r, o.std().ProjectID, shared, o, fields)
	b, err := c.encode(r, o, v)
	if err != nil {
		return nil, err
	}
	return wrap(r.key(), b), nil
}

func wrap(key string, b []byte) api.JSON {
	out := make([]byte, 0, len(b)+len(key)+6)
	out = append(out, `{"`...)
	out = append(out, key...)
	out = append(out, `":`...)
	out = append(out, b...)
	return append(out, '}')
}

// bodies takes the object or the list of objects out of a POST body.
func (r *resource) bodies(in map[string]any) (all []map[string]any, bulk bool, err error) {
	if l, ok := in[r.collection]; ok {
		items, _ := l.([]any)
		if len(items) == 0 {
			return nil, true, httpBadRequest("Resources required")
		}
		for _, i := range items {
			m, ok := i.(map[string]any)
			if !ok {
				return nil, true, httpBadRequest("Object '%s' contains invalid data", r.key())
			}
			all = append(all, m)
		}
		return all, true, nil
	}
	one, err := r.body(in)
	return []map[string]any{one}, false, err
}

func (r *resource) body(in map[string]any) (map[string]any, error) {
	v, ok := in[r.key()]
	if !ok {
		return nil, httpBadRequest("Unable to find '%s' in request body", r.key())
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, httpBadRequest("Object '%s' contains invalid data", r.key())
	}
	return m, nil
}

// create answers POST: one object or, with the collection's key, several in one transaction.
func (s *Service) create(ctx context.Context, q *api.Request, r *resource, in map[string]any) (api.JSON, error) {
	q.Asked()
	items, bulk, err := r.bodies(in)
	if err != nil {
		return nil, err
	}
	c := s.call(nil, q, q.Caller)
	all := make([]values, len(items))
	for i, m := range items {
		if all[i], err = r.prepare(c, m, true); err != nil {
			return nil, err
		}
	}
	var out api.JSON
	err = s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		docs := make([][]byte, 0, len(all))
		// The closure may run again: it must not find what it changed in the values.
		work := make([]values, len(all))
		for i := range all {
			work[i] = cloneValues(all[i])
			if r.nested != nil {
				work[i][r.nested.column] = q.Path("parent")
			}
			if r.checkCreate != nil {
				if err := r.checkCreate(c, work[i]); err != nil {
					return err
				}
			}
			if err := c.mayCreate(r, work[i]); err != nil {
				return err
			}
		}
		if r.nested != nil { // the rule has asked whose the parent is, of one that is not there, too
			if _, _, err := c.findAny(r.nested.below, q.Path("parent")); err != nil {
				return err
			}
		}
		if err := c.checkQuota(r, work); err != nil {
			return err
		}
		if r.bulk != nil && bulk {
			if err := r.bulk(c, work); err != nil {
				return err
			}
		}
		for _, v := range work {
			o, err := r.create(c, v)
			if err != nil {
				return err
			}
			shared := v.bool("shared") && r.shareable != ""
			b, err := c.encode(r, o, c.view(r, o.std().ProjectID, shared, o, q.Query()["fields"]))
			if err != nil {
				return err
			}
			docs = append(docs, b)
		}
		if bulk {
			out = api.ListJSON(r.collection, docs, nil)
		} else {
			out = wrap(r.key(), docs[0])
		}
		return nil
	})
	return out, err
}

func cloneValues(v values) values {
	c := make(values, len(v))
	for k, x := range v {
		c[k] = x
	}
	return c
}

// change answers PUT.
func (s *Service) change(ctx context.Context, q *api.Request, r *resource, id string, in map[string]any) (api.JSON, error) {
	q.Asked()
	item, err := r.body(in)
	if err != nil {
		return nil, err
	}
	v, err := r.prepare(s.call(nil, q, q.Caller), item, false)
	if err != nil {
		return nil, err
	}
	var out api.JSON
	err = s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		o, shared, err := c.findNested(r, id)
		if err != nil {
			return err
		}
		if err := c.mayUpdate(r, o, shared, v); err != nil {
			return err
		}
		if err := ifMatch(q, o.std()); err != nil {
			return err
		}
		if o, err = r.update(c, o, cloneValues(v)); err != nil {
			return err
		}
		if sh, ok := v["shared"].(bool); ok {
			shared = sh
		}
		out, err = c.render(r, o, shared, q.Query()["fields"])
		return err
	})
	return out, err
}

// delete answers DELETE.
func (s *Service) delete(ctx context.Context, q *api.Request, r *resource, id string) error {
	q.Asked()
	return s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		o, shared, err := c.findNested(r, id)
		if err != nil {
			return err
		}
		t := c.target(r, o.std().ProjectID, shared && !r.guarded, o)
		if !s.policy.Allowed(s.rule("delete_"+r.name), c.creds, t) {
			return c.refused(r, t, "delete_"+r.name)
		}
		if err := ifMatch(q, o.std()); err != nil {
			return err
		}
		return r.remove(c, o)
	})
}

// refused is 403, or 404 when the caller may not even see the object.
func (c *call) refused(r *resource, t policy.Target, rule string) error {
	c.denied(t, rule)
	if c.s.policy.Has("get_"+r.name) && !c.s.policy.Allowed("get_"+r.name, c.creds, t) {
		return resourceNotFound()
	}
	return forbidden(c.s.policy, c.creds, rule)
}

// denied notes a refusal for those who ask later why.
func (c *call) denied(t policy.Target, rules ...string) {
	if c.r != nil {
		c.r.Denied(t, rules...)
	}
}

// ifMatch compares If-Match: revision_number=N (neutron/services/revisions/revision_plugin.py).
func ifMatch(q *api.Request, s *standard) error {
	h := q.HTTP.Header.Get("If-Match")
	if h == "" {
		return nil
	}
	n, ok := strings.CutPrefix(h, "revision_number=")
	want, isInt := pyInt(n)
	if !ok || !isInt {
		return httpBadRequest("Invalid If-Match header: %s", h)
	}
	if want != s.Revision {
		return fault.New(http.StatusPreconditionFailed, "RevisionNumberConstraintFailed", "Constrained to %d, but current revision is %d", want, s.Revision)
	}
	return nil
}

// mayCreate asks the action's rule and those of the attributes that the request sets to something else than their default.
func (c *call) mayCreate(r *resource, v values) error {
	rules := []string{"create_" + r.name}
	for i := range r.attrs {
		a := &r.attrs[i]
		x, ok := v[a.name]
		if !a.enforce || !ok || sameDefault(x, a.def) {
			continue
		}
		rules = append(rules, c.attrRules("create_"+r.name, a.name, x)...)
	}
	return c.askAll(rules, c.valuesTarget(r, v, nil, false))
}

func sameDefault(x, def any) bool {
	switch d := def.(type) {
	case nil:
		return x == nil
	case string, bool, int64:
		return x == d
	case []any:
		l, ok := x.([]any)
		return ok && len(l) == 0 && len(d) == 0
	}
	return false
}

// mayUpdate asks the action's rule and those of the attributes in the request.
func (c *call) mayUpdate(r *resource, o object, shared bool, v values) error {
	rules := []string{"update_" + r.name}
	for i := range r.attrs {
		a := &r.attrs[i]
		if x, ok := v[a.name]; ok && a.enforce {
			rules = append(rules, c.attrRules("update_"+r.name, a.name, x)...)
		}
	}
	t := c.valuesTarget(r, v, o, shared)
	err := c.askAll(rules, t)
	if err != nil && !c.s.policy.Allowed("get_"+r.name, c.creds, c.target(r, o.std().ProjectID, shared && !r.guarded, o)) {
		return resourceNotFound()
	}
	return err
}

// attrRules names an attribute's rule and those of its parts (create_port:fixed_ips:ip_address).
func (c *call) attrRules(action, name string, x any) []string {
	rules := []string{action + ":" + name}
	parts := map[string]bool{}
	collect := func(m map[string]any) {
		for k := range m {
			if rule := action + ":" + name + ":" + k; c.s.policy.Has(rule) {
				parts[rule] = true
			}
		}
	}
	switch y := x.(type) {
	case map[string]any:
		collect(y)
	case []any:
		for _, e := range y {
			if m, ok := e.(map[string]any); ok {
				collect(m)
			}
		}
	}
	sub := make([]string, 0, len(parts))
	for p := range parts {
		sub = append(sub, p)
	}
	slices.Sort(sub)
	return append(rules, sub...)
}

// askAll asks rules that exist; the refusal names all of them as upstream's nested "and" does.
func (c *call) askAll(rules []string, t policy.Target) error {
	known := rules[:1]
	for _, r := range rules[1:] {
		if c.s.policy.Has(r) {
			known = append(known, r)
		}
	}
	if c.s.policy.CheckAll(c.creds, t, append([]string{c.s.rule(known[0])}, known[1:]...)...) == policy.Granted {
		return nil
	}
	c.denied(t, known...)
	if len(known) == 1 {
		return forbidden(c.s.policy, c.creds, known[0])
	}
	s := "rule:" + known[0]
	for _, r := range known[1:] {
		s = "(" + s + " and rule:" + r + ")"
	}
	return disallowed(s)
}
