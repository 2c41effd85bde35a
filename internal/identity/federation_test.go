package identity_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

const aRule = `[{"local":[{"user":{"name":"{0}"}}],"remote":[{"type":"OIDC-sub"}]}]`

func TestIdentityProviders(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		const path = "/v3/OS-FEDERATION/identity_providers"
		r := c.must(201, "PUT", path+"/a", `{"identity_provider":{"description":"first","remote_ids":["https://b","https://a"],"authorization_ttl":10}}`)
		if r.str("identity_provider.id") != "a" || r.at("identity_provider.enabled") != false || r.str("identity_provider.description") != "first" || r.at("identity_provider.authorization_ttl") != 10.0 ||
			r.at("identity_provider.remote_ids.0") != "https://a" || r.at("identity_provider.remote_ids.1") != "https://b" ||
			r.str("identity_provider.links.self") != endpoint+"/identity"+path+"/a" || r.at("identity_provider.links.protocols") != nil {
			t.Error(r.raw)
		}
		if l := c.must(200, "GET", path, ""); l.str("identity_providers.0.links.protocols") != endpoint+"/identity"+path+"/a/protocols" { // only lists have it
			t.Error(l.raw)
		}
		domain := c.must(200, "GET", "/v3/domains/"+r.str("identity_provider.domain_id"), "")
		if domain.str("domain.name") != r.str("identity_provider.domain_id") || domain.str("domain.description") != "Auto generated federated domain for Identity Provider: a" || domain.at("domain.enabled") != true {
			t.Error(domain.raw)
		}
		r = c.must(201, "PUT", path+"/b", `{"identity_provider":{"enabled":true,"domain_id":"default"}}`)
		if r.at("identity_provider.description") != nil || r.at("identity_provider.authorization_ttl") != nil || r.str("identity_provider.domain_id") != "default" || !strings.Contains(r.raw, `"remote_ids":[]`) {
			t.Error(r.raw)
		}
		for _, q := range []struct{ query, want string }{{"", "a,b"}, {"?enabled=true", "b"}, {"?id=a", "a"}, {"?id__contains=b", "b"}} {
			l := c.must(200, "GET", path+q.query, "")
			var got []string
			for _, e := range l.at("identity_providers").([]any) {
				got = append(got, e.(map[string]any)["id"].(string))
			}
			if strings.Join(got, ",") != q.want {
				t.Errorf("%s: %v", q.query, got)
			}
		}
		r = c.must(200, "PATCH", path+"/a", `{"identity_provider":{"enabled":true,"remote_ids":null,"authorization_ttl":null}}`)
		if r.at("identity_provider.enabled") != true || !strings.Contains(r.raw, `"remote_ids":[]`) || r.at("identity_provider.authorization_ttl") != nil || r.str("identity_provider.description") != "first" {
			t.Error(r.raw)
		}
		c.must(200, "PATCH", path+"/b", `{"identity_provider":{"remote_ids":["https://a"]}}`)
		for _, e := range []struct {
			method, path, body string
			code               int
			message            string
		}{
			{"PUT", "/a", `{"identity_provider":{}}`, 409, "Conflict occurred attempting to store identity_provider - Duplicate entry: a."},
			{"PUT", "/c", `{"identity_provider":{"remote_ids":["https://a"]}}`, 409, "Conflict occurred attempting to store identity_provider - Duplicate remote ID: https://a."},
			{"PATCH", "/a", `{"identity_provider":{"remote_ids":["https://a"]}}`, 409, "Duplicate remote ID"},
			{"PUT", "/c", `{"identity_provider":{"domain_id":"nowhere"}}`, 404, "Could not find domain: nowhere."},
			{"PUT", "/c", `{"identity_provider":{"enabled":"yes"}}`, 400, "'yes' is not of type 'boolean'"},
			{"PUT", "/c", `{"identity_provider":{"name":"x"}}`, 400, "Additional properties are not allowed ('name' was unexpected)"},
			{"PUT", "/c", `{"identity_provider":{"remote_ids":["x","x"]}}`, 400, "has non-unique elements"},
			{"PUT", "/c", `{"identity_provider":{"authorization_ttl":-1}}`, 400, "-1 is less than the minimum of 0"},
			{"PATCH", "/a", `{"identity_provider":{"domain_id":"default"}}`, 400, "'domain_id' was unexpected"},
			{"PATCH", "/a", `{"identity_provider":{}}`, 400, "does not have enough properties"},
			{"GET", "/c", "", 404, "Could not find Identity Provider: c."},
			{"PATCH", "/c", `{"identity_provider":{"enabled":true}}`, 404, "Could not find Identity Provider: c."},
			{"DELETE", "/c", "", 404, "Could not find Identity Provider: c."},
		} {
			if r := c.send(c.admin, e.method, path+e.path, e.body); r.code != e.code || !strings.Contains(r.message(), e.message) {
				t.Errorf("%s %s %s: %d %s", e.method, e.path, e.body, r.code, r.raw)
			}
		}
		c.must(204, "DELETE", path+"/b", "")
		c.must(404, "GET", path+"/b", "")
		c.must(201, "PUT", path+"/b", `{"identity_provider":{"remote_ids":["https://a"]}}`)

		// A domain takes its identity providers with it.
		id := domain.str("domain.id")
		c.must(200, "PATCH", "/v3/domains/"+id, `{"domain":{"enabled":false}}`)
		c.must(204, "DELETE", "/v3/domains/"+id, "")
		c.must(404, "GET", path+"/a", "")

		user, prj := c.tenant("somebody")
		token, _ := c.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + user + `","password":"pw-somebody"}}},"scope":{"project":{"id":"` + prj + `"}}}}`)
		for _, m := range []string{"GET", "PUT", "PATCH", "DELETE"} {
			body := `{"identity_provider":{"enabled":true}}`
			c.as(token, 403, m, path+"/b", body)
			c.as("", 401, m, path+"/b", body)
		}
		c.as(token, 403, "GET", path, "")
	})
}

