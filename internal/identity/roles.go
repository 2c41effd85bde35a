package identity

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) roleRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "/v3/roles", o("identity:list_roles"), 200, s.listRoles),
		api.Handle("POST", "/v3/roles", o("identity:create_role"), 201, s.createRole),
		api.Handle("GET", "/v3/roles/{role_id}", o("identity:get_role"), 200, s.showRole),
		api.Handle("PATCH", "/v3/roles/{role_id}", o("identity:update_role"), 200, s.updateRole),
		api.Handle("DELETE", "/v3/roles/{role_id}", o("identity:delete_role"), 204, s.deleteRole),
		api.Handle("GET", "/v3/roles/{prior_role_id}/implies", o("identity:list_implied_roles"), 200, s.listImplied),
		api.Handle("GET", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", o("identity:get_implied_role"), 200, s.showImplied),
		api.Handle("HEAD", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", o("identity:check_implied_role"), 204, s.checkImplied),
		api.Handle("PUT", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", o("identity:create_implied_role"), 201, s.createImplied),
		api.Handle("DELETE", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", o("identity:delete_implied_role"), 204, s.deleteImplied),
		api.Handle("GET", "/v3/role_inferences", o("identity:list_role_inference_rules"), 200, s.listInferences),
	}
}

func (s *Service) listRoles(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	rule := "identity:list_roles"
	l := listing{kind: s.role, filters: []string{"name", "domain_id"}}
	if r.Query().Get("domain_id") != "" {
		rule = "identity:list_domain_roles"
	} else {
		l.where.Add("domain_id = ''")
	}
	if err := r.Enforce(rule, policy.Map{}); err != nil {
		return nil, err
	}
	return s.list(ctx, r, l)
}

func (s *Service) createRole(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	raw := memberOf(in, "role")
	rule := "identity:create_role"
	if str(asDoc(raw), "domain_id") != "" {
		rule = "identity:create_domain_role"
	}
	if err := r.Enforce(rule, policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.roleCreate, raw)
	if err != nil {
		return nil, err
	}
	d = normalized(d)
	d["id"] = newID()
	mergeOptions(doc{}, d)
	setDefault(d, "options", doc{})
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if err := s.role.insert(tx, d); err != nil {
			return nil, roleConflict(err, d)
		}
		got, err := s.role.get(tx, str(d, "id"))
		if err != nil {
			return nil, err
		}
		return s.role.member(s, r, got), nil
	})
}

func roleConflict(err error, d doc) error {
	if !db.IsConflict(err, "") {
		return err
	}
	if domain := str(d, "domain_id"); domain != "" {
		return duplicate("role", "name", str(d, "name")+" at domain ID "+domain)
	}
	return duplicate("role", "name", str(d, "name"))
}

// roleFor reads the path's role and asks the rule with that verb; a role of a domain has rules of its own.
func (s *Service) roleFor(tx *db.Tx, r *api.Request, verb string) (doc, error) {
	d, err := s.role.get(tx, r.Path("role_id"))
	if err != nil {
		r.Asked() // upstream looks it up for the rule's target: 404 to anybody
		return nil, err
	}
	rule := "identity:" + verb + "_role"
	if str(d, "domain_id") != "" {
		rule = "identity:" + verb + "_domain_role"
	}
	return d, r.Enforce(rule, about(r, "role", d))
}

func (s *Service) showRole(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.roleFor(tx, r, "get")
		if err != nil {
			return nil, err
		}
		return s.role.member(s, r, d), nil
	})
}

func (s *Service) updateRole(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		old, err := s.roleFor(tx, r, "update")
		if err != nil {
			return nil, err
		}
		d, err := checked(s.schemas.roleUpdate, memberOf(in, "role"))
		if err != nil {
			return nil, err
		}
		if err := sameID(d, str(old, "id")); err != nil {
			return nil, err
		}
		if err := immutableUpdate("role", old, d); err != nil {
			return nil, err
		}
		if v, ok := d["domain_id"]; ok && v != old["domain_id"] {
			return nil, fault.BadRequest("Update of `domain_id` is not allowed.")
		}
		mergeOptions(old, d)
		got, err := s.role.update(tx, old, d)
		if err != nil {
			return nil, roleConflict(err, doc{"name": d["name"], "domain_id": old["domain_id"]})
		}
		return s.role.member(s, r, got), nil
	})
}

func (s *Service) deleteRole(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, err := s.roleFor(tx, r, "delete")
		if err != nil {
			return err
		}
		id := str(d, "id")
		if immutable(d) {
			return immutableDelete("role", id)
		}
		if err := s.dropAppCreds(tx, `role_id = $1`, id); err != nil {
			return err
		}
		for _, q := range []string{`DELETE FROM identity_assignments WHERE role_id = $1`, `DELETE FROM identity_implied_roles WHERE prior_role_id = $1 OR implied_role_id = $1`} {
			if _, err := tx.Exec(q, id); err != nil {
				return err
			}
		}
		return s.role.remove(tx, id)
	})
}

