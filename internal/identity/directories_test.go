package identity_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/identity"
	"github.com/hanok-cloud/hanok/internal/identity/directory/slapdtest"
)

const directoryConf = "[identity]\ndomain_specific_drivers_enabled = true\ndomain_configurations_from_database = true\n[auth]\nmethods = password,token,application_credential,totp\n"

// office is a cloud with a domain, corp, whose people are in a directory.
type office struct {
	*cloud
	dir    *slapdtest.Server
	domain string
}

func staff(t *testing.T) *slapdtest.Server {
	return slapdtest.Start(t, slapdtest.Person("alice", "Alice", "wonder", "title: TRUE", "telephoneNumber: 5551"), slapdtest.Person("bob", "Bob", "builder", "title: TRUE"),
		slapdtest.Person("eve", "Eve", "evil", "title: FALSE"), slapdtest.Group("staff", "alice", "bob"), slapdtest.Group("ops", "alice"))
}

func ldapOptions(dir *slapdtest.Server, more string) string {
	return `{"config":{"identity":{"driver":"ldap"},"ldap":{"url":"` + dir.URL() + `","user":"cn=reader,` + slapdtest.Suffix + `","password":"` + slapdtest.Password + `","suffix":"` + slapdtest.Suffix + `",
		"user_id_attribute":"uid","user_name_attribute":"cn","group_name_attribute":"cn","user_enabled_attribute":"title","pool_retry_delay":0,
		"user_additional_attribute_mapping":["telephoneNumber:phone"]` + more + `}}}`
}

func newOffice(t *testing.T, d *db.DB, dir *slapdtest.Server) *office {
	t.Helper()
	o := &office{cloud: newCloudWith(t, d, directoryConf), dir: dir}
	o.domain = o.create("domain", `{"name":"corp"}`)
	o.must(201, "PUT", "/v3/domains/"+o.domain+"/config", ldapOptions(dir, ""))
	return o
}

func (o *office) id(kind, local string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(o.domain+kind+local)))
}

func corpBody(user, password, scope string) string {
	if scope != "" {
		scope = "," + scope
	}
	text := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	return `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":` + text(user) + `,"domain":{"name":"corp"},"password":` + text(password) + `}}}` + scope + `}}`
}

func (o *office) in(user, password, scope string) string {
	o.t.Helper()
	token, r := o.loginWith(corpBody(user, password, scope))
	if r.code != 201 {
		o.t.Fatalf("login of %s: %d %s", user, r.code, r.raw)
	}
	return token
}

// names are the sorted names of a list.
func (r reply) names(kind string) []string {
	var out []string
	list, _ := r.body[kind].([]any)
	for _, e := range list {
		out = append(out, e.(map[string]any)["name"].(string))
	}
	slices.Sort(out)
	return out
}

func (o *office) lists(path, kind string, want ...string) {
	o.t.Helper()
	if got := o.must(200, "GET", path, "").names(kind); !slices.Equal(got, want) {
		o.t.Errorf("%s: %v, not %v", path, got, want)
	}
}

