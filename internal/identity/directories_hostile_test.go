package identity_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/identity/directory/slapdtest"
)

// A trust that was passed on ends with the account in the directory of whoever gave it first, though nobody else has to do with that account.
func TestDirectoryRedelegation(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		p := o.create("project", `{"name":"p"}`)
		one, _ := o.tenant("one")
		two, _ := o.tenant("two")
		alice := o.id("user", "alice")
		o.in("Alice", "wonder", "")
		o.must(204, "PUT", "/v3/projects/"+p+"/users/"+alice+"/roles/"+o.role("member"), "")
		body := func(from, to, more string) string {
			return `{"trust":{"trustor_user_id":"` + from + `","trustee_user_id":"` + to + `","project_id":"` + p + `","impersonation":false,"roles":[{"name":"member"}]` + more + `}}`
		}
		under := func(user, trust string) (string, reply) {
			return o.loginWith(authBody(user, "pw-"+user, `"scope":{"OS-TRUST:trust":{"id":"`+trust+`"}}`))
		}
		first := o.as(o.in("Alice", "wonder", project("p")), 201, "POST", "/v3/OS-TRUST/trusts", body(alice, one, `,"allow_redelegation":true,"redelegation_count":2`)).str("trust.id")
		lent, r := under("one", first)
		if r.code != 201 {
			t.Fatal(r.code, r.raw)
		}
		second := o.as(lent, 201, "POST", "/v3/OS-TRUST/trusts", body(one, two, "")).str("trust.id")
		passedOn, r := under("two", second)
		if r.code != 201 || o.valid(passedOn) != 200 {
			t.Fatal(r.code, r.raw)
		}
		dir.Set(slapdtest.UserDN("alice"), "title", "FALSE")
		defer dir.Set(slapdtest.UserDN("alice"), "title", "TRUE")
		o.step(11 * time.Minute)
		if code := o.valid(passedOn); code == 200 {
			t.Error("the token is good without the account that the trust came from")
		}
		o.step(11 * time.Minute)
		if _, r := under("two", second); r.code == 201 {
			t.Error("a new token without the account that the trust came from: ", r.raw)
		}
	})
}

// gate lets connections to a directory wait.
type gate struct {
	addr    string
	arrived chan struct{}
	open    chan struct{}
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	g := &gate{addr: l.Addr().String(), arrived: make(chan struct{}, 10), open: make(chan struct{})}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				g.arrived <- struct{}{}
				<-g.open
				up, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer func() { _ = up.Close() }()
				go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
				_, _ = io.Copy(c, up)
			}()
		}
	}()
	return g
}

// What a directory says after it was taken away is not stored: nobody would ever ask it again.
func TestDirectoryAnswersTooLate(t *testing.T) {
	dir := staff(t)
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		g := newGate(t, dir.Addr)
		at := "/v3/domains/" + o.domain + "/config"
		o.must(200, "PATCH", at, `{"config":{"ldap":{"url":"ldap://`+g.addr+`"}}}`)
		answer := make(chan reply)
		go func() { answer <- o.send("", "POST", "/v3/auth/tokens", corpBody("Alice", "wonder", "")) }()
		<-g.arrived
		o.must(204, "DELETE", at, "")
		close(g.open)
		if r := <-answer; r.code != 503 {
			t.Errorf("%d %s", r.code, r.raw)
		}
		o.must(404, "GET", "/v3/users/"+o.id("user", "alice"), "")
		if n := o.count(`SELECT count(*) FROM identity_users WHERE id = $1`, o.id("user", "alice")); n != 0 {
			t.Error("a user of a directory that is gone is stored")
		}
	})
}

// Whoever may set options that name the password does not read it in what is wrong with them.
func TestDirectoryPasswordInErrors(t *testing.T) {
	dir := staff(t)
	o := newOffice(t, dbtest.Memory(t), dir)
	at := "/v3/domains/" + o.domain + "/config"
	o.must(200, "PATCH", at, `{"config":{"ldap":{"password":"pass\"word"}}}`)
	for _, option := range []string{"user_tree_dn", "user_filter", "user_id_attribute", "page_size", "query_scope", "pool_retry_delay", "use_tls", "user_additional_attribute_mapping"} {
		r := o.send(o.admin, "PATCH", at, `{"config":{"ldap":{"`+option+`":"%(password)s"}}}`)
		if r.code != 403 || !strings.Contains(r.message(), option) || strings.Contains(r.message(), `pass`+`"word`) || strings.Contains(r.message(), `pass\"word`) {
			t.Errorf("%s: %d %s", option, r.code, r.message())
		}
	}
}

// Somebody who makes an entry with another's id, and logs in to it, is not the other.
func TestDirectorySharedID(t *testing.T) {
	dir := staff(t)
	const corner = "ou=corner,ou=Users," + slapdtest.Suffix
	dir.Add("dn: "+corner+"\nobjectClass: organizationalUnit\nou: corner", "dn: cn=Mallory,"+corner+"\nobjectClass: inetOrgPerson\ncn: Mallory\nsn: x\nuid: alice\ntitle: TRUE\nuserPassword: m",
		"dn: uid=trudy,"+corner+"\nobjectClass: inetOrgPerson\nuid: trudy\ncn: Trudy\nsn: x\ntitle: TRUE\nuserPassword: t")
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := newOffice(t, d, dir)
		o.in("Bob", "builder", "")
		o.must(200, "PATCH", "/v3/domains/"+o.domain+"/config", `{"config":{"ldap":{"query_scope":"sub"}}}`)
		if _, r := o.loginWith(corpBody("Mallory", "m", "")); r.code != 401 {
			t.Errorf("somebody else: %d %s", r.code, r.raw)
		}
		// By the id of one who is gone, given to an own entry as well.
		dir.Delete(slapdtest.UserDN("bob"))
		dir.Set("uid=trudy,"+corner, "uid", "trudy", "bob")
		if _, r := o.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + o.id("user", "bob") + `","password":"t"}}}}}`); r.code != 401 {
			t.Errorf("the heir of who is gone: %d %s", r.code, r.raw)
		}
		o.in("Trudy", "t", "")
		dir.Set("uid=trudy,"+corner, "uid", "trudy")
		dir.Add(slapdtest.Person("bob", "Bob", "builder", "title: TRUE"))
	})
}

// Who may not see role assignments does not make the directory look up every group's members either.
func TestDirectoryAsksForNobodyElse(t *testing.T) {
	dir := staff(t)
	o := newOffice(t, dbtest.Memory(t), dir)
	p := o.create("project", `{"name":"p"}`)
	o.lists("/v3/groups?domain_id="+o.domain, "groups", "ops", "staff")
	o.must(204, "PUT", "/v3/projects/"+p+"/groups/"+o.id("group", "ops")+"/roles/"+o.role("member"), "")
	o.tenant("local")
	token := o.login("local", "pw-local", project("local"))
	g := newGate(t, dir.Addr)
	close(g.open)
	o.must(200, "PATCH", "/v3/domains/"+o.domain+"/config", `{"config":{"ldap":{"url":"ldap://`+g.addr+`"}}}`)
	o.as(token, 403, "GET", "/v3/role_assignments?effective", "")
	if n := len(g.arrived); n != 0 {
		t.Errorf("the directory was asked %d times", n)
	}
	o.must(200, "GET", "/v3/role_assignments?effective", "")
	if len(g.arrived) == 0 {
		t.Error("the directory was not asked for who may see them")
	}
}
