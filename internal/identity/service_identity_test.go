package identity_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// managed is a project with a manager and its service identity.
type managed struct {
	*cloud
	project, manager, token, service string
	creds                            string // path of the service identity's application credentials
}

func newManaged(c *cloud) managed {
	user, proj := c.tenant("kim")
	c.must(204, "PUT", "/v3/projects/"+proj+"/users/"+user+"/roles/"+c.role("manager"), "")
	m := managed{cloud: c, project: proj, manager: user, token: c.login("kim", "pw-kim", project("kim"))}
	m.service = c.as(m.token, 200, "PUT", "/v3/projects/"+proj+"/service_identity", "").str("user.id")
	m.creds = "/v3/users/" + m.service + "/application_credentials"
	return m
}

// machine makes an application credential of the service identity.
func (m managed) machine(token, name, extra string) (id, secret string) {
	m.t.Helper()
	r := m.as(token, 201, "POST", m.creds, `{"application_credential":{"name":"`+name+`"`+extra+`}}`)
	return r.str("application_credential.id"), r.str("application_credential.secret")
}

func (c *cloud) appLogin(id, secret string) (string, reply) {
	c.t.Helper()
	return c.loginWith(`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"` + id + `","secret":"` + secret + `"}}}}`)
}

func roleNames(r reply, at string) (names []string) {
	list, _ := r.at(at).([]any)
	for _, e := range list {
		names = append(names, e.(map[string]any)["name"].(string))
	}
	slices.Sort(names)
	return names
}

func TestServiceIdentityOutlivesPeople(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		m := newManaged(newCloud(t, d))
		path := "/v3/projects/" + m.project + "/service_identity"
		r := m.as(m.token, 200, "GET", path, "")
		if r.str("user.name") != "service-kim" || r.str("user.domain_id") != "default" || r.str("user.id") != m.service {
			t.Fatal(r.raw)
		}
		if again := m.as(m.token, 200, "PUT", path, "").str("user.id"); again != m.service {
			t.Error("a second identity: ", again)
		}
		id, secret := m.machine(m.token, "ci", `,"roles":[{"name":"member"}],"access_rules":[{"path":"/v2.1/servers","method":"GET","service":"compute"}]`)
		r = m.as(m.token, 200, "GET", m.creds+"/"+id, "")
		if r.str("application_credential.project_id") != m.project || r.str("application_credential.user_id") != m.service || strings.Contains(r.raw, secret) {
			t.Error(r.raw)
		}
		rule := m.as(m.token, 200, "GET", "/v3/users/"+m.service+"/access_rules", "").str("access_rules.0.id")
		m.as(m.token, 403, "DELETE", "/v3/users/"+m.service+"/access_rules/"+rule, "") // in use
		free, freeSecret := m.machine(m.token, "deploy", `,"roles":[{"name":"member"}]`)

		// The person goes; the machines stay.
		m.must(204, "DELETE", "/v3/users/"+m.manager, "")
		if _, r := m.appLogin(id, secret); r.code != 201 {
			t.Fatal("with the manager the machine's credential went: ", r.raw)
		}
		tok, r := m.appLogin(free, freeSecret)
		if r.code != 201 || r.str("token.user.id") != m.service || r.str("token.project.id") != m.project || !slices.Equal(roleNames(r, "token.roles"), []string{"member", "reader"}) {
			t.Fatal(r.raw)
		}
		m.as(tok, 200, "GET", "/v3/auth/projects", "")
		if r := m.form("/v3/OS-OAUTH2/token", "grant_type=client_credentials", "Authorization", basic(free, freeSecret)); r.code != 200 {
			t.Error(r.raw)
		}
		// The next manager takes over.
		m.create("user", `{"name":"lee","password":"pw-lee"}`)
		lee := m.must(200, "GET", "/v3/users?name=lee", "").str("users.0.id")
		m.must(204, "PUT", "/v3/projects/"+m.project+"/users/"+lee+"/roles/"+m.role("manager"), "")
		leeTok := m.login("lee", "pw-lee", project("kim"))
		if r := m.as(leeTok, 200, "GET", m.creds, ""); len(r.at("application_credentials").([]any)) != 2 {
			t.Error(r.raw)
		}
		m.as(leeTok, 204, "DELETE", m.creds+"/"+id, "")
		m.as(leeTok, 204, "DELETE", "/v3/users/"+m.service+"/access_rules/"+rule, "")
		if m.valid(tok) != 200 {
			t.Error("the other credential named the same roles")
		}
		// The project goes, and with it everything.
		m.must(204, "DELETE", "/v3/projects/"+m.project, "")
		if _, r := m.appLogin(free, freeSecret); r.code != 404 || m.valid(tok) != 404 {
			t.Error("the project is gone: ", r.raw)
		}
		m.must(404, "GET", "/v3/users/"+m.service, "")
	})
}

