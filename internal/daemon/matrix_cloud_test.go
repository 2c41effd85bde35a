package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/api"
)

// matrixCloud is a cloud in memory with the personas of the matrix and objects for their requests, made when a row wants them. What a row
// uses up is made anew.
type matrixCloud struct {
	t      *testing.T
	dev    *Dev
	admin  string            // token of the cloud's administrator
	tokens map[string]string // by persona; "" is anonymous
	made   map[string]string // fixtures by name
	n      int
}

type matrixRequest struct {
	service, method, path, mv, body, contentType string
	headers                                      map[string]string
}

func newMatrixCloud(t *testing.T) *matrixCloud {
	t.Helper()
	d, err := StartDev(context.Background(), DevOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	c := &matrixCloud{t: t, dev: d, tokens: map[string]string{}, made: map[string]string{}}
	c.admin = c.login("admin", "default", d.access.Password, `{"project":{"name":"admin","domain":{"id":"default"}}}`)
	c.personas()
	return c
}

// send returns the answer's status and body.
func (c *matrixCloud) send(token string, q matrixRequest) (int, string) {
	r := httptest.NewRequest(q.method, "/"+q.service+q.path, strings.NewReader(q.body))
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	r.Header.Set("Content-Type", "application/json")
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.mv != "" {
		r.Header.Set("OpenStack-API-Version", q.service+" "+q.mv)
	}
	for k, v := range q.headers {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	c.dev.ctl.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// request builds a row's request.
func (c *matrixCloud) request(s *api.Service, route *api.Route, r *row) matrixRequest {
	q := matrixRequest{service: s.Name, method: r.method, contentType: r.options["type"], headers: map[string]string{}}
	q.path = regexp.MustCompile(`\{(\w+)\}`).ReplaceAllStringFunc(r.path, func(p string) string {
		name := p[1 : len(p)-1]
		if f, ok := r.params[name]; ok {
			name = strings.TrimPrefix(f, "$")
		} else if s.Name == "compute" && name == "id" && strings.HasPrefix(r.path, "/v2.1/servers/") {
			name = "server"
		} else if name = strings.TrimSuffix(name, "_id"); name == "user" {
			name = "member"
		}
		return url.PathEscape(c.get(name))
	})
	if len(r.query) > 0 {
		q.path += "?" + c.fill(strings.Join(r.query, "&"))
	}
	if r.body != "-" {
		q.body = c.fill(r.body)
	}
	for k, v := range r.headers {
		q.headers[k] = c.fill(v)
	}
	if m := s.Microversions; m != nil {
		mv := m.Max
		if route.MV.To != (api.Version{}) {
			mv = route.MV.To
		}
		q.mv = mv.String()
		if v := r.options["mv"]; v != "" {
			q.mv = v
		}
	}
	return q
}

var placeholder = regexp.MustCompile(`\$([a-z][a-z0-9_]*)`)

func (c *matrixCloud) fill(s string) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string { return c.get(p[1:]) })
}

// as sends a request that has to succeed and returns the value at a path of its answer, such as server.id.
func (c *matrixCloud) as(token, service, method, path, body, at string) string {
	c.t.Helper()
	q := matrixRequest{service: service, method: method, path: path, body: c.fill(body)}
	switch service {
	case "compute":
		q.mv = "2.72"
	case "placement":
		q.mv = "1.39"
	}
	code, answer := c.send(token, q)
	if code/100 != 2 {
		c.t.Fatalf("%s %s %s %s: %d %s", method, service, path, q.body, code, answer)
	}
	if at == "" {
		return ""
	}
	var v any
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		c.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
	for part := range strings.SplitSeq(at, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			if len(x) == 0 {
				c.t.Fatalf("%s %s: %s is empty in %s", method, path, at, answer)
			}
			v = x[0]
		}
	}
	return fmt.Sprint(v)
}

