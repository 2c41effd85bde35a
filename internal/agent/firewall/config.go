// Package firewall filters what guests send and receive: anti-spoofing of MAC, IP, ARP, DHCP and router
// advertisements and limits of their rates in the bridge family, and stateful security groups in the inet family, which sees bridged
// packets through br_netfilter. The rules are made by pure functions and handed to the kernel in
// one transaction, so that nothing is open in between.
//
// How packets find their rules: a port has a mark; the bridge-family chains set it from the device a frame
// came from (before anything else) and from the device it leaves by (in forward), and everything else
// looks the mark up in maps, so that the cost does not grow with the number of ports. In the inet family
// the interface is the bridge, which selects the conntrack zone: equal addresses of two tenants never meet.
//
// A device that is in no map is not filtered: a port's elements must be there before its tap joins the bridge.
// The package must not know who else lives on the bridge nor how taps are made.
package firewall

import (
	"net"
	"net/netip"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Port is a guest's port as the rules need it.
type Port struct {
	ID     string
	Device string // the tap
	Zone   uint16 // of its network
	MAC    net.HardwareAddr
	IPs    []netip.Addr
	// Pairs are addresses the guest may use besides; a pair without MAC has been given the port's.
	Pairs  []Pair
	Groups []string
	// Security false: nothing is checked (port_security_enabled).
	Security bool
	QoS      *nodeapi.QoS
}

// Pair is an allowed address pair.
type Pair struct {
	MAC    net.HardwareAddr
	Prefix netip.Prefix
}

// Network is a bridge as the rules need it.
type Network struct {
	Bridge string
	Zone   uint16
	// MAC is the bridge's own: what is addressed to it belongs to the node and is tracked in its zone 0.
	MAC net.HardwareAddr
	// Open: the node itself may talk on this bridge; otherwise what would reach the node is dropped.
	Open bool
	// Tunnel is the device to the other nodes and Service the MAC that the network's DHCP service has on every
	// one of them: its frames stay on their node, so that each guest meets the service of its own.
	Tunnel  string
	Service net.HardwareAddr
}

// Config is everything the rules are made of.
type Config struct {
	Networks map[string]Network // by network id
	Ports    map[string]Port    // by port id
	Groups   map[string]*nodeapi.SecurityGroup
}

// NewPort reads an item. Addresses that do not parse are left out: nothing is opened by them.
func NewPort(p *nodeapi.Port, device string, zone uint16) (Port, error) {
	mac, err := net.ParseMAC(p.MAC)
	if err != nil {
		return Port{}, err
	}
	out := Port{ID: p.ID, Device: device, Zone: zone, MAC: mac, Groups: p.SecurityGroups, Security: p.PortSecurity, QoS: p.QoS}
	for _, f := range p.FixedIPs {
		if a, err := netip.ParseAddr(f.IP); err == nil {
			out.IPs = append(out.IPs, a.Unmap())
		}
	}
	for _, ap := range p.AllowedAddressPairs {
		pair := Pair{MAC: mac}
		if m, err := net.ParseMAC(ap.MAC); err == nil {
			pair.MAC = m
		}
		if pair.Prefix, err = parsePrefix(ap.IP); err == nil {
			out.Pairs = append(out.Pairs, pair)
		}
	}
	return out, nil
}

// parsePrefix reads an address or a CIDR.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}
