package identity_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// The unmodified openstack client finds the people of a directory by name, gives a group a role, and lets them in.
func TestOpenStackClientAndDirectory(t *testing.T) {
	needed(t, "openstack")
	dir := staff(t)
	srv := httptest.NewUnstartedServer(nil)
	c := &cloud{t: t, d: dbtest.Memory(t), endpoint: "http://" + srv.Listener.Addr().String()}
	c.configure(directoryConf)
	c.begin()
	o := &office{cloud: c, dir: dir}
	o.domain = o.create("domain", `{"name":"corp"}`)
	o.must(201, "PUT", "/v3/domains/"+o.domain+"/config", ldapOptions(dir, ""))
	o.create("project", `{"name":"demo"}`)
	srv.Config.Handler = o.h
	srv.Start()
	t.Cleanup(srv.Close)
	run := func(user, domain, password string, args ...string) string {
		t.Helper()
		cmd := exec.Command("openstack", args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_PROXY=127.0.0.1", "OS_AUTH_URL=" + srv.URL + "/identity/v3", "OS_IDENTITY_API_VERSION=3",
			"OS_USERNAME=" + user, "OS_USER_DOMAIN_NAME=" + domain, "OS_PASSWORD=" + password, "OS_PROJECT_DOMAIN_NAME=Default"}
		if user == "admin" {
			cmd.Env = append(cmd.Env, "OS_PROJECT_NAME=admin")
		} else {
			cmd.Env = append(cmd.Env, "OS_PROJECT_NAME=demo")
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "error: " + string(out)
		}
		return string(out)
	}
	admin := func(args ...string) string { return run("admin", "Default", "secret", args...) }
	lines := strings.Fields(admin("user", "list", "--domain", "corp", "-f", "value", "-c", "Name"))
	if slices.Sort(lines); !slices.Equal(lines, []string{"Alice", "Bob", "Eve"}) {
		t.Fatal(lines)
	}
	if out := admin("role", "add", "--group", "staff", "--group-domain", "corp", "--project", "demo", "member"); out != "" {
		t.Fatal(out)
	}
	if out := admin("role", "assignment", "list", "--names", "--effective", "--project", "demo", "-f", "value"); !strings.Contains(out, "Alice@corp") || !strings.Contains(out, "Bob@corp") {
		t.Error(out)
	}
	var token map[string]any
	if out := run("Alice", "corp", "wonder", "token", "issue", "-f", "json"); json.Unmarshal([]byte(out), &token) != nil || token["user_id"] != o.id("user", "alice") {
		t.Error(out)
	}
	if out := run("Alice", "corp", "wrong", "token", "issue"); !strings.Contains(out, "HTTP 401") {
		t.Error(out)
	}
	if out := run("Alice", "corp", "wonder", "application", "credential", "create", "robot", "-f", "value", "-c", "name"); !strings.Contains(out, "robot") {
		t.Error(out)
	}
	if out := admin("user", "set", "--description", "x", o.id("user", "alice")); !strings.Contains(out, "HTTP 403") {
		t.Error(out)
	}
}
