package identity

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/hanok-cloud/hanok/internal/db"
)

// publicMark stands in stored endpoint URLs for the cloud's public endpoint, so that changing the endpoint is no migration. Clients can
// not store it: it is none of the names that keystone substitutes.
const publicMark = "%(public)s"

// catalog is the service catalog as of an epoch.
type catalog struct {
	epoch    int64
	services []catalogService
	// groups are the endpoint groups' endpoints. A project that has an endpoint filter (OS-EP-FILTER) has it looked up when it is asked for: there may be
	// as many as projects, and any change makes a new catalog. filtering: some project has one.
	groups    map[string][]string
	filtering bool
	plain     bool // no URL depends on the caller

	mu     sync.Mutex
	bodies map[string][]byte // by public endpoint, when plain
}

type catalogService struct {
	Endpoints []catalogEndpoint `json:"endpoints"`
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Name      string            `json:"name"`
}

type catalogEndpoint struct {
	ID        string  `json:"id"`
	Interface string  `json:"interface"`
	RegionID  *string `json:"region_id"`
	URL       string  `json:"url"`
	Region    *string `json:"region"`
	Name      string  `json:"name,omitempty"`
}

// readCatalog reads what is enabled.
func (s *Service) readCatalog(tx *db.Tx) (*catalog, error) {
	epoch, err := epochIn(tx)
	if err != nil {
		return nil, err
	}
	if c := s.catalog.Load(); c != nil && c.epoch == epoch {
		return c, nil
	}
	c := &catalog{epoch: epoch, plain: true, bodies: map[string][]byte{}, groups: map[string][]string{}}
	at := map[string]int{}
	services, err := s.service.all(tx, (&db.Where{}).Add("enabled = TRUE"))
	if err != nil {
		return nil, err
	}
	for _, d := range services {
		at[str(d, "id")] = len(c.services)
		c.services = append(c.services, catalogService{Endpoints: []catalogEndpoint{}, ID: str(d, "id"), Type: str(d, "type"), Name: str(d, "name")})
	}
	endpoints, err := s.endpoint.all(tx, (&db.Where{}).Add("enabled = TRUE"))
	if err != nil {
		return nil, err
	}
	for _, d := range endpoints {
		i, ok := at[str(d, "service_id")]
		if !ok {
			continue
		}
		e := catalogEndpoint{ID: str(d, "id"), Interface: str(d, "interface"), URL: str(d, "url"), Name: str(d, "name")}
		if region := str(d, "region_id"); region != "" {
			e.RegionID, e.Region = &region, &region
		}
		if strings.ContainsAny(strings.TrimPrefix(e.URL, publicMark), "%$") {
			c.plain = false
		}
		c.services[i].Endpoints = append(c.services[i].Endpoints, e)
	}
	if err := s.readGroups(tx, c, endpoints); err != nil {
		return nil, err
	}
	s.catalog.Store(c)
	return c, nil
}

// readGroups works out the endpoints of endpoint groups.
func (s *Service) readGroups(tx *db.Tx, c *catalog, endpoints []doc) error {
	groups, err := s.endpointGroup.all(tx, &db.Where{})
	if err != nil {
		return err
	}
	for _, g := range groups {
		for _, e := range endpoints {
			if inEndpointGroup(g, e) {
				c.groups[str(g, "id")] = append(c.groups[str(g, "id")], str(e, "id"))
			}
		}
	}
	some, err := db.All(tx, db.Value[string], `SELECT project_id FROM identity_project_endpoints UNION ALL SELECT project_id FROM identity_project_endpoint_groups LIMIT 1`)
	c.filtering = len(some) > 0
	return err
}

// endpointFilter is what endpoints a project is limited to, one by one and through endpoint groups; limited is false without a filter.
type endpointFilter struct {
	limited bool
	only    []string
}