func (c *matrixCloud) login(user, domain, password, scope string) string {
	c.t.Helper()
	q := matrixRequest{service: "identity", method: "POST", path: "/v3/auth/tokens", body: fmt.Sprintf(
		`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"domain":{"id":%q},"password":%q}}},"scope":%s}}`, user, domain, password, scope)}
	r := httptest.NewRequest(q.method, "/identity"+q.path, strings.NewReader(q.body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	c.dev.ctl.handler.ServeHTTP(w, r)
	if w.Code != 201 {
		c.t.Fatalf("login as %s: %d %s", user, w.Code, w.Body)
	}
	return w.Header().Get("X-Subject-Token")
}

// personas makes domain, projects and users, and logs all in.
func (c *matrixCloud) personas() {
	id := func(method, path, body, at string) string { return c.as(c.admin, "identity", method, path, body, at) }
	domain := id("POST", "/v3/domains", `{"domain":{"name":"acme"}}`, "domain.id")
	c.made["domain"] = domain
	for fixture, name := range map[string]string{"project": "p1", "other_project": "p2"} {
		c.made[fixture] = id("POST", "/v3/projects", fmt.Sprintf(`{"project":{"name":%q,"domain_id":%q}}`, name, domain), "project.id")
	}
	service := id("GET", "/v3/projects?name=service", "-", "projects.0.id")
	for _, r := range []string{"admin", "manager", "member", "reader", "service"} {
		c.made[r+"_role"] = id("GET", "/v3/roles?name="+r, "-", "roles.0.id")
	}
	on := func(project string) (string, string) {
		return "/v3/projects/" + project, fmt.Sprintf(`{"project":{"id":%q}}`, project)
	}
	for persona, role := range map[string]string{"reader": "reader", "member": "member", "manager": "manager", "admin": "admin", "domain_admin": "admin",
		"system_reader": "reader", "system_admin": "admin", "service": "service", "other": "member", "user": ""} {
		user := id("POST", "/v3/users", fmt.Sprintf(`{"user":{"name":%q,"domain_id":%q,"password":"secret"}}`, "u-"+persona, domain), "user.id")
		if slices.Contains([]string{"member", "other", "user"}, persona) {
			c.made[persona] = user
		}
		if role == "" {
			continue
		}
		path, scope := on(c.made["project"])
		switch persona {
		case "domain_admin":
			path, scope = "/v3/domains/"+domain, fmt.Sprintf(`{"domain":{"id":%q}}`, domain)
		case "system_reader", "system_admin":
			path, scope = "/v3/system", `{"system":{"all":true}}`
		case "service":
			path, scope = on(service)
		case "other":
			path, scope = on(c.made["other_project"])
		}
		id("PUT", path+"/users/"+user+"/roles/"+c.made[role+"_role"], "-", "")
		c.tokens[persona] = c.login("u-"+persona, domain, "secret", scope)
	}
	for _, p := range []string{c.made["project"], c.made["other_project"], service} {
		c.as(c.admin, "compute", "PUT", "/v2.1/os-quota-sets/"+p, `{"quota_set":{"instances":-1,"cores":-1,"ram":-1,"key_pairs":-1,"server_groups":-1}}`, "")
		c.as(c.admin, "network", "PUT", "/v2.0/quotas/"+p,
			`{"quota":{"network":-1,"subnet":-1,"port":-1,"router":-1,"floatingip":-1,"security_group":-1,"security_group_rule":-1,"subnetpool":-1,"rbac_policy":-1}}`, "")
	}
}

// forget makes the next use of a fixture make it anew.
func (c *matrixCloud) forget(name string) { delete(c.made, name) }

// need makes a fixture whatever was made before.
func (c *matrixCloud) need(name string) {
	c.forget(name)
	c.get(name)
}

// get is a fixture: made before, or made now. A spare one may be used up and is apart from the one that other rows use.
func (c *matrixCloud) get(name string) string {
	c.t.Helper()
	if v, ok := c.made[name]; ok {
		return v
	}
	c.n++
	switch name {
	case "new":
		return fmt.Sprintf("m-%d", c.n)
	case "new_custom":
		return fmt.Sprintf("CUSTOM_M%d", c.n)
	case "uuid":
		return fmt.Sprintf("00000000-0000-4000-8000-%012x", c.n)
	case "mac":
		return fmt.Sprintf("fa:16:3e:00:%02x:%02x", c.n>>8&255, c.n&255)
	case "cidr":
		return fmt.Sprintf("10.%d.%d.0/24", 100+c.n>>8&127, c.n&255)
	case "port_number":
		return fmt.Sprint(1024 + c.n)
	case "public_ip":
		return fmt.Sprintf("203.0.113.%d", 230+c.n%20)
	}
	make := matrixFixtures()[strings.TrimPrefix(name, "spare_")]
	if full := matrixFixtures()[name]; full != nil {
		make = full
	}
	if make == nil {
		c.t.Fatalf("there is no fixture %s", name)
	}
	v := make(c)
	c.made[name] = v
	return v
}
