package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

var errNoProject = errors.New("a project-scoped token is required")

// authentication is what the methods of a request have proved, and what scope is asked for.
type authentication struct {
	user     string
	methods  []string
	scope    scope
	trust    string
	appCred  string
	unscoped bool // asked for by name
	fixed    bool // the scope is given
	expires  int64
	parent   string // audit id at the head of the chain
	// passcodes are those of the method totp, not spent yet.
	passcodes []passcode
	via       *federation
	// epoch is the user's when a method was proved that a revocation voids, a password or a token, if seen.
	epoch       int64
	seen, stale bool
	// accessToken is the OAuth 1.0 access token that signed the request.
	accessToken string
	// thumbprint is of the client certificate that the token shall be bound to.
	thumbprint string
}

// sees notes at which of the user's epochs something was proved.
func (p *authentication) sees(epoch int64) {
	p.stale = p.stale || p.seen && p.epoch != epoch
	p.epoch, p.seen = epoch, true
}

// errOvertaken tells that the user's tokens were revoked between the proof and the token, which would outlive what should have ended it.
var errOvertaken = errors.New("the user's tokens were revoked meanwhile")

// current refuses what was proved before the user's present epoch.
func (p *authentication) current(epoch int64) error {
	if p.stale || p.seen && p.epoch != epoch {
		return unauthorized(errOvertaken)
	}
	return nil
}

func domainRef() *schema.Schema {
	return schema.Object(schema.P("id", schema.Str()), schema.P("name", schema.Str()))
}

// authSchema is keystone/auth/schema.py.
func authSchema() *schema.Schema {
	return schema.Object(
		schema.P("identity", schema.Object(
			schema.P("methods", schema.Array(schema.Str())),
			schema.P("password", schema.Object(schema.P("user", schema.Object(schema.P("id", schema.Str()), schema.P("name", schema.Str()),
				schema.P("password", schema.Str()), schema.P("domain", domainRef()))))),
			schema.P("token", schema.Object(schema.P("id", schema.Str())).Required("id")),
		).Required("methods")),
		schema.P("scope", schema.Types("object", "string").Props(
			schema.P("project", schema.Object(schema.P("name", schema.Str()), schema.P("id", schema.Str()), schema.P("domain", domainRef()))),
			schema.P("domain", domainRef()),
			schema.P("OS-TRUST:trust", schema.Object(schema.P("id", schema.Str()))),
			schema.P("system", schema.Object(schema.P("all", boolean()))),
		)),
	).Required("identity")
}

// object is a member that is an object, or nil.
func object(d doc, name string) doc {
	m, _ := d[name].(map[string]any)
	return m
}

// checkNames is the part of keystone/auth/schema.py that no schema says.
func checkNames(auth doc) error {
	need := func(d doc, at string) error {
		if d != nil && d["id"] == nil && d["name"] == nil {
			return fault.BadRequest("Invalid input for field %s: id or name must be present.", at)
		}
		return nil
	}
	user := object(object(object(auth, "identity"), "password"), "user")
	sc := object(auth, "scope")
	return errors.Join(need(user, "identity/password/user"), need(object(user, "domain"), "identity/password/user/domain"),
		need(object(sc, "project"), "scope/project"), need(object(object(sc, "project"), "domain"), "scope/project/domain"), need(object(sc, "domain"), "scope/domain"))
}

// issueToken answers POST /auth/tokens.
func (s *Service) issueToken(ctx context.Context, r *api.Request, in map[string]any) (api.JSON, error) {
	auth, ok := in["auth"]
	if !ok || auth == nil {
		return nil, expecting("auth", "request body")
	}
	if e := schema.Keystone.Validate(s.schemas.auth, auth); e != nil {
		return nil, fault.BadRequest("%s", e.Error())
	}
	a := auth.(map[string]any)
	if err := checkNames(a); err != nil {
		var f *fault.Error
		errors.As(err, &f)
		return nil, f
	}
	se, err := s.authenticateFor(ctx, r, a)
	if err != nil {
		return nil, err
	}
	r.Note(api.Note{Initiator: se.caller})
	b, err := s.render(ctx, se, r.BaseURL(), withCatalog(r))
	if err != nil {
		return nil, err
	}
	h := r.Header()
	h.Set("X-Subject-Token", se.id)
	h.Set("Vary", "X-Auth-Token")
	return b, nil
}