func TestDirectoryUsersAndGroups(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		o.create("user", `{"name":"local"}`)
		at := "?domain_id=" + o.domain
		o.lists("/v3/users"+at, "users", "Alice", "Bob", "Eve")
		o.lists("/v3/users"+at+"&name=alice", "users", "Alice")
		o.lists("/v3/users"+at+"&name="+url.QueryEscape("*"), "users")
		o.lists("/v3/users"+at+"&enabled=false", "users", "Eve")
		o.lists("/v3/users"+at+"&name__contains=o", "users", "Bob")
		o.lists("/v3/groups"+at, "groups", "ops", "staff")
		o.lists("/v3/groups"+at+"&name=OPS", "groups", "ops")
		if users := o.must(200, "GET", "/v3/users", "").names("users"); slices.Contains(users, "Alice") || !slices.Contains(users, "local") {
			t.Errorf("without a domain: %v", users)
		}
		page := o.must(200, "GET", "/v3/users"+at+"&limit=2", "")
		if len(page.names("users")) != 2 {
			t.Errorf("a page: %s", page.raw)
		}
		next, err := url.Parse(page.str("links.next"))
		if err != nil {
			t.Fatal(err)
		}
		if rest := o.must(200, "GET", "/v3/users?"+next.RawQuery, "").names("users"); len(rest) != 1 {
			t.Errorf("the rest: %v", rest)
		}

		alice, bob, ops, all := o.id("user", "alice"), o.id("user", "bob"), o.id("group", "ops"), o.id("group", "staff")
		u := o.must(200, "GET", "/v3/users/"+alice, "")
		if u.str("user.name") != "Alice" || u.str("user.email") != "alice@example.org" || u.str("user.phone") != "5551" || u.str("user.domain_id") != o.domain || u.at("user.enabled") != true ||
			u.at("user.password_expires_at") != nil || strings.Contains(u.raw, "federated") || strings.Contains(u.raw, "uid=") {
			t.Error(u.raw)
		}
		if g := o.must(200, "GET", "/v3/groups/"+ops, ""); g.str("group.name") != "ops" || g.str("group.description") != "the ops" || strings.Contains(g.raw, "directory_name") {
			t.Error(g.raw)
		}
		o.lists("/v3/groups/"+all+"/users", "users", "Alice", "Bob")
		o.lists("/v3/users/"+alice+"/groups", "groups", "ops", "staff")
		o.lists("/v3/users/"+alice+"/groups?name=ops", "groups", "ops")
		o.must(204, "GET", "/v3/groups/"+ops+"/users/"+alice, "")
		o.must(404, "GET", "/v3/groups/"+ops+"/users/"+bob, "")
		o.must(404, "GET", "/v3/users/"+o.id("user", "nobody"), "")

		// What changes in the directory shows in lists at once.
		dir.Set(slapdtest.GroupDN("ops"), "member", slapdtest.UserDN("bob"))
		o.lists("/v3/users/"+bob+"/groups", "groups", "ops", "staff")
		o.must(404, "GET", "/v3/groups/"+ops+"/users/"+alice, "")
		dir.Set(slapdtest.UserDN("bob"), "cn", "Robert")
		o.lists("/v3/users"+at, "users", "Alice", "Eve", "Robert")
		dir.Set(slapdtest.UserDN("bob"), "cn", "Bob")
		dir.Set(slapdtest.GroupDN("ops"), "member", slapdtest.UserDN("alice"))
		dir.Set(slapdtest.GroupDN("ops"), "description", "others")
		// What a path names is asked for when the last answer is too old.
		if name := o.must(200, "GET", "/v3/users/"+bob, "").str("user.name"); name != "Robert" {
			t.Errorf("remembered: %q", name)
		}
		o.step(11 * time.Minute)
		if name := o.must(200, "GET", "/v3/users/"+bob, "").str("user.name"); name != "Bob" {
			t.Errorf("asked anew: %q", name)
		}
		if text := o.must(200, "GET", "/v3/groups/"+ops, "").str("group.description"); text != "others" {
			t.Errorf("asked anew: %q", text)
		}
		dir.Set(slapdtest.GroupDN("ops"), "description", "the ops")
		o.must(404, "GET", "/v3/nothing", "")
		o.lists("/v3/users"+at, "users", "Alice", "Bob", "Eve")
	})
}

func TestDirectoryIsReadOnly(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		o.lists("/v3/users?domain_id="+o.domain, "users", "Alice", "Bob", "Eve")
		o.lists("/v3/groups?domain_id="+o.domain, "groups", "ops", "staff")
		alice, ops := o.id("user", "alice"), o.id("group", "ops")
		local, own := o.create("user", `{"name":"local"}`), o.create("group", `{"name":"own","directory_name":"x"}`)
		for _, c := range [][3]string{
			{"POST", "/v3/users", `{"user":{"name":"new","domain_id":"` + o.domain + `"}}`},
			{"PATCH", "/v3/users/" + alice, `{"user":{"name":"new"}}`},
			{"PATCH", "/v3/users/" + alice, `{"user":{"enabled":false}}`},
			{"DELETE", "/v3/users/" + alice, ``},
			{"POST", "/v3/groups", `{"group":{"name":"new","domain_id":"` + o.domain + `"}}`},
			{"PATCH", "/v3/groups/" + ops, `{"group":{"name":"new"}}`},
			{"DELETE", "/v3/groups/" + ops, ``},
			{"PUT", "/v3/groups/" + ops + "/users/" + alice, ``},
			{"DELETE", "/v3/groups/" + ops + "/users/" + alice, ``},
			{"PUT", "/v3/groups/" + own + "/users/" + alice, ``},
			{"PUT", "/v3/groups/" + ops + "/users/" + local, ``},
			{"POST", "/v3/users/" + alice + "/password", `{"user":{"original_password":"wonder","password":"new"}}`},
		} {
			if r := o.send(o.admin, c[0], c[1], c[2]); r.code != 403 {
				t.Errorf("%v: %d %s", c, r.code, r.raw)
			}
		}
		if r := o.send("", "POST", "/v3/users/"+alice+"/password", `{"user":{"original_password":"wrong","password":"new"}}`); r.code != 401 {
			t.Errorf("a wrong old password: %d %s", r.code, r.raw)
		}
		if g := o.must(200, "GET", "/v3/groups/"+own, ""); g.str("group.name") != "own" {
			t.Error(g.raw)
		}
		o.in("Alice", "wonder", "")
	})
}