func TestProtocolsAndMappings(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		const path = "/v3/OS-FEDERATION/identity_providers/a/protocols"
		r := c.must(201, "PUT", "/v3/OS-FEDERATION/mappings/m", `{"mapping":{"rules":`+aRule+`}}`)
		if r.str("mapping.id") != "m" || r.str("mapping.schema_version") != "1.0" || r.at("mapping.rules.0.remote.0.type") != "OIDC-sub" || r.str("mapping.links.self") != endpoint+"/identity/v3/OS-FEDERATION/mappings/m" {
			t.Error(r.raw)
		}
		r = c.must(200, "PATCH", "/v3/OS-FEDERATION/mappings/m", `{"mapping":{"schema_version":"2.0","rules":`+strings.Replace(aRule, "OIDC-sub", "OIDC-name", 1)+`}}`)
		if r.str("mapping.schema_version") != "2.0" || r.at("mapping.rules.0.remote.0.type") != "OIDC-name" {
			t.Error(r.raw)
		}
		if l := c.must(200, "GET", "/v3/OS-FEDERATION/mappings", ""); len(l.at("mappings").([]any)) != 1 || l.str("mappings.0.schema_version") != "2.0" {
			t.Error(l.raw)
		}
		if r := c.send(c.admin, "PUT", path+"/openid", `{"protocol":{"mapping_id":"m"}}`); r.code != 404 || r.message() != "Could not find Identity Provider: a." {
			t.Error(r.raw)
		}
		c.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/a", `{"identity_provider":{}}`)
		r = c.must(201, "PUT", path+"/openid", `{"protocol":{"mapping_id":"m","remote_id_attribute":"HTTP_OIDC_ISS"}}`)
		want := `{"protocol":{"id":"openid","links":{"identity_provider":"` + endpoint + `/identity/v3/a","self":"` + endpoint + `/identity/v3/protocols/openid"},"mapping_id":"m"}}`
		if r.raw != want || c.must(200, "GET", path+"/openid", "").raw != want {
			t.Error(r.raw)
		}
		if l := c.must(200, "GET", path, ""); l.str("protocols.0.idp_id") != "a" || l.str("protocols.0.remote_id_attribute") != "HTTP_OIDC_ISS" || l.str("links.self") != endpoint+"/identity"+path {
			t.Error(l.raw)
		}
		c.must(201, "PUT", "/v3/OS-FEDERATION/mappings/n", `{"mapping":{"rules":`+aRule+`}}`)
		if r := c.must(200, "PATCH", path+"/openid", `{"protocol":{"mapping_id":"n"}}`); r.str("protocol.mapping_id") != "n" {
			t.Error(r.raw)
		}
		for _, e := range []struct {
			method, path, body string
			code               int
			message            string
		}{
			{"PUT", path + "/openid", `{"protocol":{"mapping_id":"m"}}`, 409, "Conflict occurred attempting to store federation_protocol - Duplicate entry found with ID openid."},
			{"PUT", path + "/x", `{"protocol":{"mapping_id":"none"}}`, 400, "Invalid mapping id: none"},
			{"PATCH", path + "/openid", `{"protocol":{"mapping_id":"none"}}`, 400, "Invalid mapping id: none"},
			{"PUT", path + "/x", `{"protocol":{}}`, 400, "'mapping_id' is a required property"},
			{"PUT", path + "/x", `{"protocol":{"mapping_id":"m","id":"y"}}`, 400, "'id' was unexpected"},
			{"PATCH", path + "/x", `{"protocol":{"mapping_id":"m"}}`, 404, "Could not find federated protocol x for Identity Provider: a."},
			{"GET", path + "/x", "", 404, "Could not find federated protocol x for Identity Provider: a."},
			{"DELETE", path + "/x", "", 404, "Could not find federated protocol x for Identity Provider: a."},
			{"PUT", "/v3/OS-FEDERATION/mappings/m", `{"mapping":{"rules":` + aRule + `}}`, 409, "Conflict occurred attempting to store mapping - Duplicate entry."},
			{"PUT", "/v3/OS-FEDERATION/mappings/x", `{"mapping":{}}`, 400, "'rules' is a required property"},
			{"PUT", "/v3/OS-FEDERATION/mappings/x", `{}`, 400, "'rules' is a required property"},
			{"PUT", "/v3/OS-FEDERATION/mappings/x", `{"mapping":{"rules":[]}}`, 400, "[] is too short"},
			{"PUT", "/v3/OS-FEDERATION/mappings/x", `{"mapping":{"rules":[{"local":[{"user":{"nick":"x"}}],"remote":[]}]}}`, 400, "Additional properties are not allowed ('nick' was unexpected)\n[] is too short\n"},
			{"PUT", "/v3/OS-FEDERATION/mappings/x", `{"mapping":{"schema_version":"9","rules":` + aRule + `}}`, 400, `schema_version "9" is not known`},
			{"PUT", "/v3/OS-FEDERATION/mappings/x", `{"mapping":{"schema_version":1.0,"rules":` + aRule + `}}`, 400, "schema_version must be a string."},
			{"PATCH", "/v3/OS-FEDERATION/mappings/x", `{"mapping":{"rules":` + aRule + `}}`, 404, "Could not find mapping: x."},
			{"GET", "/v3/OS-FEDERATION/mappings/x", "", 404, "Could not find mapping: x."},
			{"DELETE", "/v3/OS-FEDERATION/mappings/x", "", 404, "Could not find mapping: x."},
		} {
			if r := c.send(c.admin, e.method, e.path, e.body); r.code != e.code || !strings.Contains(r.message(), e.message) {
				t.Errorf("%s %s %s: %d %s", e.method, e.path, e.body, r.code, r.raw)
			}
		}
		c.must(204, "DELETE", path+"/openid", "")
		c.must(404, "GET", path+"/openid", "")
		c.must(204, "DELETE", "/v3/OS-FEDERATION/mappings/m", "")
		c.must(404, "GET", "/v3/OS-FEDERATION/mappings/m", "")
	})
}

