package identity_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// realProvider is the certified OpenID Connect provider of npm, run by node. Its signing key is the test's, so that the test can make any token.
type realProvider struct {
	t      testing.TB
	issuer string
	key    *rsa.PrivateKey
	stop   func()
}

// needed fails or skips where a program is missing.
func needed(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("HANOK_TEST_REQUIRE") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

const callback = endpoint + "/identity/v3/auth/OS-FEDERATION/identity_providers/corp/protocols/openid/websso"

func startProvider(t testing.TB, redirects ...string) *realProvider {
	t.Helper()
	needed(t, "node", "npm", "bash")
	if out, err := exec.Command("bash", "../../test/oidc-provider/install.sh").CombinedOutput(); err != nil {
		t.Fatalf("install the provider: %v\n%s", err, out)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &realProvider{t: t, key: key}
	client := func(id string) map[string]any {
		return map[string]any{"client_id": id, "client_secret": "hush-" + id, "redirect_uris": append([]string{callback}, redirects...), "grant_types": []string{"authorization_code", "client_credentials", "password"}}
	}
	settings := map[string]any{"clients": []any{client("hanok"), client("other"), client("cli")}, "jwks": map[string]any{"keys": []any{privateJWK(key)}},
		"users": map[string]any{
			"alice": map[string]any{"email": "alice@corp.example", "name": "Alice A.", "groups": []string{"dev", "ops"}, "department": "R"},
			"bob":   map[string]any{"email": "bob@corp.example", "name": "Bob", "groups": []string{"sales"}},
		}}
	p.run(settings)
	return p
}

func (p *realProvider) run(settings map[string]any) {
	p.t.Helper()
	cmd := exec.Command("node", "provider.mjs")
	cmd.Dir = "../../build/oidc-provider"
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stop = func() {
		_ = in.Close() // it ends with its input
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		p.stop = func() {}
	}
	p.t.Cleanup(func() { p.stop() })
	b, err := json.Marshal(settings)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := in.Write(append(b, '\n')); err != nil {
		p.t.Fatal(err, said.String())
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var first struct{ Issuer string }
	if err != nil || json.Unmarshal(line, &first) != nil || first.Issuer == "" {
		p.t.Fatalf("the provider did not start: %v %s %s", err, line, said.String())
	}
	p.issuer = first.Issuer
}

func privateJWK(k *rsa.PrivateKey) map[string]any {
	b := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	return map[string]any{"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256", "n": b(k.N), "e": b(big.NewInt(int64(k.E))), "d": b(k.D),
		"p": b(k.Primes[0]), "q": b(k.Primes[1]), "dp": b(k.Precomputed.Dp), "dq": b(k.Precomputed.Dq), "qi": b(k.Precomputed.Qinv)}
}

// conf is a keystone.conf that trusts the provider.
func (p *realProvider) conf() *conf.Config {
	c := conf.Default()
	c.Federation.TrustedDashboard = []string{"https://Dashboard.example/auth/websso/"}
	c.OIDC = map[string]*conf.OIDC{"corp": {Issuer: p.issuer, ClientID: "hanok", ClientSecret: "hush-hanok", Scopes: []string{"openid", "email", "profile"},
		Audiences: []string{"cli", "urn:hanok"}, ClaimDelimiter: ";"}}
	return c
}

// token asks the provider for tokens as a command-line client does.
func (p *realProvider) token(client string, form url.Values) map[string]any {
	p.t.Helper()
	req, err := http.NewRequest("POST", p.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(client, "hush-"+client)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != 200 {
		p.t.Fatal(resp.Status, out, err)
	}
	return out
}

func (p *realProvider) password(client, user string) (access, id string) {
	p.t.Helper()
	out := p.token(client, url.Values{"grant_type": {"password"}, "username": {user}, "password": {"pw-" + user}, "scope": {"openid email profile"}})
	return out["access_token"].(string), out["id_token"].(string)
}

// forge signs a token with the given key as the provider would; claims replace its usual ones.
func (p *realProvider) forge(key *rsa.PrivateKey, head, claims map[string]any) string {
	p.t.Helper()
	now := time.Now().Unix()
	all := map[string]any{"iss": p.issuer, "aud": "hanok", "sub": "alice", "iat": now, "exp": now + 600, "email": "alice@corp.example", "name": "Alice A.", "groups": []string{"dev", "ops"}}
	maps.Copy(all, claims)
	h := map[string]any{"alg": "RS256", "kid": "k1", "typ": "JWT"}
	maps.Copy(h, head)
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			p.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(h) + "." + part(all)
	if h["alg"] == "none" {
		return text + "."
	}
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		p.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// federatedCloud has the identity provider corp with the protocol openid; its users are members of the groups dev and ops where they are so there.
type federatedCloud struct {
	*cloud
	p                *realProvider
	domain, dev, prj string
}

// memberRules put the provider's users with a group among dev and ops in, with those groups.
const memberRules = `[{"local":[{"user":{"name":"{0}","email":"{1}"}},{"groups":"{2}","domain":{"name":"corp"}}],
	"remote":[{"type":"OIDC-name"},{"type":"HTTP_OIDC_EMAIL"},{"type":"OIDC-groups","whitelist":["dev","ops","none"]}]},
	{"local":[{"user":{"name":"machine {0}"}},{"group":{"name":"dev","domain":{"name":"corp"}}}],"remote":[{"type":"OIDC-client_id"},{"type":"OIDC-scope","any_one_of":["cloud"]}]}]`

func newFederatedCloud(t testing.TB, d *db.DB, p *realProvider) *federatedCloud {
	t.Helper()
	return (&federatedCloud{cloud: (&cloud{t: t, d: d, conf: p.conf()}).start(), p: p}).furnish()
}

func (f *federatedCloud) furnish() *federatedCloud {
	f.t.Helper()
	f.domain = f.create("domain", `{"name":"corp"}`)
	f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/corp", `{"identity_provider":{"enabled":true,"domain_id":"`+f.domain+`","remote_ids":["`+f.p.issuer+`"]}}`)
	f.must(201, "PUT", "/v3/OS-FEDERATION/mappings/members", `{"mapping":{"rules":`+memberRules+`}}`)
	f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/corp/protocols/openid", `{"protocol":{"mapping_id":"members"}}`)
	f.dev = f.create("group", `{"name":"dev","domain_id":"`+f.domain+`"}`)
	f.prj = f.create("project", `{"name":"work","domain_id":"`+f.domain+`"}`)
	f.must(204, "PUT", "/v3/projects/"+f.prj+"/groups/"+f.dev+"/roles/"+f.role("member"), "")
	return f
}

const authPath = "/v3/OS-FEDERATION/identity_providers/corp/protocols/openid/auth"

// bring exchanges a provider's token.
func (f *federatedCloud) bring(token string) reply {
	f.t.Helper()
	return f.send("", "POST", authPath, "", "Authorization", "Bearer "+token)
}

// enter is bring that must do; it gives the unscoped token.
func (f *federatedCloud) enter(token string) string {
	f.t.Helper()
	r := f.bring(token)
	if r.code != 201 {
		f.t.Fatalf("%d %s", r.code, r.raw)
	}
	return r.header.Get("X-Subject-Token")
}

func tokenBody(token, scope string) string {
	if scope != "" {
		scope = "," + scope
	}
	return `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + token + `"}}` + scope + `}}`
}

// browser keeps cookies and follows redirects; the cloud is reached without a network.
type browser struct {
	t testing.TB
	c *http.Client
}

type intoCloud struct{ c *cloud }

func (i intoCloud) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(endpoint, "http://"+r.URL.Host) {
		return http.DefaultTransport.RoundTrip(r)
	}
	in := httptest.NewRequest(r.Method, r.URL.RequestURI(), nil)
	in.Header = r.Header
	w := httptest.NewRecorder()
	i.c.h.ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func newBrowser(t testing.TB, c *cloud) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar, Transport: intoCloud{c}}}
}

func (b *browser) finish(resp *http.Response, err error) (*http.Response, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(text)
}

func (b *browser) get(address string) (*http.Response, string) {
	b.t.Helper()
	resp, err := b.c.Get(address)
	return b.finish(resp, err)
}

// until follows redirects up to one that leads to an address that begins so, and gives that address.
func (b *browser) until(prefix string, step func() string) string {
	b.t.Helper()
	found, text := b.towards(prefix, step)
	if found == "" {
		b.t.Fatalf("no redirect to %s: %s", prefix, text)
	}
	return found
}

// towards is until that gives the page where there is no such redirect.
func (b *browser) towards(prefix string, step func() string) (found, page string) {
	b.t.Helper()
	b.c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), prefix) {
			found = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	defer func() { b.c.CheckRedirect = nil }()
	page = step()
	return found, page
}

var formAction = regexp.MustCompile(`action="([^"]+)"`)

func (b *browser) post(page string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	m := formAction.FindStringSubmatch(page)
	if m == nil {
		b.t.Fatal("no form in: ", page)
	}
	resp, err := b.c.PostForm(html.UnescapeString(m[1]), form)
	return b.finish(resp, err)
}

// login fills the provider's login page in and gives its consent page.
func (b *browser) login(page, user string) string {
	b.t.Helper()
	_, page = b.post(page, url.Values{"prompt": {"login"}, "login": {user}, "password": {"anything"}})
	return page
}

// code goes all the way to where the provider sends the browser back to, and stops before that.
func (b *browser) code(user string) string {
	b.t.Helper()
	found, page := b.towards(callback, func() string { _, page := b.get(startURL(dashboardURL)); return page })
	if found != "" { // logged in there already
		return found
	}
	return b.agree(b.login(page, user))
}

// agree leaves the consent page.
func (b *browser) agree(page string) string {
	b.t.Helper()
	return b.until(callback, func() string {
		_, text := b.post(page, url.Values{"prompt": {"consent"}})
		return text
	})
}

func startURL(origin string) string {
	return callback + "?origin=" + url.QueryEscape(origin)
}

const dashboardURL = "https://dashboard.example/auth/websso/"

// lyingProvider answers every code with whatever ID token the test wants. It has the keys of a real one.
type lyingProvider struct {
	p    *realProvider
	srv  *httptest.Server
	next map[string]any
}

func newLyingProvider(t testing.TB, p *realProvider) *lyingProvider {
	t.Helper()
	l := &lyingProvider{p: p}
	mux := http.NewServeMux()
	answer := func(path string, v func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v())
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		i := l.issuer()
		return map[string]any{"issuer": i, "authorization_endpoint": i + "/auth", "token_endpoint": i + "/token", "jwks_uri": i + "/jwks", "userinfo_endpoint": i + "/me",
			"id_token_signing_alg_values_supported": []string{"RS256", "none", "HS256"}}
	})
	answer("/jwks", func() any {
		k := privateJWK(p.key)
		return map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256", "n": k["n"], "e": k["e"]}}}
	})
	answer("/me", func() any { return map[string]any{"sub": "alice", "department": "R"} })
	answer("/token", func() any {
		claims := map[string]any{"iss": l.issuer()}
		maps.Copy(claims, l.next)
		return map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": p.forge(p.key, nil, claims)}
	})
	mux.HandleFunc("/auth", func(http.ResponseWriter, *http.Request) {})
	l.srv = httptest.NewServer(mux)
	t.Cleanup(l.srv.Close)
	return l
}

func (l *lyingProvider) issuer() string { return l.srv.URL }
