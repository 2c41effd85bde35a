package compute

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

type flavorBasic struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Links       []link  `json:"links"`
	Description *string `json:"description" mv:"2.55-"`
}

// pyFloat prints as Python's json does: 1.0, not 1.
type pyFloat float64

func (f pyFloat) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(f), 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return []byte(s), nil
}

func flavorView(r *api.Request, f Flavor, specs bool) map[string]any {
	m := map[string]any{
		"id": f.ID, "name": f.Name, "ram": f.RAM, "disk": f.Disk, "swap": f.Swap, "OS-FLV-EXT-DATA:ephemeral": f.Ephemeral,
		"OS-FLV-DISABLED:disabled": f.Disabled, "vcpus": f.VCPUs, "os-flavor-access:is_public": f.Public, "rxtx_factor": pyFloat(f.RXTX),
		"links": selfLinks(r, "flavors", f.ID),
	}
	if f.Swap == 0 && !r.Since("2.75") {
		m["swap"] = ""
	}
	if r.Since("2.55") {
		m["description"] = f.Description
	}
	if specs && r.Since("2.61") {
		m["extra_specs"] = f.ExtraSpecs
	}
	return m
}

func isAdmin(r *api.Request) bool { return r.Can("context_is_admin", nil) }

func (s *Service) flavorRoutes() []api.Route {
	return []api.Route{
		api.Handle("GET", "/v2.1/flavors", api.Authenticated(), 200, s.indexFlavors, query(flavorsIndexQuery())),
		api.Handle("GET", "/v2.1/flavors/detail", api.Authenticated(), 200, s.detailFlavors, query(flavorsDetailQuery())),
		api.Handle("GET", "/v2.1/flavors/{id}", api.Authenticated(), 200, s.showFlavor),
		api.Handle("POST", "/v2.1/flavors", api.Scoped(pFlavorManage+"create"), 200, s.createFlavor, body(flavorManageCreateBody())),
		api.Handle("PUT", "/v2.1/flavors/{id}", api.Scoped(pFlavorManage+"update"), 200, s.updateFlavor, body(flavorManageUpdateBody()), api.MV("2.55-")),
		api.Handle("DELETE", "/v2.1/flavors/{id}", api.Scoped(pFlavorManage+"delete"), 202, s.deleteFlavor),
		api.Handle("GET", "/v2.1/flavors/{id}/os-flavor-access", api.Scoped(pFlavorAccess), 200, s.indexFlavorAccess),
		api.Handle("POST", "/v2.1/flavors/{id}/action", api.Object(pFlavorAccess), 200, s.actOnFlavor),
		api.Handle("GET", "/v2.1/flavors/{id}/os-extra_specs", api.Scoped(pFlavorSpecs+"index"), 200, s.indexFlavorSpecs),
		api.Handle("POST", "/v2.1/flavors/{id}/os-extra_specs", api.Scoped(pFlavorSpecs+"create"), 200, s.createFlavorSpecs, body(flavorsExtraspecsCreateBody())),
		api.Handle("GET", "/v2.1/flavors/{id}/os-extra_specs/{key}", api.Scoped(pFlavorSpecs+"show"), 200, s.showFlavorSpec),
		api.Handle("PUT", "/v2.1/flavors/{id}/os-extra_specs/{key}", api.Scoped(pFlavorSpecs+"update"), 200, s.updateFlavorSpec, body(flavorsExtraspecsUpdateBody())),
		api.Handle("DELETE", "/v2.1/flavors/{id}/os-extra_specs/{key}", api.Scoped(pFlavorSpecs+"delete"), 200, s.deleteFlavorSpec),
	}
}

