package network

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// interfaceInfo answers add_ and remove_router_interface.
type interfaceInfo struct {
	ID        string   `json:"id"`
	TenantID  string   `json:"tenant_id"`
	PortID    string   `json:"port_id"`
	NetworkID string   `json:"network_id"`
	SubnetID  string   `json:"subnet_id"`
	SubnetIDs []string `json:"subnet_ids"`
}

// routerAction is one of PUT /routers/{id}/…
func (s *Service) routerAction(name, rule string, do func(c *call, r *router, in map[string]any) (any, error)) api.Route {
	return api.Handle("PUT", "/v2.0/routers/{id}/"+name, api.Object(rule), http.StatusOK, func(ctx context.Context, q *api.Request, in map[string]any) (api.JSON, error) {
		q.Asked()
		var out api.JSON
		err := s.o.DB.Write(ctx, func(tx *db.Tx) error {
			c := s.call(tx, q, q.Caller)
			o, _, err := c.find(s.res.routers, q.Path("id"))
			if err != nil {
				return err
			}
			r := o.(*router)
			t := c.target(s.res.routers, r.ProjectID, false, r)
			if !s.policy.Allowed(rule, c.creds, t) {
				return c.refused(s.res.routers, t, rule)
			}
			answer, err := do(c, r, plain(in).(map[string]any))
			if err != nil {
				return err
			}
			out, err = encodeJSON(answer)
			return err
		})
		return out, err
	})
}

func (s *Service) routerActions() []api.Route {
	return []api.Route{
		s.routerAction("add_router_interface", "add_router_interface", addInterface),
		s.routerAction("remove_router_interface", "remove_router_interface", removeInterface),
		s.routerAction("add_extraroutes", "add_extraroutes", addExtraRoutes),
		s.routerAction("remove_extraroutes", "remove_extraroutes", removeExtraRoutes),
	}
}

// interfaceOf reads subnet_id and port_id.
func interfaceOf(in map[string]any) (subnetID, portID string, err error) {
	for k, x := range in {
		if _, ok := x.(string); (k == "subnet_id" || k == "port_id") && x != nil && !isUUID(x) {
			return "", "", badResource("router", "'%s' is not a valid UUID", str(x))
		} else if ok && k == "subnet_id" {
			subnetID = str(x)
		} else if ok && k == "port_id" {
			portID = str(x)
		}
	}
	if subnetID == "" && portID == "" {
		return "", "", badResource("router", "Either subnet_id or port_id must be specified")
	}
	return subnetID, portID, nil
}

func addInterface(c *call, r *router, in map[string]any) (any, error) {
	subnetID, portID, err := interfaceOf(in)
	if err != nil {
		return nil, err
	}
	if subnetID != "" && portID != "" {
		return nil, badResource("router", "Cannot specify both subnet-id and port-id")
	}
	// Two legs of one router are compared with each other: its row is locked first.
	if err := bump(c.tx, "net_routers", r.ID, false); err != nil {
		return nil, err
	}
	var p *port
	var subnets []*subnet
	if portID != "" {
		p, subnets, err = c.legByPort(r, portID)
	} else {
		p, subnets, err = c.legBySubnet(r, subnetID)
	}
	if err != nil {
		return nil, err
	}
	if err := c.saveRouter(r); err != nil {
		return nil, err
	}
	if err := c.wakeNetwork(p.NetworkID); err != nil {
		return nil, err
	}
	return legInfo(r, p, subnets), nil
}

func legInfo(r *router, p *port, subnets []*subnet) interfaceInfo {
	i := interfaceInfo{ID: r.ID, TenantID: p.ProjectID, PortID: p.ID, NetworkID: p.NetworkID, SubnetIDs: []string{}}
	for _, s := range subnets {
		i.SubnetID = s.ID
		i.SubnetIDs = append(i.SubnetIDs, s.ID)
	}
	return i
}

