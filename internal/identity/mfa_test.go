package identity_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/identity"
)

const (
	totpSecret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // RFC 6238's
	withTOTP   = "[auth]\nmethods = password,token,application_credential,totp\n"
)

// authWith is a body with methods: "password:secret", "totp:123456".
func authWith(user string, methods ...string) string {
	var names, data []string
	for _, m := range methods {
		name, secret, _ := strings.Cut(m, ":")
		member := map[string]string{"password": "password", "totp": "passcode"}[name]
		names = append(names, `"`+name+`"`)
		data = append(data, `"`+name+`":{"user":{"name":"`+user+`","domain":{"id":"default"},"`+member+`":"`+secret+`"}}`)
	}
	return `{"auth":{"identity":{"methods":[` + strings.Join(names, ",") + `],` + strings.Join(data, ",") + `}}}`
}

func (c *cloud) code(step int64) string {
	return "totp:" + identity.TOTPCode(totpSecret, c.now().Unix()/30+step)
}

// totpUser makes a user with a secret and rules.
func (c *cloud) totpUser(name, rules string) string {
	c.t.Helper()
	id := c.create("user", `{"name":"`+name+`","password":"pw","options":{"multi_factor_auth_rules":`+rules+`}}`)
	c.create("credential", `{"type":"totp","user_id":"`+id+`","blob":"`+totpSecret+`"}`)
	return id
}

// align steps to the beginning of a passcode's period.
func (c *cloud) align() {
	c.shift.Add(int64(30*time.Second) - c.now().UnixNano()%int64(30*time.Second) + int64(time.Second))
}

func (c *cloud) auth(body string, header ...string) reply {
	c.t.Helper()
	return c.send("", "POST", "/v3/auth/tokens", body, header...)
}

func (c *cloud) wantAuth(code int, body string, header ...string) reply {
	c.t.Helper()
	r := c.auth(body, header...)
	if r.code != code {
		c.t.Errorf("%s: %d %s, want %d", body, r.code, r.raw, code)
	}
	return r
}

