// Package api is the HTTP kit that every service is written with: the route table, the request, microversions, lists,
// documents kept encoded, and the writing of answers and errors. It must not know any service, nor SQL.
//
// A service is a Service value: its routes, its error dialect, its policy. A route names method, path, rule, success
// code and microversion range on one line and is served by a handler func(ctx, *Request, In) (Out, error).
package api

import (
	"context"
	"net/http"

	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Service is one API under its prefix.
type Service struct {
	Name   string // identity, compute, …
	Prefix string // "/compute"
	// Aliases are further prefixes that reach the same routes: identity answers at "/v3" too.
	Aliases []Alias
	Routes  []Route
	Dialect Dialect
	Policy  *policy.Enforcer
	// Schema is whose validator the bodies and query strings are checked by.
	Schema schema.Dialect
	// Microversions is nil for services without them.
	Microversions *Microversions
	// Rewrite may change the path (without prefix) before it is matched: compute drops the optional project id.
	Rewrite func(r *http.Request, path string) string
	// Admit may turn away a caller whose token is good, before any rule is asked; nil: nobody.
	Admit func(r *Request) error
	// Plain gives the service the manners of Flask: paths that do not exist are told to anybody, OPTIONS is answered, a body that is
	// missing is an empty object.
	Plain bool
	// Differences tells in Markdown where the service answers otherwise than upstream; empty: nowhere that is written down.
	Differences string
	// Header stands on every answer.
	Header map[string]string
	// RequestIDHeader is an older name of x-openstack-request-id that the service sends as well (nova: x-compute-request-id).
	RequestIDHeader string
	// BodyLimit is the largest JSON body in bytes; 0 means 1 MiB.
	BodyLimit int64
	// Docs keeps encoded documents; nil: none.
	Docs *Docs
	// IgnoresServiceTokens is set by the identity service: keystone's own middleware has no service roles.
	IgnoresServiceTokens bool
}

// Alias maps a further path prefix to a prefix inside the service: {"/v3", "/v3"}.
type Alias struct{ From, To string }

// Dialect is how a service words what the kit itself finds wrong, and how it writes errors.
type Dialect struct {
	// WriteError writes status, headers and body.
	WriteError func(w http.ResponseWriter, r *Request, e *fault.Error)
	// Each of these may be nil for the plain default.
	NotFound         func(r *Request) *fault.Error              // no such path
	MethodNotAllowed func(r *Request) *fault.Error              // the path exists with other methods; Allow is set by the kit
	Unauthorized     func(r *Request) *fault.Error              // no token or a bad one
	Forbidden        func(r *Request, rule string) *fault.Error // a rule refused
	BadJSON          func(r *Request, err error) *fault.Error   // the body is not JSON, or not an object
	Invalid          func(r *Request, e *schema.Error) *fault.Error
	NotJSON          func(r *Request) *fault.Error // the body is of another content type; nil: it may be
	TooLarge         func(r *Request) *fault.Error
}

// Rule is what a route asks before its handler runs. There is no zero Rule that lets anybody in.
type Rule struct {
	name   string
	public bool
	object bool
	any    bool
}

// Public needs no token; a good one is still read (Request.Caller).
func Public() Rule { return Rule{public: true} }

// Authenticated needs a token and nothing more; upstream asks no rule there.
func Authenticated() Rule { return Rule{any: true} }

// Scoped asks the rule with the caller's own project and user as the target, before the handler.
func Scoped(name string) Rule { return Rule{name: name} }

// Object leaves the question to the handler, which knows the target: it must call Request.Enforce or
// Request.Can with this rule or one of its kin. A success without a question is answered 500 and logged.
func Object(name string) Rule { return Rule{name: name, object: true} }

// Name is the policy rule's name, or empty.
func (r Rule) Name() string { return r.name }

// IsPublic tells whether the route needs no token.
func (r Rule) IsPublic() bool { return r.public }

// Route is one line of the route table.
type Route struct {
	Method, Path                   string
	Rule                           Rule
	Code                           int
	MV                             Range
	Schemas                        []VersionedSchema
	Query                          []VersionedSchema
	serve                          func(ctx context.Context, r *Request) (any, error)
	wantsBody                      bool
	stream                         bool
	authenticates, provesForChange bool
}

// VersionedSchema is a body or query schema for a range of microversions.
type VersionedSchema struct {
	MV     Range
	Schema *schema.Schema
}

// Option changes a Route.
type Option func(*Route)

// MV restricts the route to microversions: "2.1-2.35", "2.36-". The same method and path may stand
// several times with ranges that do not overlap.
func MV(s string) Option { return func(r *Route) { r.MV = MustRange(s) } }

// Body validates the body; with microversions give one per range.
func Body(s *schema.Schema, mv ...string) Option {
	return func(r *Route) { r.Schemas = append(r.Schemas, versioned(s, mv)) }
}

// Query validates the query string.
func Query(s *schema.Schema, mv ...string) Option {
	return func(r *Route) { r.Query = append(r.Query, versioned(s, mv)) }
}

func versioned(s *schema.Schema, mv []string) VersionedSchema {
	v := VersionedSchema{Schema: s}
	if len(mv) == 1 {
		v.MV = MustRange(mv[0])
	}
	return v
}

// None is an In without a body, or an Out without one.
type None struct{}

// Handle makes a route. In may be None (the body is not read), *Stream (the raw body), map[string]any or any struct or
// json.RawMessage (decoded JSON; numbers in a map are json.Number). Out may be None, JSON (encoded already), *Stream,
// or anything Marshal encodes.
func Handle[In, Out any](method, path string, rule Rule, code int, h func(context.Context, *Request, In) (Out, error), opts ...Option) Route {
	rt := Route{Method: method, Path: path, Rule: rule, Code: code}
	var in In
	switch any(in).(type) {
	case None:
	case *Stream:
		rt.stream = true
	default:
		rt.wantsBody = true
	}
	for _, o := range opts {
		o(&rt)
	}
	rt.serve = func(ctx context.Context, r *Request) (any, error) {
		var in In
		if rt.stream {
			in = any(&Stream{Body: r.HTTP.Body, Size: r.HTTP.ContentLength, ContentType: r.HTTP.Header.Get("Content-Type")}).(In)
		} else if rt.wantsBody {
			if err := r.decode(&in, *r.route); err != nil {
				return nil, err
			}
		}
		return h(ctx, r, in)
	}
	return rt
}

// Authenticator tells whose token it is. An unknown, expired or revoked token is (nil, nil); an error is a failure of ours.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*Caller, error)
}

// Caller is who sent the request.
type Caller struct {
	UserID, UserName, UserDomainID, UserDomainName             string
	ProjectID, ProjectName, ProjectDomainID, ProjectDomainName string
	DomainID, DomainName                                       string
	System                                                     bool
	Roles                                                      []string
	RoleIDs                                                    []string
	IsAdminProject                                             bool
	Token                                                      string
	AuditID                                                    string
	// What the token was made with: the methods, and the application credential or the trust whose rights it has. With an
	// impersonating trust UserID is the trustor and ActorID the trustee who acts.
	Methods                     []string
	AppCredID, TrustID, ActorID string
	ExpiresAt                   int64 // microseconds
	// BoundTo is the thumbprint of the client certificate without which the token is worth nothing; empty: whoever has the token may use it.
	BoundTo string
	// AccessRules limit what an application credential's token may ask for; nil: no limit.
	AccessRules AccessRules
	// Creds is the same for the policy engine.
	Creds *policy.Creds
	// Extra is the authenticating service's own value (identity's whole token).
	Extra any
}
