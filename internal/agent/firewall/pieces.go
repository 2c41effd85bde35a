package firewall

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"sort"
	"strings"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Marks of ports carry our own prefix, so that other users' marks are neither read nor reset.
const (
	markPrefix = 0x4b000000
	markMask   = 0xff000000
)

// cutMark on a tracked connection: no rule allows it any longer. The entry is kept and marked rather than
// deleted, since the next packet of the other side would otherwise begin it anew under that side's rules.
const cutMark = 0x4b000001

// A piece is what one object contributes to the ruleset. The ruleset is the union of all pieces, and a
// change of one object is the difference between its old and new piece.
type piece struct {
	chains map[string][]string        // rules, in the inet table; see chainRef
	sets   map[string]string          // declarations of sets of its own, in the inet table
	elems  map[setRef]map[string]elem // by key text
	netdev string                     // a bridge that is closed to the node
}

type setRef struct{ family, name string }

// elem is one element, as text for a transaction and as bytes for netlink.
type elem struct {
	val string // text after the colon; empty in sets
	key []byte
	raw []byte // value of a map
	// chain is the target of a verdict map's jump.
	chain string
}

func newPiece() piece {
	return piece{chains: map[string][]string{}, sets: map[string]string{}, elems: map[setRef]map[string]elem{}}
}

func (p piece) add(family, set, key string, e elem) {
	r := setRef{family, set}
	if p.elems[r] == nil {
		p.elems[r] = map[string]elem{}
	}
	p.elems[r][key] = e
}

// Sets whose elements are ranges take text only: their netlink form is two elements each.
func isInterval(name string) bool {
	return name == "nets4" || name == "nets6" || strings.HasPrefix(name, "n4-") || strings.HasPrefix(name, "n6-")
}

func memberSets(group string, v6 bool) (hosts, nets string) {
	if v6 {
		return "m6-" + group, "n6-" + group
	}
	return "m4-" + group, "n4-" + group
}

func groupChain(group, direction string) string {
	if direction == toGuest {
		return "g-" + group + "-to"
	}
	return "g-" + group + "-from"
}

