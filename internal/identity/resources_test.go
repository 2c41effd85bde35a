package identity_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func TestProjects(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		dom := c.create("domain", `{"name":"east"}`)
		top := c.create("project", `{"name":"top","domain_id":"`+dom+`","colour":"blue"}`)
		sub := c.create("project", `{"name":"sub","parent_id":"`+top+`","domain_id":"`+dom+`","tags":["b","a"]}`)
		if r := c.must(200, "GET", "/v3/projects/"+top+"?subtree_as_ids", ""); r.str("project.colour") != "blue" || r.at("project.subtree."+sub) != nil || !strings.Contains(r.raw, `"subtree":{"`+sub+`":null}`) {
			t.Error(r.raw)
		}
		if r := c.must(200, "GET", "/v3/projects/"+sub+"?parents_as_ids", ""); !strings.Contains(r.raw, `"parents":{"`+top+`":{"`+dom+`":null}}`) {
			t.Error(r.raw)
		}
		for q, want := range map[string]int{"domain_id=" + dom: 2, "parent_id=" + top: 1, "tags=a,b": 1, "tags=a,c": 0, "tags-any=a,c": 1, "domain_id=" + dom + "&not-tags=a": 1, "domain_id=" + dom + "&not-tags-any=b,c": 1,
			"name__contains=u&domain_id=" + dom: 1, "name__istartswith=TO": 1, "name__endswith=op": 1, "is_domain=1&name=east": 1, "enabled=0": 0} {
			if r := c.must(200, "GET", "/v3/projects?"+q, ""); len(r.at("projects").([]any)) != want {
				t.Errorf("%s: %s", q, r.raw)
			}
		}
		page := c.must(200, "GET", "/v3/projects?limit=1&domain_id="+dom, "")
		next, err := url.Parse(page.str("links.next"))
		if err != nil || page.at("truncated") != true || len(page.at("projects").([]any)) != 1 {
			t.Fatal(page.raw)
		}
		if rest := c.must(200, "GET", strings.TrimPrefix(next.Path, "/identity")+"?"+next.RawQuery, ""); len(rest.at("projects").([]any)) != 1 || rest.str("projects.0.id") == page.str("projects.0.id") || rest.at("truncated") != nil {
			t.Error(rest.raw)
		}
		for _, bad := range []struct {
			method, path, body string
			code               int
			want               string
		}{
			{"POST", "/v3/projects", `{"project":{"name":"top","domain_id":"` + dom + `"}}`, 409, "Conflict occurred attempting to store project - it is not permitted to have two projects with either the same name or same id in the same domain: name is top"},
			{"POST", "/v3/domains", `{"domain":{"name":"east"}}`, 409, "Conflict occurred attempting to store project - it is not permitted to have two projects acting as domains with the same name: east."},
			{"POST", "/v3/projects", `{"project":{"name":"x","parent_id":"` + top + `"}}`, 400, "Cannot create project, since it specifies its domain_id default, but specifies a parent in a different domain (" + dom + ")."},
			{"POST", "/v3/projects", `{"project":{"name":"x","domain_id":"nono"}}`, 400, "Could not find domain: nono."},
			{"PATCH", "/v3/projects/" + top, `{"project":{"enabled":false}}`, 403, "Cannot disable project " + top + " since its subtree contains enabled projects."},
			{"DELETE", "/v3/projects/" + top, "", 403, "Cannot delete the project " + top + " since it is not a leaf in the hierarchy. Use the cascade option if you want to delete a whole subtree."},
			{"DELETE", "/v3/domains/" + dom, "", 403, "Cannot delete a domain that is enabled, please disable it first."},
			{"PATCH", "/v3/projects/" + sub, `{"project":{"parent_id":"` + dom + `"}}`, 403, "Update of `parent_id` is not allowed."},
			{"PATCH", "/v3/projects/" + sub, `{"project":{"id":"other"}}`, 400, "Cannot change ID"},
			{"PUT", "/v3/projects/" + sub + "/tags", `{"tags":["a","a"]}`, 400, "has non-unique elements"},
			{"DELETE", "/v3/projects/" + sub + "/tags/zz", "", 404, "Could not find project tag: zz."},
		} {
			if r := c.must(bad.code, bad.method, bad.path, bad.body); !strings.Contains(r.message(), bad.want) {
				t.Errorf("%s %s %s: %s", bad.method, bad.path, bad.body, r.raw)
			}
		}
		c.must(200, "PATCH", "/v3/projects/"+sub, `{"project":{"options":{"immutable":true}}}`)
		c.must(403, "DELETE", "/v3/projects/"+sub, "")
		c.must(403, "PATCH", "/v3/projects/"+sub, `{"project":{"name":"new"}}`)
		c.must(200, "PATCH", "/v3/projects/"+sub, `{"project":{"options":{"immutable":null}}}`)
		c.must(201, "PUT", "/v3/projects/"+sub+"/tags/new", "")
		if r := c.must(200, "GET", "/v3/projects/"+sub+"/tags", ""); r.str("tags.2") != "new" {
			t.Error(r.raw)
		}
		c.must(200, "PATCH", "/v3/domains/"+dom, `{"domain":{"enabled":false}}`)
		c.must(204, "DELETE", "/v3/domains/"+dom, "")
		c.must(404, "GET", "/v3/projects/"+sub, "")
	})
}

