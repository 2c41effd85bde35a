package identity

import (
	"fmt"
	"maps"
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
	if q.project == "" || q.system {
		return readAssignments(tx, directWhere(q))
	}
	var out []assignment
	for chunk := range slices.Chunk(append([]string{q.project}, q.subtree...), maxIn) {
		part, err := readAssignments(tx, directWhere(q).Add("target_type = 'project'").In("target_id", chunk))
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

func directWhere(q assignmentQuery) *db.Where {
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
		w.Add("target_id = 'system' AND target_type = 'system'")
	case q.domain != "" && q.project == "":
		w.Add("target_type = 'domain' AND target_id = ?", q.domain)
	}
	if q.inherited != nil {
		// Upstream adds the system's assignments whatever the filter says about inheritance.
		w.Add("inherited = ? OR target_type = 'system'", *q.inherited)
	}
	return w
}

// effectiveAssignments works out who has which role where: groups become their members, inherited ones reach the projects below, and roles
// imply others (keystone/assignment/core.py, _list_effective_role_assignments). It reads of members and trees what the answer needs, be the cloud
// as large as it is.
func (s *Service) effectiveAssignments(tx *db.Tx, q assignmentQuery) ([]assignment, error) {
	if q.domain != "" && q.inherited != nil && *q.inherited {
		return nil, nil
	}
	below, err := readReach(tx, q)
	if err != nil {
		return nil, err
	}
	raw, err := assignmentsBefore(tx, q, below.targets)
	if err != nil {
		return nil, err
	}
	members, err := readMembers(tx, q, raw)
	if err != nil {
		return nil, err
	}
	var out []assignment
	for _, a := range raw {
		for _, a := range expandActor(a, members, q.user) {
			if out, err = below.expand(out, a); err != nil {
				return nil, err
			}
		}
	}
	return s.withImplied(tx, out, q.role)
}

// assignmentsBefore reads those that effectiveAssignments starts from.
func assignmentsBefore(tx *db.Tx, q assignmentQuery, targets []string) (out []assignment, err error) {
	ways := []cond{{"1 = 1", nil}}
	if q.user != "" {
		ways = actor{user: q.user}.assigned(tx, q.project != "" || q.domain != "")
	}
	for _, mine := range ways { // the user's own come first, as they would from one query
		w := &db.Where{}
		w.Add(mine.text, mine.args...)
		w.Add("target_type <> 'system'")
		if q.inherited != nil {
			w.Add("inherited = ?", *q.inherited)
		}
		if q.domain != "" {
			w.Add("inherited = FALSE AND target_type = 'domain' AND target_id = ?", q.domain)
		}
		if q.project != "" {
			if len(targets) <= maxIn { // reach.expand leaves out the others, too
				w.In("target_id", targets)
			}
			w.Add("inherited = TRUE OR target_type = 'project'")
		}
		part, err := readAssignments(tx, w)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

func expandActor(a assignment, members map[string][]string, only string) []assignment {
	if a.group == "" {
		return []assignment{a}
	}
	users := members[a.group]
	if only != "" {
		users = []string{only} // assignmentsBefore has asked for that user's groups
	}
	var out []assignment
	for _, u := range users {
		b := a
		b.user, b.group, b.viaGroup = u, "", a.group
		out = append(out, b)
	}
	return out
}

// reach tells which projects an inherited assignment reaches: all below its target, or those of them that are asked about.
type reach struct {
	tx *db.Tx
	// targets are what assignments may stand on that concern the projects asked about: these, and all above them.
	targets []string
	asked   map[string]bool // nil: all
	down    map[string][]string
	whole   bool // down is complete
}

func readReach(tx *db.Tx, q assignmentQuery) (*reach, error) {
	b := &reach{tx: tx, down: map[string][]string{}}
	if q.project == "" {
		if b.whole = q.user == "" && q.domain == ""; b.whole {
			var err error
			b.down, err = pairs(tx, `SELECT parent_id, id FROM identity_projects WHERE parent_id <> '' ORDER BY id`)
			return b, err
		}
		return b, nil
	}
	above, err := ancestors(tx, scope{project: q.project})
	if err != nil {
		return nil, err
	}
	here := append([]string{q.project}, q.subtree...)
	b.targets, b.asked, b.whole = append(above, here...), map[string]bool{}, true
	for _, id := range here {
		b.asked[id] = true
	}
	for chunk := range slices.Chunk(b.targets, maxIn) {
		w := (&db.Where{}).In("id", chunk).Add("parent_id <> ''")
		part, err := pairs(tx, `SELECT parent_id, id FROM identity_projects`+w.SQL()+` ORDER BY id`, w.Args()...)
		if err != nil {
			return nil, err
		}
		for up, ids := range part {
			b.down[up] = append(b.down[up], ids...)
		}
	}
	return b, nil
}

// children are the projects right below a project or domain.
func (b *reach) children(id string) ([]string, error) {
	if ids, ok := b.down[id]; ok || b.whole {
		return ids, nil
	}
	ids, err := db.All(b.tx, db.Value[string], `SELECT id FROM identity_projects WHERE parent_id = $1 ORDER BY id`, id)
	b.down[id] = ids
	return ids, err
}

// expand appends an assignment, or for an inherited one what it is on every project below its target, but not on the target itself.
func (b *reach) expand(out []assignment, a assignment) ([]assignment, error) {
	if !a.inherited {
		if b.asked == nil || b.asked[a.project] {
			out = append(out, a)
		}
		return out, nil
	}
	level := []string{a.project + a.domain}
	for len(level) > 0 {
		var next []string
		for _, up := range level {
			ids, err := b.children(up)
			if err != nil {
				return nil, err
			}
			next = append(next, ids...)
		}
		for _, id := range next {
			if b.asked != nil && !b.asked[id] {
				continue
			}
			e := a
			e.viaProject, e.viaDomain, e.project, e.domain, e.inherited = a.project, a.domain, id, "", false
			out = append(out, e)
		}
		level = next
	}
	return out, nil
}

// readMembers maps the groups that assignments name to their users.
func readMembers(tx *db.Tx, q assignmentQuery, list []assignment) (map[string][]string, error) {
	if q.user != "" {
		return nil, nil
	}
	const query = `SELECT group_id, user_id FROM identity_members%s UNION SELECT group_id, user_id FROM identity_expiring_members%s ORDER BY user_id`
	if q.project == "" && q.domain == "" { // of nearly all groups
		return pairs(tx, fmt.Sprintf(query, "", " WHERE expires_at > $1"), tx.NowMicros())
	}
	groups := map[string]bool{}
	for _, a := range list {
		if a.group != "" {
			groups[a.group] = true
		}
	}
	out := map[string][]string{}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(groups)), maxIn) {
		of := (&db.Where{}).In("group_id", chunk)
		now := of.Arg(tx.NowMicros())
		part, err := pairs(tx, fmt.Sprintf(query, of.SQL(), of.SQL()+" AND expires_at > "+now), of.Args()...)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, part)
	}
	return out, nil
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
