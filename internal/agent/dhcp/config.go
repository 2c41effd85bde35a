// Package dhcp is a network's DHCPv4 and DNS service, dnsmasq's part upstream: static leases from the ports
// of the network and nothing for anybody else. The answer to a packet is a pure function of the
// configuration; the server only moves frames. The package must not know about routers or firewalls, nor
// where the namespace it listens in comes from.
package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Namespace is the name of a network's service namespace.
func Namespace(networkID string) string { return "qdhcp-" + networkID }

// DeviceName is the service's device in it.
func DeviceName(portID string) string { return "ns-" + portID[:min(11, len(portID))] }

// DefaultLease is upstream's dhcp_lease_duration.
const DefaultLease = 86400 * time.Second

// Config is what a network's service answers from.
type Config struct {
	NetworkID string
	MTU       int
	Domain    string
	Lease     time.Duration
	Subnets   []Subnet
	Hosts     map[string]Host // by MAC, lower case
	Names     *Names
}

// Subnet is an IPv4 subnet with DHCP on.
type Subnet struct {
	ID      string
	Prefix  netip.Prefix
	Server  netip.Addr // the service's own address in it
	Gateway netip.Addr // invalid: none
	DNS     []netip.Addr
	Routes  []*dhcpv4.Route // option 121, the default route included
}

// Host is a port of the network.
type Host struct {
	Hostname string
	Leases   []Lease
	Options  []nodeapi.DHCPOption
}

// Lease is one of its addresses.
type Lease struct {
	Addr   netip.Addr
	Subnet *Subnet
}

// Options are what the node adds to a network's own settings.
type Options struct {
	Lease  time.Duration
	Domain string // of networks without one
	// RouterIsHere tells whether the router with this interface address is on this node; if not, the
	// service offers the route to the metadata address through itself, since it knows the guests of its node.
	RouterIsHere func(networkID, ip string) bool
}

// NewConfig reads an item. ok is false when the network has no DHCP service to run here.
func NewConfig(n *nodeapi.Network, o Options) (c *Config, ok bool, err error) {
	if n.DHCPPort == nil || !n.AdminUp {
		return nil, false, nil
	}
	c = &Config{NetworkID: n.ID, MTU: n.MTU, Domain: strings.TrimSuffix(n.DNSDomain, "."), Lease: o.Lease, Hosts: map[string]Host{}}
	if c.Domain == "" {
		c.Domain = strings.TrimSuffix(o.Domain, ".")
	}
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	var servers []netip.Addr
	for _, a := range n.DHCPPort.Addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return nil, false, fmt.Errorf("network %s: DHCP port %s: %w", n.ID, n.DHCPPort.PortID, err)
		}
		servers = append(servers, p.Addr())
	}
	for i := range n.Subnets {
		s, use, err := newSubnet(n, &n.Subnets[i], servers, o)
		if err != nil {
			return nil, false, err
		}
		if use {
			c.Subnets = append(c.Subnets, s)
		}
	}
	c.addHosts(n)
	c.Names = newNames(n, c.Domain)
	return c, true, nil
}

func newSubnet(n *nodeapi.Network, s *nodeapi.Subnet, servers []netip.Addr, o Options) (out Subnet, use bool, err error) {
	p, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return out, false, fmt.Errorf("network %s: subnet %s: %w", n.ID, s.ID, err)
	}
	if !s.EnableDHCP || !p.Addr().Is4() {
		return out, false, nil
	}
	out = Subnet{ID: s.ID, Prefix: p.Masked()}
	for _, a := range servers {
		if p.Contains(a) {
			out.Server = a
		}
	}
	if !out.Server.IsValid() {
		return out, false, nil // the port has no address in it: another node's service has
	}
	out.Gateway, _ = netip.ParseAddr(s.GatewayIP)
	for _, d := range s.DNS {
		if a, err := netip.ParseAddr(d); err == nil {
			out.DNS = append(out.DNS, a)
		}
	}
	switch {
	case len(s.DNS) == 0:
		out.DNS = []netip.Addr{out.Server}
	case len(out.DNS) == 1 && out.DNS[0].IsUnspecified():
		out.DNS = nil // 0.0.0.0: announce none
	}
	out.Routes = routes(n, s, &out, o)
	return out, true, nil
}

// routes follows _generate_opts_per_subnet in neutron/agent/linux/dhcp.py: the network's other subnets are on
// link, then the subnet's host routes, the metadata address, and the default route, because a client that
// takes option 121 ignores the router option.
func routes(n *nodeapi.Network, s *nodeapi.Subnet, out *Subnet, o Options) []*dhcpv4.Route {
	var all []*dhcpv4.Route
	add := func(dst netip.Prefix, via netip.Addr) {
		all = append(all, &dhcpv4.Route{Dest: &net.IPNet{IP: dst.Masked().Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), 32)}, Router: via.AsSlice()})
	}
	for _, other := range n.Subnets {
		if p, err := netip.ParsePrefix(other.CIDR); err == nil && p.Addr().Is4() && p.Masked() != out.Prefix {
			add(p, netip.IPv4Unspecified())
		}
	}
	for _, r := range s.HostRoutes {
		dst, err := netip.ParsePrefix(r.Destination)
		via, err2 := netip.ParseAddr(r.NextHop)
		if err != nil || err2 != nil || !dst.Addr().Is4() || !via.Is4() {
			continue
		}
		if dst.Bits() == 0 {
			if !out.Gateway.IsValid() {
				out.Gateway = via
			}
			continue
		}
		add(dst, via)
	}
	metadata := netip.MustParsePrefix("169.254.169.254/32")
	if via, err := netip.ParseAddr(s.RouterIP); err == nil && o.RouterIsHere != nil && o.RouterIsHere(n.ID, s.RouterIP) {
		add(metadata, via)
	} else {
		add(metadata, out.Server)
	}
	if out.Gateway.IsValid() {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), out.Gateway)
	}
	return all
}

// addHosts makes the leases. Ports of other nodes are left to the service there, whose answer is the one that knows
// the shortest way to metadata.
func (c *Config) addHosts(n *nodeapi.Network) {
	for _, h := range n.Hosts {
		mac, err := net.ParseMAC(h.MAC)
		if err != nil || h.VTEP != "" {
			continue
		}
		host := Host{Hostname: h.Hostname, Options: h.Options}
		for _, f := range h.FixedIPs {
			a, err := netip.ParseAddr(f.IP)
			if err != nil || !a.Is4() {
				continue
			}
			for i := range c.Subnets {
				if c.Subnets[i].ID == f.SubnetID {
					host.Leases = append(host.Leases, Lease{a, &c.Subnets[i]})
				}
			}
		}
		if len(host.Leases) > 0 {
			c.Hosts[mac.String()] = host
		}
	}
}
