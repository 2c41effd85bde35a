package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) catalogRoutes() []api.Route {
	region := simple{s: s, k: s.region, rule: "region", list: "regions", create: s.schemas.regionCreate, update: s.schemas.regionUpdate, must: true,
		filters: []string{"parent_region_id"}, changing: s.changeRegion, deleting: s.emptyRegion}
	service := simple{s: s, k: s.service, rule: "service", list: "services", create: s.schemas.serviceCreate, update: s.schemas.serviceUpdate, must: true,
		filters: []string{"type", "name"}, changing: changeService, deleting: s.emptyService}
	endpoint := simple{s: s, k: s.endpoint, rule: "endpoint", list: "endpoints", create: s.schemas.endpointCreate, update: s.schemas.endpointUpdate, must: true,
		filters: []string{"interface", "service_id", "region_id"}, changing: s.changeEndpoint, deleting: func(tx *db.Tx, _ *api.Request, old doc) error { return forgetEndpoint(tx, str(old, "id")) }}
	routes := region.routes("/v3/regions", "region_id")
	// A region's id may be the client's: the plain POST keeps one that is given, PUT takes it from the path.
	routes[1] = api.Handle("POST", "/v3/regions", api.Object("identity:create_region"), 201, func(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
		return region.insert(ctx, r, in, func(d doc) error {
			if str(d, "id") == "" {
				d["id"] = newID()
			}
			return nil
		})
	})
	routes = append(routes, api.Handle("PUT", "/v3/regions/{region_id}", api.Object("identity:create_region"), 201, func(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
		return region.insert(ctx, r, in, func(d doc) error {
			id := r.Path("region_id")
			if v, ok := d["id"]; ok && v != id {
				return fault.BadRequest("Conflicting region IDs specified: \"%s\" != \"%s\"", id, v)
			}
			d["id"] = id
			return nil
		})
	}))
	routes = append(routes, service.routes("/v3/services", "service_id")...)
	return append(routes, endpoint.routes("/v3/endpoints", "endpoint_id")...)
}

func (s *Service) changeRegion(_ context.Context, tx *db.Tx, _ *api.Request, d, old doc) error {
	id := str(d, "id")
	if old != nil {
		id = str(old, "id")
	} else {
		there, err := s.region.find(tx, id)
		if err != nil {
			return err
		}
		if there != nil {
			return conflict("region", "Duplicate ID, "+id+".")
		}
	}
	if v, ok := d["description"]; ok && v == nil {
		d["description"] = ""
	}
	parent := str(d, "parent_region_id")
	for at, n := parent, 0; at != ""; n++ {
		if at == id || n > 100 {
			return fault.BadRequest("The specified parent region %s would create a circular region hierarchy.", id)
		}
		p, err := s.region.get(tx, at)
		if err != nil {
			return err
		}
		at = str(p, "parent_region_id")
	}
	return nil
}

// emptyRegion deletes the regions below one, unless an endpoint stands in any of them.
func (s *Service) emptyRegion(tx *db.Tx, _ *api.Request, old doc) error {
	ids := []string{str(old, "id")}
	for i := 0; i < len(ids); i++ {
		below, err := db.All(tx, db.Value[string], `SELECT id FROM identity_regions WHERE parent_region_id = $1 ORDER BY id`, ids[i])
		if err != nil {
			return err
		}
		ids = append(ids, below...)
	}
	w := (&db.Where{}).In("region_id", ids)
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_endpoints`+w.SQL(), w.Args()...)
	if err != nil {
		return err
	}
	if n > 0 {
		return fault.Forbidden("Unable to delete region %s because it or its child regions have associated endpoints.", ids[0])
	}
	for _, id := range ids[1:] {
		if err := s.region.remove(tx, id); err != nil {
			return err
		}
	}
	return nil
}

func changeService(_ context.Context, _ *db.Tx, _ *api.Request, d, old doc) error {
	if old == nil {
		setDefault(d, "enabled", true)
		setDefault(d, "name", "")
	}
	return nil
}

// emptyService deletes a service's endpoints with it.
func (s *Service) emptyService(tx *db.Tx, _ *api.Request, old doc) error {
	ids, err := db.All(tx, db.Value[string], `SELECT id FROM identity_endpoints WHERE service_id = $1 ORDER BY id`, old["id"])
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := forgetEndpoint(tx, id); err != nil {
			return err
		}
		if err := s.endpoint.remove(tx, id); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`DELETE FROM identity_policy_associations WHERE service_id = $1`, old["id"])
	return err
}

func forgetEndpoint(tx *db.Tx, id string) error {
	for _, q := range []string{`DELETE FROM identity_project_endpoints WHERE endpoint_id = $1`, `DELETE FROM identity_policy_associations WHERE endpoint_id = $1`} {
		if _, err := tx.Exec(q, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) changeEndpoint(_ context.Context, tx *db.Tx, _ *api.Request, d, old doc) error {
	if u, ok := d["url"].(string); ok && !goodURL(u) {
		return fault.BadRequest("Cannot create an endpoint with an invalid URL: %s.", u)
	}
	if region, ok := d["region"].(string); ok && d["region_id"] == nil {
		// A region by its older name is made when it is not there.
		d["region_id"] = region
		there, err := s.region.find(tx, region)
		if err != nil {
			return err
		}
		if there == nil {
			if err := s.region.insert(tx, doc{"id": region}); err != nil {
				return err
			}
		}
	}
	delete(d, "region")
	if id, ok := d["region_id"].(string); ok {
		there, err := s.region.find(tx, id)
		if err != nil {
			return err
		}
		if there == nil {
			return expecting("endpoint region_id", "region table")
		}
	}
	if id, ok := d["service_id"].(string); ok {
		there, err := s.service.find(tx, id)
		if err != nil {
			return err
		}
		if there == nil {
			return expecting("endpoint service_id", "service table")
		}
	}
	if old == nil {
		setDefault(d, "enabled", true)
	}
	return nil
}
