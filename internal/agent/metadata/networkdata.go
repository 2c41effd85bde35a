package metadata

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

type networkData struct {
	Links    []networkLink    `json:"links"`
	Networks []networkEntry   `json:"networks"`
	Services []networkService `json:"services"`
}

type networkLink struct {
	ID    string `json:"id"`
	VIFID string `json:"vif_id"`
	Type  string `json:"type"`
	MTU   *int   `json:"mtu"`
	MAC   string `json:"ethernet_mac_address"`
}

type networkEntry struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Link      string            `json:"link"`
	IPAddress string            `json:"ip_address,omitempty"`
	Netmask   string            `json:"netmask,omitempty"`
	Routes    *[]networkRoute   `json:"routes,omitempty"`
	NetworkID string            `json:"network_id"`
	Services  *[]networkService `json:"services,omitempty"`
}

type networkRoute struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
}

type networkService struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// networkData is network_data.json as get_network_metadata in nova/virt/netutils.py makes it: per interface
// the first IPv4 and the first IPv6 subnet that the port has an address in, and nothing for an interface
// without addresses.
func (in Instance) networkData() networkData {
	out := networkData{Links: []networkLink{}, Networks: []networkEntry{}, Services: []networkService{}}
	for _, i := range in.Interfaces {
		v4, ip4 := i.firstSubnet(4)
		v6, ip6 := i.firstSubnet(6)
		if v4 == nil && v6 == nil {
			continue
		}
		link := i.link()
		out.Links = append(out.Links, link)
		for _, s := range []struct {
			subnet  *nodeapi.Subnet
			ip      string
			version int
		}{{v4, ip4, 4}, {v6, ip6, 6}} {
			if s.subnet == nil {
				continue
			}
			id := fmt.Sprintf("network%d", len(out.Networks))
			out.Networks = append(out.Networks, i.entry(id, link.ID, *s.subnet, s.ip, s.version))
			for _, d := range dnsServices(*s.subnet) {
				if !containsService(out.Services, d) {
					out.Services = append(out.Services, d)
				}
			}
		}
	}
	return out
}

// link names the tap device and the type bridge, as upstream does for Linux bridge ports. The MTU is null
// when some subnet has DHCP: the guest learns it from there (_get_link_mtu).
func (i Interface) link() networkLink {
	l := networkLink{ID: "tap" + i.Port.ID[:min(11, len(i.Port.ID))], VIFID: i.Port.ID, Type: "bridge", MAC: i.Port.MAC}
	for _, s := range i.subnets() {
		if s.EnableDHCP {
			return l
		}
	}
	mtu := i.Network.MTU
	l.MTU = &mtu
	return l
}

// subnets are those that the port has an address in.
func (i Interface) subnets() []nodeapi.Subnet {
	var all []nodeapi.Subnet
	for _, s := range i.Network.Subnets {
		for _, f := range i.Port.FixedIPs {
			if f.SubnetID == s.ID {
				all = append(all, s)
				break
			}
		}
	}
	return all
}

// firstSubnet is the subnet of the port's first address of an IP version, with that address.
func (i Interface) firstSubnet(version int) (*nodeapi.Subnet, string) {
	for _, f := range i.Port.FixedIPs {
		a, err := netip.ParseAddr(f.IP)
		if err != nil || (version == 4) != a.Is4() {
			continue
		}
		for k := range i.Network.Subnets {
			if i.Network.Subnets[k].ID == f.SubnetID {
				return &i.Network.Subnets[k], f.IP
			}
		}
	}
	return nil, ""
}

func (i Interface) entry(id, link string, s nodeapi.Subnet, ip string, version int) networkEntry {
	e := networkEntry{ID: id, Link: link, NetworkID: i.Network.ID}
	switch {
	case s.IPv6AddressMode != "":
		e.Type = "ipv6_" + s.IPv6AddressMode
	case s.EnableDHCP:
		e.Type = fmt.Sprintf("ipv%d_dhcp", version)
		return e
	default:
		e.Type = fmt.Sprintf("ipv%d", version)
	}
	e.IPAddress, e.Netmask = ip, netmask(s.CIDR)
	routes := []networkRoute{}
	if s.GatewayIP != "" {
		any := "0.0.0.0"
		if version == 6 {
			any = "::"
		}
		routes = append(routes, networkRoute{Network: any, Netmask: any, Gateway: s.GatewayIP})
	}
	for _, r := range s.HostRoutes {
		p, err := netip.ParsePrefix(r.Destination)
		if err != nil {
			continue
		}
		routes = append(routes, networkRoute{Network: p.Masked().Addr().String(), Netmask: netmask(r.Destination), Gateway: r.NextHop})
	}
	dns := dnsServices(s)
	e.Routes, e.Services = &routes, &dns
	return e
}

func dnsServices(s nodeapi.Subnet) []networkService {
	all := []networkService{}
	for _, d := range s.DNS {
		all = append(all, networkService{Type: "dns", Address: d})
	}
	return all
}

func containsService(all []networkService, s networkService) bool {
	for _, x := range all {
		if x == s {
			return true
		}
	}
	return false
}

// netmask writes a prefix length as an address: 255.255.255.0, ffff:ffff:ffff:ffff::.
func netmask(cidr string) string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return ""
	}
	return net.IP(net.CIDRMask(p.Bits(), p.Addr().BitLen())).String()
}