func TestTOTP(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, withTOTP)
		id := c.totpUser("kim", "[]")
		c.align()
		r := c.wantAuth(201, authWith("kim", c.code(0)))
		if diff := cmp.Diff([]any{"totp"}, r.at("token.methods")); diff != "" {
			t.Error(diff)
		}
		// No passcode is accepted twice, nor one before it.
		c.wantAuth(401, authWith("kim", c.code(0)))
		c.wantAuth(401, authWith("kim", c.code(-1)))
		c.shift.Add(int64(30 * time.Second))
		c.wantAuth(401, authWith("kim", c.code(1)))  // not yet
		c.wantAuth(401, authWith("kim", c.code(-1))) // used
		c.wantAuth(201, authWith("kim", c.code(0)))
		c.shift.Add(int64(60 * time.Second))
		c.wantAuth(201, authWith("kim", c.code(-1))) // the one before is accepted, too
		c.shift.Add(int64(90 * time.Second))
		c.wantAuth(401, authWith("kim", c.code(-2)))
		for _, bad := range []string{"totp:000000", "totp:", "totp:12345678"} {
			r := c.wantAuth(401, authWith("kim", bad))
			if r.message() != plain401 {
				t.Error(r.raw)
			}
		}
		c.wantAuth(401, authWith("nobody", c.code(0)))
		c.wantAuth(401, `{"auth":{"identity":{"methods":["totp"],"totp":{"user":{"id":"`+id+`","passcode":123456}}}}}`)
		if r := c.wantAuth(400, `{"auth":{"identity":{"methods":["totp"],"totp":{}}}}`); r.message() != "Expecting to find user in None."+malformed {
			t.Error(r.raw)
		}
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"enabled":false}}`)
		c.wantAuth(401, authWith("kim", c.code(0)))
	})
}

// Of many uses of one passcode at once one is accepted.
func TestTOTPOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, withTOTP)
		c.totpUser("kim", "[]")
		c.align()
		body := authWith("kim", c.code(0))
		var done sync.WaitGroup
		var good atomic.Int64
		for range 20 {
			done.Go(func() {
				if c.auth(body).code == 201 {
					good.Add(1)
				}
			})
		}
		done.Wait()
		if good.Load() != 1 {
			t.Errorf("the passcode was accepted %d times", good.Load())
		}
	})
}

// A secret that cannot be used is none; another one of the same user is tried.
func TestTOTPCorruptSecret(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), withTOTP)
	id := c.create("user", `{"name":"kim","password":"pw"}`)
	for _, blob := range []string{"0", "gezdgnbvgy3tqojqgezdgnbvgy3tqojq", "GEZDGNBV", ""} {
		c.create("credential", `{"type":"totp","user_id":"`+id+`","blob":"`+blob+`"}`)
	}
	c.align()
	c.wantAuth(401, authWith("kim", c.code(0)))
	c.create("credential", `{"type":"totp","user_id":"`+id+`","blob":"`+totpSecret+`===="}`)
	c.wantAuth(201, authWith("kim", c.code(0)))
}

func TestTOTPMustBeConfigured(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.totpUser("kim", `[["password","totp"]]`)
	r := c.wantAuth(401, authWith("kim", c.code(0)))
	if r.message() != "Attempted to authenticate with an unsupported method." || len(r.at("error.identity.methods").([]any)) != 6 {
		t.Error(r.raw)
	}
	// A rule is read without the methods that are not offered: nobody is locked out.
	c.wantAuth(201, authWith("kim", "password:pw"))
}

// Wrong passcodes lock an account as wrong passwords do; the right password meanwhile does not clear their count.
func TestPasscodesCannotBeTriedOut(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, withTOTP+"[security_compliance]\nlockout_failure_attempts = 3\n")
		c.totpUser("kim", `[["password","totp"]]`)
		c.align()
		for range 3 {
			c.wantAuth(401, authWith("kim", "password:pw", "totp:000000"))
			c.wantAuth(401, authWith("kim", "password:pw"))
		}
		c.wantAuth(401, authWith("kim", "password:pw", c.code(0)))
		c.step(time.Hour)
		c.align()
		c.wantAuth(401, authWith("kim", "totp:000000"))
		c.wantAuth(201, authWith("kim", "password:pw", c.code(0)))
		if n := c.count(`SELECT max(failed_count) FROM identity_logins WHERE user_id <> ''`); n != 0 {
			t.Errorf("%d failures are left after a login", n)
		}
	})
}

func TestReceipts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, withTOTP)
		id := c.totpUser("kim", `[["password","totp"],["totp","application_credential"],["external"]]`)
		c.align()
		// The rule with a method that is not offered is empty and so satisfied by anything, as upstream's: take it away.
		c.wantAuth(201, authWith("kim", "password:pw"))
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"options":{"multi_factor_auth_rules":[["password","totp"],["totp","application_credential"]]}}}`)
		r := c.wantAuth(401, authWith("kim", "password:pw"))
		receipt := r.header.Get("Openstack-Auth-Receipt")
		issued := c.now().UTC().Truncate(time.Second)
		want := map[string]any{
			"receipt": map[string]any{
				"methods": []any{"password"}, "user": map[string]any{"id": id, "name": "kim", "domain": map[string]any{"id": "default", "name": "Default"}},
				"issued_at": r.str("receipt.issued_at"), "expires_at": r.str("receipt.expires_at"),
			},
			"required_auth_methods": []any{[]any{"password", "totp"}},
		}
		if diff := cmp.Diff(want, r.body); diff != "" {
			t.Error(diff)
		}
		at, err := time.Parse("2006-01-02T15:04:05.000000Z", r.str("receipt.expires_at"))
		if err != nil || at.Sub(issued) > 5*time.Minute || at.Sub(issued) < 5*time.Minute-2*time.Second {
			t.Error("expires_at ", at, issued, err)
		}
		if receipt == "" || r.header.Get("X-Subject-Token") != "" || strings.Contains(r.raw, "token") || r.header.Get("Vary") != "X-Auth-Token" {
			t.Error(r.header, r.raw)
		}
		// The other method completes it; the token shows both.
		r = c.wantAuth(201, authWith("kim", c.code(0)), "Openstack-Auth-Receipt", receipt)
		if diff := cmp.Diff([]any{"totp", "password"}, r.at("token.methods")); diff != "" {
			t.Error(diff)
		}
		// Such a token can be rescoped, since it says what it was made with.
		tok := r.header.Get("X-Subject-Token")
		c.wantAuth(201, `{"auth":{"identity":{"methods":["token"],"token":{"id":"`+tok+`"}}}}`)
		// A receipt is no token and no token a receipt.
		if c.valid(receipt) != 404 {
			t.Error("a receipt was taken for a token")
		}
		gone := func(what, receipt string) {
			t.Helper()
			c.shift.Add(int64(30 * time.Second))
			if r := c.wantAuth(401, authWith("kim", c.code(0)), "Openstack-Auth-Receipt", receipt); r.message() != "Could not find auth receipt: "+api.Redact(receipt)+"." {
				t.Error(what, r.raw)
			}
		}
		gone("a token", tok)
		gone("nonsense", "bogus")
		c.totpUser("lee", `[["password","totp"]]`)
		gone("another user's", c.wantAuth(401, authWith("lee", "password:pw")).header.Get("Openstack-Auth-Receipt"))
		fresh := func() string {
			return c.wantAuth(401, authWith("kim", "password:pw")).header.Get("Openstack-Auth-Receipt")
		}
		old := fresh()
		c.shift.Add(int64(5 * time.Minute))
		gone("an expired one", old)
		old = fresh()
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"password":"pw"}}`)
		gone("one of before the password was changed", old)
		// With both at once none is needed, in any order, and rules may be switched off.
		c.shift.Add(int64(30 * time.Second))
		c.wantAuth(201, authWith("kim", c.code(0), "password:pw"))
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"options":{"multi_factor_auth_enabled":false}}}`)
		c.wantAuth(201, authWith("kim", "password:pw"))
	})
}

