package identity

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// maxRedelegation is [trust] max_redelegation_count.
func (s *Service) maxRedelegation() int64 { return int64(s.o.Conf.Trust.MaxRedelegationCount) }

func (s *Service) trustRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "/v3/OS-TRUST/trusts", o("identity:list_trusts"), 200, s.listTrusts),
		api.Handle("POST", "/v3/OS-TRUST/trusts", o("identity:create_trust"), 201, s.createTrust),
		api.Handle("GET", "/v3/OS-TRUST/trusts/{trust_id}", o("identity:get_trust"), 200, s.showTrust),
		api.Handle("DELETE", "/v3/OS-TRUST/trusts/{trust_id}", o("identity:delete_trust"), 204, s.deleteTrust),
		api.Handle("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles", o("identity:list_roles_for_trust"), 200, s.listTrustRoles),
		api.Handle("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}", o("identity:get_role_for_trust"), 200, s.showTrustRole),
	}
}

// noDelegation refuses tokens of delegated methods that want to manage trusts; a trust's own token may redelegate, if the user's own methods made it.
func noDelegation(r *api.Request) error {
	if se := sessionOf(r); se == nil || !se.delegatedMethod() {
		return nil
	}
	return forbiddenAction("Delegated tokens cannot manage trusts.")
}

func (s *Service) listTrusts(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	q := r.Query()
	w := (&db.Where{}).Add("deleted_at = 0")
	var err error
	switch trustor, trustee := q.Get("trustor_user_id"), q.Get("trustee_user_id"); {
	case trustor != "":
		err = r.Enforce("identity:list_trusts_for_trustor", about(r, "trust", doc{"trustor_user_id": trustor}))
		w.Add("trustor_user_id = ?", trustor)
	case trustee != "":
		err = r.Enforce("identity:list_trusts_for_trustee", about(r, "trust", doc{"trustee_user_id": trustee}))
		w.Add("trustee_user_id = ?", trustee)
	default:
		err = r.Enforce("identity:list_trusts", policy.Map{})
	}
	if err != nil {
		return nil, err
	}
	if err := noDelegation(r); err != nil {
		return nil, err
	}
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		all, err := s.trust.all(tx, w)
		for _, d := range all {
			delete(d, "roles")
			s.trust.linked(s, base(r), d)
		}
		return all, err
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "trusts", list)
}

// trustFor reads the path's trust and asks a rule about it; a trust that is over is 404 to anybody.
func (s *Service) trustFor(tx *db.Tx, r *api.Request, rule string) (doc, error) {
	r.Asked()
	d, err := s.liveTrust(tx, r.Path("trust_id"), tx.NowMicros())
	if err != nil {
		return nil, err
	}
	if d["remaining_uses"] == int64(0) {
		return nil, s.trust.notFound(r.Path("trust_id"))
	}
	if _, err := s.pedigree(tx, d); err != nil {
		return nil, err
	}
	return d, r.Enforce(rule, about(r, "trust", d))
}

// showRoles replaces a trust's role ids by the roles.
func (s *Service) showRoles(tx *db.Tx, r *api.Request, d doc) error {
	roles := []doc{}
	for _, id := range roleIDs(d) {
		role, err := s.role.find(tx, id)
		if err != nil {
			return err
		}
		if role != nil {
			roles = append(roles, s.role.linked(s, base(r), role))
		}
	}
	d["roles"] = roles
	d["roles_links"] = doc{"self": base(r) + "/" + str(d, "id") + "/roles", "next": nil, "previous": nil}
	return nil
}

func (s *Service) showTrust(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.trustFor(tx, r, "identity:get_trust")
		if err != nil {
			return nil, err
		}
		if err := noDelegation(r); err != nil {
			return nil, err
		}
		if err := s.showRoles(tx, r, d); err != nil {
			return nil, err
		}
		return s.trust.member(s, r, d), nil
	})
}

func (s *Service) listTrustRoles(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.trustFor(tx, r, "identity:list_roles_for_trust")
		if err != nil {
			return nil, err
		}
		if err := noDelegation(r); err != nil {
			return nil, err
		}
		if err := s.showRoles(tx, r, d); err != nil {
			return nil, err
		}
		return doc{"roles": d["roles"], "links": d["roles_links"]}, nil
	})
}

