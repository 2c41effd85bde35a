package identity_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/clientcert"
	"github.com/hanok-cloud/hanok/internal/clientcert/certtest"
)

// certRules are those of upstream's guide: two authorities, of which one vouches for names and the other for ids.
const certRules = `[{"local":[{"user":{"name":"{0}","id":"{1}","domain":{"name":"{2}"}}}],
	"remote":[{"type":"SSL_CLIENT_SUBJECT_DN_CN"},{"type":"SSL_CLIENT_SUBJECT_DN_UID"},{"type":"SSL_CLIENT_SUBJECT_DN_O"},{"type":"SSL_CLIENT_ISSUER_DN_CN","any_one_of":["root_a"]}]},
	{"local":[{"user":{"id":"{0}"}}],"remote":[{"type":"SSL_CLIENT_SUBJECT_DN_UID"},{"type":"SSL_CLIENT_ISSUER_DN_CN","any_one_of":["root_b"]}]}]`

// certCloud is a cloud behind TLS, with two authorities of client certificates.
type certCloud struct {
	*cloud
	a, b, stranger *certtest.CA
	server         *httptest.Server
	user, project  string
}

func withCertificates(t *testing.T, keystoneConf string, fn func(t *testing.T, c *certCloud)) {
	stepped(t, func(t *testing.T, plain *cloud) {
		c := &certCloud{cloud: plain, a: certtest.New(t, "root_a"), b: certtest.New(t, "root_b"), stranger: certtest.New(t, "root_a")}
		file := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(file, append(c.a.PEM(), c.b.PEM()...), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		if c.clients, err = clientcert.File(file, c.now, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		c.configure(keystoneConf)
		c.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.h.ServeHTTP(w, r) }))
		c.server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		c.server.EnableHTTP2 = true
		c.server.StartTLS()
		t.Cleanup(c.server.Close)
		c.must(201, "PUT", "/v3/OS-FEDERATION/mappings/oauth2_mapping", `{"mapping":{"rules":`+certRules+`}}`)
		c.user, c.project = c.tenant("kim")
		c.must(200, "PATCH", "/v3/users/"+c.user, `{"user":{"default_project_id":"`+c.project+`"}}`)
		fn(t, c)
	})
}

