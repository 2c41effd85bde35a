package identity_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// consumer signs requests as OAuth 1.0's clients do.
type consumer struct {
	*cloud
	id, secret string
}

// header signs a request to a path with the token's secret. Further parameters come in pairs.
func (c consumer) header(path, tokenSecret string, params ...string) string {
	v := url.Values{"oauth_consumer_key": {c.id}, "oauth_nonce": {"abc123"}, "oauth_timestamp": {fmt.Sprint(c.now().Unix())}, "oauth_signature_method": {"HMAC-SHA1"}, "oauth_version": {"1.0"}}
	for i := 0; i+1 < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	h := hmac.New(sha1.New, []byte(c.secret+"&"+tokenSecret))
	h.Write([]byte("POST&" + url.QueryEscape(endpoint+"/identity"+path) + "&" + url.QueryEscape(v.Encode())))
	v.Set("oauth_signature", base64.StdEncoding.EncodeToString(h.Sum(nil)))
	var out []string
	for name := range v {
		out = append(out, name+`="`+url.QueryEscape(v.Get(name))+`"`)
	}
	return "OAuth " + strings.Join(out, ", ")
}

func (c consumer) ask(project string, params ...string) reply {
	const path = "/v3/OS-OAUTH1/request_token"
	return c.send("", "POST", path, "", "Authorization", c.header(path, "", append([]string{"oauth_callback", "oob"}, params...)...), "Requested-Project-Id", project)
}

func (c consumer) access(token, secret, verifier string) reply {
	const path = "/v3/OS-OAUTH1/access_token"
	return c.send("", "POST", path, "", "Authorization", c.header(path, secret, "oauth_token", token, "oauth_verifier", verifier))
}

func (c consumer) auth(token, secret, extra string) (string, reply) {
	const path = "/v3/auth/tokens"
	r := c.send("", "POST", path, `{"auth":{"identity":{"methods":["oauth1"],"oauth1":{}}`+extra+`}}`, "Authorization", c.header(path, secret, "oauth_token", token))
	return r.header.Get("X-Subject-Token"), r
}

// pair is the token of a form.
func (r reply) pair(t *testing.T) (token, secret string) {
	t.Helper()
	v, err := url.ParseQuery(r.raw)
	if r.code != 201 || err != nil || r.header.Get("Content-Type") != "application/x-www-form-urlencoded" || v.Get("oauth_expires_at") == "" {
		t.Fatal(r.code, r.raw, r.header)
	}
	return v.Get("oauth_token"), v.Get("oauth_token_secret")
}

