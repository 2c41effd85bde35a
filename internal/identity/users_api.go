package identity

import (
	"context"
	"errors"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) userRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "/v3/users", o("identity:list_users"), 200, s.listUsers),
		api.Handle("POST", "/v3/users", o("identity:create_user"), 201, s.createUser),
		api.Handle("GET", "/v3/users/{user_id}", o("identity:get_user"), 200, s.showUser),
		api.Handle("PATCH", "/v3/users/{user_id}", o("identity:update_user"), 200, s.updateUser),
		api.Handle("DELETE", "/v3/users/{user_id}", o("identity:delete_user"), 204, s.deleteUser),
		api.Handle("POST", "/v3/users/{user_id}/password", api.Public(), 204, s.changePassword, api.ProvesForChange()),
		api.Handle("GET", "/v3/users/{user_id}/projects", o("identity:list_user_projects"), 200, s.listUserProjects),
		api.Handle("GET", "/v3/users/{user_id}/groups", o("identity:list_groups_for_user"), 200, s.listUserGroups),
	}
}

func (s *Service) listUsers(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_users", domainTarget(r)); err != nil {
		return nil, err
	}
	if err := badTimeFilter(r.Query(), "password_expires_at"); err != nil {
		return nil, err
	}
	l := listing{kind: s.user, filters: []string{"domain_id", "enabled", "name", "password_expires_at"}}
	narrowUsers(r, &l)
	if q := r.Query(); !q.Has("name") && !isTrue(q.Get("service_identities")) { // they are no people
		l.where.Add("id NOT IN (SELECT user_id FROM identity_service_users)")
	}
	if own := r.Caller.DomainID; own != "" {
		l.where.Add("domain_id = ?", own)
	}
	if err := s.lookAtList(ctx, r, userEntity, &l); err != nil {
		return nil, err
	}
	if name := r.Query().Get("name"); name != "" && slices.Contains(l.filters, "name") { // else a directory has said who has it
		ids, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) { return usersNamed(tx, name) })
		if err != nil {
			return nil, err
		}
		l.only = &ids
	}
	return s.list(ctx, r, l)
}

// userFor reads the path's user and asks a rule about it.
func (s *Service) userFor(tx *db.Tx, r *api.Request, rule string) (doc, error) {
	u, err := s.user.get(tx, r.Path("user_id"))
	if err != nil && !fault.Is(err, 404) {
		return nil, err
	}
	if denied := r.Enforce(rule, about(r, "user", u)); denied != nil {
		return nil, denied
	}
	return u, err
}

func (s *Service) showUser(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		u, err := s.userFor(tx, r, "identity:get_user")
		if err != nil {
			return nil, err
		}
		if err := showFederated(tx, u); err != nil {
			return nil, err
		}
		return s.user.member(s, r, u), nil
	})
}

func (s *Service) createUser(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	raw := memberOf(in, "user")
	if err := r.Enforce("identity:create_user", about(r, "user", asDoc(raw))); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.userCreate, raw)
	if err != nil {
		return nil, err
	}
	d = normalized(d)
	defaultDomainOf(r, d)
	if err := s.writableDomain(ctx, r, str(d, "domain_id")); err != nil {
		return nil, err
	}
	d["id"] = newID()
	p, err := s.newPasswordOf(claim(ctx, r, r.UserID()), d)
	if err != nil {
		return nil, err
	}
	federated := d["federated"]
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		d := clone(d)
		if err := s.insertUser(tx, d, p); err != nil {
			return nil, err
		}
		got, err := s.user.get(tx, str(d, "id"))
		if err != nil {
			return nil, err
		}
		if err := s.mayLink(tx, r, "identity:create_user", federated); err != nil {
			return nil, err
		}
		if err := setFederated(tx, got, federated); err != nil {
			return nil, err
		}
		return s.user.member(s, r, got), nil
	})
}

func (s *Service) updateUser(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	var d doc
	err := s.read(ctx, func(tx *db.Tx) error {
		if _, err := s.userFor(tx, r, "identity:update_user"); err != nil {
			return err
		}
		err := writable(tx, r.Path("user_id"))
		if err != nil {
			return err
		}
		d, err = checked(s.schemas.userUpdate, memberOf(in, "user"))
		if err != nil {
			return err
		}
		return sameID(d, r.Path("user_id"))
	})
	if err != nil {
		return nil, err
	}
	p, err := s.newPasswordOf(claim(ctx, r, r.UserID()), d)
	if err != nil {
		return nil, err
	}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		old, err := s.userFor(tx, r, "identity:update_user")
		if err != nil {
			return nil, err
		}
		got, err := s.changeUser(tx, old, clone(d), p)
		if err != nil {
			return nil, err
		}
		s.user.showExtra(got)
		if err := s.mayLink(tx, r, "identity:update_user", d["federated"]); err != nil {
			return nil, err
		}
		if err := setFederated(tx, got, d["federated"]); err != nil {
			return nil, err
		}
		return s.user.member(s, r, got), nil
	})
}

func (s *Service) deleteUser(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		u, err := s.userFor(tx, r, "identity:delete_user")
		if err != nil {
			return err
		}
		if err := writable(tx, str(u, "id")); err != nil {
			return err
		}
		return s.removeUser(tx, str(u, "id"))
	})
}

