package identity_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func (c *cloud) failLogins(user string, n int) {
	c.t.Helper()
	for range n {
		c.wantLogin(user, "wrong", 401, plain401)
	}
}

func TestLockout(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\nlockout_failure_attempts = 3\nlockout_duration = 60\n")
		id := c.create("user", `{"name":"kim","password":"p0"}`)
		// A success forgets the failures before it.
		c.failLogins("kim", 2)
		c.wantLogin("kim", "p0", 201, "")
		c.failLogins("kim", 2)
		c.wantLogin("kim", "p0", 201, "")
		c.failLogins("kim", 3)
		c.wantLogin("kim", "p0", 401, plain401)
		c.ownPassword(id, "p0", "p1", 401, plain401)
		// The lock ends after its time; attempts meanwhile do not prolong it, and counting starts anew.
		c.step(30 * time.Second)
		c.wantLogin("kim", "wrong", 401, plain401)
		c.step(31 * time.Second)
		c.failLogins("kim", 2)
		c.wantLogin("kim", "p0", 201, "")
		// Any change of an enabled user unlocks it, as upstream's do.
		c.failLogins("kim", 3)
		c.wantLogin("kim", "p0", 401, plain401)
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"enabled":true}}`)
		c.wantLogin("kim", "p0", 201, "")
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"options":{"ignore_lockout_failure_attempts":true}}}`)
		c.failLogins("kim", 5)
		c.wantLogin("kim", "p0", 201, "")
		c.must(204, "DELETE", "/v3/users/"+id, "")
		if n := c.count(`SELECT count(*) FROM identity_logins WHERE user_id = $1`, id); n != 0 {
			t.Error("the count of failures outlives its user")
		}
	})
}

func TestLockoutForGood(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), "[security_compliance]\nlockout_failure_attempts = 1\nlockout_duration =\n")
	id := c.create("user", `{"name":"kim","password":"p0"}`)
	c.failLogins("kim", 1)
	c.step(1000 * oneDay)
	c.wantLogin("kim", "p0", 401, plain401)
	c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"enabled":true}}`)
	c.wantLogin("kim", "p0", 201, "")
}

// Many attempts at once are no way around the limit: once that many have failed, the right one among them is refused too.
func TestLockoutAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\nlockout_failure_attempts = 3\n")
		id := c.create("user", `{"name":"kim","password":"p0"}`)
		var done sync.WaitGroup
		for range 40 {
			done.Go(func() { c.send("", "POST", "/v3/auth/tokens", authBody("kim", "wrong", "")) })
		}
		done.Wait()
		c.wantLogin("kim", "p0", 401, plain401)
		if n := c.count(`SELECT failed_count FROM identity_logins WHERE user_id = $1`, id); n < 3 {
			t.Errorf("%d failures were counted", n)
		}
	})
}

// What tells nothing: the answers to all logins that fail are the same, whatever is wrong.
func TestFailuresLookAlike(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\nlockout_failure_attempts = 1\n")
		c.create("user", `{"name":"locked","password":"pw"}`)
		c.failLogins("locked", 1)
		c.create("user", `{"name":"disabled","password":"pw","enabled":false}`)
		c.create("user", `{"name":"bare"}`)
		dom := c.create("domain", `{"name":"off"}`)
		c.create("user", `{"name":"outside","password":"pw","domain_id":"`+dom+`"}`)
		c.must(200, "PATCH", "/v3/domains/"+dom, `{"domain":{"enabled":false}}`)
		c.create("user", `{"name":"kim","password":"pw","options":{"ignore_lockout_failure_attempts":true}}`)
		inOff := `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"outside","domain":{"name":"off"},"password":"pw"}}}}}`
		want := c.send("", "POST", "/v3/auth/tokens", authBody("nobody", "pw", ""))
		for name, body := range map[string]string{
			"locked": authBody("locked", "pw", ""), "disabled": authBody("disabled", "pw", ""), "without password": authBody("bare", "", ""), "disabled domain": inOff,
			"wrong": authBody("kim", "wrong", ""), "no project": authBody("kim", "pw", project("nowhere")), "no role": authBody("kim", "pw", project("admin")),
			"wrong, no project": authBody("kim", "wrong", project("nowhere")),
		} {
			counted := c.count(`SELECT sum(failed_count) FROM identity_logins`)
			r := c.send("", "POST", "/v3/auth/tokens", body)
			if n := c.count(`SELECT sum(failed_count) FROM identity_logins`); r.code == 401 && name != "no project" && name != "no role" && n != counted+1 {
				t.Errorf("%s: %d failures were written down, not one: the answer would come sooner or later than another's", name, n-counted)
			}
			if r.code != 401 || r.raw != want.raw || !sameHeaders(r.header, want.header) {
				t.Errorf("%s: %d %s %v, want %s %v", name, r.code, r.raw, r.header, want.raw, want.header)
			}
		}
	})
}

func sameHeaders(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if k != "X-Openstack-Request-Id" && a.Get(k) != b.Get(k) {
			return false
		}
	}
	return true
}

func TestInactivity(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\ndisable_user_account_days_inactive = 3\n")
		busy := c.create("user", `{"name":"busy","password":"pw"}`)
		idle := c.create("user", `{"name":"idle","password":"pw"}`)
		exempt := c.create("user", `{"name":"exempt","password":"pw","options":{"ignore_user_inactivity":true}}`)
		enabled := func(id string) any { return c.must(200, "GET", "/v3/users/"+id, "").at("user.enabled") }
		for range 2 {
			c.step(oneDay)
			c.login("busy", "pw", "")
		}
		if enabled(idle) != true || enabled(busy) != true {
			t.Error("not yet")
		}
		c.step(oneDay)
		if enabled(idle) != false || enabled(busy) != true || enabled(exempt) != true {
			t.Error("after three days: idle ", enabled(idle), " busy ", enabled(busy), " exempt ", enabled(exempt))
		}
		c.wantLogin("idle", "pw", 401, plain401)
		if r := c.must(200, "GET", "/v3/users?enabled=false", ""); r.str("users.0.id") != idle || len(r.at("users").([]any)) != 1 {
			t.Error(r.raw)
		}
		c.must(200, "PATCH", "/v3/users/"+idle, `{"user":{"enabled":true}}`)
		c.wantLogin("idle", "pw", 201, "")
		c.step(2 * oneDay)
		c.wantLogin("idle", "pw", 201, "")
	})
}

// The token of an account that became inactive ends with it.
func TestInactivityEndsTokens(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), "[security_compliance]\ndisable_user_account_days_inactive = 2\n[token]\nexpiration = 200000\n")
	c.create("user", `{"name":"kim","password":"pw"}`)
	tok := c.login("kim", "pw", "")
	c.step(oneDay)
	c.as(tok, 200, "GET", "/v3/auth/projects", "")
	c.step(oneDay)
	c.as(tok, 401, "GET", "/v3/auth/projects", "")
	if c.valid(tok) != 404 {
		t.Error("the token is still good")
	}
}

// Whoever may log on to the machine always gets back in.
func TestWayBackIn(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), "[security_compliance]\nlockout_failure_attempts = 1\ndisable_user_account_days_inactive = 1\npassword_regex = only this\nchange_password_upon_first_use = true\n")
	c.shift.Add(int64(oneDay))
	c.wantLogin("admin", "secret", 401, plain401) // inactive
	c.failLogins("admin", 1)
	if err := c.svc.SetPassword(context.Background(), "Default", "admin", "fresh"); err != nil {
		t.Fatal(err)
	}
	c.wantLogin("admin", "fresh", 201, "")
}