func TestDirectoryLogin(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		alice := o.id("user", "alice")
		// The same name in the cloud's own database, from before the domain had a directory, is nobody.
		_, wrong := o.loginWith(authBody("admin", "wrong", ""))
		for _, c := range [][2]string{{"Alice", "wrong"}, {"Alice", ""}, {"Alice", "\x00"}, {"nobody", "wonder"}, {"*", "wonder"}, {"Eve", "evil"}, {"Eve", "wrong"}, {"uid=alice,ou=Users," + slapdtest.Suffix, "wonder"},
			{"Alice)(|(cn=*", "wonder"}, {"alice", "wonder "}, {"cn=reader", slapdtest.Password}} {
			if _, r := o.loginWith(corpBody(c[0], c[1], "")); r.code != 401 || r.raw != wrong.raw {
				t.Errorf("%q: %d %s", c, r.code, r.raw)
			}
		}
		token := o.in("Alice", "wonder", "")
		shown := o.as(o.admin, 200, "GET", "/v3/users/"+alice, "")
		if shown.str("user.name") != "Alice" {
			t.Error(shown.raw)
		}
		v := o.send(o.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token)
		if v.code != 200 || v.str("token.user.id") != alice || v.str("token.user.name") != "Alice" || v.str("token.user.domain.name") != "corp" {
			t.Error(v.code, v.raw)
		}
		byID := func(id, password string) reply {
			_, r := o.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + id + `","password":"` + password + `"}}}}}`)
			return r
		}
		if r := byID(alice, "wonder"); r.code != 201 {
			t.Error(r.code, r.raw)
		}
		if r := byID(alice, "wrong"); r.code != 401 || r.raw != wrong.raw {
			t.Error(r.code, r.raw)
		}
		if _, r := o.loginWith(corpBody("Alice", strings.Repeat("x", 5000), "")); r.code != 401 && r.code != 403 {
			t.Error(r.code, r.raw)
		}

		// Roles, of the user and of groups.
		p := o.create("project", `{"name":"p"}`)
		q := o.create("project", `{"name":"q"}`)
		o.must(204, "PUT", "/v3/projects/"+p+"/users/"+alice+"/roles/"+o.role("member"), "")
		o.lists("/v3/groups?domain_id="+o.domain, "groups", "ops", "staff")
		o.must(204, "PUT", "/v3/projects/"+q+"/groups/"+o.id("group", "staff")+"/roles/"+o.role("reader"), "")
		scoped := o.in("Alice", "wonder", project("p"))
		viaGroup := o.in("Bob", "builder", project("q"))
		if _, r := o.loginWith(corpBody("Bob", "builder", project("p"))); r.code != 401 {
			t.Errorf("no role: %d %s", r.code, r.raw)
		}
		if _, r := o.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + token + `"}},` + project("q") + `}}`); r.code != 201 || r.str("token.roles.0.name") != "reader" {
			t.Errorf("a token for a token: %d %s", r.code, r.raw)
		}
		if got := o.as(scoped, 200, "GET", "/v3/auth/projects", "").names("projects"); !slices.Equal(got, []string{"p", "q"}) {
			t.Errorf("projects %v", got)
		}
		eff := o.must(200, "GET", "/v3/role_assignments?effective&include_names&scope.project.id="+q, "")
		if !strings.Contains(eff.raw, `"name":"Alice"`) || !strings.Contains(eff.raw, `"name":"Bob"`) || strings.Contains(eff.raw, "Eve") {
			t.Errorf("effective: %s", eff.raw)
		}
		if direct := o.must(200, "GET", "/v3/role_assignments?include_names&scope.project.id="+q, ""); !strings.Contains(direct.raw, `"name":"staff"`) {
			t.Errorf("direct: %s", direct.raw)
		}
		// Membership taken away in the directory ends the role when the answer of before is too old, or at the next login.
		dir.Set(slapdtest.GroupDN("staff"), "member", slapdtest.UserDN("alice"))
		if code := o.valid(viaGroup); code != 200 {
			t.Errorf("remembered: %d", code)
		}
		o.step(11 * time.Minute)
		if code := o.valid(viaGroup); code != 404 {
			t.Errorf("out of the group: %d", code)
		}
		dir.Set(slapdtest.GroupDN("staff"), "member", slapdtest.UserDN("alice"), slapdtest.UserDN("bob"))
		o.in("Bob", "builder", project("q"))
	})
}

