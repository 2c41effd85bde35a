package identity_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// serviceToken is the token of a service's user: the role service on the project service.
func (c *cloud) serviceToken() string {
	c.t.Helper()
	user := c.create("user", `{"name":"nova","password":"nova"}`)
	proj := c.must(200, "GET", "/v3/projects?name=service", "").str("projects.0.id")
	c.must(204, "PUT", "/v3/projects/"+proj+"/users/"+user+"/roles/"+c.role("service"), "")
	return c.login("nova", "nova", project("service"))
}

// ec2Body is a request signed with version 2.
func ec2Body(access, secret string, at time.Time) string {
	stamp := at.UTC().Format("2006-01-02T15:04:05Z")
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte("GET\nec2.example\n/services/Cloud\nAction=X&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=" + strings.ReplaceAll(stamp, ":", "%3A")))
	return `{"credentials":{"access":"` + access + `","signature":"` + base64.StdEncoding.EncodeToString(h.Sum(nil)) + `","verb":"GET","host":"ec2.example:8773","path":"/services/Cloud",` +
		`"params":{"Action":"X","SignatureVersion":"2","Timestamp":"` + stamp + `"}}}`
}

func s3Body(access, secret, text string) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(text))
	return `{"credentials":{"access":"` + access + `","token":"` + base64.URLEncoding.EncodeToString([]byte(text)) + `","signature":"` + base64.StdEncoding.EncodeToString(h.Sum(nil)) + `"}}`
}

func TestEC2Tokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, proj := c.tenant("kim")
		tok := c.login("kim", "pw-kim", `"scope":{"project":{"id":"`+proj+`"}}`)
		service := c.serviceToken()
		r := c.as(tok, 201, "POST", "/v3/users/"+user+"/credentials/OS-EC2", `{"tenant_id":"`+proj+`"}`)
		access, secret := r.str("credential.access"), r.str("credential.secret")
		good := ec2Body(access, secret, c.now())

		c.as("", 401, "POST", "/v3/ec2tokens", good)
		c.as(tok, 403, "POST", "/v3/ec2tokens", good)
		c.as(tok, 403, "POST", "/v3/s3tokens", s3Body(access, secret, "GET"))
		r = c.as(service, 200, "POST", "/v3/ec2tokens", good)
		id := r.header.Get("X-Subject-Token")
		if r.str("token.user.id") != user || r.str("token.project.id") != proj || r.str("token.methods.0") != "ec2credential" || r.at("token.catalog") == nil || id == "" {
			t.Fatal(r.raw)
		}
		if r := c.send(service, "GET", "/v3/auth/tokens", "", "X-Subject-Token", id); r.code != 200 || r.str("token.methods.0") != "ec2credential" {
			t.Error("the token must keep its method: ", r.raw)
		}
		c.as(id, 403, "GET", "/v3/auth/projects", "") // not for identity itself
		if _, r := c.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + id + `"}}}}`); r.code != 403 {
			t.Error("a signature's token must not be exchanged: ", r.raw)
		}
		r = c.as(service, 200, "POST", "/v3/s3tokens", s3Body(access, secret, "GET\n\n\n\n/b/o"))
		if r.header.Get("X-Subject-Token") != "" || r.str("token.user.id") != user {
			t.Error(r.raw, r.header)
		}
		for what, body := range map[string]string{"another secret": ec2Body(access, "x", c.now()), "an old one": ec2Body(access, secret, c.now().Add(-16*time.Minute)),
			"no signature": `{"credentials":{"access":"` + access + `"}}`, "nothing signed": `{"credentials":{}}`, "another string": strings.Replace(s3Body(access, secret, "GET"), `"token":"`, `"token":"R0VU`, 1),
			"a fresh time beside the signed one": strings.Replace(ec2Body(access, secret, c.now().Add(-time.Hour)), `"path"`, `"headers":{"X-Amz-Date":"29990101T000000Z"},"path"`, 1)} {
			path := "/v3/ec2tokens"
			if what == "another string" {
				path = "/v3/s3tokens"
			}
			if r := c.send(service, "POST", path, body); r.code != 401 {
				t.Errorf("%s: %d %s", what, r.code, r.raw)
			}
		}
		c.as(service, 404, "POST", "/v3/ec2tokens", ec2Body("nobody", secret, c.now()))
		c.as(service, 400, "POST", "/v3/ec2tokens", `{}`)
		if r := c.as(service, 200, "POST", "/v3/ec2tokens", strings.Replace(good, `"credentials"`, `"ec2Credentials"`, 1)); r.str("token.user.id") != user {
			t.Error(r.raw)
		}
		c.must(200, "PATCH", "/v3/users/"+user, `{"user":{"enabled":false}}`)
		c.as(service, 401, "POST", "/v3/ec2tokens", good)
		c.must(200, "PATCH", "/v3/users/"+user, `{"user":{"enabled":true}}`)
		c.must(204, "DELETE", "/v3/projects/"+proj+"/users/"+user+"/roles/"+c.role("member"), "")
		c.as(service, 401, "POST", "/v3/ec2tokens", good)
	})
}

// blobOf is the body of an ec2 credential with further members in its blob.
func blobOf(user, proj, access, extra string) string {
	return `{"credential":{"type":"ec2","user_id":"` + user + `","project_id":"` + proj + `","blob":` + blobText(access, extra) + `}}`
}

