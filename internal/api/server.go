package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Options for NewServer.
type Options struct {
	Services []*Service
	Auth     Authenticator
	// PublicEndpoint is where clients reach the cloud: scheme://host:port, no final slash.
	PublicEndpoint string
	// TrustedProxy tells whether X-Forwarded-Proto and X-Forwarded-Host of this peer count; nil: never.
	TrustedProxy func(remoteAddr string) bool
	// ClientCert gives the certificate that a request's client has shown, if it counts; nil: none does.
	ClientCert func(*http.Request) (*x509.Certificate, error)
	// Other handles paths outside of the services (/healthz, /metrics, /); nil: 404.
	Other  http.Handler
	Logger *slog.Logger
	// BodyTimeout is how long a request's body may take to arrive and a client to take its answer; 0: 30 seconds. Streams have no limit.
	BodyTimeout time.Duration
	// Audit keeps the log of who did what; nil: there is none.
	Audit Auditor
	// Observe is told of every answered request; nil: nobody.
	Observe func(service, method, path string, status int, d time.Duration)
	// Refused is told of every request that policy refused, after the answer was decided; it must not block. nil: nobody.
	Refused func(Refusal)
}

// Server serves all services on one port by path.
type Server struct {
	o        Options
	services map[string]*mounted // by first path element
	blocks   sync.Pool           // of *[]byte, which lists are sent in
}

// blockSize is large enough to make few writes of a long list.
const blockSize = 64 << 10

type mounted struct {
	s     *Service
	alias *Alias
	mux   *http.ServeMux
	// byPattern holds the routes of a pattern, apart by microversion.
	byPattern map[string][]*Route
}

// NewServer builds the route tables; a route without a rule or a clash is an error of the program and panics.
func NewServer(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.BodyTimeout == 0 {
		o.BodyTimeout = 30 * time.Second
	}
	srv := &Server{o: o, services: map[string]*mounted{}}
	srv.blocks.New = func() any { b := make([]byte, 0, blockSize); return &b }
	for _, s := range o.Services {
		m := mount(s)
		srv.services[strings.TrimPrefix(s.Prefix, "/")] = m
		for _, a := range s.Aliases {
			am := *m
			am.alias = &a
			srv.services[strings.TrimPrefix(a.From, "/")] = &am
		}
	}
	return srv
}

func mount(s *Service) *mounted {
	m := &mounted{s: s, mux: http.NewServeMux(), byPattern: map[string][]*Route{}}
	for i := range s.Routes {
		rt := &s.Routes[i]
		if rt.Rule == (Rule{}) {
			panic(fmt.Sprintf("%s %s %s has no rule", s.Name, rt.Method, rt.Path))
		}
		if rt.Rule.name != "" && !s.Policy.Has(rt.Rule.name) {
			panic(fmt.Sprintf("%s %s %s: no policy rule %q", s.Name, rt.Method, rt.Path, rt.Rule.name))
		}
		path := rt.Path
		if path == "" {
			path = "/{$}"
		}
		pattern := rt.Method + " " + path
		if m.byPattern[pattern] == nil {
			m.mux.Handle(pattern, http.NotFoundHandler()) // only the pattern is used
		}
		m.byPattern[pattern] = append(m.byPattern[pattern], rt)
	}
	return m
}

// maxURI is the longest request target. Upstream's servers take 8 KiB (eventlet) to 64 KiB (uwsgi), so clients split longer lists. It bounds what
// filters make of a database statement: both its arguments and the time that planning it takes, which grows with their square.
const maxURI = 8 << 10

// ServeHTTP finds the service by the first path element.
func (srv *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	// Without a deadline a client that sends or takes nothing more would hold its connection for as long as it likes, also where no
	// handler reads the body: the server does before it answers. A test's recorder has no deadlines.
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(2 * srv.o.BodyTimeout))
	if hr.ContentLength != 0 {
		_ = rc.SetReadDeadline(time.Now().Add(srv.o.BodyTimeout))
	}
	if len(hr.RequestURI) > maxURI {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestURITooLong)
		return
	}
	path := hr.URL.Path
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	m := srv.services[first]
	if m == nil {
		if srv.o.Other != nil {
			srv.o.Other.ServeHTTP(w, hr)
			return
		}
		http.NotFound(w, hr)
		return
	}
	inner := "/" + rest
	if m.alias != nil {
		inner = m.alias.To + inner
	}
	srv.serve(m, w, hr, inner)
}

