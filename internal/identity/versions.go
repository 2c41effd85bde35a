package identity

import (
	"context"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
)

type versionLink struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

type mediaType struct {
	Base string `json:"base"`
	Type string `json:"type"`
}

type version struct {
	ID         string        `json:"id"`
	Status     string        `json:"status"`
	Updated    string        `json:"updated"`
	Links      []versionLink `json:"links"`
	MediaTypes []mediaType   `json:"media-types"`
}

// v3 is keystone/api/discovery.py's only version.
func v3(r *api.Request) version {
	return version{ID: "v3.14", Status: "stable", Updated: "2020-04-07T00:00:00Z", Links: []versionLink{{"self", base(r) + "/"}},
		MediaTypes: []mediaType{{"application/json", "application/vnd.openstack.identity-v3+json"}}}
}

func (s *Service) listVersions(_ context.Context, r *api.Request, _ api.None) (map[string]map[string][]version, error) {
	r.Header().Set("Location", base(r)+"/")
	return map[string]map[string][]version{"versions": {"values": {v3(r)}}}, nil
}

func (s *Service) showVersion(_ context.Context, r *api.Request, _ api.None) (map[string]version, error) {
	return map[string]version{"version": v3(r)}, nil
}

// rewrite moves /v3/domains/config/…/default out of the way of /v3/domains/{domain_id}/config/…, which it would clash with.
func rewrite(_ *http.Request, path string) string {
	rest, ok := strings.CutPrefix(path, "/v3/domains/config/")
	if ok && strings.HasSuffix("/"+strings.TrimSuffix(rest, "/"), "/default") {
		return "/v3/domain_config_defaults/" + rest
	}
	return path
}
