package network

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// A project's auto-allocated topology is a network with a subnet of each default pool and a router to the default external network
// (neutron/services/auto_allocate/db.py). It is made by the first GET, in one transaction, so nothing half-made is left to clean up.

func (s *Service) autoTopologyRoutes() []api.Route {
	const path, get, remove = "/v2.0/auto-allocated-topology/{project}", "get_auto_allocated_topology", "delete_auto_allocated_topology"
	return []api.Route{
		api.Handle("GET", path, api.Object(get), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			var out api.JSON
			err := s.withTopology(ctx, q, get, func(c *call, project string) (err error) {
				out, err = c.showTopology(project, q.Query()["fields"])
				return err
			})
			return out, err
		}),
		api.Handle("DELETE", path, api.Object(remove), http.StatusNoContent, func(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
			return api.None{}, s.withTopology(ctx, q, remove, (*call).dropTopology)
		}),
	}
}

// withTopology asks the rule and does the work while nobody else does it for the project. The project None is the caller's own.
func (s *Service) withTopology(ctx context.Context, q *api.Request, rule string, do func(c *call, project string) error) error {
	project := q.Path("project")
	if project == "None" {
		project = q.ProjectID()
	}
	if err := q.Enforce(rule, policy.Owned{ProjectID: project}); err != nil {
		return err
	}
	return s.o.DB.Write(ctx, func(tx *db.Tx) error { return do(s.call(tx, q, q.Caller), project) })
}

func (c *call) showTopology(project string, fields []string) (api.JSON, error) {
	id, err := "dry-run=pass", error(nil)
	switch {
	case slices.Contains(fields, "dry-run"):
		err = c.topologyPossible()
	case len(fields) > 0:
		err = badResource("auto_allocate", "Unrecognized field")
	default:
		id, err = c.topology(project)
	}
	if err != nil {
		return nil, err
	}
	return encodeJSON(map[string]any{"auto_allocated_topology": doc{"id": id, "tenant_id": project, "project_id": project}})
}

func autoAllocationFailure(reason string) *fault.Error {
	return conflict("AutoAllocationFailure", "Deployment error: %s.", reason)
}

// topologyPossible is the dry run.
func (c *call) topologyPossible() error {
	if _, err := c.defaultExternal(); err != nil {
		return err
	}
	pools, err := c.defaultPools()
	if err == nil && len(pools) == 0 {
		return autoAllocationFailure("No default subnetpools defined")
	}
	return err
}

func (c *call) defaultExternal() (string, error) {
	id, err := db.One(c.tx, db.Value[string], `SELECT id FROM net_networks WHERE external AND is_default ORDER BY id LIMIT 1`)
	if errors.Is(err, db.ErrNotFound) {
		return "", autoAllocationFailure("No default router:external network")
	}
	return id, err
}

func (c *call) defaultPools() ([]*subnetPool, error) {
	var out []*subnetPool
	for _, version := range []int64{4, 6} {
		p, err := c.defaultPool(version)
		if err != nil {
			return nil, err
		}
		if p != nil {
			out = append(out, p)
		}
	}
	return out, nil
}

// topology is the project's network, made when it is first asked for.
func (c *call) topology(project string) (string, error) {
	if err := c.tx.LockQuota(project, "auto_allocated_topology"); err != nil {
		return "", err
	}
	id, err := db.One(c.tx, db.Value[string], `SELECT network_id FROM net_auto_topologies WHERE project_id = $1`, project)
	if !errors.Is(err, db.ErrNotFound) {
		return id, err
	}
	external, err := c.defaultExternal()
	if err != nil {
		return "", err
	}
	n, subnets, err := c.topologyNetwork(project)
	if err != nil {
		return "", unable(err, "Unable to provide tenant private network", http.StatusBadRequest, http.StatusNotFound)
	}
	r, err := c.topologyRouter(project, external, subnets)
	if err != nil {
		return "", unable(err, "Unable to provide external connectivity", http.StatusBadRequest)
	}
	_, err = c.tx.Exec(`INSERT INTO net_auto_topologies (project_id, network_id, router_id) VALUES ($1, $2, $3)`, project, n, r)
	return n, err
}

// unable words errors of some statuses as upstream does and passes the others on.
func unable(err error, reason string, statuses ...int) error {
	if slices.Contains(statuses, fault.As(err).Status) {
		return autoAllocationFailure(reason)
	}
	return err
}

// makeOne makes an object as a request with this body would.
func (c *call) makeOne(r *resource, in map[string]any) (object, error) {
	v, err := r.prepare(c, in, true)
	if err != nil {
		return nil, err
	}
	return r.create(c, v)
}

func (c *call) topologyNetwork(project string) (string, []string, error) {
	pools, err := c.defaultPools()
	if err != nil {
		return "", nil, err
	}
	if len(pools) == 0 {
		return "", nil, notFound("HTTPNotFound", "No default pools available")
	}
	n, err := c.makeOne(c.s.res.networks, map[string]any{"name": "auto_allocated_network", "tenant_id": project})
	if err != nil {
		return "", nil, err
	}
	var subnets []string
	for _, p := range pools {
		s, err := c.makeOne(c.s.res.subnets, map[string]any{"name": "auto_allocated_subnet_v" + str(p.IPVersion), "network_id": n.std().ID, "tenant_id": project,
			"ip_version": p.IPVersion, "subnetpool_id": p.ID})
		if err != nil {
			return "", nil, err
		}
		subnets = append(subnets, s.std().ID)
	}
	return n.std().ID, subnets, nil
}

func (c *call) topologyRouter(project, external string, subnets []string) (string, error) {
	o, err := c.makeOne(c.s.res.routers, map[string]any{"name": "auto_allocated_router", "tenant_id": project, "external_gateway_info": map[string]any{"network_id": external}})
	if err != nil {
		return "", err
	}
	for _, s := range subnets {
		if _, err := addInterface(c, o.(*router), map[string]any{"subnet_id": s}); err != nil {
			return "", err
		}
	}
	return o.std().ID, nil
}

// dropTopology removes all of it, or nothing when something is in use.
func (c *call) dropTopology(project string) error {
	type row struct{ network, router string }
	t, err := db.One(c.tx, func(r db.Row) (row, error) {
		var t row
		return t, r.Scan(&t.network, &t.router)
	}, `SELECT network_id, router_id FROM net_auto_topologies WHERE project_id = $1`, project)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if t.router != "" {
		if err := c.dropTopologyRouter(t.network, t.router); err != nil {
			return err
		}
	}
	n, err := c.one(c.s.res.networks, t.network)
	if err != nil {
		return err
	}
	return removeNetwork(c, n)
}

func (c *call) dropTopologyRouter(network, id string) error {
	r, err := c.router(id)
	if err != nil {
		return err
	}
	legs, err := c.routerPorts(id)
	if err != nil {
		return err
	}
	for _, p := range legs {
		if p.DeviceOwner != ownerRouterIf || p.NetworkID != network {
			continue
		}
		if _, err := removeInterface(c, r, map[string]any{"port_id": p.ID}); err != nil {
			return err
		}
	}
	return removeRouter(c, r)
}

// topologyLoses forgets what was deleted by hand: without its network there is no topology.
func (c *call) topologyLoses(network, router string) error {
	if network != "" {
		_, err := c.tx.Exec(`DELETE FROM net_auto_topologies WHERE network_id = $1`, network)
		return err
	}
	_, err := c.tx.Exec(`UPDATE net_auto_topologies SET router_id = '' WHERE router_id = $1`, router)
	return err
}
