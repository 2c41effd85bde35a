package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// named is an id with its name.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// session is a token with everything that it stands for, as of an epoch.
type session struct {
	*Token
	id          string
	epoch       int64
	user        account
	project     *projectScope
	domain      *named
	roles       []roleRef
	domainEpoch int64
	trust       *trustScope
	appCred     *appCredScope
	oauth       *oauthScope
	caller      *api.Caller
	until       int64 // when a group membership that counted here ends; 0: never

	mu     sync.Mutex
	bodies map[string][]byte // by public endpoint and whether the catalog is in
}

type account struct {
	named
	domain          named
	passwordExpires int64
	enabled         bool
	domainEnabled   bool
	epoch           int64 // with the domain's
}

type projectScope struct {
	named
	domain   named
	isDomain bool
	enabled  bool // with the domain
	epoch    int64
}

type trustScope struct {
	id, trustor, trustee string
	impersonation        bool
	trustorAccount       account
	roles                []doc    // the session's, whole
	above                []string // the trustors of those that it was redelegated from
}

type appCredScope struct {
	id, name     string
	unrestricted bool
	accessRules  []any
	restrictedBy bool // has access rules, even none
}

// errRefused wraps the reasons for which a token is not worth anything (any more).
var errRefused = errors.New("token refused")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errRefused, fmt.Sprintf(format, args...))
}

func readAccount(tx *db.Tx, id string) (account, error) {
	a, err := db.One(tx, func(r db.Row) (account, error) {
		var a account
		var own, ofDomain int64
		err := r.Scan(&a.ID, &a.Name, &a.enabled, &a.passwordExpires, &own, &a.domain.ID, &a.domain.Name, &a.domainEnabled, &ofDomain)
		a.epoch = own + ofDomain
		return a, err
	}, `SELECT u.id, CASE WHEN u.federated_name = '' THEN u.name ELSE u.federated_name END, u.enabled, u.password_expires_at, u.epoch, d.id, d.name, d.enabled, d.epoch
		FROM identity_users u JOIN identity_projects d ON d.id = u.domain_id WHERE u.id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return a, refused("there is no user %s", id)
	}
	return a, err
}

func readProjectScope(tx *db.Tx, id string) (*projectScope, error) {
	p, err := db.One(tx, func(r db.Row) (*projectScope, error) {
		var p projectScope
		var enabled, domainEnabled bool
		var own, ofDomain int64
		err := r.Scan(&p.ID, &p.Name, &p.isDomain, &enabled, &own, &p.domain.ID, &p.domain.Name, &domainEnabled, &ofDomain)
		p.enabled, p.epoch = enabled && domainEnabled, own+ofDomain
		return &p, err
	}, `SELECT p.id, p.name, p.is_domain, p.enabled, p.epoch, d.id, d.name, d.enabled, d.epoch
		FROM identity_projects p JOIN identity_projects d ON d.id = p.domain_id WHERE p.id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return nil, refused("there is no project %s", id)
	}
	return p, err
}