func TestAssignments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		dom := c.create("domain", `{"name":"east"}`)
		top := c.create("project", `{"name":"top","domain_id":"`+dom+`"}`)
		sub := c.create("project", `{"name":"sub","domain_id":"`+dom+`","parent_id":"`+top+`"}`)
		user := c.create("user", `{"name":"kim","password":"pw","domain_id":"`+dom+`"}`)
		group := c.create("group", `{"name":"g","domain_id":"`+dom+`"}`)
		member := c.role("member")
		login := func(project string) int {
			_, r := c.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + user + `","password":"pw"}}},"scope":{"project":{"id":"` + project + `"}}}}`)
			return r.code
		}
		c.must(204, "PUT", "/v3/OS-INHERIT/projects/"+top+"/groups/"+group+"/roles/"+member+"/inherited_to_projects", "")
		c.must(204, "PUT", "/v3/groups/"+group+"/users/"+user, "")
		if login(top) != 401 || login(sub) != 201 {
			t.Error("inherited from a project: its children, not itself")
		}
		c.must(204, "PUT", "/v3/OS-INHERIT/domains/"+dom+"/users/"+user+"/roles/"+member+"/inherited_to_projects", "")
		if login(top) != 201 {
			t.Error("inherited from the domain: all its projects")
		}
		if r := c.must(200, "GET", "/v3/role_assignments?user.id="+user+"&effective&include_names", ""); !strings.Contains(r.raw, `"name":"sub"`) ||
			!strings.Contains(r.raw, "/OS-INHERIT/domains/"+dom+"/users/"+user+"/roles/"+member+"/inherited_to_projects") || !strings.Contains(r.raw, "/groups/"+group+"/users/"+user) || !strings.Contains(r.raw, "/prior_role/") {
			t.Error(r.raw)
		}
		if r := c.must(200, "GET", "/v3/role_assignments?scope.project.id="+top+"&include_subtree", ""); len(r.at("role_assignments").([]any)) != 1 || r.str("role_assignments.0.group.id") != group {
			t.Error(r.raw)
		}
		if r := c.must(200, "GET", "/v3/users/"+user+"/projects", ""); len(r.at("projects").([]any)) != 2 {
			t.Error(r.raw)
		}
		for q, want := range map[string]string{"effective&group.id=x": "Combining effective and group filter will always result in an empty list.", "user.id=a&group.id=b": "{'group.id': 'b', 'user.id': 'a'} is valid under each of {'required': ['group.id']}, {'required': ['user.id']}",
			"include_subtree": "'scope.project.id' is a dependency of 'include_subtree'"} {
			if r := c.must(400, "GET", "/v3/role_assignments?"+q, ""); r.message() != want {
				t.Error(r.raw)
			}
		}
		if r := c.must(404, "DELETE", "/v3/projects/"+top+"/users/"+user+"/roles/"+member, ""); r.message() != "Could not find role assignment with role: "+member+", user or group: "+user+", project, domain, or system: "+top+"." {
			t.Error(r.raw)
		}
	})
}