// What the identity may do shows where everybody's does, and goes with its last credential that needs it.
func TestServiceIdentityAssignments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		m := newManaged(newCloud(t, d))
		roles := func() []string {
			r := m.must(200, "GET", "/v3/projects/"+m.project+"/users/"+m.service+"/roles", "")
			return roleNames(r, "roles")
		}
		if got := roles(); got != nil {
			t.Error(got)
		}
		one, _ := m.machine(m.token, "one", `,"roles":[{"name":"member"}]`)
		two, _ := m.machine(m.token, "two", `,"roles":[{"name":"reader"}]`)
		if got := roles(); !slices.Equal(got, []string{"member", "reader"}) {
			t.Error(got)
		}
		m.as(m.token, 204, "DELETE", m.creds+"/"+one, "")
		if got := roles(); !slices.Equal(got, []string{"reader"}) {
			t.Error(got)
		}
		m.as(m.token, 204, "DELETE", m.creds+"/"+two, "")
		if got := roles(); got != nil {
			t.Error(got)
		}
		three, secret := m.machine(m.token, "three", "")
		if r := m.as(m.token, 200, "GET", m.creds+"/"+three, ""); !slices.Equal(roleNames(r, "application_credential.roles"), []string{"manager", "member", "reader"}) {
			t.Error("without roles those of the maker: ", r.raw)
		}
		tok, _ := m.appLogin(three, secret)
		m.as(m.token, 204, "DELETE", "/v3/projects/"+m.project+"/service_identity", "")
		if m.valid(tok) != 404 {
			t.Error("the identity has ended")
		}
		m.as(m.token, 404, "GET", "/v3/projects/"+m.project+"/service_identity", "")
		if again := m.as(m.token, 200, "PUT", "/v3/projects/"+m.project+"/service_identity", "").str("user.id"); again == m.service {
			t.Error("a new identity must not be the old one")
		}
	})
}

func TestServiceIdentitiesAreNoPeople(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		taken := c.create("user", `{"name":"service-kim","password":"x"}`)
		m := newManaged(c)
		if m.service == taken || c.must(200, "GET", "/v3/users/"+m.service, "").str("user.name") != "service-kim-"+m.project {
			t.Error("a person of that name must not become the identity")
		}
		for query, shown := range map[string]bool{"": false, "?domain_id=default": false, "?service_identities=true": true, "?service_identities=0": false, "?name=service-kim-" + m.project: true} {
			if r := c.must(200, "GET", "/v3/users"+query, ""); strings.Contains(r.raw, m.service) != shown {
				t.Errorf("%s: %s", query, r.raw)
			}
		}
		c.must(400, "PUT", "/v3/projects/default/service_identity", "")
		c.must(404, "PUT", "/v3/projects/nowhere/service_identity", "")
		// Many at once make one.
		proj := c.create("project", `{"name":"many"}`)
		ids := make([]string, 8)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				r := c.send(c.admin, "PUT", "/v3/projects/"+proj+"/service_identity", "")
				if r.code != 200 {
					t.Error(r.code, r.raw)
				}
				ids[i] = r.str("user.id")
			})
		}
		wg.Wait()
		if len(slices.Compact(ids)) != 1 {
			t.Error(ids)
		}
	})
}