func TestDirectoryDelegation(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		p := o.create("project", `{"name":"p"}`)
		alice, bob := o.id("user", "alice"), o.id("user", "bob")
		o.in("Alice", "wonder", "")
		tokenB := o.in("Bob", "builder", "")
		o.must(204, "PUT", "/v3/projects/"+p+"/users/"+alice+"/roles/"+o.role("member"), "")
		token := o.in("Alice", "wonder", project("p"))

		cred := o.as(token, 201, "POST", "/v3/users/"+alice+"/application_credentials", `{"application_credential":{"name":"robot","secret":"s3"}}`).str("application_credential.id")
		byCred := func(ref string) (string, reply) {
			return o.loginWith(`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{` + ref + `,"secret":"s3"}}}}`)
		}
		robot, r := byCred(`"id":"` + cred + `"`)
		if r.code != 201 {
			t.Fatal(r.code, r.raw)
		}
		for _, user := range []string{`{"name":"Alice","domain":{"name":"corp"}}`, `{"name":"alice","domain":{"id":"` + o.domain + `"}}`, `{"id":"` + alice + `"}`} {
			if _, r := byCred(`"name":"robot","user":` + user); r.code != 201 {
				t.Errorf("%s: %d %s", user, r.code, r.raw)
			}
		}
		if _, r := byCred(`"name":"robot","user":{"name":"nobody","domain":{"name":"corp"}}`); r.code != 401 {
			t.Errorf("%d %s", r.code, r.raw)
		}

		trust := o.as(token, 201, "POST", "/v3/OS-TRUST/trusts", `{"trust":{"trustor_user_id":"`+alice+`","trustee_user_id":"`+bob+`","project_id":"`+p+`","impersonation":true,"roles":[{"name":"member"}]}}`).str("trust.id")
		lent, r := o.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + tokenB + `"}},"scope":{"OS-TRUST:trust":{"id":"` + trust + `"}}}}`)
		if r.code != 201 || r.str("token.user.id") != alice {
			t.Fatal(r.code, r.raw)
		}

		ec2 := o.as(token, 201, "POST", "/v3/users/"+alice+"/credentials/OS-EC2", `{"tenant_id":"`+p+`"}`)
		service := o.serviceToken()
		signed := func() reply {
			return o.send(service, "POST", "/v3/ec2tokens", ec2Body(ec2.str("credential.access"), ec2.str("credential.secret"), o.now()))
		}
		if r := signed(); r.code != 200 || r.str("token.user.id") != alice {
			t.Error(r.code, r.raw)
		}
		o.must(201, "POST", "/v3/credentials", `{"credential":{"type":"totp","user_id":"`+bob+`","blob":"`+totpSecret+`"}}`)
		passcode := identity.TOTPCode(totpSecret, o.now().Unix()/30)
		if _, r := o.loginWith(`{"auth":{"identity":{"methods":["totp"],"totp":{"user":{"name":"bob","domain":{"name":"corp"},"passcode":"` + passcode + `"}}}}}`); r.code != 201 || r.str("token.user.id") != bob {
			t.Error(r.code, r.raw)
		}

		// Disabled in the directory: as soon as what was said before is too old, nothing that hangs on the account is good.
		dir.Set(slapdtest.UserDN("alice"), "title", "FALSE")
		for name, tok := range map[string]string{"token": token, "robot": robot, "trust": lent} {
			if code := o.valid(tok); code != 200 {
				t.Errorf("%s within the time that is remembered: %d", name, code)
			}
		}
		o.step(11 * time.Minute)
		for name, tok := range map[string]string{"token": token, "robot": robot, "trust": lent} {
			if code := o.valid(tok); code != 404 {
				t.Errorf("%s of a disabled user: %d", name, code)
			}
		}
		if _, r := byCred(`"id":"` + cred + `"`); r.code != 401 {
			t.Errorf("%d %s", r.code, r.raw)
		}
		service = o.login("nova", "nova", project("service"))
		if r := signed(); r.code != 401 {
			t.Errorf("%d %s", r.code, r.raw)
		}
		dir.Set(slapdtest.UserDN("alice"), "title", "TRUE")
		o.step(11 * time.Minute)
		if _, r := byCred(`"id":"` + cred + `"`); r.code != 201 {
			t.Errorf("enabled again: %d %s", r.code, r.raw)
		}

		// Gone, and back: the id and the roles are the same.
		dir.Delete(slapdtest.UserDN("alice"))
		o.step(11 * time.Minute)
		if code := o.valid(token); code != 404 {
			t.Errorf("token of who is gone: %d", code)
		}
		o.must(404, "GET", "/v3/users/"+alice, "")
		o.lists("/v3/users?domain_id="+o.domain, "users", "Bob", "Eve")
		if list := o.must(200, "GET", "/v3/role_assignments?user.id="+alice, ""); list.str("role_assignments.0.user.id") != alice {
			t.Errorf("roles of who is gone: %s", list.raw)
		}
		dir.Add(slapdtest.Person("alice", "Alice", "wonder", "title: TRUE", "telephoneNumber: 5551"))
		o.in("Alice", "wonder", project("p"))
	})
}