// flavorQuery reads the list's parameters as nova/api/openstack/compute/flavors.py does.
func flavorQuery(r *api.Request) (flavorFilter, error) {
	q := r.Query()
	yes, no := true, false
	f := flavorFilter{Public: &yes, Project: r.ProjectID(), SortKey: "flavorid", SortDir: "asc"}
	var err error
	if f.Limit, f.Marker, err = page(r); err != nil {
		return f, err
	}
	if k := q.Get("sort_key"); k != "" {
		f.SortKey = k
	}
	if d := q.Get("sort_dir"); d != "" {
		f.SortDir = d
	}
	if flavorSortKeys[f.SortKey] == nil {
		return f, fault.BadRequest("Sort key supplied was not valid.")
	}
	if isAdmin(r) {
		f.All = true
		if v := q.Get("is_public"); q.Has("is_public") {
			b, ok := strictBool(v)
			switch {
			case strings.EqualFold(v, "none"):
				f.Public = nil
			case !ok:
				return f, fault.BadRequest("Invalid is_public filter [%s]", v)
			case !b:
				f.Public = &no
			}
		}
	} else {
		f.NotDisabled = true
	}
	for name, dest := range map[string]*int64{"minRam": &f.MinRAM, "minDisk": &f.MinDisk} {
		if q.Has(name) {
			n, err := strconv.ParseInt(strings.TrimSpace(q.Get(name)), 10, 64)
			if err != nil {
				return f, fault.BadRequest("Invalid %s filter [%s]", name, q.Get(name))
			}
			*dest = n
		}
	}
	return f, nil
}

func (s *Service) flavorList(ctx context.Context, r *api.Request, collection string, view func(Flavor) any) (map[string]any, error) {
	f, err := flavorQuery(r)
	if err != nil {
		return nil, err
	}
	var list []Flavor
	if err := s.read(ctx, func(tx *db.Tx) error {
		list, err = listFlavors(tx, f)
		return err
	}); err != nil {
		return nil, err
	}
	docs := make([]any, len(list))
	for i, v := range list {
		docs[i] = view(v)
	}
	out := map[string]any{"flavors": docs}
	if len(list) > 0 && len(list) == f.Limit {
		out["flavors_links"] = nextLink(r, collection, list[len(list)-1].ID)
	}
	return out, nil
}

func (s *Service) indexFlavors(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	return s.flavorList(ctx, r, "flavors", func(f Flavor) any {
		return flavorBasic{ID: f.ID, Name: f.Name, Links: selfLinks(r, "flavors", f.ID), Description: f.Description}
	})
}

func (s *Service) detailFlavors(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	specs := r.Can(pFlavorSpecs+"index", r.Self())
	return s.flavorList(ctx, r, "flavors/detail", func(f Flavor) any { return flavorView(r, f, specs) })
}

func (s *Service) flavorAnswer(r *api.Request, f Flavor) map[string]any {
	return map[string]any{"flavor": flavorView(r, f, r.Can(pFlavorSpecs+"index", r.Self()))}
}