// client is a TLS client that shows these certificates, whatever the server would like to see.
func (c *certCloud) client(certs ...tls.Certificate) *http.Client {
	tr := c.server.Client().Transport.(*http.Transport).Clone()
	tr.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if len(certs) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certs[0], nil
	}
	c.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (c *certCloud) over(client *http.Client, method, path, body string, header ...string) reply {
	c.t.Helper()
	r, err := http.NewRequest(method, c.server.URL+"/identity"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	out := reply{code: a.StatusCode, header: a.Header, raw: string(b)}
	if strings.HasPrefix(out.raw, "{") {
		if err := json.Unmarshal(b, &out.body); err != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

// grant asks for a token as keystoneauth1's OAuth2mTlsClientCredential does.
func (c *certCloud) grant(client *http.Client, id string, header ...string) reply {
	c.t.Helper()
	return c.over(client, "POST", "/v3/OS-OAUTH2/token", "grant_type=client_credentials&client_id="+url.QueryEscape(id),
		append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

// bound gets a token for the cloud's user.
func (c *certCloud) bound(cert tls.Certificate) string {
	c.t.Helper()
	r := c.grant(c.client(cert), c.user)
	if r.code != 200 {
		c.t.Fatal(r.code, r.raw)
	}
	return r.str("access_token")
}

func TestCertificateBoundTokens(t *testing.T) {
	withCertificates(t, "", func(t *testing.T, c *certCloud) {
		mine := c.a.Client(certtest.User(c.user, "kim", "Default"))
		me := c.client(mine)
		r := c.grant(me, c.user)
		token := r.str("access_token")
		if left, _ := r.body["expires_in"].(float64); r.code != 200 || r.str("token_type") != "Bearer" || left != 3600 || r.header.Get("Cache-Control") != "no-store" || len(r.body) != 3 {
			t.Fatal(r.code, r.raw)
		}
		// The token says what it is bound to, to whoever may look at it; a service that does has another connection.
		seen := c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token)
		if seen.code != 200 || seen.str("token.oauth2_credential.x5t#S256") != api.CertThumbprint(mine.Leaf) || seen.str("token.user.id") != c.user || seen.str("token.project.id") != c.project ||
			seen.str("token.methods.0") != "oauth2_credential" || seen.at("token.catalog") == nil || seen.str("token.roles.0.name") == "" {
			t.Error(seen.raw)
		}
		// The plugin looks at its own token next, and sends it in both headers from then on.
		if r := c.over(me, "GET", "/v3/auth/tokens", "", "X-Auth-Token", token, "X-Subject-Token", token); r.code != 200 || r.str("token.user.name") != "kim" {
			t.Error(r.code, r.raw)
		}
		if r := c.over(me, "GET", "/v3/auth/projects", "", "X-Auth-Token", token, "Authorization", "Bearer "+token); r.code != 200 {
			t.Error(r.code, r.raw)
		}
		if r := c.over(me, "GET", "/v3/auth/projects", "", "Authorization", "Bearer "+token); r.code != 200 {
			t.Error(r.code, r.raw)
		}
		// Another connection of the same client, and the same key in a new session.
		if r := c.over(c.client(mine), "GET", "/v3/auth/projects", "", "X-Auth-Token", token); r.code != 200 {
			t.Error(r.code, r.raw)
		}

		other, lee := c.create("user", `{"name":"lee","default_project_id":"`+c.project+`"}`), c.client()
		for what, client := range map[string]*http.Client{
			"no certificate":                c.client(),
			"another client's":              c.client(c.a.Client(certtest.User(other, "lee", "Default"))),
			"a renewed one":                 c.client(c.a.Client(certtest.User(c.user, "kim", "Default"))),
			"one of the other authority":    c.client(c.b.Client(certtest.User(c.user, "kim", "Default"))),
			"one of an unknown authority":   c.client(c.stranger.Client(certtest.User(c.user, "kim", "Default"))),
			"one that cannot be a client's": c.client(c.a.Client(certtest.User(c.user, "kim", "Default"), func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })),
		} {
			for _, header := range [][]string{{"X-Auth-Token", token}, {"Authorization", "Bearer " + token}, {"X-Auth-Token", token, "Authorization", "Bearer " + token}} {
				r := c.over(client, "GET", "/v3/auth/projects", "", header...)
				if r.code != 401 || r.message() != "The request you have made requires authentication." || r.header.Get("WWW-Authenticate") != `Keystone uri="`+endpoint+`/identity/v3"` {
					t.Errorf("%s: %d %s %v", what, r.code, r.raw, r.header)
				}
			}
			if r := c.over(client, "GET", "/v3/auth/tokens", "", "X-Auth-Token", token, "X-Subject-Token", token); r.code != 401 {
				t.Errorf("%s looks at the token by itself: %d", what, r.code)
			}
		}
		// Plain HTTP, where there are no certificates.
		if r := c.send(token, "GET", "/v3/auth/projects", ""); r.code != 401 {
			t.Error(r.code, r.raw)
		}
		// It cannot be exchanged for one that is not bound, and makes no credentials that would outlive it.
		for _, scope := range []string{"", `,"scope":{"project":{"id":"` + c.project + `"}}`} {
			for _, client := range []*http.Client{me, lee} {
				r := c.over(client, "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["token"],"token":{"id":"`+token+`"}}`+scope+`}}`, "Content-Type", "application/json")
				if r.code != 403 {
					t.Error("the token was exchanged: ", r.code, r.raw)
				}
			}
		}
		for path, body := range map[string]string{
			"/v3/users/" + c.user + "/application_credentials": `{"application_credential":{"name":"x"}}`,
			"/v3/OS-TRUST/trusts":                              `{"trust":{"trustor_user_id":"` + c.user + `","trustee_user_id":"` + other + `","impersonation":true,"project_id":"` + c.project + `","roles":[{"name":"member"}]}}`,
			"/v3/users/" + c.user + "/credentials/OS-EC2":      `{"tenant_id":"` + c.project + `"}`,
		} {
			if r := c.over(me, "POST", path, body, "X-Auth-Token", token, "Content-Type", "application/json"); r.code != 403 {
				t.Errorf("%s: %d %s", path, r.code, r.raw)
			}
		}
		// A revoked token, and a user who is disabled.
		if r := c.over(me, "DELETE", "/v3/auth/tokens", "", "X-Auth-Token", token, "X-Subject-Token", token); r.code != 204 {
			t.Error(r.code, r.raw)
		}
		if r := c.over(me, "GET", "/v3/auth/projects", "", "X-Auth-Token", token); r.code != 401 {
			t.Error("revoked: ", r.code)
		}
		token = c.bound(mine)
		c.must(200, "PATCH", "/v3/users/"+c.user, `{"user":{"enabled":false}}`)
		if r := c.over(me, "GET", "/v3/auth/projects", "", "X-Auth-Token", token); r.code != 401 {
			t.Error("disabled: ", r.code)
		}
		if r := c.grant(me, c.user); r.code != 401 || r.str("error") != "invalid_client" {
			t.Error("disabled: ", r.code, r.raw)
		}
	})
}

func TestCertificateClients(t *testing.T) {
	withCertificates(t, "", func(t *testing.T, c *certCloud) {
		homeless := c.create("user", `{"name":"lee"}`)
		roleless := c.create("user", `{"name":"park","default_project_id":"`+c.project+`"}`)
		subject := certtest.User(c.user, "kim", "Default")
		uid := func(id string) pkix.Name { return certtest.User(id, "", "") }
		const failed, again = "Client authentication failed.", "The request you have made requires authentication."
		for what, f := range map[string]struct {
			cert *tls.Certificate
			id   string
			text string // of the refusal; empty: a token
		}{
			"names and id":                      {ptr(c.a.Client(subject)), c.user, ""},
			"the id alone, other authority":     {ptr(c.b.Client(uid(c.user))), c.user, ""},
			"an authority below":                {ptr(c.b.Client(uid(c.user), func(x *x509.Certificate) { x.ExtKeyUsage = nil })), c.user, ""},
			"the id alone is not enough":        {ptr(c.a.Client(uid(c.user))), c.user, failed},
			"another name":                      {ptr(c.a.Client(certtest.User(c.user, "lee", "Default"))), c.user, failed},
			"another domain":                    {ptr(c.a.Client(certtest.User(c.user, "kim", "Other"))), c.user, failed},
			"somebody else's certificate":       {ptr(c.b.Client(uid(homeless))), c.user, failed},
			"one's own for somebody else":       {ptr(c.a.Client(subject)), homeless, failed},
			"no such user":                      {ptr(c.b.Client(uid("nobody"))), "nobody", failed},
			"no client id":                      {ptr(c.a.Client(subject)), "", failed},
			"no default project":                {ptr(c.b.Client(uid(homeless))), homeless, failed},
			"no role there":                     {ptr(c.b.Client(uid(roleless))), roleless, again},
			"no certificate and no secret":      {nil, c.user, failed},
			"an equals sign":                    {ptr(c.b.Client(pkix.Name{CommonName: "a=b", ExtraNames: uid(c.user).ExtraNames})), c.user, failed},
			"an authority by the same name":     {ptr(c.stranger.Client(subject)), c.user, "Client authentication failed: the client certificate does not count: x509: certificate signed by unknown authority"},
			"a certificate that is over":        {ptr(c.a.Client(subject, func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Hour) })), c.user, "Client authentication failed: the client certificate does not count: x509: certificate has expired"},
			"a certificate that is not yet one": {ptr(c.a.Client(subject, func(x *x509.Certificate) { x.NotBefore = time.Now().Add(time.Hour) })), c.user, "Client authentication failed: the client certificate does not count: x509: certificate has expired or is not yet valid"},
		} {
			var certs []tls.Certificate
			if f.cert != nil {
				certs = append(certs, *f.cert)
			}
			r := c.grant(c.client(certs...), f.id)
			if f.text == "" {
				if r.code != 200 || r.str("access_token") == "" {
					t.Errorf("%s: %d %s", what, r.code, r.raw)
				}
				continue
			}
			if r.code != 401 || r.str("error") != "invalid_client" || !strings.HasPrefix(r.str("error_description"), f.text) || f.text == failed && r.str("error_description") != failed ||
				r.header.Get("WWW-Authenticate") != `Keystone uri="`+endpoint+`/identity/v3"` {
				t.Errorf("%s: %d %s %v", what, r.code, r.raw, r.header)
			}
		}
		// What is wrong with the request comes before the certificate.
		me := c.client(c.a.Client(subject))
		for body, code := range map[string]string{"client_id=" + c.user: "invalid_request", "grant_type=password&client_id=" + c.user: "unsupported_grant_type"} {
			if r := c.over(me, "POST", "/v3/OS-OAUTH2/token", body, "Content-Type", "application/x-www-form-urlencoded"); r.code != 400 || r.str("error") != code {
				t.Error(r.code, r.raw)
			}
		}
		// The header of a client with a certificate is not read, and a secret does not help it.
		if r := c.grant(me, c.user, "Authorization", basic("somebody", "else")); r.code != 200 {
			t.Error(r.code, r.raw)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// An application credential's secret goes on being good for clients without a certificate, or with one that does not count here.
func TestSecretBesideCertificates(t *testing.T) {
	withCertificates(t, "", func(t *testing.T, c *certCloud) {
		tok := c.login("kim", "pw-kim", project("kim"))
		made := c.as(tok, 201, "POST", "/v3/users/"+c.user+"/application_credentials", `{"application_credential":{"name":"ci"}}`)
		id, secret := made.str("application_credential.id"), made.str("application_credential.secret")
		subject := certtest.User(c.user, "kim", "Default")
		for what, f := range map[string]struct {
			client *http.Client
			code   int
		}{
			"no certificate":                         {c.client(), 200},
			"a certificate that does not count":      {c.client(c.stranger.Client(subject)), 200},
			"a certificate whose user it is not for": {c.client(c.a.Client(subject)), 401},
		} {
			r := c.over(f.client, "POST", "/v3/OS-OAUTH2/token", "grant_type=client_credentials&client_id="+id+"&client_secret="+url.QueryEscape(secret), "Content-Type", "application/x-www-form-urlencoded")
			if r.code != f.code {
				t.Errorf("%s: %d %s", what, r.code, r.raw)
			}
			if f.code == 200 {
				// Such a token is bound to nothing.
				if seen := c.send(r.str("access_token"), "GET", "/v3/auth/tokens", "", "X-Subject-Token", r.str("access_token")); seen.code != 200 || strings.Contains(seen.raw, "oauth2_credential") {
					t.Error(seen.code, seen.raw)
				}
			}
		}
	})
}

func TestWaysToTheTokenEndpoint(t *testing.T) {
	withCertificates(t, "[oauth2]\noauth2_authn_methods = client_secret_basic\n", func(t *testing.T, c *certCloud) {
		if r := c.grant(c.client(c.a.Client(certtest.User(c.user, "kim", "Default"))), c.user); r.code != 401 || r.str("error") != "invalid_client" {
			t.Error("a certificate where only secrets may be used: ", r.code, r.raw)
		}
	})
	withCertificates(t, "[oauth2]\noauth2_authn_methods = tls_client_auth\noauth2_cert_dn_mapping_id = other\n", func(t *testing.T, c *certCloud) {
		me := c.client(c.b.Client(certtest.User(c.user, "", "")))
		if r := c.grant(me, c.user); r.code != 401 || r.str("error_description") != "Client authentication failed." {
			t.Error("the mapping is missing: ", r.code, r.raw)
		}
		c.must(201, "PUT", "/v3/OS-FEDERATION/mappings/other", `{"mapping":{"rules":[{"local":[{"user":{"id":"{0}"}}],"remote":[{"type":"SSL_CLIENT_SUBJECT_DN_UID"}]}]}}`)
		if r := c.grant(me, c.user); r.code != 200 {
			t.Error(r.code, r.raw)
		}
		// Rules that let every certificate be everybody's are none, and those that cannot be applied are the cloud's fault.
		c.must(200, "PATCH", "/v3/OS-FEDERATION/mappings/other", `{"mapping":{"rules":[{"local":[{"group":{"id":"`+c.project+`"}}],"remote":[{"type":"SSL_CLIENT_SUBJECT_DN_UID"}]}]}}`)
		if r := c.grant(me, c.user); r.code != 401 {
			t.Error("a mapping without a user: ", r.code, r.raw)
		}
		c.must(200, "PATCH", "/v3/OS-FEDERATION/mappings/other", `{"mapping":{"rules":[{"local":[{"user":{"id":"{7}"}}],"remote":[{"type":"SSL_CLIENT_SUBJECT_DN_UID"}]}]}}`)
		if r := c.grant(me, c.user); r.code != 500 || r.str("error") != "other_error" {
			t.Error("a mapping that cannot be applied: ", r.code, r.raw)
		}
		// Secrets are out.
		tok := c.login("kim", "pw-kim", project("kim"))
		made := c.as(tok, 201, "POST", "/v3/users/"+c.user+"/application_credentials", `{"application_credential":{"name":"ci"}}`)
		r := c.grant(c.client(), "", "Authorization", basic(made.str("application_credential.id"), made.str("application_credential.secret")))
		if r.code != 401 || r.str("error") != "invalid_client" {
			t.Error("a secret where only certificates may be used: ", r.code, r.raw)
		}
	})
}

// A certificate gets nobody the roles that others gave to a service identity, and none of the user's rules about passwords counts.
func TestWhoseCertificatesAreRefused(t *testing.T) {
	withCertificates(t, "", func(t *testing.T, c *certCloud) {
		service := c.must(200, "PUT", "/v3/projects/"+c.project+"/service_identity", "").str("user.id")
		c.must(204, "PUT", "/v3/projects/"+c.project+"/users/"+service+"/roles/"+c.role("member"), "")
		if r := c.grant(c.client(c.b.Client(certtest.User(service, "", ""))), service); r.code != 401 || r.str("error") != "invalid_client" {
			t.Error(r.code, r.raw)
		}
		c.must(200, "PATCH", "/v3/users/"+c.user, `{"user":{"options":{"multi_factor_auth_enabled":true,"multi_factor_auth_rules":[["password","totp"]]}}}`)
		if r := c.grant(c.client(c.b.Client(certtest.User(c.user, "", ""))), c.user); r.code != 200 {
			t.Error(r.code, r.raw)
		}
	})
}

// Time passes: the token ends, and so does what was signed for the client.
func TestCertificateEnds(t *testing.T) {
	withCertificates(t, "", func(t *testing.T, c *certCloud) {
		cert := c.b.Client(certtest.User(c.user, "", ""), func(x *x509.Certificate) { x.NotAfter = time.Now().Add(30 * time.Minute) })
		token, me := c.bound(cert), c.client(cert)
		ask := func() int { return c.over(me, "GET", "/v3/auth/projects", "", "X-Auth-Token", token).code }
		if code := ask(); code != 200 {
			t.Error(code)
		}
		c.step(31 * time.Minute)
		if code := ask(); code != 401 {
			t.Error("the certificate has expired and its connection goes on: ", code)
		}
		if r := c.grant(me, c.user); r.code != 401 || !strings.Contains(r.str("error_description"), "expired") {
			t.Error(r.code, r.raw)
		}
		renewed := c.b.Client(certtest.User(c.user, "", ""))
		if r := c.over(c.client(renewed), "GET", "/v3/auth/projects", "", "X-Auth-Token", c.bound(renewed)); r.code != 200 {
			t.Error("the renewed certificate: ", r.code, r.raw)
		}
		token, me = c.bound(renewed), c.client(renewed)
		c.step(61 * time.Minute)
		if code := ask(); code != 401 {
			t.Error("the token has expired: ", code)
		}
	})
}

// A name with a semicolon in it is not two names.
func TestCertificateNameOfTwo(t *testing.T) {
	withCertificates(t, "", func(t *testing.T, c *certCloud) {
		c.must(200, "PATCH", "/v3/OS-FEDERATION/mappings/oauth2_mapping", `{"mapping":{"rules":[{"local":[{"user":{"id":"{0}"}}],"remote":[{"type":"SSL_CLIENT_SUBJECT_DN_CN","whitelist":["`+c.user+`"]}]}]}}`)
		if r := c.grant(c.client(c.a.Client(pkix.Name{CommonName: c.user})), c.user); r.code != 200 {
			t.Fatal(r.code, r.raw)
		}
		for _, name := range []string{"mallory;" + c.user, c.user + ";mallory", ";" + c.user} {
			if r := c.grant(c.client(c.a.Client(pkix.Name{CommonName: name})), c.user); r.code != 401 {
				t.Errorf("%s: %d %s", name, r.code, r.raw)
			}
		}
	})
}
