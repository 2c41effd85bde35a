package network

import (
	"net/netip"
	"slices"
)

// wanted is a requested address: of a subnet, a named one, or both.
type wanted struct {
	subnetID string
	ip       netip.Addr // zero: any
}

func toWanted(l []any) []wanted {
	var out []wanted
	for _, e := range l {
		m, _ := e.(map[string]any)
		w := wanted{}
		if id, ok := m["subnet_id"].(string); ok {
			w.subnetID = id
		}
		if ip, ok := m["ip_address"].(string); ok {
			w.ip, _ = parseIP(ip)
		}
		out = append(out, w)
	}
	return out
}

// giveIPs gives a new port addresses of its network's subnets: those asked for, or one of each family; and in any case those of subnets with automatic addresses.
func (c *call) giveIPs(p *port, v values, subnets []*subnet) error {
	candidates, err := forOwner(subnets, p)
	if err != nil {
		return err
	}
	if !v.isSet("fixed_ips") {
		return c.giveDefaultIPs(p, candidates)
	}
	want := toWanted(v.list("fixed_ips"))
	if len(want) > maxFixedIPs {
		return invalidInput("Exceeded maximum amount of fixed ips per port.")
	}
	if len(want) == 0 {
		p.IPAllocation = "none"
	}
	if err := c.giveNamedIPs(p, subnets, want); err != nil {
		return err
	}
	return c.giveAutoIPs(p, candidates)
}

// maxFixedIPs bounds a port's addresses.
const maxFixedIPs = 64

// forOwner leaves the subnets whose service_types suit the port's owner; those with types come first.
func forOwner(subnets []*subnet, p *port) ([]*subnet, error) {
	var typed, open []*subnet
	for _, s := range subnets {
		if len(s.ServiceTypes) == 0 {
			open = append(open, s)
		} else if slices.ContainsFunc(s.ServiceTypes, func(t string) bool {
			return t == p.DeviceOwner || t == "compute:" && len(p.DeviceOwner) > 8 && p.DeviceOwner[:8] == t
		}) {
			typed = append(typed, s)
		}
	}
	if len(subnets) > 0 && len(typed)+len(open) == 0 {
		return nil, conflict("IpAddressGenerationFailureNoMatchingSubnet", "No valid service subnet for the given device owner, network %s, service type %s.", p.NetworkID, p.DeviceOwner)
	}
	return append(typed, open...), nil
}

func (c *call) giveDefaultIPs(p *port, subnets []*subnet) error {
	for _, version := range []int64{4, 6} {
		tried, given := false, false
		for _, s := range subnets {
			if s.IPVersion != version || version == 6 && s.autoAddress() {
				continue
			}
			tried = true
			ip, err := c.allocateLowest(s, p.ID)
			if err != nil {
				return err
			}
			if ip != "" {
				p.FixedIPs, given = append(p.FixedIPs, fixedIP{s.ID, ip}), true
				break
			}
		}
		if tried && !given {
			return noMoreIPs(p.NetworkID)
		}
	}
	return c.giveAutoIPs(p, subnets)
}

// giveAutoIPs adds the EUI-64 addresses of SLAAC and stateless DHCPv6 subnets; a router has the subnet's gateway address instead.
func (c *call) giveAutoIPs(p *port, subnets []*subnet) error {
	if isRouterOwner(p.DeviceOwner) {
		return nil
	}
	for _, s := range subnets {
		if s.IPVersion != 6 || !s.autoAddress() || slices.ContainsFunc(p.FixedIPs, func(f fixedIP) bool { return f.SubnetID == s.ID }) {
			continue
		}
		a := eui64(s.CIDR, p.MAC)
		if err := c.takeIP(s, a, p.ID); err != nil {
			return err
		}
		p.FixedIPs = append(p.FixedIPs, fixedIP{s.ID, ipString(a)})
	}
	return nil
}

func (c *call) giveNamedIPs(p *port, subnets []*subnet, want []wanted) error {
	for _, w := range want {
		s, err := c.subnetFor(p, subnets, w)
		if err != nil {
			return err
		}
		auto := s.IPVersion == 6 && s.autoAddress() && !isRouterOwner(p.DeviceOwner)
		switch {
		case w.ip.IsValid() && auto:
			return badRequest("AllocationOnAutoAddressSubnet",
				"IPv6 address %s cannot be directly assigned to a port on subnet %s as the subnet is configured for automatic addresses", w.ip, s.ID)
		case w.ip.IsValid():
			if err := c.takeIP(s, w.ip, p.ID); err != nil {
				return err
			}
			p.FixedIPs = append(p.FixedIPs, fixedIP{s.ID, ipString(w.ip)})
		case auto: // comes with giveAutoIPs
		default:
			ip, err := c.allocateLowest(s, p.ID)
			if err != nil {
				return err
			}
			if ip == "" {
				return noMoreIPs(p.NetworkID)
			}
			p.FixedIPs = append(p.FixedIPs, fixedIP{s.ID, ip})
		}
	}
	return nil
}

