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

var (
	errNoProject = errors.New("a project-scoped token is required")
	errPassword  = errors.New("invalid user name or password")
)

// authentication is what the methods of a request have proved, and what scope is asked for.
type authentication struct {
	user    string
	methods []string
	scope   scope
	trust   string
	appCred string
	// accessToken is the OAuth 1.0 access token that signed the request.
	accessToken string
	unscoped    bool // asked for by name
	fixed       bool // the scope is given
	expires     int64
	parent      string // audit id at the head of the chain
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
	b, err := s.render(ctx, se, r.BaseURL(), withCatalog(r))
	if err != nil {
		return nil, err
	}
	h := r.Header()
	h.Set("X-Subject-Token", se.id)
	h.Set("Vary", "X-Auth-Token")
	return b, nil
}

// supported are the methods that can be used; external and mapped need what this cloud does not have.
var supported = []string{"password", "token", "application_credential", "oauth1"}

func (s *Service) authenticateFor(ctx context.Context, r *api.Request, auth doc) (*session, error) {
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
		if !slices.Contains(methodBits[:], m) {
			return nil, fault.Unauthorized("Attempted to authenticate with an unsupported method.").Because(authHint{"methods": slices.Sorted(slices.Values(methodBits[:]))})
		}
		if !slices.Contains(supported, m) {
			return nil, unauthorized(fmt.Errorf("the method %s is not offered", m))
		}
		if _, ok := identity[m].(map[string]any); !ok {
			return nil, expecting(m, "identity")
		}
	}
	p := &authentication{}
	if err := s.readScope(ctx, r, auth, identity, methods, p); err != nil {
		return nil, err
	}
	for _, m := range methods {
		if err := s.prove(ctx, r, m, object(identity, m), auth, p); err != nil {
			return nil, err
		}
	}
	if p.user == "" {
		return nil, unauthorized(errors.New("no method named a user"))
	}
	if p.appCred != "" && p.accessToken != "" {
		return nil, unauthorized(errors.New("an application credential and an access token cannot both say what is lent"))
	}
	return s.mint(ctx, r, p)
}

func (s *Service) prove(ctx context.Context, r *api.Request, method string, data, auth doc, p *authentication) error {
	user := ""
	var err error
	switch method {
	case "password":
		user, err = s.provePassword(ctx, r, data)
		p.methods = append([]string{method}, p.methods...)
	case "token":
		user, err = s.proveToken(ctx, r, data, auth, p)
	case "application_credential":
		user, err = s.proveAppCred(ctx, data, p)
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

// findUser reads a user by id, or by name and domain.
func (s *Service) findUser(tx *db.Tx, ref doc) (id, hash string, err error) {
	var enabled, domainEnabled bool
	scan := func(r db.Row) (string, error) {
		err := r.Scan(&id, &hash, &enabled, &domainEnabled)
		return id, err
	}
	const q = `SELECT u.id, u.password_hash, u.enabled, d.enabled FROM identity_users u JOIN identity_projects d ON d.id = u.domain_id `
	switch {
	case str(ref, "name") != "":
		dom := object(ref, "domain")
		if _, ok := ref["domain"]; !ok {
			return "", "", expecting("domain", "user")
		}
		if str(dom, "name") != "" {
			_, err = db.One(tx, scan, q+`WHERE d.is_domain = TRUE AND d.domain_id = '' AND d.name = $1 AND u.name = $2`, str(dom, "name"), str(ref, "name"))
		} else if str(dom, "id") != "" {
			_, err = db.One(tx, scan, q+`WHERE d.id = $1 AND u.name = $2`, str(dom, "id"), str(ref, "name"))
		} else {
			return "", "", expecting("id or name", "domain")
		}
	case str(ref, "id") != "":
		_, err = db.One(tx, scan, q+`WHERE u.id = $1`, str(ref, "id"))
	default:
		return "", "", expecting("id or name", "user")
	}
	if errors.Is(err, db.ErrNotFound) || err == nil && !(enabled && domainEnabled) {
		return "", "", nil
	}
	return id, hash, err
}

// knownUser is a user as far as a login needs it; empty when there is none.
type knownUser struct{ id, hash string }

func (s *Service) provePassword(ctx context.Context, r *api.Request, data doc) (string, error) {
	if _, ok := data["user"]; !ok {
		return "", expecting("user", "None")
	}
	ref := object(data, "user")
	dom := object(ref, "domain")
	key := fmt.Sprintf("user|%q|%q|%q|%q|%v", str(ref, "id"), str(ref, "name"), str(dom, "id"), str(dom, "name"), ref["domain"] == nil)
	found, err := recall(ctx, s, r, key, small[knownUser], func(tx *db.Tx) (knownUser, error) {
		id, hash, err := s.findUser(tx, ref)
		return knownUser{id, hash}, err
	})
	if err != nil {
		return "", err
	}
	ok, err := s.passwords.verify(ctx, found.hash, str(ref, "password"))
	if err != nil {
		return "", err
	}
	if !ok || found.id == "" {
		return "", unauthorized(errPassword)
	}
	return found.id, nil
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
	}
	p.parent = se.AuditIDs[len(se.AuditIDs)-1]
	p.methods = append(append([]string{"token"}, p.methods...), se.Methods...)
	return se.UserID, nil
}

func (s *Service) proveAppCred(ctx context.Context, data doc, p *authentication) (string, error) {
	var user, hash string
	err := s.read(ctx, func(tx *db.Tx) error {
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
	user, _, err := s.findUser(tx, object(data, "user"))
	if err != nil || user == "" {
		return "", err
	}
	id, err := db.One(tx, db.Value[string], `SELECT id FROM identity_application_credentials WHERE user_id = $1 AND name = $2`, user, str(data, "name"))
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
