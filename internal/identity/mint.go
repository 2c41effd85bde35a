package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// readScope reads what scope is asked for (keystone/auth/core.py, _validate_and_normalize_scope_data). A scope that is missing or
// disabled is 401, as a wrong password is.
func (s *Service) readScope(ctx context.Context, r *api.Request, auth, identity doc, methods []string, p *authentication) error {
	if slices.Contains(methods, "application_credential") {
		if _, given := auth["scope"]; given {
			return fault.Unauthorized("Error authenticating with application credential: Application credentials cannot request a scope.").Because(authHint{})
		}
		p.fixed = true
		return nil
	}
	raw, given := auth["scope"]
	if !given {
		return nil
	}
	n := 0
	for _, name := range []string{"project", "domain", "unscoped", "system", "OS-TRUST:trust"} {
		if m, ok := raw.(map[string]any); ok {
			if _, has := m[name]; has {
				n++
			}
		} else if raw == name {
			n++
		}
	}
	if n != 1 {
		return expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope")
	}
	sc, _ := raw.(map[string]any)
	if _, has := sc["unscoped"]; has || raw == "unscoped" {
		p.unscoped = true
		return nil
	}
	if sc == nil {
		return expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope")
	}
	p.fixed = true
	if sc["system"] != nil {
		p.scope.system = true
		return nil
	}
	if ref := object(sc, "project"); ref != nil {
		dom := object(ref, "domain")
		key := fmt.Sprintf("project|%q|%q|%q|%q|%v", str(ref, "id"), str(ref, "name"), str(dom, "id"), str(dom, "name"), ref["domain"] == nil)
		id, err := recall(ctx, s, r, key, small[string], func(tx *db.Tx) (string, error) { return s.scopeProject(tx, ref) })
		p.scope.project = id
		return err
	}
	if ref := object(sc, "domain"); ref != nil {
		id, err := recall(ctx, s, r, fmt.Sprintf("domain|%q|%q", str(ref, "id"), str(ref, "name")), small[string], func(tx *db.Tx) (string, error) { return s.scopeDomain(tx, ref) })
		p.scope.domain = id
		return err
	}
	return s.read(ctx, func(tx *db.Tx) error {
		id := str(object(sc, "OS-TRUST:trust"), "id")
		if id == "" {
			return expecting("trust_id", "trust")
		}
		trust, err := s.liveTrust(tx, id, tx.NowMicros())
		if fault.Is(err, 404) || err == nil && trust["remaining_uses"] == int64(0) {
			return unauthorized(errors.New("there is no such trust"))
		}
		if err != nil {
			return err
		}
		p.trust, p.scope.project = id, str(trust, "project_id")
		return nil
	})
}

func (s *Service) scopeDomain(tx *db.Tx, ref doc) (string, error) {
	col, v := "id", str(ref, "id")
	if name := str(ref, "name"); name != "" {
		col, v = "name", name
	}
	id, err := db.One(tx, db.Value[string], `SELECT id FROM identity_projects WHERE is_domain = TRUE AND enabled = TRUE AND `+col+` = $1`, v)
	if errors.Is(err, db.ErrNotFound) {
		return "", unauthorized(errors.New("there is no such domain, or it is disabled"))
	}
	return id, err
}

func (s *Service) scopeProject(tx *db.Tx, ref doc) (string, error) {
	var id string
	var err error
	if name := str(ref, "name"); name != "" {
		if ref["domain"] == nil {
			return "", expecting("domain", "project")
		}
		domain, err := s.scopeDomain(tx, object(ref, "domain"))
		if err != nil {
			return "", err
		}
		id, err = db.One(tx, db.Value[string], `SELECT id FROM identity_projects WHERE domain_id = $1 AND name = $2`, domain, name)
		if errors.Is(err, db.ErrNotFound) {
			return "", unauthorized(errors.New("there is no such project"))
		}
		if err != nil {
			return "", err
		}
	} else {
		id = str(ref, "id")
	}
	p, err := readProjectScope(tx, id)
	if errors.Is(err, errRefused) {
		return "", unauthorized(err)
	}
	if err != nil {
		return "", err
	}
	if !p.enabled {
		return "", unauthorized(errors.New("the project or its domain is disabled"))
	}
	return id, nil
}

// mint makes the token that an authentication has earned.
func (s *Service) mint(ctx context.Context, r *api.Request, p *authentication) (*session, error) {
	if err := s.lookBeforeMint(ctx, r, p); err != nil {
		return nil, err
	}
	audit, err := newAuditID()
	if err != nil {
		return nil, err
	}
	slices.Sort(p.methods)
	now := s.o.Now().Truncate(time.Second)
	t := &Token{UserID: p.user, Methods: unpackMethods(packMethods(slices.Compact(p.methods))), ProjectID: p.scope.project, DomainID: p.scope.domain, System: p.scope.system,
		TrustID: p.trust, AppCredID: p.appCred, AccessTokenID: p.accessToken, Thumbprint: p.thumbprint, via: p.via, IssuedAt: now.UnixMicro(), AuditIDs: []string{audit}}
	t.ExpiresAt = now.Add(s.o.Conf.Token.Expiration).UnixMicro()
	if p.expires != 0 && p.expires < t.ExpiresAt {
		t.ExpiresAt = p.expires
	}
	if p.parent != "" {
		t.AuditIDs = append(t.AuditIDs, p.parent)
	}
	se, err := s.earn(ctx, r, p, t)
	if errors.Is(err, errMoreMethods) && p.via != nil {
		return nil, unauthorized(err) // a receipt would not say by which identity provider the user came, with which the token must end
	}
	if errors.Is(err, errMoreMethods) {
		return nil, s.issueReceipt(ctx, p, t.Methods)
	}
	var f *fault.Error
	if errors.Is(err, errRefused) && !errors.As(err, &f) {
		return nil, unauthorized(err)
	}
	if err != nil {
		return nil, err
	}
	if err := s.refreshKeys(ctx); err != nil {
		return nil, err
	}
	if se.id, err = s.seal(t); err != nil {
		return nil, err
	}
	se.caller.Token = se.id
	s.sessions.put(se.id, se)
	return se, nil
}

