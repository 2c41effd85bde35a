package firewall

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is the name of our table in each family.
const table = "hanok"

// base is what does not depend on any port. Upstream's counterparts: the anti-spoofing rules of
// neutron/plugins/ml2/drivers/linuxbridge/agent/arp_protect.py and the fixed rules of
// neutron/agent/linux/iptables_firewall.py. Packets of stateless ports are tracked all the same, and only not
// judged by it: their peer on the same node may be stateful and must know the answers to its requests.
// The target of a neighbour advertisement is read as raw bits: nft has no word for it before 1.0.8.
const base = `table bridge hanok {
	map port_mark { type ifname : mark; }
	set services { type ifname . ether_addr; }
	set macs { type mark . ether_addr; }
	set addrs4 { type mark . ether_addr . ipv4_addr; }
	set addrs6 { type mark . ether_addr . ipv6_addr; }
	set targets6 { typeof meta mark . ether saddr . @th,64,128; }
	set any_target6 { type mark; }
	set nets4 { type mark . ether_addr . ipv4_addr; flags interval; }
	set nets6 { type mark . ether_addr . ipv6_addr; flags interval; }
	map qos_from_guest_ports { type ifname : verdict; }
	map qos_to_guest_ports { type ifname : verdict; }
	chain qos_from_guest {
		type filter hook prerouting priority -310; policy accept;
		iifname vmap @qos_from_guest_ports
	}
	chain qos_to_guest {
		type filter hook postrouting priority 0; policy accept;
		oifname vmap @qos_to_guest_ports
	}
	chain prerouting {
		type filter hook prerouting priority -300; policy accept;
		iifname . ether saddr @services drop
		meta mark set iifname map @port_mark
		meta mark & 0xff000000 != 0x4b000000 accept
		meta mark . ether saddr != @macs drop
		ether type vmap { arp : goto arp_from_guest, ip : goto ip4_from_guest, ip6 : goto ip6_from_guest }
		drop
	}
	chain arp_from_guest {
		arp htype != 1 drop
		arp ptype != ip drop
		meta mark . arp saddr ether . arp saddr ip @addrs4 accept
		meta mark . arp saddr ether . arp saddr ip @nets4 accept
		arp operation request arp saddr ip 0.0.0.0 meta mark . arp saddr ether @macs accept
		drop
	}
	chain ip4_from_guest {
		udp sport 67 udp dport 68 drop
		ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
		meta mark . ether saddr . ip saddr @addrs4 accept
		meta mark . ether saddr . ip saddr @nets4 accept
		drop
	}
	chain ip6_from_guest {
		icmpv6 type nd-router-advert drop
		icmpv6 type nd-neighbor-advert meta mark != @any_target6 meta mark . ether saddr . @th,64,128 != @targets6 drop
		udp sport 547 udp dport 546 drop
		ip6 saddr :: icmpv6 type { 131, 133, 135, 143 } accept
		meta mark . ether saddr . ip6 saddr @addrs6 accept
		meta mark . ether saddr . ip6 saddr @nets6 accept
		drop
	}
	chain input {
		type filter hook input priority -300; policy accept;
		meta mark & 0xff000000 == 0x4b000000 meta mark set 0
	}
	chain forward {
		type filter hook forward priority -300; policy accept;
		oifname . ether saddr @services drop
		meta mark & 0xff000000 == 0x4b000000 meta mark set 0
		meta mark set oifname map @port_mark
	}
}
table inet hanok {
	map zones { typeof iifname : ct zone; }
	set node_macs { type ifname . ether_addr; }
	set stateless { type mark; }
	map to_guest_ports { type mark : verdict; }
	map from_guest_ports { type mark : verdict; }
	chain raw {
		type filter hook prerouting priority -300; policy accept;
		iifname . ether daddr @node_macs accept
		ct zone set iifname map @zones
	}
	chain from_guest {
		type filter hook prerouting priority -140; policy accept;
		meta mark & 0xff000000 != 0x4b000000 accept
		meta mark != @stateless ct mark 0x4b000001 drop
		icmpv6 type nd-router-advert drop
		meta mark != @stateless ct state vmap { established : accept, related : accept, invalid : drop }
		udp sport 68 udp dport 67 accept
		udp sport 546 udp dport 547 accept
		icmpv6 type { 130, 131, 132, 133, 135, 136, 143 } accept
		meta mark vmap @from_guest_ports
		drop
	}
	chain to_guest {
		type filter hook forward priority 0; policy accept;
		meta mark & 0xff000000 != 0x4b000000 accept
		meta mark != @stateless ct mark 0x4b000001 drop
		meta mark != @stateless ct state vmap { established : accept, related : accept, invalid : drop }
		udp sport 67 udp dport 68 accept
		udp sport 547 udp dport 546 accept
		icmpv6 type { 130, 134, 135, 136 } accept
		meta mark vmap @to_guest_ports
		drop
	}
}
`

// fullText replaces whatever tables of ours the kernel has by the union of the pieces.
func fullText(pieces map[string]piece) string {
	var b strings.Builder
	for _, family := range []string{"bridge", "inet", "netdev"} {
		fmt.Fprintf(&b, "table %s %s\ndelete table %s %s\n", family, table, family, table)
	}
	b.WriteString(base)
	fmt.Fprintf(&b, "table netdev %s {\n}\n", table)
	d := delta{}
	for _, name := range slices.Sorted(maps.Keys(pieces)) {
		d.change(piece{}, pieces[name])
	}
	d.write(&b)
	return b.String()
}

