package identity_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// trusting are people who pass a role on: kim has it, the others get it by trusts.
type trusting struct {
	*cloud
	project string
	user    map[string]string
	login   map[string]string // unscoped tokens
}

func newTrusting(c *cloud) trusting {
	w := trusting{cloud: c, user: map[string]string{}, login: map[string]string{}}
	for _, name := range []string{"kim", "lee", "park", "choi", "jung"} {
		w.user[name], _ = c.tenant(name)
		w.login[name] = c.login(name, "pw-"+name, `"scope":"unscoped"`)
	}
	w.project = c.must(200, "GET", "/v3/projects?name=kim", "").str("projects.0.id")
	w.login["kim"] = c.login("kim", "pw-kim", project("kim"))
	return w
}

func (w trusting) trustBody(from, to, extra string) string {
	if !strings.Contains(extra, `"roles"`) {
		extra += `,"roles":[{"name":"member"}]`
	}
	if !strings.Contains(extra, `"impersonation"`) {
		extra += `,"impersonation":true`
	}
	return `{"trust":{"trustor_user_id":"` + w.user[from] + `","trustee_user_id":"` + w.user[to] + `","project_id":"` + w.project + `"` + extra + `}}`
}

// trust makes a trust with a token and returns its id, or the refusal.
func (w trusting) trust(token, from, to, extra string) (string, reply) {
	r := w.send(token, "POST", "/v3/OS-TRUST/trusts", w.trustBody(from, to, extra))
	return r.str("trust.id"), r
}

// use gets a token of a trust.
func (w trusting) use(who, trust string) (string, reply) {
	return w.loginWith(authBody(who, "pw-"+who, `"scope":{"OS-TRUST:trust":{"id":"`+trust+`"}}`))
}

func TestRedelegation(t *testing.T) {
	stepped(t, func(t *testing.T, c *cloud) {
		w := newTrusting(c)
		kim := w.login["kim"]
		end := c.now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
		if _, r := w.trust(kim, "kim", "lee", `,"allow_redelegation":true,"redelegation_count":4`); r.code != 403 {
			t.Error("deeper than allowed: ", r.raw)
		}
		if _, r := w.trust(kim, "kim", "lee", `,"allow_redelegation":true,"remaining_uses":3`); r.code != 400 || r.message() != "remaining_uses must not be set if redelegation is allowed" {
			t.Error("counted: ", r.raw)
		}
		_, once := w.trust(kim, "kim", "lee", ``)
		if once.at("trust.redelegation_count") != 0.0 {
			t.Error(once.raw)
		}
		first, r := w.trust(kim, "kim", "lee", `,"allow_redelegation":true,"redelegation_count":2,"expires_at":"`+end+`"`)
		if r.code != 201 || r.at("trust.redelegation_count") != 2.0 {
			t.Fatal(r.raw)
		}
		if _, r := w.trust(kim, "kim", "lee", `,"expires_at":"`+end+`"`); r.code != 409 {
			t.Error("the same people, project and end: ", r.raw)
		}
		lee, r := w.use("lee", first)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		for what, extra := range map[string]string{
			"another depth":   `,"allow_redelegation":true,"redelegation_count":2`,
			"a count of uses": `,"remaining_uses":1`,
			"a later end":     `,"expires_at":"` + c.now().Add(2*time.Hour).UTC().Format("2006-01-02T15:04:05Z") + `"`,
			"more roles":      `,"roles":[{"name":"member"},{"name":"reader"}]`,
		} {
			if _, r := w.trust(lee, "kim", "park", extra); r.code != 403 {
				t.Errorf("%s: %d %s", what, r.code, r.raw)
			}
		}
		second, r := w.trust(lee, "kim", "park", `,"allow_redelegation":true`)
		if r.code != 201 || r.str("trust.redelegated_trust_id") != first || r.at("trust.redelegation_count") != 1.0 || r.str("trust.expires_at") == "" {
			t.Fatal(r.raw)
		}
		park, r := w.use("park", second)
		if r.code != 201 || r.str("token.user.id") != w.user["kim"] {
			t.Fatal(r.raw)
		}
		third, r := w.trust(park, "kim", "choi", ``)
		if r.code != 201 || r.at("trust.redelegation_count") != 0.0 {
			t.Fatal(r.raw)
		}
		choi, r := w.use("choi", third)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		if _, r := w.trust(choi, "kim", "jung", ``); r.code != 403 {
			t.Error("the chain ends here: ", r.raw)
		}
		// A link in the middle is disabled: what hangs below is void, and alive again afterwards.
		c.must(200, "PATCH", "/v3/users/"+w.user["lee"], `{"user":{"enabled":false}}`)
		if _, r := w.use("choi", third); r.code != 403 || c.valid(choi) != 404 {
			t.Error("lee is disabled: ", r.raw)
		}
		c.must(403, "GET", "/v3/OS-TRUST/trusts/"+third, "")
		c.must(200, "PATCH", "/v3/users/"+w.user["lee"], `{"user":{"enabled":true}}`)
		if choi, r = w.use("choi", third); r.code != 201 {
			t.Error(r.raw)
		}
		// The trustor loses the role.
		grant := "/v3/projects/" + w.project + "/users/" + w.user["kim"] + "/roles/" + c.role("member")
		c.must(204, "DELETE", grant, "")
		if c.valid(choi) != 404 {
			t.Error("nobody has the role any more")
		}
		c.must(204, "PUT", grant, "")
		// Deleting one takes what was redelegated from it.
		c.as(c.login("kim", "pw-kim", project("kim")), 204, "DELETE", "/v3/OS-TRUST/trusts/"+first, "")
		for _, id := range []string{first, second, third} {
			c.must(404, "GET", "/v3/OS-TRUST/trusts/"+id, "")
		}
		if c.valid(choi) != 404 {
			t.Error("the chain has ended")
		}
	})
}