// A manager of a domain manages it and nothing else (2025.1's domain manager persona).
func TestDomainManager(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	east, west := c.create("domain", `{"name":"east"}`), c.create("domain", `{"name":"west"}`)
	boss := c.create("user", `{"name":"boss","password":"pw","domain_id":"`+east+`"}`)
	other := c.create("user", `{"name":"other","domain_id":"`+west+`"}`)
	c.must(204, "PUT", "/v3/domains/"+east+"/users/"+boss+"/roles/"+c.role("manager"), "")
	tok, r := c.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + boss + `","password":"pw"}}},"scope":{"domain":{"id":"` + east + `"}}}}`)
	if r.code != 201 {
		t.Fatal(r.raw)
	}
	mine := c.as(tok, 201, "POST", "/v3/users", `{"user":{"name":"mine","domain_id":"`+east+`"}}`).str("user.id")
	proj := c.as(tok, 201, "POST", "/v3/projects", `{"project":{"name":"p","domain_id":"`+east+`"}}`).str("project.id")
	c.as(tok, 403, "POST", "/v3/users", `{"user":{"name":"mine","domain_id":"`+west+`"}}`)
	c.as(tok, 403, "GET", "/v3/users/"+other, "")
	c.as(tok, 403, "DELETE", "/v3/users/"+other, "")
	c.as(tok, 403, "POST", "/v3/domains", `{"domain":{"name":"x"}}`)
	c.as(tok, 204, "PUT", "/v3/projects/"+proj+"/users/"+mine+"/roles/"+c.role("member"), "")
	c.as(tok, 403, "PUT", "/v3/projects/"+proj+"/users/"+mine+"/roles/"+c.role("admin"), "")
	if r := c.as(tok, 200, "GET", "/v3/users", ""); len(r.at("users").([]any)) != 2 {
		t.Error("a list shows the caller's domain alone: ", r.raw)
	}
	if r := c.as(tok, 200, "GET", "/v3/role_assignments", ""); len(r.at("role_assignments").([]any)) != 2 {
		t.Error(r.raw)
	}
	far := c.create("project", `{"name":"q","domain_id":"`+west+`"}`)
	if r := c.as(tok, 200, "GET", "/v3/role_assignments?include_subtree&scope.project.id="+proj, ""); len(r.at("role_assignments").([]any)) != 1 {
		t.Error(r.raw)
	}
	c.as(tok, 403, "GET", "/v3/role_assignments?include_subtree&scope.project.id="+far, "")
	// An admin with a token for a domain sees that domain, too, and no other.
	c.must(204, "PUT", "/v3/domains/"+east+"/users/"+boss+"/roles/"+c.role("admin"), "")
	tok, _ = c.loginWith(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + boss + `","password":"pw"}}},"scope":{"domain":{"id":"` + east + `"}}}}`)
	if r := c.as(tok, 200, "GET", "/v3/domains", ""); len(r.at("domains").([]any)) != 1 || r.str("domains.0.id") != east {
		t.Error(r.raw)
	}
}

func TestApplicationCredentials(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, proj := c.tenant("kim")
		tok := c.login("kim", "pw-kim", `"scope":{"project":{"id":"`+proj+`"}}`)
		path := "/v3/users/" + user + "/application_credentials"
		r := c.as(tok, 201, "POST", path, `{"application_credential":{"name":"ci","roles":[{"name":"reader"}],"access_rules":[{"path":"/v2.1/servers","method":"GET","service":"compute"}]}}`)
		id, secret := r.str("application_credential.id"), r.str("application_credential.secret")
		c.as(tok, 409, "POST", path, `{"application_credential":{"name":"ci"}}`)
		c.as(tok, 400, "POST", path, `{"application_credential":{"name":"x","roles":[{"name":"admin"}]}}`)
		c.as(tok, 400, "POST", path, `{"application_credential":{"name":"x","expires_at":"2001-01-01T00:00:00Z"}}`)
		login := func(extra string) (string, reply) {
			return c.loginWith(`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"` + id + `","secret":"` + secret + `"}}` + extra + `}}`)
		}
		app, r := login("")
		if r.code != 201 || r.str("token.roles.0.name") != "reader" || r.at("token.application_credential.restricted") != true || r.str("token.project.id") != proj {
			t.Fatal(r.raw)
		}
		if _, r := login(`,"scope":{"project":{"id":"` + proj + `"}}`); r.code != 401 {
			t.Error(r.raw)
		}
		if c.valid(app) != 404 {
			t.Error("who does not know access rules must not take the token for good")
		}
		if r := c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", app, "OpenStack-Identity-Access-Rules", "1.0"); r.code != 200 || r.str("token.application_credential.access_rules.0.path") != "/v2.1/servers" {
			t.Error(r.raw)
		}
		c.as(app, 401, "GET", "/v3/auth/projects", "") // no rule allows it
		c.as(tok, 204, "DELETE", path+"/"+id, "")
		if r := c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", app, "OpenStack-Identity-Access-Rules", "1.0"); r.code != 404 {
			t.Error("the token must end with its credential: ", r.raw)
		}
		if _, r := login(""); r.code != 404 {
			t.Error(r.raw)
		}
	})
}

