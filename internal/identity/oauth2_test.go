package identity_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"
)

func (c *cloud) form(path, body string, header ...string) reply {
	c.t.Helper()
	return c.send("", "POST", path, body, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func TestOAuth2(t *testing.T) {
	stepped(t, func(t *testing.T, c *cloud) {
		user, proj := c.tenant("kim")
		tok := c.login("kim", "pw-kim", project("kim"))
		end := c.now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
		made := c.as(tok, 201, "POST", "/v3/users/"+user+"/application_credentials", `{"application_credential":{"name":"ci","roles":[{"name":"reader"}],"expires_at":"`+end+`"}}`)
		id, secret := made.str("application_credential.id"), made.str("application_credential.secret")
		const path, grant = "/v3/OS-OAUTH2/token", "grant_type=client_credentials"

		r := c.form(path, grant, "Authorization", basic(id, secret))
		token, _ := r.body["access_token"].(string)
		if left, _ := r.body["expires_in"].(float64); r.code != 200 || r.str("token_type") != "Bearer" || left < 3500 || left > 3600 || r.header.Get("Cache-Control") != "no-store" {
			t.Fatal(r.code, r.raw)
		}
		if r := c.form(path, grant+"&client_id="+id+"&client_secret="+url.QueryEscape(secret)); r.code != 200 {
			t.Error("in the body: ", r.raw)
		}
		// The token is one like any other.
		if r := c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token); r.code != 200 || r.str("token.application_credential.id") != id || r.str("token.project.id") != proj || r.str("token.user.id") != user {
			t.Error(r.raw)
		}
		c.as(token, 200, "GET", "/v3/auth/projects", "")
		for header, code := range map[string]int{"Bearer " + token: 200, "bearer " + token: 200, "Bearer x": 401, "Basic " + token: 401, "Bearer": 401} {
			if r := c.send("", "GET", "/v3/auth/projects", "", "Authorization", header); r.code != code {
				t.Errorf("%.10s: %d", header, r.code)
			}
		}
		if r := c.send("x", "GET", "/v3/auth/projects", "", "Authorization", "Bearer "+token); r.code != 401 {
			t.Error("X-Auth-Token comes first: ", r.code)
		}

		for _, f := range []struct {
			body, auth, code, text string
			status                 int
		}{
			{"", basic(id, secret), "invalid_request", "The parameter grant_type is required.", 400},
			{"grant_type=password", basic(id, secret), "unsupported_grant_type", "The parameter grant_type password is not supported.", 400},
			{grant, "", "invalid_client", "Client authentication failed.", 401},
			{grant, basic(id, ""), "invalid_client", "Client authentication failed.", 401},
			{grant, basic("", secret), "invalid_client", "Client authentication failed.", 401},
			{grant, "Basic !", "invalid_client", "Client authentication failed.", 401},
			{grant, basic(id, "wrong"), "invalid_client", "The request you have made requires authentication.", 401},
			{grant, basic("nobody", "wrong"), "other_error", "An unknown error occurred and failed to get an OAuth2.0 access token.", 404},
		} {
			r := c.form(path, f.body, "Authorization", f.auth)
			if r.code != f.status || r.str("error") != f.code || r.str("error_description") != f.text || (r.header.Get("WWW-Authenticate") != "") != (f.status == 401) {
				t.Errorf("%+v: %d %s %v", f, r.code, r.raw, r.header)
			}
		}
		if r := c.send("", "POST", path, `{"grant_type":"client_credentials"}`, "Authorization", basic(id, secret)); r.code != 400 || r.str("error") != "invalid_request" {
			t.Error("JSON is no form: ", r.raw)
		}
		for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
			if r := c.send("", method, path, ""); r.code != 405 || r.str("error") != "other_error" {
				t.Error(method, r.code, r.raw)
			}
		}
		c.shift.Store(int64(2 * time.Hour))
		if r := c.form(path, grant, "Authorization", basic(id, secret)); r.code != 401 {
			t.Error("the credential has expired: ", r.raw)
		}
		if strings.Contains(r.raw, secret) {
			t.Error("the secret goes back")
		}
	})
}
