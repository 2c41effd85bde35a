package firewall

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func intp(n int) *int { return &n }

func mac(n int) net.HardwareAddr { return net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, byte(n)} }

// rule is a short form for tables.
func rule(dir, ether, proto string, lo, hi *int, cidr, group string) nodeapi.SecurityGroupRule {
	return nodeapi.SecurityGroupRule{ID: dir + "-" + ether + "-" + proto, Direction: dir, EtherType: ether, Protocol: proto, PortMin: lo, PortMax: hi, RemoteCIDR: cidr, RemoteGroupID: group}
}

func TestRuleText(t *testing.T) {
	for _, tc := range []struct {
		rule nodeapi.SecurityGroupRule
		want []string // without the comment; nil: refused
	}{
		{rule("ingress", "IPv4", "", nil, nil, "", ""), []string{"meta nfproto ipv4 accept"}},
		{rule("egress", "IPv6", "any", nil, nil, "::/0", ""), []string{"meta nfproto ipv6 accept"}},
		{rule("ingress", "IPv4", "tcp", intp(22), intp(22), "", ""), []string{"meta nfproto ipv4 tcp dport 22 accept"}},
		{rule("ingress", "IPv4", "6", intp(1), intp(65535), "192.0.2.7/24", ""), []string{"ip saddr 192.0.2.0/24 tcp dport 1-65535 accept"}},
		{rule("egress", "IPv4", "udp", intp(53), nil, "192.0.2.7", ""), []string{"ip daddr 192.0.2.7/32 udp dport 53 accept"}},
		{rule("ingress", "IPv4", "tcp", nil, nil, "", ""), []string{"meta nfproto ipv4 meta l4proto 6 accept"}},
		{rule("ingress", "IPv4", "icmp", nil, nil, "", ""), []string{"meta nfproto ipv4 meta l4proto 1 accept"}},
		{rule("ingress", "IPv4", "icmp", intp(8), nil, "", ""), []string{"meta nfproto ipv4 icmp type 8 accept"}},
		{rule("ingress", "IPv4", "1", intp(3), intp(4), "", ""), []string{"meta nfproto ipv4 icmp type 3 icmp code 4 accept"}},
		{rule("ingress", "IPv6", "icmp", intp(128), intp(0), "", ""), []string{"meta nfproto ipv6 icmpv6 type 128 icmpv6 code 0 accept"}},
		{rule("ingress", "IPv6", "ipv6-icmp", nil, nil, "2001:db8::/32", ""), []string{"ip6 saddr 2001:db8::/32 meta l4proto 58 accept"}},
		{rule("ingress", "IPv4", "sctp", intp(5), intp(6), "", ""), []string{"meta nfproto ipv4 meta l4proto 132 th dport 5-6 accept"}},
		{rule("ingress", "IPv4", "vrrp", nil, nil, "", ""), []string{"meta nfproto ipv4 meta l4proto 112 accept"}},
		{rule("ingress", "IPv4", "gre", intp(1), intp(2), "", ""), []string{"meta nfproto ipv4 meta l4proto 47 accept"}},
		{rule("ingress", "IPv4", "254", nil, nil, "", ""), []string{"meta nfproto ipv4 meta l4proto 254 accept"}},
		{rule("ingress", "IPv4", "0", nil, nil, "", ""), []string{"meta nfproto ipv4 accept"}},
		{rule("ingress", "IPv4", "tcp", intp(80), intp(80), "", "g1"), []string{"ip saddr @m4-g1 tcp dport 80 accept", "ip saddr @n4-g1 tcp dport 80 accept"}},
		{rule("egress", "IPv6", "", nil, nil, "", "g1"), []string{"ip6 daddr @m6-g1 accept", "ip6 daddr @n6-g1 accept"}},
		{rule("ingress", "IPv4", "carrier-pigeon", nil, nil, "", ""), nil},
		{rule("ingress", "IPv4", "256", nil, nil, "", ""), nil},
		{rule("sideways", "IPv4", "", nil, nil, "", ""), nil},
		{rule("ingress", "IPX", "", nil, nil, "", ""), nil},
		{rule("ingress", "IPv4", "", nil, nil, "2001:db8::/32", ""), nil},
		{rule("ingress", "IPv4", "", nil, nil, "1.2.3.4; flush ruleset", ""), nil},
	} {
		m, err := parseRule(tc.rule)
		var got []string
		if err == nil {
			for _, line := range m.text("x") {
				got = append(got, strings.TrimSuffix(line, ` comment "x"`))
			}
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%+v:\n%s", tc.rule, d)
		}
	}
}

