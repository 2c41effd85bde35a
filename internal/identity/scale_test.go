package identity_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

// size is how many rows of each sort a filled database has.
type size struct{ users, projects, groups, members, assignments int }

// large is the cloud that the goals in docs/performance.md are about; small has the same shape, to look at plans.
var (
	large = size{users: 100_000, projects: 20_000, groups: 2_000, members: 300_000, assignments: 500_000}
	small = size{users: 400, projects: 200, groups: 240, members: 1_200, assignments: 2_000}
)

// filled names what a test or benchmark asks for in a filled database.
type filled struct {
	domain  string // with the trees of projects
	user    string // in 200 groups, with a password
	name    string
	project string // deep in a tree, with roles of that user
	group   string // one with many members
}

const filledPassword = "a-long-password"

// filler makes rows as the service would, without its work: many rows a statement, in one transaction.
type filler struct {
	tx  *db.Tx
	rnd *rand.Rand
	err error
}

// id is a new id; they come in no order, as UUIDs do.
func (f *filler) id() string {
	var b [16]byte
	for i := range b {
		b[i] = byte(f.rnd.Uint32())
	}
	return hex.EncodeToString(b[:])
}

func (f *filler) ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = f.id()
	}
	return out
}

// rows inserts n rows into a table.
func (f *filler) rows(into string, n int, row func(i int) []any) {
	const most = 500
	for from := 0; from < n && f.err == nil; from += most {
		var b strings.Builder
		var args []any
		for i := from; i < min(n, from+most); i++ {
			sep := "("
			if i > from {
				b.WriteString(", ")
			}
			for _, v := range row(i) {
				args = append(args, v)
				fmt.Fprintf(&b, "%s$%d", sep, len(args))
				sep = ", "
			}
			b.WriteString(")")
		}
		_, f.err = f.tx.Exec(`INSERT INTO identity_`+into+` VALUES `+b.String()+` ON CONFLICT DO NOTHING`, args...)
	}
}

// depthOf gives a tree of projects: three of four stand below another one, at most four deep.
func depthOf(i int) (parent int, ok bool) {
	if i%4 == 0 {
		return 0, false
	}
	return i - 1, true
}

// fill fills the database with a cloud: domains with trees of projects, users in groups, roles of users and groups on projects, a third of them
// inherited, and one user who is in 200 groups with roles on projects, and on trees through groups.
func (c *cloud) fill(n size) filled {
	c.t.Helper()
	hash := c.hashOf(filledPassword)
	roles := []string{c.role("member"), c.role("reader"), c.role("manager")}
	var out filled
	err := c.d.Write(context.Background(), func(tx *db.Tx) error {
		if tx.Engine() == db.SQLite { // else pages are written again and again, since the rows come in no order
			if _, err := tx.Exec(`PRAGMA cache_size = -1000000`); err != nil {
				return err
			}
		}
		f := &filler{tx: tx, rnd: rand.New(rand.NewPCG(1, 2))}
		users, projects, groups := f.ids(n.users), f.ids(n.projects), f.ids(n.groups)
		domains := f.ids(20)
		deep := n.projects/8*4 + 3
		domainOf := func(i int) string { return domains[i/4%len(domains)] }
		out = filled{domain: domainOf(deep), user: users[n.users/2], name: "user-" + fmt.Sprint(n.users/2), project: projects[deep], group: groups[1]}
		f.rows(`projects (id, name, is_domain, revision)`, len(domains), func(i int) []any { return []any{domains[i], fmt.Sprint("domain-", i), true, int64(1)} })
		f.rows(`projects (id, name, domain_id, parent_id, revision)`, n.projects, func(i int) []any {
			parent := domainOf(i)
			if up, ok := depthOf(i); ok {
				parent = projects[up]
			}
			return []any{projects[i], fmt.Sprint("project-", i), domainOf(i), parent, int64(i + 2)}
		})
		f.rows(`users (id, name, domain_id, password_hash, extra, revision)`, n.users, func(i int) []any {
			return []any{users[i], fmt.Sprint("user-", i), out.domain, hash, `{"email":"user@example.org"}`, int64(i + 2)}
		})
		f.rows(`logins (user_id, created_at)`, n.users, func(i int) []any { return []any{users[i], int64(1)} })
		f.rows(`federated_users (idp_id, protocol_id, unique_id, user_id)`, n.users/4, func(i int) []any { return []any{"corp", "openid", fmt.Sprint(i), users[i*4]} })
		f.rows(`groups (id, name, domain_id, revision)`, n.groups, func(i int) []any { return []any{groups[i], fmt.Sprint("group-", i), out.domain, int64(i + 2)} })
		f.rows(`members (group_id, user_id)`, 200, func(i int) []any { return []any{groups[i], out.user} })
		f.rows(`members (group_id, user_id)`, n.members-200, func(i int) []any {
			return []any{groups[f.rnd.IntN(n.groups)], users[f.rnd.IntN(n.users)]}
		})
		grant := func(actor string, group bool, on int, role string, inherited bool) []any {
			return []any{actor, "project", projects[on], role, inherited, group}
		}
		const into = `assignments (actor_id, target_type, target_id, role_id, inherited, is_group)`
		f.rows(into, 200, func(i int) []any { return grant(groups[i], true, (i*4+i%4)%n.projects, roles[i%3], false) })
		f.rows(into, 20, func(i int) []any { return grant(groups[i], true, deep-3+i%3, roles[i%3], true) })
		f.rows(into, 2, func(i int) []any { return []any{groups[7+i], "domain", out.domain, roles[1+i], true, true} })
		f.rows(into, n.assignments/10, func(i int) []any {
			return grant(groups[f.rnd.IntN(n.groups)], true, f.rnd.IntN(n.projects), roles[i%3], i%3 == 0)
		})
		f.rows(into, n.assignments-n.assignments/10, func(i int) []any {
			return grant(users[f.rnd.IntN(n.users)], false, f.rnd.IntN(n.projects), roles[i%3], i%3 == 0)
		})
		return f.err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.analyze(); err != nil {
		c.t.Fatal(err)
	}
	// What the service remembers is of the database before.
	c.svc, c.h = c.controller()
	c.admin = c.login("admin", "secret", project("admin"))
	return out
}

// analyze tells PostgreSQL what its autovacuum would find out in time. Nobody does that for SQLite, here or elsewhere.
func (c *cloud) analyze() error {
	if c.d.Engine() != db.Postgres {
		return nil
	}
	return c.d.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.Exec(`ANALYZE`)
		return err
	})
}