// tried tells the audit log whose account a login is about, should it fail. A name that no user has is not told: people type
// their password there.
func tried(r *api.Request, user string) {
	if user != "" {
		r.Note(api.Note{Initiator: &api.Caller{UserID: user}})
	}
}

// authenticateFor makes the token of an authentication. One that a revocation overtakes begins anew: what it proved may be good still.
func (s *Service) authenticateFor(ctx context.Context, r *api.Request, auth doc) (se *session, err error) {
	for range 5 {
		if se, err = s.authenticate(ctx, r, auth); !errors.Is(err, errOvertaken) {
			break
		}
	}
	return se, err
}

func (s *Service) authenticate(ctx context.Context, r *api.Request, auth doc) (*session, error) {
	identity := object(auth, "identity")
	var methods []string
	for _, m := range identity["methods"].([]any) {
		if name := m.(string); !slices.Contains(methods, name) {
			methods = append(methods, name)
		}
	}
	for _, m := range methods {
		if _, ok := identity[m]; !ok {
			return nil, expecting(m, "identity")
		}
	}
	for _, m := range methods {
		if !slices.Contains(s.o.Conf.Auth.Methods, m) {
			return nil, fault.Unauthorized("Attempted to authenticate with an unsupported method.").Because(authHint{"methods": s.o.Conf.Auth.Methods})
		}
		if !s.offers(m) {
			return nil, unauthorized(fmt.Errorf("the method %s is not offered", m))
		}
		if _, ok := identity[m].(map[string]any); !ok {
			return nil, expecting(m, "identity")
		}
	}
	if err := s.disableInactive(ctx); err != nil {
		return nil, err
	}
	ctx = claim(ctx, r, "")
	p := &authentication{}
	scopeErr := s.readScope(ctx, r, auth, identity, methods, p)
	if scopeErr != nil && !isPlainUnauthorized(scopeErr) {
		return nil, scopeErr
	}
	for _, m := range methods {
		if err := s.prove(ctx, r, m, object(identity, m), auth, p); err != nil {
			return nil, err
		}
	}
	if p.user == "" {
		return nil, unauthorized(errors.New("no method named a user"))
	}
	if scopeErr != nil {
		return nil, scopeErr
	}
	if p.appCred != "" && p.accessToken != "" {
		return nil, unauthorized(errors.New("an application credential and an access token cannot both say what is lent"))
	}
	if err := s.useReceipt(ctx, r, p); err != nil {
		return nil, err
	}
	if err := s.spend(ctx, p); err != nil {
		return nil, err
	}
	se, err := s.mint(ctx, r, p)
	if err == nil && (slices.Contains(methods, "password") || slices.Contains(methods, "totp")) {
		err = s.loggedIn(ctx, p.user)
	}
	return se, err
}

// isPlainUnauthorized tells a scope that is not there. It is answered after the methods were tried, and so as late and in the same words as a
// wrong password: nobody learns which projects and domains there are. Upstream answers before it looks at the methods.
func isPlainUnauthorized(err error) bool {
	var hint authHint
	return fault.Is(err, 401) && !errors.As(err, &hint)
}

func (s *Service) prove(ctx context.Context, r *api.Request, method string, data, auth doc, p *authentication) error {
	user := ""
	var err error
	switch method {
	case "password":
		user, err = s.provePassword(ctx, r, data, p)
		p.methods = append([]string{method}, p.methods...)
	case "token":
		user, err = s.proveToken(ctx, r, data, auth, p)
	case "totp":
		user, err = s.proveTOTP(ctx, r, data, p)
		p.methods = append([]string{method}, p.methods...)
	case mappedMethod:
		user, err = s.proveMapped(ctx, r, data, auth, p)
	case "application_credential":
		user, err = s.proveAppCred(ctx, r, data, p)
		p.methods = append([]string{method}, p.methods...)
	case "oauth1":
		user, err = s.proveOAuth(ctx, r, p)
		p.methods = append([]string{method}, p.methods...)
	}
	if err != nil {
		return err
	}
	if p.user != "" && p.user != user {
		return unauthorized(errors.New("the methods name different users"))
	}
	p.user = user
	return nil
}