// recorder notes the status and whether the header is out.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(code int) {
	if w.status == 0 {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (srv *Server) serve(m *mounted, hw http.ResponseWriter, hr *http.Request, path string) {
	start := time.Now()
	w := &recorder{ResponseWriter: hw}
	r := &Request{HTTP: hr, ID: "req-" + uuid.NewString(), service: m.s, w: w, blocks: &srv.blocks, base: srv.base(hr), trusts: srv.o.TrustedProxy, certificate: srv.o.ClientCert}
	r.Log = srv.o.Logger.With("request_id", r.ID, "service", m.s.Name)
	w.Header().Set("X-Openstack-Request-Id", r.ID)
	if h := m.s.RequestIDHeader; h != "" {
		w.Header().Set(h, r.ID)
	}
	for k, v := range m.s.Header {
		w.Header().Set(k, v)
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			r.Log.Error("panic", "method", hr.Method, "path", Redact(hr.URL.Path), "panic", p, "stack", string(debug.Stack()))
			if w.status == 0 {
				srv.fail(r, w, fmt.Errorf("panic: %v", p))
			}
		}
		if srv.o.Observe != nil {
			pattern := ""
			if r.route != nil {
				pattern = r.route.Path
			}
			srv.o.Observe(m.s.Name, hr.Method, pattern, w.status, time.Since(start))
		}
	}()
	if err := srv.handle(m, r, w, path); err != nil {
		srv.fail(r, w, err)
	}
}

func (srv *Server) handle(m *mounted, r *Request, w http.ResponseWriter, path string) error {
	ctx := WithRequestID(r.HTTP.Context(), r.ID)
	asked := path
	if m.s.Rewrite != nil {
		path = m.s.Rewrite(r.HTTP, path)
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if mv := m.s.Microversions; mv != nil && (mv.Applies == nil || mv.Applies(path)) {
		v, e := mv.negotiate(w, r.HTTP)
		r.MV = v
		if e != nil {
			return e
		}
	}
	routes, allow := m.find(r.HTTP, path)
	for _, rt := range routes {
		if rt.MV == (Range{}) || rt.MV.Has(r.MV) {
			r.route = rt
			break
		}
	}
	caller, err := srv.authenticate(ctx, r)
	if err != nil {
		return err
	}
	if !r.holds(caller) || caller != nil && caller.AccessRules != nil && !caller.AccessRules.allow(m.s.Name, r.HTTP, asked) {
		r.Note(Note{Initiator: caller})
		caller = nil
	}
	r.Caller = caller
	// Upstream's services authenticate before they look at the path: an anonymous request never learns which paths exist. Keystone alone does not.
	public := len(routes) > 0 && routes[0].Rule.public || len(routes) == 0 && m.s.Plain
	if caller == nil && !public {
		return r.unauthorized()
	}
	if admit := m.s.Admit; admit != nil && caller != nil {
		if err := admit(r); err != nil {
			return err
		}
	}
	if len(routes) == 0 {
		if len(allow) > 0 {
			if m.s.Plain {
				allow = flaskAllow(allow)
			}
			w.Header().Set("Allow", strings.Join(allow, ", "))
			if m.s.Plain && r.HTTP.Method == http.MethodOptions {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.WriteHeader(http.StatusOK)
				return nil
			}
			return r.methodNotAllowed()
		}
		return r.noSuchPath()
	}
	if r.route == nil {
		return r.noSuchPath()
	}
	audited := srv.o.Audit != nil && (r.Mutates() || r.Authenticates())
	if audited {
		ctx = srv.o.Audit.Begin(ctx, r)
	}
	if rt := r.route; rt.Rule.name != "" && !rt.Rule.object {
		if err := r.Enforce(rt.Rule.name, r.Self()); err != nil {
			return err
		}
	}
	for _, q := range r.route.Query {
		if q.MV == (Range{}) || q.MV.Has(r.MV) {
			if e := m.s.Schema.ValidateQuery(q.Schema, r.Query()); e != nil {
				return r.invalid(e)
			}
		}
	}
	out, err := r.route.serve(ctx, r)
	if err != nil {
		return err
	}
	if r.route.Rule.object && !r.asked {
		return fmt.Errorf("handler of %s %s did not ask rule %s", r.route.Method, r.route.Path, r.route.Rule.name)
	}
	switch {
	case !audited:
	case r.Code() >= 400: // a refusal in a form of the handler's own
		srv.o.Audit.Refused(r, &fault.Error{Status: r.Code()})
	default:
		if err := srv.o.Audit.Succeeded(ctx, r); err != nil {
			w.Header().Del("X-Subject-Token") // the token that nothing tells of
			if s, ok := out.(*Stream); ok {
				_ = s.Body.Close()
			}
			return err
		}
	}
	return r.write(out)
}

// find matches the path. Without a match it tells which methods the path has.
func (m *mounted) find(hr *http.Request, path string) (routes []*Route, allow []string) {
	if !canonical(path) {
		return nil, nil
	}
	probe := *hr
	u := *hr.URL
	u.Path, u.RawPath = path, ""
	probe.URL = &u
	probe.Host = ""
	_, pattern := m.mux.Handler(&probe)
	if routes = m.byPattern[pattern]; len(routes) > 0 {
		// Handler does not fill in path values; ServeHTTP of the mux does, and the handler there is empty.
		m.setPathValues(hr, pattern, path)
		return routes, nil
	}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe.Method = method
		if _, p := m.mux.Handler(&probe); m.byPattern[p] != nil {
			allow = append(allow, method)
		}
	}
	return nil, allow
}

