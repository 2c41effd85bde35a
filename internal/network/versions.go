package network

import (
	"context"
	"net/http"

	"github.com/hanok-cloud/hanok/internal/api"
)

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

type version struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Links  []link `json:"links"`
}

// versionRoutes answer /, open to everybody, and /v2.0, which lists the core collections.
func versionRoutes() []api.Route {
	return []api.Route{
		api.Handle("GET", "", api.Public(), http.StatusOK, func(_ context.Context, q *api.Request, _ api.None) (map[string][]version, error) {
			return map[string][]version{"versions": {{ID: "v2.0", Status: "CURRENT", Links: []link{{"self", q.ServiceURL() + "/v2.0/"}}}}}, nil
		}),
		api.Handle("GET", "/v2.0", api.Authenticated(), http.StatusOK, func(_ context.Context, q *api.Request, _ api.None) (map[string]any, error) {
			var l []map[string]any
			for _, r := range [][2]string{{"network", "networks"}, {"subnet", "subnets"}, {"subnetpool", "subnetpools"}, {"port", "ports"}} {
				l = append(l, map[string]any{"name": r[0], "collection": r[1], "links": []link{{"self", q.ServiceURL() + "/v2.0/" + r[1]}}})
			}
			return map[string]any{"resources": l}, nil
		}),
	}
}
