package network

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

func TestGeneratePools(t *testing.T) {
	for _, c := range [][3]string{
		{"10.0.0.0/24", "10.0.0.1", "[10.0.0.2-10.0.0.254]"},
		{"10.0.0.0/24", "10.0.0.5", "[10.0.0.1-10.0.0.4 10.0.0.6-10.0.0.254]"},
		{"10.0.0.0/24", "10.0.0.254", "[10.0.0.1-10.0.0.253]"},
		{"10.0.0.0/24", "", "[10.0.0.1-10.0.0.254]"},
		{"10.0.0.0/24", "10.9.0.1", "[10.0.0.1-10.0.0.254]"},
		{"10.0.0.4/31", "", "[10.0.0.4-10.0.0.5]"},
		{"10.0.0.4/32", "10.0.0.5", "[10.0.0.4-10.0.0.4]"},
		{"fd00::/64", "fd00::", "[fd00::1-fd00::ffff:ffff:ffff:ffff]"},
	} {
		if got := fmt.Sprint(generatePools(netip.MustParsePrefix(c[0]), c[1])); got != c[2] {
			t.Errorf("%s with gateway %q: %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

func TestFreePrefix(t *testing.T) {
	p := func(l ...string) (out []netip.Prefix) {
		for _, s := range l {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, c := range []struct {
		pool, used []netip.Prefix
		bits       int
		want       string
	}{
		{p("10.0.0.0/16"), nil, 24, "10.0.0.0/24"},
		{p("10.0.0.0/16"), p("10.0.0.0/24", "10.0.2.0/24"), 24, "10.0.1.0/24"},
		{p("10.0.0.0/16"), p("10.0.0.0/25"), 24, "10.0.1.0/24"},
		{p("10.0.0.0/24", "10.5.0.0/24"), p("10.0.0.0/24"), 24, "10.5.0.0/24"},
		{p("255.255.255.0/24"), p("255.255.255.0/24"), 24, ""},
		{p("10.0.0.0/24"), nil, 16, ""},
	} {
		got, ok := freePrefix(c.pool, c.used, c.bits)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("/%d of %v without %v: %v, want %q", c.bits, c.pool, c.used, got, c.want)
		}
	}
}

func TestChooseNode(t *testing.T) {
	node := func(name string, up, flat bool) nodehub.NodeRecord {
		n := nodehub.NodeRecord{Node: nodeapi.Node{Name: name, EnableVXLAN: true}, Up: up}
		if flat {
			n.PhysicalInterfaceMappings = map[string]string{"public": "eth1"}
		}
		return n
	}
	nodes := []nodehub.NodeRecord{node("a", true, false), node("b", true, true), node("c", true, true), node("d", false, true)}
	nets := []*network{{Type: nodeapi.NetworkVXLAN}, {Type: nodeapi.NetworkFlat, PhysicalNetwork: "public"}}
	for _, c := range []struct {
		owner string
		load  map[string]int
		want  string
		why   string
	}{
		{"", nil, "b", "the first of those that can"},
		{"", map[string]int{"b": 2, "c": 1}, "c", "the one with the fewest"},
		{"c", map[string]int{"c": 9}, "c", "an owner that can keeps its router"},
		{"d", nil, "d", "an owner that is only down keeps it too"},
		{"a", nil, "b", "an owner that cannot reach the network loses it"},
	} {
		if got := chooseNode(nodes, nets, c.owner, c.load); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
	if got := chooseNode(nodes[:1], nets, "", nil); got != "" {
		t.Errorf("nobody can: %q", got)
	}
}

// What tenants send as addresses is either refused or comes back as the same address.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"10.0.0.1/24", "fd00::/64", "::ffff:1.2.3.4/96", "1.2.3.4/255.255.0.0", "aa:bb:cc:dd:ee:ff", "aabb.ccdd.eeff", "a-b-c-d-e-f", "", "/", "1.2.3.4/", "fe80::1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parseNetwork(s); err == nil {
			if again, err := parseNetwork(p.String()); err != nil || again != p {
				t.Errorf("network %q: %v, then %v %v", s, p, again, err)
			}
			if k := keyIP(ipKey(p.Addr())); k != p.Addr() {
				t.Errorf("key of %v: %v", p.Addr(), k)
			}
			usable(p)
			generatePools(p, s)
		}
		if m, ok := parseMAC(s); ok {
			if again, ok := parseMAC(m); !ok || again != m {
				t.Errorf("MAC %q: %s, then %s", s, m, again)
			}
		}
		_ = ipProblem(s) + subnetProblem(s) + routeCIDRProblem(s) + macProblem(s)
	})
}