// subnetFor is upstream's _get_subnet_for_fixed_ip.
func (c *call) subnetFor(p *port, subnets []*subnet, w wanted) (*subnet, error) {
	if len(subnets) == 0 {
		return nil, invalidInput("IP allocation requires subnets for network")
	}
	if w.subnetID != "" {
		for _, s := range subnets {
			if s.ID != w.subnetID {
				continue
			}
			if w.ip.IsValid() && !s.fits(w.ip, p.DeviceOwner) {
				return nil, badRequest("InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", w.ip)
			}
			return s, nil
		}
		if _, _, err := c.find(c.s.res.subnets, w.subnetID); err != nil {
			return nil, err
		}
		return nil, invalidInput("Failed to create port on network %s, because fixed_ips included invalid subnet %s", p.NetworkID, w.subnetID)
	}
	if !w.ip.IsValid() {
		return nil, invalidInput("IP allocation requires subnet_id or ip_address")
	}
	for _, s := range subnets {
		if s.fits(w.ip, p.DeviceOwner) {
			return s, nil
		}
	}
	return nil, badRequest("InvalidIpForNetwork", "IP address %s is not a valid IP for any of the subnets on the specified network.", w.ip)
}

// changeIPs turns a port's addresses into the wished ones; what stays keeps its address (neutron/db/ipam_backend_mixin.py, _get_changed_ips_for_port).
func (c *call) changeIPs(p *port, want []wanted) error {
	if len(want) > maxFixedIPs {
		return invalidInput("Exceeded maximum amount of fixed ips per port.")
	}
	subnets, err := c.subnetsOf(p.NetworkID)
	if err != nil {
		return err
	}
	byID := map[string]*subnet{}
	for _, s := range subnets {
		byID[s.ID] = s
	}
	old := slices.Clone(p.FixedIPs)
	var keep []fixedIP
	var add []wanted
	take := func(match func(f fixedIP) bool) bool {
		i := slices.IndexFunc(old, match)
		if i < 0 {
			return false
		}
		keep = append(keep, old[i])
		old = slices.Delete(old, i, i+1)
		return true
	}
	for _, w := range want {
		if w.ip.IsValid() && !take(func(f fixedIP) bool { return f.IP == ipString(w.ip) }) {
			add = append(add, w)
		}
	}
	for _, w := range want {
		if !w.ip.IsValid() && !take(func(f fixedIP) bool { return w.subnetID != "" && f.SubnetID == w.subnetID }) {
			add = append(add, w)
		}
	}
	var drop []fixedIP
	for _, f := range old {
		if s := byID[f.SubnetID]; s != nil && s.IPVersion == 6 && s.autoAddress() && !isRouterOwner(p.DeviceOwner) {
			keep = append(keep, f)
		} else {
			drop = append(drop, f)
		}
	}
	if p.DeviceOwner == ownerGateway || p.DeviceOwner == ownerRouterIf {
		if err := c.routerIPsFixed(p, drop, add, byID); err != nil {
			return err
		}
	}
	if err := c.releaseIPs(p.ID, drop); err != nil {
		return err
	}
	p.FixedIPs = keep
	if err := c.giveNamedIPs(p, subnets, add); err != nil {
		return err
	}
	return c.giveAutoIPs(p, subnets)
}

// routerIPsFixed refuses to change a router's IPv4 addresses by way of its ports (extension l3-port-ip-change-not-allowed).
func (c *call) routerIPsFixed(p *port, drop []fixedIP, add []wanted, byID map[string]*subnet) error {
	if c.internal {
		return nil
	}
	v4 := func(id string) bool { return byID[id] != nil && byID[id].IPVersion == 4 }
	changed := slices.ContainsFunc(drop, func(f fixedIP) bool { return v4(f.SubnetID) }) ||
		slices.ContainsFunc(add, func(w wanted) bool { return w.ip.Is4() || v4(w.subnetID) })
	if changed && p.DeviceID != "" {
		return badRequest("IPAddressChangeNotAllowed", "IP updates for port %s are not allowed", p.ID)
	}
	return nil
}

// addAutoAddresses gives the network's ports their address of a new subnet with automatic addresses.
func (c *call) addAutoAddresses(s *subnet) error {
	if s.IPVersion != 6 || !s.autoAddress() {
		return nil
	}
	ports, err := c.portsOf(s.NetworkID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if isRouterOwner(p.DeviceOwner) || p.DeviceOwner == ownerFloatingIP || p.DeviceOwner == ownerDHCP {
			continue
		}
		if err := c.giveAutoIPs(p, []*subnet{s}); err != nil {
			return err
		}
		if err := c.savePort(p); err != nil {
			return err
		}
	}
	return nil
}