func (s *Service) proveToken(ctx context.Context, r *api.Request, data, auth doc, p *authentication) (string, error) {
	id := str(data, "id")
	se, err := s.lookup(ctx, r, id, 0)
	if err != nil {
		return "", err
	}
	if se == nil {
		return "", s.tokenNotFound(ctx, r, id)
	}
	if p.expires == 0 || se.ExpiresAt < p.expires {
		p.expires = se.ExpiresAt
	}
	sc := object(auth, "scope")
	switch {
	case se.AccessTokenID != "":
		return "", forbiddenAction("Using OAuth-scoped token to create another token. Create a new OAuth-scoped token instead")
	case se.TrustID != "":
		return "", forbiddenAction("Using trust-scoped token to create another token. Create a new trust-scoped token instead")
	case se.System && (sc["project"] != nil || sc["domain"] != nil):
		return "", forbiddenAction("Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.")
	case se.delegatedMethod():
		return "", forbiddenAction("Using a delegated token to create another token is not allowed.")
	case !s.o.Conf.Token.AllowRescopeScoped && (se.project != nil || se.domain != nil):
		return "", forbiddenAction("rescope a scoped token")
	}
	p.sees(se.user.epoch)
	p.parent, p.via = se.AuditIDs[len(se.AuditIDs)-1], se.via
	p.methods = append(append([]string{"token"}, p.methods...), se.Methods...)
	return se.UserID, nil
}

func (s *Service) proveAppCred(ctx context.Context, r *api.Request, data doc, p *authentication) (string, error) {
	var user, hash string
	data, err := s.settledAppCred(ctx, r, data)
	if err != nil {
		return "", err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		id, err := s.findAppCred(tx, data)
		if err != nil || id == "" {
			return err
		}
		p.appCred = id
		var expires int64
		var enabled bool
		_, err = db.One(tx, func(r db.Row) (bool, error) { return true, r.Scan(&user, &hash, &expires, &enabled) },
			`SELECT a.user_id, a.secret_hash, a.expires_at, u.enabled FROM identity_application_credentials a JOIN identity_users u ON u.id = a.user_id WHERE a.id = $1`, id)
		if errors.Is(err, db.ErrNotFound) {
			return nil
		}
		if expires != 0 && tx.NowMicros() >= expires || !enabled {
			user, hash = "", ""
		}
		if expires != 0 && (p.expires == 0 || expires < p.expires) {
			p.expires = expires
		}
		return err
	})
	if err != nil {
		return "", err
	}
	tried(r, user)
	if v, given := data["secret"]; given && v != nil {
		if _, isText := v.(string); !isText {
			return "", expecting("string", "password")
		}
	}
	ok, err := s.passwords.verify(ctx, hash, str(data, "secret"))
	if err != nil {
		return "", err
	}
	if !ok || user == "" {
		return "", unauthorized(errors.New("invalid application credential id or secret"))
	}
	return user, nil
}

// findAppCred is the id of an application credential given by id, or by name and user; "" when there is none.
func (s *Service) findAppCred(tx *db.Tx, data doc) (string, error) {
	if id := str(data, "id"); id != "" {
		if _, err := s.appCred.get(tx, id); err != nil {
			return "", err // keystone answers 404 here, to anybody
		}
		return id, nil
	}
	if str(data, "name") == "" {
		return "", expecting("name or ID", "application credential")
	}
	if object(data, "user") == nil {
		return "", expecting("user", "application credential")
	}
	u, err := s.findUser(tx, object(data, "user"))
	if err != nil || !u.enabled {
		return "", err
	}
	id, err := db.One(tx, db.Value[string], `SELECT id FROM identity_application_credentials WHERE user_id = $1 AND name = $2`, u.id, str(data, "name"))
	if errors.Is(err, db.ErrNotFound) {
		return "", nil
	}
	return id, err
}

// newAuditID is a random id as keystone makes them.
func newAuditID() (string, error) {
	var b [16]byte
	_, err := rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:]), err
}
