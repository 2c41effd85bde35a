package identity_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

const (
	plain401 = "The request you have made requires authentication."
	oneDay   = 24 * time.Hour
)

// try logs in unscoped and gives status and message.
func (c *cloud) try(user, password string) (int, string) {
	c.t.Helper()
	r := c.send("", "POST", "/v3/auth/tokens", authBody(user, password, ""))
	return r.code, r.message()
}

func (c *cloud) wantLogin(user, password string, code int, message string) {
	c.t.Helper()
	if got, m := c.try(user, password); got != code || m != message {
		c.t.Errorf("login of %s: %d %q, want %d %q", user, got, m, code, message)
	}
}

// ownPassword changes a password as its user, without a token.
func (c *cloud) ownPassword(id, from, to string, code int, message string) {
	c.t.Helper()
	r := c.send("", "POST", "/v3/users/"+id+"/password", `{"user":{"original_password":"`+from+`","password":"`+to+`"}}`)
	if r.code != code || r.message() != message {
		c.t.Errorf("password %s to %s: %d %q, want %d %q", from, to, r.code, r.message(), code, message)
	}
}

func TestPasswordRegex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\npassword_regex = ^(?=.*\\d)(?=.*[a-zA-Z]).{7,}$\npassword_regex_description = seven characters with a digit\n")
		const refusal = "The password does not match the requirements: seven characters with a digit."
		for _, bad := range []string{"short1", "nodigits", "12345678"} {
			if r := c.send(c.admin, "POST", "/v3/users", `{"user":{"name":"kim","password":"`+bad+`"}}`); r.code != 400 || r.message() != refusal {
				t.Error(bad, r.code, r.raw)
			}
		}
		if r := c.send(c.admin, "POST", "/v3/users", `{"user":{"name":"kim","password":null}}`); r.code != 400 || r.message() != "Password validation error: Password must be a string type." {
			t.Error(r.code, r.raw)
		}
		id := c.create("user", `{"name":"kim","password":"longer1than"}`)
		if r := c.send(c.admin, "PATCH", "/v3/users/"+id, `{"user":{"password":"weak"}}`); r.code != 400 || r.message() != refusal {
			t.Error(r.code, r.raw)
		}
		c.ownPassword(id, "longer1than", "weak", 400, refusal)
		c.ownPassword(id, "wrong", "weak", 401, plain401)
		c.wantLogin("kim", "longer1than", 201, "")
		// What the rules are can be read in the default domain's configuration.
		const at = "/v3/domains/default/config/security_compliance"
		if r := c.must(200, "GET", at, ""); r.str("config.security_compliance.password_regex_description") != "seven characters with a digit" {
			t.Error(r.raw)
		}
		if r := c.must(200, "GET", at+"/password_regex", ""); r.str("config.password_regex") != `^(?=.*\d)(?=.*[a-zA-Z]).{7,}$` {
			t.Error(r.raw)
		}
		if r := c.send(c.admin, "GET", at+"/lockout_duration", ""); r.code != 403 {
			t.Error(r.code, r.raw)
		}
	})
}

func TestPasswordHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\nunique_last_password_count = 3\n")
		const refusal = "The new password cannot be identical to a previous password. The total number which includes the new password must be unique is 3."
		id := c.create("user", `{"name":"kim","password":"p0"}`)
		c.ownPassword(id, "p0", "p0", 400, refusal)
		c.ownPassword(id, "p0", "p1", 204, "")
		c.ownPassword(id, "p1", "p2", 204, "")
		c.ownPassword(id, "p2", "p0", 400, refusal)
		c.ownPassword(id, "p2", "p1", 400, refusal)
		c.wantLogin("kim", "p2", 201, "")
		c.ownPassword(id, "p2", "p3", 204, "")
		c.ownPassword(id, "p3", "p0", 204, "") // out of the last three
		// An administrator may give any, and it stands in the list then.
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"password":"p3"}}`)
		c.ownPassword(id, "p3", "p0", 400, refusal)
		if n := c.count(`SELECT count(*) FROM identity_passwords WHERE user_id = $1`, id); n != 4 {
			t.Errorf("%d passwords are kept", n)
		}
		c.must(204, "DELETE", "/v3/users/"+id, "")
		if n := c.count(`SELECT count(*) FROM identity_passwords WHERE user_id = $1`, id); n != 0 {
			t.Errorf("%d passwords outlive their user", n)
		}
	})
}

func (c *cloud) count(query string, args ...any) (n int64) {
	c.t.Helper()
	err := c.d.Read(context.Background(), func(tx *db.Tx) (err error) {
		n, err = db.One(tx, db.Value[int64], query, args...)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// A user of before there was a list of passwords.
func TestPasswordHistoryBegins(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\nunique_last_password_count = 2\nminimum_password_age = 1\n")
		id := c.create("user", `{"name":"kim","password":"p0"}`)
		for _, q := range []string{`DELETE FROM identity_passwords`, `DELETE FROM identity_logins`} {
			if err := d.Write(context.Background(), func(tx *db.Tx) error { _, err := tx.Exec(q); return err }); err != nil {
				t.Fatal(err)
			}
		}
		const refusal = "The new password cannot be identical to a previous password. The total number which includes the new password must be unique is 2."
		c.ownPassword(id, "p0", "p0", 400, refusal)
		c.ownPassword(id, "p0", "p1", 204, "")
		c.step(oneDay)
		c.ownPassword(id, "p1", "p0", 400, refusal)
	})
}

func TestMinimumPasswordAge(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\nminimum_password_age = 2\n")
		id := c.create("user", `{"name":"kim","password":"p0"}`)
		c.ownPassword(id, "p0", "p1", 204, "") // an administrator gave the first one
		message := func(left string) string {
			return "You cannot change your password at this time due to the minimum password age. Once you change your password, it must be used for 2 day(s) before it can be changed. " +
				"Please try again in " + left + " day(s) or contact your administrator to reset your password."
		}
		c.ownPassword(id, "p1", "p2", 400, message("1"))
		c.step(oneDay)
		c.ownPassword(id, "p1", "p2", 400, message("0"))
		c.step(oneDay)
		c.ownPassword(id, "p1", "p2", 204, "")
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"password":"p3"}}`)
		c.ownPassword(id, "p3", "p4", 204, "")
	})
}

func TestPasswordExpiry(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "")
		old := c.create("user", `{"name":"old","password":"p"}`)
		c.configure("[security_compliance]\npassword_expires_days = 10\n")
		r := c.must(201, "POST", "/v3/users", `{"user":{"name":"kim","password":"p0"}}`)
		id, at := r.str("user.id"), r.str("user.password_expires_at")
		if want := c.now().UTC().Add(10 * oneDay).Format("2006-01-02T15:04:"); !strings.HasPrefix(at, want) || !strings.HasSuffix(at, ".000000Z") {
			t.Errorf("password_expires_at %s, want %s…", at, want)
		}
		if _, r := c.loginWith(authBody("kim", "p0", "")); r.str("token.user.password_expires_at") != at {
			t.Error(r.raw)
		}
		exempt := c.create("user", `{"name":"exempt","password":"p"}`)
		c.must(200, "PATCH", "/v3/users/"+exempt, `{"user":{"options":{"ignore_password_expiry":true}}}`)
		c.step(10*oneDay + time.Second)
		over := "The password is expired and needs to be changed for user: " + id + "."
		c.wantLogin("kim", "p0", 401, over)
		c.wantLogin("kim", "wrong", 401, plain401)
		c.wantLogin("exempt", "p", 201, "")
		c.wantLogin("old", "p", 201, "") // passwords of before are not touched
		filter := func(query string) (ids []string) {
			for _, u := range c.must(200, "GET", "/v3/users?password_expires_at="+query, "").at("users").([]any) {
				ids = append(ids, u.(map[string]any)["id"].(string))
			}
			return ids
		}
		now := c.now().UTC().Format("2006-01-02T15:04:05Z")
		if got := filter("lt:" + now); !same(got, id, exempt) {
			t.Errorf("lt: %v", got)
		}
		if got := filter("gt:" + now); len(got) != 0 {
			t.Errorf("gt: %v", got)
		}
		if got := filter(at); !same(got, id) && !same(got, id, exempt) {
			t.Errorf("without operator: %v", got)
		}
		if got := filter("neq:" + now); !same(got, id, exempt) {
			t.Errorf("neq: %v", got)
		}
		for query, message := range map[string]string{
			"lt:soon":   "Timestamp not in expected format." + malformed,
			"xx:" + now: "The given operator xx is not valid. It must be one of the following: 'eq', 'neq', 'lt', 'lte', 'gt', or 'gte'.",
		} {
			if r := c.send(c.admin, "GET", "/v3/users?password_expires_at="+query, ""); r.code != 400 || r.message() != message {
				t.Error(query, r.code, r.raw)
			}
		}
		group := c.create("group", `{"name":"g"}`)
		c.must(204, "PUT", "/v3/groups/"+group+"/users/"+id, "")
		c.must(204, "PUT", "/v3/groups/"+group+"/users/"+old, "")
		if r := c.must(200, "GET", "/v3/groups/"+group+"/users?password_expires_at=lt:"+now, ""); len(r.at("users").([]any)) != 1 || r.str("users.0.id") != id {
			t.Error(r.raw)
		}
		// A password that is over can be changed, without a token.
		c.ownPassword(id, "p0", "p1", 204, "")
		c.wantLogin("kim", "p1", 201, "")
	})
}

