package oidc

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// server is a provider with one key, which tests bend. The login flows are tested with a real provider, in package identity.
type server struct {
	t         *testing.T
	srv       *httptest.Server
	key       ed25519.PrivateKey
	kid       string
	discovery map[string]any // replaces members
	answers   map[string]func(http.ResponseWriter, *http.Request)
	asked     map[string]*atomic.Int64
	clock     atomic.Int64
}

func newServer(t *testing.T) *server {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, key: key, kid: "k1", answers: map[string]func(http.ResponseWriter, *http.Request){}, asked: map[string]*atomic.Int64{}}
	for _, path := range []string{"/.well-known/openid-configuration", "/jwks", "/introspection", "/me"} {
		s.asked[path] = &atomic.Int64{}
	}
	s.srv = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.srv.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	if n := s.asked[r.URL.Path]; n != nil {
		n.Add(1)
	}
	if f := s.answers[r.URL.Path]; f != nil {
		f(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	i := s.srv.URL
	var out map[string]any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		out = map[string]any{"issuer": i, "authorization_endpoint": i + "/auth", "token_endpoint": i + "/token", "jwks_uri": i + "/jwks", "introspection_endpoint": i + "/introspection",
			"userinfo_endpoint": i + "/me", "id_token_signing_alg_values_supported": []string{"EdDSA", "none"}}
		maps.Copy(out, s.discovery)
	case "/jwks":
		x := base64.RawURLEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
		out = map[string]any{"keys": []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": s.kid, "alg": "EdDSA", "use": "sig", "x": x}}}
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (s *server) now() time.Time { return time.Now().Add(time.Duration(s.clock.Load())) }

func (s *server) client(change ...func(*Config)) *Provider {
	s.t.Helper()
	c := Config{Name: "p", Issuer: s.srv.URL, ClientID: "me", ClientSecret: "a secret:", Audiences: []string{"cli"}}
	for _, f := range change {
		f(&c)
	}
	all, err := New([]Config{c}, Options{Now: s.now})
	if err != nil {
		s.t.Fatal(err)
	}
	return all["p"]
}

func (s *server) token(claims map[string]any) string {
	all := map[string]any{"iss": s.srv.URL, "aud": "me", "sub": "u", "exp": s.now().Unix() + 60}
	maps.Copy(all, claims)
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			s.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(map[string]any{"alg": "EdDSA", "kid": s.kid}) + "." + part(all)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(text)))
}

func TestWhatIsFetched(t *testing.T) {
	s := newServer(t)
	p := s.client()
	if n := s.asked["/.well-known/openid-configuration"].Load(); n != 0 {
		t.Error("asked before it was needed")
	}
	for range 5 {
		if _, err := p.Verify(t.Context(), s.token(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if d, k := s.asked["/.well-known/openid-configuration"].Load(), s.asked["/jwks"].Load(); d != 1 || k != 1 {
		t.Error("fetched ", d, k)
	}
	// Tokens with unknown keys make one fetch, not one each.
	good := s.token(nil)
	s.kid = "k2"
	strange := s.token(nil)
	s.kid = "k1"
	for range 5 {
		if _, err := p.Verify(t.Context(), strange); !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
	}
	if k := s.asked["/jwks"].Load(); k != 1 {
		t.Error("fetched ", k)
	}
	// New keys are found a moment later, and nothing is lost meanwhile.
	s.kid = "k2"
	s.clock.Store(int64(keyRest + time.Second))
	// The library answers from the fetch before until that one's goroutine has ended.
	_, err := p.Verify(t.Context(), strange)
	for begun := time.Now(); err != nil && time.Since(begun) < 30*time.Second; runtime.Gosched() {
		_, err = p.Verify(t.Context(), strange)
	}
	if err != nil {
		t.Error(err)
	}
	if k := s.asked["/jwks"].Load(); k != 2 {
		t.Error("fetched ", k)
	}
	s.clock.Store(int64(freshness + time.Minute))
	if _, err := p.Verify(t.Context(), s.token(nil)); err != nil {
		t.Error(err)
	}
	if d := s.asked["/.well-known/openid-configuration"].Load(); d != 2 {
		t.Error("the discovery document is believed for ever: ", d)
	}
	if _, err := p.Verify(t.Context(), good); !errors.Is(err, ErrRefused) {
		t.Error("a token of long ago: ", err)
	}
}

// A provider that is down is asked once in a while, by one request at a time; what it said before holds.
func TestProviderThatIsDown(t *testing.T) {
	s := newServer(t)
	down := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }
	s.answers["/.well-known/openid-configuration"] = down
	p := s.client()
	for range 5 {
		if _, err := p.Verify(t.Context(), s.token(nil)); !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	}
	if d := s.asked["/.well-known/openid-configuration"].Load(); d != 1 {
		t.Error("asked ", d)
	}
	delete(s.answers, "/.well-known/openid-configuration")
	s.clock.Store(int64(grudge + time.Second))
	s.answers["/jwks"] = down
	if _, err := p.Verify(t.Context(), s.token(nil)); !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	delete(s.answers, "/jwks")
	s.clock.Store(int64(time.Minute))
	if _, err := p.Verify(t.Context(), s.token(nil)); err != nil {
		t.Error(err)
	}
	s.answers["/.well-known/openid-configuration"] = down
	s.clock.Store(int64(2 * freshness))
	if _, err := p.Verify(t.Context(), s.token(nil)); err != nil {
		t.Error("what the provider said an hour ago must hold while it is down: ", err)
	}
}

// One that hangs costs its own users a while, and them only while they wait.
func TestProviderThatHangs(t *testing.T) {
	s := newServer(t)
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	s.answers["/.well-known/openid-configuration"] = func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release }
	p := s.client()
	first := make(chan error)
	go func() { _, err := p.Verify(context.Background(), s.token(nil)); first <- err }()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Verify(ctx, s.token(nil)); !errors.Is(err, context.Canceled) {
		t.Error("a request that is given up waits: ", err)
	}
	close(release)
	if err := <-first; !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// Nothing leads to a fetch of what is not configured.
func TestWhereItDoesNotGo(t *testing.T) {
	bait := newServer(t)
	for name, bend := range map[string]func(*server){
		"redirect of the discovery document": func(s *server) {
			s.answers["/.well-known/openid-configuration"] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, bait.srv.URL+"/.well-known/openid-configuration", http.StatusFound)
			}
		},
		"redirect of the keys": func(s *server) {
			s.answers["/jwks"] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, bait.srv.URL+"/jwks", http.StatusFound)
			}
		},
		"another issuer":          func(s *server) { s.discovery = map[string]any{"issuer": bait.srv.URL} },
		"keys on another machine": func(s *server) { s.discovery = map[string]any{"jwks_uri": "http://192.0.2.1/jwks"} },
		"keys in a file":          func(s *server) { s.discovery = map[string]any{"jwks_uri": "file:///etc/passwd"} },
		"no keys":                 func(s *server) { s.discovery = map[string]any{"jwks_uri": nil} },
		"userinfo elsewhere":      func(s *server) { s.discovery = map[string]any{"userinfo_endpoint": "http://192.0.2.1/me"} },
		"only algorithms of secrets": func(s *server) {
			s.discovery = map[string]any{"id_token_signing_alg_values_supported": []string{"HS256", "none"}}
		},
		"an answer without end": func(s *server) {
			s.answers["/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(strings.Repeat(" ", answerLimit+10)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			bend(s)
			if _, err := s.client().Verify(t.Context(), s.token(nil)); !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrRefused) {
				t.Error(err)
			}
		})
	}
	for path, n := range bait.asked {
		if n.Load() != 0 {
			t.Error("fetched ", path)
		}
	}
	for _, issuer := range []string{"", "corp", "http://corp.example", "ftp://corp", "https://", "https://user:pw@corp.example", "https://corp.example/#x", "http://localhost.evil.example"} {
		if _, err := New([]Config{{Name: "p", Issuer: issuer, ClientID: "x"}}, Options{}); err == nil {
			t.Errorf("issuer %q is taken", issuer)
		}
	}
	if _, err := New([]Config{{Name: "p", Issuer: "https://corp.example", ClientID: "x", CAFile: "/nowhere"}}, Options{}); err == nil {
		t.Error("a missing file is taken")
	}
}