// Who passed a trust on is as good as disabled when the domain is: upstream asks for both (keystone/identity/core.py, assert_user_enabled).
func TestRedelegationEndsWithADomain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newTrusting(newCloud(t, d))
		domain := w.create("domain", `{"name":"corp"}`)
		w.user["lee"] = w.create("user", `{"name":"lee","password":"pw","domain_id":"`+domain+`"}`)
		first, r := w.trust(w.login["kim"], "kim", "lee", `,"allow_redelegation":true`)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		lee, r := w.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + w.user["lee"] + `","password":"pw"}}},"scope":{"OS-TRUST:trust":{"id":"` + first + `"}}}}`)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		second, r := w.trust(lee, "kim", "park", ``)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		park, r := w.use("park", second)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		w.must(200, "PATCH", "/v3/domains/"+domain, `{"domain":{"enabled":false}}`)
		if _, r := w.use("park", second); r.code != 403 || w.valid(park) != 404 {
			t.Error("lee's domain is disabled: ", r.code, r.raw)
		}
		w.must(200, "PATCH", "/v3/domains/"+domain, `{"domain":{"enabled":true}}`)
		if _, r := w.use("park", second); r.code != 201 {
			t.Error("and enabled again: ", r.raw)
		}
	})
}

func TestRedelegationWithoutImpersonation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newTrusting(newCloud(t, d))
		first, r := w.trust(w.login["kim"], "kim", "lee", `,"allow_redelegation":true,"impersonation":false`)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		lee, r := w.use("lee", first)
		if r.code != 201 || r.str("token.user.id") != w.user["lee"] || r.str("token.project.id") != w.project {
			t.Fatal(r.raw)
		}
		if _, r := w.trust(lee, "kim", "park", `,"impersonation":false`); r.code != 403 {
			t.Error("lee is not kim: ", r.raw)
		}
		if _, r := w.trust(lee, "lee", "park", `,"impersonation":true`); r.code != 403 {
			t.Error("impersonation comes from nowhere: ", r.raw)
		}
		second, r := w.trust(lee, "lee", "park", `,"impersonation":false`)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		if _, r := w.use("park", second); r.code != 201 || r.str("token.user.id") != w.user["park"] || r.str("token.project.id") != w.project {
			t.Error(r.raw)
		}
		if _, r := w.use("choi", second); r.code != 403 {
			t.Error("choi is not the trustee: ", r.raw)
		}
	})
}

// A client that names the origin of its trust itself would lend itself the roles of that one's trustor.
func TestTrustOriginIsNotTheClients(t *testing.T) {
	w := newTrusting(newCloud(t, dbtest.Memory(t)))
	victim, _ := w.trust(w.login["kim"], "kim", "lee", `,"allow_redelegation":true`)
	park := w.cloud.login("park", "pw-park", project("park"))
	if _, r := w.trust(park, "park", "choi", `,"redelegated_trust_id":"`+victim+`"`); r.code != 404 {
		t.Error("park has no role on kim's project: ", r.raw)
	}
	w.must(204, "PUT", "/v3/projects/"+w.project+"/users/"+w.user["park"]+"/roles/"+w.role("member"), "")
	id, r := w.trust(w.cloud.login("park", "pw-park", `"scope":{"project":{"id":"`+w.project+`"}}`), "park", "choi", `,"redelegated_trust_id":"`+victim+`","deleted_at":"x"`)
	if r.code != 201 || r.at("trust.redelegated_trust_id") != nil || r.at("trust.deleted_at") != nil {
		t.Fatal(r.raw)
	}
	w.must(204, "DELETE", "/v3/projects/"+w.project+"/users/"+w.user["park"]+"/roles/"+w.role("member"), "")
	if _, r := w.use("choi", id); r.code != 403 {
		t.Error("park's trust outlives park's role: ", r.raw)
	}
}