// A blob names what the credential was delegated by; it must bind, and only what is the user's own.
func TestDelegatedEC2Credentials(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		kim, proj := c.tenant("kim")
		lee, _ := c.tenant("lee")
		service := c.serviceToken()
		kimTok := c.login("kim", "pw-kim", `"scope":{"project":{"id":"`+proj+`"}}`)
		leeTok := c.login("lee", "pw-lee", project("lee"))
		trust := c.as(kimTok, 201, "POST", "/v3/OS-TRUST/trusts", `{"trust":{"trustor_user_id":"`+kim+`","trustee_user_id":"`+lee+`","project_id":"`+proj+`","impersonation":true,"roles":[{"name":"reader"}]}}`).str("trust.id")
		app := c.as(kimTok, 201, "POST", "/v3/users/"+kim+"/application_credentials", `{"application_credential":{"name":"ci","roles":[{"name":"reader"}]}}`).str("application_credential.id")

		cred := func(token, user, access, extra string) string {
			return c.as(token, 201, "POST", "/v3/credentials", blobOf(user, proj, access, extra)).str("credential.id")
		}
		sum := func(access string) reply {
			return c.send(service, "POST", "/v3/ec2tokens", ec2Body(access, "s", c.now()))
		}
		ids := cred(kimTok, kim, "trusted", `,"trust_id":"`+trust+`"`)
		if r := sum("trusted"); r.code != 200 || r.str("token.OS-TRUST:trust.id") != trust || r.str("token.user.id") != kim || len(r.at("token.roles").([]any)) != 1 {
			t.Error("trust: ", r.raw)
		}
		cred(kimTok, kim, "app", `,"app_cred_id":"`+app+`"`)
		if r := sum("app"); r.code != 200 || r.str("token.application_credential.id") != app || len(r.at("token.roles").([]any)) != 1 {
			t.Error("application credential: ", r.raw)
		}
		// What an attacker could write into a blob.
		cred(leeTok, lee, "stolen-app", `,"app_cred_id":"`+app+`"`)
		if r := sum("stolen-app"); r.code != 401 {
			t.Error("another user's application credential: ", r.raw)
		}
		park, _ := c.tenant("park")
		cred(c.login("park", "pw-park", project("park")), park, "stolen-trust", `,"trust_id":"`+trust+`"`)
		if r := sum("stolen-trust"); r.code != 401 {
			t.Error("another user's trust: ", r.raw)
		}
		// The delegation cannot be changed away.
		for _, extra := range []string{``, `,"trust_id":"x"`, `,"trust_id":"` + trust + `","app_cred_id":"` + app + `"`} {
			c.as(kimTok, 400, "PATCH", "/v3/credentials/"+ids, `{"credential":{"blob":`+blobText("trusted", extra)+`}}`)
		}
		// Delegated tokens reach no credential.
		trusted, r := c.loginWith(authBody("lee", "pw-lee", `"scope":{"OS-TRUST:trust":{"id":"`+trust+`"}}`))
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		c.as(trusted, 403, "POST", "/v3/credentials", blobOf(kim, proj, "x", ""))
		c.as(trusted, 403, "GET", "/v3/credentials/"+ids, "")
		c.as(trusted, 403, "GET", "/v3/users/"+kim+"/credentials/OS-EC2", "")
		if r := c.as(trusted, 200, "GET", "/v3/credentials", ""); len(r.at("credentials").([]any)) != 0 {
			t.Error(r.raw)
		}
		c.as(kimTok, 204, "DELETE", "/v3/OS-TRUST/trusts/"+trust, "")
		if r := sum("trusted"); r.code != 404 {
			t.Error("the trust has ended: ", r.raw)
		}
	})
}

func blobText(access, extra string) string {
	b, _ := json.Marshal(`{"access":"` + access + `","secret":"s"` + extra + `}`)
	return string(b)
}

func TestEC2Blobs(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	user, proj := c.tenant("kim")
	tok := c.login("kim", "pw-kim", project("kim"))
	for blob, message := range map[string]string{
		`"no JSON"`:              "Invalid blob in credential",
		`"[]"`:                   "Expecting to find blob in credential." + malformed,
		`"{}"`:                   "Expecting to find blob in credential." + malformed,
		`"{\"secret\":\"x\"}"`:   "Expecting to find access in credential." + malformed,
		`"{\"access\":null}"`:    "Expecting to find access in credential." + malformed,
		`"{\"access\":[\"x\"]}"`: "Expecting to find access in credential." + malformed,
	} {
		r := c.as(tok, 400, "POST", "/v3/credentials", `{"credential":{"type":"ec2","user_id":"`+user+`","project_id":"`+proj+`","blob":`+blob+`}}`)
		if r.message() != message {
			t.Errorf("%s: %s", blob, r.message())
		}
	}
	// sha256("a") is the id
	id := c.as(tok, 201, "POST", "/v3/credentials", blobOf(user, proj, "a", "")).str("credential.id")
	if id != "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" {
		t.Error(id)
	}
	c.as(tok, 409, "POST", "/v3/credentials", blobOf(user, proj, "a", ""))
}
