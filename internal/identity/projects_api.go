package identity

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) projectRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "/v3/projects", o("identity:list_projects"), 200, s.listProjects),
		api.Handle("POST", "/v3/projects", o("identity:create_project"), 201, s.createProject),
		api.Handle("GET", "/v3/projects/{project_id}", o("identity:get_project"), 200, s.showProject),
		api.Handle("PATCH", "/v3/projects/{project_id}", o("identity:update_project"), 200, s.updateProject),
		api.Handle("DELETE", "/v3/projects/{project_id}", o("identity:delete_project"), 204, s.deleteProject),
		api.Handle("GET", "/v3/projects/{project_id}/tags", o("identity:list_project_tags"), 200, s.listTags),
		api.Handle("PUT", "/v3/projects/{project_id}/tags", o("identity:update_project_tags"), 200, s.replaceTags),
		api.Handle("DELETE", "/v3/projects/{project_id}/tags", o("identity:delete_project_tags"), 204, s.clearTags),
		api.Handle("GET", "/v3/projects/{project_id}/tags/{value}", o("identity:get_project_tag"), 204, s.checkTag),
		api.Handle("PUT", "/v3/projects/{project_id}/tags/{value}", o("identity:create_project_tag"), 201, s.addTag),
		api.Handle("DELETE", "/v3/projects/{project_id}/tags/{value}", o("identity:delete_project_tag"), 204, s.removeTag),
	}
}

// domainTarget is the target of a list: a domain-scoped caller asks about its domain.
func domainTarget(r *api.Request) policy.Map {
	if r.Caller.DomainID == "" {
		return policy.Map{}
	}
	return policy.Map{"target.domain_id": r.Caller.DomainID}
}

func (s *Service) listProjects(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_projects", domainTarget(r)); err != nil {
		return nil, err
	}
	l := listing{kind: s.project, filters: []string{"domain_id", "enabled", "name", "parent_id", "is_domain"}, keep: tagFilter(r.Query())}
	if !r.Query().Has("is_domain") {
		l.where.Add("is_domain = FALSE")
	}
	if own := r.Caller.DomainID; own != "" {
		l.where.Add("domain_id = ?", own)
	}
	return s.list(ctx, r, l)
}

// tagFilter reads tags, tags-any, not-tags and not-tags-any; nil when none is there.
func tagFilter(q url.Values) func(doc) bool {
	names := []string{"tags", "tags-any", "not-tags", "not-tags-any"}
	if !slices.ContainsFunc(names, func(n string) bool { return q.Has(n) }) {
		return nil
	}
	return func(d doc) bool {
		has := tagsOf(d)
		for _, n := range names {
			if !q.Has(n) {
				continue
			}
			asked := strings.Split(q.Get(n), ",")
			missing := slices.ContainsFunc(asked, func(t string) bool { return !slices.Contains(has, t) })
			hit := slices.ContainsFunc(asked, func(t string) bool { return slices.Contains(has, t) })
			ok := map[string]bool{"tags": !missing, "tags-any": hit, "not-tags": missing, "not-tags-any": !hit}[n]
			if !ok {
				return false
			}
		}
		return true
	}
}

func tagsOf(d doc) []string {
	list, _ := d["tags"].([]any)
	out := make([]string, 0, len(list))
	for _, t := range list {
		if v, ok := t.(string); ok {
			out = append(out, v)
		}
	}
	return out
}

func (s *Service) createProject(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	raw := memberOf(in, "project")
	if err := r.Enforce("identity:create_project", about(r, "project", asDoc(raw))); err != nil {
		return nil, err
	}
	p, err := checked(s.schemas.projectCreate, raw)
	if err != nil {
		return nil, err
	}
	if !truth(p, "is_domain") {
		defaultDomainOf(r, p)
	}
	if str(p, "parent_id") == "" {
		p["parent_id"] = p["domain_id"]
	}
	p = normalized(p)
	p["id"], p["name"] = newID(), strings.TrimSpace(str(p, "name"))
	completeProject(p)
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if err := s.checkPlace(tx, p); err != nil {
			return nil, err
		}
		if err := s.project.insert(tx, p); err != nil {
			return nil, projectConflict(err, p)
		}
		got, err := s.project.get(tx, str(p, "id"))
		if err != nil {
			return nil, err
		}
		return s.project.member(s, r, got), nil
	})
}

