package network

import (
	"encoding/json"
	"errors"
	"net/netip"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// subnet is a block of addresses on a network.
type subnet struct {
	standard
	NetworkID    string
	IPVersion    int64
	CIDR         netip.Prefix
	GatewayIP    string
	EnableDHCP   bool
	RAMode       string
	AddressMode  string
	PoolID       string
	Pools        []ipRange
	DNS          []string
	HostRoutes   []nodeapi.Route
	ServiceTypes []string
}

const subnetColumns = standardColumns + `, t.network_id, t.ip_version, t.cidr, t.gateway_ip, t.enable_dhcp, t.ipv6_ra_mode, t.ipv6_address_mode, t.subnetpool_id, t.pools, t.dns_nameservers, t.host_routes, t.service_types`

func scanSubnet(r db.Row) (*subnet, error) {
	s := &subnet{}
	var cidr string
	err := r.Scan(s.scan(&s.NetworkID, &s.IPVersion, &cidr, &s.GatewayIP, &s.EnableDHCP, &s.RAMode, &s.AddressMode, &s.PoolID,
		jsonOf(&s.Pools), jsonOf(&s.DNS), jsonOf(&s.HostRoutes), jsonOf(&s.ServiceTypes))...)
	if err == nil {
		s.CIDR, err = netip.ParsePrefix(cidr)
	}
	return s, err
}

func (s *subnet) columns() []column {
	return []column{{"network_id", s.NetworkID}, {"ip_version", s.IPVersion}, {"cidr", s.CIDR.String()}, {"gateway_ip", s.GatewayIP}, {"enable_dhcp", s.EnableDHCP},
		{"ipv6_ra_mode", s.RAMode}, {"ipv6_address_mode", s.AddressMode}, {"subnetpool_id", s.PoolID}, {"pools", jsonArg(s.Pools)},
		{"dns_nameservers", jsonArg(s.DNS)}, {"host_routes", jsonArg(s.HostRoutes)}, {"service_types", jsonArg(s.ServiceTypes)}}
}

func (s *subnet) doc() doc {
	return s.common(doc{
		"name": s.Name, "network_id": s.NetworkID, "ip_version": s.IPVersion, "cidr": s.CIDR.String(), "gateway_ip": orNull(s.GatewayIP), "enable_dhcp": s.EnableDHCP,
		"ipv6_ra_mode": orNull(s.RAMode), "ipv6_address_mode": orNull(s.AddressMode), "subnetpool_id": orNull(s.PoolID), "allocation_pools": emptyList(s.Pools),
		"dns_nameservers": emptyList(s.DNS), "host_routes": emptyList(s.HostRoutes), "service_types": emptyList(s.ServiceTypes),
	})
}

// autoAddress tells whether ports get their address of this subnet by themselves (SLAAC, stateless DHCPv6).
func (s *subnet) autoAddress() bool {
	auto := func(m string) bool { return m == "slaac" || m == "dhcpv6-stateless" }
	return auto(s.AddressMode) || auto(s.RAMode)
}

// fits tells whether an address may be used in the subnet.
func (s *subnet) fits(a netip.Addr, owner string) bool {
	if !s.CIDR.Contains(a) {
		return false
	}
	if a.Is6() {
		return a != s.CIDR.Addr() || owner == "" || isRouterOwner(owner)
	}
	return a != s.CIDR.Addr() && a != lastIP(s.CIDR)
}

func (s *Service) subnets() *resource {
	return &resource{name: "subnet", collection: "subnets", table: "net_subnets", notFound: subnetNotFound, attrs: subnetAttrs(), shareable: "subnet", quota: "subnet",
		parent: "network_id",
		scope: func(w *db.Where, c *call) {
			w.Add(`t.project_id = ? OR EXISTS (SELECT 1 FROM net_networks n WHERE n.id = t.network_id AND n.project_id = ?)
				OR EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'network' AND p.object_id = t.network_id AND p.action = 'access_as_shared' AND p.target_project IN ('*', ?))`,
				c.projectID, c.projectID, c.projectID)
		},
		filters: map[string]func(w *db.Where, c *call, values []string) error{"shared": func(w *db.Where, c *call, values []string) error {
			b, err := toBool(values[0])
			not := ""
			if b == false {
				not = "NOT "
			}
			w.Add(not+`EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'network' AND p.object_id = t.network_id AND p.action = 'access_as_shared' AND p.target_project IN ('*', ?))`, c.projectID)
			return err
		}},
		checkCreate: ownNetwork("subnet"),
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_subnets", subnetColumns, scanSubnet)
		},
		create: createSubnet, update: updateSubnet, remove: removeSubnet}
}