func TestDirectoryDown(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		local, _ := o.tenant("local")
		token := o.in("Alice", "wonder", "")
		alice := o.id("user", "alice")
		dir.Stop()
		for what, r := range map[string]reply{
			"list":  o.send(o.admin, "GET", "/v3/users?domain_id="+o.domain, ""),
			"login": o.send("", "POST", "/v3/auth/tokens", corpBody("Alice", "wonder", "")),
		} {
			if r.code != 503 || !strings.Contains(r.message(), "domain corp") || r.header.Get("Retry-After") == "" || strings.Contains(r.raw, dir.Addr) {
				t.Errorf("%s: %d %s", what, r.code, r.raw)
			}
		}
		if code := o.valid(token); code != 200 {
			t.Errorf("what is remembered holds: %d", code)
		}
		o.must(200, "GET", "/v3/users/"+alice, "")
		o.must(200, "GET", "/v3/users", "")
		o.must(200, "GET", "/v3/users/"+local, "")
		o.must(200, "GET", "/v3/role_assignments?effective", "")
		o.login("local", "pw-local", "")
		o.step(11 * time.Minute)
		if code := o.valid(token); code != 503 {
			t.Errorf("nobody can say whether the token is still good: %d", code)
		}
		if code := o.send(token, "GET", "/v3/auth/projects", "").code; code != 503 {
			t.Errorf("%d", code)
		}
		o.login("local", "pw-local", "")
		dir.Again()
	})
}