func (s *Service) showTrustRole(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.trustFor(tx, r, "identity:get_role_for_trust")
		if err != nil {
			return nil, err
		}
		if err := noDelegation(r); err != nil {
			return nil, err
		}
		id := r.Path("role_id")
		if !slices.Contains(roleIDs(d), id) {
			return nil, s.role.notFound(id)
		}
		role, err := s.role.get(tx, id)
		if err != nil {
			return nil, err
		}
		return s.role.member(s, r, role), nil
	})
}

func (s *Service) createTrust(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	raw := memberOf(in, "trust")
	if err := r.Enforce("identity:create_trust", about(r, "trust", asDoc(raw))); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.trust, raw)
	if err != nil {
		return nil, err
	}
	if err := noDelegation(r); err != nil {
		return nil, err
	}
	roles, _ := d["roles"].([]any)
	if str(d, "project_id") != "" && len(roles) == 0 {
		return nil, forbiddenAction("At least one role should be specified")
	}
	if str(d, "trustor_user_id") != r.UserID() {
		return nil, forbiddenAction("The authenticated user should match the trustor")
	}
	d["id"] = newID()
	// What the server writes is not the client's to give: a trust that named another one as its origin would be worth that one's trustor.
	for _, name := range []string{"redelegated_trust_id", "deleted_at"} {
		delete(d, name)
	}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		d := clone(d)
		if err := s.completeTrust(tx, r, d); err != nil {
			return nil, err
		}
		if err := s.trust.insert(tx, d); err != nil {
			return nil, err
		}
		got, err := s.trust.get(tx, str(d, "id"))
		if err != nil {
			return nil, err
		}
		if err := s.showRoles(tx, r, got); err != nil {
			return nil, err
		}
		return s.trust.member(s, r, got), nil
	})
}

