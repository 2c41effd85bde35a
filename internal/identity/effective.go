package identity

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

// scope is what roles are held on: a project, a domain, or the system.
type scope struct {
	project, domain string
	system          bool
}

func (sc scope) kind() string {
	switch {
	case sc.system:
		return "system"
	case sc.domain != "":
		return "domain"
	}
	return "project"
}

func (sc scope) id() string {
	switch {
	case sc.system:
		return "system"
	case sc.domain != "":
		return sc.domain
	}
	return sc.project
}

// roleRef is a role as tokens show it.
type roleRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// effectiveRoles are the roles that a user has on a scope: assigned to the user or to one of its groups, on the scope itself or inherited
// from above, with all that they imply. Domain-specific roles grant through what they imply and drop out themselves
// (keystone/assignment/core.py, strip_domain_roles) unless keepDomainRoles.
func effectiveRoles(tx *db.Tx, userID string, sc scope, keepDomainRoles bool) ([]roleRef, error) {
	return rolesOf(tx, actor{user: userID}, sc, keepDomainRoles)
}

// actor is who roles are assigned to: a user, its groups, and for a federated user those that its token carries.
type actor struct {
	user   string
	groups []string
}

// assigned gives the conditions of an actor's assignments, one for each way in which it has them: a query for each finds its rows by index, where one
// for all would read everybody's. The user's own come first. Some memberships end by themselves. With few targets (onFew) the groups that have roles there
// are asked whether the user is a member: a user may be in hundreds.
func (a actor) assigned(tx *db.Tx, onFew bool) []cond {
	member := `actor_id IN (SELECT group_id FROM identity_members WHERE user_id = ?
			UNION ALL SELECT group_id FROM identity_expiring_members WHERE user_id = ? AND expires_at > ?)`
	if onFew {
		member = `(EXISTS (SELECT 1 FROM identity_members m WHERE m.user_id = ? AND m.group_id = actor_id)
			OR EXISTS (SELECT 1 FROM identity_expiring_members m WHERE m.user_id = ? AND m.group_id = actor_id AND m.expires_at > ?))`
	}
	out := []cond{
		{`is_group = FALSE AND actor_id = ?`, []any{a.user}},
		{`is_group = TRUE AND ` + member, []any{a.user, a.user, tx.NowMicros()}},
	}
	if len(a.groups) > 0 {
		args := make([]any, len(a.groups))
		for i, g := range a.groups {
			args[i] = g
		}
		out = append(out, cond{`is_group = TRUE AND actor_id IN (?` + strings.Repeat(", ?", len(a.groups)-1) + `)`, args})
	}
	return out
}

// cond is a condition for db.Where.
type cond struct {
	text string
	args []any
}