func TestServiceProviders(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		const path = "/v3/OS-FEDERATION/service_providers"
		body := `{"service_provider":{"auth_url":"https://far/auth","sp_url":"https://far/sp"}}`
		r := c.must(201, "PUT", path+"/far", body)
		if r.at("service_provider.enabled") != false || r.str("service_provider.relay_state_prefix") != "ss:mem:" || r.at("service_provider.description") != nil || r.str("service_provider.links.self") != endpoint+"/identity"+path+"/far" {
			t.Error(r.raw)
		}
		shown := func() any {
			return c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", c.admin).at("token.service_providers")
		}
		if got := shown(); got != nil {
			t.Error("a disabled one shows in tokens: ", got)
		}
		c.must(200, "PATCH", path+"/far", `{"service_provider":{"enabled":true,"description":"x"}}`)
		got, _ := shown().([]any)
		if len(got) != 1 || len(got[0].(map[string]any)) != 3 || got[0].(map[string]any)["auth_url"] != "https://far/auth" || got[0].(map[string]any)["id"] != "far" || got[0].(map[string]any)["sp_url"] != "https://far/sp" {
			t.Error(got)
		}
		if l := c.must(200, "GET", path+"?enabled=false", ""); len(l.at("service_providers").([]any)) != 0 {
			t.Error(l.raw)
		}
		for _, e := range []struct {
			method, path, body string
			code               int
			message            string
		}{
			{"PUT", "/far", body, 409, "Conflict occurred attempting to store service_provider - Duplicate entry found with ID far."},
			{"PUT", "/x", `{"service_provider":{"auth_url":"https://far/auth"}}`, 400, "'sp_url' is a required property"},
			{"PUT", "/x", `{"service_provider":{"auth_url":"no","sp_url":"https://far/sp"}}`, 400, "'no' does not match"},
			{"PATCH", "/far", `{"service_provider":{"id":"y"}}`, 400, "'id' was unexpected"},
			{"GET", "/x", "", 404, "Could not find Service Provider: x."},
		} {
			if r := c.send(c.admin, e.method, path+e.path, e.body); r.code != e.code || !strings.Contains(r.message(), e.message) {
				t.Errorf("%s %s %s: %d %s", e.method, e.path, e.body, r.code, r.raw)
			}
		}
		c.must(204, "DELETE", path+"/far", "")
		if got := shown(); got != nil {
			t.Error(got)
		}
	})
}

