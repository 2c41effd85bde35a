package compute

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// extension is an entry of GET /extensions, which clients of old ask before they use what has long been part of the API.
type extension struct {
	alias, name, description string
}

func (e extension) view() map[string]any {
	return map[string]any{"alias": e.alias, "name": e.name, "description": e.description, "links": []any{},
		"namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z"}
}

func (s *Service) extensionRoutes() []api.Route {
	const rule = "os_compute_api:extensions"
	return []api.Route{
		api.Handle("GET", "/v2.1/extensions", api.Scoped(rule), 200, func(context.Context, *api.Request, api.None) (map[string]any, error) {
			docs := make([]map[string]any, len(extensionList))
			for i, e := range extensionList {
				docs[i] = e.view()
			}
			return map[string]any{"extensions": docs}, nil
		}),
		api.Handle("GET", "/v2.1/extensions/{alias}", api.Scoped(rule), 200, func(_ context.Context, r *api.Request, _ api.None) (map[string]any, error) {
			for _, e := range extensionList {
				if e.alias == r.Path("alias") {
					return map[string]any{"extension": e.view()}, nil
				}
			}
			return nil, fault.NotFound("The resource could not be found.")
		}),
	}
}
