package identity_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func names(r reply, list string) (out []string) {
	all, _ := r.at(list).([]any)
	for _, e := range all {
		out = append(out, e.(map[string]any)["name"].(string))
	}
	slices.Sort(out)
	return out
}

// An identity provider's tokens, of each sort that clients bring, become tokens of this cloud.
func TestFederatedBearerTokens(t *testing.T) {
	p := startProvider(t)
	access, id := p.password("cli", "alice")
	machine := p.token("cli", url.Values{"grant_type": {"client_credentials"}, "scope": {"cloud"}, "resource": {"urn:hanok"}})["access_token"].(string)
	_, bob := p.password("hanok", "bob")
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {

		r := f.bring(id)
		if r.code != 201 || r.header.Get("X-Subject-Token") == "" || r.header.Get("Content-Type") != "application/json" {
			t.Fatal(r.code, r.raw)
		}
		unscoped := r.header.Get("X-Subject-Token")
		user := r.str("token.user.id")
		if len(user) != 64 || r.str("token.user.name") != "Alice A." || r.str("token.user.domain.id") != f.domain || r.str("token.user.domain.name") != "corp" ||
			r.str("token.user.OS-FEDERATION.identity_provider.id") != "corp" || r.str("token.user.OS-FEDERATION.protocol.id") != "openid" ||
			r.str("token.user.OS-FEDERATION.groups.0.id") != f.dev || r.at("token.methods.0") != "openid" {
			t.Error(r.raw)
		}
		if strings.Contains(r.raw, "password_expires_at") || r.at("token.project") != nil || r.at("token.catalog") != nil || r.at("token.roles") != nil {
			t.Error("an unscoped federated token shows too much: ", r.raw)
		}

		// The other sorts of token are the same user's.
		if r := f.bring(access); r.code != 201 || r.str("token.user.id") != user {
			t.Error("access token that only the provider understands: ", r.code, r.raw)
		}
		if r := f.bring(machine); r.code != 201 || r.str("token.user.name") != "machine cli" {
			t.Error("a machine's access token: ", r.code, r.raw)
		}
		if r := f.send("", "GET", authPath, "", "Authorization", "bearer "+id); r.code != 201 {
			t.Error("GET: ", r.code, r.raw)
		}
		if r := f.bring(bob); r.code != 201 || r.at("token.user.OS-FEDERATION.groups.0") != nil {
			t.Error("somebody without a group comes in with none: ", r.code, r.raw)
		}

		// Where the token could go, and going there.
		for _, path := range []string{"/v3/auth/projects", "/v3/OS-FEDERATION/projects"} {
			if got := names(f.as(unscoped, 200, "GET", path, ""), "projects"); !slices.Equal(got, []string{"work"}) {
				t.Error(path, got)
			}
		}
		if got := names(f.as(unscoped, 200, "GET", "/v3/OS-FEDERATION/domains", ""), "domains"); len(got) != 0 {
			t.Error(got)
		}
		f.must(204, "PUT", "/v3/domains/"+f.domain+"/groups/"+f.dev+"/roles/"+f.role("reader"), "")
		if got := names(f.as(unscoped, 200, "GET", "/v3/auth/domains", ""), "domains"); !slices.Equal(got, []string{"corp"}) {
			t.Error(got)
		}
		scoped, r := f.loginWith(tokenBody(unscoped, `"scope":{"project":{"id":"`+f.prj+`"}}`))
		if r.code != 201 || !slices.Equal(names(r, "token.roles"), []string{"member", "reader"}) || r.str("token.user.OS-FEDERATION.groups.0.id") != f.dev || r.str("token.project.name") != "work" {
			t.Error(r.code, r.raw)
		}
		if r.str("token.expires_at") == "" || r.at("token.methods.1") == nil || r.at("token.audit_ids.1") == nil {
			t.Error(r.raw)
		}
		inDomain, r := f.loginWith(tokenBody(unscoped, `"scope":{"domain":{"id":"`+f.domain+`"}}`))
		if r.code != 201 || !slices.Equal(names(r, "token.roles"), []string{"reader"}) {
			t.Error(r.code, r.raw)
		}
		for _, token := range []string{unscoped, scoped, inDomain} {
			if f.valid(token) != 200 {
				t.Error("a token is not good")
			}
		}
		other, _ := f.controller()
		if c, err := other.Authenticate(context.Background(), scoped); err != nil || c == nil || c.ProjectID != f.prj || !slices.Contains(c.Roles, "member") {
			t.Error("another controller: ", c, err)
		}
		if _, r := f.loginWith(tokenBody(unscoped, project("admin"))); r.code != 401 {
			t.Error("a project without a role: ", r.code, r.raw)
		}
		if _, r := f.loginWith(tokenBody(unscoped, `"scope":{"system":{"all":true}}`)); r.code != 401 {
			t.Error("the system: ", r.code, r.raw)
		}

		// The method mapped takes a federated token, or a provider's.
		mapped := func(data string) reply {
			return f.send("", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["mapped"],"mapped":`+data+`},"scope":{"project":{"id":"`+f.prj+`"}}}}`, "Authorization", "Bearer "+id)
		}
		if r := mapped(`{"id":"` + unscoped + `"}`); r.code != 201 || !slices.Contains(names(r, "token.roles"), "member") {
			t.Error(r.code, r.raw)
		}
		if r := mapped(`{"id":"` + f.admin + `"}`); r.code != 401 {
			t.Error("a token that is not federated: ", r.code, r.raw)
		}
		if r := mapped(`{"identity_provider":"corp","protocol":"openid"}`); r.code != 201 {
			t.Error(r.code, r.raw)
		}
		if r := mapped(`{"identity_provider":"corp"}`); r.code != 400 || !strings.HasPrefix(r.message(), "Expecting to find protocol in mapped.") {
			t.Error(r.code, r.raw)
		}

		// A group's roles go with it.
		f.must(204, "DELETE", "/v3/projects/"+f.prj+"/groups/"+f.dev+"/roles/"+f.role("member"), "")
		if f.valid(scoped) == 200 || f.valid(unscoped) != 200 {
			t.Error("the role is gone and the token is not, or too many are")
		}
		if r := f.bring(""); r.code != 401 {
			t.Error(r.code, r.raw)
		}
		if r := f.send("", "GET", strings.Replace(authPath, "corp", "nobody", 1), ""); r.code != 404 || r.message() != "Could not find Identity Provider: nobody." {
			t.Error(r.code, r.raw)
		}
		if r := f.send("", "GET", strings.Replace(authPath, "openid", "saml2", 1), ""); r.code != 404 || r.message() != "Could not find federated protocol saml2 for Identity Provider: corp." {
			t.Error(r.code, r.raw)
		}
	})
}

// Tokens that are not what they should be let nobody in.
func TestForgedTokensAreRefused(t *testing.T) {
	p := startProvider(t)
	wrong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	access, id := p.password("other", "alice")
	machine := p.token("other", url.Values{"grant_type": {"client_credentials"}, "scope": {"cloud"}, "resource": {"urn:elsewhere"}})["access_token"].(string)
	opaque := p.token("other", url.Values{"grant_type": {"client_credentials"}})["access_token"].(string)
	now := time.Now().Unix()
	hours := func(h int64) int64 { return now + h*3600 }
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {
		if r := f.bring(p.forge(p.key, nil, nil)); r.code != 201 {
			t.Fatal("what the test signs must be good, or it proves nothing: ", r.raw)
		}
		parts := strings.Split(p.forge(p.key, nil, nil), ".")
		for name, token := range map[string]string{
			"wrong issuer":                   p.forge(p.key, nil, map[string]any{"iss": p.issuer + "/x"}),
			"no issuer":                      p.forge(p.key, nil, map[string]any{"iss": nil}),
			"wrong audience":                 p.forge(p.key, nil, map[string]any{"aud": "other"}),
			"no audience":                    p.forge(p.key, nil, map[string]any{"aud": nil}),
			"expired":                        p.forge(p.key, nil, map[string]any{"exp": hours(-1)}),
			"no expiry":                      p.forge(p.key, nil, map[string]any{"exp": nil}),
			"not yet good":                   p.forge(p.key, nil, map[string]any{"nbf": hours(1)}),
			"no signature":                   p.forge(nil, map[string]any{"alg": "none"}, nil),
			"algorithm with a secret":        p.forge(p.key, map[string]any{"alg": "HS256"}, nil),
			"other key":                      p.forge(wrong, nil, nil),
			"other key, other name":          p.forge(wrong, map[string]any{"kid": "k2"}, nil),
			"key in the header":              p.forge(wrong, map[string]any{"kid": nil, "jwk": publicJWK(wrong)}, nil),
			"key at the attacker's":          p.forge(wrong, map[string]any{"jku": "http://127.0.0.1:1/jwks"}, nil),
			"changed":                        parts[0] + "." + strings.Split(p.forge(p.key, nil, map[string]any{"sub": "bob"}), ".")[1] + "." + parts[2],
			"ID token of another client":     id,
			"access token of another client": access,
			"a machine's, for another":       machine,
			"a machine's, of another client": opaque,
			"nonsense":                       "nonsense",
			"too long":                       strings.Repeat("x", 20000),
			"of this cloud":                  f.admin,
		} {
			if r := f.bring(token); r.code != 401 || r.message() != "The request you have made requires authentication." || r.header.Get("X-Subject-Token") != "" {
				t.Errorf("%s: %d %s", name, r.code, r.raw)
			}
		}
		// A token ends.
		good := p.forge(p.key, nil, nil)
		f.shift.Store(int64(11 * time.Minute))
		if r := f.bring(good); r.code != 401 {
			t.Error("an expired token: ", r.code, r.raw)
		}
		f.shift.Store(0)
		// The provider must be one that the administrator has named.
		f.must(200, "PATCH", "/v3/OS-FEDERATION/identity_providers/corp", `{"identity_provider":{"remote_ids":["https://elsewhere"]}}`)
		if r := f.bring(good); r.code != 403 || r.message() != "You are not authorized to perform the requested action." {
			t.Error(r.code, r.raw)
		}
		f.must(200, "PATCH", "/v3/OS-FEDERATION/identity_providers/corp", `{"identity_provider":{"remote_ids":[]}}`)
		if r := f.bring(good); r.code != 201 {
			t.Error(r.code, r.raw)
		}
		// One without a section in keystone.conf lets nobody in.
		f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/bare", `{"identity_provider":{"enabled":true}}`)
		f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/bare/protocols/openid", `{"protocol":{"mapping_id":"members"}}`)
		if r := f.send("", "POST", strings.Replace(authPath, "corp", "bare", 1), "", "Authorization", "Bearer "+good); r.code != 401 {
			t.Error(r.code, r.raw)
		}
	})
}

func publicJWK(k *rsa.PrivateKey) map[string]any {
	all := privateJWK(k)
	return map[string]any{"kty": "RSA", "n": all["n"], "e": all["e"]}
}

var tokenField = regexp.MustCompile(`<input type="hidden" name="token" id="token" value="([^"]+)">`)

