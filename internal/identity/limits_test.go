package identity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/identity"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// limited is a cloud with a registered limit of 10 servers for a service.
type limited struct {
	*cloud
	service, domain, project string
}

func newLimited(t *testing.T, d *db.DB, model string) limited {
	t.Helper()
	c := newCloud(t, d)
	c.configure("[unified_limit]\nenforcement_model = " + model + "\n")
	l := limited{cloud: c, service: c.create("service", `{"type":"compute2"}`), domain: c.create("domain", `{"name":"d"}`)}
	l.project = c.create("project", `{"name":"p","domain_id":"`+l.domain+`"}`)
	c.must(201, "POST", "/v3/registered_limits", `{"registered_limits":[{"service_id":"`+l.service+`","resource_name":"servers","default_limit":10}]}`)
	return l
}

func (l limited) of(owner, id string, n int) string {
	return fmt.Sprintf(`{"%s":"%s","service_id":"%s","resource_name":"servers","resource_limit":%d}`, owner, id, l.service, n)
}

func (l limited) set(code int, limits ...string) reply {
	l.t.Helper()
	return l.must(code, "POST", "/v3/limits", `{"limits":[`+strings.Join(limits, ",")+`]}`)
}

func TestFlatLimits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLimited(t, d, "flat")
		if r := l.must(200, "GET", "/v3/limits/model", ""); r.str("model.name") != "flat" {
			t.Error(r.raw)
		}
		id := l.set(201, l.of("project_id", l.project, 50)).str("limits.0.id")
		r := l.set(201, l.of("project_id", l.domain, 5)) // a domain by its project's id
		if r.str("limits.0.domain_id") != l.domain || r.at("limits.0.project_id") != nil {
			t.Error(r.raw)
		}
		if r := l.set(409, l.of("domain_id", l.domain, 6)); !strings.Contains(r.message(), "Duplicate entry") {
			t.Error(r.raw)
		}
		if r := l.set(403, strings.Replace(l.of("project_id", l.project, 1), `"servers"`, `"cores"`, 1)); r.message() != "Unable to create a limit that has no corresponding registered limit." {
			t.Error(r.raw)
		}
		for _, bad := range []string{l.of("project_id", strings.Repeat("0", 32), 1), l.of("domain_id", l.project, 1), strings.Replace(l.of("project_id", l.project, 1), l.service, strings.Repeat("0", 32), 1)} {
			l.set(400, bad)
		}
		l.set(400, l.of("project_id", l.project, -2))
		l.must(200, "PATCH", "/v3/limits/"+id, `{"limit":{"resource_limit":0}}`)
		if r := l.must(200, "GET", "/v3/limits/"+id, ""); r.at("limit.resource_limit") != 0.0 {
			t.Error(r.raw)
		}
		reg := l.must(200, "GET", "/v3/registered_limits", "").str("registered_limits.0.id")
		if r := l.must(403, "PATCH", "/v3/registered_limits/"+reg, `{"registered_limit":{"default_limit":1}}`); !strings.Contains(r.message(), "because there are project limits associated with it") {
			t.Error(r.raw)
		}
		l.must(403, "DELETE", "/v3/registered_limits/"+reg, "")
		second := l.must(201, "POST", "/v3/registered_limits", `{"registered_limits":[{"service_id":"`+l.service+`","resource_name":"cores","default_limit":10}]}`).str("registered_limits.0.id")
		l.must(409, "PATCH", "/v3/registered_limits/"+second, `{"registered_limit":{"resource_name":"servers"}}`)

		// Who sees which: the system all, a domain its own and its projects', a project its own.
		user := l.create("user", `{"name":"kim","password":"pw"}`)
		l.must(204, "PUT", "/v3/domains/"+l.domain+"/users/"+user+"/roles/"+l.role("reader"), "")
		l.must(204, "PUT", "/v3/projects/"+l.project+"/users/"+user+"/roles/"+l.role("reader"), "")
		for scope, n := range map[string]int{`"scope":{"domain":{"id":"` + l.domain + `"}}`: 2, `"scope":{"project":{"id":"` + l.project + `"}}`: 1, `"scope":"unscoped"`: 0} {
			tok := l.login("kim", "pw", scope)
			if r := l.as(tok, 200, "GET", "/v3/limits", ""); len(r.at("limits").([]any)) != n {
				t.Errorf("%s: %s", scope, r.raw)
			}
		}
		l.must(204, "DELETE", "/v3/projects/"+l.project, "")
		l.must(404, "GET", "/v3/limits/"+id, "")
	})
}

