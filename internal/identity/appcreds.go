package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) appCredRoutes() []api.Route {
	o := api.Object
	const creds, rules = "/v3/users/{user_id}/application_credentials", "/v3/users/{user_id}/access_rules"
	return []api.Route{
		api.Handle("GET", creds, o("identity:list_application_credentials"), 200, s.listAppCreds),
		api.Handle("POST", creds, o("identity:create_application_credential"), 201, s.createAppCred),
		api.Handle("GET", creds+"/{application_credential_id}", o("identity:get_application_credential"), 200, s.showAppCred),
		api.Handle("DELETE", creds+"/{application_credential_id}", o("identity:delete_application_credential"), 204, s.deleteAppCred),
		api.Handle("GET", rules, o("identity:list_access_rules"), 200, s.listAccessRules),
		api.Handle("GET", rules+"/{access_rule_id}", o("identity:get_access_rule"), 200, s.showAccessRule),
		api.Handle("DELETE", rules+"/{access_rule_id}", o("identity:delete_access_rule"), 204, s.deleteAccessRule),
	}
}

// ownOrAppCred refuses delegated tokens; an application credential's own are looked at further (keystone/api/users.py, _block_delegated_token_app_creds).
func ownOrAppCred(r *api.Request) error {
	if se := sessionOf(r); se != nil && se.delegated() && !slices.Contains(se.Methods, "application_credential") {
		return forbidden(nil)
	}
	return nil
}

// unrestrictedOnly refuses tokens of an application credential that may not make or delete further ones.
func unrestrictedOnly(r *api.Request) error {
	se := sessionOf(r)
	if se == nil || se.appCred == nil || se.appCred.unrestricted {
		return nil
	}
	return forbiddenAction("Using method 'application_credential' is not allowed for managing additional application credentials.")
}

// appCredDoc is an application credential as it is sent.
func (s *Service) appCredDoc(tx *db.Tx, r *api.Request, d doc) (doc, error) {
	roles := []doc{}
	for _, id := range roleIDs(d) {
		role, err := s.role.find(tx, id)
		if err != nil {
			return nil, err
		}
		if role != nil {
			roles = append(roles, role)
		}
	}
	out := doc{"id": d["id"], "name": d["name"], "description": d["description"], "project_id": d["project_id"], "roles": roles, "unrestricted": d["unrestricted"], "system": nil,
		"user_id": d["user_id"], "expires_at": d["expires_at"], "links": doc{"self": base(r) + "/application_credentials/" + str(d, "id")}}
	if at, ok := d["expires_at"].(string); ok {
		out["expires_at"] = strings.TrimSuffix(at, "Z") // a naive time upstream
	}
	if rules, ok := d["access_rules"].([]any); ok && len(rules) > 0 {
		out["access_rules"] = rules
	}
	return out, nil
}

func (s *Service) listAppCreds(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	l := listing{kind: s.appCred, filters: []string{"name"}}
	checks := l.narrow(r.Query())
	l.where.Add("user_id = ?", r.Path("user_id"))
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		if _, err := s.credentialsOf(tx, r, r.Path("user_id"), "identity:list_application_credentials", false); err != nil {
			return nil, err
		}
		if err := ownOrAppCred(r); err != nil {
			return nil, err
		}
		all, err := s.appCred.all(tx, &l.where)
		if err != nil {
			return nil, err
		}
		var out []doc
		for _, d := range all {
			if slices.ContainsFunc(checks, func(ok func(doc) bool) bool { return !ok(d) }) {
				continue
			}
			w, err := s.appCredDoc(tx, r, d)
			if err != nil {
				return nil, err
			}
			out = append(out, w)
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "application_credentials", list)
}

