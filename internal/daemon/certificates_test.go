package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/hanok-cloud/hanok/internal/clientcert/certtest"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
	"github.com/hanok-cloud/hanok/internal/nodelink"
	"github.com/hanok-cloud/hanok/internal/pki"
)

// tlsCloud is a controller behind the TLS listener that addresses beyond loopback have.
type tlsCloud struct {
	t     *testing.T
	ctl   *controller
	paths Paths
	addr  string
	own   *pki.CA
	admin string
}

// newTLSCloud starts one; ca is the file of the clients' authorities, or empty.
func newTLSCloud(t *testing.T, ca string) *tlsCloud {
	t.Helper()
	c := &tlsCloud{t: t, paths: Paths{Data: t.TempDir()}}
	log := slog.New(slog.DiscardHandler)
	cfg, options := config.Default(), conf.Default()
	options.SSL.CAFile = ca
	clients, err := clientAuthorities(options, log)
	if err != nil {
		t.Fatal(err)
	}
	tc, err := tlsConfig(cfg, c.paths, clients)
	if err != nil {
		t.Fatal(err)
	}
	if c.own, err = pki.Open(c.paths.PKI(), time.Now); err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = plain.Addr().String()
	cfg.API.Endpoint = "https://" + c.addr
	if c.ctl, err = newController(context.Background(), controllerOptions{
		Config: cfg, DatabaseURL: "sqlite::memory:", KEK: bytes.Repeat([]byte{7}, 32), ImageDir: t.TempDir(), BcryptCost: bcrypt.MinCost, Conf: options, Clients: clients, Logger: log,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ctl.bootstrap(context.Background(), "secret"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, []listener{{tls.NewListener(plain, tc), ""}}, c.ctl.withNodes(ctx, c.paths, log), log)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := c.ctl.close(); err != nil {
			t.Error(err)
		}
	})
	_, header, _ := c.ask(c.client(), "POST", "/identity/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":"secret"}}},
		"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`)
	if c.admin = header.Get("X-Subject-Token"); c.admin == "" {
		t.Fatal("admin cannot log in")
	}
	return c
}

// client shows a certificate or none, whatever it is asked for.
func (c *tlsCloud) client(certs ...tls.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(c.own.Cert)
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certs[0], nil
		}}}
	c.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func transport(h *http.Client) *http.Transport { return h.Transport.(*http.Transport) }