// sample is a node with every kind of port.
func sample() Change {
	networks := map[string]*Network{
		"public": {Bridge: "brqffff0001-00", Zone: 1, MAC: mac(0xff), Open: true},
		"tenant": {Bridge: "brqaaaa0001-00", Zone: 2, MAC: mac(0xaa), Tunnel: "vxlan-100", Service: mac(0xdd)},
	}
	p := func(id string, n int, groups ...string) *Port {
		return &Port{ID: id, Device: "tap" + id, Zone: 2, MAC: mac(n), IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})}, Groups: groups, Security: true}
	}
	ports := map[string]*Port{"one": p("one", 1, "web"), "two": p("two", 2, "web", "ssh"), "open": p("open", 3), "less": p("less", 4, "less")}
	ports["open"].Security = false
	mark := 26
	ports["open"].QoS = &nodeapi.QoS{Ingress: nodeapi.Limit{KBits: 8000, BurstKBits: 2000}, Egress: nodeapi.Limit{KPackets: 3}, DSCP: &mark}
	ports["less"].QoS = &nodeapi.QoS{Egress: nodeapi.Limit{KBits: 1, KPackets: 1, BurstKPackets: 2}}
	ports["one"].IPs = append(ports["one"].IPs, netip.MustParseAddr("2001:db8::1"))
	ports["two"].Pairs = []Pair{{mac(0x22), netip.MustParsePrefix("10.0.0.128/25")}, {mac(2), netip.MustParsePrefix("2001:db8::/64")}, {mac(2), netip.MustParsePrefix("0.0.0.0/0")}}
	groups := map[string]*nodeapi.SecurityGroup{
		"web":  {ID: "web", Stateful: true, Members: []string{"10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.128/25", "10.0.0.129/32", "10.0.0.192/26"}, Rules: []nodeapi.SecurityGroupRule{rule("ingress", "IPv4", "tcp", intp(80), intp(80), "", ""), rule("ingress", "IPv4", "", nil, nil, "", "web"), rule("egress", "IPv4", "", nil, nil, "", "")}},
		"ssh":  {ID: "ssh", Stateful: true, Rules: []nodeapi.SecurityGroupRule{rule("ingress", "IPv4", "tcp", intp(22), intp(22), "192.0.2.0/24", ""), rule("ingress", "IPv6", "icmp", nil, nil, "", "nowhere")}},
		"less": {ID: "less", Rules: []nodeapi.SecurityGroupRule{rule("ingress", "IPv4", "udp", intp(53), intp(53), "", "")}},
	}
	return Change{Networks: networks, Ports: ports, Groups: groups}
}

// text is the ruleset of a change from nothing, without a kernel.
func text(c Change) (*Firewall, string) {
	f := New(nil, nil)
	d := delta{}
	f.update(c, &d)
	return f, f.Text()
}

func TestGolden(t *testing.T) {
	f, full := text(sample())
	golden(t, "full.nft", full)
	step := func(name string, c Change) {
		d := delta{}
		d.init()
		f.update(c, &d)
		var b strings.Builder
		d.write(&b)
		golden(t, name, b.String())
	}
	web := *sample().Groups["web"]
	web.Rules = append([]nodeapi.SecurityGroupRule{rule("ingress", "IPv4", "tcp", intp(443), intp(443), "", "")}, web.Rules...)
	step("rule-added.nft", Change{Groups: map[string]*nodeapi.SecurityGroup{"web": &web}})
	member := web
	member.Members = append([]string{"10.0.0.9"}, web.Members[1:]...)
	step("member-changed.nft", Change{Groups: map[string]*nodeapi.SecurityGroup{"web": &member}})
	step("port-removed.nft", Change{Ports: map[string]*Port{"two": nil}})
	step("group-and-network-removed.nft", Change{Groups: map[string]*nodeapi.SecurityGroup{"ssh": nil}, Networks: map[string]*Network{"tenant": nil}})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s:\n%s", name, d)
	}
}