func (s *Service) createAppCred(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	user := r.Path("user_id")
	may := func(tx *db.Tx) (string, error) {
		return s.credentialsOf(tx, r, user, "identity:create_application_credential", true)
	}
	served, err := inRead(ctx, s, may)
	if err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.appCred, memberOf(in, "application_credential"))
	if err != nil {
		return nil, err
	}
	if err := ownOrAppCred(r); err != nil {
		return nil, err
	}
	if err := unrestrictedOnly(r); err != nil {
		return nil, err
	}
	project := r.ProjectID()
	switch {
	case served != "" && d["unrestricted"] == true: // it could make further ones, which would live on when it is taken away
		return nil, fault.BadRequest("Invalid application credential: A service identity's application credential cannot be unrestricted")
	case served != "":
		project = served
	case user != r.UserID():
		return nil, forbiddenAction("Cannot create an application credential for another user.")
	}
	secret := str(d, "secret")
	if secret == "" {
		var b [64]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, err
		}
		secret = base64.RawURLEncoding.EncodeToString(b[:])
	}
	hash, err := s.passwords.hash(ctx, secret)
	if err != nil {
		return nil, err
	}
	out, err := inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if _, err := may(tx); err != nil { // once more: the service identity may have ended meanwhile
			return nil, err
		}
		if err := s.roomForAppCred(tx, user); err != nil {
			return nil, err
		}
		c := doc{"id": newID(), "name": d["name"], "description": d["description"], "user_id": user, "project_id": project, "unrestricted": d["unrestricted"]}
		if err := s.completeAppCred(tx, r, c, d); err != nil {
			return nil, err
		}
		if served != "" {
			if err := grantServed(tx, user, project, roleIDs(c)); err != nil {
				return nil, err
			}
		}
		if err := s.appCred.insert(tx, c, hiddenColumn{"secret_hash", hash}); err != nil {
			if db.IsConflict(err, "") {
				return nil, duplicate("application_credential", "name", str(d, "name"))
			}
			return nil, err
		}
		got, err := s.appCred.get(tx, str(c, "id"))
		if err != nil {
			return nil, err
		}
		return s.appCredDoc(tx, r, got)
	})
	if err != nil {
		return nil, err
	}
	out["secret"] = secret
	return doc{"application_credential": out}, nil
}