func same(got []string, want ...string) bool {
	if len(got) != len(want) {
		return false
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(got, " "), w) {
			return false
		}
	}
	return true
}

func TestChangeUponFirstUse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, "[security_compliance]\nchange_password_upon_first_use = true\n")
		id := c.create("user", `{"name":"kim","password":"p0"}`)
		over := "The password is expired and needs to be changed for user: " + id + "."
		c.wantLogin("kim", "p0", 401, over)
		c.ownPassword(id, "p0", "p1", 204, "")
		c.wantLogin("kim", "p1", 201, "")
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"password":"p2"}}`)
		c.wantLogin("kim", "p2", 401, over)
		c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"password":"p3","options":{"ignore_change_password_upon_first_use":true}}}`)
		c.wantLogin("kim", "p3", 201, "")
		if err := c.svc.SetPassword(context.Background(), "Default", "kim", "p4"); err != nil {
			t.Fatal(err)
		}
		c.wantLogin("kim", "p4", 201, "")
	})
}

func TestLockPassword(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	id := c.create("user", `{"name":"kim","password":"p0","options":{"lock_password":true}}`)
	c.ownPassword(id, "p0", "p1", 400, "You cannot change your password at this time due to password policy disallowing password changes. Please contact your administrator to reset your password.")
	c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"options":{"lock_password":null}}}`)
	c.ownPassword(id, "p0", "p1", 204, "")
}

// Upstream's own wording: the right password of a disabled account may know that it is disabled, when it wants to change.
func TestDisabledUserMayNotChange(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	id := c.create("user", `{"name":"kim","password":"p0","enabled":false}`)
	c.ownPassword(id, "p0", "p1", 401, "The account is disabled for user: "+id+".")
	c.ownPassword(id, "px", "p1", 401, plain401)
	c.ownPassword("nobody", "px", "p1", 401, plain401)
	c.wantLogin("kim", "p0", 401, plain401)
}

func TestNoPassword(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	id := c.create("user", `{"name":"kim","password":"p0"}`)
	tok := c.login("kim", "p0", "")
	c.must(200, "PATCH", "/v3/users/"+id, `{"user":{"password":null}}`)
	c.wantLogin("kim", "p0", 401, plain401)
	c.wantLogin("kim", "", 401, plain401)
	if c.valid(tok) != 200 {
		t.Error("upstream revokes nothing when a password is taken away")
	}
}

func TestStrictPasswordLength(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), "[DEFAULT]\nstrict_password_check = true\n[identity]\nmax_password_length = 20\n")
	const refusal = "The password length must be less than or equal to 20. The server could not comply with the request because the password is invalid."
	long := strings.Repeat("x", 21)
	if r := c.send(c.admin, "POST", "/v3/users", `{"user":{"name":"kim","password":"`+long+`"}}`); r.code != 403 || r.message() != refusal {
		t.Error(r.code, r.raw)
	}
	id := c.create("user", `{"name":"kim","password":"`+long[:20]+`"}`)
	c.wantLogin("kim", long, 403, refusal)
	c.wantLogin("nobody", long, 403, refusal)
	c.ownPassword(id, long[:20], long, 403, refusal)
	c.wantLogin("kim", long[:20], 201, "")
}