// A wrong method beside a right one costs the passcode nothing.
func TestPasscodeOutlivesAWrongPassword(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), withTOTP)
	c.totpUser("kim", `[["password","totp"]]`)
	c.align()
	c.wantAuth(401, authWith("kim", c.code(0), "password:wrong"))
	c.wantAuth(201, authWith("kim", c.code(0), "password:pw"))
}

// Receipts are known to every controller, after a rotation of keys too.
func TestReceiptsOfTwoControllers(t *testing.T) {
	c := newCloudWith(t, dbtest.Postgres(t), withTOTP)
	_, other := c.controller()
	c.totpUser("kim", `[["password","totp"]]`)
	c.align()
	if err := c.svc.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	receipt := c.wantAuth(401, authWith("kim", "password:pw")).header.Get("Openstack-Auth-Receipt")
	body := authWith("kim", c.code(0))
	if r := c.sendTo(other, "", "POST", "/v3/auth/tokens", body, "Openstack-Auth-Receipt", receipt); r.code != 201 {
		t.Error(r.code, r.raw)
	}
	if r := c.auth(body, "Openstack-Auth-Receipt", receipt); r.code != 401 {
		t.Error("the other controller's passcode was accepted again: ", r.code)
	}
}

func TestRescopingCanBeForbidden(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), "[token]\nallow_rescope_scoped_token = false\n")
	rescope := func(tok string) reply {
		return c.auth(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + tok + `"}},` + project("admin") + `}}`)
	}
	if r := rescope(c.admin); r.code != 403 || r.message() != "You are not authorized to perform the requested action: rescope a scoped token." {
		t.Error(r.code, r.raw)
	}
	if r := rescope(c.login("admin", "secret", `"scope":"unscoped"`)); r.code != 201 {
		t.Error(r.code, r.raw)
	}
}
