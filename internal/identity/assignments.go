package identity

import (
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
)

// assignment is a role assignment, direct or worked out. The via fields say where a worked-out one comes from.
type assignment struct {
	user, group           string
	project, domain       string
	system                bool
	role                  string
	inherited             bool
	viaGroup              string
	viaProject, viaDomain string
	viaRole               string
}

// query is what GET /role_assignments filters by.
type assignmentQuery struct {
	role, user, group, project, domain string
	system                             bool
	inherited                          *bool
	subtree                            []string // projects below project, when they are asked for
}

func readAssignments(tx *db.Tx, w *db.Where) ([]assignment, error) {
	return db.All(tx, func(r db.Row) (assignment, error) {
		var a assignment
		var actor, typ, target string
		var group bool
		if err := r.Scan(&actor, &typ, &target, &a.role, &a.inherited, &group); err != nil {
			return a, err
		}
		if group {
			a.group = actor
		} else {
			a.user = actor
		}
		switch typ {
		case "project":
			a.project = target
		case "domain":
			a.domain = target
		default:
			a.system = true
		}
		return a, nil
	}, `SELECT actor_id, target_type, target_id, role_id, inherited, is_group FROM identity_assignments`+w.SQL()+` ORDER BY is_group, target_type, actor_id, target_id, role_id, inherited`, w.Args()...)
}

// directAssignments are the assignments as they were made.
func directAssignments(tx *db.Tx, q assignmentQuery) ([]assignment, error) {
	w := &db.Where{}
	if q.role != "" {
		w.Add("role_id = ?", q.role)
	}
	if q.user != "" {
		w.Add("is_group = FALSE AND actor_id = ?", q.user)
	}
	if q.group != "" {
		w.Add("is_group = TRUE AND actor_id = ?", q.group)
	}
	switch {
	case q.system:
		w.Add("target_type = 'system'")
	case q.project != "":
		w.Add("target_type = 'project'").In("target_id", append([]string{q.project}, q.subtree...))
	case q.domain != "":
		w.Add("target_type = 'domain' AND target_id = ?", q.domain)
	}
	if q.inherited != nil {
		// Upstream adds the system's assignments whatever the filter says about inheritance.
		w.Add("inherited = ? OR target_type = 'system'", *q.inherited)
	}
	return readAssignments(tx, w)
}

// effectiveAssignments works out who has which role where: groups become their members, inherited ones reach the projects below, and roles
// imply others (keystone/assignment/core.py, _list_effective_role_assignments).
func (s *Service) effectiveAssignments(tx *db.Tx, q assignmentQuery) ([]assignment, error) {
	if q.domain != "" && q.inherited != nil && *q.inherited {
		return nil, nil
	}
	w := &db.Where{}
	w.Add("target_type <> 'system'")
	if q.user != "" {
		actor{user: q.user}.assigned(tx, w)
	}
	if q.inherited != nil {
		w.Add("inherited = ?", *q.inherited)
	}
	if q.domain != "" {
		w.Add("inherited = FALSE AND target_type = 'domain' AND target_id = ?", q.domain)
	}
	if q.project != "" {
		above, err := ancestors(tx, scope{project: q.project})
		if err != nil {
			return nil, err
		}
		here := append([]string{q.project}, q.subtree...)
		w.In("target_id", append(above, here...))
		w.Add("inherited = TRUE OR target_type = 'project'")
	}
	raw, err := readAssignments(tx, w)
	if err != nil {
		return nil, err
	}
	tree, err := readTree(tx)
	if err != nil {
		return nil, err
	}
	members, err := readMembers(tx)
	if err != nil {
		return nil, err
	}
	var out []assignment
	for _, a := range raw {
		for _, a := range expandActor(a, members, q.user) {
			for _, a := range expandTarget(a, tree) {
				if q.project == "" || a.project == q.project || slices.Contains(q.subtree, a.project) {
					out = append(out, a)
				}
			}
		}
	}
	return s.withImplied(tx, out, q.role)
}

func expandActor(a assignment, members map[string][]string, only string) []assignment {
	if a.group == "" {
		return []assignment{a}
	}
	var out []assignment
	for _, u := range members[a.group] {
		if only == "" || only == u {
			b := a
			b.user, b.group, b.viaGroup = u, "", a.group
			out = append(out, b)
		}
	}
	return out
}

// expandTarget gives an inherited assignment for every project below its target, but not the target itself.
func expandTarget(a assignment, tree map[string][]string) []assignment {
	if !a.inherited {
		return []assignment{a}
	}
	top := a.project + a.domain
	var out []assignment
	level := tree[top]
	for len(level) > 0 {
		var next []string
		for _, id := range level {
			b := a
			b.viaProject, b.viaDomain, b.project, b.domain, b.inherited = a.project, a.domain, id, "", false
			out = append(out, b)
			next = append(next, tree[id]...)
		}
		level = next
	}
	return out
}

// readTree maps projects and domains to their children.
func readTree(tx *db.Tx) (map[string][]string, error) {
	return pairs(tx, `SELECT parent_id, id FROM identity_projects WHERE parent_id <> '' ORDER BY id`)
}

// readMembers maps groups to their users.
func readMembers(tx *db.Tx) (map[string][]string, error) {
	return pairs(tx, `SELECT group_id, user_id FROM identity_members UNION SELECT group_id, user_id FROM identity_expiring_members WHERE expires_at > $1 ORDER BY user_id`, tx.NowMicros())
}

func pairs(tx *db.Tx, q string, args ...any) (map[string][]string, error) {
	out := map[string][]string{}
	err := tx.Each(func(r db.Row) error {
		var k, v string
		err := r.Scan(&k, &v)
		out[k] = append(out[k], v)
		return err
	}, q, args...)
	return out, err
}

// withImplied adds what roles imply, strips domain-specific roles, and keeps one role when that is asked for.
func (s *Service) withImplied(tx *db.Tx, list []assignment, role string) ([]assignment, error) {
	implies, err := implications(tx)
	if err != nil {
		return nil, err
	}
	global, err := db.All(tx, db.Value[string], `SELECT id FROM identity_roles WHERE domain_id = ''`)
	if err != nil {
		return nil, err
	}
	isGlobal := map[string]bool{}
	for _, id := range global {
		isGlobal[id] = true
	}
	seen := map[assignment]bool{}
	var out []assignment
	for queue := list; len(queue) > 0; {
		var next []assignment
		for _, a := range queue {
			if seen[a] {
				continue
			}
			seen[a] = true
			if isGlobal[a.role] && (role == "" || a.role == role) {
				out = append(out, a)
			}
			for _, id := range implies[a.role] {
				b := a
				b.role, b.viaRole = id, a.role
				if b.viaRole != id {
					next = append(next, b)
				}
			}
		}
		queue = next
	}
	return out, nil
}