func asDoc(v any) doc {
	d, _ := v.(map[string]any)
	return d
}

// defaultDomainOf sets the domain of a new user, group or project that names none: the caller's, or the default one
// (keystone/server/flask/common.py, _normalize_domain_id).
func defaultDomainOf(r *api.Request, d doc) {
	if str(d, "domain_id") != "" {
		return
	}
	d["domain_id"] = defaultDomain
	if own := r.Caller.DomainID; own != "" {
		d["domain_id"] = own
	}
}

// projectFor reads the path's project and asks a rule about it; an unknown one is refused to whom the rule refuses, else 404.
func (s *Service) projectFor(tx *db.Tx, r *api.Request, rule string) (doc, error) {
	p, err := s.project.get(tx, r.Path("project_id"))
	if err != nil && !fault.Is(err, 404) {
		return nil, err
	}
	if denied := r.Enforce(rule, about(r, "project", p)); denied != nil {
		return nil, denied
	}
	return p, err
}

func (s *Service) showProject(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		p, err := s.projectFor(tx, r, "identity:get_project")
		if err != nil {
			return nil, err
		}
		if err := s.expandProject(tx, r, p); err != nil {
			return nil, err
		}
		return s.project.member(s, r, p), nil
	})
}

// flagSet tells whether a flag stands in the query with anything but 0.
func flagSet(q url.Values, name string) bool { return q.Has(name) && q.Get(name) != "0" }

// expandProject adds the parents and the subtree that the query asks for.
func (s *Service) expandProject(tx *db.Tx, r *api.Request, p doc) error {
	q := r.Query()
	for _, n := range []string{"parents", "subtree"} {
		if flagSet(q, n+"_as_list") && flagSet(q, n+"_as_ids") {
			return fault.BadRequest("Cannot use %s_as_list and %s_as_ids query params at the same time.", n, n)
		}
	}
	var mine []string
	var err error
	if flagSet(q, "parents_as_list") || flagSet(q, "subtree_as_list") {
		if mine, err = projectsOf(tx, r.UserID()); err != nil {
			return err
		}
	}
	asList := func(all []doc) ([]doc, error) {
		out := []doc{}
		for _, d := range all {
			if !slices.Contains(mine, str(d, "id")) {
				continue
			}
			if flagSet(q, "include_limits") {
				limits, err := s.limit.all(tx, (&db.Where{}).Add("project_id = ?", d["id"]))
				if err != nil {
					return nil, err
				}
				d["limits"] = append([]doc{}, limits...)
			}
			out = append(out, s.project.member(s, r, d))
		}
		return out, nil
	}
	above, err := s.parents(tx, p)
	if err != nil {
		return err
	}
	switch {
	case flagSet(q, "parents_as_list"):
		if p["parents"], err = asList(above); err != nil {
			return err
		}
	case flagSet(q, "parents_as_ids"):
		var tree any
		for _, d := range slices.Backward(above) {
			tree = doc{str(d, "id"): tree}
		}
		p["parents"] = tree
	}
	if !flagSet(q, "subtree_as_list") && !flagSet(q, "subtree_as_ids") {
		return nil
	}
	below, err := s.subtree(tx, str(p, "id"))
	if err != nil {
		return err
	}
	if flagSet(q, "subtree_as_list") {
		p["subtree"], err = asList(below)
		return err
	}
	p["subtree"] = treeOf(str(p, "id"), below)
	return nil
}

// treeOf nests the ids below a project; null where there is nothing.
func treeOf(id string, below []doc) any {
	out := doc{}
	for _, d := range below {
		if str(d, "parent_id") == id {
			out[str(d, "id")] = treeOf(str(d, "id"), below)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (s *Service) updateProject(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		old, err := s.projectFor(tx, r, "identity:update_project")
		if err != nil {
			return nil, err
		}
		changes, err := checked(s.schemas.projectUpdate, memberOf(in, "project"))
		if err != nil {
			return nil, err
		}
		if err := sameID(changes, str(old, "id")); err != nil {
			return nil, err
		}
		got, err := s.changeProject(tx, old, changes)
		if err != nil {
			return nil, err
		}
		s.project.showExtra(got)
		return s.project.member(s, r, got), nil
	})
}

func (s *Service) deleteProject(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		p, err := s.projectFor(tx, r, "identity:delete_project")
		if err != nil {
			return err
		}
		id := str(p, "id")
		if truth(p, "is_domain") {
			return s.removeDomain(tx, p)
		}
		if immutable(p) {
			return immutableDelete("project", id)
		}
		below, err := s.subtree(tx, id)
		if err != nil {
			return err
		}
		if len(below) > 0 {
			return fault.Forbidden("Cannot delete the project %s since it is not a leaf in the hierarchy. Use the cascade option if you want to delete a whole subtree.", id)
		}
		return s.removeProject(tx, id)
	})
}