// portPiece is a port's contribution: it has no chain of its own, only elements.
func portPiece(p Port, mark uint32, cfg *Config) piece {
	out := newPiece()
	if !p.Security {
		return out // no mark: not checked
	}
	m := fmt.Sprintf("0x%08x", mark)
	mb := binary.NativeEndian.AppendUint32(nil, mark)
	out.add("bridge", "port_mark", quote(p.Device), elem{val: m, key: ifname(p.Device), raw: mb})
	allow := func(mac net.HardwareAddr, prefix netip.Prefix) {
		out.add("bridge", "macs", m+" . "+mac.String(), elem{key: concat(mb, mac)})
		family := "4"
		if prefix.Addr().Is6() {
			family = "6"
		}
		if prefix.IsSingleIP() {
			a := prefix.Addr()
			out.add("bridge", "addrs"+family, fmt.Sprintf("%s . %s . %s", m, mac, a), elem{key: concat(mb, mac, a.AsSlice())})
			if a.Is6() { // what it may say of itself in a neighbour advertisement
				out.add("bridge", "targets6", fmt.Sprintf("%s . %s . 0x%x", m, mac, a.AsSlice()), elem{key: concat(mb, mac, a.AsSlice())})
			}
			return
		}
		if prefix.Addr().Is6() {
			out.add("bridge", "any_target6", m, elem{key: mb})
		}
		out.add("bridge", "nets"+family, fmt.Sprintf("%s . %s . %s", m, mac, rangeText(prefix)), elem{})
	}
	out.add("bridge", "macs", m+" . "+p.MAC.String(), elem{key: concat(mb, p.MAC)})
	for _, a := range append([]netip.Addr{linkLocal(p.MAC)}, p.IPs...) {
		allow(p.MAC, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, pair := range p.Pairs {
		allow(pair.MAC, pair.Prefix)
		ll := linkLocal(pair.MAC)
		allow(pair.MAC, netip.PrefixFrom(ll, ll.BitLen()))
	}
	if stateless(p.Groups, cfg) {
		out.add("inet", "stateless", m, elem{key: mb})
	}
	for direction, set := range map[string]string{toGuest: "to_guest_ports", fromGuest: "from_guest_ports"} {
		if chain := profileChain(knownGroups(p.Groups, cfg), direction); chain != "" {
			out.add("inet", set, m, elem{val: "jump " + chain, key: mb, chain: chain})
		}
	}
	return out
}

// stateless ports are those with a stateless group; the API does not let a port have both kinds.
func stateless(groups []string, cfg *Config) bool {
	for _, id := range groups {
		if g := cfg.Groups[id]; g != nil && !g.Stateful {
			return true
		}
	}
	return false
}

// knownGroups are the port's groups that have arrived; the others allow nothing yet.
func knownGroups(groups []string, cfg *Config) []string {
	var known []string
	for _, id := range groups {
		if cfg.Groups[id] != nil {
			known = append(known, id)
		}
	}
	sort.Strings(known)
	return known
}

// profileChain is where a port's packets go: its group's chain, or one shared by all ports with the same
// several groups.
func profileChain(groups []string, direction string) string {
	switch len(groups) {
	case 0:
		return ""
	case 1:
		return groupChain(groups[0], direction)
	}
	h := sha256.Sum256([]byte(strings.Join(groups, " ")))
	name := "p-" + hex.EncodeToString(h[:8])
	if direction == toGuest {
		return name + "-to"
	}
	return name + "-from"
}

// profilePiece is the chains of a combination of groups.
func profilePiece(groups []string) piece {
	out := newPiece()
	for _, direction := range []string{toGuest, fromGuest} {
		var lines []string
		for _, g := range groups {
			lines = append(lines, "jump "+groupChain(g, direction))
		}
		out.chains[profileChain(groups, direction)] = lines
	}
	return out
}

// groupPiece is a group's rules and its members. Rules that are not understood, or name a group that is not
// here, allow nothing.
func groupPiece(g *nodeapi.SecurityGroup, cfg *Config) (piece, []error) {
	out := newPiece()
	var errs []error
	out.chains[groupChain(g.ID, toGuest)], out.chains[groupChain(g.ID, fromGuest)] = nil, nil
	for _, r := range g.Rules {
		m, err := parseRule(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("security group %s: %w", g.ID, err))
			continue
		}
		if m.group != "" && cfg.Groups[m.group] == nil {
			continue
		}
		c := groupChain(g.ID, m.direction)
		out.chains[c] = append(out.chains[c], m.text(r.ID)...)
	}
	for _, v6 := range []bool{false, true} {
		hosts, nets := memberSets(g.ID, v6)
		kind := "ipv4_addr"
		if v6 {
			kind = "ipv6_addr"
		}
		out.sets[hosts] = "type " + kind + ";"
		out.sets[nets] = "type " + kind + "; flags interval;"
	}
	for _, p := range mergeMembers(g.Members) {
		hosts, nets := memberSets(g.ID, p.Addr().Is6())
		if p.IsSingleIP() {
			out.add("inet", hosts, p.Addr().String(), elem{key: p.Addr().AsSlice()})
		} else {
			out.add("inet", nets, p.String(), elem{})
		}
	}
	return out, errs
}

// mergeMembers parses the members and drops prefixes within others, which an interval set refuses.
func mergeMembers(members []string) []netip.Prefix {
	var nets, hosts []netip.Prefix
	for _, s := range members {
		p, err := parsePrefix(s)
		switch {
		case err != nil:
		case p.IsSingleIP():
			hosts = append(hosts, p)
		default:
			nets = append(nets, p)
		}
	}
	sort.Slice(nets, func(i, j int) bool { return nets[i].Bits() < nets[j].Bits() })
	var kept []netip.Prefix
next:
	for _, n := range nets {
		for _, k := range kept {
			if k.Overlaps(n) {
				continue next
			}
		}
		kept = append(kept, n)
	}
	return append(kept, hosts...)
}

// networkPiece is a bridge's zone and whether the node may be reached on it.
func networkPiece(n Network) piece {
	out := newPiece()
	out.add("inet", "zones", quote(n.Bridge), elem{val: fmt.Sprint(n.Zone), key: ifname(n.Bridge), raw: binary.NativeEndian.AppendUint16(nil, n.Zone)})
	if n.Tunnel != "" && n.Service != nil {
		out.add("bridge", "services", quote(n.Tunnel)+" . "+n.Service.String(), elem{key: concat(ifname(n.Tunnel), n.Service)})
	}
	if n.Open {
		out.add("inet", "node_macs", quote(n.Bridge)+" . "+n.MAC.String(), elem{key: concat(ifname(n.Bridge), n.MAC)})
	} else {
		out.netdev = n.Bridge
	}
	return out
}

// linkLocal is the address that a guest makes of its MAC.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// rangeText writes a prefix inside a concatenation; 0.0.0.0/0 is not taken there as a prefix.
func rangeText(p netip.Prefix) string {
	first := p.Masked().Addr()
	last := first.AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return first.String() + "-" + end.String()
}

func quote(s string) string { return `"` + s + `"` }

func ifname(s string) []byte {
	b := make([]byte, 16)
	copy(b, s)
	return b
}

// concat lays out a concatenation: each part padded to 4 bytes.
func concat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}