func TestTrusts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		trustor, proj := c.tenant("kim")
		trustee, _ := c.tenant("lee")
		tok := c.login("kim", "pw-kim", `"scope":{"project":{"id":"`+proj+`"}}`)
		body := func(extra string) string {
			return `{"trust":{"trustor_user_id":"` + trustor + `","trustee_user_id":"` + trustee + `","project_id":"` + proj + `","impersonation":true,"roles":[{"name":"member"}]` + extra + `}}`
		}
		id := c.as(tok, 201, "POST", "/v3/OS-TRUST/trusts", body(`,"remaining_uses":1`)).str("trust.id")
		c.as(tok, 404, "POST", "/v3/OS-TRUST/trusts", strings.Replace(body(""), `"member"`, `"admin"`, 1))
		c.as(tok, 400, "POST", "/v3/OS-TRUST/trusts", body(`,"expires_at":"2001-01-01T00:00:00Z"`))
		use := authBody("lee", "pw-lee", `"scope":{"OS-TRUST:trust":{"id":"`+id+`"}}`)
		trusted, r := c.loginWith(use)
		if r.code != 201 || r.str("token.user.id") != trustor || r.str("token.OS-TRUST:trust.trustee_user.id") != trustee || r.str("token.roles.0.name") == "" {
			t.Fatal(r.raw)
		}
		if _, r := c.loginWith(use); r.code != 401 {
			t.Error("the trust had one use: ", r.raw)
		}
		if c.valid(trusted) != 200 {
			t.Error("its token is good")
		}
		if _, r := c.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + trusted + `"}}}}`); r.code != 403 {
			t.Error(r.raw)
		}
		second := c.as(tok, 201, "POST", "/v3/OS-TRUST/trusts", body("")).str("trust.id")
		other, _ := c.loginWith(strings.Replace(use, id, second, 1))
		c.as(tok, 204, "DELETE", "/v3/OS-TRUST/trusts/"+second, "")
		if c.valid(other) != 404 {
			t.Error("a trust's tokens end with it")
		}
	})
}

func TestCredentialsAreEncrypted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, proj := c.tenant("kim")
		tok := c.login("kim", "pw-kim", `"scope":{"project":{"id":"`+proj+`"}}`)
		r := c.as(tok, 201, "POST", "/v3/users/"+user+"/credentials/OS-EC2", `{"tenant_id":"`+proj+`"}`)
		access, secret := r.str("credential.access"), r.str("credential.secret")
		if r := c.as(tok, 200, "GET", "/v3/users/"+user+"/credentials/OS-EC2/"+access, ""); r.str("credential.secret") != secret {
			t.Error(r.raw)
		}
		id := c.create("credential", `{"type":"totp","blob":"seed","user_id":"`+user+`"}`)
		if err := d.Read(t.Context(), func(tx *db.Tx) error {
			return tx.Each(func(r db.Row) error {
				var blob string
				err := r.Scan(&blob)
				if strings.Contains(blob, "seed") || strings.Contains(blob, secret) {
					t.Error("in clear: ", blob)
				}
				return err
			}, `SELECT blob FROM identity_credentials`)
		}); err != nil {
			t.Fatal(err)
		}
		other, _ := c.tenant("lee")
		_ = other
		lee := c.login("lee", "pw-lee", "")
		c.as(lee, 403, "GET", "/v3/credentials/"+id, "")
		if r := c.as(lee, 200, "GET", "/v3/credentials", ""); len(r.at("credentials").([]any)) != 0 {
			t.Error(r.raw)
		}
		if r := c.must(200, "GET", "/v3/credentials/"+id, ""); r.str("credential.blob") != "seed" {
			t.Error(r.raw)
		}
	})
}