// A browser logs in at the provider's own pages, and the dashboard gets the token.
func TestWebLogin(t *testing.T) {
	p := startProvider(t)
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {
		b := newBrowser(t, f.cloud)
		resp, page := b.get(startURL(dashboardURL))
		if resp.StatusCode != 200 || !strings.HasPrefix(resp.Request.URL.String(), p.issuer+"/interaction/") {
			t.Fatal(resp.Request.URL, page)
		}
		back := b.agree(b.login(page, "alice"))
		resp, page = b.get(back)
		m := tokenField.FindStringSubmatch(page)
		if resp.StatusCode != 200 || m == nil || !strings.Contains(page, `action="`+dashboardURL+`" method="post"`) || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatal(resp.Status, resp.Header, page)
		}
		token := html.UnescapeString(m[1])
		r := f.send(f.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token)
		if r.code != 200 || r.str("token.user.name") != "Alice A." || r.str("token.user.OS-FEDERATION.groups.0.id") != f.dev {
			t.Error(r.code, r.raw)
		}
		_, id := p.password("hanok", "alice")
		if got := f.bring(id).str("token.user.id"); got != r.str("token.user.id") {
			t.Error("the command line's user is another: ", got)
		}

		// Where only the protocol is named, the one provider that has it is meant; logged in there already, the browser passes straight through.
		byProtocol := endpoint + "/identity/v3/auth/OS-FEDERATION/websso/openid?origin=" + url.QueryEscape(dashboardURL)
		if resp, page := b.get(byProtocol); resp.StatusCode != 200 || !tokenField.MatchString(page) || !strings.HasPrefix(resp.Request.URL.String(), callback) {
			t.Error(resp.Status, resp.Request.URL, page)
		}
		// With two the user chooses.
		f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/second", `{"identity_provider":{"enabled":true}}`)
		f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/second/protocols/openid", `{"protocol":{"mapping_id":"members"}}`)
		f.conf.OIDC["second"] = f.conf.OIDC["corp"]
		f.svc, f.h = f.controller()
		resp, page = b.get(byProtocol)
		delete(f.conf.OIDC, "second")
		if resp.StatusCode != 200 || strings.Count(page, "<a href=") != 2 || !strings.Contains(page, `<a href="`+startURL(dashboardURL)+`">corp</a>`) {
			t.Error(resp.Status, page)
		}
	})
}

