package identity

import (
	"context"
	"maps"
	"net/url"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) assignmentRoutes() []api.Route {
	return []api.Route{api.Handle("GET", "/v3/role_assignments", api.Object("identity:list_role_assignments"), 200, s.listAssignments)}
}

// checkAssignmentQuery refuses filters that exclude each other (keystone/api/role_assignments.py).
func checkAssignmentQuery(q url.Values, effective bool, inherited *bool) error {
	domain, project, system := q.Get("scope.domain.id") != "", q.Get("scope.project.id") != "", q.Get("scope.system") != ""
	group := q.Get("group.id") != ""
	switch {
	case domain && project:
		return fault.BadRequest("Specify a domain or project, not both")
	case domain && system:
		return fault.BadRequest("Specify system or domain, not both")
	case project && system:
		return fault.BadRequest("Specify system or project, not both")
	case q.Get("user.id") != "" && group:
		return fault.BadRequest("Specify a user or group, not both")
	case effective && group:
		return fault.BadRequest("Combining effective and group filter will always result in an empty list.")
	case effective && inherited != nil && *inherited && domain:
		return fault.BadRequest("Combining effective, domain and inherited filters will always result in an empty list.")
	}
	return nil
}

func (s *Service) listAssignments(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	q := r.Query()
	tree := flagSet(q, "include_subtree")
	if flagSet(q, "effective") && s.o.Conf.Identity.DomainSpecificDrivers {
		// Who may not see the answer does not make directories work for it.
		if err := s.read(ctx, func(tx *db.Tx) error { return s.enforceAssignments(tx, r, tree) }); err != nil {
			return nil, err
		}
		if err := s.lookAtGroupsWithRoles(ctx, r); err != nil {
			return nil, err
		}
	}
	list, err := inRead(ctx, s, func(tx *db.Tx) ([][]byte, error) {
		if err := s.enforceAssignments(tx, r, tree); err != nil {
			return nil, err
		}
		aq := assignmentQuery{role: q.Get("role.id"), user: q.Get("user.id"), group: q.Get("group.id"), project: q.Get("scope.project.id"), domain: q.Get("scope.domain.id"), system: q.Get("scope.system") == "all"}
		if v := q.Get("scope.OS-INHERIT:inherited_to"); q.Has("scope.OS-INHERIT:inherited_to") {
			yes := v == "projects"
			aq.inherited = &yes
		}
		effective := flagSet(q, "effective")
		if effective && aq.project != "" {
			if _, err := s.project.get(tx, aq.project); err != nil {
				return nil, err
			}
		}
		if err := checkAssignmentQuery(q, effective, aq.inherited); err != nil {
			return nil, err
		}
		if tree {
			below, err := s.subtree(tx, aq.project)
			if err != nil {
				return nil, err
			}
			for _, d := range below {
				aq.subtree = append(aq.subtree, str(d, "id"))
			}
		}
		return s.findAssignments(tx, r, aq, effective, flagSet(q, "include_names"))
	})
	if err != nil {
		return nil, err
	}
	return s.wrap(r, "role_assignments", list, nil, 0), nil
}

func (s *Service) enforceAssignments(tx *db.Tx, r *api.Request, tree bool) error {
	if !tree {
		return r.Enforce("identity:list_role_assignments", domainTarget(r))
	}
	id := r.Query().Get("scope.project.id")
	what := about(r)
	if id != "" {
		p, err := s.project.get(tx, id)
		if err != nil {
			r.Asked()
			return err
		}
		what = about(r, "project", p, "domain_id", str(p, "domain_id"))
	}
	if err := r.Enforce("identity:list_role_assignments_for_tree", what); err != nil {
		return err
	}
	if id == "" {
		return fault.BadRequest("scope.project.id must be specified if include_subtree is also specified")
	}
	return nil
}

