package identity

import (
	"context"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// inWrite runs a change and gives its result.
func inWrite[T any](ctx context.Context, s *Service, fn func(*db.Tx) (T, error)) (out T, err error) {
	err = s.write(ctx, func(tx *db.Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	return out, err
}

// inRead runs a look-up and gives its result.
func inRead[T any](ctx context.Context, s *Service, fn func(*db.Tx) (T, error)) (out T, err error) {
	err = s.read(ctx, func(tx *db.Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	return out, err
}

// checked validates a body's member and gives it as an object.
func checked(sc *schema.Schema, v any) (doc, error) {
	if e := schema.Keystone.Validate(sc, v); e != nil {
		return nil, fault.BadRequest("%s", e.Error())
	}
	d, _ := v.(map[string]any)
	return clone(d), nil
}

func clone(d doc) doc {
	out := make(doc, len(d))
	for k, v := range d {
		out[k] = v
	}
	return out
}

// memberOf is the body's member, or an empty object as keystone assumes where it is missing.
func memberOf(in map[string]any, name string) any {
	if v, ok := in[name]; ok && v != nil {
		return v
	}
	return map[string]any{}
}

// normalized replaces what cannot stand in a column's name (keystone/server/flask/common.py, _normalize_dict).
func normalized(d doc) doc {
	out := make(doc, len(d))
	for k, v := range d {
		out[strings.NewReplacer(":", "_", "-", "_").Replace(k)] = v
	}
	return out
}

// sameID refuses a body that names another resource than the path.
func sameID(d doc, id string) error {
	if v, ok := d["id"]; ok && v != nil && v != id {
		return fault.BadRequest("Cannot change ID")
	}
	return nil
}

// setDefault sets a member that is missing or null.
func setDefault(d doc, name string, v any) {
	if d[name] == nil {
		d[name] = v
	}
}

// simple is the create, read, update and delete of a kind whose rules ask about nothing.
type simple struct {
	s              *Service
	k              *kind
	rule           string // "region": identity:create_region
	list           string // "regions": identity:list_regions
	create, update *schema.Schema
	filters        []string
	// must is set for kinds whose missing body is an error rather than an empty object.
	must bool
	// creating and updating check and complete the document; old is nil at creation.
	changing func(ctx context.Context, tx *db.Tx, r *api.Request, d, old doc) error
	deleting func(tx *db.Tx, r *api.Request, old doc) error
	// validate takes the place of the update schema where that says too little; nil: it does not.
	validate func(in map[string]any) (doc, error)
}

func (c simple) routes(path, id string) []api.Route {
	o := func(verb string) api.Rule { return api.Object("identity:" + verb) }
	return []api.Route{
		api.Handle("GET", path, o("list_"+c.list), 200, c.index),
		api.Handle("POST", path, o("create_"+c.rule), 201, c.post),
		api.Handle("GET", path+"/{"+id+"}", o("get_"+c.rule), 200, func(ctx context.Context, r *api.Request, _ api.None) (doc, error) { return c.get(ctx, r, r.Path(id)) }),
		api.Handle("PATCH", path+"/{"+id+"}", o("update_"+c.rule), 200, func(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
			return c.patch(ctx, r, r.Path(id), in)
		}),
		api.Handle("DELETE", path+"/{"+id+"}", o("delete_"+c.rule), 204, func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
			return c.remove(ctx, r, r.Path(id))
		}),
	}
}

func (c simple) index(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_"+c.list, policy.Map{}); err != nil {
		return nil, err
	}
	return c.s.list(ctx, r, listing{kind: c.k, filters: c.filters})
}

func (c simple) get(ctx context.Context, r *api.Request, id string) (doc, error) {
	if err := r.Enforce("identity:get_"+c.rule, policy.Map{}); err != nil {
		return nil, err
	}
	return inRead(ctx, c.s, func(tx *db.Tx) (doc, error) {
		d, err := c.k.get(tx, id)
		if err != nil {
			return nil, err
		}
		return c.k.member(c.s, r, d), nil
	})
}

func (c simple) body(in map[string]any, sc *schema.Schema) (doc, error) {
	if c.must {
		return checked(sc, in[c.k.singular])
	}
	return checked(sc, memberOf(in, c.k.singular))
}

func (c simple) post(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	return c.insert(ctx, r, in, nil)
}

// insert creates the resource; prepare may set its id.
func (c simple) insert(ctx context.Context, r *api.Request, in map[string]any, prepare func(doc) error) (doc, error) {
	if err := r.Enforce("identity:create_"+c.rule, policy.Map{}); err != nil {
		return nil, err
	}
	d, err := c.body(in, c.create)
	if err != nil {
		return nil, err
	}
	d = normalized(d)
	if prepare != nil {
		if err := prepare(d); err != nil {
			return nil, err
		}
	} else {
		d["id"] = newID()
	}
	return inWrite(ctx, c.s, func(tx *db.Tx) (doc, error) {
		d := clone(d)
		if c.changing != nil {
			if err := c.changing(ctx, tx, r, d, nil); err != nil {
				return nil, err
			}
		}
		if err := c.k.insert(tx, d); err != nil {
			return nil, err
		}
		got, err := c.k.get(tx, d["id"].(string))
		if err != nil {
			return nil, err
		}
		return c.k.member(c.s, r, got), nil
	})
}

func (c simple) patch(ctx context.Context, r *api.Request, id string, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:update_"+c.rule, policy.Map{}); err != nil {
		return nil, err
	}
	validate := c.validate
	if validate == nil {
		validate = func(in map[string]any) (doc, error) { return c.body(in, c.update) }
	}
	d, err := validate(in)
	if err != nil {
		return nil, err
	}
	if err := sameID(d, id); err != nil {
		return nil, err
	}
	return inWrite(ctx, c.s, func(tx *db.Tx) (doc, error) {
		d := clone(d)
		old, err := c.k.get(tx, id)
		if err != nil {
			return nil, err
		}
		if c.changing != nil {
			if err := c.changing(ctx, tx, r, d, old); err != nil {
				return nil, err
			}
		}
		got, err := c.k.update(tx, old, d)
		if err != nil {
			return nil, storeConflict(c.k, err)
		}
		return c.k.member(c.s, r, got), nil
	})
}

func (c simple) remove(ctx context.Context, r *api.Request, id string) (api.None, error) {
	if err := r.Enforce("identity:delete_"+c.rule, policy.Map{}); err != nil {
		return api.None{}, err
	}
	return api.None{}, c.s.write(ctx, func(tx *db.Tx) error {
		old, err := c.k.get(tx, id)
		if err != nil {
			return err
		}
		if c.deleting != nil {
			if err := c.deleting(tx, r, old); err != nil {
				return err
			}
		}
		return c.k.remove(tx, id)
	})
}
