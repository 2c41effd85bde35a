// Package router makes OpenStack routers out of network namespaces: one namespace per router with a leg in
// each subnet, source address translation, floating IPs, extra routes and router advertisements. Legs are
// veth pairs whose near end somebody else puts into a bridge. The package must not know about guests or
// security groups, nor what listens behind the metadata redirect.
package router

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/hanok-cloud/hanok/internal/agent/bridge"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Namespace is the name of a router's namespace.
func Namespace(id string) string { return "qrouter-" + id }

// InterfaceName and GatewayName are a leg's device in the router's namespace.
func InterfaceName(portID string) string { return "qr-" + portID[:min(11, len(portID))] }

// GatewayName is the external leg's device.
func GatewayName(portID string) string { return "qg-" + portID[:min(11, len(portID))] }

// Leg is one interface of a router.
type Leg struct {
	PortID    string
	MAC       net.HardwareAddr
	Addresses []netip.Prefix
	Bridge    string // where the near end, bridge.TapName(PortID), belongs
	MTU       int
	// Advertise are the IPv6 subnets that the router announces on this leg.
	Advertise []Advertisement
}

// Advertisement is what a router advertisement says of one subnet.
type Advertisement struct {
	Prefix netip.Prefix
	// Mode is slaac, dhcpv6-stateful or dhcpv6-stateless.
	Mode string
	DNS  []netip.Addr
}

// Gateway is the external leg.
type Gateway struct {
	Leg
	EnableSNAT bool
	NextHops   []netip.Addr
}

// FloatingIP is translated both ways.
type FloatingIP struct {
	Floating, Fixed netip.Addr
}

// Forwarding translates ports of a floating address to ports of a fixed one: as many, or one.
type Forwarding struct {
	Floating, Fixed    netip.Addr
	Protocol           string
	External, Internal nodeapi.PortRange
}

// Route is an extra route.
type Route struct {
	Destination netip.Prefix
	NextHop     netip.Addr
}

// Config is a router as it is to be.
type Config struct {
	ID          string
	Interfaces  []Leg
	Gateway     *Gateway
	Routes      []Route
	FloatingIPs []FloatingIP
	Forwardings []Forwarding
}

// NewConfig reads an item. network finds the networks of the legs.
func NewConfig(r *nodeapi.Router, network func(id string) (*nodeapi.Network, bool)) (Config, error) {
	c := Config{ID: r.ID}
	for _, i := range r.Interfaces {
		l, err := newLeg(i, network)
		if err != nil {
			return c, fmt.Errorf("router %s: %w", r.ID, err)
		}
		n, _ := network(i.NetworkID)
		l.Advertise = advertisements(l, n)
		c.Interfaces = append(c.Interfaces, l)
	}
	if g := r.Gateway; g != nil {
		l, err := newLeg(g.ServicePort, network)
		if err != nil {
			return c, fmt.Errorf("router %s: %w", r.ID, err)
		}
		c.Gateway = &Gateway{Leg: l, EnableSNAT: g.EnableSNAT}
		for _, nh := range g.NextHops {
			a, err := netip.ParseAddr(nh)
			if err != nil {
				return c, fmt.Errorf("router %s: next hop: %w", r.ID, err)
			}
			c.Gateway.NextHops = append(c.Gateway.NextHops, a)
		}
	}
	for _, route := range r.Routes {
		dst, err := netip.ParsePrefix(route.Destination)
		if err != nil {
			return c, fmt.Errorf("router %s: extra route: %w", r.ID, err)
		}
		nh, err := netip.ParseAddr(route.NextHop)
		if err != nil {
			return c, fmt.Errorf("router %s: extra route: %w", r.ID, err)
		}
		c.Routes = append(c.Routes, Route{dst.Masked(), nh})
	}
	for _, f := range r.FloatingIPs {
		floating, err := netip.ParseAddr(f.Floating)
		if err != nil {
			return c, fmt.Errorf("router %s: floating IP: %w", r.ID, err)
		}
		fixed, err := netip.ParseAddr(f.Fixed)
		if err != nil {
			return c, fmt.Errorf("router %s: floating IP: %w", r.ID, err)
		}
		c.FloatingIPs = append(c.FloatingIPs, FloatingIP{floating, fixed})
	}
	for _, p := range r.PortForwardings {
		f, err := newForwarding(p)
		if err != nil {
			return c, fmt.Errorf("router %s: port forwarding %s: %w", r.ID, p.ID, err)
		}
		c.Forwardings = append(c.Forwardings, f)
	}
	return c, nil
}

func newForwarding(p nodeapi.PortForwarding) (Forwarding, error) {
	f := Forwarding{Protocol: p.Protocol, External: p.External, Internal: p.Internal}
	for _, r := range []nodeapi.PortRange{p.External, p.Internal} {
		if r.Min < 1 || r.Max > 65535 || r.Min > r.Max {
			return f, fmt.Errorf("%d to %d is no range of ports", r.Min, r.Max)
		}
	}
	if n := p.Internal.Max - p.Internal.Min; n > 0 && n != p.External.Max-p.External.Min {
		return f, fmt.Errorf("the ranges of ports differ in length")
	}
	if _, ok := protocols[p.Protocol]; !ok {
		return f, fmt.Errorf("protocol %q has no ports that are translated here", p.Protocol)
	}
	var err error
	if f.Floating, err = netip.ParseAddr(p.Floating); err != nil {
		return f, err
	}
	f.Fixed, err = netip.ParseAddr(p.Fixed)
	return f, err
}

func newLeg(p nodeapi.ServicePort, network func(id string) (*nodeapi.Network, bool)) (Leg, error) {
	l := Leg{PortID: p.PortID, Bridge: bridge.Name(p.NetworkID)}
	n, ok := network(p.NetworkID)
	if !ok {
		return l, fmt.Errorf("port %s: network %s is not known on this node yet", p.PortID, p.NetworkID)
	}
	l.MTU = n.MTU
	var err error
	if l.MAC, err = net.ParseMAC(p.MAC); err != nil {
		return l, fmt.Errorf("port %s: %w", p.PortID, err)
	}
	for _, s := range p.Addresses {
		a, err := netip.ParsePrefix(s)
		if err != nil {
			return l, fmt.Errorf("port %s: %w", p.PortID, err)
		}
		l.Addresses = append(l.Addresses, a)
	}
	return l, nil
}

// advertisements are the subnets of the leg's network that it has an address in and that ask for them.
func advertisements(l Leg, n *nodeapi.Network) []Advertisement {
	var all []Advertisement
	for _, s := range n.Subnets {
		p, err := netip.ParsePrefix(s.CIDR)
		if err != nil || s.IPv6RAMode == "" {
			continue
		}
		here := false
		for _, a := range l.Addresses {
			here = here || p.Contains(a.Addr())
		}
		if !here {
			continue
		}
		ad := Advertisement{Prefix: p.Masked(), Mode: s.IPv6RAMode}
		for _, d := range s.DNS {
			if a, err := netip.ParseAddr(d); err == nil && a.Is6() {
				ad.DNS = append(ad.DNS, a)
			}
		}
		all = append(all, ad)
	}
	return all
}