// ownNetwork refuses ports and subnets on other projects' networks unless they are shared (neutron/pecan_wsgi/hooks/ownership_validation.py).
func ownNetwork(kind string) func(c *call, v values) error {
	return func(c *call, v values) error {
		if c.admin || c.serves || c.internal {
			return nil
		}
		n, shared, err := c.parentNetwork(v.str("network_id"))
		if err != nil {
			return err
		}
		if !shared && n.ProjectID != v.str("tenant_id") {
			e := disallowed("")
			e.Code, e.Message = "HTTPForbidden", "Tenant "+v.str("tenant_id")+" not allowed to create "+kind+" on this network"
			return e
		}
		return nil
	}
}

func (c *call) subnet(id string) (*subnet, error) {
	s, err := db.One(c.tx, scanSubnet, `SELECT `+subnetColumns+` FROM net_subnets t WHERE t.id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return nil, subnetNotFound(id)
	}
	return s, err
}

func (c *call) subnetsOf(networkID string) ([]*subnet, error) {
	return db.All(c.tx, scanSubnet, `SELECT `+subnetColumns+` FROM net_subnets t WHERE t.network_id = $1 ORDER BY t.created_at, t.id`, networkID)
}

func createSubnet(c *call, v values) (object, error) {
	n, _, err := c.visibleNetwork(v.str("network_id"))
	if err != nil {
		return nil, err
	}
	if err := c.tx.LockQuota("", "subnets/"+n.ID); err != nil {
		return nil, err
	}
	s := &subnet{standard: newStandard(c.tx, v), NetworkID: n.ID, IPVersion: v.int("ip_version"), EnableDHCP: v.bool("enable_dhcp"),
		RAMode: v.str("ipv6_ra_mode"), AddressMode: v.str("ipv6_address_mode"), DNS: v.strings("dns_nameservers"), HostRoutes: toRoutes(v.list("host_routes")),
		ServiceTypes: v.strings("service_types")}
	if err := c.chooseCIDR(s, v); err != nil {
		return nil, err
	}
	if err := c.chooseGateway(s, v); err != nil {
		return nil, err
	}
	if err := s.check(nil); err != nil {
		return nil, err
	}
	if err := s.choosePools(v); err != nil {
		return nil, err
	}
	if err := c.noOverlap(s); err != nil {
		return nil, err
	}
	if err := insert(c.tx, "subnet", "net_subnets", &s.standard, append(s.columns(), column{"ip_cursor", ""})...); err != nil {
		return nil, err
	}
	if err := bump(c.tx, "net_networks", n.ID, true); err != nil {
		return nil, err
	}
	if err := c.addAutoAddresses(s); err != nil {
		return nil, err
	}
	if err := c.refreshDHCP(n.ID); err != nil {
		return nil, err
	}
	return s, c.wakeNetwork(n.ID)
}

func toRoutes(l []any) []nodeapi.Route {
	var out []nodeapi.Route
	for _, e := range l {
		m, _ := e.(map[string]any)
		out = append(out, nodeapi.Route{Destination: str(m["destination"]), NextHop: str(m["nexthop"])})
	}
	return out
}

func updateSubnet(c *call, o object, v values) (object, error) {
	s := o.(*subnet)
	before := *s
	s.take(v)
	if v.has("dns_nameservers") {
		s.DNS = v.strings("dns_nameservers")
	}
	if v.has("host_routes") {
		s.HostRoutes = toRoutes(v.list("host_routes"))
	}
	if v.has("service_types") {
		s.ServiceTypes = v.strings("service_types")
	}
	if v.has("enable_dhcp") {
		s.EnableDHCP = v.bool("enable_dhcp")
		if !s.EnableDHCP && (s.RAMode != "" || s.AddressMode != "") {
			return nil, invalidInput("Cannot disable enable_dhcp with ipv6 attributes set")
		}
	}
	if v.has("gateway_ip") {
		s.GatewayIP = v.str("gateway_ip")
	}
	if err := s.check(&before); err != nil {
		return nil, err
	}
	if before.GatewayIP != "" && s.GatewayIP != "" && s.GatewayIP != before.GatewayIP {
		if err := c.gatewayFree(&before); err != nil {
			return nil, err
		}
	}
	cols := s.columns()
	if v.isSet("allocation_pools") {
		pools, err := toPools(v.list("allocation_pools"))
		if err != nil {
			return nil, err
		}
		if err := checkPools(pools, s.CIDR); err != nil {
			return nil, err
		}
		s.Pools = pools
		cols = append(s.columns(), column{"ip_cursor", ""})
	}
	if s.GatewayIP != "" && (s.GatewayIP != before.GatewayIP || v.isSet("allocation_pools")) {
		if err := gatewayOutOfPools(s.GatewayIP, s.Pools); err != nil {
			return nil, err
		}
	}
	if err := save(c.tx, "subnet", "net_subnets", &s.standard, cols...); err != nil {
		return nil, err
	}
	if err := bump(c.tx, "net_networks", s.NetworkID, true); err != nil {
		return nil, err
	}
	if err := c.refreshDHCP(s.NetworkID); err != nil {
		return nil, err
	}
	return s, c.wakeNetwork(s.NetworkID)
}

// gatewayFree refuses to move a gateway address that a router's port holds.
func (c *call) gatewayFree(s *subnet) error {
	id, err := db.One(c.tx, db.Value[string], `SELECT a.port_id FROM net_ip_allocations a JOIN net_ports p ON p.id = a.port_id
		WHERE a.subnet_id = $1 AND a.ip = $2 AND p.device_owner LIKE 'network:%' AND p.device_owner <> 'network:dhcp' LIMIT 1`, s.ID, s.GatewayIP)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return conflict("GatewayIpInUse", "Current gateway ip %s already in use by port %s. Unable to update.", s.GatewayIP, id)
}

func removeSubnet(c *call, o object) error {
	s := o.(*subnet)
	ports, err := db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.id IN (SELECT port_id FROM net_ip_allocations WHERE subnet_id = $1)`, s.ID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		// Only addresses that ports got by themselves go with the subnet.
		if p.DeviceOwner != ownerDHCP && (!s.autoAddress() || isRouterOwner(p.DeviceOwner)) {
			return conflict("SubnetInUse", "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", s.ID)
		}
	}
	for _, p := range ports {
		kept, gone := []fixedIP{}, []fixedIP{}
		for _, f := range p.FixedIPs {
			if f.SubnetID == s.ID {
				gone = append(gone, f)
			} else {
				kept = append(kept, f)
			}
		}
		if err := c.releaseIPs(p.ID, gone); err != nil {
			return err
		}
		p.FixedIPs = kept
		if err := c.savePort(p); err != nil {
			return err
		}
	}
	if err := erase(c.tx, "subnet", "net_subnets", &s.standard); err != nil {
		return err
	}
	if err := bump(c.tx, "net_networks", s.NetworkID, true); err != nil {
		return err
	}
	if err := c.refreshDHCP(s.NetworkID); err != nil {
		return err
	}
	return c.wakeNetwork(s.NetworkID)
}

// MarshalJSON writes a pool as the API does.
func (r ipRange) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"start": ipString(r.Start), "end": ipString(r.End)})
}
