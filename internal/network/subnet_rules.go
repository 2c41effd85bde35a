package network

import (
	"net/netip"
	"strconv"
	"strings"
)

// Limits of upstream's options max_dns_nameservers and max_subnet_host_routes.
const (
	maxNameservers = 5
	maxHostRoutes  = 20
)

// chooseCIDR takes the request's CIDR, or one out of a subnet pool.
func (c *call) chooseCIDR(s *subnet, v values) error {
	hasCIDR := v.isSet("cidr")
	if hasCIDR && v.isSet("prefixlen") {
		return badResource("subnets", "cidr and prefixlen must not be supplied together")
	}
	var asked netip.Prefix
	if hasCIDR {
		p, err := parseNetwork(v.str("cidr"))
		if err != nil {
			return invalidInput("%s is not in a CIDR format", v.str("cidr"))
		}
		asked = p.Masked()
	}
	pool, err := c.poolOf(s, v, asked)
	if err != nil {
		return err
	}
	if pool == nil {
		if !hasCIDR {
			return badResource("subnets", "a subnetpool must be specified in the absence of a cidr")
		}
		s.CIDR = asked
		if int64(bitsVersion(asked)) != s.IPVersion {
			return invalidInput("cidr '%s' does not match the ip_version '%d'", asked, s.IPVersion)
		}
		return nil
	}
	if !hasCIDR && v.isSet("allocation_pools") {
		return badResource("subnets", "allocation_pools allowed only for specific subnet requests.")
	}
	if s.IPVersion != pool.IPVersion {
		return badResource("subnets", "Cannot allocate IPv%d subnet from IPv%d subnet pool", s.IPVersion, pool.IPVersion)
	}
	s.PoolID = pool.ID
	s.CIDR, err = c.allocatePrefix(pool, s, asked, v)
	return err
}

func bitsVersion(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 4
	}
	return 6
}

// poolOf is the pool that the request names, or the default one.
func (c *call) poolOf(s *subnet, v values, asked netip.Prefix) (*subnetPool, error) {
	byDefault, id := v.bool("use_default_subnetpool"), v.str("subnetpool_id")
	if byDefault && id != "" {
		return nil, badResource("subnets", "subnetpool_id and use_default_subnetpool cannot both be specified")
	}
	if id != "" {
		o, _, err := c.find(c.s.res.subnetPools, id)
		if err != nil {
			return nil, err
		}
		return o.(*subnetPool), nil
	}
	if !byDefault {
		return nil, nil
	}
	version := s.IPVersion
	if asked.IsValid() {
		version = int64(bitsVersion(asked))
	}
	pool, err := c.defaultPool(version)
	if err == nil && pool == nil {
		return nil, badResource("subnets", "No default subnetpool found for IPv%d", version)
	}
	return pool, err
}

// chooseGateway takes the request's gateway (null is none) or the default one: the first address of an IPv4 network, and the network address
// itself of an IPv6 one unless it came out of a pool (neutron/db/ipam_backend_mixin.py, _gateway_ip_str).
func (c *call) chooseGateway(s *subnet, v values) error {
	if v.has("gateway_ip") {
		s.GatewayIP = v.str("gateway_ip")
		return nil
	}
	gw := s.CIDR.Addr()
	if s.IPVersion == 4 || s.PoolID != "" && !v.isSet("cidr") {
		gw = gw.Next()
	}
	if s.invalidGateway(gw) {
		return conflict("IpamValueInvalid", "Gateway IP %s cannot be allocated in CIDR %s", gw, s.CIDR)
	}
	if gw.IsValid() {
		s.GatewayIP = ipString(gw)
	}
	return nil
}

// invalidGateway: the network and broadcast address of an IPv4 network route nothing.
func (s *subnet) invalidGateway(gw netip.Addr) bool {
	return s.IPVersion == 4 && s.CIDR.Contains(gw) && (gw == s.CIDR.Addr() || gw == lastIP(s.CIDR))
}

// check is upstream's _validate_subnet; before is nil for a new subnet.
func (s *subnet) check(before *subnet) error {
	if s.EnableDHCP && (before == nil || !before.EnableDHCP) {
		if s.IPVersion == 4 && s.CIDR.Bits() > 30 || s.IPVersion == 6 && s.CIDR.Bits() > 126 {
			return invalidInput("Subnet has a prefix length that is incompatible with DHCP service enabled")
		}
		first := s.CIDR.Addr()
		switch {
		case first.IsMulticast():
			return invalidInput("Multicast IP subnet is not supported if enable_dhcp is True")
		case first.IsLoopback():
			return invalidInput("Loopback IP subnet is not supported if enable_dhcp is True")
		case first == netip.IPv4Unspecified():
			return invalidInput("First IP '0.0.0.0' of network is not supported if enable_dhcp is True.")
		}
	}
	if s.GatewayIP != "" {
		gw, err := parseIP(s.GatewayIP)
		if err != nil || gw.BitLen() != s.CIDR.Addr().BitLen() {
			return invalidInput("gateway_ip '%s' does not match the ip_version '%d'", s.GatewayIP, s.IPVersion)
		}
		if s.invalidGateway(gw) {
			return invalidInput("Gateway is not valid on subnet")
		}
	}
	if len(s.DNS) > maxNameservers {
		return badRequest("DNSNameServersExhausted", "Unable to complete operation for %s. The number of DNS nameservers exceeds the limit %d.", s.nameIn(before), maxNameservers)
	}
	for _, d := range s.DNS {
		if a, err := parseIP(d); err != nil || a.BitLen() != s.CIDR.Addr().BitLen() {
			return invalidInput("dns_nameserver '%s' does not match the ip_version '%d'", d, s.IPVersion)
		}
	}
	if len(s.HostRoutes) > maxHostRoutes {
		return badRequest("HostRoutesExhausted", "Unable to complete operation for %s. The number of host routes exceeds the limit %d.", s.nameIn(before), maxHostRoutes)
	}
	for _, r := range s.HostRoutes {
		hop, err := parseIP(r.NextHop)
		dest, err2 := parseNetwork(r.Destination)
		if err != nil || err2 != nil {
			return invalidInput("Invalid route: {'destination': '%s', 'nexthop': '%s'}", r.Destination, r.NextHop)
		}
		if dest.Addr().BitLen() != s.CIDR.Addr().BitLen() {
			return invalidInput("destination '%s' does not match the ip_version '%d'", r.Destination, s.IPVersion)
		}
		if hop.BitLen() != s.CIDR.Addr().BitLen() {
			return invalidInput("nexthop '%s' does not match the ip_version '%d'", r.NextHop, s.IPVersion)
		}
	}
	return s.checkModes()
}