// Every route answers bad input with a refusal, never with a failure of ours.
func TestBadInput(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		member := c.login("admin", "secret", "")
		big := `{"user":{"name":"` + strings.Repeat("x", 200<<10) + `"}}`
		bodies := []string{``, `{`, `[]`, `{}`, `null`, `{"auth":1}`, big}
		for _, k := range []string{"auth", "user", "project", "domain", "group", "role", "region", "service", "endpoint", "endpoint_group", "policy", "credential", "trust", "application_credential", "limits", "registered_limits", "limit", "registered_limit", "consumer", "tags", "config"} {
			for _, v := range []string{`null`, `1`, `[]`, `{}`, `[1]`, `{"name":1}`, `{"name":"` + strings.Repeat("n", 300) + `"}`, `{"id":{},"enabled":"x","url":3,"type":[],"filters":[]}`, `{"name":"a","domain_id":"nope","type":"t","blob":"b","user_id":"u","interface":"public","service_id":"s","url":"http://x"}`} {
				bodies = append(bodies, `{"`+k+`":`+v+`}`)
			}
		}
		for _, rt := range c.svc.API().Routes {
			path := rt.Path
			for strings.Contains(path, "{") {
				i, j := strings.Index(path, "{"), strings.Index(path, "}")
				path = path[:i] + "no-such" + path[j+1:]
			}
			if path == "" {
				path = "/"
			}
			for _, token := range []string{"", member, c.admin} {
				try := bodies
				if rt.Method == "GET" || rt.Method == "DELETE" || rt.Method == "HEAD" {
					try = bodies[:1]
				}
				if token != c.admin {
					try = try[:1]
				}
				for _, b := range try {
					for _, q := range []string{"", "?limit=x&marker=%00&name__contains=a", "?limit=99999999999999999999", "?enabled=&name=&marker=zz&limit=0"} {
						if q != "" && rt.Method != "GET" {
							continue
						}
						if r := c.send(token, rt.Method, path+q, b); r.code >= 500 {
							t.Errorf("%s %s %.100s: %d %s", rt.Method, path+q, b, r.code, r.raw)
						}
					}
				}
			}
		}
	})
}

// list_limit cuts a list that asks for no limit, and says so; max_db_limit bounds what may be asked for.
func TestListLimit(t *testing.T) {
	c := newCloudWith(t, dbtest.Memory(t), "[DEFAULT]\nlist_limit = 3\nmax_db_limit = 4\n[identity]\nlist_limit = 2\n")
	for i := range 5 {
		c.create("user", fmt.Sprintf(`{"name":"u%d"}`, i))
		c.create("project", fmt.Sprintf(`{"name":"p%d"}`, i))
	}
	for path, want := range map[string]int{"/v3/users": 2, "/v3/projects": 3, "/v3/users?limit=3": 3, "/v3/users?limit=100": 4, "/v3/services": 5} {
		r := c.must(200, "GET", path, "")
		list, _ := r.at(strings.TrimPrefix(strings.Split(path, "?")[0], "/v3/")).([]any)
		if cut := r.at("truncated") == true; len(list) != want || cut != (want < 5) || cut != (r.str("links.next") != "") {
			t.Errorf("%s: %d members, truncated %v, next %q", path, len(list), cut, r.str("links.next"))
		}
	}
	seen := map[string]bool{}
	for path := "/v3/users"; path != ""; {
		r := c.must(200, "GET", path, "")
		for _, u := range r.at("users").([]any) {
			seen[u.(map[string]any)["id"].(string)] = true
		}
		_, path, _ = strings.Cut(r.str("links.next"), "/identity")
	}
	if len(seen) != 6 { // and the admin
		t.Errorf("page by page there are %d users", len(seen))
	}
}

// A domain-specific role that implies nothing gives no token, so that what it stands on is none of the scopes that a user may have.
func TestIdleRolesOpenNoScope(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, own := c.tenant("kim")
		other := c.create("project", `{"name":"other"}`)
		role := c.create("role", `{"name":"local","domain_id":"default"}`)
		for _, on := range []string{"projects/" + other, "domains/default"} {
			c.must(204, "PUT", "/v3/"+on+"/users/"+user+"/roles/"+role, "")
		}
		tok := c.login("kim", "pw-kim", `"scope":"unscoped"`)
		listed := func() (projects, domains string) {
			return fmt.Sprint(c.as(tok, 200, "GET", "/v3/auth/projects", "").names("projects")), fmt.Sprint(c.as(tok, 200, "GET", "/v3/auth/domains", "").names("domains"))
		}
		for _, scope := range []string{project("other"), `"scope":{"domain":{"id":"default"}}`} {
			if _, r := c.loginWith(authBody("kim", "pw-kim", scope)); r.code != 401 {
				t.Error(r.raw)
			}
		}
		if p, d := listed(); p != "[kim]" || d != "[]" {
			t.Error(own, p, d)
		}
		c.must(201, "PUT", "/v3/roles/"+role+"/implies/"+c.role("reader"), "")
		c.login("kim", "pw-kim", project("other"))
		if p, d := listed(); p != "[kim other]" || d != "[Default]" {
			t.Error(p, d)
		}
	})
}