func (s *Service) showFlavor(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	var f Flavor
	err := s.read(ctx, func(tx *db.Tx) (err error) {
		f, err = visibleFlavor(tx, r.Path("id"), r.ProjectID(), isAdmin(r))
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.flavorAnswer(r, f), nil
}

func (s *Service) createFlavor(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	v := in["flavor"].(map[string]any)
	f := Flavor{
		Name: strings.TrimSpace(v["name"].(string)), RAM: anyInt(v["ram"], 0), VCPUs: anyInt(v["vcpus"], 0), Disk: anyInt(v["disk"], 0),
		Ephemeral: anyInt(v["OS-FLV-EXT-DATA:ephemeral"], 0), Swap: anyInt(v["swap"], 0), RXTX: 1, Public: anyBool(v["os-flavor-access:is_public"], true),
	}
	switch id := v["id"].(type) {
	case string:
		f.ID = strings.TrimSpace(id)
	case json.Number:
		f.ID = id.String()
	}
	switch x := v["rxtx_factor"].(type) {
	case string:
		f.RXTX, _ = strconv.ParseFloat(x, 64)
	case json.Number:
		f.RXTX, _ = x.Float64()
	}
	if d, ok := v["description"].(string); ok {
		f.Description = &d
	}
	err := s.write(ctx, func(tx *db.Tx) (err error) {
		f, err = createFlavor(tx, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.flavorAnswer(r, f), nil
}

func (s *Service) updateFlavor(ctx context.Context, r *api.Request, in struct {
	Flavor struct {
		Description *string `json:"description"`
	} `json:"flavor"`
}) (map[string]any, error) {
	var f Flavor
	err := s.write(ctx, func(tx *db.Tx) error {
		ok, err := saveFlavorDescription(tx, r.Path("id"), in.Flavor.Description)
		if err != nil {
			return err
		}
		if !ok {
			return flavorNotFound(r.Path("id"))
		}
		f, err = flavorByID(tx, r.Path("id"))
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.flavorAnswer(r, f), nil
}

func (s *Service) deleteFlavor(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		ok, err := deleteFlavor(tx, r.Path("id"))
		if err == nil && !ok {
			err = flavorNotFound(r.Path("id"))
		}
		return err
	})
}

type accessEntry struct {
	FlavorID string `json:"flavor_id"`
	TenantID string `json:"tenant_id"`
}

func accessList(tx *db.Tx, id string) (map[string][]accessEntry, error) {
	projects, err := flavorAccess(tx, id)
	out := []accessEntry{}
	for _, p := range projects {
		out = append(out, accessEntry{id, p})
	}
	return map[string][]accessEntry{"flavor_access": out}, err
}

func (s *Service) indexFlavorAccess(ctx context.Context, r *api.Request, _ api.None) (out map[string][]accessEntry, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		f, err := visibleFlavor(tx, r.Path("id"), r.ProjectID(), true)
		if err != nil {
			return err
		}
		if f.Public {
			return fault.NotFound("Access list not available for public flavors.")
		}
		out, err = accessList(tx, f.ID)
		return err
	})
	return out, err
}

// actOnFlavor is addTenantAccess and removeTenantAccess.
func (s *Service) actOnFlavor(ctx context.Context, r *api.Request, raw json.RawMessage) (out map[string][]accessEntry, err error) {
	name, arg, err := actionOf(raw)
	if err != nil {
		return nil, err
	}
	rules := map[string]string{"addTenantAccess": "add_tenant_access", "removeTenantAccess": "remove_tenant_access"}
	if rules[name] == "" {
		r.Asked()
		return nil, fault.BadRequest("There is no such action: %s", name)
	}
	schemas := flavorAccessAddTenantAccessBody()
	if name == "removeTenantAccess" {
		schemas = flavorAccessRemoveTenantAccessBody()
	}
	if err := validate(r, schemas, raw); err != nil {
		return nil, err
	}
	if err := r.Enforce(pFlavorAccess+":"+rules[name], nil); err != nil {
		return nil, err
	}
	tenant := arg.(map[string]any)["tenant"].(string)
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := s.verifyProject(tx, tenant); err != nil {
			// Access of a project that is gone may be removed (nova/api/openstack/compute/flavor_access.py).
			if known, e := hasFlavorAccess(tx, r.Path("id"), tenant); name != "removeTenantAccess" || e != nil || !known {
				return err
			}
		}
		f, err := visibleFlavor(tx, r.Path("id"), r.ProjectID(), true)
		if err != nil {
			return err
		}
		if name == "addTenantAccess" {
			if f.Public && r.Since("2.7") {
				return fault.Conflict("Can not add access to a public flavor.")
			}
			ok, err := addFlavorAccess(tx, f.ID, tenant)
			if err == nil && !ok {
				err = fault.Conflict("Flavor access already exists for flavor %s and project %s combination.", f.ID, tenant)
			}
			if err != nil {
				return err
			}
		} else {
			if f.Public && r.Since("2.7") {
				return fault.Conflict("Can not remove access to a public flavor.")
			}
			ok, err := removeFlavorAccess(tx, f.ID, tenant)
			if err == nil && !ok {
				err = fault.NotFound("Flavor access not found for %s / %s combination.", f.ID, tenant)
			}
			if err != nil {
				return err
			}
		}
		out, err = accessList(tx, f.ID)
		return err
	})
	return out, err
}

// verifyProject refuses a project that does not exist (nova/api/openstack/identity.py).
func (s *Service) verifyProject(tx *db.Tx, id string) error {
	ok, err := s.o.Projects.ProjectExists(tx, id)
	if err == nil && !ok {
		err = fault.BadRequest("Project ID %s is not a valid project.", id)
	}
	return err
}