func TestDirectoryConfigAppliesAtOnce(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		_, second := o.controller()
		at := "/v3/domains/" + o.domain + "/config"
		token := o.in("Alice", "wonder", "")
		onSecond := func() int {
			return o.sendTo(second, o.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token).code
		}
		if d.Engine() == db.Postgres && onSecond() != 200 {
			t.Error("the other controller does not know the token")
		}
		o.must(200, "PATCH", at, `{"config":{"ldap":{"user_filter":"(uid=bob)"}}}`)
		if code := o.valid(token); code != 404 {
			t.Errorf("left out by the new filter: %d", code)
		}
		if d.Engine() == db.Postgres && onSecond() != 404 {
			t.Error("the other controller has not heard of it")
		}
		o.lists("/v3/users?domain_id="+o.domain, "users", "Bob")
		o.must(204, "DELETE", at+"/ldap/user_filter", "")
		o.in("Alice", "wonder", "")
		if r := o.must(200, "GET", at, ""); strings.Contains(r.raw, slapdtest.Password) {
			t.Error("the password is shown")
		}

		for body, says := range map[string]string{
			`{"identity":{"driver":"kvs"}}`:                                 "kvs",
			`{"ldap":{"url":"http://localhost"}}`:                           "url",
			`{"ldap":{"url":"ldap://u:p@localhost/dc=x"}}`:                  "url",
			`{"ldap":{"chase_referrals":true}}`:                             "chase_referrals",
			`{"ldap":{"debug_level":4095}}`:                                 "debug_level",
			`{"ldap":{"user_filter":"(a=b"}}`:                               "user_filter",
			`{"ldap":{"user_filter":"a=b)(|(c=d"}}`:                         "user_filter",
			`{"ldap":{"page_size":"many"}}`:                                 "page_size",
			`{"ldap":{"page_size":-1}}`:                                     "page_size",
			`{"ldap":{"query_scope":"base"}}`:                               "query_scope",
			`{"ldap":{"user_id_attribute":"uid=*)(cn"}}`:                    "user_id_attribute",
			`{"ldap":{"user_tree_dn":"nowhere"}}`:                           "user_tree_dn",
			`{"ldap":{"user_additional_attribute_mapping":["a:password"]}}`: "user_additional_attribute_mapping",
			`{"ldap":{"user_enabled_mask":2}}`:                              "user_enabled_default",
			`{"ldap":{"use_tls":true,"url":"ldaps://localhost"}}`:           "use_tls",
			`{"ldap":{"tls_req_cert":"hard"}}`:                              "tls_req_cert",
			`{"ldap":{"password":["` + slapdtest.Password + `",1]}}`:        "password",
			`{"ldap":{"pool_retry_delay":-1}}`:                              "pool_retry_delay",
			`{"ldap":{"group_ad_nesting":true}}`:                            "group_ad_nesting",
		} {
			if r := o.send(o.admin, "PATCH", at, `{"config":`+body+`}`); r.code != 403 || !strings.Contains(r.message(), says) || strings.Contains(r.raw, slapdtest.Password) {
				t.Errorf("%s: %d %s", body, r.code, r.raw)
			}
		}
		// %(password)s stands for the password.
		o.must(200, "PATCH", at, `{"config":{"ldap":{"user":"cn=%(password)s,dc=x"}}}`)
		if r := o.must(200, "GET", at+"/ldap/user", ""); r.str("config.user") != "cn=%(password)s,dc=x" {
			t.Error(r.raw)
		}
		if _, r := o.loginWith(corpBody("Alice", "wonder", "")); r.code != 503 {
			t.Errorf("%d %s", r.code, r.raw)
		}
		o.must(200, "PATCH", at, `{"config":{"ldap":{"user":"cn=reader,`+slapdtest.Suffix+`"}}}`)
		token = o.in("Alice", "wonder", "")

		// Without a directory nobody of it is left, and with it they are the same again.
		o.must(204, "DELETE", at, "")
		if code := o.valid(token); code != 404 {
			t.Errorf("a token of nobody: %d", code)
		}
		o.must(404, "GET", "/v3/users/"+o.id("user", "alice"), "")
		o.lists("/v3/users?domain_id="+o.domain, "users")
		o.must(201, "POST", "/v3/users", `{"user":{"name":"Alice","domain_id":"`+o.domain+`"}}`)
		o.must(201, "PUT", at, ldapOptions(dir, ""))
		o.lists("/v3/users?domain_id="+o.domain, "users", "Alice", "Bob", "Eve")
		o.in("Alice", "wonder", "")

		// The domain goes with all that.
		o.must(200, "PATCH", "/v3/domains/"+o.domain, `{"domain":{"enabled":false}}`)
		if _, r := o.loginWith(corpBody("Alice", "wonder", "")); r.code != 401 {
			t.Errorf("a disabled domain: %d %s", r.code, r.raw)
		}
		o.must(204, "DELETE", "/v3/domains/"+o.domain, "")
		o.must(404, "GET", "/v3/users/"+o.id("user", "alice"), "")
	})
}

