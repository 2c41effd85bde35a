package network

import (
	"errors"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// floatingIP is an external address that a router translates to a port's.
type floatingIP struct {
	standard
	NetworkID  string // external
	Address    string
	FloatPort  string // holds the address
	FixedIP    string
	PortID     string
	RouterID   string
	Status     string
	portOfPort *port // what port_details shows
	// Forwardings lead single ports elsewhere; a floating IP has them or a port.
	Forwardings []*portForwarding
}

const floatingIPColumns = standardColumns + `, t.floating_network_id, t.floating_ip_address, t.floating_port_id, t.fixed_ip_address, t.port_id, t.router_id, t.status`

func scanFloatingIP(r db.Row) (*floatingIP, error) {
	f := &floatingIP{}
	return f, r.Scan(f.scan(&f.NetworkID, &f.Address, &f.FloatPort, &f.FixedIP, &f.PortID, &f.RouterID, &f.Status)...)
}

func (f *floatingIP) columns() []column {
	return []column{{"floating_network_id", f.NetworkID}, {"floating_ip_address", f.Address}, {"floating_port_id", f.FloatPort}, {"fixed_ip_address", f.FixedIP},
		{"port_id", f.PortID}, {"router_id", f.RouterID}, {"status", f.Status}}
}

func (f *floatingIP) doc() doc {
	var details any
	if p := f.portOfPort; p != nil {
		details = doc{"name": p.Name, "network_id": p.NetworkID, "mac_address": p.MAC, "admin_state_up": p.AdminUp, "status": p.Status, "device_id": p.DeviceID, "device_owner": p.DeviceOwner}
	}
	forwardings := make([]doc, len(f.Forwardings))
	for i, p := range f.Forwardings {
		forwardings[i] = p.brief()
	}
	return f.common(doc{"port_forwardings": forwardings, "floating_network_id": f.NetworkID, "floating_ip_address": f.Address, "fixed_ip_address": orNull(f.FixedIP), "port_id": orNull(f.PortID),
		"router_id": orNull(f.RouterID), "status": f.Status, "port_details": details})
}

func floatingIPNotFound(id string) *fault.Error {
	return notFound("FloatingIPNotFound", "Floating IP %s could not be found", id)
}

func (s *Service) floatingIPs() *resource {
	return &resource{name: "floatingip", collection: "floatingips", table: "net_floatingips", notFound: floatingIPNotFound, quota: "floatingip",
		attrs: append(standardAttrs(attr{}),
			attr{name: "floating_ip_address", post: true, def: nil, validate: vIPOrNone, enforce: true, column: "t.floating_ip_address", sort: true},
			attr{name: "subnet_id", post: true, def: nil, validate: vUUIDOrNone, hidden: true},
			attr{name: "floating_network_id", post: true, required: true, validate: vUUID, column: "t.floating_network_id", sort: true},
			attr{name: "router_id", column: "t.router_id", sort: true, kind: nullable},
			attr{name: "port_id", post: true, put: true, def: nil, validate: vUUIDOrNone, column: "t.port_id", kind: nullable},
			attr{name: "fixed_ip_address", post: true, put: true, def: nil, validate: vIPOrNone, column: "t.fixed_ip_address", sort: true, kind: nullable},
			attr{name: "status", column: "t.status", sort: true},
			attr{name: "port_details"}, attr{name: "port_forwardings"}),
		load: loadFloatingIPs, create: createFloatingIP, update: updateFloatingIP, remove: removeFloatingIP}
}

func loadFloatingIPs(c *call, ids []string) ([]object, error) {
	w := &db.Where{}
	w.In("t.id", ids)
	fs, err := db.All(c.tx, scanFloatingIP, `SELECT `+floatingIPColumns+` FROM net_floatingips t`+w.SQL(), w.Args()...)
	if err != nil {
		return nil, err
	}
	out := make([]object, len(fs))
	var ports []string
	for i, f := range fs {
		out[i] = f
		if f.PortID != "" {
			ports = append(ports, f.PortID)
		}
	}
	if err := c.loadForwardings(fs, ids); err != nil || len(ports) == 0 {
		return out, err
	}
	w = &db.Where{}
	w.In("t.id", ports)
	ps, err := db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t`+w.SQL(), w.Args()...)
	for _, p := range ps {
		for _, f := range fs {
			if f.PortID == p.ID {
				f.portOfPort = p
			}
		}
	}
	return out, err
}

func (c *call) loadForwardings(fs []*floatingIP, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	w := &db.Where{}
	w.In("t.floatingip_id", ids)
	all, err := db.All(c.tx, scanPortForwarding, `SELECT `+portForwardingColumns+` FROM net_port_forwardings t`+w.SQL()+` ORDER BY t.created_at, t.id`, w.Args()...)
	for _, p := range all {
		for _, f := range fs {
			if f.ID == p.FloatingID {
				f.Forwardings = append(f.Forwardings, p)
			}
		}
	}
	return err
}

func createFloatingIP(c *call, v values) (object, error) {
	n, _, err := c.visibleNetwork(v.str("floating_network_id"))
	if err != nil {
		return nil, err
	}
	if !n.External {
		return nil, badResource("floatingip", "Network %s is not a valid external network", n.ID)
	}
	subnets, err := c.subnetsOf(n.ID)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(subnets, func(s *subnet) bool { return s.IPVersion == 4 }) {
		return nil, badResource("floatingip", "Network %s does not contain any IPv4 subnet", n.ID)
	}
	f := &floatingIP{standard: newStandard(c.tx, v), NetworkID: n.ID, Status: "DOWN"}
	pv := values{"tenant_id": "", "network_id": n.ID, "admin_state_up": true, "device_id": f.ID, "device_owner": ownerFloatingIP}
	switch {
	case v.isSet("floating_ip_address"):
		ip := map[string]any{"ip_address": v.str("floating_ip_address")}
		if v.isSet("subnet_id") {
			ip["subnet_id"] = v.str("subnet_id")
		}
		pv["fixed_ips"] = []any{ip}
	case v.isSet("subnet_id"):
		pv["fixed_ips"] = []any{map[string]any{"subnet_id": v.str("subnet_id")}}
	}
	o, err := createPort(c.asService(), pv)
	if e := fault.As(err); err != nil && e.Code == "IpAddressGenerationFailure" {
		return nil, badRequest("ExternalIpAddressExhausted", "Unable to find any IP address on external network %s.", n.ID)
	}
	if err != nil {
		return nil, err
	}
	p := o.(*port)
	f.FloatPort = p.ID
	for _, x := range p.FixedIPs {
		if a, err := parseIP(x.IP); err == nil && a.Is4() {
			f.Address = x.IP
		}
	}
	if f.Address == "" {
		return nil, badRequest("ExternalIpAddressExhausted", "Unable to find any IP address on external network %s.", n.ID)
	}
	if err := c.associate(f, v, true); err != nil {
		return nil, err
	}
	return f, insert(c.tx, "floatingip", "net_floatingips", &f.standard, f.columns()...)
}

func updateFloatingIP(c *call, o object, v values) (object, error) {
	f := o.(*floatingIP)
	if err := c.lockFloating(f); err != nil {
		return nil, err
	}
	f.take(v)
	if v.isSet("port_id") {
		if err := f.notForwarded(); err != nil {
			return nil, err
		}
	}
	if v.has("port_id") || v.has("fixed_ip_address") {
		if err := c.associate(f, v, false); err != nil {
			return nil, err
		}
	}
	return f, save(c.tx, "floatingip", "net_floatingips", &f.standard, f.columns()...)
}

func (c *call) lockFloating(f *floatingIP) error {
	_, err := c.tx.Exec(`UPDATE net_floatingips SET status = status WHERE id = $1`, f.ID)
	return err
}

// associate points a floating IP at a port, or at none (neutron/db/l3_db.py, _update_fip_assoc).
func (c *call) associate(f *floatingIP, v values, isNew bool) error {
	if v.isSet("fixed_ip_address") && !v.isSet("port_id") {
		return badResource("floatingip", "fixed_ip_address cannot be specified without a port_id")
	}
	if err := c.wakeRouter(f.RouterID); err != nil {
		return err
	}
	if f.PortID != "" {
		if err := c.tellServers(serversOfPort, f.PortID); err != nil {
			return err
		}
	}
	if !v.isSet("port_id") {
		if (v.has("port_id") || isNew) && len(f.Forwardings) == 0 {
			f.PortID, f.FixedIP, f.RouterID, f.Status, f.portOfPort = "", "", "", "DOWN", nil
		}
		return nil
	}
	o, _, err := c.find(c.s.res.ports, v.str("port_id"))
	if err != nil {
		return err
	}
	p := o.(*port)
	if p.ProjectID != f.ProjectID && !c.admin {
		return badResource("floatingip", "Cannot process floating IP association with Port %s, since that port is owned by a different project", p.ID)
	}
	s, ip, err := c.internalIP(f, p, v.str("fixed_ip_address"))
	if err != nil {
		return err
	}
	routerID, err := c.routerFor(f, p, s)
	if err != nil {
		return err
	}
	if f.PortID == p.ID && f.FixedIP == ip && f.RouterID == routerID {
		return nil
	}
	other, err := db.One(c.tx, scanFloatingIP, `SELECT `+floatingIPColumns+` FROM net_floatingips t WHERE t.port_id = $1 AND t.fixed_ip_address = $2 AND t.floating_network_id = $3 AND t.id <> $4`,
		p.ID, ip, f.NetworkID, f.ID)
	if err == nil {
		return conflict("FloatingIPPortAlreadyAssociated",
			"Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.", f.Address, other.ID, p.ID, ip, f.NetworkID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	f.PortID, f.FixedIP, f.RouterID, f.portOfPort = p.ID, ip, routerID, p
	f.Status = "DOWN"
	if err := c.wakeRouter(routerID); err != nil {
		return err
	}
	if err := c.tellServer(p); err != nil {
		return err
	}
	return c.floatingActive(f)
}

// floatingActive sets the status that the router's node has reported for the router as a whole.
func (c *call) floatingActive(f *floatingIP) error {
	n, err := db.One(c.tx, db.Value[int], `SELECT count(*) FROM net_ports WHERE device_id = $1 AND device_owner = 'network:router_gateway' AND status = 'ACTIVE'
		AND EXISTS (SELECT 1 FROM net_routers r WHERE r.id = $1 AND r.admin_state_up)`, f.RouterID)
	if n > 0 {
		f.Status = "ACTIVE"
	}
	return err
}

// internalIP is the fixed address that a floating one stands for.
func (c *call) internalIP(f *floatingIP, p *port, asked string) (*subnet, string, error) {
	type candidate struct {
		s  *subnet
		ip string
	}
	var all []candidate
	for _, x := range p.FixedIPs {
		a, err := parseIP(x.IP)
		if err != nil || !a.Is4() && asked == "" {
			continue
		}
		s, err := c.subnet(x.SubnetID)
		if err != nil {
			return nil, "", err
		}
		if asked == x.IP {
			if !a.Is4() {
				return nil, "", badResource("floatingip", "Cannot process floating IP association with %s, since that is not an IPv4 address", asked)
			}
			return s, asked, nil
		}
		all = append(all, candidate{s, x.IP})
	}
	switch {
	case asked != "":
		if a, err := parseIP(asked); err == nil && a.Is6() {
			return nil, "", badResource("floatingip", "Cannot process floating IP association with %s, since that is not an IPv4 address", asked)
		}
		return nil, "", badResource("floatingip", "Port %s does not have fixed ip %s", p.ID, asked)
	case len(all) == 0:
		return nil, "", badResource("floatingip", "Cannot add floating IP to port %s that has no fixed IPv4 addresses", p.ID)
	case len(all) > 1:
		return nil, "", badResource("floatingip", "Port %s has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP", p.ID)
	}
	return all[0].s, all[0].ip, nil
}

// routerFor finds the router with legs on the port's subnet and on the external network; the one that holds the subnet's gateway address goes first.
func (c *call) routerFor(f *floatingIP, p *port, s *subnet) (string, error) {
	id, err := db.One(c.tx, db.Value[string], `SELECT i.device_id FROM net_ip_allocations a JOIN net_ports i ON i.id = a.port_id AND i.device_owner = 'network:router_interface'
		JOIN net_ports g ON g.device_id = i.device_id AND g.device_owner = 'network:router_gateway' AND g.network_id = $1
		WHERE a.subnet_id = $2 ORDER BY CASE WHEN a.ip = $3 THEN 0 ELSE 1 END, i.created_at LIMIT 1`, f.NetworkID, s.ID, s.GatewayIP)
	if errors.Is(err, db.ErrNotFound) {
		return "", notFound("ExternalGatewayForFloatingIPNotFound",
			"External network %s is not reachable from subnet %s.  Therefore, cannot associate Port %s with a Floating IP.", f.NetworkID, s.ID, p.ID)
	}
	return id, err
}

func (c *call) wakeRouter(id string) error {
	if id == "" {
		return nil
	}
	node, err := db.One(c.tx, db.Value[string], `SELECT node FROM net_routers WHERE id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	nodehub.Wake(c.tx, node, nodehub.Networks)
	return err
}

// disassociate takes floating IPs off a port, all or those of one fixed address.
func (c *call) disassociate(portID, fixed string) error {
	fs, err := db.All(c.tx, scanFloatingIP, `SELECT `+floatingIPColumns+` FROM net_floatingips t WHERE t.port_id = $1`, portID)
	if err != nil {
		return err
	}
	for _, f := range fs {
		if fixed != "" && f.FixedIP != fixed {
			continue
		}
		if err := c.associate(f, values{"port_id": nil}, false); err != nil {
			return err
		}
		if err := save(c.tx, "floatingip", "net_floatingips", &f.standard, f.columns()...); err != nil {
			return err
		}
	}
	return nil
}

// dropIdleFloatingIPs deletes the floating IPs of an external network that no port uses: they do not keep the network (neutron/db/l3_db.py,
// delete_disassociated_floatingips).
func (c *call) dropIdleFloatingIPs(networkID string) error {
	fs, err := db.All(c.tx, scanFloatingIP, `SELECT `+floatingIPColumns+` FROM net_floatingips t WHERE t.floating_network_id = $1 AND t.port_id = '' AND t.router_id = ''`, networkID)
	for _, f := range fs {
		if err == nil {
			err = removeFloatingIP(c, f)
		}
	}
	return err
}

func removeFloatingIP(c *call, o object) error {
	f := o.(*floatingIP)
	if err := f.notForwarded(); err != nil {
		return err
	}
	if err := c.wakeRouter(f.RouterID); err != nil {
		return err
	}
	if err := erase(c.tx, "floatingip", "net_floatingips", &f.standard); err != nil {
		return err
	}
	p, err := c.port(f.FloatPort)
	if fault.Is(err, 404) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.deletePort(p)
}
