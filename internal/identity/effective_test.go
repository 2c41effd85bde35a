package identity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// world is a small identity database in memory, to work effective roles out of by the definition.
type world struct {
	parent  []int // of each project; -1: the domain
	members [2][]int
	implies map[int][]int
	local   [3]bool // roles of the domain: what they imply is granted, they themselves are not
	grants  []grantOf
}

// Targets that are no project.
const (
	theDomain = -1
	theSystem = -2
)

type grantOf struct {
	group     bool
	actor     int
	target    int // a project, theDomain or theSystem
	role      int
	inherited bool
}

func drawWorld(t *rapid.T) world {
	w := world{implies: map[int][]int{}}
	for i := range rapid.IntRange(1, 5).Draw(t, "projects") {
		w.parent = append(w.parent, rapid.IntRange(-1, i-1).Draw(t, "parent"))
	}
	for g := range w.members {
		w.members[g] = rapid.SliceOfNDistinct(rapid.IntRange(0, 1), 0, 2, rapid.ID).Draw(t, "members")
	}
	for r := range 3 { // a role implies later ones, so there is no circle
		if r < 2 && rapid.Bool().Draw(t, "implies") {
			w.implies[r] = append(w.implies[r], rapid.IntRange(r+1, 2).Draw(t, "implied"))
		}
		w.local[r] = rapid.Bool().Draw(t, "local")
	}
	w.grants = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) grantOf {
		return grantOf{rapid.Bool().Draw(t, "group"), rapid.IntRange(0, 1).Draw(t, "actor"), rapid.IntRange(theSystem, len(w.parent)-1).Draw(t, "target"),
			rapid.IntRange(0, 2).Draw(t, "role"), rapid.Bool().Draw(t, "inherited")}
	}), 0, 6).Draw(t, "grants")
	return w
}

// has is the definition: a grant reaches a user on a target if it is the user's or a group's of the user, and it stands on the target, or is
// inherited and stands above it; and roles imply.
func (w world) has(user, target int, keepLocal bool) []string {
	roles := map[string]bool{}
	var add func(int)
	add = func(r int) {
		if keepLocal || !w.local[r] {
			roles[fmt.Sprint("r", r)] = true
		}
		for _, i := range w.implies[r] {
			add(i)
		}
	}
	above := func(g grantOf) bool {
		if target < 0 || g.target == theSystem {
			return false
		}
		if g.target == theDomain {
			return true
		}
		for p := w.parent[target]; p >= 0; p = w.parent[p] {
			if p == g.target {
				return true
			}
		}
		return false
	}
	for _, g := range w.grants {
		mine := !g.group && g.actor == user || g.group && slices.Contains(w.members[g.actor], user)
		if mine && (g.target == target && !g.inherited || g.inherited && above(g)) {
			add(g.role)
		}
	}
	return slices.Sorted(maps.Keys(roles))
}

func (w world) store(s *Service, tx *db.Tx) error {
	for _, table := range []string{"projects", "roles", "implied_roles", "members", "assignments"} {
		if _, err := tx.Exec(`DELETE FROM identity_` + table); err != nil {
			return err
		}
	}
	project := func(i int) string {
		if i < 0 {
			return "d"
		}
		return fmt.Sprint("p", i)
	}
	if err := s.project.insert(tx, doc{"id": "d", "name": "d", "is_domain": true, "enabled": true}); err != nil {
		return err
	}
	for i, up := range w.parent {
		if err := s.project.insert(tx, doc{"id": project(i), "name": project(i), "domain_id": "d", "parent_id": project(up), "enabled": true}); err != nil {
			return err
		}
	}
	for r := range 3 {
		d := doc{"id": fmt.Sprint("r", r), "name": fmt.Sprint("r", r)}
		if w.local[r] {
			d["domain_id"] = "d"
		}
		if err := s.role.insert(tx, d); err != nil {
			return err
		}
		for _, i := range w.implies[r] {
			if _, err := tx.Exec(`INSERT INTO identity_implied_roles (prior_role_id, implied_role_id) VALUES ($1,$2)`, fmt.Sprint("r", r), fmt.Sprint("r", i)); err != nil {
				return err
			}
		}
	}
	for g, users := range w.members {
		for _, u := range users {
			if _, err := tx.Exec(`INSERT INTO identity_members (group_id, user_id) VALUES ($1,$2)`, fmt.Sprint("g", g), fmt.Sprint("u", u)); err != nil {
				return err
			}
		}
	}
	for _, g := range w.grants {
		actor, typ, target := fmt.Sprint("u", g.actor), "project", project(g.target)
		if g.group {
			actor = fmt.Sprint("g", g.actor)
		}
		switch g.target {
		case theDomain:
			typ = "domain"
		case theSystem:
			if g.inherited { // nothing is below the system
				continue
			}
			typ, target = "system", "system"
		}
		if _, err := tx.Exec(`INSERT INTO identity_assignments (actor_id, target_type, target_id, role_id, inherited, is_group) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT DO NOTHING`,
			actor, typ, target, fmt.Sprint("r", g.role), g.inherited, g.group); err != nil {
			return err
		}
	}
	return nil
}

func idsOf(refs []roleRef) (out []string) {
	for _, r := range refs {
		out = append(out, r.ID)
	}
	return out
}

// The roles in tokens, the effective assignments and the list of a user's projects all follow the definition.
func TestEffectiveRolesFollowTheDefinition(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s, err := New(Options{DB: d, KEK: make([]byte, 32), BcryptCost: 4})
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			w := drawWorld(rt)
			err := d.Write(context.Background(), func(tx *db.Tx) error {
				if err := w.store(s, tx); err != nil {
					return err
				}
				for user := range 2 {
					projects, err := projectsOf(tx, fmt.Sprint("u", user))
					if err != nil {
						return err
					}
					domains, err := domainsFor(tx, actor{user: fmt.Sprint("u", user)})
					if err != nil {
						return err
					}
					for target, sc := range map[int]scope{theDomain: {domain: "d"}, theSystem: {system: true}} {
						want := w.has(user, target, sc.system)
						refs, err := effectiveRoles(tx, fmt.Sprint("u", user), sc, sc.system)
						if err != nil {
							return err
						}
						if got := idsOf(refs); !slices.Equal(got, want) || !sc.system && slices.Contains(domains, "d") != (len(want) > 0) {
							rt.Fatalf("user %d on %v: roles %v, domains %v; want %v", user, sc, got, domains, want)
						}
					}
					for p := range w.parent {
						id := fmt.Sprint("p", p)
						want := w.has(user, p, false)
						refs, err := effectiveRoles(tx, fmt.Sprint("u", user), scope{project: id}, false)
						if err != nil {
							return err
						}
						got := idsOf(refs)
						listed, err := s.effectiveAssignments(tx, assignmentQuery{user: fmt.Sprint("u", user), project: id})
						if err != nil {
							return err
						}
						shown := map[string]bool{}
						for _, a := range listed {
							shown[a.role] = true
						}
						if !slices.Equal(got, want) || !slices.Equal(slices.Sorted(maps.Keys(shown)), want) || slices.Contains(projects, id) != (len(want) > 0) {
							rt.Fatalf("user %d on %s: roles %v, assignments %v, projects %v; want %v", user, id, got, shown, projects, want)
						}
					}
				}
				return nil
			})
			if err != nil {
				rt.Fatal(err)
			}
		})
	})
}
