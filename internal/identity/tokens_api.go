package identity

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

type tokenUser struct {
	Domain named  `json:"domain"`
	ID     string `json:"id"`
	Name   string `json:"name"`
	// PasswordExpiresAt is left out for federated users only.
	PasswordExpiresAt **string       `json:"password_expires_at,omitempty"`
	Federation        *federatedBody `json:"OS-FEDERATION,omitempty"`
}

type tokenProject struct {
	Domain named  `json:"domain"`
	ID     string `json:"id"`
	Name   string `json:"name"`
}

type idRef struct {
	ID string `json:"id"`
}

type tokenTrust struct {
	ID            string `json:"id"`
	TrustorUser   idRef  `json:"trustor_user"`
	TrusteeUser   idRef  `json:"trustee_user"`
	Impersonation bool   `json:"impersonation"`
}

type tokenOAuth struct {
	AccessTokenID string `json:"access_token_id"`
	ConsumerID    string `json:"consumer_id"`
}

type tokenAppCred struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Restricted  bool   `json:"restricted"`
	AccessRules []any  `json:"access_rules,omitempty"`
}

// tokenCert names the client certificate that a token is bound to.
type tokenCert struct {
	Thumbprint string `json:"x5t#S256"`
}

// tokenBody is a token as keystone/common/render_token.py shows it.
type tokenBody struct {
	Methods   []string        `json:"methods"`
	User      tokenUser       `json:"user"`
	AuditIDs  []string        `json:"audit_ids"`
	ExpiresAt string          `json:"expires_at"`
	IssuedAt  string          `json:"issued_at"`
	System    map[string]bool `json:"system,omitempty"`
	Domain    *named          `json:"domain,omitempty"`
	Project   *tokenProject   `json:"project,omitempty"`
	IsDomain  *bool           `json:"is_domain,omitempty"`
	Roles     any             `json:"roles,omitempty"` // of *[]roleRef, or []doc
	Trust     *tokenTrust     `json:"OS-TRUST:trust,omitempty"`
	OAuth     *tokenOAuth     `json:"OS-OAUTH1,omitempty"`
	AppCred   *tokenAppCred   `json:"application_credential,omitempty"`
	Cert      *tokenCert      `json:"oauth2_credential,omitempty"`
	Providers []serviceRef    `json:"service_providers,omitempty"`
}

func userBody(a account) tokenUser {
	var expires *string
	if a.passwordExpires != 0 {
		at := isoTime(a.passwordExpires)
		expires = &at
	}
	return tokenUser{Domain: a.domain, ID: a.ID, Name: a.Name, PasswordExpiresAt: &expires}
}

func (se *session) body() tokenBody {
	b := tokenBody{Methods: se.wireMethods(), User: userBody(se.user), AuditIDs: se.AuditIDs, ExpiresAt: isoTime(se.ExpiresAt), IssuedAt: isoTime(se.IssuedAt)}
	roles := se.roles
	if roles == nil {
		roles = []roleRef{}
	}
	switch {
	case se.System:
		b.System = map[string]bool{"all": true}
		b.Roles = &roles
	case se.domain != nil:
		b.Domain, b.Roles = se.domain, &roles
	case se.trust != nil:
		b.Trust = &tokenTrust{se.trust.id, idRef{se.trust.trustor}, idRef{se.trust.trustee}, se.trust.impersonation}
		if se.trust.impersonation {
			b.User = userBody(se.trust.trustorAccount)
		}
		b.Roles = append([]doc{}, se.trust.roles...) // upstream shows them whole (keystone/models/token_model.py, _get_trust_roles)
	case se.project != nil:
		b.IsDomain, b.Roles = &se.project.isDomain, &roles
	}
	if p := se.project; p != nil {
		b.Project = &tokenProject{p.domain, p.ID, p.Name}
	}
	if o := se.oauth; o != nil {
		b.OAuth = &tokenOAuth{o.id, o.consumer}
	}
	if se.federated() {
		b.User.PasswordExpiresAt, b.User.Federation = nil, se.via.body()
	}
	if a := se.appCred; a != nil {
		b.AppCred = &tokenAppCred{a.id, a.name, !a.unrestricted, a.accessRules}
	}
	if se.Thumbprint != "" {
		b.Cert = &tokenCert{se.Thumbprint}
	}
	return b
}

func (se *session) unscoped() bool {
	return !se.System && se.domain == nil && se.project == nil && se.trust == nil
}

