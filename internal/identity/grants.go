package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// grant is one of keystone's paths to role assignments: an actor on a target, inherited or not.
type grant struct {
	s         *Service
	target    string // project, domain, system
	group     bool
	inherited bool
}

func (s *Service) grantRoutes() []api.Route {
	var out []api.Route
	for _, target := range []string{"projects/{project_id}", "domains/{domain_id}"} {
		for _, inherited := range []bool{false, true} {
			for _, group := range []bool{false, true} {
				g := grant{s: s, target: target[:len("project")], group: group, inherited: inherited}
				if g.target != "project" {
					g.target = "domain"
				}
				prefix, suffix := "/v3/", ""
				if inherited {
					prefix, suffix = "/v3/OS-INHERIT/", "/inherited_to_projects"
				}
				out = append(out, g.routes(prefix+target+"/"+g.actorPath()+"/roles", suffix, "grant")...)
			}
		}
	}
	for _, group := range []bool{false, true} {
		g := grant{s: s, target: "system", group: group}
		out = append(out, g.routes("/v3/system/"+g.actorPath()+"/roles", "", "system")...)
	}
	return out
}

func (g grant) actorPath() string {
	if g.group {
		return "groups/{group_id}"
	}
	return "users/{user_id}"
}

// rule is the policy rule of a verb: identity:check_grant, or identity:check_system_grant_for_user.
func (g grant) rule(verb string) string {
	if g.target != "system" {
		if verb == "list" {
			return "identity:list_grants"
		}
		return "identity:" + verb + "_grant"
	}
	noun := "_system_grant_for_"
	if verb == "list" {
		noun = "_system_grants_for_"
	}
	if g.group {
		return "identity:" + verb + noun + "group"
	}
	return "identity:" + verb + noun + "user"
}

func (g grant) routes(path, suffix, _ string) []api.Route {
	one := path + "/{role_id}" + suffix
	o := func(verb string) api.Rule { return api.Object(g.rule(verb)) }
	return []api.Route{
		api.Handle("GET", path+suffix, o("list"), 200, g.list),
		api.Handle("GET", one, o("check"), 204, g.check),
		api.Handle("PUT", one, o("create"), 204, g.put),
		api.Handle("DELETE", one, o("revoke"), 204, g.remove),
	}
}

// parts are what the path names. Upstream looks them up for the rule's target, so unknown ones are 404 before the rule is asked; at a
// removal the actor may be gone.
type grantParts struct {
	role, target   doc
	actor          string
	targetID, kind string
}

func (g grant) read(tx *db.Tx, r *api.Request, verb string) (p grantParts, err error) {
	p.kind = g.target
	pairs := []any{}
	r.Asked()
	if id := r.Path("role_id"); id != "" {
		if p.role, err = g.s.role.get(tx, id); err != nil {
			return p, err
		}
		pairs = append(pairs, "role", p.role)
	}
	k, name := g.s.user, "user"
	if g.group {
		k, name = g.s.group, "group"
	}
	p.actor = r.Path(name + "_id")
	actor, err := k.get(tx, p.actor)
	if err != nil && (verb != "revoke" || !fault.Is(err, 404)) {
		return p, err
	}
	pairs = append(pairs, name, actor)
	switch g.target {
	case "project":
		p.targetID = r.Path("project_id")
		p.target, err = g.s.project.get(tx, p.targetID)
	case "domain":
		p.targetID = r.Path("domain_id")
		p.target, err = g.s.getDomain(tx, p.targetID)
	default:
		p.targetID = "system"
		err = nil
	}
	if err != nil {
		return p, err
	}
	if p.target != nil {
		pairs = append(pairs, g.target, p.target)
	}
	return p, r.Enforce(g.rule(verb), about(r, pairs...))
}

func (g grant) list(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	p, err := inRead(ctx, g.s, func(tx *db.Tx) (grantParts, error) { return g.read(tx, r, "list") })
	if err != nil {
		return nil, err
	}
	l := listing{kind: g.s.role}
	l.where.Add(`id IN (SELECT role_id FROM identity_assignments WHERE actor_id = ? AND target_type = ? AND target_id = ? AND inherited = ?)`, p.actor, p.kind, p.targetID, g.inherited)
	return g.s.list(ctx, r, l)
}

func (g grant) there(tx *db.Tx, p grantParts) error {
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_assignments WHERE actor_id = $1 AND target_type = $2 AND target_id = $3 AND role_id = $4 AND inherited = $5`,
		p.actor, p.kind, p.targetID, p.role["id"], g.inherited)
	if err == nil && n == 0 {
		err = fault.NotFound("Could not find role assignment with role: %s, user or group: %s, project, domain, or system: %s.", p.role["id"], p.actor, p.targetID)
	}
	return err
}

func (g grant) check(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return inRead(ctx, g.s, func(tx *db.Tx) (api.None, error) {
		p, err := g.read(tx, r, "check")
		if err == nil {
			err = g.there(tx, p)
		}
		return api.None{}, err
	})
}

func (g grant) put(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, g.s.write(ctx, func(tx *db.Tx) error {
		p, err := g.read(tx, r, "create")
		if err != nil {
			return err
		}
		if domain := str(p.role, "domain_id"); domain != "" {
			if g.target == "project" && str(p.target, "domain_id") != domain {
				return fault.Forbidden("Project %s must be in the same domain as the role %s being assigned.", p.targetID, p.role["id"])
			}
			if g.target == "system" {
				return fault.BadRequest("Role %s is a domain-specific role. Unable to use a domain-specific role in a system assignment.", p.role["id"])
			}
		}
		_, err = tx.Exec(`INSERT INTO identity_assignments (actor_id, target_type, target_id, role_id, inherited, is_group) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT DO NOTHING`,
			p.actor, p.kind, p.targetID, p.role["id"], g.inherited, g.group)
		return err
	})
}

func (g grant) remove(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, g.s.write(ctx, func(tx *db.Tx) error {
		p, err := g.read(tx, r, "revoke")
		if err != nil {
			return err
		}
		if err := g.there(tx, p); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM identity_assignments WHERE actor_id = $1 AND target_type = $2 AND target_id = $3 AND role_id = $4 AND inherited = $5`,
			p.actor, p.kind, p.targetID, p.role["id"], g.inherited)
		return err
	})
}
