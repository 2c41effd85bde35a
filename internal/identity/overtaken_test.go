package identity_test

import (
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// A change of the password may be answered while a login with the old one, or an exchange of an old token, is at work, at any of its steps. Whatever
// comes of it must not be worth anything afterwards: the change has voided what was made before it.
func TestNoTokenOutlivesTheRevocationThatOvertookIt(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, _ := c.tenant("ann")
		password := "pw-ann"
		// The service looks at the clock between its steps.
		looked, at := 0, -1
		var change func()
		c.tick = func() {
			if looked++; looked-1 == at {
				at = -1
				change()
			}
		}
		overtaken := func(name, body string, next string) bool {
			for step := range 20 {
				change = func() { c.must(200, "PATCH", "/v3/users/"+user, `{"user":{"password":"`+next+`"}}`) }
				looked, at = 0, step
				token, r := c.loginWith(body)
				if at >= 0 { // the login was over before
					at = -1
					return step > 1
				}
				if r.code == 201 && c.valid(token) != 404 {
					t.Errorf("%s: a token outlived the change of the password at step %d", name, step)
				}
				c.must(200, "PATCH", "/v3/users/"+user, `{"user":{"password":"`+password+`"}}`)
				if name == "token" {
					body = exchangeBody(c.login("ann", password, ""), project("ann"))
				}
			}
			return false
		}
		if !overtaken("password", authBody("ann", password, project("ann")), "next-password") {
			t.Error("a login has no steps to come in between")
		}
		if !overtaken("token", exchangeBody(c.login("ann", password, ""), project("ann")), "next-password") {
			t.Error("an exchange has no steps to come in between")
		}
		// A revocation that takes nothing from the login itself only makes it begin anew.
		group := c.create("group", `{"name":"g"}`)
		for step := range 3 {
			c.must(204, "PUT", "/v3/groups/"+group+"/users/"+user, "")
			change = func() { c.must(204, "DELETE", "/v3/groups/"+group+"/users/"+user, "") }
			looked, at = 0, step
			_, r := c.loginWith(authBody("ann", password, project("ann")))
			if at = -1; r.code != 201 {
				t.Errorf("leaving a group at step %d ended a login: %d %s", step, r.code, r.raw)
			}
		}
	})
}

func exchangeBody(token, scope string) string {
	return `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + token + `"}},` + scope + `}}`
}

// On PostgreSQL a user may be enabled, by a request that has not committed, while another that disables still reads "disabled". What was made in
// between must not come to life when the user is enabled later.
func TestDisablingVoidsWhateverItRead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, project := c.tenant("ann")
		epochs := func() (out [2]int64) {
			t.Helper()
			err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
				if out[0], err = db.One(tx, db.Value[int64], `SELECT epoch FROM identity_users WHERE id = $1`, user); err != nil {
					return err
				}
				out[1], err = db.One(tx, db.Value[int64], `SELECT epoch FROM identity_projects WHERE id = $1`, project)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		for range 2 {
			before := epochs()
			c.must(200, "PATCH", "/v3/users/"+user, `{"user":{"enabled":false}}`)
			c.must(200, "PATCH", "/v3/projects/"+project, `{"project":{"enabled":false}}`)
			if after := epochs(); after[0] == before[0] || after[1] == before[1] {
				t.Errorf("epochs stay at %v", after)
			}
		}
	})
}