func TestTokensThatOnlyTheProviderUnderstands(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer map[string]any
		code   int
		config func(*Config)
		want   error
	}{
		{name: "of this client", answer: map[string]any{"active": true, "client_id": "me", "sub": "u"}},
		{name: "of a command line", answer: map[string]any{"active": true, "client_id": "cli"}},
		{name: "for this cloud", answer: map[string]any{"active": true, "client_id": "x", "aud": []string{"y", "me"}}},
		{name: "not active", answer: map[string]any{"active": false, "client_id": "me"}, want: ErrRefused},
		{name: "no word of active", answer: map[string]any{"client_id": "me"}, want: ErrRefused},
		{name: "active in words", answer: map[string]any{"active": "true", "client_id": "me"}, want: ErrRefused},
		{name: "of another client", answer: map[string]any{"active": true, "client_id": "x", "aud": "y"}, want: ErrRefused},
		{name: "of nobody", answer: map[string]any{"active": true}, want: ErrRefused},
		{name: "of another issuer", answer: map[string]any{"active": true, "client_id": "me", "iss": "https://x"}, want: ErrRefused},
		{name: "expired", answer: map[string]any{"active": true, "client_id": "me", "exp": 1000}, want: ErrRefused},
		{name: "client unknown there", answer: map[string]any{"error": "invalid_client"}, code: 401, want: ErrUnreachable},
		{name: "no secret", answer: map[string]any{"active": true, "client_id": "me"}, config: func(c *Config) { c.ClientSecret = "" }, want: ErrRefused},
		{name: "userinfo of another", answer: map[string]any{"active": true, "client_id": "me", "sub": "other", "scope": "x openid"}, want: ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.answers["/introspection"] = func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				if user != "me" || password != "a+secret%3A" || r.FormValue("token") != "opaque" || r.Method != "POST" {
					t.Error("asked by ", user, password, r.Form)
				}
				w.Header().Set("Content-Type", "application/json")
				if c.code != 0 {
					w.WriteHeader(c.code)
				}
				_ = json.NewEncoder(w).Encode(c.answer)
			}
			s.answers["/me"] = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"sub":"u","email":"u@x"}`))
			}
			p := s.client()
			if c.config != nil {
				p = s.client(c.config)
			}
			claims, err := p.Verify(t.Context(), "opaque")
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatal(claims, err)
			}
			if err == nil && claims["iss"] != s.srv.URL {
				t.Error(claims)
			}
		})
	}
}

func TestUserinfoCompletesAnAccessToken(t *testing.T) {
	s := newServer(t)
	s.answers["/introspection"] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"active":true,"client_id":"me","sub":"u","scope":"openid email"}`))
	}
	s.answers["/me"] = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer opaque" {
			t.Error(r.Header)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"sub":"u","email":"u@x","client_id":"not this","groups":["a"]}`))
	}
	got, err := s.client().Verify(t.Context(), "opaque")
	want := Claims{"client_id": "me", "sub": "u", "scope": "openid email", "email": "u@x", "groups": []any{"a"}, "iss": s.srv.URL}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Error(err, cmp.Diff(want, got))
	}
}

func TestAttributes(t *testing.T) {
	var c Claims
	if err := json.Unmarshal([]byte(`{"iss":"https://x","ISS":"https://evil","sub":"u","email":"é@x","email_verified":true,"no":false,"preferred_username":"p","groups":["a","b c",true,{"x":1},["y"],"mine;cloud-admins"],"empty":[],"a b":"c","nothing":null,"address":{"city":"Z"}}`), &c); err != nil {
		t.Fatal(err)
	}
	c["iat"] = json.Number("1700000000")
	got := Attributes(c, ";")
	want := map[string]string{
		"OIDC-iss": "https://x", "HTTP_OIDC_ISS": "https://x", "OIDC-ISS": "https://evil", "OIDC-sub": "u", "HTTP_OIDC_SUB": "u", "REMOTE_USER": "u", "OIDC-email": "é@x", "HTTP_OIDC_EMAIL": "é@x",
		"OIDC-email_verified": "1", "HTTP_OIDC_EMAIL_VERIFIED": "1", "OIDC-no": "0", "HTTP_OIDC_NO": "0", "OIDC-preferred_username": "p", "HTTP_OIDC_PREFERRED_USERNAME": "p",
		"OIDC-groups": `a;b c;1;{"x":1}`, "HTTP_OIDC_GROUPS": `a;b c;1;{"x":1}`, "OIDC-empty": "", "HTTP_OIDC_EMPTY": "", "OIDC-a b": "c", "HTTP_OIDC_A_B": "c",
		"OIDC-address": `{"city":"Z"}`, "HTTP_OIDC_ADDRESS": `{"city":"Z"}`, "OIDC-iat": "1700000000", "HTTP_OIDC_IAT": "1700000000",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Whatever a provider says of somebody: the issuer and the subject stay what they are, and no answer to an introspection is taken for more than it says.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"active":true,"client_id":"me","sub":"u","iss":"https://p","groups":["a",["b"]],"exp":1e300}`), ";")
	f.Add([]byte(`{"active":true,"aud":["cli",1],"ISS":"x"}`), "")
	f.Add([]byte(`null`), ",")
	p := &Provider{c: Config{Issuer: "https://p", ClientID: "me", Audiences: []string{"cli"}}, o: Options{Now: time.Now}}
	f.Fuzz(func(t *testing.T, body []byte, delimiter string) {
		claims, err := p.introspected(body)
		if err != nil {
			return
		}
		got := Attributes(claims, delimiter)
		if got["HTTP_OIDC_ISS"] != "https://p" || got["OIDC-iss"] != "https://p" || got["REMOTE_USER"] != claims.Text("sub") {
			t.Fatal(got)
		}
		if n, ok := claims["exp"].(json.Number); ok {
			if at, err := n.Float64(); err != nil || at <= float64(time.Now().Unix()) {
				t.Fatal("expired: ", n)
			}
		}
		var a struct {
			Client any `json:"client_id"`
			Aud    any
		}
		if json.Unmarshal(body, &a) == nil && !strings.Contains(fmt.Sprint(a.Client, a.Aud), "me") && !strings.Contains(fmt.Sprint(a.Client, a.Aud), "cli") {
			t.Fatalf("not for this cloud: %s", body)
		}
	})
}

func FuzzSigned(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, s string) {
		if signed(s) && strings.Count(s, ".") != 2 {
			t.Fatal(s)
		}
	})
}