// Closing the way in ends the tokens that came by it, also those made from them, at once, on every controller, and for good.
func TestFederatedTokensEndWithTheirWayIn(t *testing.T) {
	p := startProvider(t)
	_, id := p.password("hanok", "alice")
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {
		_, other := f.controller()
		const idp = "/v3/OS-FEDERATION/identity_providers/corp"
		protocol := func() {
			f.must(201, "PUT", idp+"/protocols/openid", `{"protocol":{"mapping_id":"members"}}`)
		}
		for _, c := range []struct {
			name         string
			close, again func()
		}{
			{"provider disabled", func() { f.must(200, "PATCH", idp, `{"identity_provider":{"enabled":false}}`) }, func() { f.must(200, "PATCH", idp, `{"identity_provider":{"enabled":true}}`) }},
			{"protocol deleted", func() { f.must(204, "DELETE", idp+"/protocols/openid", "") }, protocol},
			{"mapping deleted", func() { f.must(204, "DELETE", "/v3/OS-FEDERATION/mappings/members", "") },
				func() {
					f.must(201, "PUT", "/v3/OS-FEDERATION/mappings/members", `{"mapping":{"rules":`+memberRules+`}}`)
				}},
			{"provider deleted", func() { f.must(204, "DELETE", idp, "") }, func() {
				f.must(201, "PUT", idp, `{"identity_provider":{"enabled":true,"domain_id":"`+f.domain+`"}}`)
				protocol()
			}},
		} {
			unscoped := f.enter(id)
			scoped, r := f.loginWith(tokenBody(unscoped, `"scope":{"project":{"id":"`+f.prj+`"}}`))
			if r.code != 201 || f.valid(scoped) != 200 || f.sendTo(other, scoped, "GET", "/v3/auth/projects", "").code != 200 {
				t.Fatal(c.name, r.raw)
			}
			user := r.str("token.user.id")
			f.must(204, "PUT", "/v3/system/users/"+user+"/roles/"+f.role("reader"), "")
			system, r := f.loginWith(tokenBody(unscoped, `"scope":{"system":{"all":true}}`))
			if r.code != 201 || r.at("token.user.OS-FEDERATION") != nil {
				t.Fatal(c.name, r.raw)
			}
			c.close()
			for kind, token := range map[string]string{"unscoped": unscoped, "scoped": scoped, "system": system} {
				if f.valid(token) != 404 || f.sendTo(other, token, "GET", "/v3/auth/projects", "").code != 401 {
					t.Error(c.name, ": the token is still good: ", kind)
				}
			}
			if r := f.bring(id); r.code < 400 {
				t.Error(c.name, r.raw)
			}
			c.again()
			for kind, token := range map[string]string{"unscoped": unscoped, "scoped": scoped, "system": system} {
				if f.valid(token) != 404 {
					t.Error(c.name, ": the token came back: ", kind)
				}
			}
			// Upstream refuses a user whose link went with its protocol; so does this cloud, until the user is deleted.
			if r := f.bring(id); strings.HasSuffix(c.name, "deleted") && c.name != "mapping deleted" {
				if r.code != 409 || r.message() != "Conflict occurred attempting to store federated_user - Duplicate entry." {
					t.Error(c.name, r.code, r.raw)
				}
				f.must(204, "DELETE", "/v3/users/"+user, "")
			} else if r.code != 201 {
				t.Error(c.name, r.code, r.raw)
			}
		}
	})
}