// attack sends a request and wants it refused, with nothing of the service identity changed.
func (m managed) attack(what, token, method, path, body string, codes ...int) {
	m.t.Helper()
	before := m.state()
	r := m.send(token, method, path, body)
	if !slices.Contains(codes, r.code) {
		m.t.Errorf("%s: %s %s answers %d %s", what, method, path, r.code, r.raw)
	}
	if after := m.state(); after != before {
		m.t.Errorf("%s: changed\n%s\nto\n%s", what, before, after)
	}
}

// state is everything that says what the service identity may do.
func (m managed) state() string {
	var rows []string
	err := m.d.Read(context.Background(), func(tx *db.Tx) error {
		rows = nil
		for _, q := range []string{`SELECT id || roles || project_id || unrestricted FROM identity_application_credentials WHERE user_id = $1 ORDER BY id`, `SELECT password_hash FROM identity_users WHERE id = $1`,
			`SELECT target_id || role_id FROM identity_assignments WHERE actor_id = $1 ORDER BY 1`, `SELECT id FROM identity_credentials WHERE user_id = $1 ORDER BY id`, `SELECT project_id FROM identity_service_users WHERE user_id = $1`,
			`SELECT unique_id FROM identity_federated_users WHERE user_id = $1`, `SELECT id FROM identity_trusts WHERE trustor_user_id = $1 AND deleted_at = 0`} {
			got, err := db.All(tx, db.Value[string], q, m.service)
			if err != nil {
				return err
			}
			rows = append(rows, strings.Join(got, ","))
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Join(rows, "\n")
}

// Everything that somebody could try in order to get more out of a service identity than was given to them.
func TestServiceIdentityEscalation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		m := newManaged(c)
		credBody := func(roles string) string { return `{"application_credential":{"name":"x"` + roles + `}}` }
		identityPath := "/v3/projects/" + m.project + "/service_identity"
		adminID, adminSecret := m.machine(c.admin, "of-the-admin", `,"roles":[{"name":"admin"}]`)
		one := m.creds + "/" + adminID

		// The project's own people below manager, people of other projects, and nobody.
		c.create("user", `{"name":"member","password":"pw"}`)
		member := c.must(200, "GET", "/v3/users?name=member", "").str("users.0.id")
		c.must(204, "PUT", "/v3/projects/"+m.project+"/users/"+member+"/roles/"+c.role("member"), "")
		other, otherProject := c.tenant("other")
		c.must(204, "PUT", "/v3/projects/"+otherProject+"/users/"+other+"/roles/"+c.role("manager"), "")
		strangers := map[string]string{"a member": c.login("member", "pw", project("kim")), "another project's manager": c.login("other", "pw-other", project("other")),
			"the manager without scope": c.login("kim", "pw-kim", `"scope":"unscoped"`)}
		for who, tok := range strangers {
			m.attack(who, tok, "PUT", identityPath, "", 403)
			m.attack(who, tok, "GET", identityPath, "", 403)
			m.attack(who, tok, "DELETE", identityPath, "", 403)
			m.attack(who, tok, "POST", m.creds, credBody(""), 403)
			m.attack(who, tok, "GET", m.creds, "", 403)
			m.attack(who, tok, "GET", one, "", 403)
			m.attack(who, tok, "DELETE", one, "", 403)
			m.attack(who, tok, "GET", "/v3/users/"+m.service+"/access_rules", "", 403)
			// The credential by the attacker's own path.
			m.attack(who, tok, "DELETE", "/v3/users/"+other+"/application_credentials/"+adminID, "", 403)
			m.attack(who, tok, "GET", "/v3/users/"+other+"/application_credentials/"+adminID, "", 403)
		}
		m.attack("nobody", "", "POST", m.creds, credBody(""), 401)

		// The manager, for roles that are not the manager's.
		m.attack("a role by name", m.token, "POST", m.creds, credBody(`,"roles":[{"name":"admin"}]`), 400)
		m.attack("a role by id", m.token, "POST", m.creds, credBody(`,"roles":[{"name":"reader"},{"id":"`+c.role("admin")+`"}]`), 400)
		m.attack("a role beside the project", m.token, "POST", m.creds, credBody(`,"roles":[{"name":"service"}]`), 400)
		m.attack("unrestricted", m.token, "POST", m.creds, credBody(`,"unrestricted":true`), 400)
		m.attack("another person's", m.token, "POST", "/v3/users/"+other+"/application_credentials", credBody(""), 403)
		hijacked := c.create("project", `{"name":"target"}`)
		id, _ := m.machine(m.token, "elsewhere", `,"project_id":"`+hijacked+`","roles":[{"name":"reader"}]`)
		m.attack("another person's by the body", m.token, "POST", m.creds, credBody(`,"user_id":"`+other+`"`), 400)
		if r := m.as(m.token, 200, "GET", m.creds+"/"+id, ""); r.str("application_credential.project_id") != m.project || r.str("application_credential.user_id") != m.service {
			t.Error("body members made it another one's: ", r.raw)
		}
		// The manager, to take the admin's credential over.
		m.attack("a password", m.token, "PATCH", "/v3/users/"+m.service, `{"user":{"password":"x"}}`, 403)
		m.attack("an EC2 credential", m.token, "POST", "/v3/users/"+m.service+"/credentials/OS-EC2", `{"tenant_id":"`+m.project+`"}`, 403)
		m.attack("a credential", m.token, "POST", "/v3/credentials", blobOf(m.service, m.project, "x", ""), 403)
		m.attack("a trust", m.token, "POST", "/v3/OS-TRUST/trusts", `{"trust":{"trustor_user_id":"`+m.service+`","trustee_user_id":"`+m.manager+`","project_id":"`+m.project+`","impersonation":true,"roles":[{"name":"admin"}]}}`, 403)
		m.attack("a grant", m.token, "PUT", "/v3/projects/"+m.project+"/users/"+m.service+"/roles/"+c.role("admin"), "", 403)
		m.attack("its own EC2 signature", m.token, "POST", "/v3/credentials", blobOf(m.manager, m.project, "mine", `,"app_cred_id":"`+adminID+`"`), 201)
		if r := c.send(c.serviceToken(), "POST", "/v3/ec2tokens", ec2Body("mine", "s", c.now())); r.code != 401 {
			t.Error("a blob that names the identity's credential: ", r.raw)
		}

		// A manager of the whole domain, who may change its users.
		boss := c.create("user", `{"name":"boss","password":"pw"}`)
		c.must(204, "PUT", "/v3/domains/default/users/"+boss+"/roles/"+c.role("manager"), "")
		bossTok := c.login("boss", "pw", `"scope":{"domain":{"id":"default"}}`)
		c.as(bossTok, 200, "PATCH", "/v3/users/"+m.service, `{"user":{"description":"allowed"}}`)
		m.attack("a password by the domain's manager", bossTok, "PATCH", "/v3/users/"+m.service, `{"user":{"password":"x"}}`, 403)
		m.attack("a credential by the domain's manager", bossTok, "POST", m.creds, credBody(`,"roles":[{"name":"member"}]`), 403)
		m.attack("a password by the admin", c.admin, "PATCH", "/v3/users/"+m.service, `{"user":{"password":"x"}}`, 403)
		// An account at an identity provider would be a way in, too, and so would a secret that an admin chooses.
		c.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/corp", `{"identity_provider":{"enabled":true,"domain_id":"default"}}`)
		c.must(201, "PUT", "/v3/OS-FEDERATION/mappings/corp", `{"mapping":{"rules":[{"local":[{"user":{"name":"{0}"}}],"remote":[{"type":"REMOTE_USER"}]}]}}`)
		c.must(201, "PUT", "/v3/OS-FEDERATION/identity_providers/corp/protocols/openid", `{"protocol":{"mapping_id":"corp"}}`)
		for who, tok := range map[string]string{"the domain's manager": bossTok, "the admin": c.admin} {
			m.attack("an account elsewhere by "+who, tok, "PATCH", "/v3/users/"+m.service, `{"user":{"federated":[{"idp_id":"corp","protocols":[{"protocol_id":"openid","unique_id":"boss"}]}]}}`, 403)
		}
		m.attack("an EC2 credential by the admin", c.admin, "POST", "/v3/users/"+m.service+"/credentials/OS-EC2", `{"tenant_id":"`+m.project+`"}`, 403)
		m.attack("passcodes by the admin", c.admin, "POST", "/v3/credentials", `{"credential":{"user_id":"`+m.service+`","type":"totp","blob":"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}}`, 403)
		if err := c.svc.SetPassword(context.Background(), "Default", "service-kim", "x"); err == nil {
			t.Error("a password from the machine")
		}
		if _, r := c.loginWith(authBody("service-kim", "", "")); r.code != 401 {
			t.Error("no password is none, not the empty one: ", r.raw)
		}
		// A role that it gets elsewhere is of no use to its credentials here.
		c.must(204, "PUT", "/v3/projects/"+hijacked+"/users/"+m.service+"/roles/"+c.role("admin"), "")

		// What the manager lent to others: an application credential, a trust. Both end with the manager; nothing that they make may not.
		app := c.as(m.token, 201, "POST", "/v3/users/"+m.manager+"/application_credentials", `{"application_credential":{"name":"lent","unrestricted":true}}`)
		lent, _ := c.appLogin(app.str("application_credential.id"), app.str("application_credential.secret"))
		trust := c.as(m.token, 201, "POST", "/v3/OS-TRUST/trusts", `{"trust":{"trustor_user_id":"`+m.manager+`","trustee_user_id":"`+other+`","project_id":"`+m.project+`","impersonation":true,"roles":[{"name":"manager"}]}}`).str("trust.id")
		trusted, r := c.loginWith(authBody("other", "pw-other", `"scope":{"OS-TRUST:trust":{"id":"`+trust+`"}}`))
		if r.code != 201 {
			t.Fatal(r.raw)
		}
		for who, tok := range map[string]string{"an application credential": lent, "a trust": trusted} {
			m.attack(who, tok, "POST", m.creds, credBody(""), 403)
			m.attack(who, tok, "DELETE", one, "", 403)
			m.attack(who, tok, "PUT", identityPath, "", 403)
			m.attack(who, tok, "DELETE", identityPath, "", 403)
		}
		// The machine itself, even with the roles of an admin or a manager.
		adminMachine, r := c.appLogin(adminID, adminSecret)
		if r.code != 201 || !slices.Contains(roleNames(r, "token.roles"), "admin") {
			t.Fatal(r.raw)
		}
		managerID, managerSecret := m.machine(m.token, "manager", "")
		managerMachine, _ := c.appLogin(managerID, managerSecret)
		for who, tok := range map[string]string{"the admin's machine": adminMachine, "the manager's machine": managerMachine} {
			m.attack(who, tok, "POST", m.creds, credBody(""), 403)
			m.attack(who, tok, "DELETE", m.creds+"/"+managerID, "", 403)
			m.attack(who, tok, "DELETE", identityPath, "", 403)
			m.attack(who, tok, "POST", "/v3/OS-TRUST/trusts", `{"trust":{"trustor_user_id":"`+m.service+`","trustee_user_id":"`+other+`","project_id":"`+m.project+`","impersonation":true,"roles":[{"name":"reader"}]}}`, 403)
			m.attack(who, tok, "POST", "/v3/users/"+m.service+"/credentials/OS-EC2", `{"tenant_id":"`+m.project+`"}`, 403)
			exchange, _ := json.Marshal(tok)
			if _, r := c.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":` + string(exchange) + `}},"scope":{"project":{"id":"` + hijacked + `"}}}}`); r.code != 403 {
				t.Error(who, ": exchanged its token: ", r.raw)
			}
		}
		// A person of the same name or with the same members has nothing.
		double := c.create("user", `{"name":"service-other","password":"pw","description":"Service identity of project other","service_identities":"true"}`)
		m.attack("a person's credentials", strangers["another project's manager"], "POST", "/v3/users/"+double+"/application_credentials", credBody(""), 403)

		// The manager is one no longer.
		c.must(204, "DELETE", "/v3/projects/"+m.project+"/users/"+m.manager+"/roles/"+c.role("manager"), "")
		late := c.login("kim", "pw-kim", project("kim"))
		m.attack("the manager of yesterday", late, "POST", m.creds, credBody(""), 403)
		m.attack("the manager of yesterday", m.token, "POST", m.creds, credBody(""), 401, 403)
	})
}
