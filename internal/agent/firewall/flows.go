package firewall

import (
	"errors"
	"net/netip"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// cutFlows looks at the connections of ports whose rules changed: those no longer allowed are marked so
// that the rules drop them in both directions, those allowed again are forgotten so that their next packet
// is judged afresh. Connections of a port that is gone are forgotten.
func (f *Firewall) cutFlows(ports touched) error {
	zones := map[uint16]bool{}
	for _, n := range f.cfg.Networks {
		zones[n.Zone] = true
	}
	flows, err := f.ns.Flows()
	if err != nil {
		return err
	}
	j := newJudge(f.cfg)
	var errs []error
	for _, fl := range flows {
		if !zones[fl.Zone] {
			continue
		}
		cut := fl.Mark == cutMark
		switch allowed := j.allows(fl); {
		case j.nobody(fl.Zone, fl.Src, ports.gone) || j.nobody(fl.Zone, fl.Dst, ports.gone):
			errs = append(errs, f.ns.DeleteFlow(fl))
		case allowed && cut:
			errs = append(errs, f.ns.DeleteFlow(fl))
		case allowed || cut:
		case fl.Protocol == icmp || fl.Protocol == icmpv6:
			// A reply begins nothing, so the next request is judged afresh.
			errs = append(errs, f.ns.DeleteFlow(fl))
		default:
			errs = append(errs, f.ns.MarkFlow(fl, cutMark))
		}
	}
	return errors.Join(errs...)
}

const (
	icmp   = 1
	icmpv6 = 58
)

// judge decides whether today's rules would let a connection begin.
type judge struct {
	cfg     Config
	local   map[zoneAddr]Port
	members map[string][]netip.Prefix
}

type zoneAddr struct {
	zone uint16
	addr netip.Addr
}

func newJudge(cfg Config) judge {
	j := judge{cfg: cfg, local: map[zoneAddr]Port{}, members: map[string][]netip.Prefix{}}
	for _, p := range cfg.Ports {
		for _, a := range p.IPs {
			j.local[zoneAddr{p.Zone, a}] = p
		}
		for _, pair := range p.Pairs {
			if a := pair.Prefix.Addr(); pair.Prefix.IsSingleIP() {
				if _, taken := j.local[zoneAddr{p.Zone, a}]; !taken {
					j.local[zoneAddr{p.Zone, a}] = p
				}
			}
		}
	}
	for id, g := range cfg.Groups {
		j.members[id] = mergeMembers(g.Members)
	}
	return j
}

// nobody tells whether an address was a port's and is no more, so that its next owner inherits nothing.
func (j judge) nobody(zone uint16, a netip.Addr, gone map[zoneAddr]bool) bool {
	_, taken := j.local[zoneAddr{zone, a}]
	return gone[zoneAddr{zone, a}] && !taken
}

// allows asks the sender's egress rules and the receiver's ingress rules, as far as they are ports here.
func (j judge) allows(fl netns.Flow) bool {
	if fl.Protocol == 17 && (fl.DstPort == 67 || fl.DstPort == 68 || fl.DstPort == 546 || fl.DstPort == 547) {
		return true // DHCP, which the fixed rules allow
	}
	if p, ok := j.local[zoneAddr{fl.Zone, fl.Src}]; ok && !j.port(p, fromGuest, fl, fl.Dst) {
		return false
	}
	if p, ok := j.local[zoneAddr{fl.Zone, fl.Dst}]; ok && !j.port(p, toGuest, fl, fl.Src) {
		return false
	}
	return true
}

func (j judge) port(p Port, direction string, fl netns.Flow, remote netip.Addr) bool {
	if !p.Security || stateless(p.Groups, &j.cfg) {
		return true // never asked about connections
	}
	for _, id := range p.Groups {
		g := j.cfg.Groups[id]
		if g == nil {
			continue
		}
		for _, r := range g.Rules {
			if m, err := parseRule(r); err == nil && m.direction == direction && j.matches(m, fl, remote) {
				return true
			}
		}
	}
	return false
}

// matches is text's meaning in Go. The type of an ICMP connection is not known any more: a rule for a type
// does not keep it, since judging it afresh costs nothing.
func (j judge) matches(m match, fl netns.Flow, remote netip.Addr) bool {
	if m.v6 != remote.Is6() || m.protocol != 0 && m.protocol != int(fl.Protocol) {
		return false
	}
	if m.min != nil || m.max != nil {
		if !hasPorts(m.protocol) {
			if m.protocol == icmp || m.protocol == icmpv6 {
				return false
			}
		} else if lo, hi := m.ports(); int(fl.DstPort) < lo || int(fl.DstPort) > hi {
			return false
		}
	}
	switch {
	case m.group != "":
		for _, p := range j.members[m.group] {
			if p.Contains(remote) {
				return true
			}
		}
		return false
	case m.remote.IsValid():
		return m.remote.Contains(remote)
	}
	return true
}