// dropAppCreds deletes the application credentials of the users and projects of matching direct assignments
// (keystone/assignment/core.py, _send_app_cred_notification_for_role_removal).
func (s *Service) dropAppCreds(tx *db.Tx, where string, args ...any) error {
	_, err := tx.Exec(`DELETE FROM identity_application_credentials WHERE EXISTS (SELECT 1 FROM identity_assignments a WHERE a.is_group = FALSE AND a.target_type = 'project'
		AND a.actor_id = identity_application_credentials.user_id AND a.target_id = identity_application_credentials.project_id AND a.`+where+`)`, args...)
	return err
}

// roleLink is a role as implications show it.
func roleLink(r *api.Request, d doc) doc {
	return doc{"id": d["id"], "name": d["name"], "links": doc{"self": base(r) + "/roles/" + str(d, "id")}}
}

// implication reads the path's roles and asks a rule about them.
func (s *Service) implication(tx *db.Tx, r *api.Request, rule string) (prior, implied doc, err error) {
	if prior, err = s.role.get(tx, r.Path("prior_role_id")); err == nil && r.Path("implied_role_id") != "" {
		implied, err = s.role.get(tx, r.Path("implied_role_id"))
	}
	if err != nil {
		// Upstream looks the roles up to build the rule's target, so an unknown one is 404 to anybody.
		r.Asked()
		return nil, nil, err
	}
	return prior, implied, r.Enforce(rule, about(r, "prior_role", prior, "implied_role", implied))
}

func (s *Service) listImplied(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		prior, _, err := s.implication(tx, r, "identity:list_implied_roles")
		if err != nil {
			return nil, err
		}
		all, err := implications(tx)
		if err != nil {
			return nil, err
		}
		implies := []doc{}
		for _, id := range all[str(prior, "id")] {
			d, err := s.role.get(tx, id)
			if err != nil {
				return nil, err
			}
			implies = append(implies, roleLink(r, d))
		}
		return doc{"role_inference": doc{"prior_role": roleLink(r, prior), "implies": implies}, "links": doc{"self": base(r) + "/roles/" + str(prior, "id") + "/implies"}}, nil
	})
}

func (s *Service) inference(r *api.Request, prior, implied doc) doc {
	return doc{"role_inference": doc{"prior_role": roleLink(r, prior), "implies": roleLink(r, implied)},
		"links": doc{"self": base(r) + "/roles/" + str(prior, "id") + "/implies/" + str(implied, "id")}}
}

func impliedThere(tx *db.Tx, prior, implied doc) error {
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_implied_roles WHERE prior_role_id = $1 AND implied_role_id = $2`, prior["id"], implied["id"])
	if err == nil && n == 0 {
		err = fault.NotFound("%s does not imply %s.", prior["id"], implied["id"])
	}
	return err
}

func (s *Service) showImplied(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		prior, implied, err := s.implication(tx, r, "identity:get_implied_role")
		if err != nil {
			return nil, err
		}
		return s.inference(r, prior, implied), impliedThere(tx, prior, implied)
	})
}

func (s *Service) checkImplied(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return inRead(ctx, s, func(tx *db.Tx) (api.None, error) {
		prior, implied, err := s.implication(tx, r, "identity:check_implied_role")
		if err != nil {
			return api.None{}, err
		}
		return api.None{}, impliedThere(tx, prior, implied)
	})
}

func (s *Service) createImplied(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		prior, implied, err := s.implication(tx, r, "identity:create_implied_role")
		if err != nil {
			return nil, err
		}
		if str(implied, "name") == "admin" { // keystone's [assignment] prohibited_implied_role
			return nil, fault.Forbidden("%s cannot be an implied roles.", implied["id"])
		}
		if str(prior, "domain_id") == "" && str(implied, "domain_id") != "" {
			return nil, fault.Forbidden("%s cannot be an implied roles.", implied["id"])
		}
		all, err := implications(tx)
		if err != nil {
			return nil, err
		}
		if slices.Contains(all[str(prior, "id")], str(implied, "id")) {
			return nil, conflict("implied_role", "Duplicate entry")
		}
		_, err = tx.Exec(`INSERT INTO identity_implied_roles (prior_role_id, implied_role_id) VALUES ($1,$2)`, prior["id"], implied["id"])
		return s.inference(r, prior, implied), err
	})
}

func (s *Service) deleteImplied(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		prior, implied, err := s.implication(tx, r, "identity:delete_implied_role")
		if err != nil {
			return err
		}
		if err := impliedThere(tx, prior, implied); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM identity_implied_roles WHERE prior_role_id = $1 AND implied_role_id = $2`, prior["id"], implied["id"])
		return err
	})
}

func (s *Service) listInferences(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:list_role_inference_rules", policy.Map{}); err != nil {
		return nil, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		all, err := implications(tx)
		if err != nil {
			return nil, err
		}
		roles, err := s.role.all(tx, &db.Where{})
		if err != nil {
			return nil, err
		}
		byID := map[string]doc{}
		for _, d := range roles {
			byID[str(d, "id")] = d
		}
		out := []doc{}
		for _, d := range roles {
			ids := all[str(d, "id")]
			if len(ids) == 0 {
				continue
			}
			implies := []doc{}
			for _, id := range ids {
				implies = append(implies, roleLink(r, byID[id]))
			}
			out = append(out, doc{"prior_role": roleLink(r, d), "implies": implies})
		}
		return doc{"role_inferences": out}, nil
	})
}