func TestOAuth1(t *testing.T) {
	stepped(t, func(t *testing.T, c *cloud) {
		adminUser := c.must(200, "GET", "/v3/users?name=admin", "").str("users.0.id")
		proj := c.must(200, "GET", "/v3/projects?name=admin", "").str("projects.0.id")
		newConsumer := func() consumer {
			r := c.must(201, "POST", "/v3/OS-OAUTH1/consumers", `{"consumer":{}}`)
			return consumer{c, r.str("consumer.id"), r.str("consumer.secret")}
		}
		k, other := newConsumer(), newConsumer()

		// Asking.
		if r := k.send("", "POST", "/v3/OS-OAUTH1/request_token", "", "Requested-Project-Id", proj); r.code != 400 {
			t.Error(r.raw)
		}
		if r := k.ask(""); r.code != 400 || r.message() != "Expecting to find Requested-Project-Id in request."+malformed {
			t.Error(r.raw)
		}
		if r := k.ask("nowhere"); r.code != 404 {
			t.Error(r.raw)
		}
		if r := (consumer{c, "nobody", "x"}).ask(proj); r.code != 404 || r.message() != "Consumer not found" {
			t.Error(r.raw)
		}
		if r := (consumer{c, k.id, other.secret}).ask(proj); r.code != 401 {
			t.Error("another secret: ", r.raw)
		}
		if r := k.ask(proj, "oauth_timestamp", fmt.Sprint(c.now().Add(-time.Hour).Unix())); r.code != 400 || !strings.Contains(r.message(), "differ from allowed by over 600 seconds") {
			t.Error("old: ", r.raw)
		}
		token, secret := k.ask(proj).pair(t)

		// Authorising.
		authorize := "/v3/OS-OAUTH1/authorize/" + token
		user, _ := c.tenant("kim")
		c.as(c.login("kim", "pw-kim", project("kim")), 403, "PUT", authorize, `{"roles":[{"name":"member"}]}`)
		if r := k.access(token, secret, "aBcD2345"); r.code != 401 {
			t.Error("not authorised: ", r.raw)
		}
		if r := k.access(token, secret, ""); r.code != 400 {
			t.Error("without a verifier: ", r.raw)
		}
		c.must(401, "PUT", authorize, `{"roles":[{"name":"service"}]}`) // the admin does not have it
		c.must(404, "PUT", "/v3/OS-OAUTH1/authorize/nothing", `{"roles":[{"name":"member"}]}`)
		c.must(400, "PUT", authorize, `{"roles":"member"}`)
		verifier := c.must(200, "PUT", authorize, `{"roles":[{"name":"member"},{"id":"`+c.role("member")+`"}]}`).str("token.oauth_verifier")
		if len(verifier) != 8 || strings.ContainsAny(verifier, "jiIl1oO0") {
			t.Error(verifier)
		}

		// Exchanging.
		for what, r := range map[string]reply{"another verifier": k.access(token, secret, "aaaaaaaa"), "another secret": k.access(token, "x", verifier), "another consumer": other.access(token, secret, verifier)} {
			if r.code != 401 {
				t.Errorf("%s: %d %s", what, r.code, r.raw)
			}
		}
		access, accessSecret := k.access(token, secret, verifier).pair(t)
		if r := k.access(token, secret, verifier); r.code != 404 {
			t.Error("a request token is for once: ", r.raw)
		}
		path := "/v3/users/" + adminUser + "/OS-OAUTH1/access_tokens"
		r := c.must(200, "GET", path+"/"+access, "")
		if r.str("access_token.consumer_id") != k.id || r.str("access_token.authorizing_user_id") != adminUser || r.str("access_token.project_id") != proj || strings.Contains(r.raw, accessSecret) {
			t.Error(r.raw)
		}
		if r := c.must(200, "GET", path, ""); r.str("access_tokens.0.id") != access {
			t.Error(r.raw)
		}
		if r := c.must(200, "GET", path+"/"+access+"/roles", ""); r.str("roles.0.name") != "member" || len(r.at("roles").([]any)) != 1 {
			t.Error(r.raw)
		}
		c.must(200, "GET", path+"/"+access+"/roles/"+c.role("member"), "")
		c.must(404, "GET", path+"/"+access+"/roles/"+c.role("admin"), "")
		c.must(404, "GET", "/v3/users/"+user+"/OS-OAUTH1/access_tokens/"+access, "")

		// Using.
		tok, r := k.auth(access, accessSecret, "")
		if r.code != 201 || r.str("token.user.id") != adminUser || r.str("token.project.id") != proj || r.str("token.OS-OAUTH1.access_token_id") != access || r.str("token.OS-OAUTH1.consumer_id") != k.id ||
			strings.Join(roleNames(r, "token.roles"), " ") != "member reader" || r.str("token.methods.0") != "oauth1" {
			t.Fatal(r.raw)
		}
		if r := c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", tok); r.code != 200 || r.str("token.OS-OAUTH1.access_token_id") != access || len(r.at("token.roles").([]any)) != 2 {
			t.Error(r.raw)
		}
		c.as(tok, 200, "GET", "/v3/auth/projects", "")
		if _, r := k.auth(access, accessSecret, `,"scope":{"system":{"all":true}}`); r.code != 201 || r.at("token.system") != nil || r.str("token.project.id") != proj {
			t.Error("an access token is for its project: ", r.raw)
		}
		for what, f := range map[string]func() (string, reply){"another secret": func() (string, reply) { return k.auth(access, "x", "") }, "another consumer": func() (string, reply) { return other.auth(access, accessSecret, "") }} {
			if _, r := f(); r.code != 401 {
				t.Errorf("%s: %s", what, r.raw)
			}
		}
		if _, r := k.auth("nothing", accessSecret, ""); r.code != 404 {
			t.Error(r.raw)
		}
		// Lent is lent.
		if _, r := c.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + tok + `"}}}}`); r.code != 403 || !strings.Contains(r.message(), "OAuth-scoped") {
			t.Error(r.raw)
		}
		c.as(tok, 403, "POST", "/v3/users/"+adminUser+"/application_credentials", `{"application_credential":{"name":"x"}}`)
		c.as(tok, 403, "POST", "/v3/credentials", blobOf(adminUser, proj, "x", ""))
		c.as(tok, 403, "GET", "/v3/OS-TRUST/trusts?trustor_user_id="+adminUser, "")
		admins, adminSecret := k.ask(proj).pair(t)
		v2 := c.must(200, "PUT", "/v3/OS-OAUTH1/authorize/"+admins, `{"roles":[{"name":"admin"}]}`).str("token.oauth_verifier")
		strong, strongSecret := k.access(admins, adminSecret, v2).pair(t)
		strongTok, r := k.auth(strong, strongSecret, "")
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		again, _ := k.ask(proj).pair(t)
		c.as(strongTok, 403, "PUT", "/v3/OS-OAUTH1/authorize/"+again, `{"roles":[{"name":"admin"}]}`)
		c.as(strongTok, 403, "DELETE", path+"/"+access, "")
		// An EC2 credential made by it is worth as much as it is.
		c.must(201, "POST", "/v3/credentials", blobOf(adminUser, proj, "oauth", `,"access_token_id":"`+access+`"`))
		if r := c.send(c.serviceToken(), "POST", "/v3/ec2tokens", ec2Body("oauth", "s", c.now())); r.code != 200 || r.str("token.OS-OAUTH1.access_token_id") != access || len(r.at("token.roles").([]any)) != 2 {
			t.Error(r.raw)
		}

		// Ending: the access token, the consumer, the time.
		c.must(204, "DELETE", path+"/"+access, "")
		if c.valid(tok) != 404 {
			t.Error("its access token was revoked")
		}
		c.must(204, "DELETE", "/v3/OS-OAUTH1/consumers/"+k.id, "")
		if _, r := k.auth(strong, strongSecret, ""); r.code != 404 || c.valid(strongTok) != 404 {
			t.Error("the consumer is gone: ", r.raw)
		}
		late, lateSecret := other.ask(proj).pair(t)
		v3 := c.must(200, "PUT", "/v3/OS-OAUTH1/authorize/"+late, `{"roles":[{"name":"member"}]}`).str("token.oauth_verifier")
		c.shift.Store(int64(9 * time.Hour))
		if r := other.access(late, lateSecret, v3); r.code != 401 {
			t.Error("the request token is over: ", r.raw)
		}
	})
}