func (c *call) legByPort(r *router, portID string) (*port, []*subnet, error) {
	o, _, err := c.find(c.s.res.ports, portID)
	if err != nil {
		return nil, nil, err
	}
	p := o.(*port)
	if p.DeviceID != "" {
		return nil, nil, conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.", p.ID, p.NetworkID, p.DeviceID)
	}
	if len(p.FixedIPs) == 0 {
		return nil, nil, badResource("router", "Router port must have at least one fixed IP")
	}
	var subnets []*subnet
	v4 := 0
	for _, f := range p.FixedIPs {
		s, err := c.subnet(f.SubnetID)
		if err != nil {
			return nil, nil, err
		}
		if s.IPVersion == 4 {
			v4++
		}
		subnets = append(subnets, s)
	}
	if err := c.noDuplicateSubnets(r, p.NetworkID, subnets); err != nil {
		return nil, nil, err
	}
	if v4 > 1 {
		return nil, nil, badResource("router", "Cannot have multiple IPv4 subnets on router port")
	}
	if slices.ContainsFunc(subnets, func(s *subnet) bool { return s.IPVersion == 6 }) {
		other, err := c.leg6(r, p.NetworkID)
		if err != nil {
			return nil, nil, err
		}
		if other != nil {
			return nil, nil, badResource("router", "Cannot have multiple router ports with the same network id if both contain IPv6 subnets. Existing port %s has IPv6 subnet(s) and network id %s",
				other.ID, other.NetworkID)
		}
	}
	before := *p
	p.DeviceID, p.DeviceOwner = r.ID, ownerRouterIf
	if err := c.savePort(p); err != nil {
		return nil, nil, err
	}
	return p, subnets, c.portChanged(p, &before)
}

// leg6 is the router's IPv6 leg on a network; there is at most one, with an address a subnet.
func (c *call) leg6(r *router, networkID string) (*port, error) {
	legs, err := c.routerPorts(r.ID)
	for _, p := range legs {
		if p.NetworkID == networkID && p.DeviceOwner == ownerRouterIf && slices.ContainsFunc(p.FixedIPs, func(f fixedIP) bool { a, _ := parseIP(f.IP); return a.Is6() }) {
			return p, err
		}
	}
	return nil, err
}