// roomForAppCred counts the user's application credentials against [application_credential] user_limit.
func (s *Service) roomForAppCred(tx *db.Tx, user string) error {
	most := s.o.Conf.ApplicationCredential.UserLimit
	if most < 0 {
		return nil
	}
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_application_credentials WHERE user_id = $1`, user)
	if err == nil && n >= int64(most) {
		err = fault.Forbidden("Unable to create additional application credentials, maximum of %d already exceeded for user.", most)
	}
	return err
}

// withImplied adds to roles those that they imply: a credential's roles are a list, not a root (keystone/api/users.py, _get_roles).
func withImplied(tx *db.Tx, ids []string) ([]string, error) {
	implies, err := implications(tx)
	if err != nil {
		return nil, err
	}
	for _, id := range closure(ids, implies) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// completeAppCred works out roles, end and access rules of a new application credential.
func (s *Service) completeAppCred(tx *db.Tx, r *api.Request, c, d doc) error {
	ids, err := s.namedRoles(tx, d["roles"])
	if err != nil {
		return err
	}
	if ids, err = withImplied(tx, ids); err != nil {
		return err
	}
	for _, id := range ids {
		if !slices.Contains(r.Caller.RoleIDs, id) {
			return fault.BadRequest("Invalid application credential: Cannot create an application credential with unassigned role")
		}
	}
	if len(ids) == 0 {
		ids = r.Caller.RoleIDs
	}
	c["roles"] = idRefs(ids)
	if text := str(d, "expires_at"); text != "" {
		at, err := parseTime(text)
		if err != nil {
			return fault.BadRequest("Timestamp not in expected format.%s", malformed)
		}
		if at.UnixMicro() <= tx.NowMicros() {
			return fault.BadRequest("The 'expires_at' must not be before now.%s", malformed)
		}
		c["expires_at"] = at.UnixMicro()
	}
	given, ok := d["access_rules"].([]any)
	if !ok {
		return nil
	}
	rules := []any{}
	for _, e := range given {
		rule, err := s.accessRuleOf(tx, str(c, "user_id"), asDoc(e))
		if err != nil {
			return err
		}
		rules = append(rules, rule)
	}
	c["access_rules"] = rules
	return nil
}

// accessRuleOf finds or makes the user's access rule.
func (s *Service) accessRuleOf(tx *db.Tx, user string, given doc) (doc, error) {
	show := func(d doc) doc {
		return doc{"id": d["id"], "service": d["service"], "path": d["path"], "method": d["method"]}
	}
	id := str(given, "id")
	if id != "" {
		d, err := s.accessRule.find(tx, id)
		if err != nil {
			return nil, err
		}
		if d != nil && str(d, "user_id") != user {
			return nil, s.accessRule.notFound(id)
		}
		if d != nil {
			return show(d), nil
		}
		if str(given, "path") == "" || str(given, "method") == "" || str(given, "service") == "" {
			return nil, s.accessRule.notFound(id)
		}
	} else {
		id = newID()
	}
	same, err := s.accessRule.all(tx, (&db.Where{}).Add("user_id = ? AND service = ? AND path = ? AND method = ?", user, str(given, "service"), str(given, "path"), str(given, "method")))
	if err != nil {
		return nil, err
	}
	if len(same) > 0 {
		return show(same[0]), nil
	}
	d := doc{"id": id, "user_id": user, "service": given["service"], "path": given["path"], "method": given["method"]}
	if err := s.accessRule.insert(tx, d); err != nil {
		return nil, err
	}
	return show(d), nil
}

// appCredFor reads the path's application credential; the rule is asked about its owner, whoever the path names.
func (s *Service) appCredFor(tx *db.Tx, r *api.Request, rule string, change bool) (d doc, served string, err error) {
	if d, err = s.appCred.find(tx, r.Path("application_credential_id")); err != nil {
		return nil, "", err
	}
	owner := r.Path("user_id")
	if d != nil {
		owner = str(d, "user_id")
	}
	r.HTTP.SetPathValue("user_id", owner)
	if served, err = s.credentialsOf(tx, r, owner, rule, change); err != nil {
		return nil, "", err
	}
	if err := ownOrAppCred(r); err != nil {
		return nil, "", err
	}
	if d == nil {
		return nil, "", s.appCred.notFound(r.Path("application_credential_id"))
	}
	return d, served, nil
}

func (s *Service) showAppCred(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, _, err := s.appCredFor(tx, r, "identity:get_application_credential", false)
		if err != nil {
			return nil, err
		}
		w, err := s.appCredDoc(tx, r, d)
		return doc{"application_credential": w}, err
	})
}

func (s *Service) deleteAppCred(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, served, err := s.appCredFor(tx, r, "identity:delete_application_credential", true)
		if err != nil {
			return err
		}
		if err := unrestrictedOnly(r); err != nil {
			return err
		}
		if err := s.appCred.remove(tx, str(d, "id")); err != nil || served == "" {
			return err
		}
		return s.withdrawServed(tx, str(d, "user_id"), served, roleIDs(d))
	})
}

func accessRuleDoc(r *api.Request, d doc) doc {
	return doc{"id": d["id"], "service": d["service"], "path": d["path"], "method": d["method"], "links": doc{"self": base(r) + "/access_rules/" + str(d, "id")}}
}

func (s *Service) listAccessRules(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		if _, err := s.credentialsOf(tx, r, r.Path("user_id"), "identity:list_access_rules", false); err != nil {
			return nil, err
		}
		if err := ownOrAppCred(r); err != nil {
			return nil, err
		}
		l := listing{kind: s.accessRule, filters: []string{"service", "path", "method"}}
		l.narrow(r.Query())
		l.where.Add("user_id = ?", r.Path("user_id"))
		all, err := s.accessRule.all(tx, &l.where)
		for i := range all {
			all[i] = accessRuleDoc(r, all[i])
		}
		return all, err
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "access_rules", list)
}

func (s *Service) accessRuleFor(tx *db.Tx, r *api.Request, rule string, change bool) (doc, error) {
	if _, err := s.credentialsOf(tx, r, r.Path("user_id"), rule, change); err != nil {
		return nil, err
	}
	if err := ownOrAppCred(r); err != nil {
		return nil, err
	}
	d, err := s.accessRule.get(tx, r.Path("access_rule_id"))
	if err == nil && str(d, "user_id") != r.Path("user_id") {
		err = s.accessRule.notFound(r.Path("access_rule_id"))
	}
	return d, err
}

func (s *Service) showAccessRule(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.accessRuleFor(tx, r, "identity:get_access_rule", false)
		if err != nil {
			return nil, err
		}
		return doc{"access_rule": accessRuleDoc(r, d)}, nil
	})
}

func (s *Service) deleteAccessRule(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, err := s.accessRuleFor(tx, r, "identity:delete_access_rule", true)
		if err != nil {
			return err
		}
		creds, err := s.appCred.all(tx, (&db.Where{}).Add("user_id = ?", d["user_id"]))
		if err != nil {
			return err
		}
		for _, c := range creds {
			list, _ := c["access_rules"].([]any)
			for _, e := range list {
				if str(asDoc(e), "id") == d["id"] {
					return fault.Forbidden("May not delete access rule in use")
				}
			}
		}
		return s.accessRule.remove(tx, str(d, "id"))
	})
}