// delta is a difference between rulesets.
type delta struct {
	addSets   map[string]string
	dropSets  map[string]bool
	chains    map[string][]string // new or changed rules
	newChains map[string]bool
	dropChain map[string]bool
	add, drop map[setRef]map[string]elem
	closeDev  map[string]bool
	openDev   map[string]bool
}

func (d *delta) init() {
	if d.add == nil {
		*d = delta{addSets: map[string]string{}, dropSets: map[string]bool{}, chains: map[string][]string{}, newChains: map[string]bool{},
			dropChain: map[string]bool{}, add: map[setRef]map[string]elem{}, drop: map[setRef]map[string]elem{},
			closeDev: map[string]bool{}, openDev: map[string]bool{}}
	}
}

// change adds the difference between an object's old and new piece.
func (d *delta) change(was, is piece) {
	d.init()
	for n, decl := range is.sets {
		if _, ok := was.sets[n]; !ok {
			d.addSets[n] = decl
		}
	}
	for n := range was.sets {
		if _, ok := is.sets[n]; !ok {
			d.dropSets[n] = true
		}
	}
	for n, rules := range is.chains {
		old, ok := was.chains[n]
		if !ok {
			d.newChains[n] = true
		}
		if !ok || !slices.Equal(old, rules) {
			d.chains[n] = rules
		}
	}
	for n := range was.chains {
		if _, ok := is.chains[n]; !ok {
			d.dropChain[n] = true
		}
	}
	for ref, elems := range is.elems {
		d.put(d.add, ref, elems, was.elems[ref])
	}
	for ref, elems := range was.elems {
		d.put(d.drop, ref, elems, is.elems[ref])
	}
	if was.netdev != is.netdev {
		if is.netdev != "" {
			d.closeDev[is.netdev] = true
		}
		if was.netdev != "" {
			d.openDev[was.netdev] = true
		}
	}
}

// put collects the elements that the other side does not have with the same value.
func (d *delta) put(into map[setRef]map[string]elem, ref setRef, elems, other map[string]elem) {
	for key, e := range elems {
		if o, ok := other[key]; ok && o.val == e.val {
			continue
		}
		if into[ref] == nil {
			into[ref] = map[string]elem{}
		}
		into[ref][key] = e
	}
}

func (d *delta) empty() bool {
	return d.onlyElements() && len(d.add) == 0 && len(d.drop) == 0
}

// onlyElements tells whether netlink can do it without text: nothing but elements of plain sets.
func (d *delta) onlyElements() bool {
	if len(d.addSets)+len(d.dropSets)+len(d.chains)+len(d.dropChain)+len(d.closeDev)+len(d.openDev) > 0 {
		return false
	}
	for _, m := range []map[setRef]map[string]elem{d.add, d.drop} {
		for ref := range m {
			if isInterval(ref.name) {
				return false
			}
		}
	}
	return true
}

// write gives the transaction in an order the kernel takes: what is referred to comes before and goes after
// what refers to it.
func (d *delta) write(b *strings.Builder) {
	d.init()
	for _, n := range slices.Sorted(maps.Keys(d.addSets)) {
		fmt.Fprintf(b, "add set inet %s %s { %s }\n", table, n, d.addSets[n])
	}
	for _, n := range slices.Sorted(maps.Keys(d.newChains)) {
		fmt.Fprintf(b, "add chain %s\n", chainRef(n))
	}
	writeElements(b, "delete", d.drop)
	for _, n := range slices.Sorted(maps.Keys(d.dropChain)) {
		fmt.Fprintf(b, "flush chain %s\n", chainRef(n))
	}
	for _, n := range slices.Sorted(maps.Keys(d.chains)) {
		if !d.newChains[n] {
			fmt.Fprintf(b, "flush chain %s\n", chainRef(n))
		}
		for _, r := range d.chains[n] {
			fmt.Fprintf(b, "add rule %s %s\n", chainRef(n), r)
		}
	}
	writeElements(b, "add", d.add)
	for _, n := range slices.Sorted(maps.Keys(d.dropChain)) {
		fmt.Fprintf(b, "delete chain %s\n", chainRef(n))
	}
	for _, n := range slices.Sorted(maps.Keys(d.dropSets)) {
		fmt.Fprintf(b, "delete set inet %s %s\n", table, n)
	}
	for _, n := range slices.Sorted(maps.Keys(d.openDev)) {
		// The chain goes with its device; add makes the deletion safe when it has gone already.
		fmt.Fprintf(b, "add chain netdev %s %s\ndelete chain netdev %s %s\n", table, n, table, n)
	}
	for _, n := range slices.Sorted(maps.Keys(d.closeDev)) {
		fmt.Fprintf(b, "add chain netdev %s %s { type filter hook ingress device %q priority -500; policy drop; }\n", table, n, n)
	}
}

// chainRef names a chain with its table: a piece's chains are in the inet table unless their names begin with "bridge ".
func chainRef(name string) string {
	if bridge, ok := strings.CutPrefix(name, "bridge "); ok {
		return "bridge " + table + " " + bridge
	}
	return "inet " + table + " " + name
}

func writeElements(b *strings.Builder, verb string, all map[setRef]map[string]elem) {
	refs := slices.SortedFunc(maps.Keys(all), func(x, y setRef) int { return strings.Compare(x.family+x.name, y.family+y.name) })
	for _, ref := range refs {
		var items []string
		for _, key := range slices.Sorted(maps.Keys(all[ref])) {
			if v := all[ref][key].val; v != "" && verb == "add" {
				key += " : " + v
			}
			items = append(items, key)
		}
		fmt.Fprintf(b, "%s element %s %s %s { %s }\n", verb, ref.family, table, ref.name, strings.Join(items, ", "))
	}
}
