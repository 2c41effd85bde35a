package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// policyCloud is a controller with a folder of policy files, and its administrator.
type policyCloud struct {
	t     *testing.T
	ctl   *controller
	dir   string
	log   bytes.Buffer
	admin string
	n     int
}

func newPolicyCloud(t *testing.T, url string) *policyCloud {
	t.Helper()
	c := &policyCloud{t: t, dir: filepath.Join(t.TempDir(), "policy")}
	ctl, err := c.start(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ctl.close() })
	c.ctl = ctl
	if _, err := ctl.bootstrap(context.Background(), "secret"); err != nil {
		t.Fatal(err)
	}
	c.admin = c.login("admin", "secret", "admin")
	return c
}

func (c *policyCloud) start(url string) (*controller, error) {
	return newController(context.Background(), controllerOptions{
		Config: config.Default(), DatabaseURL: url, KEK: bytes.Repeat([]byte{7}, 32), ImageDir: c.t.TempDir(), PolicyDir: c.dir,
		BcryptCost: bcrypt.MinCost, Logger: slog.New(slog.NewTextHandler(&c.log, nil)),
	})
}

// write replaces a policy file; an empty text removes it.
func (c *policyCloud) write(service, text string) {
	c.t.Helper()
	name := filepath.Join(c.dir, service+".yaml")
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	if text == "" {
		if err := os.Remove(name); err != nil {
			c.t.Fatal(err)
		}
		return
	}
	c.n++ // editors replace files; so is the inode another one
	tmp := fmt.Sprintf("%s.%d", name, c.n)
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(tmp, name); err != nil {
		c.t.Fatal(err)
	}
}

func (c *policyCloud) send(token, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	w := httptest.NewRecorder()
	c.ctl.handler.ServeHTTP(w, r)
	return w
}

func (c *policyCloud) must(token, method, path, body string) map[string]any {
	c.t.Helper()
	w := c.send(token, method, path, body)
	if w.Code/100 != 2 {
		c.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	var out map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &out) // some answers are empty
	return out
}

