package router

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"
)

// MetadataPort is where the metadata proxy of a router listens (upstream's metadata_port).
const MetadataPort = 9697

const metadataIP = "169.254.169.254"

// Ruleset is the router's address translation as one transaction that replaces what was there. Floating IPs
// are maps, so a packet costs the same with one and with a thousand. Upstream's counterpart is the chain
// set of neutron/agent/l3/router_info.py.
func Ruleset(c Config) string {
	var in, out []string
	for _, f := range c.FloatingIPs {
		in = append(in, fmt.Sprintf("%s : %s", f.Floating, f.Fixed))
		out = append(out, fmt.Sprintf("%s : %s", f.Fixed, f.Floating))
	}
	sort.Strings(in)
	sort.Strings(out)
	var b strings.Builder
	b.WriteString("table ip hanok\ndelete table ip hanok\ntable ip hanok {\n")
	writeMap(&b, "fip_in", in)
	writeMap(&b, "fip_out", out)
	forward := writeForwardings(&b, c.Forwardings)
	// The proxy answers nobody who asks its own port, from either side.
	fmt.Fprintf(&b, "\tchain input {\n\t\ttype filter hook input priority 0; policy accept;\n"+
		"\t\ttcp dport %d ct original ip daddr != %s drop\n\t}\n", MetadataPort, metadataIP)
	fmt.Fprintf(&b, "\tchain prerouting {\n\t\ttype nat hook prerouting priority -100; policy accept;\n"+
		"\t\tiifname \"qr-*\" ip daddr %s tcp dport 80 redirect to :%d\n"+
		"\t\tdnat to ip daddr map @fip_in\n%s\t}\n", metadataIP, MetadataPort, forward)
	b.WriteString("\tchain output {\n\t\ttype nat hook output priority -100; policy accept;\n\t\tdnat to ip daddr map @fip_in\n" + forward + "\t}\n")
	b.WriteString("\tchain postrouting {\n\t\ttype nat hook postrouting priority 100; policy accept;\n")
	if g := c.Gateway; g != nil {
		qg := GatewayName(g.PortID)
		hairpin := "iifname \"qr-*\" oifname \"qr-*\" ct status dnat "
		fmt.Fprintf(&b, "\t\toifname %q snat to ip saddr map @fip_out\n", qg)
		fmt.Fprintf(&b, "\t\t%ssnat to ip saddr map @fip_out\n", hairpin)
		if own, ok := firstIPv4(g.Addresses); ok {
			fmt.Fprintf(&b, "\t\t%ssnat to %s\n", hairpin, own)
			if g.EnableSNAT {
				fmt.Fprintf(&b, "\t\toifname %q snat to %s\n", qg, own)
			}
		}
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

func writeMap(b *strings.Builder, name string, elements []string) {
	fmt.Fprintf(b, "\tmap %s { type ipv4_addr : ipv4_addr; ", name)
	if len(elements) > 0 {
		fmt.Fprintf(b, "elements = { %s }; ", strings.Join(elements, ", "))
	}
	b.WriteString("}\n")
}

func firstIPv4(addrs []netip.Prefix) (netip.Addr, bool) {
	for _, p := range addrs {
		if p.Addr().Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}