// Of many who use a trust at once exactly as many get a token as it has uses.
func TestRemainingUses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newTrusting(newCloud(t, d))
		const uses, callers = 3, 12
		id, r := w.trust(w.login["kim"], "kim", "lee", fmt.Sprintf(`,"remaining_uses":%d`, uses))
		if r.code != 201 || r.at("trust.remaining_uses") != 3.0 {
			t.Fatal(r.raw)
		}
		// A use that fails is none.
		if _, r := w.use("park", id); r.code != 403 {
			t.Fatal(r.raw)
		}
		var good, refused atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				switch _, r := w.use("lee", id); r.code {
				case 201:
					good.Add(1)
				case 401, 403:
					refused.Add(1)
				default:
					t.Error(r.code, r.raw)
				}
			})
		}
		wg.Wait()
		if good.Load() != uses || refused.Load() != callers-uses {
			t.Errorf("%d tokens of %d uses", good.Load(), uses)
		}
		w.as(w.login["kim"], 404, "GET", "/v3/OS-TRUST/trusts/"+id, "")
	})
}

// What a trust's token is not for.
func TestTrustTokensAreNarrow(t *testing.T) {
	stepped(t, func(t *testing.T, c *cloud) {
		w := newTrusting(c)
		id, _ := w.trust(w.login["kim"], "kim", "lee", `,"expires_at":"`+c.now().Add(time.Hour).UTC().Format(time.RFC3339)+`"`)
		tok, r := w.use("lee", id)
		if r.code != 201 || len(r.at("token.roles").([]any)) != 2 { // member implies reader
			t.Fatal(r.raw)
		}
		kim := "/v3/users/" + w.user["kim"]
		for _, f := range [][2]string{{"GET", kim + "/application_credentials"}, {"GET", kim + "/access_rules"}, {"POST", kim + "/application_credentials"}, {"GET", kim + "/credentials/OS-EC2"}} {
			body := ""
			if f[0] == "POST" {
				body = `{"application_credential":{"name":"x"}}`
			}
			c.as(tok, 403, f[0], f[1], body)
		}
		if _, r := c.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + tok + `"}},` + project("kim") + `}}`); r.code != 403 {
			t.Error(r.raw)
		}
		c.as(tok, 200, "GET", "/v3/OS-TRUST/trusts/"+id, "")
		// An application credential's token manages no trusts.
		made := c.as(w.login["kim"], 201, "POST", kim+"/application_credentials", `{"application_credential":{"name":"ci","unrestricted":true}}`)
		app, _ := c.loginWith(`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"` + made.str("application_credential.id") + `","secret":"` + made.str("application_credential.secret") + `"}}}}`)
		for _, f := range [][2]string{{"GET", "/v3/OS-TRUST/trusts/" + id}, {"GET", "/v3/OS-TRUST/trusts/" + id + "/roles"}, {"GET", "/v3/OS-TRUST/trusts/" + id + "/roles/" + c.role("member")}, {"DELETE", "/v3/OS-TRUST/trusts/" + id}, {"GET", "/v3/OS-TRUST/trusts?trustor_user_id=" + w.user["kim"]}} {
			c.as(app, 403, f[0], f[1], "")
		}
		if _, r := w.trust(app, "kim", "lee", ""); r.code != 403 || !strings.Contains(r.message(), "Delegated tokens cannot manage trusts") {
			t.Error(r.raw)
		}
		c.shift.Store(int64(61 * time.Minute))
		c.admin = c.login("admin", "secret", project("admin"))
		if c.valid(tok) != 404 {
			t.Error("the token ends with its trust")
		}
		if _, r := w.use("lee", id); r.code != 401 {
			t.Error("the trust is over: ", r.raw)
		}
	})
}

// A domain that is disabled takes along what its users gave to others who passed it on.
func TestRedelegationFromDisabledDomain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		away, p := c.create("domain", `{"name":"away"}`), c.create("project", `{"name":"p"}`)
		one, _ := c.tenant("one")
		two, _ := c.tenant("two")
		user := c.create("user", `{"name":"first","password":"pw","domain_id":"`+away+`"}`)
		c.must(204, "PUT", "/v3/projects/"+p+"/users/"+user+"/roles/"+c.role("member"), "")
		token, r := c.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + user + `","password":"pw"}}},"scope":{"project":{"id":"` + p + `"}}}}`)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		body := func(from, to, more string) string {
			return `{"trust":{"trustor_user_id":"` + from + `","trustee_user_id":"` + to + `","project_id":"` + p + `","impersonation":false,"roles":[{"name":"member"}]` + more + `}}`
		}
		under := func(user, trust string) (string, reply) {
			return c.loginWith(authBody(user, "pw-"+user, `"scope":{"OS-TRUST:trust":{"id":"`+trust+`"}}`))
		}
		first := c.as(token, 201, "POST", "/v3/OS-TRUST/trusts", body(user, one, `,"allow_redelegation":true,"redelegation_count":2`)).str("trust.id")
		lent, r := under("one", first)
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		second := c.as(lent, 201, "POST", "/v3/OS-TRUST/trusts", body(one, two, "")).str("trust.id")
		passedOn, r := under("two", second)
		if r.code != 201 || c.valid(passedOn) != 200 {
			t.Fatal(r.raw)
		}
		c.must(200, "PATCH", "/v3/domains/"+away, `{"domain":{"enabled":false}}`)
		if code := c.valid(passedOn); code == 200 {
			t.Error("the token outlives the domain")
		}
		if _, r := under("two", second); r.code == 201 {
			t.Error("a new token: ", r.raw)
		}
	})
}