func (c *policyCloud) login(user, password, project string) string {
	c.t.Helper()
	w := c.send("", "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"domain":{"id":"default"},"password":%q}}},
		"scope":{"project":{"name":%q,"domain":{"id":"default"}}}}}`, user, password, project))
	if w.Code != 201 {
		c.t.Fatalf("login %s: %d %s", user, w.Code, w.Body)
	}
	return w.Header().Get("X-Subject-Token")
}

// member makes a user with a role in a project of its own name, and logs it in.
func (c *policyCloud) member(name, role string) string {
	c.t.Helper()
	project := c.must(c.admin, "POST", "/identity/v3/projects", fmt.Sprintf(`{"project":{"name":%q}}`, name))["project"].(map[string]any)["id"].(string)
	user := c.must(c.admin, "POST", "/identity/v3/users", fmt.Sprintf(`{"user":{"name":%q,"password":"secret"}}`, name))["user"].(map[string]any)["id"].(string)
	roles := c.must(c.admin, "GET", "/identity/v3/roles?name="+role, "")["roles"].([]any)
	c.must(c.admin, "PUT", "/identity/v3/projects/"+project+"/users/"+user+"/roles/"+roles[0].(map[string]any)["id"].(string), "")
	return c.login(name, "secret", name)
}

// TestReload: a changed file is in force for the next request, documents in caches included; a broken one is refused as a whole.
func TestReload(t *testing.T) {
	t.Parallel()
	c := newPolicyCloud(t, "sqlite::memory:")
	c.must(c.admin, "POST", "/network/v2.0/networks", `{"network":{"name":"n"}}`)
	has := func(field string) bool {
		t.Helper()
		n := c.must(c.admin, "GET", "/network/v2.0/networks", "")["networks"].([]any)[0].(map[string]any)
		_, ok := n[field]
		return ok
	}
	if !has("provider:network_type") || !has("mtu") {
		t.Fatal("the administrator does not see everything")
	}
	// Before the folder is there, nothing is wrong; then the rule of an attribute changes, and one comes that no default has.
	c.ctl.policies.look(false)
	c.write("network", "get_network:provider:network_type: '!'\nget_network:mtu: '!'\n")
	c.ctl.policies.look(false)
	if has("provider:network_type") || has("mtu") {
		t.Error("the list shows what the rules refuse since the file changed")
	}
	c.write("network", "get_network:provider:network_type: '!'\n\nget_network:mtu: \"role:admin or (\"\n")
	c.ctl.policies.look(false)
	if has("provider:network_type") || has("mtu") {
		t.Error("a broken file changed the rules")
	}
	s, err := c.ctl.status(context.Background(), "test", c.ctl.db.Now())
	if err != nil || len(s.Policies) != 1 || !strings.Contains(s.Policies[0].Error, "network.yaml: line 3: rule \"get_network:mtu\"") {
		t.Fatalf("status %+v %v", s.Policies, err)
	}
	if text := s.String(); !strings.Contains(text, "REFUSED") || !strings.Contains(c.log.String(), "line 3") {
		t.Errorf("status %s\nlog %s", text, c.log.String())
	}
	c.write("network", "get_network:mtu: role:admin\nget_netwrok: '!'\n")
	c.ctl.policies.look(false)
	if has("mtu") != true || !has("provider:network_type") {
		t.Error("the corrected file is not in force")
	}
	if p := c.ctl.policies.state()[0]; p.Error != "" || len(p.Unknown) != 1 || p.Unknown[0] != "get_netwrok" || !strings.Contains(c.log.String(), "get_netwrok") {
		t.Errorf("state %+v", p)
	}
	c.write("network", "")
	c.ctl.policies.look(false)
	if len(c.ctl.policies.state()) != 0 || !has("mtu") {
		t.Error("the defaults are not back")
	}
}

// TestReloadReachesEveryService: each service follows its own file, without a restart; SIGHUP loads at once.
func TestReloadReachesEveryService(t *testing.T) {
	t.Parallel()
	c := newPolicyCloud(t, "sqlite::memory:")
	asks := map[string][2]string{
		"identity": {"identity:list_users", "/identity/v3/users"}, "image": {"get_images", "/image/v2/images"}, "network": {"get_quota", "/network/v2.0/quotas"},
		"placement": {"placement:resource_providers:list", "/placement/resource_providers"}, "compute": {"os_compute_api:servers:index", "/compute/v2.1/servers"},
	}
	ctx, cancel := context.WithCancel(context.Background())
	hup, done := make(chan os.Signal), make(chan struct{})
	go func() { c.ctl.policies.run(ctx, hup); close(done) }()
	for service, a := range asks {
		if code := c.send(c.admin, "GET", a[1], "").Code; code != 200 {
			t.Fatalf("%s: %d", service, code)
		}
		c.write(service, a[0]+": '!'\n")
	}
	hup <- syscall.SIGHUP
	hup <- syscall.SIGHUP // taken only when the first is done
	for service, a := range asks {
		if code := c.send(c.admin, "GET", a[1], "").Code; code != 403 {
			t.Errorf("%s: %d after the reload", service, code)
		}
	}
	cancel()
	<-done
}

func TestABrokenFileStopsTheStart(t *testing.T) {
	t.Parallel()
	c := &policyCloud{t: t, dir: t.TempDir()}
	c.write("compute", "# mine\nos_compute_api:servers:index: rule:nobody\n")
	_, err := c.start("sqlite::memory:")
	if err == nil || !strings.Contains(err.Error(), "compute.yaml: line 2: rule \"os_compute_api:servers:index\"") {
		t.Errorf("%v", err)
	}
}

func TestAFileOfNoServiceIsTold(t *testing.T) {
	c := &policyCloud{t: t, dir: t.TempDir()}
	for _, name := range []string{"keystone.yaml", "identity.yml", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(c.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctl, err := c.start("sqlite::memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer ctl.close()
	if !strings.Contains(c.log.String(), "identity.yml, keystone.yaml") {
		t.Error(c.log.String())
	}
}

// TestPolicyCommands asks what the commands ask through the control socket.
func TestPolicyCommands(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testPolicyCommands(t, "sqlite::memory:") })
	t.Run("postgres", func(t *testing.T) { testPolicyCommands(t, dbtest.PostgresURL(t)) })
}

func testPolicyCommands(t *testing.T, database string) {
	c := newPolicyCloud(t, database)
	mux := http.NewServeMux()
	c.ctl.policyControl().routes(mux)
	control := func(path string, out any) string {
		t.Helper()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 {
			return w.Body.String()
		}
		checkNames(t, path, w.Body.Bytes())
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	alice, bob := c.member("alice", "member"), c.member("bob", "reader")
	net := c.must(alice, "POST", "/network/v2.0/networks", `{"network":{"name":"n"}}`)["network"].(map[string]any)
	project := net["project_id"].(string)
	id := net["id"].(string)

	explain := func(w *httptest.ResponseRecorder, status int) PolicyExplanation {
		t.Helper()
		if w.Code != status {
			t.Fatalf("%d %s, want %d", w.Code, w.Body, status)
		}
		var x PolicyExplanation
		if msg := control("/policy/explain?request="+w.Header().Get("X-Openstack-Request-Id"), &x); msg != "" {
			t.Fatal(msg)
		}
		return x
	}
	// A 404 that hides what is another project's.
	x := explain(c.send(bob, "GET", "/network/v2.0/networks/"+id, ""), 404)
	if x.Refusal.Rules[0] != "get_network" || x.Refusal.Target["project_id"] != project || strings.Join(x.Refusal.Roles, ",") != "reader" || x.Changed {
		t.Errorf("%+v", x.Refusal)
	}
	if p := strings.Join(x.Passing, "; "); p != "admin in any project; service in any project; reader in project "+project {
		t.Errorf("passing: %s", p)
	}
	if s := x.String(); !strings.Contains(s, "hides that policy refused") || !strings.Contains(s, "target's project_id is "+project) {
		t.Error(s)
	}
	// A 403 of each way to ask.
	x = explain(c.send(alice, "POST", "/compute/v2.1/flavors", `{"flavor":{"name":"f","ram":1,"vcpus":1,"disk":1}}`), 403)
	if x.Refusal.Rules[0] != "os_compute_api:os-flavor-manage:create" || strings.Join(x.Passing, "; ") != "admin in any project" {
		t.Errorf("%+v %v", x.Refusal, x.Passing)
	}
	x = explain(c.send(bob, "POST", "/image/v2/images", `{"name":"x","disk_format":"raw","container_format":"bare"}`), 403)
	if x.Refusal.Rules[0] != "add_image" {
		t.Errorf("%+v", x.Refusal)
	}
	x = explain(c.send(alice, "POST", "/network/v2.0/networks", `{"network":{"shared":true}}`), 403)
	if strings.Join(x.Refusal.Rules, " ") != "create_network create_network:shared" || len(x.Asked) != 2 || !x.Asked[0].Granted || x.Asked[1].Granted {
		t.Errorf("%+v", x)
	}
	// An identity rule, whose change since is told.
	w := c.send(bob, "GET", "/identity/v3/users", "")
	c.write("identity", "identity:list_users: role:reader\n")
	c.ctl.policies.look(false)
	if x = explain(w, 403); !x.Changed {
		t.Error("the change is not told")
	}
	// What policy did not refuse is not there.
	w = c.send(bob, "GET", "/network/v2.0/networks/nope", "")
	if msg := control("/policy/explain?request="+w.Header().Get("X-Openstack-Request-Id"), nil); !strings.Contains(msg, "no request") {
		t.Error(msg)
	}

	var a PolicyAnswer
	q := url.Values{"user": {"alice"}, "project": {"alice"}, "rule": {"os_compute_api:servers:create"}}
	if msg := control("/policy/check?"+q.Encode(), &a); msg != "" || !a.Granted || strings.Join(a.Roles, ",") == "" {
		t.Errorf("%s %+v", msg, a)
	}
	q.Set("target", "project_id=other")
	if msg := control("/policy/check?"+q.Encode(), &a); msg != "" || a.Granted || !strings.Contains(a.String(), "the caller's is "+project+"; the target's project_id is other") {
		t.Errorf("%s %s", msg, a)
	}
	for path, why := range map[string]string{
		"user=alice&project=alice&rule=nothing":          "no service has a rule nothing",
		"user=alice&project=alice&rule=context_is_admin": "several services",
		"user=alice&project=bob&rule=get_network":        "no role",
		"user=carol&project=bob&rule=get_network":        "no user carol",
	} {
		if msg := control("/policy/check?"+path, nil); !strings.Contains(msg, why) {
			t.Errorf("%s: %q", path, msg)
		}
	}
	var rules []PolicyRule
	if msg := control("/policy/list?service=identity", &rules); msg != "" {
		t.Fatal(msg)
	}
	for _, r := range rules {
		if r.Name == "identity:list_users" && (!r.Overridden || r.Check != "role:reader" || r.Line != 1 || r.Default == "" || len(r.Scopes) != 3 || len(r.Operations) == 0) {
			t.Errorf("%+v", r)
		}
	}
	if len(rules) < 150 {
		t.Errorf("%d rules", len(rules))
	}
}

// checkNames wants what --json prints to have names of one kind.
func checkNames(t *testing.T, what string, text []byte) {
	t.Helper()
	var look func(at string, v any)
	look = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, e := range v {
				if name != strings.ToLower(name) {
					t.Errorf("%s: %s.%s is not like the other names", what, at, name)
				}
				look(at+"."+name, e)
			}
		case []any:
			for _, e := range v {
				look(at, e)
			}
		}
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	look("", v)
}

// Without a daemon the commands know the same rules, this cloud's own among them.
func TestRulesWithoutDaemon(t *testing.T) {
	c := newPolicyCloud(t, "sqlite::memory:")
	names := func(services []*api.Service) (out []string) {
		t.Helper()
		rules, err := listPolicies(services, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			out = append(out, r.Service+" "+r.Name)
		}
		return out
	}
	offline, err := defaultServices()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(names(c.ctl.services), names(offline)); d != "" {
		t.Error(d)
	}
}