// earn works out what the token will stand for. Without a delegation that is the same for every token of the user and scope.
func (s *Service) earn(ctx context.Context, r *api.Request, p *authentication, t *Token) (*session, error) {
	prepare := func(tx *db.Tx) error {
		if err := s.defaultScope(tx, p, t); err != nil {
			return err
		}
		return s.checkMethods(tx, t)
	}
	if p.trust != "" {
		return inWrite(ctx, s, func(tx *db.Tx) (*session, error) {
			if err := prepare(tx); err != nil {
				return nil, err
			}
			se, err := s.resolve(tx, t, true)
			if err == nil {
				err = p.current(se.user.epoch)
			}
			if err != nil {
				return nil, err
			}
			return se, consumeTrust(tx, p.trust, se)
		})
	}
	if p.appCred != "" || p.accessToken != "" {
		return inRead(ctx, s, func(tx *db.Tx) (*session, error) {
			if err := prepare(tx); err != nil {
				return nil, err
			}
			return s.resolve(tx, t, true)
		})
	}
	key := fmt.Sprintf("session|%s|%+v|%v|%v|%v|%s", p.user, p.scope, p.fixed, p.unscoped, t.Methods, p.via.key())
	work := func(tx *db.Tx) (*session, error) {
		of := *t
		if err := s.defaultScope(tx, p, &of); err != nil {
			return nil, err
		}
		if err := s.checkMethods(tx, &of); err != nil {
			return nil, err
		}
		return s.resolve(tx, &of, true)
	}
	model, err := recall(ctx, s, r, key, small[*session], work)
	if err == nil && model.outdated(s.o.Now().UnixMicro()) {
		model, err = inRead(ctx, s, work)
	}
	if err == nil {
		err = p.current(model.user.epoch)
	}
	if err != nil {
		return nil, err
	}
	return model.like(t), nil
}

// like is a session of the same user and scope for another token.
func (se *session) like(t *Token) *session {
	t.ProjectID, t.userEpoch, t.scopeEpoch, t.via = se.ProjectID, se.userEpoch, se.scopeEpoch, se.via
	out := &session{Token: t, epoch: se.epoch, until: se.until, user: se.user, project: se.project, domain: se.domain, roles: se.roles, domainEpoch: se.domainEpoch, bodies: map[string][]byte{}}
	c := *se.caller
	c.AuditID, c.ExpiresAt, c.Extra, c.Token = t.AuditIDs[0], t.ExpiresAt, out, ""
	c.BoundTo = t.Thumbprint
	out.caller = &c
	return out
}

// consumeTrust takes one of a trust's uses; its tokens end with it.
func consumeTrust(tx *db.Tx, id string, se *session) error {
	n, err := tx.Exec(`UPDATE identity_trusts SET remaining_uses = CASE WHEN remaining_uses < 0 THEN remaining_uses ELSE remaining_uses - 1 END WHERE id = $1 AND deleted_at = 0 AND remaining_uses <> 0`, id)
	if err == nil && n == 0 {
		return fault.Forbidden("No remaining uses for trust: %s.", id)
	}
	if err != nil {
		return err
	}
	end, err := db.One(tx, db.Value[int64], `SELECT expires_at FROM identity_trusts WHERE id = $1`, id)
	if err == nil && end != 0 && end < se.ExpiresAt {
		se.ExpiresAt = end
		se.caller.ExpiresAt = end
	}
	return err
}

// defaultScope gives an unscoped request the user's default project when the user has a role there, and an application credential its
// project (keystone/api/_shared/authentication.py, _check_and_set_default_scoping).
func (s *Service) defaultScope(tx *db.Tx, p *authentication, t *Token) error {
	if p.appCred != "" {
		project, err := db.One(tx, db.Value[string], `SELECT project_id FROM identity_application_credentials WHERE id = $1`, p.appCred)
		t.ProjectID = project
		return err
	}
	if p.fixed || p.unscoped || p.via != nil {
		return nil
	}
	project, err := db.One(tx, db.Value[string], `SELECT default_project_id FROM identity_users WHERE id = $1`, p.user)
	if err != nil || project == "" {
		return err
	}
	ref, err := readProjectScope(tx, project)
	if errors.Is(err, errRefused) {
		return nil
	}
	if err != nil || !ref.enabled {
		return err
	}
	roles, err := effectiveRoles(tx, p.user, scope{project: project}, false)
	if len(roles) > 0 {
		t.ProjectID = project
	}
	return err
}
