package identity_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// The unmodified openstack client comes in with a token of the provider, and by asking the provider itself.
func TestOpenStackClientFederates(t *testing.T) {
	needed(t, "openstack")
	p := startProvider(t)
	_, id := p.password("cli", "alice")
	srv := httptest.NewUnstartedServer(nil)
	f := &federatedCloud{cloud: &cloud{t: t, d: dbtest.Memory(t), conf: p.conf(), endpoint: "http://" + srv.Listener.Addr().String()}, p: p}
	f.start()
	f.furnish()
	srv.Config.Handler = f.h
	srv.Start()
	t.Cleanup(srv.Close)
	run := func(want int, args ...string) map[string]any {
		t.Helper()
		cmd := exec.Command("openstack", append([]string{"--os-auth-url", srv.URL + "/identity/v3", "--os-identity-api-version", "3", "--os-identity-provider", "corp", "--os-protocol", "openid",
			"--os-project-name", "work", "--os-project-domain-name", "corp"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_PROXY=127.0.0.1"}
		out, err := cmd.CombinedOutput()
		if (err == nil) != (want == 0) {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		var got map[string]any
		if i := strings.IndexByte(string(out), '{'); err == nil && (i < 0 || json.Unmarshal(out[i:], &got) != nil) {
			t.Fatalf("%s", out)
		}
		return got
	}
	bring := []string{"--os-auth-type", "v3oidcaccesstoken", "--os-access-token", id}
	got := run(0, append(bring, "token", "issue", "-f", "json")...)
	if got["project_id"] != f.prj || got["id"] == "" {
		t.Error(got)
	}
	ask := func(user, password string) []string {
		return []string{"--os-auth-type", "v3oidcpassword", "--os-client-id", "hanok", "--os-client-secret", "hush-hanok", "--os-discovery-endpoint", p.issuer + "/.well-known/openid-configuration",
			"--os-openid-scope", "openid email profile", "--os-username", user, "--os-password", password}
	}
	if got := run(0, append(ask("alice", "pw-alice"), "token", "issue", "-f", "json")...); got["project_id"] != f.prj {
		t.Error(got)
	}
	run(1, "--os-auth-type", "v3oidcaccesstoken", "--os-access-token", "x", "token", "issue", "-f", "json")
}