func (s *subnet) nameIn(before *subnet) string {
	if before == nil {
		return "new subnet"
	}
	return s.ID
}

func (s *subnet) checkModes() error {
	if s.IPVersion == 4 {
		if s.RAMode != "" {
			return invalidInput("ipv6_ra_mode is not valid when ip_version is 4")
		}
		if s.AddressMode != "" {
			return invalidInput("ipv6_address_mode is not valid when ip_version is 4")
		}
		return nil
	}
	if (s.RAMode != "" || s.AddressMode != "") && !s.EnableDHCP {
		return invalidInput("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	}
	if s.RAMode != "" && s.AddressMode != "" && s.RAMode != s.AddressMode {
		return invalidInput("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. If both attributes are set, they must be the same value", s.RAMode, s.AddressMode)
	}
	if s.autoAddress() && s.CIDR.Bits() != 64 {
		return invalidInput("Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64", s.CIDR)
	}
	return nil
}

// choosePools takes the request's pools or makes them of all but the gateway.
func (s *subnet) choosePools(v values) error {
	if !v.isSet("allocation_pools") {
		s.Pools = generatePools(s.CIDR, s.GatewayIP)
		return nil
	}
	pools, err := toPools(v.list("allocation_pools"))
	if err != nil {
		return err
	}
	if err := checkPools(pools, s.CIDR); err != nil {
		return err
	}
	s.Pools = pools
	return gatewayOutOfPools(s.GatewayIP, pools)
}

func toPools(l []any) ([]ipRange, error) {
	var out []ipRange
	for _, e := range l {
		m, _ := e.(map[string]any)
		start, err := parseIP(str(m["start"]))
		end, err2 := parseIP(str(m["end"]))
		if err != nil || err2 != nil || start.BitLen() != end.BitLen() || start.Compare(end) > 0 {
			return nil, badRequest("InvalidAllocationPool", "The allocation pool %s is not valid.", str(e))
		}
		out = append(out, ipRange{start, end})
	}
	return out, nil
}

func checkPools(pools []ipRange, cidr netip.Prefix) error {
	all := usable(cidr)
	for _, p := range pools {
		if p.Start.BitLen() != cidr.Addr().BitLen() {
			return badRequest("InvalidAllocationPool", "The allocation pool %s is not valid.", p)
		}
		if p.Start.Compare(all.Start) < 0 || p.End.Compare(all.End) > 0 {
			return badRequest("OutOfBoundsAllocationPool", "The allocation pool %s spans beyond the subnet cidr %s.", p, cidr)
		}
	}
	for i, a := range pools {
		for _, b := range pools[i+1:] {
			if a.overlaps(b) {
				return conflict("OverlappingAllocationPools", "Found overlapping allocation pools: %s %s for subnet %s.", a, b, cidr)
			}
		}
	}
	return nil
}

func gatewayOutOfPools(gateway string, pools []ipRange) error {
	gw, err := parseIP(gateway)
	if err != nil {
		return nil
	}
	for _, p := range pools {
		if p.contains(gw) {
			return conflict("GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s.", gateway, p)
		}
	}
	return nil
}

// noOverlap compares with the network's other subnets and asks that pools and scopes agree (neutron/db/ipam_backend_mixin.py).
func (c *call) noOverlap(s *subnet) error {
	if s.CIDR.Bits() == 0 {
		return invalidInput("0 is not allowed as CIDR prefix length")
	}
	others, err := c.subnetsOf(s.NetworkID)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.CIDR.Overlaps(s.CIDR) {
			return invalidInput("Requested subnet with cidr: %s for network: %s overlaps with another subnet", s.CIDR, s.NetworkID)
		}
	}
	mine, err := c.scopeOfPool(s.PoolID)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.IPVersion != s.IPVersion {
			continue
		}
		scope, err := c.scopeOfPool(o.PoolID)
		if err != nil {
			return err
		}
		affinity := badRequest("NetworkSubnetPoolAffinityError", "Subnets hosted on the same network must be allocated from the same subnet pool.")
		switch {
		case s.PoolID == "" && o.PoolID != "":
			return affinity
		case s.PoolID == "":
		case scope != "" && scope != mine:
			return badRequest("NetworkAddressScopeAffinityError", "Subnets of the same address family hosted on the same network must all participate in the same address scope.")
		case scope == "" && o.PoolID != s.PoolID:
			return affinity
		}
	}
	return nil
}

// prefixLength reads a prefix length of a request.
func prefixLength(v values, name string, def int64) int64 {
	if v.isSet(name) {
		return v.int(name)
	}
	return def
}

func joinInts(l []int64) string {
	parts := make([]string, len(l))
	for i, n := range l {
		parts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(parts, ", ")
}
