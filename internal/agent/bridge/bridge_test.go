package bridge

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func TestNames(t *testing.T) {
	const id = "3f2b1c4d-5e6f-4000-8000-000000000000"
	for got, want := range map[string]string{
		Name(id): "brq3f2b1c4d-5e", TapName(id): "tap3f2b1c4d-5e", VXLANName(100): "vxlan-100", VLANName("eth0", 7): "eth0.7",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if len(got) > 15 {
			t.Errorf("%s is too long for the kernel", got)
		}
	}
	// Only names that we give are ours.
	for name, ours := range map[string]bool{
		Name(id): true, TapName(id): true, VXLANName(0): true, VXLANName(1<<24 - 1): true,
		"tap0": false, "tap12345678-9": false, "tap123456789ab": false, "tapABCDEF01-23": false, "brq": false, "brq-12345678-9": false,
		"vxlan-": false, "vxlan-mgmt": false, "vxlan-016": false, "vxlan-16777216": false, "vxlan--1": false, "virbr0": false,
	} {
		if got := IsBridge(name) || IsTap(name) || IsVXLAN(name); got != ours {
			t.Errorf("%q is ours: %v", name, got)
		}
	}
	if m := MAC(id); m[0]&3 != 2 || m.String() == MAC("other").String() {
		t.Errorf("bridge MAC %s is not local and unicast, or not the network's own", m)
	}
}

func TestForwards(t *testing.T) {
	n := &nodeapi.Network{VTEPs: []string{"172.31.99.2", "172.31.99.1", "bad"}, Hosts: []nodeapi.NetworkHost{
		{MAC: "fa:16:3e:00:00:01", FixedIPs: []nodeapi.FixedIP{{IP: "10.0.0.1"}}},
		{MAC: "FA:16:3E:00:00:02", VTEP: "172.31.99.2", FixedIPs: []nodeapi.FixedIP{{IP: "10.0.0.2"}, {IP: "2001:db8::2"}}},
		{MAC: "fa:16:3e:00:00:03", VTEP: "172.31.99.1", FixedIPs: []nodeapi.FixedIP{{IP: "10.0.0.3"}}},
		{MAC: "broken", VTEP: "172.31.99.2"},
	}}
	remote := netip.MustParseAddr("172.31.99.2")
	flood := forward{mac: floodMAC, vtep: remote}
	for l2pop, want := range map[bool]map[forward]bool{
		false: {flood: true},
		true: {flood: true, {mac: "fa:16:3e:00:00:02", vtep: remote}: true,
			{mac: "fa:16:3e:00:00:02", ip: netip.MustParseAddr("10.0.0.2")}: true, {mac: "fa:16:3e:00:00:02", ip: netip.MustParseAddr("2001:db8::2")}: true},
	} {
		m := &Manager{o: Options{LocalIP: "172.31.99.1", L2Population: l2pop}}
		if d := cmp.Diff(want, m.forwards(n), cmp.AllowUnexported(forward{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("l2 population %v:\n%s", l2pop, d)
		}
	}
}