func (c *call) legBySubnet(r *router, subnetID string) (*port, []*subnet, error) {
	o, _, err := c.find(c.s.res.subnets, subnetID)
	if err != nil {
		return nil, nil, err
	}
	s := o.(*subnet)
	if s.GatewayIP == "" {
		return nil, nil, badResource("router", "Subnet for router interface must have a gateway IP")
	}
	if s.ProjectID != c.projectID && !c.admin {
		_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_rbac_policies WHERE object_type = 'network' AND object_id = $1 AND action = 'access_as_shared' AND target_project = $2`, s.NetworkID, c.projectID)
		if err != nil {
			return nil, nil, badResource("router", "Cannot add interface to router because subnet %s is not owned by project making the request", subnetID)
		}
	}
	if s.IPVersion == 6 && s.AddressMode != "" && s.RAMode == "" {
		return nil, nil, badResource("router", "IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router.", s.ID)
	}
	if err := c.noDuplicateSubnets(r, s.NetworkID, []*subnet{s}); err != nil {
		return nil, nil, err
	}
	own := c.asService()
	if s.IPVersion == 6 {
		p, err := c.leg6(r, s.NetworkID)
		if err != nil {
			return nil, nil, err
		}
		if p != nil {
			a, err := parseIP(s.GatewayIP)
			if err != nil {
				return nil, nil, err
			}
			before := *p
			if err := own.giveNamedIPs(p, []*subnet{s}, []wanted{{s.ID, a}}); err != nil {
				return nil, nil, err
			}
			if err := c.savePort(p); err != nil {
				return nil, nil, err
			}
			return p, []*subnet{s}, c.portChanged(p, &before)
		}
	}
	n, err := createPort(own, values{"tenant_id": r.ProjectID, "network_id": s.NetworkID, "admin_state_up": true, "device_id": r.ID, "device_owner": ownerRouterIf, "binding:host_id": r.Node,
		"fixed_ips": []any{map[string]any{"subnet_id": s.ID, "ip_address": s.GatewayIP}}})
	if err != nil {
		return nil, nil, err
	}
	return n.(*port), []*subnet{s}, nil
}

// noDuplicateSubnets refuses a leg whose subnets the router has already, or that overlap another leg's (neutron/db/l3_db.py, _check_for_dup_router_subnets).
func (c *call) noDuplicateSubnets(r *router, networkID string, subnets []*subnet) error {
	legs, err := c.routerPorts(r.ID)
	if err != nil {
		return err
	}
	for _, p := range legs {
		for _, f := range p.FixedIPs {
			for _, s := range subnets {
				if f.SubnetID == s.ID {
					return badResource("router", "Router already has a port on subnet %s", s.ID)
				}
			}
			if p.NetworkID == networkID {
				continue // subnets of one network do not overlap
			}
			have, err := c.subnet(f.SubnetID)
			if err != nil {
				return err
			}
			for _, s := range subnets {
				if have.CIDR.Overlaps(s.CIDR) {
					return badResource("router", "Cidr %s of subnet %s overlaps with cidr %s of subnet %s", s.CIDR, s.ID, have.CIDR, have.ID)
				}
			}
		}
	}
	return nil
}

func removeInterface(c *call, r *router, in map[string]any) (any, error) {
	subnetID, portID, err := interfaceOf(in)
	if err != nil {
		return nil, err
	}
	if err := bump(c.tx, "net_routers", r.ID, false); err != nil {
		return nil, err
	}
	legs, err := c.routerPorts(r.ID)
	if err != nil {
		return nil, err
	}
	var leg *port
	for _, p := range legs {
		if p.DeviceOwner != ownerRouterIf {
			continue
		}
		onSubnet := slices.ContainsFunc(p.FixedIPs, func(f fixedIP) bool { return f.SubnetID == subnetID })
		if p.ID == portID || portID == "" && onSubnet {
			if subnetID != "" && !onSubnet {
				return nil, conflict("SubnetMismatchForPort", "Subnet on port %s does not match the requested subnet %s.", p.ID, subnetID)
			}
			leg = p
			break
		}
	}
	if leg == nil {
		if portID != "" {
			return nil, notFound("RouterInterfaceNotFound", "Router %s does not have an interface with id %s", r.ID, portID)
		}
		if _, _, err := c.find(c.s.res.subnets, subnetID); err != nil {
			return nil, err
		}
		return nil, notFound("RouterInterfaceNotFoundForSubnet", "Router %s has no interface on subnet %s", r.ID, subnetID)
	}
	return c.dropLeg(r, leg, subnetID, portID)
}

func (c *call) dropLeg(r *router, leg *port, subnetID, portID string) (any, error) {
	var gone []*subnet
	var goneIPs, kept []fixedIP
	for _, f := range leg.FixedIPs {
		s, err := c.subnet(f.SubnetID)
		if err != nil {
			return nil, err
		}
		if portID == "" && f.SubnetID != subnetID {
			kept = append(kept, f) // an IPv6 leg has several subnets
			continue
		}
		if err := c.legUnused(r, s); err != nil {
			return nil, err
		}
		gone, goneIPs = append(gone, s), append(goneIPs, f)
	}
	info := legInfo(r, leg, gone)
	before := *leg
	if len(kept) > 0 {
		if err := c.releaseIPs(leg.ID, goneIPs); err != nil {
			return nil, err
		}
		leg.FixedIPs = kept
		if err := c.savePort(leg); err != nil {
			return nil, err
		}
		if err := c.portChanged(leg, &before); err != nil {
			return nil, err
		}
	} else if err := c.deletePort(leg); err != nil {
		return nil, err
	}
	return info, c.saveRouter(r)
}

// legUnused refuses to take a leg that floating IPs or routes need.
func (c *call) legUnused(r *router, s *subnet) error {
	for _, x := range r.Routes {
		hop, err := parseIP(x.NextHop)
		if err == nil && s.CIDR.Contains(hop) {
			return conflict("RouterInterfaceInUseByRoute", "Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", s.ID, r.ID)
		}
	}
	fixed, err := db.All(c.tx, db.Value[string], `SELECT fixed_ip_address FROM net_floatingips WHERE router_id = $1`, r.ID)
	if err != nil {
		return err
	}
	for _, f := range fixed {
		if a, err := parseIP(f); err == nil && s.CIDR.Contains(a) {
			return conflict("RouterInterfaceInUseByFloatingIP",
				"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", s.ID, r.ID)
		}
	}
	return nil
}

// maxRoutes is neutron's max_routes.
const maxRoutes = 30

// checkRoutes asks that every next hop is reachable through a leg and is none of the router's own addresses.
func (c *call) checkRoutes(r *router, routes []nodeapi.Route) error {
	if len(routes) > maxRoutes {
		return badRequest("RoutesExhausted", "Unable to complete operation for %s. The number of routes exceeds the maximum %d.", r.ID, maxRoutes)
	}
	legs, err := c.routerPorts(r.ID)
	if err != nil {
		return err
	}
	var nets []netip.Prefix
	var own []string
	for _, p := range legs {
		for _, f := range p.FixedIPs {
			s, err := c.subnet(f.SubnetID)
			if err != nil {
				return err
			}
			nets, own = append(nets, s.CIDR), append(own, f.IP)
		}
	}
	text := routesText(routes)
	for _, x := range routes {
		hop, err := parseIP(x.NextHop)
		if err != nil || !slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(hop) }) {
			return badRequest("InvalidRoutes", "Invalid format for routes: %s, the nexthop is not connected with router", text)
		}
		if slices.Contains(own, ipString(hop)) {
			return badRequest("InvalidRoutes", "Invalid format for routes: %s, the nexthop is used by router", text)
		}
	}
	return nil
}

func routesText(routes []nodeapi.Route) string {
	l := make([]any, len(routes))
	for i, r := range routes {
		l[i] = map[string]any{"destination": r.Destination, "nexthop": r.NextHop}
	}
	return str(l)
}

// extraRoutes reads {"router": {"routes": […]}}.
func extraRoutes(in map[string]any) ([]nodeapi.Route, error) {
	m, ok := in["router"].(map[string]any)
	if !ok {
		return nil, badRequest("InvalidInput", "Invalid input for operation: 'router' is required.")
	}
	l, ok := m["routes"]
	if !ok || l == nil {
		l = []any{}
	}
	if p, _ := vHostRoutes(l); p != "" {
		return nil, httpBadRequest("Invalid input for routes. Reason: %s.", p)
	}
	return toRoutes(l.([]any)), nil
}

func addExtraRoutes(c *call, r *router, in map[string]any) (any, error) {
	add, err := extraRoutes(in)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(r.Routes)
	for _, x := range add {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return c.replaceRoutes(r, all)
}

func removeExtraRoutes(c *call, r *router, in map[string]any) (any, error) {
	gone, err := extraRoutes(in)
	if err != nil {
		return nil, err
	}
	return c.replaceRoutes(r, slices.DeleteFunc(slices.Clone(r.Routes), func(x nodeapi.Route) bool { return slices.Contains(gone, x) }))
}

func (c *call) replaceRoutes(r *router, routes []nodeapi.Route) (any, error) {
	if err := c.checkRoutes(r, routes); err != nil {
		return nil, err
	}
	r.Routes = routes
	if err := c.saveRouter(r); err != nil {
		return nil, err
	}
	return map[string]any{"router": r.doc()}, nil
}