func TestDirectoryFromFiles(t *testing.T) {
	dir := staff(t)
	folder := t.TempDir()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		file := "[identity]\ndriver = ldap\nlist_limit = 2\n[ldap]\nurl = " + dir.LDAPI() + "\nuser = cn=reader," + slapdtest.Suffix + "\npassword = " + slapdtest.Password + "\nsuffix = " + slapdtest.Suffix +
			"\nuser_id_attribute = uid\nuser_name_attribute = cn\ngroup_name_attribute = cn\nconnection_timeout = 5\nuse_pool = false\n"
		if err := os.WriteFile(filepath.Join(folder, "keystone.corp.conf"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		o := &office{cloud: newCloudWith(t, d, "[identity]\ndomain_specific_drivers_enabled = true\ndomain_config_dir = "+folder+"\ncache_time = 0\n"), dir: dir}
		o.domain = o.create("domain", `{"name":"corp"}`)
		o.in("Alice", "wonder", "")
		if r := o.must(200, "GET", "/v3/users?domain_id="+o.domain, ""); len(r.names("users")) != 2 || r.at("truncated") != true {
			t.Errorf("list_limit: %s", r.raw)
		}
		// The API keeps a configuration, which has no effect, as upstream.
		o.must(201, "PUT", "/v3/domains/"+o.domain+"/config", `{"config":{"ldap":{"url":"https://url-1.com"}}}`)
		o.in("Alice", "wonder", "")
		// Without the option the domain is as any other.
		o.configure("")
		o.admin = o.login("admin", "secret", project("admin"))
		if _, r := o.loginWith(corpBody("Alice", "wonder", "")); r.code != 401 {
			t.Errorf("%d %s", r.code, r.raw)
		}
		o.lists("/v3/users?domain_id="+o.domain, "users")
	})
}

// Lists that are written in several transactions, and pages of them.
func TestDirectoryLongList(t *testing.T) {
	dir := slapdtest.Start(t)
	var uids []string
	for i := range 1100 {
		uid := fmt.Sprintf("u%04d", i)
		uids = append(uids, uid)
		dir.Add(slapdtest.Person(uid, "User "+uid, "pw", "title: TRUE"))
	}
	dir.Add(slapdtest.Group("all", uids...))
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		at := "/v3/users?domain_id=" + o.domain
		if r := o.send(o.admin, "GET", at, ""); r.code != 503 {
			t.Errorf("a list that the server cuts off: %d", r.code)
		}
		o.must(200, "PATCH", "/v3/domains/"+o.domain+"/config", `{"config":{"ldap":{"page_size":200}}}`)
		if n := len(o.must(200, "GET", at, "").names("users")); n != 1100 {
			t.Errorf("%d users", n)
		}
		o.lists("/v3/groups?domain_id="+o.domain, "groups", "all")
		if n := len(o.must(200, "GET", "/v3/groups/"+o.id("group", "all")+"/users", "").names("users")); n != 1100 {
			t.Errorf("%d members", n)
		}
		epoch := func() (n int64) {
			if err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
				n, err = db.One(tx, db.Value[int64], `SELECT value FROM identity_state WHERE name = 'epoch'`)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := epoch()
		o.must(200, "GET", at, "")
		o.must(200, "GET", "/v3/groups/"+o.id("group", "all")+"/users", "")
		o.in("User u0007", "pw", "")
		o.in("User u0007", "pw", "")
		if after := epoch(); after != before {
			t.Errorf("answers without news moved the epoch from %d to %d", before, after)
		}
	})
}

// Whom the directory and an identity provider of the same domain both know is one person's id for two accounts: the second one is refused.
func TestDirectoryIDIsTaken(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		if err := d.Write(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(`INSERT INTO identity_users (id, name, domain_id, federated_name) VALUES ($1, $1, $2, 'alice')`, o.id("user", "alice"), o.domain)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		o.lists("/v3/users?domain_id="+o.domain, "users", "Bob", "Eve")
		o.lists("/v3/groups?domain_id="+o.domain, "groups", "ops", "staff")
		o.lists("/v3/groups/"+o.id("group", "staff")+"/users", "users", "Bob")
		if _, r := o.loginWith(corpBody("Alice", "wonder", "")); r.code != 401 {
			t.Errorf("%d %s", r.code, r.raw)
		}
	})
}

// Two who have the same name cannot log in by it; each can by id.
func TestDirectoryNameOfTwo(t *testing.T) {
	dir := staff(t)
	dir.Add(slapdtest.Person("alice2", "Alice", "land", "title: TRUE"))
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		o.lists("/v3/users?domain_id="+o.domain, "users", "Alice", "Alice", "Bob", "Eve")
		o.lists("/v3/users?domain_id="+o.domain+"&name=alice", "users", "Alice", "Alice")
		for _, password := range []string{"wonder", "land"} {
			if _, r := o.loginWith(corpBody("Alice", password, "")); r.code != 401 {
				t.Errorf("%d %s", r.code, r.raw)
			}
		}
		if _, r := o.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + o.id("user", "alice2") + `","password":"land"}}}}}`); r.code != 201 {
			t.Errorf("%d %s", r.code, r.raw)
		}
	})
}

