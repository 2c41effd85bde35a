package compute

import (
	"context"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// The microversions that are served. The least and the greatest are told in the version documents.
var (
	minVersion = api.MustVersion("2.1")
	maxVersion = api.MustVersion("2.100")
)

func microversions() *api.Microversions {
	return &api.Microversions{
		Service: "compute", Legacy: "X-OpenStack-Nova-API-Version", Min: minVersion, Max: maxVersion,
		Invalid: func(h string) *fault.Error {
			return fault.BadRequest("API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", h)
		},
		NotSupported: func(v api.Version) *fault.Error {
			return fault.New(http.StatusNotAcceptable, "", "Version %s is not supported by the API. Minimum is %s and maximum is %s.", v, minVersion, maxVersion)
		},
		Applies: func(path string) bool { return strings.HasPrefix(path, "/v2.1") },
	}
}

type mediaType struct {
	Base string `json:"base"`
	Type string `json:"type"`
}

type versionDoc struct {
	ID         string      `json:"id"`
	Status     string      `json:"status"`
	Version    string      `json:"version"`
	MinVersion string      `json:"min_version"`
	Updated    string      `json:"updated"`
	Links      []link      `json:"links"`
	MediaTypes []mediaType `json:"media-types,omitempty"`
}

func v21Doc(r *api.Request, long bool) versionDoc {
	d := versionDoc{ID: "v2.1", Status: "CURRENT", Version: maxVersion.String(), MinVersion: minVersion.String(), Updated: "2013-07-23T11:33:21Z",
		Links: []link{{Rel: "self", Href: r.ServiceURL() + "/v2.1/"}}}
	if long {
		d.Links = append(d.Links, link{Rel: "describedby", Type: "text/html", Href: "http://docs.openstack.org/"})
		d.MediaTypes = []mediaType{{"application/json", "application/vnd.openstack.compute+json;version=2.1"}}
	}
	return d
}

// v20Doc is the version without microversions, which upstream lists first and serves in the same way.
func v20Doc(r *api.Request, long bool) versionDoc {
	d := versionDoc{ID: "v2.0", Status: "SUPPORTED", Updated: "2011-01-21T11:33:21Z", Links: []link{{Rel: "self", Href: r.ServiceURL() + "/v2/"}}}
	if long {
		d.Links = append(d.Links, link{Rel: "describedby", Type: "text/html", Href: "http://docs.openstack.org/"})
		d.MediaTypes = []mediaType{{"application/json", "application/vnd.openstack.compute+json;version=2"}}
	}
	return d
}

func versionRoutes() []api.Route {
	return []api.Route{
		api.Handle("GET", "", api.Public(), 200, func(_ context.Context, r *api.Request, _ api.None) (map[string][]versionDoc, error) {
			return map[string][]versionDoc{"versions": {v20Doc(r, false), v21Doc(r, false)}}, nil
		}),
		api.Handle("GET", "/v2", api.Public(), 200, func(_ context.Context, r *api.Request, _ api.None) (map[string]versionDoc, error) {
			return map[string]versionDoc{"version": v20Doc(r, true)}, nil
		}),
		api.Handle("GET", "/v2.1", api.Public(), 200, func(_ context.Context, r *api.Request, _ api.None) (map[string]versionDoc, error) {
			return map[string]versionDoc{"version": v21Doc(r, true)}, nil
		}),
	}
}

// rewrite drops the optional project id after the version: /v2.1/<project>/servers is /v2.1/servers. No collection of ours
// has a name of 32 hexadecimal digits. Version 2 without microversions is served by the same routes. A path below the version
// that ends with a slash reaches no route, as upstream.
func rewrite(_ *http.Request, path string) string {
	if rest, ok := strings.CutPrefix(path, "/v2/"); ok && rest != "" {
		path = "/v2.1/" + rest
	}
	rest, ok := strings.CutPrefix(path, "/v2.1/")
	if !ok || rest == "" {
		return path
	}
	if first, tail, _ := strings.Cut(rest, "/"); isUUID(first) {
		rest = tail
	}
	if strings.HasSuffix(rest, "/") {
		rest += "/" // the kit takes one slash off
	}
	return "/v2.1/" + rest
}