// flaskAllow adds the methods that Flask answers by itself.
func flaskAllow(methods []string) []string {
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	return append(methods, http.MethodOptions)
}

// canonical tells whether a path has no empty, "." or ".." element. The mux would match another path than the one that access rules and
// path values are read from.
func canonical(path string) bool {
	for e := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if e == "" && path != "/" || e == "." || e == ".." {
			return false
		}
	}
	return true
}

// setPathValues reads the {name} elements of the matched pattern out of the path.
func (m *mounted) setPathValues(hr *http.Request, pattern, path string) {
	_, pat, _ := strings.Cut(pattern, " ")
	for pat != "" && path != "" {
		var pe, e string
		pe, pat, _ = strings.Cut(strings.TrimPrefix(pat, "/"), "/")
		if strings.HasPrefix(pe, "{") && strings.HasSuffix(pe, "...}") {
			hr.SetPathValue(pe[1:len(pe)-4], strings.TrimPrefix(path, "/"))
			return
		}
		e, path, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if strings.HasPrefix(pe, "{") && strings.HasSuffix(pe, "}") {
			hr.SetPathValue(pe[1:len(pe)-1], e)
		}
	}
}

func (srv *Server) authenticate(ctx context.Context, r *Request) (*Caller, error) {
	token := r.HTTP.Header.Get("X-Auth-Token")
	if token == "" { // clients of OAuth 2.0 send theirs so (keystonemiddleware/oauth2_token.py)
		if scheme, bearer, _ := strings.Cut(r.HTTP.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(bearer)
		}
	}
	if token == "" || srv.o.Auth == nil {
		return nil, nil
	}
	c, err := srv.callerOf(ctx, r, token)
	if err != nil {
		return nil, err
	}
	if c != nil && c.Creds == nil {
		c.Creds = &policy.Creds{}
	}
	return c, nil
}

// base is the public endpoint, or what a trusted proxy says it is.
func (srv *Server) base(hr *http.Request) string {
	if srv.o.TrustedProxy != nil && srv.o.TrustedProxy(hr.RemoteAddr) {
		if host := hr.Header.Get("X-Forwarded-Host"); host != "" {
			proto := hr.Header.Get("X-Forwarded-Proto")
			if proto != "https" {
				proto = "http"
			}
			return proto + "://" + host
		}
	}
	return srv.o.PublicEndpoint
}

func (srv *Server) fail(r *Request, w *recorder, err error) {
	e := fault.As(err)
	if m := Redact(e.Message); m != e.Message {
		clean := *e
		clean.Message = m
		e = &clean
	}
	if e.Status >= 500 && !errors.Is(err, context.Canceled) {
		r.Log.Error("request failed", "method", r.HTTP.Method, "path", Redact(r.HTTP.URL.Path), "error", Redact(err.Error()))
	} else if e.Cause != nil {
		r.Log.Info("request refused", "status", e.Status, "message", e.Message, "cause", Redact(e.Cause.Error()))
	}
	if srv.o.Audit != nil {
		srv.o.Audit.Refused(r, e)
	}
	if w.status != 0 {
		return // the header is out
	}
	srv.tellRefusal(r, e.Status)
	for k, vs := range e.Header {
		w.Header()[k] = vs
	}
	r.service.Dialect.WriteError(w, r, e)
}

func (r *Request) unauthorized() *fault.Error {
	if f := r.service.Dialect.Unauthorized; f != nil {
		return f(r)
	}
	e := fault.Unauthorized("The request you have made requires authentication.")
	e.Header = http.Header{"Www-Authenticate": {`Keystone uri="` + r.base + `/identity"`}}
	return e
}

func (r *Request) noSuchPath() *fault.Error {
	if f := r.service.Dialect.NotFound; f != nil {
		return f(r)
	}
	return fault.NotFound("The resource could not be found.")
}

func (r *Request) methodNotAllowed() *fault.Error {
	if f := r.service.Dialect.MethodNotAllowed; f != nil {
		return f(r)
	}
	return fault.New(http.StatusMethodNotAllowed, "", "The method is not allowed for the requested URL.")
}

func (r *Request) invalid(e *schema.Error) *fault.Error {
	if f := r.service.Dialect.Invalid; f != nil {
		return f(r, e)
	}
	return fault.BadRequest("%s", e.Message)
}