// A thousand random changes, applied one by one as text or as netlink elements, leave the kernel with the same
// ruleset as loading the end state whole.
func TestIncrementalEqualsWhole(t *testing.T) {
	lab := nettest.New(t)
	node := lab.Node("a").NS
	ctx := context.Background()
	var refused bytes.Buffer // "a change was refused" would hide a wrong transaction
	f := New(node, slog.New(slog.NewTextHandler(&refused, &slog.HandlerOptions{Level: slog.LevelWarn})))
	must(t, f.Prepare(ctx))
	for _, n := range []string{"brqaaaa0001-00", "brqbbbb0001-00"} {
		_, err := nettest.Run(node, "ip", "link", "add", n, "type", "bridge")
		must(t, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	sampler := New(node, nil)
	_, err := nettest.Run(node, "ip", "link", "add", "brqffff0001-00", "type", "bridge")
	must(t, err)
	must(t, sampler.Apply(ctx, sample(), true)) // what the golden file says is what the kernel takes
	must(t, f.Apply(ctx, Change{}, true))
	for i := range 300 {
		must(t, f.Apply(ctx, randomChange(r), false))
		if i%50 != 49 {
			continue
		}
		got := canonical(t, node)
		must(t, f.Apply(ctx, Change{}, true))
		if d := cmp.Diff(canonical(t, node), got); d != "" {
			t.Fatalf("after %d changes the kernel differs from the whole ruleset (-whole +incremental):\n%s", i+1, d)
		}
	}
	if refused.Len() > 0 {
		t.Error(refused.String())
	}
	must(t, Remove(ctx, node))
}

func randomChange(r *rand.Rand) Change {
	c := Change{Networks: map[string]*Network{}, Ports: map[string]*Port{}, Groups: map[string]*nodeapi.SecurityGroup{}}
	group := func() string { return fmt.Sprintf("6c1f0a52-0000-4000-8000-%012d", r.IntN(5)) }
	for range 1 + r.IntN(2) {
		switch r.IntN(5) {
		case 0:
			id := []string{"aaaa", "bbbb"}[r.IntN(2)]
			c.Networks[id] = nil
			if r.IntN(3) > 0 {
				c.Networks[id] = &Network{Bridge: "brq" + id + "0001-00", Zone: uint16(id[0]), MAC: mac(int(id[0])), Open: r.IntN(2) == 0}
				if r.IntN(2) == 0 {
					c.Networks[id].Tunnel, c.Networks[id].Service = "vxlan-"+id, mac(r.IntN(9))
				}
			}
		case 1, 2:
			id := fmt.Sprintf("port%d", r.IntN(12))
			c.Ports[id] = nil
			if r.IntN(3) > 0 {
				p := &Port{ID: id, Device: "tap" + id, Zone: 97, MAC: mac(r.IntN(9)), Security: r.IntN(5) > 0}
				for range r.IntN(3) {
					p.IPs = append(p.IPs, netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(20))}), netip.AddrFrom16([16]byte{0x20, 1, 15: byte(r.IntN(20))}))
				}
				if r.IntN(3) == 0 {
					p.Pairs = []Pair{{mac(r.IntN(9)), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(r.IntN(9)), 0}), 24)}}
				}
				if r.IntN(3) == 0 {
					mark := 8 * r.IntN(4)
					p.QoS = &nodeapi.QoS{Egress: nodeapi.Limit{KBits: r.Int64N(3) * 1000, KPackets: r.Int64N(2)}, Ingress: nodeapi.Limit{KBits: r.Int64N(2) * 500, BurstKBits: 1000}}
					if r.IntN(2) == 0 {
						p.QoS.DSCP = &mark
					}
				}
				for range r.IntN(3) {
					if g := group(); !slices.Contains(p.Groups, g) {
						p.Groups = append(p.Groups, g)
					}
				}
				c.Ports[id] = p
			}
		default:
			id := group()
			c.Groups[id] = nil
			if r.IntN(4) > 0 {
				g := &nodeapi.SecurityGroup{ID: id, Stateful: r.IntN(4) > 0}
				for range r.IntN(4) {
					ru := rule("ingress", "IPv4", "tcp", intp(r.IntN(100)), intp(100+r.IntN(100)), "", "")
					if r.IntN(2) == 0 {
						ru.RemoteGroupID = group()
					}
					g.Rules = append(g.Rules, ru)
				}
				for range r.IntN(4) {
					g.Members = append(g.Members, fmt.Sprintf("10.0.0.%d", r.IntN(250)), fmt.Sprintf("10.%d.0.0/%d", r.IntN(4), 16+r.IntN(9)))
				}
				c.Groups[id] = g
			}
		}
	}
	return c
}