func TestStrictTwoLevelLimits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := newLimited(t, d, "strict_two_level")
		if r := l.must(200, "GET", "/v3/limits/model", ""); r.str("model.name") != "strict_two_level" || r.str("model.description") != "This model requires project hierarchy never exceeds a depth of two" {
			t.Error(r.raw)
		}
		// Without a limit of its own the domain has the registered default.
		r := l.set(403, l.of("project_id", l.project, 11))
		if want := "Invalid resource limit: The resource limit (project_id: " + l.project + ", resource_name: servers, resource_limit: 11, service_id: " + l.service + ", region_id: None) doesn't satisfy current hierarchy model.."; r.message() != want {
			t.Error(r.message())
		}
		own := l.set(201, l.of("project_id", l.project, 10)).str("limits.0.id")
		l.set(403, l.of("domain_id", l.domain, 9))
		top := l.set(201, l.of("domain_id", l.domain, 20)).str("limits.0.id")
		patch := func(code int, id string, n int) {
			t.Helper()
			l.must(code, "PATCH", "/v3/limits/"+id, fmt.Sprintf(`{"limit":{"resource_limit":%d}}`, n))
		}
		patch(403, own, 21)
		patch(200, own, 20)
		patch(403, top, 19)
		patch(403, own, -1) // without end is more than 20
		patch(200, top, -1)
		patch(200, own, -1)
		patch(403, top, 100)
		patch(200, own, 0)
		patch(200, top, 0)
		patch(403, own, 1)

		// In one request the domain's new limit counts, in any order; all or none.
		e := l.create("domain", `{"name":"e"}`)
		p, q := l.create("project", `{"name":"p","domain_id":"`+e+`"}`), l.create("project", `{"name":"q","domain_id":"`+e+`"}`)
		l.set(403, l.of("project_id", p, 15), l.of("project_id", q, 16), l.of("domain_id", e, 15))
		if r := l.must(200, "GET", "/v3/limits?domain_id="+e, ""); len(r.at("limits").([]any)) != 0 {
			t.Error("half of a request was stored: ", r.raw)
		}
		l.set(201, l.of("project_id", p, 15), l.of("project_id", q, 14), l.of("project_id", e, 15))

		// Two levels, and no third.
		l.must(403, "POST", "/v3/projects", `{"project":{"name":"third","domain_id":"`+e+`","parent_id":"`+p+`"}}`)
		l.configure("[unified_limit]\nenforcement_model = flat\n")
		third := l.create("project", `{"name":"third","domain_id":"`+e+`","parent_id":"`+p+`"}`)
		strict, err := conf.Parse("[unified_limit]\nenforcement_model = strict_two_level\n")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := identity.New(identity.Options{DB: d, KEK: kek(), PublicEndpoint: endpoint, Conf: strict}); err == nil || !strings.Contains(err.Error(), third) {
			t.Error("a deeper tree must stop the start: ", err)
		}
	})
}

// [application_credential] and [credential] user_limit.
func TestUserLimits(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.configure("[application_credential]\nuser_limit = 1\n[credential]\nuser_limit = 1\n")
	user, proj := c.tenant("kim")
	tok := c.login("kim", "pw-kim", project("kim"))
	apps := "/v3/users/" + user + "/application_credentials"
	c.as(tok, 201, "POST", apps, `{"application_credential":{"name":"a"}}`)
	if r := c.as(tok, 403, "POST", apps, `{"application_credential":{"name":"b"}}`); r.message() != "Unable to create additional application credentials, maximum of 1 already exceeded for user." {
		t.Error(r.raw)
	}
	c.as(tok, 201, "POST", "/v3/credentials", blobOf(user, proj, "a", ""))
	if r := c.as(tok, 403, "POST", "/v3/credentials", blobOf(user, proj, "b", "")); r.message() != "Unable to create additional credentials, maximum of 1 already exceeded for user." {
		t.Error(r.raw)
	}
	c.as(tok, 403, "POST", "/v3/users/"+user+"/credentials/OS-EC2", `{"tenant_id":"`+proj+`"}`)
	c.configure("[application_credential]\nuser_limit = -1\n")
	c.as(tok, 201, "POST", apps, `{"application_credential":{"name":"b"}}`)
	c.as(tok, 201, "POST", "/v3/credentials", blobOf(user, proj, "b", ""))
}

// A credential's roles are written out: those that are implied when it is made belong to it.
func TestAppCredImpliedRoles(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, _ := c.tenant("kim")
		tok := c.login("kim", "pw-kim", project("kim"))
		r := c.as(tok, 201, "POST", "/v3/users/"+user+"/application_credentials", `{"application_credential":{"name":"a","roles":[{"name":"member"}]}}`)
		if got := roleNames(r, "application_credential.roles"); len(got) != 2 || got[0] != "member" || got[1] != "reader" {
			t.Error(r.raw)
		}
		if _, r := c.appLogin(r.str("application_credential.id"), r.str("application_credential.secret")); len(r.at("token.roles").([]any)) != 2 {
			t.Error(r.raw)
		}
	})
}
