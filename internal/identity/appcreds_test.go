package identity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// What an application credential's token may do to application credentials: nothing when it is restricted, and never more than it has itself.
func TestRestrictedAppCreds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, _ := c.tenant("kim")
		tok := c.login("kim", "pw-kim", project("kim"))
		path := "/v3/users/" + user + "/application_credentials"
		machine := func(body string) (id, token string) {
			t.Helper()
			r := c.as(tok, 201, "POST", path, `{"application_credential":`+body+`}`)
			token, login := c.appLogin(r.str("application_credential.id"), r.str("application_credential.secret"))
			if login.code != 201 {
				t.Fatal(login.raw)
			}
			return r.str("application_credential.id"), token
		}
		id, restricted := machine(`{"name":"restricted","roles":[{"name":"reader"}]}`)
		const refusal = "You are not authorized to perform the requested action: Using method 'application_credential' is not allowed for managing additional application credentials.."
		for method, at := range map[string]string{"POST": path, "DELETE": path + "/" + id} {
			body := ""
			if method == "POST" {
				body = `{"application_credential":{"name":"more"}}`
			}
			if r := c.as(restricted, 403, method, at, body); r.message() != refusal {
				t.Error(method, r.message())
			}
		}
		c.as(restricted, 200, "GET", path+"/"+id, "")
		_, unrestricted := machine(`{"name":"unrestricted","roles":[{"name":"reader"}],"unrestricted":true}`)
		c.as(unrestricted, 400, "POST", path, `{"application_credential":{"name":"more","roles":[{"name":"member"}]}}`) // kim's, not its
		r := c.as(unrestricted, 201, "POST", path, `{"application_credential":{"name":"more"}}`)
		if got := roleNames(r, "application_credential.roles"); len(got) != 1 || got[0] != "reader" {
			t.Error(r.raw)
		}
		c.as(unrestricted, 204, "DELETE", path+"/"+r.str("application_credential.id"), "")
		// By another user's path, another user's credential stays another user's.
		other, _ := c.tenant("lee")
		lee := c.login("lee", "pw-lee", project("lee"))
		c.as(lee, 403, "GET", "/v3/users/"+other+"/application_credentials/"+id, "")
		c.as(lee, 403, "DELETE", "/v3/users/"+other+"/application_credentials/"+id, "")
		c.as(lee, 403, "POST", path, `{"application_credential":{"name":"x"}}`)
		if r := c.must(403, "POST", path, `{"application_credential":{"name":"x"}}`); !strings.Contains(r.message(), "create_application_credential") {
			t.Error(r.raw)
		}
		// The token follows the user's roles.
		c.must(204, "DELETE", "/v3/projects/"+c.must(200, "GET", "/v3/projects?name=kim", "").str("projects.0.id")+"/users/"+user+"/roles/"+c.role("member"), "")
		if c.valid(restricted) != 404 {
			t.Error("the user has no role any more")
		}
	})
}

// An access rule outlives its credential, can be used again by its id, and not by others.
func TestAccessRulesLifetime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, _ := c.tenant("kim")
		tok := c.login("kim", "pw-kim", project("kim"))
		path, rules := "/v3/users/"+user+"/application_credentials", "/v3/users/"+user+"/access_rules"
		newCred := func(name, rule string) reply {
			return c.send(tok, "POST", path, `{"application_credential":{"name":"`+name+`","access_rules":[`+rule+`]}}`)
		}
		const get = `{"path":"/v2.1/servers","method":"GET","service":"compute"}`
		one := newCred("one", get)
		rule := one.str("application_credential.access_rules.0.id")
		if r := newCred("two", get); r.str("application_credential.access_rules.0.id") != rule {
			t.Error("the same rule twice: ", r.raw)
		}
		if r := newCred("three", `{"id":"`+rule+`"}`); r.code != 201 || r.str("application_credential.access_rules.0.path") != "/v2.1/servers" {
			t.Error("by id: ", r.raw)
		}
		if r := c.as(tok, 403, "DELETE", rules+"/"+rule, ""); r.message() != "May not delete access rule in use" {
			t.Error(r.raw)
		}
		list := c.as(tok, 200, "GET", path, "")
		for _, e := range list.at("application_credentials").([]any) {
			c.as(tok, 204, "DELETE", path+"/"+e.(map[string]any)["id"].(string), "")
		}
		c.as(tok, 200, "GET", rules+"/"+rule, "")
		other, _ := c.tenant("lee")
		lee := c.login("lee", "pw-lee", project("lee"))
		c.as(lee, 404, "GET", "/v3/users/"+other+"/access_rules/"+rule, "")
		c.as(lee, 404, "DELETE", "/v3/users/"+other+"/access_rules/"+rule, "")
		c.as(lee, 404, "POST", "/v3/users/"+other+"/application_credentials", `{"application_credential":{"name":"x","access_rules":[{"id":"`+rule+`"}]}}`)
		c.as(tok, 204, "DELETE", rules+"/"+rule, "")
		c.as(tok, 404, "GET", rules+"/"+rule, "")
	})
}

func TestAppCredExpiry(t *testing.T) {
	stepped(t, func(t *testing.T, c *cloud) {
		user, _ := c.tenant("kim")
		tok := c.login("kim", "pw-kim", project("kim"))
		end := c.now().Add(time.Hour).UTC().Truncate(time.Second)
		r := c.as(tok, 201, "POST", "/v3/users/"+user+"/application_credentials", `{"application_credential":{"name":"a","expires_at":"`+end.Format(time.RFC3339)+`"}}`)
		id, secret := r.str("application_credential.id"), r.str("application_credential.secret")
		app, r := c.appLogin(id, secret)
		if r.code != 201 || r.str("token.expires_at") != end.Format("2006-01-02T15:04:05.000000Z") {
			t.Fatal("the token ends with its credential: ", r.raw)
		}
		by := func(name, secret string) reply {
			_, r := c.loginWith(`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"name":"` + name + `","user":{"name":"kim","domain":{"id":"default"}},"secret":"` + secret + `"}}}}`)
			return r
		}
		if by("a", secret).code != 201 || by("b", secret).code != 401 || by("a", "x").code != 401 {
			t.Error("by name")
		}
		c.must(200, "PATCH", "/v3/users/"+user, `{"user":{"enabled":false}}`)
		if _, r := c.appLogin(id, secret); r.code != 401 {
			t.Error("the user is disabled: ", r.raw)
		}
		c.must(200, "PATCH", "/v3/users/"+user, `{"user":{"enabled":true}}`)
		c.shift.Store(int64(61 * time.Minute))
		c.admin = c.login("admin", "secret", project("admin"))
		if _, r := c.appLogin(id, secret); r.code != 401 || c.valid(app) != 404 {
			t.Error("the credential is over: ", r.raw)
		}
	})
}
