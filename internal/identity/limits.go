package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) limitRoutes() []api.Route {
	o := api.Object
	registered := simple{s: s, k: s.registeredLimit, rule: "registered_limit", list: "registered_limits", update: s.schemas.registeredLimitUpdate,
		filters: []string{"service_id", "region_id", "resource_name"}, changing: s.changeRegistered, deleting: func(tx *db.Tx, _ *api.Request, old doc) error { return s.unused(tx, old) }}
	limit := simple{s: s, k: s.limit, rule: "limit", list: "limits", update: s.schemas.limitUpdate, changing: s.changeLimit}
	return []api.Route{
		api.Handle("GET", "/v3/registered_limits", o("identity:list_registered_limits"), 200, registered.index),
		api.Handle("POST", "/v3/registered_limits", o("identity:create_registered_limits"), 201, s.createRegistered),
		api.Handle("GET", "/v3/registered_limits/{id}", o("identity:get_registered_limit"), 200, func(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
			return registered.get(ctx, r, r.Path("id"))
		}),
		api.Handle("PATCH", "/v3/registered_limits/{id}", o("identity:update_registered_limit"), 200, func(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
			return registered.patch(ctx, r, r.Path("id"), in)
		}),
		api.Handle("DELETE", "/v3/registered_limits/{id}", o("identity:delete_registered_limit"), 204, func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
			return registered.remove(ctx, r, r.Path("id"))
		}),
		api.Handle("GET", "/v3/limits/model", o("identity:get_limit_model"), 200, s.limitModel),
		api.Handle("GET", "/v3/limits", o("identity:list_limits"), 200, s.listLimits),
		api.Handle("POST", "/v3/limits", o("identity:create_limits"), 201, s.createLimits),
		api.Handle("GET", "/v3/limits/{limit_id}", o("identity:get_limit"), 200, s.showLimit),
		api.Handle("PATCH", "/v3/limits/{limit_id}", o("identity:update_limit"), 200, func(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
			return limit.patch(ctx, r, r.Path("limit_id"), in)
		}),
		api.Handle("DELETE", "/v3/limits/{limit_id}", o("identity:delete_limit"), 204, func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
			return limit.remove(ctx, r, r.Path("limit_id"))
		}),
	}
}

// known verifies that a limit's service and region are there.
func (s *Service) known(tx *db.Tx, d doc, what string) error {
	if id := str(d, "service_id"); id != "" {
		there, err := s.service.find(tx, id)
		if err != nil {
			return err
		}
		if there == nil {
			return expecting("service_id", what)
		}
	}
	if id := str(d, "region_id"); id != "" {
		there, err := s.region.find(tx, id)
		if err != nil {
			return err
		}
		if there == nil {
			return expecting("region_id", what)
		}
	}
	return nil
}

// storeConflict words the database's own refusal of a second row of the same.
func storeConflict(k *kind, err error) error {
	if db.IsConflict(err, "") {
		return conflict(k.singular, "Duplicate entry")
	}
	return err
}

func (s *Service) changeRegistered(_ context.Context, tx *db.Tx, _ *api.Request, d, old doc) error {
	if err := s.known(tx, d, "registered_limit"); err != nil {
		return err
	}
	return s.unused(tx, old)
}