func (s *Service) endpointFilter(ctx context.Context, c *catalog, project string) (endpointFilter, error) {
	if !c.filtering || project == "" {
		return endpointFilter{}, nil
	}
	return inRead(ctx, s, func(tx *db.Tx) (endpointFilter, error) { return c.filterOf(tx, project) })
}

func (c *catalog) filterOf(tx *db.Tx, project string) (f endpointFilter, err error) {
	if f.only, err = db.All(tx, db.Value[string], `SELECT endpoint_id FROM identity_project_endpoints WHERE project_id = $1 ORDER BY 1`, project); err != nil {
		return f, err
	}
	groups, err := db.All(tx, db.Value[string], `SELECT endpoint_group_id FROM identity_project_endpoint_groups WHERE project_id = $1 ORDER BY 1`, project)
	for _, id := range groups {
		f.only = append(f.only, c.groups[id]...)
	}
	f.limited = len(f.only) > 0
	return f, err
}

// inEndpointGroup tells whether an endpoint has all the attributes of the group's filters.
func inEndpointGroup(group, endpoint doc) bool {
	filters, _ := group["filters"].(map[string]any)
	for name, want := range filters {
		if endpoint[name] != want {
			return false
		}
	}
	return true
}

// render is the catalog's JSON for a caller.
func (c *catalog) render(public, project, user string, filter endpointFilter) ([]byte, error) {
	shared := c.plain && !filter.limited
	if shared {
		c.mu.Lock()
		defer c.mu.Unlock()
		if b := c.bodies[public]; b != nil {
			return b, nil
		}
	}
	out := make([]catalogService, 0, len(c.services))
	for _, svc := range c.services {
		all := svc.Endpoints
		svc.Endpoints = []catalogEndpoint{}
		for _, e := range all {
			u, ok := formatURL(e.URL, public, project, user)
			if !ok || filter.limited && !slices.Contains(filter.only, e.ID) {
				continue
			}
			e.URL = u
			svc.Endpoints = append(svc.Endpoints, e)
		}
		if len(svc.Endpoints) > 0 || !filter.limited { // a filter leaves services out with their endpoints (keystone/catalog/core.py)
			out = append(out, svc)
		}
	}
	b, err := json.Marshal(out)
	if shared && err == nil {
		if len(c.bodies) > 16 {
			clear(c.bodies)
		}
		c.bodies[public] = b
	}
	return b, err
}

// formatURL fills in $(project_id)s and its kin; an endpoint that needs a project is left out for a caller without one
// (keystone/common/utils.py, format_url).
func formatURL(url, public, project, user string) (string, bool) {
	rest, ours := strings.CutPrefix(url, publicMark)
	if ours {
		url = public + rest
	}
	if !strings.ContainsAny(rest, "%$") {
		return url, true
	}
	for _, name := range []string{"project_id", "tenant_id"} {
		for _, form := range []string{"%(" + name + ")s", "$(" + name + ")s"} {
			if strings.Contains(url, form) && project == "" {
				return "", false
			}
			url = strings.ReplaceAll(url, form, project)
		}
	}
	for _, form := range []string{"%(user_id)s", "$(user_id)s"} {
		url = strings.ReplaceAll(url, form, user)
	}
	return url, true
}

// urlNames are what an endpoint's URL may have substituted (keystone/catalog/core.py, WHITELISTED_PROPERTIES), as far as there is
// anything here to put in their place.
var urlNames = []string{"tenant_id", "project_id", "user_id"}

// goodURL tells whether every place in an endpoint's URL has a name that is substituted.
func goodURL(url string) bool {
	s := strings.ReplaceAll(url, "$(", "%(")
	for {
		_, after, ok := strings.Cut(s, "%")
		if !ok {
			return true
		}
		name, rest, closed := strings.Cut(strings.TrimPrefix(after, "("), ")")
		if !strings.HasPrefix(after, "(") || !closed || !strings.HasPrefix(rest, "s") || !slices.Contains(urlNames, name) {
			return false
		}
		s = rest[1:]
	}
}