func TestShadowUsers(t *testing.T) {
	p := startProvider(t)
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {
		rules := func(rules string) {
			f.must(200, "PATCH", "/v3/OS-FEDERATION/mappings/members", `{"mapping":{"schema_version":"2.0","rules":`+rules+`}}`)
		}
		as := func(claims map[string]any) reply { return f.bring(p.forge(p.key, nil, claims)) }
		rules(`[{"local":[{"user":{"id":"{0}","name":"{1}","email":"{2}"}}],"remote":[{"type":"OIDC-sub"},{"type":"OIDC-name"},{"type":"OIDC-email"}]}]`)

		// Names and addresses follow the provider; the user stays the same.
		r := as(map[string]any{"sub": "al ice/1@x", "name": "Alice", "email": "a@x"})
		user := r.str("token.user.id")
		u := f.must(200, "GET", "/v3/users/"+user, "")
		if u.str("user.name") != "Alice" || u.str("user.email") != "a@x" || u.str("user.domain_id") != f.domain || u.str("user.federated.0.idp_id") != "corp" ||
			u.str("user.federated.0.protocols.0.protocol_id") != "openid" || u.str("user.federated.0.protocols.0.unique_id") != "al%20ice/1%40x" || strings.Contains(u.raw, "federated_name") {
			t.Error(u.raw)
		}
		if r := as(map[string]any{"sub": "al ice/1@x", "name": "Alice B.", "email": "b@x"}); r.str("token.user.id") != user || r.str("token.user.name") != "Alice B." {
			t.Error(r.raw)
		}
		if u := f.must(200, "GET", "/v3/users/"+user, ""); u.str("user.name") != "Alice B." || u.str("user.email") != "b@x" {
			t.Error(u.raw)
		}
		// Several may have a name, also one that a local user has.
		f.create("user", `{"name":"Alice B.","domain_id":"`+f.domain+`","password":"x"}`)
		second := as(map[string]any{"sub": "second", "name": "Alice B.", "email": "c@x"}).str("token.user.id")
		for query, want := range map[string]int{"name=Alice%20B.": 3, "name__startswith=Alice": 3, "idp_id=corp": 2, "idp_id=corp&unique_id=second": 1, "protocol_id=x": 0, "unique_id=second&name=Alice": 0} {
			if l := f.must(200, "GET", "/v3/users?domain_id="+f.domain+"&"+query, ""); len(l.at("users").([]any)) != want {
				t.Error(query, l.raw)
			}
		}
		// A federated user has no password to log in with, and can be renamed and disabled.
		if r := f.send("", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"`+second+`","password":""}}}}}`); r.code != 401 {
			t.Error(r.raw)
		}
		if r := f.must(200, "PATCH", "/v3/users/"+second, `{"user":{"name":"Renamed"}}`); r.str("user.name") != "Renamed" || r.str("user.federated.0.idp_id") != "corp" {
			t.Error(r.raw)
		}
		f.must(200, "PATCH", "/v3/users/"+second, `{"user":{"enabled":false}}`)
		if r := as(map[string]any{"sub": "second", "name": "Alice B.", "email": "c@x"}); r.code != 401 {
			t.Error("a disabled user: ", r.code, r.raw)
		}
		f.must(204, "DELETE", "/v3/users/"+second, "")
		if r := as(map[string]any{"sub": "second", "name": "Alice B.", "email": "c@x"}); r.code != 201 || r.str("token.user.id") != second {
			t.Error(r.code, r.raw)
		}
		// Without a name in the mapping the subject is one.
		rules(`[{"local":[{"group":{"id":"` + f.dev + `"}}],"remote":[{"type":"OIDC-sub"}]}]`)
		if r := as(map[string]any{"sub": "plain"}); r.str("token.user.name") != "plain" || r.str("token.user.OS-FEDERATION.groups.0.id") != f.dev {
			t.Error(r.raw)
		}
		// A mapping's faults are the cloud's, not the user's; an assertion that fits no rule is a failed login.
		rules(`[{"local":[{"group":{"id":"gone"}}],"remote":[{"type":"OIDC-sub"}]}]`)
		if r := as(nil); r.code != 500 {
			t.Error(r.code, r.raw)
		}
		rules(`[{"local":[{"user":{"name":"{3}"}}],"remote":[{"type":"OIDC-sub"}]}]`)
		if r := as(nil); r.code != 500 {
			t.Error(r.code, r.raw)
		}
		rules(`[{"local":[{"user":{"name":"{0}"}}],"remote":[{"type":"OIDC-sub","any_one_of":["nobody"]}]}]`)
		if r := as(nil); r.code != 401 {
			t.Error(r.code, r.raw)
		}
		// A local user must be there.
		rules(`[{"local":[{"user":{"name":"{0}","type":"local","domain":{"id":"default"}}}],"remote":[{"type":"OIDC-sub"}]}]`)
		if r := as(map[string]any{"sub": "tenant"}); r.code != 401 {
			t.Error(r.code, r.raw)
		}
		local, prj := f.tenant("tenant")
		machine := f.as(f.admin, 200, "PUT", "/v3/projects/"+prj+"/service_identity", "").str("user.name")
		if r := as(map[string]any{"sub": machine}); r.code != 401 {
			t.Error("a service identity has application credentials alone: ", r.code, r.raw)
		}
		f.must(200, "PATCH", "/v3/users/"+local, `{"user":{"default_project_id":"`+prj+`"}}`)
		if r := as(map[string]any{"sub": "tenant"}); r.code != 201 || r.str("token.user.id") != local || r.str("token.project.id") != prj || r.at("token.user.OS-FEDERATION") != nil {
			t.Error(r.code, r.raw)
		}
		// A local user who is linked to a federated one is that one.
		linked := f.must(201, "POST", "/v3/users", `{"user":{"name":"linked","federated":[{"idp_id":"corp","protocols":[{"protocol_id":"openid","unique_id":"far"}]}]}}`)
		rules(`[{"local":[{"user":{"name":"{0}"}}],"remote":[{"type":"OIDC-sub"}]}]`)
		if r := as(map[string]any{"sub": "far"}); r.str("token.user.id") != linked.str("user.id") || r.str("token.user.name") != "linked" || linked.str("user.federated.0.protocols.0.unique_id") != "far" {
			t.Error(r.raw, linked.raw)
		}
		for body, want := range map[string]string{
			`[{"idp_id":"x","protocols":[{"protocol_id":"openid","unique_id":"y"}]}]`: "Could not find Identity Provider: x",
			`[{"idp_id":"corp","protocols":[{"protocol_id":"x","unique_id":"y"}]}]`:   "Could not find federated protocol x for Identity Provider: corp.",
		} {
			if r := f.send(f.admin, "POST", "/v3/users", `{"user":{"name":"n","federated":`+body+`}}`); r.code != 400 || r.message() != want {
				t.Error(r.code, r.raw)
			}
		}
	})
}

// A manager of one domain cannot make the people who come by another one's provider an own user, to whose password the groups and projects would go that
// the mapping gives them.
func TestLinksToAnothersProvider(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		corp, own := c.create("domain", `{"name":"corp"}`), c.create("domain", `{"name":"own"}`)
		for name, domain := range map[string]string{"corp": corp, "own": own} {
			c.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/"+name, `{"identity_provider":{"enabled":true,"domain_id":"`+domain+`"}}`)
			c.must(201, "PUT", "/v3/OS-FEDERATION/mappings/"+name, `{"mapping":{"rules":[{"local":[{"user":{"name":"{0}"}}],"remote":[{"type":"REMOTE_USER"}]}]}}`)
			c.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/"+name+"/protocols/openid", `{"protocol":{"mapping_id":"`+name+`"}}`)
		}
		boss := c.create("user", `{"name":"boss","password":"pw","domain_id":"`+own+`"}`)
		c.must(204, "PUT", "/v3/domains/"+own+"/users/"+boss+"/roles/"+c.role("manager"), "")
		token, r := c.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + boss + `","password":"pw"}}},"scope":{"domain":{"id":"` + own + `"}}}}`)
		if r.code != 201 {
			t.Fatal(r.code, r.raw)
		}
		link := func(provider, unique string) string {
			return `"federated":[{"idp_id":"` + provider + `","protocols":[{"protocol_id":"openid","unique_id":"` + unique + `"}]}]`
		}
		user := c.as(token, 201, "POST", "/v3/users", `{"user":{"name":"u","domain_id":"`+own+`",`+link("own", "u")+`}}`).str("user.id")
		c.as(token, 403, "POST", "/v3/users", `{"user":{"name":"v","domain_id":"`+own+`",`+link("corp", "victim")+`}}`)
		c.as(token, 403, "PATCH", "/v3/users/"+user, `{"user":{`+link("corp", "victim")+`}}`)
		if n := c.count(`SELECT count(*) FROM identity_federated_users WHERE idp_id = 'corp'`); n != 0 {
			t.Error("linked all the same")
		}
		c.as(token, 200, "PATCH", "/v3/users/"+user, `{"user":{`+link("own", "w")+`}}`)
		c.must(200, "PATCH", "/v3/users/"+user, `{"user":{`+link("corp", "x")+`}}`)
	})
}

