package identity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

const (
	manyDomains, manyUsers, manyProjects, manyRoles, manyGroups = 2, 3, 3, 3, 2
	// Targets that are no project: domain d is onDomain-d.
	onSystem, onDomain = -1, -2
)

// society is a small identity database in memory, to work out by the definition what its people can get. Its people and places are made once; a draw
// is written over them.
type society struct {
	domainOn          [manyDomains]bool
	userOn            [manyUsers]bool
	userIn, projectIn [manyProjects]int // there are as many of both
	projectOn         [manyProjects]bool
	parent            [manyProjects]int // onDomain-d: the domain itself
	member            [manyGroups][manyUsers]bool
	implies           [manyRoles][manyRoles]bool // later ones only, so that there is no circle
	local             [manyRoles]bool            // of a domain: what they imply is granted, they themselves are not
	grants            []granted
	domains, users    []string
	projects, roles   []string
	usable, refused   int
}

type granted struct {
	group               bool
	actor, target, role int
	inherited           bool
}

// lent is a trust, or an application credential (whose trustor and trustee are its user).
type lent struct {
	id, secret       string
	trustor, trustee int
	project          int
	impersonation    bool
	roles            []int
	above            *lent // what it was redelegated from
	token            string
}

func (l *lent) String() string {
	out := fmt.Sprintf("of user %d to %d on project %d, impersonation %v, roles %v", l.trustor, l.trustee, l.project, l.impersonation, l.roles)
	if l.above != nil {
		out += ", from one " + l.above.String()
	}
	return out
}

func chance(r *rand.Rand, one int) bool { return r.IntN(one) == 0 }

func (w *society) draw(r *rand.Rand) {
	for d := range w.domainOn {
		w.domainOn[d] = true
	}
	for u := range w.userOn {
		w.userOn[u], w.userIn[u] = true, r.IntN(manyDomains)
	}
	for p := range w.projectOn {
		w.projectOn[p], w.projectIn[p] = true, r.IntN(manyDomains)
		w.parent[p] = onDomain - w.projectIn[p]
		if above := r.IntN(p + 1); above < p && w.projectIn[above] == w.projectIn[p] {
			w.parent[p] = above
		}
	}
	for g := range w.member {
		for u := range w.member[g] {
			w.member[g][u] = chance(r, 2)
		}
	}
	for i := range manyRoles {
		w.local[i] = chance(r, 5)
		for k := i + 1; k < manyRoles; k++ {
			w.implies[i][k] = chance(r, 3)
		}
	}
	w.grants = nil
	for range 6 + r.IntN(7) {
		g := granted{group: chance(r, 2), target: onDomain - 1 + r.IntN(manyProjects+3), role: r.IntN(manyRoles), inherited: chance(r, 2)}
		g.actor = r.IntN(manyUsers)
		if g.group {
			g.actor = r.IntN(manyGroups)
		}
		g.inherited = g.inherited && g.target != onSystem
		w.grants = append(w.grants, g)
	}
}

// change takes away and disables some of what is.
func (w *society) change(r *rand.Rand) {
	for d := range w.domainOn {
		w.domainOn[d] = !chance(r, 5)
	}
	for u := range w.userOn {
		w.userOn[u] = !chance(r, 8)
	}
	for p := range w.projectOn {
		w.projectOn[p] = !chance(r, 8)
	}
	if i := r.IntN(manyRoles); i+1 < manyRoles && chance(r, 2) {
		w.implies[i][i+1] = !w.implies[i][i+1]
	}
	if i := r.IntN(manyRoles); chance(r, 4) {
		w.local[i] = !w.local[i]
	}
	w.grants = slices.DeleteFunc(w.grants, func(granted) bool { return chance(r, 8) })
}

func (w *society) on(user int) bool { return w.userOn[user] && w.domainOn[w.userIn[user]] }

func (w *society) open(target int) bool {
	switch {
	case target == onSystem:
		return true
	case target <= onDomain:
		return w.domainOn[onDomain-target]
	}
	return w.projectOn[target] && w.domainOn[w.projectIn[target]]
}

