package network

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// values are a request's attributes after conversion; an attribute that the client did not send and that has no default is absent
// (upstream's ATTR_NOT_SPECIFIED).
type values map[string]any

// unset is the default of attributes that stay absent.
type unset struct{}

// attr is one line of an attribute map (neutron_lib/api/definitions): who may send it, what it is turned into, what is checked, and whether
// each use of it asks a policy rule of its own.
type attr struct {
	name      string
	post, put bool
	required  bool // in POST
	def       any
	convert   func(any) (any, error)
	validate  func(any) (string, error)
	enforce   bool // create_network:shared and kin
	// column is the SQL expression for filters and sorting; empty: it does neither.
	column string
	sort   bool
	// kind says how a filter's text is compared.
	kind kind
	// hidden attributes are accepted but not shown.
	hidden bool
}

type kind int

const (
	text kind = iota
	boolean
	integer
	// nullable texts are stored as '' and filtered by ''.
	nullable
)

func str(v any) string { return schema.PyStr(v) }

// has tells whether the attribute was sent or has a default; null counts.
func (v values) has(name string) bool { _, ok := v[name]; return ok }

// isSet is upstream's is_attr_set: neither absent nor null.
func (v values) isSet(name string) bool { return v[name] != nil }

func (v values) str(name string) string {
	s, _ := v[name].(string)
	return s
}

func (v values) bool(name string) bool {
	b, _ := v[name].(bool)
	return b
}

func (v values) int(name string) int64 {
	i, _ := v[name].(int64)
	return i
}

func (v values) list(name string) []any {
	l, _ := v[name].([]any)
	return l
}

func (v values) strings(name string) []string {
	l := v.list(name)
	out := make([]string, 0, len(l))
	for _, e := range l {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// plain turns json.Number into int64 or float64 all the way down, so that rules see Python's kinds of numbers.
func plain(v any) any {
	switch x := v.(type) {
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return i
		}
		if !strings.ContainsAny(x.String(), ".eE") {
			return x // an integer beyond 64 bits keeps its digits for the message
		}
		f, _ := x.Float64()
		return f
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
		return x
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k])
		}
		return x
	}
	return v
}

// hasNUL looks for NUL characters in texts, which PostgreSQL refuses.
func hasNUL(v any) bool {
	switch x := v.(type) {
	case string:
		return strings.ContainsRune(x, 0)
	case []any:
		return slices.ContainsFunc(x, hasNUL)
	case map[string]any:
		for k, e := range x {
			if strings.ContainsRune(k, 0) || hasNUL(e) {
				return true
			}
		}
	}
	return false
}

// standardAttrs are what every resource with a standardattributes row has.
func standardAttrs(name attr, with ...string) []attr {
	id := attr{name: "id", column: "t.id", sort: true}
	project := attr{name: "tenant_id", post: true, def: unset{}, validate: vString(255), column: "t.project_id", sort: true}
	all := []attr{id}
	if name.name != "" {
		all = append(all, name)
	}
	all = append(all, project,
		attr{name: "project_id", post: true, def: unset{}, validate: vString(255), column: "t.project_id", sort: true},
		attr{name: "revision_number", column: "t.revision_number", sort: false, kind: integer},
		attr{name: "created_at"}, attr{name: "updated_at"})
	if !slices.Contains(with, "no description") {
		all = append(all, attr{name: "description", post: true, put: !slices.Contains(with, "fixed description"), def: "", validate: vString(255), column: "t.description", sort: true})
	}
	if !slices.Contains(with, "no tags") {
		all = append(all, attr{name: "tags", post: slices.Contains(with, "tags in POST"), def: unset{}, convert: noneToList, validate: vTags})
	}
	return all
}

func plainName() attr {
	return attr{name: "name", post: true, put: true, def: "", validate: vString(255), column: "t.name", sort: true}
}

// prepare is what upstream does with one object of a body before policy and plugin see it (neutron/api/v2/base.py, prepare_request_body).
func (r *resource) prepare(c *call, in map[string]any, create bool) (values, error) {
	v := values(plain(in).(map[string]any))
	if hasNUL(in) {
		return nil, httpBadRequest("The body contains a NUL character, which no attribute can hold")
	}
	project, ok := v["project_id"]
	tenant, ok2 := v["tenant_id"]
	switch {
	case ok && !ok2:
		v["tenant_id"] = project
	case ok2 && !ok:
		v["project_id"], project = tenant, tenant
	case ok && ok2 && str(project) != str(tenant):
		return nil, httpBadRequest("'project_id' and 'tenant_id' do not match")
	}
	if (ok || ok2) && str(project) != c.projectID && !c.admin && !c.serves {
		return nil, httpBadRequest("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin or advsvc privileges")
	}
	if create && !ok && !ok2 && c.projectID != "" {
		v["project_id"], v["tenant_id"] = c.projectID, c.projectID
	}
	if err := r.unknown(v); err != nil {
		return nil, err
	}
	if create {
		if !v.has("tenant_id") {
			return nil, httpBadRequest("Running without keystone AuthN requires that tenant_id is specified")
		}
		if err := r.defaults(v); err != nil {
			return nil, err
		}
	} else {
		for i := range r.attrs {
			if a := &r.attrs[i]; v.has(a.name) && !a.put {
				return nil, httpBadRequest("Cannot update read-only attribute %s", a.name)
			}
		}
	}
	return v, r.convert(v)
}

func (r *resource) unknown(v values) error {
	var extra []string
	for k := range v {
		if r.attr(k) == nil {
			extra = append(extra, k)
		}
	}
	if len(extra) == 0 {
		return nil
	}
	slices.Sort(extra)
	return httpBadRequest("Unrecognized attribute(s) '%s'", strings.Join(extra, ", "))
}

func (r *resource) defaults(v values) error {
	for i := range r.attrs {
		a := &r.attrs[i]
		if !a.post {
			if v.has(a.name) {
				return httpBadRequest("Attribute '%s' not allowed in POST", a.name)
			}
			continue
		}
		if v.has(a.name) {
			continue
		}
		if a.required {
			return httpBadRequest("Failed to parse request. Required attribute '%s' not specified", a.name)
		}
		if _, no := a.def.(unset); !no {
			v[a.name] = a.def
		}
	}
	return nil
}

func (r *resource) convert(v values) error {
	for i := range r.attrs {
		a := &r.attrs[i]
		x, ok := v[a.name]
		if !ok {
			continue
		}
		if a.convert != nil {
			var err error
			if x, err = a.convert(x); err != nil {
				return err
			}
			v[a.name] = x
		}
		if a.validate != nil {
			msg, err := a.validate(x)
			if err != nil {
				return err
			}
			if msg != "" {
				return httpBadRequest("Invalid input for %s. Reason: %s.", a.name, msg)
			}
		}
	}
	return nil
}
