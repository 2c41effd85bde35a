package network

import (
	"errors"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// router joins networks. One node owns it and realises all of it.
type router struct {
	standard
	AdminUp   bool
	Status    string
	GatewayID string // the gateway port
	SNAT      bool
	Routes    []nodeapi.Route
	AZHints   []string
	Node      string

	Gateway *port
}

const routerColumns = standardColumns + `, t.admin_state_up, t.status, t.gw_port_id, t.enable_snat, t.routes, t.az_hints, t.node`

func scanRouter(row db.Row) (*router, error) {
	r := &router{}
	return r, row.Scan(r.scan(&r.AdminUp, &r.Status, &r.GatewayID, &r.SNAT, jsonOf(&r.Routes), jsonOf(&r.AZHints), &r.Node)...)
}

func (r *router) columns() []column {
	return []column{{"admin_state_up", r.AdminUp}, {"status", r.Status}, {"gw_port_id", r.GatewayID}, {"enable_snat", r.SNAT}, {"routes", jsonArg(r.Routes)},
		{"az_hints", jsonArg(r.AZHints)}, {"node", r.Node}}
}

func (r *router) doc() doc {
	var gateway any
	if r.Gateway != nil {
		gateway = doc{"network_id": r.Gateway.NetworkID, "enable_snat": r.SNAT, "external_fixed_ips": emptyList(r.Gateway.FixedIPs)}
	}
	zones := []string{}
	if r.Node != "" {
		zones = []string{defaultZone}
	}
	return r.common(doc{"name": r.Name, "admin_state_up": r.AdminUp, "status": r.Status, "external_gateway_info": gateway, "routes": emptyList(r.Routes),
		"availability_zone_hints": emptyList(r.AZHints), "availability_zones": zones})
}

func (s *Service) routers() *resource {
	return &resource{name: "router", collection: "routers", table: "net_routers", notFound: routerNotFound, quota: "router",
		attrs: append(standardAttrs(plainName()),
			attr{name: "admin_state_up", post: true, put: true, def: true, convert: toBool, column: "t.admin_state_up", sort: true, kind: boolean},
			attr{name: "status", column: "t.status", sort: true},
			attr{name: "external_gateway_info", post: true, put: true, def: nil, validate: vGatewayInfo, enforce: true},
			attr{name: "routes", put: true, def: unset{}, convert: noneToList, validate: vHostRoutes},
			attr{name: "availability_zones"},
			attr{name: "availability_zone_hints", post: true, def: []any{}, validate: vAZHints}),
		load: loadRouters, create: createRouter, update: updateRouter, remove: removeRouter}
}

// vGatewayInfo is external_gateway_info: null, {} or network_id with its options.
func vGatewayInfo(v any) (string, error) {
	m, ok := v.(map[string]any)
	if v == nil || ok && len(m) == 0 {
		return "", nil
	}
	if !ok {
		return "'" + str(v) + "' is not a dictionary", nil
	}
	if _, ok := m["network_id"]; !ok {
		got := []any{}
		for _, k := range sortedKeys(m) {
			got = append(got, k)
		}
		return "Validation of dictionary's keys failed. Expected keys: {'network_id'} Provided keys: " + pySet(got), nil
	}
	for _, k := range sortedKeys(m) {
		switch k {
		case "network_id":
			if !isUUID(m[k]) {
				return "'" + str(m[k]) + "' is not a valid UUID", nil
			}
		case "enable_snat":
			b, err := toBool(m[k])
			if err != nil {
				return "", err
			}
			m[k] = b
		case "external_fixed_ips":
			if p, err := vFixedIPs(m[k]); p != "" || err != nil {
				return p, err
			}
		default:
			return "Unexpected keys supplied: " + k, nil
		}
	}
	return "", nil
}

func loadRouters(c *call, ids []string) ([]object, error) {
	w := &db.Where{}
	w.In("t.id", ids)
	rs, err := db.All(c.tx, scanRouter, `SELECT `+routerColumns+` FROM net_routers t`+w.SQL(), w.Args()...)
	if err != nil {
		return nil, err
	}
	out := make([]object, len(rs))
	var gws []string
	for i, r := range rs {
		out[i] = r
		if r.GatewayID != "" {
			gws = append(gws, r.GatewayID)
		}
	}
	if len(gws) == 0 {
		return out, nil
	}
	w = &db.Where{}
	w.In("t.id", gws)
	ports, err := db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t`+w.SQL(), w.Args()...)
	for _, p := range ports {
		for _, r := range rs {
			if r.GatewayID == p.ID {
				r.Gateway = p
			}
		}
	}
	return out, err
}

func (c *call) router(id string) (*router, error) {
	os, err := loadRouters(c, []string{id})
	if err != nil {
		return nil, err
	}
	if len(os) == 0 {
		return nil, routerNotFound(id)
	}
	return os[0].(*router), nil
}

// asService is the same call acting for the service itself: ports of routers and floating IPs are made whatever the caller may do to ports.
func (c *call) asService() *call {
	d := *c
	d.internal = true
	return &d
}

func createRouter(c *call, v values) (object, error) {
	r := &router{standard: newStandard(c.tx, v), AdminUp: v.bool("admin_state_up"), Status: "ACTIVE", SNAT: true, AZHints: v.strings("availability_zone_hints")}
	r.Revision = 1
	if err := c.zonesKnown(r.AZHints); err != nil {
		return nil, err
	}
	if err := insert(c.tx, "router", "net_routers", &r.standard, r.columns()...); err != nil {
		return nil, err
	}
	if m, ok := v["external_gateway_info"].(map[string]any); ok && len(m) > 0 {
		if err := c.setGateway(r, m); err != nil {
			return nil, err
		}
		return r, c.saveRouter(r)
	}
	return r, nil
}

func (c *call) saveRouter(r *router) error {
	if err := c.schedule(r); err != nil {
		return err
	}
	if err := save(c.tx, "router", "net_routers", &r.standard, r.columns()...); err != nil {
		return err
	}
	nodehub.Wake(c.tx, r.Node, nodehub.Networks)
	return nil
}

func updateRouter(c *call, o object, v values) (object, error) {
	r := o.(*router)
	r.take(v)
	if v.has("admin_state_up") {
		r.AdminUp = v.bool("admin_state_up")
	}
	if v.has("external_gateway_info") {
		m, _ := v["external_gateway_info"].(map[string]any)
		if err := c.setGateway(r, m); err != nil {
			return nil, err
		}
	}
	if v.has("routes") {
		routes := toRoutes(v.list("routes"))
		if err := c.checkRoutes(r, routes); err != nil {
			return nil, err
		}
		r.Routes = routes
	}
	return r, c.saveRouter(r)
}

// setGateway changes the router's leg on an external network (neutron/db/l3_db.py, _update_router_gw_info).
func (c *call) setGateway(r *router, m map[string]any) error {
	if len(m) == 0 {
		r.SNAT = true
		return c.dropGateway(r)
	}
	if snat, ok := m["enable_snat"].(bool); ok {
		r.SNAT = snat
	} else {
		r.SNAT = true
	}
	n, err := c.externalNetwork(str(m["network_id"]))
	if err != nil {
		return err
	}
	l, _ := m["external_fixed_ips"].([]any)
	want := toWanted(l)
	subnets, err := c.subnetsOf(n.ID)
	if err != nil {
		return err
	}
	for _, w := range want {
		for _, s := range subnets {
			if w.ip.IsValid() && s.GatewayIP == ipString(w.ip) {
				return badResource("router", "External IP %s is the same as the gateway IP", w.ip)
			}
		}
	}
	if r.Gateway != nil && r.Gateway.NetworkID == n.ID {
		if len(want) == 0 {
			return nil
		}
		before := *r.Gateway
		if err := c.asService().changeIPs(r.Gateway, want); err != nil {
			return err
		}
		if err := c.savePort(r.Gateway); err != nil {
			return err
		}
		return c.portChanged(r.Gateway, &before)
	}
	if err := c.dropGateway(r); err != nil {
		return err
	}
	if err := c.noDuplicateSubnets(r, n.ID, subnets); err != nil {
		return err
	}
	v := values{"tenant_id": "", "network_id": n.ID, "admin_state_up": true, "device_id": r.ID, "device_owner": ownerGateway, "binding:host_id": r.Node}
	if len(want) > 0 {
		v["fixed_ips"] = l
	}
	o, err := createPort(c.asService(), v)
	if err != nil {
		return err
	}
	r.Gateway = o.(*port)
	r.GatewayID = r.Gateway.ID
	if len(r.Gateway.FixedIPs) == 0 {
		return badResource("router", "No IPs available for external network %s", n.ID)
	}
	return nil
}

// externalNetwork loads a network that the caller sees and that is external.
func (c *call) externalNetwork(id string) (*network, error) {
	n, _, err := c.visibleNetwork(id)
	if err != nil {
		return nil, err
	}
	if !n.External {
		return nil, badResource("router", "Network %s is not an external network", id)
	}
	return n, nil
}

func (c *call) dropGateway(r *router) error {
	if r.Gateway == nil {
		return nil
	}
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_floatingips WHERE router_id = $1 LIMIT 1`, r.ID)
	if err == nil {
		return conflict("RouterExternalGatewayInUseByFloatingIp",
			"Gateway cannot be updated for router %s, since a gateway to external network %s is required by one or more floating IPs.", r.ID, r.Gateway.NetworkID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if err := c.deletePort(r.Gateway); err != nil {
		return err
	}
	r.Gateway, r.GatewayID = nil, ""
	return nil
}

func removeRouter(c *call, o object) error {
	r := o.(*router)
	legs, err := c.routerPorts(r.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(legs, func(p *port) bool { return p.DeviceOwner == ownerRouterIf }) {
		return conflict("RouterInUse", "Router %s still has ports", r.ID)
	}
	if err := c.dropGateway(r); err != nil {
		return err
	}
	nodehub.Wake(c.tx, r.Node, nodehub.Networks)
	if err := c.topologyLoses("", r.ID); err != nil {
		return err
	}
	return erase(c.tx, "router", "net_routers", &r.standard)
}

// routerPorts are the router's legs, gateway included.
func (c *call) routerPorts(id string) ([]*port, error) {
	return db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.device_id = $1 AND t.device_owner IN ('network:router_interface', 'network:router_gateway') ORDER BY t.created_at, t.id`, id)
}

// schedule gives a router that has a leg to a node that is up and can carry its networks: the one with the fewest routers. An owner that can no longer carry
// them is left.
func (c *call) schedule(r *router) error {
	legs, err := c.routerPorts(r.ID)
	if err != nil || len(legs) == 0 {
		return err
	}
	var nets []*network
	for _, p := range legs {
		n, err := c.network(p.NetworkID)
		if err != nil {
			return err
		}
		nets = append(nets, n)
	}
	nodes, err := nodehub.Nodes(c.tx)
	if err != nil {
		return err
	}
	load := map[string]int{}
	if err := c.tx.Each(func(row db.Row) error {
		var node string
		var n int
		err := row.Scan(&node, &n)
		load[node] = n
		return err
	}, `SELECT node, count(*) FROM net_routers WHERE node <> '' GROUP BY node`); err != nil {
		return err
	}
	best := chooseNode(nodes, nets, r.Node, load)
	if best == "" {
		best = r.Node // an owner that is only down keeps its router: what it runs goes on running
	}
	if best == "" {
		return nil
	}
	nodehub.Wake(c.tx, r.Node, nodehub.Networks)
	r.Node = best
	for _, p := range legs {
		if p.Host == best && p.VIFType == vifBridge {
			continue
		}
		before := *p
		p.Host, p.VIFType = best, vifBridge
		if err := c.savePort(p); err != nil {
			return err
		}
		if err := c.portChanged(p, &before); err != nil {
			return err
		}
		if r.Gateway != nil && r.Gateway.ID == p.ID {
			r.Gateway = p
		}
	}
	return nil
}

// chooseNode decides who owns a router.
func chooseNode(nodes []nodehub.NodeRecord, nets []*network, owner string, load map[string]int) string {
	best := ""
	for _, n := range nodes {
		able := true
		for _, net := range nets {
			able = able && carries(n.Node, net)
		}
		switch {
		case !able:
		case n.Name == owner:
			return owner
		case !n.Up:
		case best == "" || load[n.Name] < load[best]:
			best = n.Name
		}
	}
	return best
}