// canonical lists the kernel's ruleset with its sets' elements in order.
func canonical(t *testing.T, ns *netns.NS) []string {
	t.Helper()
	out, err := nettest.Run(ns, "nft", "list", "ruleset")
	must(t, err)
	var lines []string
	block := ""
	for _, l := range strings.Split(out, "\n") {
		l = strings.TrimSpace(l)
		if strings.HasSuffix(l, "{") && !strings.HasPrefix(l, "elements") {
			block = l
		}
		for i, e := range strings.Split(strings.TrimSuffix(strings.TrimPrefix(l, "elements = {"), "}"), ",") {
			if e = strings.TrimSpace(e); e != "" {
				lines = append(lines, fmt.Sprintf("%s %d %s", block, min(i, 0), e))
			}
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkPort adds and removes a port among others, all in one group that names itself, as default groups
// do: the port's elements and the group's member.
func BenchmarkPort(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, group := loaded(b, n)
			ctx := context.Background()
			extra := benchPort(n)
			with := *group
			with.Members = append(slices.Clone(group.Members), extra.IPs[0].String())
			b.ResetTimer()
			for b.Loop() {
				must(b, f.Apply(ctx, Change{Ports: map[string]*Port{extra.ID: &extra}, Groups: map[string]*nodeapi.SecurityGroup{group.ID: &with}}, false))
				must(b, f.Apply(ctx, Change{Ports: map[string]*Port{extra.ID: nil}, Groups: map[string]*nodeapi.SecurityGroup{group.ID: group}}, false))
			}
		})
	}
}

// BenchmarkRule changes one rule of a group that all ports have.
func BenchmarkRule(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, group := loaded(b, n)
			i := 0
			b.ResetTimer()
			for b.Loop() {
				g := *group
				g.Rules = slices.Clone(group.Rules)
				i++
				g.Rules[0].PortMin, g.Rules[0].PortMax = intp(1000+i%1000), intp(1000+i%1000)
				must(b, f.Apply(context.Background(), Change{Groups: map[string]*nodeapi.SecurityGroup{g.ID: &g}}, false))
			}
		})
	}
}

// BenchmarkWhole loads everything, as the first Apply does.
func BenchmarkWhole(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, _ := loaded(b, n)
			b.ResetTimer()
			for b.Loop() {
				must(b, f.Apply(context.Background(), Change{}, true))
			}
		})
	}
}

func benchPort(i int) Port {
	a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	return Port{ID: fmt.Sprintf("%08x", i), Device: fmt.Sprintf("tap%08x-00", i), Zone: 2, MAC: net.HardwareAddr{0xfa, 0x16, 0x3e, 0, byte(i >> 8), byte(i)}, IPs: []netip.Addr{a}, Groups: []string{"g"}, Security: true}
}

// loaded is a kernel with n ports in one group of 20 rules.
func loaded(b *testing.B, n int) (*Firewall, *nodeapi.SecurityGroup) {
	lab := nettest.New(b)
	f := New(lab.Node("a").NS, nil)
	must(b, f.Prepare(context.Background()))
	g := &nodeapi.SecurityGroup{ID: "g", Stateful: true, Rules: []nodeapi.SecurityGroupRule{rule("ingress", "IPv4", "tcp", intp(1), intp(1), "", ""), rule("ingress", "IPv4", "", nil, nil, "", "g"), rule("egress", "IPv4", "", nil, nil, "", "")}}
	for i := range 17 {
		g.Rules = append(g.Rules, rule("ingress", "IPv4", "udp", intp(i*10+1), intp(i*10+5), "192.0.2.0/24", ""))
	}
	c := Change{Ports: map[string]*Port{}, Groups: map[string]*nodeapi.SecurityGroup{"g": g}}
	for i := range n {
		p := benchPort(i)
		c.Ports[p.ID] = &p
		g.Members = append(g.Members, p.IPs[0].String())
	}
	must(b, f.Apply(context.Background(), c, true))
	return f, g
}