// findAssignments gives the encoded assignments: of a large cloud there are many, and as documents they would take ten times the memory.
func (s *Service) findAssignments(tx *db.Tx, r *api.Request, q assignmentQuery, effective, names bool) ([][]byte, error) {
	var found []assignment
	var err error
	if effective {
		found, err = s.effectiveAssignments(tx, q)
	} else {
		found, err = directAssignments(tx, q)
	}
	if err != nil {
		return nil, err
	}
	look := &nameBook{s: s, tx: tx, docs: map[string]doc{}}
	own := r.Caller.DomainID
	if err := look.learn(found, names, own != ""); err != nil {
		return nil, err
	}
	out := [][]byte{}
	for _, a := range found {
		// A domain-scoped caller sees its domain and the projects in it.
		if own != "" && a.domain != own {
			p, err := look.get(s.project, a.project)
			if err != nil {
				return nil, err
			}
			if a.project == "" || str(p, "domain_id") != own {
				continue
			}
		}
		d, err := look.show(r, a, names)
		if err != nil {
			return nil, err
		}
		b, err := api.Marshal(d, api.Version{})
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// nameBook looks up names once per answer.
type nameBook struct {
	s    *Service
	tx   *db.Tx
	docs map[string]doc
}

// learn looks up what an answer needs, many at a time.
func (b *nameBook) learn(list []assignment, names, projects bool) error {
	wanted := map[*kind]map[string]bool{b.s.user: {}, b.s.group: {}, b.s.project: {}}
	for _, a := range list {
		if names {
			wanted[b.s.user][a.user], wanted[b.s.group][a.group] = true, true
		}
		if names || projects {
			wanted[b.s.project][a.project] = true
		}
	}
	for k, ids := range wanted {
		delete(ids, "")
		for chunk := range slices.Chunk(slices.Sorted(maps.Keys(ids)), maxIn) {
			for _, id := range chunk {
				b.docs[k.table+id] = nil // also known is who is not there
			}
			found, err := k.all(b.tx, (&db.Where{}).In("id", padded(chunk)))
			if err != nil {
				return err
			}
			for _, d := range found {
				b.docs[k.table+str(d, "id")] = d
			}
		}
	}
	return nil
}

func (b *nameBook) get(k *kind, id string) (doc, error) {
	if id == "" {
		return nil, nil
	}
	if d, ok := b.docs[k.table+id]; ok {
		return d, nil
	}
	d, err := k.find(b.tx, id)
	b.docs[k.table+id] = d
	return d, err
}

// ref is {"id": …}, with name and domain when those are asked for.
func (b *nameBook) ref(k *kind, id string, names, domain bool) (doc, error) {
	out := doc{"id": id}
	if !names {
		return out, nil
	}
	d, err := b.get(k, id)
	if err != nil {
		return nil, err
	}
	out["name"] = str(d, "name")
	if domain {
		dom, err := b.get(b.s.domain, str(d, "domain_id"))
		if err != nil {
			return nil, err
		}
		out["domain"] = doc{"id": str(d, "domain_id"), "name": str(dom, "name")}
	}
	return out, nil
}

// show is an assignment with its links (keystone/api/role_assignments.py, _format_entity).
func (b *nameBook) show(r *api.Request, a assignment, names bool) (doc, error) {
	links := doc{}
	scope := doc{}
	out := doc{"links": links, "scope": scope}
	inherited := a.inherited || a.viaProject != "" || a.viaDomain != ""
	var link string
	var err error
	switch {
	case a.project != "":
		scope["project"], err = b.ref(b.s.project, a.project, names, true)
		link = "/projects/" + a.project
		if a.viaDomain != "" {
			link = "/domains/" + a.viaDomain
		} else if a.viaProject != "" {
			link = "/projects/" + a.viaProject
		}
	case a.domain != "":
		scope["domain"], err = b.ref(b.s.domain, a.domain, names, false)
		link = "/domains/" + a.domain
	default:
		scope["system"] = doc{"all": true}
		link = "/system"
	}
	if err != nil {
		return nil, err
	}
	if a.user != "" {
		out["user"], err = b.ref(b.s.user, a.user, names, true)
		if a.viaGroup != "" {
			links["membership"] = base(r) + "/groups/" + a.viaGroup + "/users/" + a.user
			link += "/groups/" + a.viaGroup
		} else {
			link += "/users/" + a.user
		}
	} else {
		out["group"], err = b.ref(b.s.group, a.group, names, true)
		link += "/groups/" + a.group
	}
	if err != nil {
		return nil, err
	}
	role, err := b.get(b.s.role, a.role)
	if err != nil {
		return nil, err
	}
	if out["role"], err = b.ref(b.s.role, a.role, names, str(role, "domain_id") != ""); err != nil {
		return nil, err
	}
	if a.viaRole != "" {
		link += "/roles/" + a.viaRole
		links["prior_role"] = base(r) + "/prior_role/" + a.role + "/implies/" + a.viaRole
	} else {
		link += "/roles/" + a.role
	}
	if inherited {
		scope["OS-INHERIT:inherited_to"] = "projects"
		link = "/OS-INHERIT" + link + "/inherited_to_projects"
	}
	links["assignment"] = base(r) + link
	return out, nil
}
