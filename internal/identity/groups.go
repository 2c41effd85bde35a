package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) groupRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "/v3/groups", o("identity:list_groups"), 200, s.listGroups),
		api.Handle("POST", "/v3/groups", o("identity:create_group"), 201, s.createGroup),
		api.Handle("GET", "/v3/groups/{group_id}", o("identity:get_group"), 200, s.showGroup),
		api.Handle("PATCH", "/v3/groups/{group_id}", o("identity:update_group"), 200, s.updateGroup),
		api.Handle("DELETE", "/v3/groups/{group_id}", o("identity:delete_group"), 204, s.deleteGroup),
		api.Handle("GET", "/v3/groups/{group_id}/users", o("identity:list_users_in_group"), 200, s.listGroupUsers),
		api.Handle("GET", "/v3/groups/{group_id}/users/{user_id}", o("identity:check_user_in_group"), 204, s.checkMember),
		api.Handle("PUT", "/v3/groups/{group_id}/users/{user_id}", o("identity:add_user_to_group"), 204, s.addMember),
		api.Handle("DELETE", "/v3/groups/{group_id}/users/{user_id}", o("identity:remove_user_from_group"), 204, s.removeMember),
	}
}

func (s *Service) listGroups(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	t := policy.Map{}
	if own := r.Caller.DomainID; own != "" {
		t["target.group.domain_id"] = own
	}
	if err := r.Enforce("identity:list_groups", t); err != nil {
		return nil, err
	}
	l := listing{kind: s.group, filters: []string{"domain_id", "name"}, exprs: map[string]string{"name": groupName}}
	if own := r.Caller.DomainID; own != "" {
		l.where.Add("domain_id = ?", own)
	}
	if err := s.lookAtList(ctx, r, groupEntity, &l); err != nil {
		return nil, err
	}
	return s.list(ctx, r, l)
}

func (s *Service) createGroup(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	raw := memberOf(in, "group")
	if err := r.Enforce("identity:create_group", about(r, "group", asDoc(raw))); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.groupCreate, raw)
	if err != nil {
		return nil, err
	}
	d = normalized(d)
	defaultDomainOf(r, d)
	if err := s.writableDomain(ctx, r, str(d, "domain_id")); err != nil {
		return nil, err
	}
	delete(d, "directory_name")
	d["id"] = newID()
	setDefault(d, "description", "")
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if _, err := s.getDomain(tx, str(d, "domain_id")); err != nil {
			return nil, err
		}
		if err := s.group.insert(tx, d); err != nil {
			return nil, groupConflict(err, d)
		}
		got, err := s.group.get(tx, str(d, "id"))
		if err != nil {
			return nil, err
		}
		return s.group.member(s, r, got), nil
	})
}

func groupConflict(err error, d doc) error {
	if !db.IsConflict(err, "") {
		return err
	}
	if str(d, "domain_id") == "" { // a change does not name it
		return duplicate("group", "name", str(d, "name"))
	}
	return duplicate("group", "name", str(d, "name")+" at domain ID "+str(d, "domain_id"))
}

// groupFor reads the path's group, and its user where there is one, and asks a rule about them.
func (s *Service) groupFor(tx *db.Tx, r *api.Request, rule string) (group, user doc, err error) {
	if group, err = s.group.find(tx, r.Path("group_id")); err != nil {
		return nil, nil, err
	}
	if id := r.Path("user_id"); id != "" {
		if user, err = s.user.find(tx, id); err != nil {
			return nil, nil, err
		}
	}
	if denied := r.Enforce(rule, about(r, "group", group, "user", user)); denied != nil {
		return nil, nil, denied
	}
	if r.Path("user_id") != "" && user == nil {
		return nil, nil, s.user.notFound(r.Path("user_id"))
	}
	if group == nil {
		return nil, nil, s.group.notFound(r.Path("group_id"))
	}
	return group, user, nil
}

func (s *Service) showGroup(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		g, _, err := s.groupFor(tx, r, "identity:get_group")
		if err != nil {
			return nil, err
		}
		return s.group.member(s, r, g), nil
	})
}

func (s *Service) updateGroup(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		old, _, err := s.groupFor(tx, r, "identity:update_group")
		if err != nil {
			return nil, err
		}
		if err := writable(tx, str(old, "id")); err != nil {
			return nil, err
		}
		d, err := checked(s.schemas.groupUpdate, memberOf(in, "group"))
		if err != nil {
			return nil, err
		}
		if err := sameID(d, str(old, "id")); err != nil {
			return nil, err
		}
		if v, ok := d["domain_id"]; ok && v != old["domain_id"] {
			return nil, fault.BadRequest("Cannot change Domain ID")
		}
		delete(d, "directory_name")
		got, err := s.group.update(tx, old, d)
		if err != nil {
			return nil, groupConflict(err, d)
		}
		return s.group.member(s, r, got), nil
	})
}