// closure is roles with all that they imply.
func (w *society) closure(roles ...int) map[int]bool {
	out := map[int]bool{}
	for _, i := range roles {
		out[i] = true
		for k, implied := range w.implies[i] {
			if implied {
				maps.Copy(out, w.closure(k))
			}
		}
	}
	return out
}

// has are a user's roles on a target, those of domains too.
func (w *society) has(user, target int) map[int]bool {
	above := map[int]bool{}
	for at := target; at >= 0; at = w.parent[at] {
		above[w.parent[at]] = true
	}
	out := map[int]bool{}
	for _, g := range w.grants {
		mine := g.actor == user
		if g.group {
			mine = w.member[g.actor][user]
		}
		if mine && (!g.inherited && g.target == target || g.inherited && above[g.target]) {
			maps.Copy(out, w.closure(g.role))
		}
	}
	return out
}

// shown are the names of roles that a token carries.
func (w *society) shown(roles map[int]bool, keepLocal bool) (names []string) {
	for i := range roles {
		if keepLocal || !w.local[i] {
			names = append(names, fmt.Sprint("r", i))
		}
	}
	slices.Sort(names)
	return names
}

func within(some, all map[int]bool) bool {
	for i := range some {
		if !all[i] {
			return false
		}
	}
	return true
}

// login is what a user's token for a target carries; nothing: there is none.
func (w *society) login(user, target int) []string {
	if !w.on(user) || !w.open(target) {
		return nil
	}
	return w.shown(w.has(user, target), target == onSystem)
}

// byTrust is what a trust's token carries.
func (w *society) byTrust(l *lent) []string {
	if !w.on(l.trustor) || !w.on(l.trustee) || !w.open(l.project) {
		return nil
	}
	origin := l
	for origin.above != nil {
		origin = origin.above
		if !w.on(origin.trustor) || !w.on(origin.trustee) {
			return nil
		}
	}
	lends := w.closure(l.roles...)
	if !within(lends, w.has(origin.trustor, l.project)) {
		return nil
	}
	return w.shown(lends, false)
}

// byCredential is what an application credential's token carries.
func (w *society) byCredential(l *lent) []string {
	var out []string
	for _, name := range w.login(l.trustor, l.project) {
		if slices.Contains(l.roles, int(name[1]-'0')) {
			out = append(out, name)
		}
	}
	return out
}

func found(c *cloud) *society {
	w := &society{}
	for i := range manyDomains {
		w.domains = append(w.domains, c.create("domain", fmt.Sprintf(`{"name":"d%d"}`, i)))
	}
	for i := range manyUsers {
		w.users = append(w.users, c.create("user", fmt.Sprintf(`{"name":"u%d","password":"pw"}`, i)))
	}
	for i := range manyProjects {
		w.projects = append(w.projects, c.create("project", fmt.Sprintf(`{"name":"p%d"}`, i)))
	}
	for i := range manyRoles {
		w.roles = append(w.roles, c.create("role", fmt.Sprintf(`{"name":"r%d"}`, i)))
	}
	return w
}