func tagsBody(r *api.Request, tags []string) doc {
	return doc{"tags": append([]string{}, tags...), "links": doc{"self": base(r)}} // upstream links to the API's root
}

func (s *Service) listTags(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		p, err := s.projectFor(tx, r, "identity:list_project_tags")
		if err != nil {
			return nil, err
		}
		return tagsBody(r, tagsOf(p)), nil
	})
}

// setTags replaces a project's tags by what change makes of them.
func (s *Service) setTags(ctx context.Context, r *api.Request, rule string, change func([]string) ([]string, error)) ([]string, error) {
	return inWrite(ctx, s, func(tx *db.Tx) ([]string, error) {
		p, err := s.projectFor(tx, r, rule)
		if err != nil {
			return nil, err
		}
		if immutable(p) {
			return nil, immutableTags(rule, str(p, "id"))
		}
		tags, err := change(tagsOf(p))
		if err != nil {
			return nil, err
		}
		slices.Sort(tags)
		_, err = s.project.update(tx, p, doc{"tags": append([]string{}, tags...)})
		return tags, err
	})
}

// immutableTags refuses a change of a protected project's tags (keystone/resource/core.py).
func immutableTags(rule, id string) error {
	verb := map[string]string{"identity:create_project_tag": "create", "identity:update_project_tags": "update"}[rule]
	if verb == "" {
		return fault.Forbidden("Cannot delete project tags for %s, project is immutable. Set \"immutable\" option to false before creating project tags.", id)
	}
	return fault.Forbidden("Cannot %s project tags for %s, project is immutable. Set \"immutable\" option to false before creating project tags.", verb, id)
}

func (s *Service) replaceTags(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	tags, err := s.setTags(ctx, r, "identity:update_project_tags", func([]string) ([]string, error) {
		if _, err := checked(s.schemas.tags, memberOf(in, "tags")); err != nil {
			return nil, err
		}
		return tagsOf(doc{"tags": in["tags"]}), nil
	})
	return tagsBody(r, tags), err
}

func (s *Service) clearTags(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	_, err := s.setTags(ctx, r, "identity:delete_project_tags", func([]string) ([]string, error) { return nil, nil })
	return api.None{}, err
}

func (s *Service) checkTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return inRead(ctx, s, func(tx *db.Tx) (api.None, error) {
		p, err := s.projectFor(tx, r, "identity:get_project_tag")
		if err == nil && !slices.Contains(tagsOf(p), r.Path("value")) {
			err = tagNotFound(r.Path("value"))
		}
		return api.None{}, err
	})
}

func tagNotFound(tag string) error { return fault.NotFound("Could not find project tag: %s.", tag) }

func (s *Service) addTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	tag := r.Path("value")
	_, err := s.setTags(ctx, r, "identity:create_project_tag", func(tags []string) ([]string, error) {
		if _, err := checked(s.schemas.tag, tag); err != nil {
			return nil, err
		}
		all := []any{}
		for _, t := range append(tags, tag) {
			all = append(all, t)
		}
		if _, err := checked(s.schemas.tags, all); err != nil {
			return nil, err
		}
		return append(tags, tag), nil
	})
	if err == nil {
		r.Header().Set("Location", base(r)+"/"+r.Path("project_id")+"/tags/"+tag)
		r.Header().Set("Content-Type", "text/html; charset=utf-8") // Flask's, of an answer without a body
	}
	return api.None{}, err
}

func (s *Service) removeTag(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	tag := r.Path("value")
	_, err := s.setTags(ctx, r, "identity:delete_project_tag", func(tags []string) ([]string, error) {
		i := slices.Index(tags, tag)
		if i < 0 {
			return nil, tagNotFound(tag)
		}
		return slices.Delete(tags, i, i+1), nil
	})
	return api.None{}, err
}