func (c *tlsCloud) ask(h *http.Client, method, path, body string, header ...string) (int, http.Header, map[string]any) {
	c.t.Helper()
	r, err := http.NewRequest(method, "https://"+c.addr+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := h.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var v map[string]any
	_ = json.Unmarshal(text, &v) // some answers are no JSON
	return a.StatusCode, a.Header, v
}

func (c *tlsCloud) make(path, body, kind string) string {
	c.t.Helper()
	code, _, v := c.ask(c.client(), "POST", "/identity/v3/"+path, body, "X-Auth-Token", c.admin)
	obj, _ := v[kind].(map[string]any)
	id, _ := obj["id"].(string)
	if code != 201 || id == "" {
		c.t.Fatal(path, code, v)
	}
	return id
}

// member makes a user with a default project and a role there, whom certificates of any authority name by id.
func (c *tlsCloud) member() string {
	c.t.Helper()
	project := c.make("projects", `{"project":{"name":"demo"}}`, "project")
	user := c.make("users", `{"user":{"name":"kim","default_project_id":"`+project+`"}}`, "user")
	_, _, roles := c.ask(c.client(), "GET", "/identity/v3/roles?name=member", "", "X-Auth-Token", c.admin)
	role := roles["roles"].([]any)[0].(map[string]any)["id"].(string)
	if code, _, v := c.ask(c.client(), "PUT", "/identity/v3/projects/"+project+"/users/"+user+"/roles/"+role, "", "X-Auth-Token", c.admin); code != 204 {
		c.t.Fatal(code, v)
	}
	if code, _, v := c.ask(c.client(), "PUT", "/identity/v3/OS-FEDERATION/mappings/oauth2_mapping", `{"mapping":{"rules":[{"local":[{"user":{"id":"{0}"}}],"remote":[{"type":"SSL_CLIENT_SUBJECT_DN_UID"}]}]}}`,
		"X-Auth-Token", c.admin); code != 201 {
		c.t.Fatal(code, v)
	}
	return user
}

func (c *tlsCloud) grant(h *http.Client, user string) (string, string) {
	c.t.Helper()
	_, _, v := c.ask(h, "POST", "/identity/v3/OS-OAUTH2/token", "grant_type=client_credentials&client_id="+url.QueryEscape(user), "Content-Type", "application/x-www-form-urlencoded")
	token, _ := v["access_token"].(string)
	text, _ := v["error_description"].(string)
	return token, text
}

func writeCA(t *testing.T, file string, at time.Time, authorities ...*certtest.CA) {
	t.Helper()
	var text []byte
	for _, ca := range authorities {
		text = append(text, ca.PEM()...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

// The authorities of OAuth 2.0's clients make no nodes, whatever name they give, and nodes are no clients of OAuth 2.0.
func TestCertificatesOfTwoKinds(t *testing.T) {
	file, ca := filepath.Join(t.TempDir(), "ca.pem"), certtest.New(t, "clients")
	writeCA(t, file, time.Now(), ca)
	c := newTLSCloud(t, file)
	user := c.member()
	beat := func(h *http.Client) int {
		code, _, _ := c.ask(h, "POST", nodelink.Prefix+"heartbeat", `{}`)
		return code
	}
	bundle, err := NodeBundle(c.paths, "compute1")
	if err != nil {
		t.Fatal(err)
	}
	node, err := tls.X509KeyPair(bundle, bundle)
	if err != nil {
		t.Fatal(err)
	}
	if code := beat(c.client(node)); code != 200 {
		t.Error("a node: ", code)
	}
	for what, h := range map[string]*http.Client{
		"no certificate":         c.client(),
		"a client by its name":   c.client(ca.Client(pkix.Name{CommonName: nodelink.Subject("compute1")})),
		"a stranger by its name": c.client(certtest.New(t, "clients").Client(pkix.Name{CommonName: nodelink.Subject("compute1")})),
	} {
		if code := beat(h); code != 401 {
			t.Errorf("%s is taken for a node: %d", what, code)
		}
	}
	if token, text := c.grant(c.client(node), user); token != "" || !strings.Contains(text, "unknown authority") {
		t.Error("a node's certificate counts for a client: ", token, text)
	}
	if token, text := c.grant(c.client(ca.Client(certtest.User(user, "", ""))), user); token == "" {
		t.Error(text)
	}
}

// A bound token opens every service to the certificate's holder, and none to anybody else.
func TestBoundTokensAtEveryService(t *testing.T) {
	file, ca := filepath.Join(t.TempDir(), "ca.pem"), certtest.New(t, "clients")
	writeCA(t, file, time.Now(), ca)
	c := newTLSCloud(t, file)
	user := c.member()
	cert := ca.Client(certtest.User(user, "kim", "Default"))
	me, others := c.client(cert), c.client(ca.Client(certtest.User(user, "kim", "Default")))
	token, text := c.grant(me, user)
	if token == "" {
		t.Fatal(text)
	}
	old := c.client(cert)
	transport(old).ForceAttemptHTTP2 = false
	transport(old).TLSClientConfig.MaxVersion = tls.VersionTLS12
	for _, path := range []string{"/identity/v3/auth/projects", "/compute/v2.1/servers", "/compute/v2.1/os-networks", "/image/v2/images", "/network/v2.0/networks", "/placement/allocation_candidates?resources=VCPU:1"} {
		want := 200
		if strings.HasPrefix(path, "/placement") {
			want = 403 // known, and no admin
		}
		for what, h := range map[string]*http.Client{"HTTP/2": me, "HTTP/1.1 over TLS 1.2": old} {
			if code, _, v := c.ask(h, "GET", path, "", "X-Auth-Token", token, "OpenStack-API-Version", "placement 1.36"); code != want {
				t.Errorf("%s by %s: %d %v", path, what, code, v)
			}
		}
		for what, h := range map[string]*http.Client{"without a certificate": c.client(), "with another": others} {
			if code, header, v := c.ask(h, "GET", path, "", "X-Auth-Token", token); code != 401 || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Keystone uri=") {
				t.Errorf("%s %s: %d %v %v", path, what, code, header, v)
			}
		}
	}
	// As the token of a service beside a user's it is worth as little.
	for h, want := range map[*http.Client]int{me: 200, others: 401, c.client(): 401} {
		if code, _, _ := c.ask(h, "GET", "/compute/v2.1/servers", "", "X-Auth-Token", c.admin, "X-Service-Token", token); code != want {
			t.Error("as a service token: ", code, want)
		}
	}
	// A session that is taken up again is the same client's.
	again := c.client(cert)
	transport(again).TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := false
	for range 3 {
		r, err := http.NewRequest("GET", "https://"+c.addr+"/compute/v2.1/servers", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Auth-Token", token)
		a, err := again.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, a.Body)
		_ = a.Body.Close()
		resumed = resumed || a.TLS.DidResume
		if a.StatusCode != 200 {
			t.Error("resumed: ", a.TLS.DidResume, a.StatusCode)
		}
		again.CloseIdleConnections()
	}
	if !resumed {
		t.Error("no session was resumed")
	}
}

// The file of authorities changes under the running daemon.
func TestAuthoritiesAreExchanged(t *testing.T) {
	file, one, two := filepath.Join(t.TempDir(), "ca.pem"), certtest.New(t, "one"), certtest.New(t, "two")
	at := time.Now().Add(-time.Hour)
	writeCA(t, file, at, one)
	c := newTLSCloud(t, file)
	user := c.member()
	asked := func() []string {
		var names []string
		h := c.client()
		transport(h).TLSClientConfig.GetClientCertificate = func(q *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			for _, raw := range q.AcceptableCAs {
				var rdn pkix.RDNSequence
				if _, err := asn1.Unmarshal(raw, &rdn); err != nil {
					t.Error(err)
				}
				var n pkix.Name
				n.FillFromRDNSequence(&rdn)
				names = append(names, n.CommonName)
			}
			return &tls.Certificate{}, nil
		}
		c.ask(h, "GET", "/healthz", "")
		slices.Sort(names)
		return names
	}
	own := c.own.Cert.Subject.CommonName
	before, after := c.client(one.Client(certtest.User(user, "", ""))), c.client(two.Client(certtest.User(user, "", "")))
	if got := asked(); !slices.Equal(got, []string{own, "one"}) {
		t.Error("clients are asked for certificates of ", got)
	}
	token, text := c.grant(before, user)
	if token == "" {
		t.Fatal(text)
	}
	if got, _ := c.grant(after, user); got != "" {
		t.Error("the second authority counts too early")
	}
	writeCA(t, file, at.Add(time.Minute), two)
	if got := asked(); !slices.Equal(got, []string{own, "two"}) {
		t.Error("clients are asked for certificates of ", got)
	}
	if got, text := c.grant(after, user); got == "" {
		t.Error(text)
	}
	if got, _ := c.grant(before, user); got != "" {
		t.Error("the first authority goes on counting")
	}
	if code, _, _ := c.ask(before, "GET", "/identity/v3/auth/projects", "", "X-Auth-Token", token); code != 401 {
		t.Error("a token of a certificate that counts no more: ", code)
	}
}

// Where no authority is configured a certificate hurts nobody and helps nobody.
func TestNoAuthorities(t *testing.T) {
	c := newTLSCloud(t, "")
	user := c.member()
	h := c.client(certtest.New(t, "any").Client(certtest.User(user, "", "")))
	if code, _, v := c.ask(h, "GET", "/identity/v3/auth/projects", "", "X-Auth-Token", c.admin); code != 200 {
		t.Error(code, v)
	}
	if token, text := c.grant(h, user); token != "" || !strings.Contains(text, "no authority of client certificates is configured") {
		t.Error(token, text)
	}
	options := conf.Default()
	options.SSL.CAFile = filepath.Join(t.TempDir(), "missing.pem")
	if _, err := clientAuthorities(options, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "[ssl] ca_file") {
		t.Error("a missing file: ", err)
	}
}

// keystoneauth1's own plugin, which Debian has from release 13 on. HANOK_TEST_PYTHON is a folder with a newer keystoneauth1 than the machine's.
func TestKeystoneauthPlugin(t *testing.T) {
	python := func(args ...string) ([]byte, error) {
		cmd := exec.Command("/usr/bin/python3", append([]string{"-B"}, args...)...)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+os.Getenv("HANOK_TEST_PYTHON"))
		return cmd.CombinedOutput()
	}
	if out, err := python("-c", "import keystoneauth1.identity.v3.oauth2_mtls_client_credential"); err != nil {
		t.Skipf("python3-keystoneauth1 is missing or older than 5.1: %s", out)
	}
	dir, ca := t.TempDir(), certtest.New(t, "clients")
	file := filepath.Join(dir, "ca.pem")
	writeCA(t, file, time.Now(), ca)
	c := newTLSCloud(t, file)
	user := c.member()
	cert := ca.Client(certtest.User(user, "kim", "Default"))
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Leaf.Raw}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := python("testdata/mtls_session.py", "https://"+c.addr+"/identity/v3", user, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), c.own.CertFile())
	if err != nil || strings.TrimSpace(string(out)) != "good" {
		t.Errorf("%v\n%s", err, out)
	}
}