func (s *Service) deleteGroup(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		g, err := s.group.get(tx, r.Path("group_id"))
		if err != nil {
			r.Asked() // upstream looks it up for the rule's target: 404 to anybody
			return err
		}
		if err := r.Enforce("identity:delete_group", about(r, "group", g)); err != nil {
			return err
		}
		if err := writable(tx, str(g, "id")); err != nil {
			return err
		}
		return s.removeGroup(tx, str(g, "id"))
	})
}

// removeGroup deletes a group; its members' tokens are void, since roles may have come from it.
func (s *Service) removeGroup(tx *db.Tx, id string) error {
	members, err := db.All(tx, db.Value[string], `SELECT user_id FROM identity_members WHERE group_id = $1 ORDER BY user_id`, id)
	if err != nil {
		return err
	}
	for _, u := range members {
		if err := revokeUser(tx, u); err != nil {
			return err
		}
	}
	for _, q := range []string{`DELETE FROM identity_members WHERE group_id = $1`, `DELETE FROM identity_expiring_members WHERE group_id = $1`, `DELETE FROM identity_assignments WHERE actor_id = $1`} {
		if _, err := tx.Exec(q, id); err != nil {
			return err
		}
	}
	return s.group.remove(tx, id)
}

func (s *Service) listGroupUsers(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if _, err := inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		g, _, err := s.groupFor(tx, r, "identity:list_users_in_group")
		return g, err
	}); err != nil {
		return nil, err
	}
	if err := badTimeFilter(r.Query(), "password_expires_at"); err != nil {
		return nil, err
	}
	if err := s.lookAt(ctx, r, r.Path("group_id"), how{now: true, members: true}); err != nil {
		return nil, err
	}
	l := listing{kind: s.user, filters: []string{"domain_id", "enabled", "name", "password_expires_at"}, exprs: map[string]string{"name": userName}}
	l.where.Add("id IN (SELECT user_id FROM identity_members WHERE group_id = ?)", r.Path("group_id"))
	if own := r.Caller.DomainID; own != "" {
		l.where.Add("domain_id = ?", own)
	}
	return s.list(ctx, r, l)
}

func (s *Service) checkMember(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	err := s.read(ctx, func(tx *db.Tx) error {
		_, _, err := s.groupFor(tx, r, "identity:check_user_in_group")
		return err
	})
	if err == nil {
		err = s.lookAt(ctx, r, r.Path("user_id"), how{now: true})
	}
	if err != nil {
		return api.None{}, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (api.None, error) {
		n, err := db.One(tx, db.Value[int64], `SELECT (SELECT count(*) FROM identity_members WHERE group_id = $1 AND user_id = $2) +
			(SELECT count(*) FROM identity_expiring_members WHERE group_id = $1 AND user_id = $2 AND expires_at > $3)`, r.Path("group_id"), r.Path("user_id"), tx.NowMicros())
		if err == nil && n == 0 {
			err = notMember(r)
		}
		return api.None{}, err
	})
}

func notMember(r *api.Request) error {
	return fault.NotFound("User '%s' not found in group '%s'", r.Path("user_id"), r.Path("group_id"))
}

func (s *Service) addMember(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		if _, _, err := s.groupFor(tx, r, "identity:add_user_to_group"); err != nil {
			return err
		}
		if err := sameBackend(tx, r.Path("group_id"), r.Path("user_id")); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO identity_members (group_id, user_id) VALUES ($1,$2) ON CONFLICT DO NOTHING`, r.Path("group_id"), r.Path("user_id"))
		return err
	})
}

func (s *Service) removeMember(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		if _, _, err := s.groupFor(tx, r, "identity:remove_user_from_group"); err != nil {
			return err
		}
		if err := writable(tx, r.Path("group_id")); err != nil {
			return err
		}
		n, err := tx.Exec(`DELETE FROM identity_members WHERE group_id = $1 AND user_id = $2`, r.Path("group_id"), r.Path("user_id"))
		if err != nil {
			return err
		}
		if n == 0 {
			return notMember(r)
		}
		return revokeUser(tx, r.Path("user_id"))
	})
}
