package router

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// protocols are those whose ports are forwarded, with their numbers.
var protocols = map[string]uint8{"tcp": 6, "udp": 17, "sctp": 132}

// writeForwardings writes the maps of the forwardings and returns the rules that look into them. Single ports are in a hash, so a packet costs
// the same with one and with a thousand; ranges that keep their numbers, and those that lead to one port, are one element each. Only a range that
// is moved is written port by port, as upstream's agent does with all (neutron/objects/port_forwarding.py, unroll_port_ranges).
func writeForwardings(b *strings.Builder, all []Forwarding) string {
	type maps3 struct{ single, same, many []string }
	of := map[string]*maps3{}
	for _, f := range all {
		m := of[f.Protocol]
		if m == nil {
			m = &maps3{}
			of[f.Protocol] = m
		}
		outer, inner := f.External, f.Internal
		switch {
		case outer.Min == outer.Max:
			m.single = append(m.single, fmt.Sprintf("%s . %d : %s . %d", f.Floating, outer.Min, f.Fixed, inner.Min))
		case inner.Min == inner.Max:
			m.many = append(m.many, fmt.Sprintf("%s . %d-%d : %s . %d", f.Floating, outer.Min, outer.Max, f.Fixed, inner.Min))
		case inner == outer:
			m.same = append(m.same, fmt.Sprintf("%s . %d-%d : %s", f.Floating, outer.Min, outer.Max, f.Fixed))
		default:
			for i := range outer.Max - outer.Min + 1 {
				m.single = append(m.single, fmt.Sprintf("%s . %d : %s . %d", f.Floating, outer.Min+i, f.Fixed, inner.Min+i))
			}
		}
	}
	var rules strings.Builder
	for _, protocol := range slices.Sorted(maps.Keys(of)) {
		m := of[protocol]
		for _, x := range []struct {
			name, value, flags string
			elements           []string
		}{
			{"pf_" + protocol, "ipv4_addr . inet_service", "", m.single},
			{"pf_same_" + protocol, "ipv4_addr", "flags interval; ", m.same},
			{"pf_many_" + protocol, "ipv4_addr . inet_service", "flags interval; ", m.many},
		} {
			if len(x.elements) == 0 {
				continue
			}
			sort.Strings(x.elements)
			fmt.Fprintf(b, "\tmap %s { type ipv4_addr . inet_service : %s; %selements = { %s }; }\n", x.name, x.value, x.flags, strings.Join(x.elements, ", "))
			fmt.Fprintf(&rules, "\t\tmeta l4proto %d dnat to ip daddr . th dport map @%s\n", protocols[protocol], x.name)
		}
	}
	return rules.String()
}

// carries tells whether a connection came in through the forwarding.
func (f Forwarding) carries(fl netns.Flow) bool {
	return fl.Protocol == protocols[f.Protocol] && fl.Dst == f.Floating && int(fl.DstPort) >= f.External.Min && int(fl.DstPort) <= f.External.Max
}