// hashOf is the hash that the service makes of a password.
func (c *cloud) hashOf(password string) string {
	c.t.Helper()
	id := c.create("user", `{"name":"a-password","password":"`+password+`"}`)
	var hash string
	if err := c.d.Read(context.Background(), func(tx *db.Tx) (err error) {
		hash, err = db.One(tx, db.Value[string], `SELECT password_hash FROM identity_users WHERE id = $1`, id)
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	c.must(204, "DELETE", "/v3/users/"+id, "")
	return hash
}

// scaleRequest is a request to a filled cloud.
type scaleRequest struct {
	name, method, path, body string
	code                     int
	own                      bool // with the user's own token
	change                   bool // each one has a number in place of %d
}

func loginBody(d filled) string {
	return `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + d.user + `","password":"` + filledPassword + `"}}},"scope":{"project":{"id":"` + d.project + `"}}}}`
}

func scaleRequests(d filled, role string) []scaleRequest {
	return []scaleRequest{
		{name: "token", method: "POST", path: "/v3/auth/tokens", body: loginBody(d), code: 201},
		{name: "validate", method: "GET", path: "/v3/auth/tokens", code: 200},
		{name: "auth-projects", method: "GET", path: "/v3/auth/projects", code: 200, own: true},
		{name: "user-projects", method: "GET", path: "/v3/users/" + d.user + "/projects", code: 200},
		{name: "user-groups", method: "GET", path: "/v3/users/" + d.user + "/groups", code: 200},
		{name: "group-users", method: "GET", path: "/v3/groups/" + d.group + "/users", code: 200},
		{name: "users-by-name", method: "GET", path: "/v3/users?name=" + d.name, code: 200},
		{name: "users-by-name-and-domain", method: "GET", path: "/v3/users?name=" + d.name + "&domain_id=" + d.domain, code: 200},
		{name: "projects-by-name", method: "GET", path: "/v3/projects?name=project-77", code: 200},
		{name: "groups-by-name", method: "GET", path: "/v3/groups?name=group-7", code: 200},
		{name: "domains", method: "GET", path: "/v3/domains", code: 200},
		{name: "projects-page", method: "GET", path: "/v3/projects?limit=100", code: 200},
		{name: "users-page", method: "GET", path: "/v3/users?limit=100", code: 200},
		{name: "users-all", method: "GET", path: "/v3/users", code: 200},
		{name: "children", method: "GET", path: "/v3/projects?parent_id=" + d.project, code: 200},
		{name: "assignments-of-user", method: "GET", path: "/v3/role_assignments?user.id=" + d.user + "&include_names", code: 200},
		{name: "assignments-of-project", method: "GET", path: "/v3/role_assignments?scope.project.id=" + d.project + "&include_names", code: 200},
		{name: "effective-on-project", method: "GET", path: "/v3/role_assignments?effective&include_names&scope.project.id=" + d.project, code: 200},
		{name: "effective-of-user-on-project", method: "GET", path: "/v3/role_assignments?effective&include_names&user.id=" + d.user + "&scope.project.id=" + d.project, code: 200},
		{name: "grants", method: "GET", path: "/v3/projects/" + d.project + "/users/" + d.user + "/roles", code: 200},
		{name: "create-user", method: "POST", path: "/v3/users", body: `{"user":{"name":"new-%d","domain_id":"` + d.domain + `"}}`, code: 201, change: true},
		{name: "create-project", method: "POST", path: "/v3/projects", body: `{"project":{"name":"new-%d","domain_id":"` + d.domain + `"}}`, code: 201, change: true},
		{name: "assign-and-unassign", method: "PUT", path: "/v3/projects/" + d.project + "/users/" + d.user + "/roles/" + role, code: 204, change: true},
	}
}