// Projects that the mapping gives come into being with the user's roles in them.
func TestProjectsFromMappings(t *testing.T) {
	p := startProvider(t)
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {
		rules := func(projects string) {
			f.must(200, "PATCH", "/v3/OS-FEDERATION/mappings/members", `{"mapping":{"schema_version":"2.0","rules":[{"local":[{"user":{"name":"{0}"},"projects":`+projects+`}],"remote":[{"type":"OIDC-sub"}]}]}}`)
		}
		rules(`[{"name":"{0}'s own","roles":[{"name":"member"}]},{"name":"work","roles":[{"name":"reader"}]},{"name":"shared","domain":{"name":"Default"},"roles":[{"name":"member"},{"name":"reader"}]}]`)
		token := f.enter(p.forge(p.key, nil, nil))
		if got := names(f.as(token, 200, "GET", "/v3/auth/projects", ""), "projects"); !slices.Equal(got, []string{"alice's own", "shared", "work"}) {
			t.Error(got)
		}
		own := f.must(200, "GET", "/v3/projects?name=alice%27s%20own", "")
		if own.str("projects.0.domain_id") != f.domain || own.str("projects.0.parent_id") != f.domain {
			t.Error(own.raw)
		}
		if l := f.must(200, "GET", "/v3/projects?name=shared", ""); l.str("projects.0.domain_id") != "default" {
			t.Error(l.raw)
		}
		scoped, r := f.loginWith(tokenBody(token, `"scope":{"project":{"id":"`+own.str("projects.0.id")+`"}}`))
		if r.code != 201 || !slices.Equal(names(r, "token.roles"), []string{"member", "reader"}) {
			t.Error(r.raw)
		}
		// A second login changes nothing: what was worked out before stays good.
		epoch := func() (n int64) {
			if err := f.d.Read(t.Context(), func(tx *db.Tx) (err error) {
				n, err = db.One(tx, db.Value[int64], `SELECT value FROM identity_state WHERE name = 'epoch'`)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := epoch()
		f.enter(p.forge(p.key, nil, nil))
		if epoch() != before || f.valid(scoped) != 200 {
			t.Error("a login that brings nothing new moves the epoch")
		}
		// Roles are looked for before anything is made.
		rules(`[{"name":"new","roles":[{"name":"member"},{"name":"emperor"}]}]`)
		if r := f.bring(p.forge(p.key, nil, nil)); r.code != 404 || r.message() != "Could not find role: emperor." {
			t.Error(r.code, r.raw)
		}
		if l := f.must(200, "GET", "/v3/projects?name=new", ""); len(l.at("projects").([]any)) != 0 {
			t.Error(l.raw)
		}
		f.create("role", `{"name":"emperor","domain_id":"default"}`)
		if r := f.bring(p.forge(p.key, nil, nil)); r.code != 403 || r.message() != "role: emperor must be within the same domain as the identity provider: corp." {
			t.Error(r.code, r.raw)
		}
		f.create("role", `{"name":"emperor","domain_id":"`+f.domain+`"}`)
		if r := f.bring(p.forge(p.key, nil, nil)); r.code != 201 {
			t.Error(r.code, r.raw)
		}
	})
}

// Memberships that outlast the token serve application credentials, and end by themselves.
func TestExpiringMemberships(t *testing.T) {
	p := startProvider(t)
	onBoth(t, p, func(t *testing.T, f *federatedCloud) {
		const idp = "/v3/OS-FEDERATION/identity_providers/corp"
		token := f.enter(p.forge(p.key, nil, nil))
		user := f.send(f.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token).str("token.user.id")
		groups := func() reply { return f.must(200, "GET", "/v3/users/"+user+"/groups", "") }
		member := func() int { return f.send(f.admin, "HEAD", "/v3/groups/"+f.dev+"/users/"+user, "").code }
		if r := groups(); len(r.at("groups").([]any)) != 0 || member() != 404 {
			t.Error("without a time to live nothing is kept: ", r.raw)
		}
		f.must(200, "PATCH", idp, `{"identity_provider":{"authorization_ttl":30}}`)
		token = f.enter(p.forge(p.key, nil, nil))
		r := groups()
		at, err := time.Parse("2006-01-02T15:04:05.000000", r.str("groups.0.membership_expires_at"))
		if err != nil || at.Before(f.now().Add(29*time.Minute)) || at.After(f.now().Add(31*time.Minute)) || r.str("groups.0.id") != f.dev || member() != 204 {
			t.Error(r.raw, err)
		}
		scoped, r := f.loginWith(tokenBody(token, `"scope":{"project":{"id":"`+f.prj+`"}}`))
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		cred := f.as(scoped, 201, "POST", "/v3/users/"+user+"/application_credentials", `{"application_credential":{"name":"robot","secret":"hush"}}`).str("application_credential.id")
		robot := func() (string, reply) {
			return f.loginWith(`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"` + cred + `","secret":"hush"}}}}`)
		}
		robots, r := robot()
		if r.code != 201 || !slices.Equal(names(r, "token.roles"), []string{"member", "reader"}) {
			t.Fatal(r.raw)
		}
		if l := f.must(200, "GET", "/v3/role_assignments?effective&user.id="+user+"&scope.project.id="+f.prj, ""); len(l.at("role_assignments").([]any)) != 2 {
			t.Error(l.raw)
		}
		// Each login renews them.
		f.shift.Store(int64(20 * time.Minute))
		f.enter(p.forge(p.key, nil, map[string]any{"exp": f.now().Add(time.Hour).Unix()}))
		f.shift.Store(int64(40 * time.Minute))
		if f.valid(robots) != 200 || member() != 204 {
			t.Error("the membership ends although it was renewed")
		}
		// At their end the robot has no role, in a token it has already, either.
		f.shift.Store(int64(51 * time.Minute))
		if f.valid(robots) != 404 || member() != 404 || len(groups().at("groups").([]any)) != 0 {
			t.Error("the membership goes on")
		}
		if _, r := robot(); r.code == 201 {
			t.Error(r.raw)
		}
		if f.valid(scoped) != 200 {
			t.Error("the federated token carries its groups itself")
		}
		if l := f.must(200, "GET", "/v3/role_assignments?effective&user.id="+user+"&scope.project.id="+f.prj, ""); len(l.at("role_assignments").([]any)) != 0 {
			t.Error(l.raw)
		}
		// A longer time to live counts for what is there.
		f.must(200, "PATCH", idp, `{"identity_provider":{"authorization_ttl":90}}`)
		if member() != 204 {
			t.Error("the time to live changes nothing")
		}
		f.must(204, "DELETE", idp, "")
		if member() != 404 {
			t.Error("the provider's memberships outlive it")
		}
	})
}

// onBoth runs a test in a federated cloud on each engine, whose database goes by the stepped clock, too.
func onBoth(t *testing.T, p *realProvider, fn func(*testing.T, *federatedCloud)) {
	run := func(t *testing.T, address string) {
		c := &cloud{t: t, conf: p.conf()}
		d, err := db.Open(t.Context(), db.Options{URL: address, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		c.d = d
		fn(t, (&federatedCloud{cloud: c.start(), p: p}).furnish())
	}
	t.Run("memory", func(t *testing.T) { run(t, "sqlite::memory:") })
	t.Run("postgres", func(t *testing.T) { run(t, dbtest.PostgresURL(t)) })
}

// A provider that does not answer is a clear error at its own door, and nowhere else.
func TestUnreachableProvider(t *testing.T) {
	p := startProvider(t)
	_, id := p.password("hanok", "alice")
	f := newFederatedCloud(t, dbtest.Memory(t), p)
	f.conf.OIDC["down"] = &conf.OIDC{Issuer: "http://127.0.0.1:1", ClientID: "x", ClientSecret: "y"}
	f.svc, f.h = f.controller()
	f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/down", `{"identity_provider":{"enabled":true}}`)
	f.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/down/protocols/openid", `{"protocol":{"mapping_id":"members"}}`)
	for range 3 {
		r := f.send("", "POST", strings.Replace(authPath, "corp", "down", 1), "", "Authorization", "Bearer "+id)
		if r.code != 503 || r.message() != "The identity provider down cannot be asked at present. Please try again later." {
			t.Error(r.code, r.raw)
		}
	}
	if r := f.bring(id); r.code != 201 {
		t.Error(r.code, r.raw)
	}
	// Once its keys are known, a provider is not needed for the tokens it has signed.
	p.stop()
	if r := f.bring(id); r.code != 201 {
		t.Error(r.code, r.raw)
	}
	f.svc, f.h = f.controller()
	if r := f.bring(id); r.code != 503 {
		t.Error(r.code, r.raw)
	}
}