// The log names the domain and the cause, and no password of anybody.
func TestDirectoryLog(t *testing.T) {
	dir := staff(t)
	d := dbtest.Memory(t)
	var log bytes.Buffer
	o := newOffice(t, d, dir)
	svc, err := identity.New(identity.Options{DB: d, KEK: kek(), PublicEndpoint: endpoint, BcryptCost: 4, Conf: o.conf, Now: o.now, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	o.svc, o.h = svc, api.NewServer(api.Options{Services: []*api.Service{svc.API()}, Auth: svc, PublicEndpoint: endpoint, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	o.in("Alice", "wonder", "")
	o.loginWith(corpBody("Alice", "not-the-word", ""))
	dir.Stop()
	o.loginWith(corpBody("Alice", "wonder", ""))
	text := log.String()
	for _, secret := range []string{slapdtest.Password, "wonder", "not-the-word"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q stands in the log:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "domain=corp") || !strings.Contains(text, dir.Addr) {
		t.Errorf("the log does not say which directory:\n%s", text)
	}
	dir.Again()
}

// BenchmarkDirectoryToken validates a token whose owner is in a directory, and one of the cloud's own users beside it.
func BenchmarkDirectoryToken(b *testing.B) {
	dir := slapdtest.Start(b, slapdtest.Person("alice", "Alice", "wonder", "title: TRUE"))
	o := &office{cloud: newCloudWith(b, dbtest.Memory(b), directoryConf), dir: dir}
	o.domain = o.create("domain", `{"name":"corp"}`)
	o.must(201, "PUT", "/v3/domains/"+o.domain+"/config", ldapOptions(dir, ""))
	for name, token := range map[string]string{"directory": o.in("Alice", "wonder", ""), "own": o.admin} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c, err := o.svc.Authenticate(b.Context(), token); c == nil || err != nil {
					b.Fatal(c, err)
				}
			}
		})
	}
	b.Run("login", func(b *testing.B) {
		for b.Loop() {
			o.in("Alice", "wonder", "")
		}
	})
}

// Where configurations of domains have no effect, which is the default, anything is kept and nothing is asked.
func TestDomainConfigIsOnlyKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		corp := c.create("domain", `{"name":"corp"}`)
		at := "/v3/domains/" + corp + "/config"
		c.must(201, "PUT", at, `{"config":{"identity":{"driver":"ldap"},"ldap":{"url":"ldap://127.0.0.1:1"}}}`)
		c.must(200, "PATCH", at+"/identity", `{"config":{"identity":{"driver":"tempest-driver-1","list_limit":7}}}`)
		if r := c.must(200, "PATCH", at, `{"config":{"ldap":{"url":"https://url-1.com"}}}`); r.str("config.identity.driver") != "tempest-driver-1" || r.str("config.ldap.url") != "https://url-1.com" {
			t.Error(r.raw)
		}
		user := c.create("user", `{"name":"local","domain_id":"`+corp+`","password":"pw"}`)
		c.must(200, "GET", "/v3/users/"+user, "")
		if got := c.must(200, "GET", "/v3/users?domain_id="+corp, "").names("users"); !slices.Equal(got, []string{"local"}) {
			t.Error(got)
		}
	})
}

// A directory that is there and does not answer costs those who need it a bounded time, and nobody else anything.
func TestDirectorySilent(t *testing.T) {
	dir := staff(t)
	o := newOffice(t, dbtest.Memory(t), dir)
	o.must(200, "PATCH", "/v3/domains/"+o.domain+"/config", `{"config":{"ldap":{"pool_connection_timeout":1,"pool_retry_max":1}}}`)
	o.tenant("local")
	dir.Pause()
	defer dir.Resume()
	answer := make(chan int)
	for range 5 {
		go func() { answer <- o.send("", "POST", "/v3/auth/tokens", corpBody("Alice", "wonder", "")).code }()
	}
	o.login("local", "pw-local", "")
	for range 5 {
		if code := <-answer; code != 503 {
			t.Errorf("%d", code)
		}
	}
}
