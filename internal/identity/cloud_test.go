package identity_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/clientcert"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

const endpoint = "http://cloud.example:8443"

// cloud is the identity service behind the real HTTP kit, with a clock that tests step.
type cloud struct {
	t     testing.TB
	svc   *identity.Service
	h     http.Handler
	d     *db.DB
	shift atomic.Int64
	tick  func() // is called whenever somebody looks at the clock; nil: nothing
	admin string // token scoped to the project admin
	conf  *conf.Config
	// clients are whose client certificates count; nil: nobody's.
	clients *clientcert.Authorities
	// endpoint is the public one; empty: the constant.
	endpoint string
}

func kek() []byte { return bytes.Repeat([]byte{7}, 32) }

func newCloud(t testing.TB, d *db.DB) *cloud {
	t.Helper()
	return newCloudWith(t, d, "")
}

// newCloudWith starts one with a keystone.conf.
func newCloudWith(t testing.TB, d *db.DB, keystoneConf string) *cloud {
	t.Helper()
	c := &cloud{t: t, d: d}
	c.configure(keystoneConf)
	return c.begin()
}

// start begins with the options that are set.
func (c *cloud) start() *cloud {
	c.t.Helper()
	c.svc, c.h = c.controller()
	return c.begin()
}

func (c *cloud) begin() *cloud {
	t := c.t
	t.Helper()
	if _, err := c.svc.Bootstrap(context.Background(), "secret"); err != nil {
		t.Fatal(err)
	}
	c.admin = c.login("admin", "secret", project("admin"))
	return c
}

func (c *cloud) now() time.Time {
	if c.tick != nil {
		c.tick()
	}
	return time.Now().Add(time.Duration(c.shift.Load()))
}

// configure starts the service anew with another keystone.conf.
func (c *cloud) configure(keystoneConf string) {
	c.t.Helper()
	var err error
	if c.conf, err = conf.Parse(keystoneConf); err != nil {
		c.t.Fatal(err)
	}
	c.svc, c.h = c.controller()
}

// step moves the clock and takes a new admin's token.
func (c *cloud) step(d time.Duration) {
	c.t.Helper()
	c.shift.Add(int64(d))
	c.admin = c.login("admin", "secret", project("admin"))
}

// controller starts one more controller on the same database.
func (c *cloud) controller() (*identity.Service, http.Handler) {
	c.t.Helper()
	public := cmp.Or(c.endpoint, endpoint)
	s, err := identity.New(identity.Options{DB: c.d, KEK: kek(), PublicEndpoint: public, BcryptCost: 4, Conf: c.conf, Now: c.now})
	if err != nil {
		c.t.Fatal(err)
	}
	return s, api.NewServer(api.Options{Services: []*api.Service{s.API()}, Auth: s, PublicEndpoint: public,
		ClientCert: func(r *http.Request) (*x509.Certificate, error) { return c.clients.Verified(r.TLS) }})
}

type reply struct {
	code   int
	header http.Header
	raw    string
	body   map[string]any
}

func (c *cloud) send(token, method, path, body string, header ...string) reply {
	c.t.Helper()
	return c.sendTo(c.h, token, method, path, body, header...)
}

func (c *cloud) sendTo(h http.Handler, token, method, path, body string, header ...string) reply {
	c.t.Helper()
	return c.request(h, token, method, "/identity"+path, body, header...)
}

// sendPath gets a path of any service on h.
func (c *cloud) sendPath(h http.Handler, token, path string, header ...string) reply {
	c.t.Helper()
	return c.request(h, token, "GET", path, "", header...)
}

func (c *cloud) request(h http.Handler, token, method, path, body string, header ...string) reply {
	c.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", token)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	out := reply{code: w.Code, header: w.Header(), raw: w.Body.String()}
	if strings.HasPrefix(out.raw, "{") {
		if err := json.Unmarshal(w.Body.Bytes(), &out.body); err != nil {
			c.t.Fatalf("%s %s: %v in %s", method, path, err, out.raw)
		}
	}
	return out
}

// must sends as admin and wants a status.
func (c *cloud) must(code int, method, path, body string) reply {
	c.t.Helper()
	return c.as(c.admin, code, method, path, body)
}

func (c *cloud) as(token string, code int, method, path, body string) reply {
	c.t.Helper()
	r := c.send(token, method, path, body)
	if r.code != code {
		c.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, r.code, r.raw, code)
	}
	return r
}

// at reads a value by path: "user.id", "projects.0.name".
func (r reply) at(path string) any {
	var v any = r.body
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i := int(part[0] - '0')
			if i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (r reply) str(path string) string {
	s, _ := r.at(path).(string)
	return s
}

func (r reply) message() string { return r.str("error.message") }

func project(name string) string {
	return `"scope":{"project":{"name":"` + name + `","domain":{"id":"default"}}}`
}

func authBody(user, password, scope string) string {
	if scope != "" {
		scope = "," + scope
	}
	return `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"` + user + `","domain":{"id":"default"},"password":"` + password + `"}}}` + scope + `}}`
}

func (c *cloud) login(user, password, scope string) string {
	c.t.Helper()
	r := c.send("", "POST", "/v3/auth/tokens", authBody(user, password, scope))
	if r.code != 201 {
		c.t.Fatalf("login %s: %d %s", user, r.code, r.raw)
	}
	return r.header.Get("X-Subject-Token")
}

func (c *cloud) loginWith(body string) (string, reply) {
	c.t.Helper()
	r := c.send("", "POST", "/v3/auth/tokens", body)
	return r.header.Get("X-Subject-Token"), r
}

// valid tells what validating a token answers.
func (c *cloud) valid(token string) int {
	c.t.Helper()
	return c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token).code
}

func (c *cloud) create(kind, body string) string {
	c.t.Helper()
	path := map[string]string{"policy": "policies", "trust": "OS-TRUST/trusts"}[kind]
	if path == "" {
		path = kind + "s"
	}
	return c.must(201, "POST", "/v3/"+path, `{"`+kind+`":`+body+`}`).str(kind + ".id")
}

func (c *cloud) role(name string) string {
	c.t.Helper()
	return c.must(200, "GET", "/v3/roles?name="+name, "").str("roles.0.id")
}

// tenant makes a user with the role member on a new project.
func (c *cloud) tenant(name string) (user, project string) {
	c.t.Helper()
	user = c.create("user", `{"name":"`+name+`","password":"pw-`+name+`"}`)
	project = c.create("project", `{"name":"`+name+`"}`)
	c.must(204, "PUT", "/v3/projects/"+project+"/users/"+user+"/roles/"+c.role("member"), "")
	return user, project
}