// What somebody makes of a login that is not theirs, or not begun here, ends nowhere.
func TestWebLoginsCannotBeStolen(t *testing.T) {
	p := startProvider(t)
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {
		b := newBrowser(t, f.cloud)
		refuse := func(what string, code int, b *browser, address string) {
			t.Helper()
			resp, page := b.get(address)
			if resp.StatusCode != code || tokenField.MatchString(page) || resp.Header.Get("X-Subject-Token") != "" {
				t.Errorf("%s: %s %s", what, resp.Status, page)
			}
		}
		// Only trusted dashboards get tokens.
		refuse("no origin", 400, b, callback)
		refuse("unknown dashboard", 401, b, startURL("https://evil.example/auth/websso/"))
		refuse("dashboard with more", 401, b, startURL(dashboardURL+"?x"))
		refuse("dashboard of another scheme", 401, b, startURL("http://dashboard.example/auth/websso/"))
		refuse("unknown provider", 404, b, strings.Replace(startURL(dashboardURL), "corp", "nobody", 1))

		set := func(address, name, value string) string {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			if q.Set(name, value); value == "" {
				q.Del(name)
			}
			u.RawQuery = q.Encode()
			return u.String()
		}
		// A code is of use to the browser alone that began the login: an attacker can neither log in with a victim's code nor a victim be logged in as
		// the attacker.
		back := b.code("alice")
		refuse("another browser", 401, newBrowser(t, f.cloud), back)
		refuse("no such state", 401, b, set(back, "state", "x"))
		stranger := newBrowser(t, f.cloud)
		other := stranger.code("bob")
		u, err := url.Parse(other)
		if err != nil {
			t.Fatal(err)
		}
		refuse("another's code under the own state", 401, b, set(back, "code", u.Query().Get("code"))) // PKCE
		// That used the login up: its cookie is gone.
		refuse("the same once more", 401, b, back)

		back = b.code("alice")
		refuse("an answer of another issuer", 401, b, set(back, "iss", "https://evil.example"))
		back = b.code("alice")
		refuse("an error", 401, b, set(set(back, "code", ""), "error", "access_denied"))
		back = b.code("alice")
		f.shift.Store(int64(11 * time.Minute))
		refuse("too late", 401, b, back)
		f.shift.Store(0)

		// Once is enough, and a copy of the cookie does not help.
		back = b.code("alice")
		u, err = url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		copied := b.c.Jar.Cookies(u)
		if len(copied) == 0 {
			t.Fatal("no cookie")
		}
		if resp, page := b.get(back); resp.StatusCode != 200 || !tokenField.MatchString(page) {
			t.Fatal(resp.Status, page)
		}
		refuse("replayed", 401, b, back)
		b.c.Jar.SetCookies(u, copied)
		refuse("replayed with its cookie", 401, b, back)
	})
}