// store writes the draw past the API, which would void tokens: what they are worth shall follow from what is there.
func (w *society) store(c *cloud) {
	c.t.Helper()
	err := c.d.Write(context.Background(), func(tx *db.Tx) (err error) {
		exec := func(q string, args ...any) {
			if err == nil {
				_, err = tx.Exec(q, args...)
			}
		}
		target := func(i int) (typ, id string) {
			switch {
			case i == onSystem:
				return "system", "system"
			case i <= onDomain:
				return "domain", w.domains[onDomain-i]
			}
			return "project", w.projects[i]
		}
		for d, id := range w.domains {
			exec(`UPDATE identity_projects SET enabled = $1 WHERE id = $2`, w.domainOn[d], id)
		}
		for u, id := range w.users {
			exec(`UPDATE identity_users SET enabled = $1, domain_id = $2 WHERE id = $3`, w.userOn[u], w.domains[w.userIn[u]], id)
			exec(`DELETE FROM identity_members WHERE user_id = $1`, id)
			for g := range w.member {
				if w.member[g][u] {
					exec(`INSERT INTO identity_members (group_id, user_id) VALUES ($1,$2)`, fmt.Sprint("g", g), id)
				}
			}
		}
		for p, id := range w.projects {
			_, up := target(w.parent[p])
			exec(`UPDATE identity_projects SET enabled = $1, domain_id = $2, parent_id = $3 WHERE id = $4`, w.projectOn[p], w.domains[w.projectIn[p]], up, id)
		}
		for i, id := range w.roles {
			of := ""
			if w.local[i] {
				of = w.domains[0]
			}
			exec(`UPDATE identity_roles SET domain_id = $1 WHERE id = $2`, of, id)
			exec(`DELETE FROM identity_implied_roles WHERE prior_role_id = $1`, id)
			exec(`DELETE FROM identity_assignments WHERE role_id = $1`, id)
			for k, implied := range w.implies[i] {
				if implied {
					exec(`INSERT INTO identity_implied_roles (prior_role_id, implied_role_id) VALUES ($1,$2)`, id, w.roles[k])
				}
			}
		}
		for _, g := range w.grants {
			typ, id := target(g.target)
			actor := fmt.Sprint("g", g.actor)
			if !g.group {
				actor = w.users[g.actor]
			}
			exec(`INSERT INTO identity_assignments (actor_id, target_type, target_id, role_id, inherited, is_group) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT DO NOTHING`,
				actor, typ, id, w.roles[g.role], g.inherited, g.group)
		}
		return err
	})
	if err == nil {
		err = c.svc.Forget(context.Background())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (w *society) body(user int, scope string) string {
	return fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":%q,"password":"pw"}}},"scope":%s}}`, w.users[user], scope)
}

func (w *society) scopeOf(target int) string {
	switch {
	case target == onSystem:
		return `{"system":{"all":true}}`
	case target <= onDomain:
		return fmt.Sprintf(`{"domain":{"id":%q}}`, w.domains[onDomain-target])
	}
	return fmt.Sprintf(`{"project":{"id":%q}}`, w.projects[target])
}

// same wants an answer to be a token with the roles, or a refusal when there are none.
func (w *society) same(c *cloud, what string, r reply, good int, want []string) {
	c.t.Helper()
	if len(want) == 0 {
		w.refused++
		if r.code < 401 || r.code > 404 {
			c.t.Errorf("%s: %d %s, want a refusal", what, r.code, r.raw)
		}
		return
	}
	w.usable++
	got := roleNames(r, "token.roles")
	slices.Sort(got)
	if r.code != good || !slices.Equal(got, want) {
		c.t.Errorf("%s: %d %v %s, want %v", what, r.code, got, r.message(), want)
	}
}

// scopes compares what each user may get by itself.
func (w *society) scopes(c *cloud) {
	c.t.Helper()
	idsIn := func(r reply, kind string) (ids []string) {
		list, _ := r.at(kind).([]any)
		for _, e := range list {
			ids = append(ids, e.(map[string]any)["id"].(string))
		}
		slices.Sort(ids)
		return ids
	}
	for u := range w.users {
		var projects, domains []string
		for target := onDomain - manyDomains + 1; target < manyProjects; target++ {
			_, r := c.loginWith(w.body(u, w.scopeOf(target)))
			w.same(c, fmt.Sprintf("user %d on %d", u, target), r, 201, w.login(u, target))
			// Disabled ones are listed, as upstream's are: the answer says so.
			if len(w.shown(w.has(u, target), false)) > 0 && target >= 0 {
				projects = append(projects, w.projects[target])
			} else if len(w.shown(w.has(u, target), false)) > 0 && target != onSystem {
				domains = append(domains, w.domains[onDomain-target])
			}
		}
		token, r := c.loginWith(w.body(u, `"unscoped"`))
		if (r.code == 201) != w.on(u) {
			c.t.Errorf("user %d, enabled %v: %d %s", u, w.on(u), r.code, r.raw)
		}
		if r.code != 201 {
			continue
		}
		slices.Sort(projects)
		slices.Sort(domains)
		if got := idsIn(c.as(token, 200, "GET", "/v3/auth/projects", ""), "projects"); !slices.Equal(got, projects) {
			c.t.Errorf("user %d lists the projects %v, want %v", u, got, projects)
		}
		if got := idsIn(c.as(token, 200, "GET", "/v3/auth/domains", ""), "domains"); !slices.Equal(got, domains) {
			c.t.Errorf("user %d lists the domains %v, want %v", u, got, domains)
		}
	}
}

func (w *society) refs(roles []int) string {
	var out []map[string]string
	for _, i := range roles {
		out = append(out, map[string]string{"id": w.roles[i]})
	}
	b, _ := json.Marshal(out)
	return string(b)
}

// some draws roles out of those, at times one more.
func some(r *rand.Rand, of map[int]bool) (out []int) {
	for i := range manyRoles {
		if of[i] && !chance(r, 3) || chance(r, 8) {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		out = []int{r.IntN(manyRoles)}
	}
	return out
}

// pass makes a trust with a token, if there shall be one.
func (w *society) pass(c *cloud, token string, l *lent, may bool) bool {
	c.t.Helper()
	r := c.send(token, "POST", "/v3/OS-TRUST/trusts", fmt.Sprintf(`{"trust":{"trustor_user_id":%q,"trustee_user_id":%q,"project_id":%q,"impersonation":%v,"allow_redelegation":true,"roles":%s}}`,
		w.users[l.trustor], w.users[l.trustee], w.projects[l.project], l.impersonation, w.refs(l.roles)))
	if may != (r.code == 201) || !may && r.code != 403 && r.code != 404 {
		c.t.Fatalf("trust %v: %d %s, want one: %v", l, r.code, r.raw, may)
	}
	l.id = r.str("trust.id")
	return may
}

func (w *society) useTrust(c *cloud, l *lent) (string, reply) {
	return c.loginWith(w.body(l.trustee, fmt.Sprintf(`{"OS-TRUST:trust":{"id":%q}}`, l.id)))
}

// lend makes trusts, with up to three links, and application credentials while all are enabled.
func (w *society) lend(c *cloud, r *rand.Rand, name string) (trusts, credentials []*lent) {
	c.t.Helper()
	for u := range w.users {
		project := r.IntN(manyProjects)
		for range 6 { // rather one where there is something to lend
			if len(w.has(u, project)) == 0 {
				project = r.IntN(manyProjects)
			}
		}
		has := w.has(u, project)
		own := c.as("", 201, "POST", "/v3/auth/tokens", w.body(u, `"unscoped"`)).header.Get("X-Subject-Token")
		l := &lent{trustor: u, trustee: r.IntN(manyUsers), project: project, impersonation: chance(r, 2), roles: some(r, has)}
		may := true
		for _, i := range l.roles { // the roles that it names; whether all they imply are there is asked when it is used, and follows
			may = may && has[i]
		}
		for token := own; w.pass(c, token, l, may); {
			trusts = append(trusts, l)
			var answer reply
			l.token, answer = w.useTrust(c, l)
			w.same(c, fmt.Sprintf("a new trust %v", l), answer, 201, w.byTrust(l))
			if answer.code != 201 || len(trusts) > 9 {
				break
			}
			next := &lent{trustor: l.trustor, trustee: r.IntN(manyUsers), project: project, impersonation: l.impersonation && chance(r, 2), above: l}
			if !l.impersonation {
				next.trustor = l.trustee
			}
			mine := map[int]bool{}
			for _, i := range l.roles {
				mine[i] = true
			}
			next.roles = some(r, mine)
			depth := 1
			for up := l; up.above != nil; up = up.above {
				depth++
			}
			if depth == 3 {
				break
			}
			may, token, l = true, l.token, next
			for _, i := range l.roles {
				may = may && mine[i]
			}
		}
		token, answer := c.loginWith(w.body(u, w.scopeOf(project)))
		if answer.code != 201 {
			continue
		}
		cred := &lent{trustor: u, trustee: u, project: project, roles: some(r, has)}
		answer = c.send(token, "POST", "/v3/users/"+w.users[u]+"/application_credentials", `{"application_credential":{"name":"`+name+`","roles":`+w.refs(cred.roles)+`}}`)
		all := w.closure(cred.roles...)
		may = within(all, has)
		for i := range all {
			may = may && !w.local[i]
		}
		if may != (answer.code == 201) || !may && answer.code != 400 {
			c.t.Fatalf("credential %v: %d %s, want one: %v", cred, answer.code, answer.raw, may)
		}
		if may {
			cred.roles = slices.Collect(maps.Keys(all)) // they are a list from now on
			cred.id, cred.secret = answer.str("application_credential.id"), answer.str("application_credential.secret")
			cred.token, answer = c.appLogin(cred.id, cred.secret)
			w.same(c, fmt.Sprintf("a new credential %v", cred), answer, 201, w.byCredential(cred))
			credentials = append(credentials, cred)
		}
	}
	return trusts, credentials
}

// What anybody can get, by itself, by trusts and their chains, or by application credentials, is what follows from who and what is enabled and who has
// which roles at that time: with a new token as with one from before. HANOK_TEST_SEED repeats a run.
func TestTokensFollowTheDefinition(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("HANOK_TEST_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HANOK_TEST_SEED=%d", seed)
	dbtest.Each(t, func(t *testing.T, d *db.DB) { compareWorlds(t, d, seed, 8) })
	t.Run("many", func(t *testing.T) { compareWorlds(t, dbtest.Memory(t), seed+1, 80) })
}

func compareWorlds(t *testing.T, d *db.DB, seed uint64, worlds int) {
	c := newCloud(t, d)
	w := found(c)
	r := rand.New(rand.NewPCG(seed, 0))
	chains := 0
	for n := range worlds {
		w.draw(r)
		w.store(c)
		trusts, credentials := w.lend(c, r, fmt.Sprint("c", n))
		var held [manyUsers]map[int]string // tokens from before the changes
		for u := range w.users {
			held[u] = map[int]string{}
			for target := onDomain - manyDomains + 1; target < manyProjects; target++ {
				if len(w.login(u, target)) > 0 {
					held[u][target], _ = c.loginWith(w.body(u, w.scopeOf(target)))
				}
			}
		}
		for range 2 {
			w.change(r)
			w.store(c)
			w.scopes(c)
			for u := range held {
				for target, token := range held[u] {
					w.same(c, fmt.Sprintf("the token of user %d on %d", u, target), c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", token), 200, w.login(u, target))
				}
			}
			for _, l := range trusts {
				if l.above != nil {
					chains++
				}
				_, fresh := w.useTrust(c, l)
				w.same(c, fmt.Sprint("trust ", l), fresh, 201, w.byTrust(l))
				if l.token != "" {
					w.same(c, fmt.Sprint("the token of trust ", l), c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", l.token), 200, w.byTrust(l))
				}
			}
			for _, l := range credentials {
				_, fresh := c.appLogin(l.id, l.secret)
				w.same(c, fmt.Sprint("credential ", l), fresh, 201, w.byCredential(l))
				w.same(c, fmt.Sprint("the token of credential ", l), c.send(c.admin, "GET", "/v3/auth/tokens", "", "X-Subject-Token", l.token), 200, w.byCredential(l))
			}
			if t.Failed() {
				t.Fatalf("world %d: %+v", n, *w)
			}
		}
	}
	t.Logf("%d tokens, %d refusals, %d uses of redelegated trusts", w.usable, w.refused, chains)
	if w.usable == 0 || w.refused == 0 {
		t.Error("nothing was compared")
	}
}
