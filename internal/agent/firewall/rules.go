package firewall

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Directions of rules, named from the guest's side.
const (
	toGuest   = "ingress"
	fromGuest = "egress"
)

// protocols are the names that the API takes (IP_PROTOCOL_MAP in neutron_lib/constants.py). 0 stands for
// any protocol, as `-p 0` does for iptables.
func protocolNumber(name string, v6 bool) (int, bool) {
	switch name {
	case "", "any", "ip":
		return 0, true
	case "icmp":
		if v6 { // upstream takes icmp on an IPv6 rule as ICMPv6
			return 58, true
		}
		return 1, true
	case "icmpv6", "ipv6-icmp":
		return 58, true
	}
	for _, p := range []struct {
		name   string
		number int
	}{
		{"tcp", 6}, {"udp", 17}, {"ah", 51}, {"dccp", 33}, {"egp", 8}, {"esp", 50}, {"gre", 47}, {"hopopt", 0}, {"igmp", 2},
		{"ipip", 4}, {"ipv6-encap", 41}, {"ipv6-frag", 44}, {"ipv6-nonxt", 59}, {"ipv6-opts", 60}, {"ipv6-route", 43},
		{"ospf", 89}, {"pgm", 113}, {"rsvp", 46}, {"sctp", 132}, {"udplite", 136}, {"vrrp", 112},
	} {
		if p.name == name {
			return p.number, true
		}
	}
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || n > 255 {
		return 0, false
	}
	if n == 1 && v6 {
		n = 58
	}
	return n, true
}

// hasPorts tells the protocols whose port_range is ports; for ICMP it is type and code.
func hasPorts(number int) bool {
	switch number {
	case 6, 17, 33, 132, 136:
		return true
	}
	return false
}

// match is a rule with its words understood.
type match struct {
	direction string
	v6        bool
	protocol  int // 0: any
	min, max  *int
	remote    netip.Prefix // invalid: anybody
	group     string       // remote group
}

// parseRule understands a rule; one that cannot be understood allows nothing.
func parseRule(r nodeapi.SecurityGroupRule) (match, error) {
	m := match{direction: r.Direction, v6: r.EtherType == "IPv6", min: r.PortMin, max: r.PortMax, group: r.RemoteGroupID}
	if r.Direction != toGuest && r.Direction != fromGuest {
		return m, fmt.Errorf("rule %s: direction %q is neither ingress nor egress", r.ID, r.Direction)
	}
	if !m.v6 && r.EtherType != "IPv4" {
		return m, fmt.Errorf("rule %s: ethertype %q is neither IPv4 nor IPv6", r.ID, r.EtherType)
	}
	var ok bool
	if m.protocol, ok = protocolNumber(r.Protocol, m.v6); !ok {
		return m, fmt.Errorf("rule %s: protocol %q is not known", r.ID, r.Protocol)
	}
	if r.RemoteCIDR != "" {
		var err error
		if m.remote, err = parsePrefix(r.RemoteCIDR); err != nil {
			return m, fmt.Errorf("rule %s: %w", r.ID, err)
		}
		if m.remote.Addr().Is6() != m.v6 {
			return m, fmt.Errorf("rule %s: remote_ip_prefix %s is not of ethertype %s", r.ID, r.RemoteCIDR, r.EtherType)
		}
	}
	return m, nil
}

// text writes a rule's lines: one, or two for a remote group, whose single addresses and prefixes are in
// sets of their own.
func (m match) text(id string) []string {
	family, field := "ip", "saddr"
	nfproto := "ipv4"
	if m.v6 {
		family, nfproto = "ip6", "ipv6"
	}
	if m.direction == fromGuest {
		field = "daddr"
	}
	tail := m.protocolText() + fmt.Sprintf(" accept comment %q", id)
	switch {
	case m.group != "":
		hosts, nets := memberSets(m.group, m.v6)
		return []string{
			fmt.Sprintf("%s %s @%s%s", family, field, hosts, tail),
			fmt.Sprintf("%s %s @%s%s", family, field, nets, tail),
		}
	case m.remote.IsValid() && m.remote.Bits() > 0:
		return []string{fmt.Sprintf("%s %s %s%s", family, field, m.remote, tail)}
	}
	return []string{fmt.Sprintf("meta nfproto %s%s", nfproto, tail)}
}

func (m match) protocolText() string {
	switch {
	case m.protocol == 0:
		return ""
	case m.protocol == 1 || m.protocol == 58:
		name := "icmp"
		if m.protocol == 58 {
			name = "icmpv6"
		}
		switch {
		case m.min == nil:
			return fmt.Sprintf(" meta l4proto %d", m.protocol)
		case m.max == nil:
			return fmt.Sprintf(" %s type %d", name, *m.min)
		}
		return fmt.Sprintf(" %s type %d %s code %d", name, *m.min, name, *m.max)
	case !hasPorts(m.protocol) || m.min == nil && m.max == nil:
		return fmt.Sprintf(" meta l4proto %d", m.protocol)
	}
	lo, hi := m.ports()
	ports := strconv.Itoa(lo)
	if lo != hi {
		ports = fmt.Sprintf("%d-%d", lo, hi)
	}
	switch m.protocol {
	case 6:
		return " tcp dport " + ports
	case 17:
		return " udp dport " + ports
	}
	return fmt.Sprintf(" meta l4proto %d th dport %s", m.protocol, ports)
}

// ports is the range; an end that is not given is the other one.
func (m match) ports() (lo, hi int) {
	switch {
	case m.min == nil:
		return *m.max, *m.max
	case m.max == nil:
		return *m.min, *m.min
	}
	return *m.min, *m.max
}
