package identity

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// filterRoutes are OS-EP-FILTER: which endpoints a project's catalog shows.
func (s *Service) filterRoutes() []api.Route {
	o := api.Object
	groups := simple{s: s, k: s.endpointGroup, rule: "endpoint_group", list: "endpoint_groups", create: s.schemas.endpointGroupCreate, update: s.schemas.endpointGroupUpdate,
		filters: []string{"name"}, changing: changeEndpointGroup, deleting: func(tx *db.Tx, _ *api.Request, old doc) error {
			_, err := tx.Exec(`DELETE FROM identity_project_endpoint_groups WHERE endpoint_group_id = $1`, old["id"])
			return err
		}}
	const p, g = "/v3/OS-EP-FILTER/projects/{project_id}", "/v3/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}"
	return append(groups.routes("/v3/OS-EP-FILTER/endpoint_groups", "endpoint_group_id"),
		api.Handle("GET", "/v3/OS-EP-FILTER/endpoints/{endpoint_id}/projects", o("identity:list_projects_for_endpoint"), 200, s.endpointProjects),
		api.Handle("GET", p+"/endpoints", o("identity:list_endpoints_for_project"), 200, s.projectEndpoints),
		api.Handle("GET", p+"/endpoint_groups", o("identity:list_endpoint_groups_for_project"), 200, s.projectEndpointGroups),
		api.Handle("GET", p+"/endpoints/{endpoint_id}", o("identity:check_endpoint_in_project"), 204, s.filterPair("identity:check_endpoint_in_project", s.endpoint)),
		api.Handle("PUT", p+"/endpoints/{endpoint_id}", o("identity:add_endpoint_to_project"), 204, s.filterPair("identity:add_endpoint_to_project", s.endpoint)),
		api.Handle("DELETE", p+"/endpoints/{endpoint_id}", o("identity:remove_endpoint_from_project"), 204, s.filterPair("identity:remove_endpoint_from_project", s.endpoint)),
		api.Handle("GET", g+"/projects", o("identity:list_projects_associated_with_endpoint_group"), 200, s.groupProjects),
		api.Handle("GET", g+"/endpoints", o("identity:list_endpoints_associated_with_endpoint_group"), 200, s.groupEndpoints),
		api.Handle("GET", g+"/projects/{project_id}", o("identity:get_endpoint_group_in_project"), 200, s.showGroupProject),
		api.Handle("PUT", g+"/projects/{project_id}", o("identity:add_endpoint_group_to_project"), 204, s.filterPair("identity:add_endpoint_group_to_project", s.endpointGroup)),
		api.Handle("DELETE", g+"/projects/{project_id}", o("identity:remove_endpoint_group_from_project"), 204, s.filterPair("identity:remove_endpoint_group_from_project", s.endpointGroup)),
	)
}

func changeEndpointGroup(_ context.Context, _ *db.Tx, _ *api.Request, d, old doc) error {
	filters, given := d["filters"].(map[string]any)
	if old == nil && len(filters) == 0 {
		return fault.BadRequest("filters field is required and cannot be empty")
	}
	if !given {
		return nil
	}
	for name := range filters {
		if !slices.Contains([]string{"service_id", "region_id", "interface"}, name) {
			return expecting("service_id or region_id or interface", "endpoint_group")
		}
	}
	return nil
}