// unused refuses to change a registered limit under the limits that rest on it.
func (s *Service) unused(tx *db.Tx, old doc) error {
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_limits WHERE service_id = $1 AND region_id = $2 AND resource_name = $3`,
		str(old, "service_id"), str(old, "region_id"), str(old, "resource_name"))
	if err == nil && n > 0 {
		err = fault.Forbidden("Unable to update or delete registered limit %s because there are project limits associated with it.", old["id"])
	}
	return err
}

// changeLimit checks a limit's new value against the model.
func (s *Service) changeLimit(_ context.Context, tx *db.Tx, _ *api.Request, d, old doc) error {
	merged := clone(old)
	for name, v := range d {
		merged[name] = v
	}
	return s.fitModel(tx, []doc{merged})
}

// createMany stores a list of limits, all or none.
func (s *Service) createMany(ctx context.Context, r *api.Request, k *kind, list []any, check func(*db.Tx, []doc) error) (doc, error) {
	out, err := inWrite(ctx, s, func(tx *db.Tx) ([]doc, error) {
		var all, out []doc
		for _, e := range list {
			d := normalized(asDoc(e))
			d["id"] = newID()
			all = append(all, d)
		}
		if err := check(tx, all); err != nil {
			return nil, err
		}
		for _, d := range all {
			if err := k.insert(tx, d); err != nil {
				return nil, storeConflict(k, err)
			}
			got, err := k.get(tx, str(d, "id"))
			if err != nil {
				return nil, err
			}
			out = append(out, k.linked(s, base(r), got))
		}
		return out, nil
	})
	return doc{k.plural: out}, err
}

func (s *Service) createRegistered(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_registered_limits", policy.Map{}); err != nil {
		return nil, err
	}
	list := memberOf(in, "registered_limits")
	if _, err := checked(s.schemas.registeredLimitCreate, list); err != nil {
		return nil, err
	}
	return s.createMany(ctx, r, s.registeredLimit, list.([]any), func(tx *db.Tx, all []doc) error {
		for _, d := range all {
			if err := s.known(tx, d, "registered_limit"); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) createLimits(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_limits", policy.Map{}); err != nil {
		return nil, err
	}
	list := memberOf(in, "limits")
	if _, err := checked(s.schemas.limitCreate, list); err != nil {
		return nil, err
	}
	return s.createMany(ctx, r, s.limit, list.([]any), func(tx *db.Tx, all []doc) error {
		for _, d := range all {
			if err := s.limitOwner(tx, d); err != nil {
				return err
			}
		}
		if err := s.fitModel(tx, all); err != nil {
			return err
		}
		for _, d := range all {
			if err := registered(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// limitOwner verifies what a new limit names. A project that is a domain gets the domain's limit.
func (s *Service) limitOwner(tx *db.Tx, d doc) error {
	if err := s.known(tx, d, "limit"); err != nil {
		return err
	}
	if id := str(d, "project_id"); id != "" {
		p, err := s.project.find(tx, id)
		if err != nil {
			return err
		}
		if p == nil {
			return expecting("project_id", "limit")
		}
		if truth(p, "is_domain") {
			d["domain_id"], d["project_id"] = id, nil
		}
	}
	if id := str(d, "domain_id"); id != "" {
		dom, err := s.domain.find(tx, id)
		if err != nil {
			return err
		}
		if dom == nil || !truth(dom, "is_domain") {
			return expecting("domain_id", "limit")
		}
	}
	return nil
}

// registered verifies that a limit overrides something.
func registered(tx *db.Tx, d doc) error {
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_registered_limits WHERE service_id = $1 AND region_id = $2 AND resource_name = $3`,
		str(d, "service_id"), str(d, "region_id"), str(d, "resource_name"))
	if err == nil && n == 0 {
		err = fault.Forbidden("Unable to create a limit that has no corresponding registered limit.")
	}
	return err
}

func (s *Service) listLimits(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_limits", policy.Map{}); err != nil {
		return nil, err
	}
	l := listing{kind: s.limit, filters: []string{"service_id", "region_id", "resource_name", "project_id", "domain_id"}}
	switch c := r.Caller; {
	case c.System:
	case c.DomainID != "":
		l.where.Add("domain_id = ? OR project_id IN (SELECT id FROM identity_projects WHERE domain_id = ?)", c.DomainID, c.DomainID)
	case c.ProjectID != "":
		l.where.Add("project_id = ?", c.ProjectID)
	default:
		l.where.Add("1 = 0")
	}
	return s.list(ctx, r, l)
}

func (s *Service) showLimit(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.limit.find(tx, r.Path("limit_id"))
		if err != nil {
			return nil, err
		}
		t := clone(d)
		if d != nil {
			p, err := s.project.find(tx, str(d, "project_id"))
			if err != nil {
				return nil, err
			}
			dom, err := s.domain.find(tx, str(d, "domain_id"))
			if err != nil {
				return nil, err
			}
			if p != nil {
				t["project"] = p
			}
			if dom != nil {
				t["domain"] = dom
			}
		}
		if err := r.Enforce("identity:get_limit", about(r, "limit", t)); err != nil {
			return nil, err
		}
		if d == nil {
			return nil, s.limit.notFound(r.Path("limit_id"))
		}
		return s.limit.member(s, r, d), nil
	})
}