// namedRoles turns a list of role ids and names into ids.
func (s *Service) namedRoles(tx *db.Tx, list any) ([]string, error) {
	roles, _ := list.([]any)
	var ids []string
	for _, e := range roles {
		ref := asDoc(e)
		if id := str(ref, "id"); id != "" {
			ids = append(ids, id)
			continue
		}
		found, err := db.All(tx, db.Value[string], `SELECT id FROM identity_roles WHERE name = $1 AND domain_id = ''`, str(ref, "name"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fault.NotFound("Role %s is not defined", str(ref, "name"))
		}
		ids = append(ids, found[0])
	}
	return ids, nil
}

func idRefs(ids []string) []any {
	out := []any{}
	for _, id := range ids {
		out = append(out, map[string]any{"id": id})
	}
	return out
}

// completeTrust checks a new trust (keystone/api/trusts.py, keystone/trust/core.py).
func (s *Service) completeTrust(tx *db.Tx, r *api.Request, d doc) error {
	if _, err := s.user.get(tx, str(d, "trustee_user_id")); err != nil {
		return err
	}
	ids, err := s.namedRoles(tx, d["roles"])
	if err != nil {
		return err
	}
	d["roles"] = idRefs(ids)
	var parent doc
	if se := sessionOf(r); se != nil && se.TrustID != "" {
		if parent, err = s.liveTrust(tx, se.TrustID, tx.NowMicros()); err != nil {
			return err
		}
	}
	if err := s.trustorHas(tx, d, parent, ids); err != nil {
		return err
	}
	if text := str(d, "expires_at"); text != "" {
		at, err := parseTime(text)
		if err != nil {
			return fault.BadRequest("Timestamp not in expected format.%s", malformed)
		}
		if at.UnixMicro() <= tx.NowMicros() {
			return fault.BadRequest("The 'expires_at' must not be before now.%s", malformed)
		}
		d["expires_at"] = at.UnixMicro()
	} else {
		d["expires_at"] = nil
	}
	if err := s.redelegation(d, parent, ids); err != nil {
		return err
	}
	return onlyTrust(tx, d)
}

// onlyTrust refuses a second trust of the same people, project and end, which upstream's table does; without an end there may be many.
func onlyTrust(tx *db.Tx, d doc) error {
	if d["expires_at"] == nil || str(d, "project_id") == "" {
		return nil
	}
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_trusts WHERE trustor_user_id = $1 AND trustee_user_id = $2 AND project_id = $3 AND impersonation = $4 AND expires_at = $5 AND deleted_at = 0`,
		d["trustor_user_id"], d["trustee_user_id"], d["project_id"], truth(d, "impersonation"), d["expires_at"])
	if err == nil && n > 0 {
		err = duplicate("trust", "ID", str(d, "id"))
	}
	return err
}

// trustorHas verifies that the trustor, or the first one of a chain, has the roles.
func (s *Service) trustorHas(tx *db.Tx, d, parent doc, ids []string) error {
	project := str(d, "project_id")
	if project == "" {
		if len(ids) > 0 {
			return s.role.notFound(ids[0])
		}
		return nil
	}
	if _, err := s.project.get(tx, project); err != nil {
		return err
	}
	trustor := str(d, "trustor_user_id")
	if parent != nil {
		above, err := s.pedigree(tx, parent)
		if err != nil {
			return err
		}
		trustor = str(append([]doc{parent}, above...)[len(above)], "trustor_user_id")
	}
	has, err := effectiveRoles(tx, trustor, scope{project: project}, true)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(has, func(h roleRef) bool { return h.ID == id }) {
			return s.role.notFound(id)
		}
	}
	return nil
}

// redelegation settles how often the trust may be passed on, and what a trust made by a trust may be.
func (s *Service) redelegation(d, parent doc, ids []string) error {
	count, counted := int64(0), d["redelegation_count"] != nil
	if counted {
		n, err := column{"", number}.write(d["redelegation_count"])
		if err != nil {
			return fault.BadRequest("redelegation_count is out of range")
		}
		count = n.(int64)
	}
	may := d["allow_redelegation"] == true && !(counted && count == 0)
	delete(d, "allow_redelegation")
	switch {
	case !may:
		count, counted = 0, true
	case count > s.maxRedelegation():
		return forbidden(nil)
	case d["remaining_uses"] != nil:
		return fault.BadRequest("remaining_uses must not be set if redelegation is allowed")
	}
	if !counted {
		count = s.maxRedelegation()
	}
	if parent != nil {
		left, _ := parent["redelegation_count"].(int64)
		if may && counted && count != left-1 {
			return forbidden(nil)
		}
		if may {
			count = left - 1
		}
		d["redelegated_trust_id"] = parent["id"]
		if err := s.withinParent(parent, d, ids, left); err != nil {
			return err
		}
	}
	d["redelegation_count"] = count
	return nil
}

// withinParent refuses a trust that would give more than the one it comes from.
func (s *Service) withinParent(parent, d doc, ids []string, left int64) error {
	if left < 1 || left > s.maxRedelegation() || d["remaining_uses"] != nil {
		return forbidden(nil)
	}
	if text := str(parent, "expires_at"); text != "" {
		end, err := parseTime(text)
		if err != nil {
			return err
		}
		if at, ok := d["expires_at"].(int64); ok && at > end.UnixMicro() {
			return forbidden(nil)
		} else if !ok {
			d["expires_at"] = end.UnixMicro()
		}
	}
	has := roleIDs(parent)
	for _, id := range ids {
		if !slices.Contains(has, id) {
			return forbidden(nil)
		}
	}
	if truth(d, "impersonation") && !truth(parent, "impersonation") {
		return forbidden(nil)
	}
	return nil
}

func (s *Service) deleteTrust(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, err := s.trustFor(tx, r, "identity:delete_trust")
		if err != nil {
			return err
		}
		if err := noDelegation(r); err != nil {
			return err
		}
		return s.endTrust(tx, str(d, "id"))
	})
}

// endTrust ends a trust and those redelegated from it.
func (s *Service) endTrust(tx *db.Tx, id string) error {
	if _, err := tx.Exec(`UPDATE identity_trusts SET deleted_at = $1 WHERE id = $2`, tx.NowMicros(), id); err != nil {
		return err
	}
	if err := s.trust.emit(tx, id, "delete"); err != nil {
		return err
	}
	below, err := db.All(tx, db.Value[string], `SELECT id FROM identity_trusts WHERE redelegated_trust_id = $1 AND deleted_at = 0 ORDER BY id`, id)
	if err != nil {
		return err
	}
	for _, b := range below {
		if err := s.endTrust(tx, b); err != nil {
			return err
		}
	}
	return nil
}