// filterPair checks, adds or removes the association of a project with an endpoint or an endpoint group.
func (s *Service) filterPair(rule string, k *kind) func(context.Context, *api.Request, api.None) (api.None, error) {
	table, col := "identity_project_endpoints", "endpoint_id"
	if k == s.endpointGroup {
		table, col = "identity_project_endpoint_groups", "endpoint_group_id"
	}
	return func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
		if err := r.Enforce(rule, policy.Map{}); err != nil {
			return api.None{}, err
		}
		project, id := r.Path("project_id"), r.Path(col)
		return api.None{}, s.write(ctx, func(tx *db.Tx) error {
			if r.HTTP.Method == "PUT" {
				if _, err := k.get(tx, id); err != nil {
					return err
				}
				if _, err := s.project.get(tx, project); err != nil {
					return err
				}
				if k == s.endpointGroup {
					_, err := tx.Exec(`INSERT INTO `+table+` (project_id, `+col+`) VALUES ($1,$2)`, project, id)
					if db.IsConflict(err, "") {
						return conflict("project_endpoint_group", "Duplicate entry")
					}
					return err
				}
				_, err := tx.Exec(`INSERT INTO `+table+` (project_id, `+col+`) VALUES ($1,$2) ON CONFLICT DO NOTHING`, project, id)
				return err
			}
			if k == s.endpoint {
				if _, err := k.get(tx, id); err != nil {
					return err
				}
			}
			n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM `+table+` WHERE project_id = $1 AND `+col+` = $2`, project, id)
			if err != nil {
				return err
			}
			if n == 0 && k == s.endpointGroup {
				return fault.NotFound("Endpoint Group Project Association not found")
			}
			if n == 0 {
				return fault.NotFound("Endpoint %s not found in project %s", id, project)
			}
			if r.HTTP.Method == "DELETE" {
				_, err = tx.Exec(`DELETE FROM `+table+` WHERE project_id = $1 AND `+col+` = $2`, project, id)
			}
			return err
		})
	}
}

// showAll answers with the resources of a kind whose ids a query gives.
func (s *Service) showAll(ctx context.Context, r *api.Request, rule string, k *kind, must *kind, mustID string, ids func(*db.Tx) ([]string, error)) (api.JSON, error) {
	if err := r.Enforce(rule, policy.Map{}); err != nil {
		return nil, err
	}
	found, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) {
		if _, err := must.get(tx, mustID); err != nil {
			return nil, err
		}
		return ids(tx)
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	return s.list(ctx, r, listing{kind: k, only: &found})
}

func (s *Service) endpointProjects(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	id := r.Path("endpoint_id")
	return s.showAll(ctx, r, "identity:list_projects_for_endpoint", s.project, s.endpoint, id, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `SELECT project_id FROM identity_project_endpoints WHERE endpoint_id = $1`, id)
	})
}

func (s *Service) projectEndpoints(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	id := r.Path("project_id")
	return s.showAll(ctx, r, "identity:list_endpoints_for_project", s.endpoint, s.project, id, func(tx *db.Tx) ([]string, error) {
		c, err := s.readCatalog(tx)
		if err != nil {
			return nil, err
		}
		f, err := c.filterOf(tx, id)
		return f.only, err
	})
}

func (s *Service) projectEndpointGroups(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	id := r.Path("project_id")
	return s.showAll(ctx, r, "identity:list_endpoint_groups_for_project", s.endpointGroup, s.project, id, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `SELECT endpoint_group_id FROM identity_project_endpoint_groups WHERE project_id = $1`, id)
	})
}

func (s *Service) groupProjects(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	id := r.Path("endpoint_group_id")
	return s.showAll(ctx, r, "identity:list_projects_associated_with_endpoint_group", s.project, s.endpointGroup, id, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `SELECT project_id FROM identity_project_endpoint_groups WHERE endpoint_group_id = $1`, id)
	})
}

func (s *Service) groupEndpoints(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	id := r.Path("endpoint_group_id")
	return s.showAll(ctx, r, "identity:list_endpoints_associated_with_endpoint_group", s.endpoint, s.endpointGroup, id, func(tx *db.Tx) ([]string, error) {
		g, err := s.endpointGroup.get(tx, id)
		if err != nil {
			return nil, err
		}
		all, err := s.endpoint.all(tx, &db.Where{})
		var ids []string
		for _, e := range all {
			if inEndpointGroup(g, e) {
				ids = append(ids, str(e, "id"))
			}
		}
		return ids, err
	})
}

func (s *Service) showGroupProject(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_endpoint_group_in_project", policy.Map{}); err != nil {
		return nil, err
	}
	project, id := r.Path("project_id"), r.Path("endpoint_group_id")
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		if _, err := s.project.get(tx, project); err != nil {
			return nil, err
		}
		if _, err := s.endpointGroup.get(tx, id); err != nil {
			return nil, err
		}
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_project_endpoint_groups WHERE project_id = $1 AND endpoint_group_id = $2`, project, id)
		if err == nil && n == 0 {
			err = fault.NotFound("Endpoint Group Project Association not found")
		}
		return doc{"project_endpoint_group": doc{"endpoint_group_id": id, "project_id": project, "links": doc{"self": "/OS-EP-FILTER/endpoint_groups/" + id + "/projects/" + project}}}, err
	})
}