// query is the text with numbered places, as a statement of its own.
func (c cond) query() string {
	var b strings.Builder
	for i, part := range strings.Split(c.text, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

// unionOf is a query of an actor's assignments on what the further condition says.
func (a actor) unionOf(tx *db.Tx, columns string, on cond, onFew bool) cond {
	var q cond
	for i, mine := range a.assigned(tx, onFew) {
		if i > 0 {
			q.text += ` UNION `
		}
		q.text += `SELECT ` + columns + ` FROM identity_assignments WHERE (` + on.text + `) AND ` + mine.text
		q.args = append(append(q.args, on.args...), mine.args...)
	}
	return q
}

func rolesOf(tx *db.Tx, a actor, sc scope, keepDomainRoles bool) ([]roleRef, error) {
	above, err := ancestors(tx, sc)
	if err != nil {
		return nil, err
	}
	on := cond{`target_id = ? AND target_type = ? AND inherited = FALSE`, []any{sc.id(), sc.kind()}}
	if len(above) > 0 {
		// The list of all targets is what the index is searched by.
		on.text = `target_id IN (?` + strings.Repeat(", ?", len(above)) + `) AND (` + on.text + ` OR target_id <> ? AND inherited = TRUE)`
		args := []any{sc.id()}
		for _, id := range above {
			args = append(args, id)
		}
		on.args = append(append(args, on.args...), sc.id())
	}
	q := a.unionOf(tx, "role_id", on, true)
	ids, err := db.All(tx, db.Value[string], q.query(), q.args...)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return expandRoles(tx, ids, keepDomainRoles)
}

// ancestors are the projects above a project and its domain; none for other scopes.
func ancestors(tx *db.Tx, sc scope) ([]string, error) {
	if sc.project == "" {
		return nil, nil
	}
	return db.All(tx, db.Value[string], `WITH RECURSIVE up(id, parent_id) AS (
		SELECT id, parent_id FROM identity_projects WHERE id = $1
		UNION SELECT p.id, p.parent_id FROM identity_projects p JOIN up ON p.id = up.parent_id)
		SELECT id FROM up WHERE id <> $1`, sc.project)
}

// implications maps a role to those that it implies directly.
func implications(tx *db.Tx) (map[string][]string, error) {
	out := map[string][]string{}
	err := tx.Each(func(r db.Row) error {
		var prior, implied string
		err := r.Scan(&prior, &implied)
		out[prior] = append(out[prior], implied)
		return err
	}, `SELECT prior_role_id, implied_role_id FROM identity_implied_roles ORDER BY prior_role_id, implied_role_id`)
	return out, err
}

// closure is ids and everything they imply, once each.
func closure(ids []string, implies map[string][]string) []string {
	seen := map[string]bool{}
	queue := slices.Clone(ids)
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if !seen[id] {
			seen[id] = true
			queue = append(queue, implies[id]...)
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func expandRoles(tx *db.Tx, ids []string, keepDomainRoles bool) ([]roleRef, error) {
	implies, err := implications(tx)
	if err != nil {
		return nil, err
	}
	w := &db.Where{}
	w.In("id", closure(ids, implies))
	if !keepDomainRoles {
		w.Add("domain_id = ''")
	}
	return db.All(tx, func(r db.Row) (roleRef, error) {
		var ref roleRef
		err := r.Scan(&ref.ID, &ref.Name)
		return ref, err
	}, `SELECT id, name FROM identity_roles`+w.SQL()+` ORDER BY id`, w.Args()...)
}

// projectsOf are the ids of the projects on which a user has a role that grants something, directly, by group or inherited.
func projectsOf(tx *db.Tx, userID string) ([]string, error) {
	return projectsFor(tx, actor{user: userID})
}

// projectsFor goes down the trees level by level: of one recursive query PostgreSQL thinks that it will need most of the projects, and reads them all.
func projectsFor(tx *db.Tx, a actor) ([]string, error) {
	grant, err := granting(tx)
	if err != nil {
		return nil, err
	}
	here := a.unionOf(tx, "target_id", cond{`target_type = 'project' AND inherited = FALSE` + grant.text, grant.args}, false)
	mine, err := db.All(tx, db.Value[string], here.query(), here.args...)
	if err != nil {
		return nil, err
	}
	above := a.unionOf(tx, "target_id", cond{`inherited = TRUE` + grant.text, grant.args}, false)
	level, err := db.All(tx, db.Value[string], above.query(), above.args...)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for len(level) > 0 {
		var next []string
		for chunk := range slices.Chunk(level, maxIn) {
			w := (&db.Where{}).In("parent_id", padded(chunk))
			ids, err := db.All(tx, db.Value[string], `SELECT id FROM identity_projects`+w.SQL(), w.Args()...)
			if err != nil {
				return nil, err
			}
			for _, id := range ids {
				if !seen[id] {
					seen[id] = true
					next = append(next, id)
				}
			}
		}
		level = next
	}
	for _, id := range mine {
		seen[id] = true
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// granting is a further condition of assignments: that their role grants anything. A domain-specific one that implies none but its like is dropped from
// tokens, so that no token is to be had for it (keystone/assignment/core.py, list_projects_for_user, strips them as well).
func granting(tx *db.Tx) (cond, error) {
	local, err := db.All(tx, db.Value[string], `SELECT id FROM identity_roles WHERE domain_id <> '' ORDER BY id`)
	if err != nil || len(local) == 0 {
		return cond{}, err
	}
	implies, err := implications(tx)
	if err != nil {
		return cond{}, err
	}
	isLocal := map[string]bool{}
	for _, id := range local {
		isLocal[id] = true
	}
	var idle []string
	for _, id := range local {
		if !slices.ContainsFunc(closure([]string{id}, implies), func(id string) bool { return !isLocal[id] }) {
			idle = append(idle, id)
		}
	}
	if len(idle) == 0 {
		return cond{}, nil
	}
	out := cond{text: ` AND role_id NOT IN (?` + strings.Repeat(", ?", len(padded(idle))-1) + `)`}
	for _, id := range padded(idle) {
		out.args = append(out.args, id)
	}
	return out, nil
}

// padded repeats the last value until their number is a power of two, so that lists of all lengths make few texts of statements.
func padded(values []string) []string {
	n := 1
	for n < len(values) {
		n *= 2
	}
	out := slices.Clone(values)
	for len(out) > 0 && len(out) < n {
		out = append(out, values[len(values)-1])
	}
	return out
}

// domainsFor are the ids of the domains on which an actor has a role that grants something.
func domainsFor(tx *db.Tx, a actor) ([]string, error) {
	grant, err := granting(tx)
	if err != nil {
		return nil, err
	}
	q := a.unionOf(tx, "target_id", cond{`target_type = 'domain' AND inherited = FALSE` + grant.text, grant.args}, false)
	return db.All(tx, db.Value[string], q.query()+` ORDER BY 1`, q.args...)
}