// resolve looks up what a token stands for, and whether it still does.
func (s *Service) resolve(tx *db.Tx, t *Token, minting bool) (*session, error) {
	se := &session{Token: t, bodies: map[string][]byte{}}
	var err error
	if se.epoch, err = epochIn(tx); err != nil {
		return nil, err
	}
	if n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_revocations WHERE audit_id = $1`, t.AuditIDs[0]); err != nil {
		return nil, err
	} else if n > 0 {
		return nil, refused("it was revoked")
	}
	if se.user, err = readAccount(tx, t.UserID); err != nil {
		return nil, err
	}
	if !se.user.enabled || !se.user.domainEnabled {
		return nil, refused("user %s or its domain is disabled", t.UserID)
	}
	if se.until, err = membershipEnd(tx, t.UserID); err != nil {
		return nil, err
	}
	if err := resolveFederation(tx, t, minting); err != nil {
		return nil, err
	}
	if err := s.resolveScope(tx, se); err != nil {
		return nil, err
	}
	if minting {
		t.userEpoch, t.scopeEpoch = se.user.epoch, se.scopeEpochNow()
		if se.trust != nil {
			t.userEpoch += se.trust.trustorAccount.epoch
		}
	}
	want := se.user.epoch
	if se.trust != nil {
		want += se.trust.trustorAccount.epoch
	}
	if t.userEpoch != want || t.scopeEpoch != se.scopeEpochNow() {
		return nil, refused("it was made before a change that revoked it")
	}
	se.caller = se.makeCaller()
	return se, nil
}

func (se *session) scopeEpochNow() int64 {
	if se.project != nil {
		return se.project.epoch
	}
	return se.domainEpoch
}

func (s *Service) resolveScope(tx *db.Tx, se *session) (err error) {
	t := se.Token
	switch {
	case t.System:
		se.roles, err = effectiveRoles(tx, t.UserID, scope{system: true}, true)
	case t.DomainID != "":
		se.domain = &named{ID: t.DomainID}
		var enabled bool
		_, err = db.One(tx, func(r db.Row) (bool, error) { return true, r.Scan(&se.domain.Name, &enabled, &se.domainEpoch) },
			`SELECT name, enabled, epoch FROM identity_projects WHERE id = $1 AND is_domain = TRUE`, t.DomainID)
		if errors.Is(err, db.ErrNotFound) || err == nil && !enabled {
			return refused("domain %s is missing or disabled", t.DomainID)
		}
		if err == nil {
			se.roles, err = rolesOf(tx, t.actor(), scope{domain: t.DomainID}, false)
		}
	case t.ProjectID != "":
		if se.project, err = readProjectScope(tx, t.ProjectID); err != nil {
			return err
		}
		if !se.project.enabled {
			return refused("project %s or its domain is disabled", t.ProjectID)
		}
		switch {
		case t.TrustID != "":
			err = s.resolveTrust(tx, se)
		case t.AppCredID != "":
			err = s.resolveAppCred(tx, se)
		case t.AccessTokenID != "":
			err = s.resolveOAuth(tx, se)
		default:
			se.roles, err = rolesOf(tx, t.actor(), scope{project: t.ProjectID}, false)
		}
	case t.TrustID != "":
		return s.resolveTrust(tx, se)
	default:
		return nil
	}
	if err == nil && len(se.roles) == 0 {
		return refused("user %s has no role on the scope", t.UserID)
	}
	return err
}

func (se *session) makeCaller() *api.Caller {
	u := se.user
	if se.trust != nil && se.trust.impersonation {
		u = se.trust.trustorAccount
	}
	c := &api.Caller{UserID: u.ID, UserName: u.Name, UserDomainID: u.domain.ID, UserDomainName: u.domain.Name, System: se.System,
		Token: se.id, AuditID: se.AuditIDs[0], ExpiresAt: se.ExpiresAt, Extra: se,
		Methods: se.Methods, AppCredID: se.AppCredID, TrustID: se.TrustID, BoundTo: se.Thumbprint}
	if u.ID != se.UserID {
		c.ActorID = se.UserID
	}
	token := map[string]any{}
	if p := se.project; p != nil {
		c.ProjectID, c.ProjectName, c.ProjectDomainID, c.ProjectDomainName = p.ID, p.Name, p.domain.ID, p.domain.Name
		token["project"] = map[string]any{"id": p.ID, "domain": map[string]any{"id": p.domain.ID}}
	}
	if d := se.domain; d != nil {
		c.DomainID, c.DomainName = d.ID, d.Name
		token["domain"] = map[string]any{"id": d.ID}
	}
	for _, r := range se.roles {
		c.Roles, c.RoleIDs = append(c.Roles, r.Name), append(c.RoleIDs, r.ID)
	}
	if a := se.appCred; a != nil && a.restrictedBy {
		c.AccessRules = api.AccessRules{}
		for _, e := range a.accessRules {
			d := asDoc(e)
			c.AccessRules = append(c.AccessRules, api.AccessRule{Service: str(d, "service"), Method: str(d, "method"), Path: str(d, "path")})
		}
	}
	c.Creds = &policy.Creds{UserID: c.UserID, UserDomainID: c.UserDomainID, ProjectID: c.ProjectID, ProjectDomainID: c.ProjectDomainID,
		DomainID: c.DomainID, Roles: c.Roles, Values: map[string]any{"token": token}}
	if se.System {
		c.Creds.SystemScope = "all"
	}
	return c
}

// lookup finds the session of a token. A refused token is (nil, nil). Whose owner is in a directory is asked for there when the last answer is too old.
func (s *Service) lookup(ctx context.Context, r *api.Request, token string, window time.Duration) (*session, error) {
	se, err := s.knownSession(ctx, r, token, window)
	if err != nil || se == nil || !s.o.Conf.Identity.DomainSpecificDrivers {
		return se, err
	}
	asked, err := s.lookAtOwners(ctx, se)
	if err != nil || !asked {
		return se, err
	}
	return s.knownSession(ctx, nil, token, window) // at the epoch that there is now
}

// knownSession finds the session of a token from the cache when nothing has changed since, else from the database.
func (s *Service) knownSession(ctx context.Context, r *api.Request, token string, window time.Duration) (*session, error) {
	if err := s.disableInactive(ctx); err != nil {
		return nil, err
	}
	epoch, err := s.epochOf(ctx, r)
	if err != nil {
		return nil, err
	}
	now := s.o.Now().UnixMicro()
	if se, ok := s.sessions.get(token); ok && se.epoch == epoch && !se.outdated(now) {
		if now >= se.ExpiresAt+window.Microseconds() {
			return nil, nil
		}
		return se, nil
	}
	t, err := s.open(ctx, token, epoch)
	if errors.Is(err, errFernet) || errors.Is(err, errMsgpack) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if now >= t.ExpiresAt+window.Microseconds() {
		return nil, nil
	}
	var se *session
	err = s.read(ctx, func(tx *db.Tx) (err error) {
		se, err = s.resolve(tx, t, false)
		return err
	})
	if errors.Is(err, errRefused) {
		s.o.Logger.Debug("token refused", "user", t.UserID, "reason", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	se.id = token
	se.caller.Token = token
	s.sessions.put(token, se)
	return se, nil
}

// Authenticate tells whose token it is; an unknown, expired or revoked token is (nil, nil).
func (s *Service) Authenticate(ctx context.Context, token string) (*api.Caller, error) {
	se, err := s.lookup(ctx, nil, token, 0)
	if err != nil || se == nil {
		return nil, err
	}
	return se.caller, nil
}

// AuthenticateExpired is Authenticate for tokens that may have ended within [token] allow_expired_window.
func (s *Service) AuthenticateExpired(ctx context.Context, token string) (*api.Caller, error) {
	se, err := s.lookup(ctx, nil, token, s.o.Conf.Token.AllowExpiredWindow)
	if err != nil || se == nil {
		return nil, err
	}
	return se.caller, nil
}

// sessionOf is the whole token of a request.
func sessionOf(r *api.Request) *session {
	if r.Caller == nil {
		return nil
	}
	se, _ := r.Caller.Extra.(*session)
	return se
}

// tokenNotFound is keystone's 404 for subject tokens: it tells what is no token from one that is over.
func (s *Service) tokenNotFound(ctx context.Context, r *api.Request, id string) *fault.Error {
	if id == "" {
		return fault.NotFound("No token in the request")
	}
	if epoch, err := s.epochOf(ctx, r); err == nil {
		if _, err := s.open(ctx, id, epoch); err != nil {
			return fault.NotFound("Could not recognize Fernet token")
		}
	}
	// Expired or revoked (keystone/token/provider.py, keystone/revoke/core.py).
	return fault.NotFound("Failed to validate token")
}