// changePassword needs no token: the old password is the proof.
func (s *Service) changePassword(ctx context.Context, r *api.Request, in map[string]any) (api.None, error) {
	d, err := checked(s.schemas.passwordChange, memberOf(in, "user"))
	if err != nil {
		return api.None{}, err
	}
	if err := s.disableInactive(api.Unrecorded(ctx)); err != nil {
		return api.None{}, err
	}
	id := r.Path("user_id")
	if named, err := s.inDirectory(ctx, r, doc{"id": id}); err != nil || named != nil {
		if err == nil {
			_, err = s.proveInDirectory(api.Unrecorded(ctx), r, named, str(d, "original_password"))
		}
		if err == nil {
			err = forbidden(errReadOnly)
		}
		return api.None{}, err
	}
	proof := claim(api.Unrecorded(ctx), r, accountOf(doc{"id": id}))
	var u knownUser
	var past []pastPassword
	err = s.read(ctx, func(tx *db.Tx) error {
		if u, err = s.findUser(tx, doc{"id": id}); err == nil {
			past, err = pastPasswords(tx, id, u.hash)
		}
		return err
	})
	if err != nil {
		return api.None{}, err
	}
	tried(r, u.id)
	if err := s.checkPassword(proof, u, str(d, "original_password")); err != nil && !errors.Is(err, errExpired) {
		return api.None{}, err
	}
	if len(s.mfaRules(doc{"options": u.options})) == 0 {
		if err := s.loggedIn(proof, u.id); err != nil {
			return api.None{}, err
		}
	}
	fresh, err := s.ownPassword(proof, u, past, str(d, "password"))
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(`UPDATE identity_users SET password_hash = $1, password_expires_at = $2 WHERE id = $3 AND password_hash = $4`, fresh, s.passwordExpiry(u.options, false), id, u.hash)
		if err != nil {
			return err
		}
		if n == 0 { // somebody else changed it meanwhile
			return unauthorized(errChanged(id))
		}
		if err := s.keepPassword(tx, id, u.hash, fresh, true); err != nil {
			return err
		}
		if err := s.user.touch(tx, id, "update"); err != nil {
			return err
		}
		return revokeUser(tx, id)
	})
}

// ownPassword hashes a password that a user chooses, if the rules let the user have it now. past goes from the newest on.
func (s *Service) ownPassword(ctx context.Context, u knownUser, past []pastPassword, password string) (string, error) {
	if err := s.strong(password); err != nil {
		return "", err
	}
	if truth(u.options, "lock_password") {
		return "", fault.BadRequest("You cannot change your password at this time due to password policy disallowing password changes. Please contact your administrator to reset your password.")
	}
	if len(past) > 0 {
		if err := s.tooYoung(past[0]); err != nil {
			return "", err
		}
	}
	if err := s.unusedBefore(ctx, past, password); err != nil {
		return "", err
	}
	return s.newHash(ctx, password)
}

func (s *Service) listUserProjects(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	ids, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) {
		u, err := s.userFor(tx, r, "identity:list_user_projects")
		if err != nil {
			return nil, err
		}
		return projectsOf(tx, str(u, "id"))
	})
	if err != nil {
		return nil, err
	}
	l := listing{kind: s.project, filters: []string{"domain_id", "enabled", "name"}, only: &ids}
	return s.list(ctx, r, l)
}

func (s *Service) listUserGroups(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if _, err := inRead(ctx, s, func(tx *db.Tx) (doc, error) { return s.userFor(tx, r, "identity:list_groups_for_user") }); err != nil {
		return nil, err
	}
	if err := s.lookAt(ctx, r, r.Path("user_id"), how{now: true}); err != nil {
		return nil, err
	}
	ends, err := inRead(ctx, s, func(tx *db.Tx) (map[string]int64, error) { return membershipsOf(tx, r.Path("user_id")) })
	if err != nil {
		return nil, err
	}
	l := s.membershipList(r.Path("user_id"), ends)
	if own := r.Caller.DomainID; own != "" {
		l.where.Add("domain_id = ?", own)
	}
	return s.list(ctx, r, l)
}

// The scopes that a token could be exchanged for.
func (s *Service) authRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "/v3/auth/projects", o("identity:get_auth_projects"), 200, s.authProjects),
		api.Handle("GET", "/v3/auth/domains", o("identity:get_auth_domains"), 200, s.authDomains),
		api.Handle("GET", "/v3/auth/system", o("identity:get_auth_system"), 200, s.authSystem),
		api.Handle("GET", "/v3/OS-FEDERATION/projects", o("identity:get_auth_projects"), 200, s.authProjects),
		api.Handle("GET", "/v3/OS-FEDERATION/domains", o("identity:get_auth_domains"), 200, s.authDomains),
	}
}

func (s *Service) authProjects(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:get_auth_projects", policy.Map{}); err != nil {
		return nil, err
	}
	ids, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) { return projectsFor(tx, actorOf(r)) })
	if err != nil {
		return nil, err
	}
	l := listing{kind: s.project, only: &ids}
	return s.list(ctx, r, l)
}

func (s *Service) authDomains(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:get_auth_domains", policy.Map{}); err != nil {
		return nil, err
	}
	ids, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) { return domainsFor(tx, actorOf(r)) })
	if err != nil {
		return nil, err
	}
	l := listing{kind: s.domain, only: &ids}
	return s.list(ctx, r, l)
}

func (s *Service) authSystem(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_auth_system", policy.Map{}); err != nil {
		return nil, err
	}
	roles, err := inRead(ctx, s, func(tx *db.Tx) ([]roleRef, error) { return effectiveRoles(tx, r.UserID(), scope{system: true}, true) })
	system := []doc{}
	if len(roles) > 0 {
		system = append(system, doc{"all": true})
	}
	return doc{"system": system, "links": doc{"self": base(r) + "/auth/system"}}, err
}