// render is the answer that shows a token. It is kept with the session, whose epoch covers the catalog too.
func (s *Service) render(ctx context.Context, se *session, public string, withCatalog bool) ([]byte, error) {
	withCatalog = withCatalog && !se.unscoped()
	key := strconv.FormatBool(withCatalog) + public
	se.mu.Lock()
	defer se.mu.Unlock()
	if b := se.bodies[key]; b != nil {
		return b, nil
	}
	body := se.body()
	var err error
	if body.Providers, err = s.enabledServiceProviders(ctx); err != nil {
		return nil, err
	}
	b, err := api.Marshal(map[string]tokenBody{"token": body}, api.Version{})
	if err != nil {
		return nil, err
	}
	if withCatalog {
		c, err := s.catalogAt(ctx, se.epoch)
		if err != nil {
			return nil, err
		}
		user := se.UserID
		if se.trust != nil {
			user = se.trust.trustor
		}
		filter, err := s.endpointFilter(ctx, c, se.ProjectID)
		if err != nil {
			return nil, err
		}
		list, err := c.render(public, se.ProjectID, user, filter)
		if err != nil {
			return nil, err
		}
		// The catalog is encoded already: it goes in before the two closing braces.
		b = append(append(append(b[:len(b)-2], `,"catalog":`...), list...), "}}"...)
	}
	if len(se.bodies) > 8 {
		clear(se.bodies)
	}
	se.bodies[key] = b
	return b, nil
}

// catalogAt is the catalog of an epoch, or a newer one.
func (s *Service) catalogAt(ctx context.Context, epoch int64) (*catalog, error) {
	if c := s.catalog.Load(); c != nil && c.epoch >= epoch {
		return c, nil
	}
	var c *catalog
	err := s.read(ctx, func(tx *db.Tx) (err error) {
		c, err = s.readCatalog(tx)
		return err
	})
	return c, err
}

func withCatalog(r *api.Request) bool { return !r.Query().Has("nocatalog") }

// isTrue reads a flag of the query as oslo's bool_from_string does.
func isTrue(v string) bool {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "1", "t", "true", "on", "y", "yes":
		return true
	}
	return false
}

// subject is the session of X-Subject-Token; a bad one is keystone's 404.
func (s *Service) subject(ctx context.Context, r *api.Request) (*session, error) {
	id := r.HTTP.Header.Get("X-Subject-Token")
	if id == "" {
		return nil, s.tokenNotFound(ctx, r, "")
	}
	window := s.o.Conf.Token.AllowExpiredWindow
	if !isTrue(r.Query().Get("allow_expired")) {
		window = 0
	}
	se, err := s.lookup(ctx, r, id, window)
	if err != nil {
		return nil, err
	}
	if se == nil {
		return nil, s.tokenNotFound(ctx, r, id)
	}
	if se.appCred != nil && se.appCred.restrictedBy {
		// Middleware that does not know access rules would not enforce them.
		if v, err := strconv.ParseFloat(r.HTTP.Header.Get("OpenStack-Identity-Access-Rules"), 64); err != nil || v < 1 {
			return nil, fault.NotFound("Failed to validate token")
		}
	}
	return se, nil
}

func (s *Service) validateToken(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	rule := "identity:validate_token"
	if r.HTTP.Method == http.MethodHead {
		rule = "identity:check_token"
	}
	se, err := s.enforceSubject(ctx, r, rule)
	if err != nil {
		return nil, err
	}
	b, err := s.render(ctx, se, r.BaseURL(), withCatalog(r))
	if err != nil {
		return nil, err
	}
	h := r.Header()
	h.Set("X-Subject-Token", se.id)
	h.Set("Vary", "X-Auth-Token")
	return b, nil
}

// enforceSubject finds the subject token and asks the rule about it. Keystone looks for the token first, so a bad one is 404 to anybody.
func (s *Service) enforceSubject(ctx context.Context, r *api.Request, rule string) (*session, error) {
	r.Asked()
	if r.HTTP.Header.Get("X-Subject-Token") == "" {
		if err := r.Enforce(rule, policy.Map{}); err != nil {
			return nil, err
		}
		return nil, s.tokenNotFound(ctx, r, "")
	}
	se, err := s.subject(ctx, r)
	if err != nil {
		return nil, err
	}
	return se, r.Enforce(rule, policy.Map{"target.token.user_id": se.UserID, "target.token.user.domain.id": se.user.domain.ID})
}

func (s *Service) revokeToken(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	se, err := s.enforceSubject(ctx, r, "identity:revoke_token")
	if err != nil {
		return api.None{}, err
	}
	r.Note(api.Note{Action: "revoke", Target: se.AuditIDs[0]})
	err = s.write(ctx, func(tx *db.Tx) error {
		return revokeAudit(tx, se.AuditIDs[0])
	})
	s.sessions.drop(se.id)
	return api.None{}, err
}

func (s *Service) authCatalog(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_auth_catalog", policy.Map{}); err != nil {
		return nil, err
	}
	if r.ProjectID() == "" {
		return nil, fault.Forbidden("You are not authorized to perform the requested action.").Because(errNoProject)
	}
	se := sessionOf(r)
	c, err := s.catalogAt(ctx, se.epoch)
	if err != nil {
		return nil, err
	}
	filter, err := s.endpointFilter(ctx, c, r.ProjectID())
	if err != nil {
		return nil, err
	}
	b, err := c.render(r.BaseURL(), r.ProjectID(), r.UserID(), filter)
	return doc{"catalog": json.RawMessage(b), "links": doc{"self": base(r) + "/auth/catalog"}}, err
}
