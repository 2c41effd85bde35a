package identity

import (
	"maps"
	"slices"
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

// assigned narrows to an actor's assignments. Some memberships end by themselves.
func (a actor) assigned(tx *db.Tx, w *db.Where) {
	cond := `(is_group = FALSE AND actor_id = ?) OR (is_group = TRUE AND (actor_id IN (SELECT group_id FROM identity_members WHERE user_id = ?)
		OR actor_id IN (SELECT group_id FROM identity_expiring_members WHERE user_id = ? AND expires_at > ?)`
	args := []any{a.user, a.user, a.user, tx.NowMicros()}
	if len(a.groups) > 0 {
		cond += ` OR actor_id IN (?` + strings.Repeat(", ?", len(a.groups)-1) + `)`
		for _, g := range a.groups {
			args = append(args, g)
		}
	}
	w.Add(cond+`))`, args...)
}

func rolesOf(tx *db.Tx, a actor, sc scope, keepDomainRoles bool) ([]roleRef, error) {
	w := &db.Where{}
	a.assigned(tx, w)
	above, err := ancestors(tx, sc)
	if err != nil {
		return nil, err
	}
	cond, args := `(target_type = ? AND target_id = ? AND inherited = FALSE)`, []any{sc.kind(), sc.id()}
	for _, id := range above {
		cond += ` OR (target_id = ? AND inherited = TRUE)`
		args = append(args, id)
	}
	w.Add(cond, args...)
	ids, err := db.All(tx, db.Value[string], `SELECT DISTINCT role_id FROM identity_assignments`+w.SQL(), w.Args()...)
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

// projectsOf are the ids of the projects on which a user has a role, directly, by group or inherited.
func projectsOf(tx *db.Tx, userID string) ([]string, error) {
	return projectsFor(tx, actor{user: userID})
}

func projectsFor(tx *db.Tx, a actor) ([]string, error) {
	w := &db.Where{}
	a.assigned(tx, w)
	return db.All(tx, db.Value[string], `WITH RECURSIVE mine(target_type, target_id, inherited) AS (
		SELECT DISTINCT target_type, target_id, inherited FROM identity_assignments`+w.SQL()+`),
	down(id) AS (
		SELECT p.id FROM identity_projects p JOIN mine ON mine.inherited = TRUE AND p.parent_id = mine.target_id
		UNION SELECT p.id FROM identity_projects p JOIN down ON p.parent_id = down.id)
	SELECT target_id FROM mine WHERE target_type = 'project' AND inherited = FALSE UNION SELECT id FROM down ORDER BY 1`, w.Args()...)
}

// domainsFor are the ids of the domains on which an actor has a role.
func domainsFor(tx *db.Tx, a actor) ([]string, error) {
	w := (&db.Where{}).Add("target_type = 'domain' AND inherited = FALSE")
	a.assigned(tx, w)
	return db.All(tx, db.Value[string], `SELECT DISTINCT target_id FROM identity_assignments`+w.SQL()+` ORDER BY 1`, w.Args()...)
}