// A provider's tokens to a login of its own are checked as those that clients bring: here the answer to the code is the test's.
func TestWebLoginChecksTheIDToken(t *testing.T) {
	p := startProvider(t)
	f := newFederatedCloud(t, dbtest.Memory(t), p)
	evil := newLyingProvider(t, p)
	f.conf.OIDC["corp"].Issuer = evil.issuer()
	f.must(200, "PATCH", "/v3/OS-FEDERATION/identity_providers/corp", `{"identity_provider":{"remote_ids":["`+evil.issuer()+`"]}}`)
	f.svc, f.h = f.controller()
	try := func(claims map[string]any) (int, string) {
		b := newBrowser(t, f.cloud)
		login := b.until(evil.issuer()+"/auth", func() string { _, page := b.get(startURL(dashboardURL)); return page })
		u, err := url.Parse(login)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("nonce") == "" || q.Get("response_type") != "code" || q.Get("scope") != "openid email profile" || q.Get("redirect_uri") != callback {
			t.Error(login)
		}
		evil.next = claims
		if _, given := claims["nonce"]; !given {
			evil.next["nonce"] = q.Get("nonce")
		}
		resp, page := b.get(callback + "?code=x&state=" + url.QueryEscape(q.Get("state")))
		return resp.StatusCode, page
	}
	if code, page := try(map[string]any{}); code != 200 || !tokenField.MatchString(page) {
		t.Fatal("the plain case must do, or the others prove nothing: ", code, page)
	}
	for name, claims := range map[string]map[string]any{
		"another login's nonce":     {"nonce": "replayed"},
		"no nonce":                  {"nonce": nil},
		"another audience":          {"aud": "other"},
		"an audience for clients":   {"aud": "cli"},
		"another authorized party":  {"aud": []string{"hanok", "other"}, "azp": "other"},
		"another issuer":            {"iss": p.issuer},
		"expired":                   {"exp": time.Now().Unix() - 10},
		"another access token":      {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
		"userinfo of somebody else": {"sub": "mallory"},
	} {
		if code, page := try(claims); code != 401 || tokenField.MatchString(page) {
			t.Errorf("%s: %d %s", name, code, page)
		}
	}
	var said map[string]any
	if code, page := try(map[string]any{"nonce": "x"}); code != 401 || json.Unmarshal([]byte(page), &said) != nil || strings.Contains(page, "nonce") {
		t.Error("the reason belongs into the log: ", page)
	}
}
