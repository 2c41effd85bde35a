package router

import (
	"bytes"
	"encoding/hex"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func item() *nodeapi.Router {
	return &nodeapi.Router{ID: "r", AdminUp: true,
		Interfaces: []nodeapi.ServicePort{{PortID: "11111111-1111", NetworkID: "n", MAC: "fa:16:3e:00:00:01", Addresses: []string{"10.0.0.1/24", "2001:db8::1/64"}}},
		Gateway: &nodeapi.Gateway{ServicePort: nodeapi.ServicePort{PortID: "22222222-2222", NetworkID: "p", MAC: "fa:16:3e:00:00:02",
			Addresses: []string{"2001:db8:f::10/64", "203.0.113.10/24"}}, EnableSNAT: true, NextHops: []string{"203.0.113.1"}},
		Routes:      []nodeapi.Route{{Destination: "172.20.0.1/16", NextHop: "10.0.0.9"}},
		FloatingIPs: []nodeapi.FloatingIP{{Floating: "203.0.113.21", Fixed: "10.0.0.12"}, {Floating: "203.0.113.20", Fixed: "10.0.0.11"}},
	}
}

func networks(id string) (*nodeapi.Network, bool) {
	switch id {
	case "n":
		return &nodeapi.Network{ID: "n", MTU: 1450, Subnets: []nodeapi.Subnet{{CIDR: "10.0.0.0/24"},
			{CIDR: "2001:db8::/64", IPv6RAMode: "slaac", DNS: []string{"2001:db8::53", "192.0.2.53"}}, {CIDR: "2001:db8:5::/64", IPv6RAMode: "slaac"}}}, true
	case "p":
		return &nodeapi.Network{ID: "p", MTU: 1500}, true
	}
	return nil, false
}

func TestRuleset(t *testing.T) {
	for name, edit := range map[string]func(*nodeapi.Router){
		"full.nft":    func(*nodeapi.Router) {},
		"no-snat.nft": func(r *nodeapi.Router) { r.Gateway.EnableSNAT = false },
		"forwarding.nft": func(r *nodeapi.Router) {
			pf := func(protocol, floating, fixed string, external, internal nodeapi.PortRange) nodeapi.PortForwarding {
				return nodeapi.PortForwarding{ID: "p", Floating: floating, Fixed: fixed, Protocol: protocol, External: external, Internal: internal}
			}
			one := func(n int) nodeapi.PortRange { return nodeapi.PortRange{Min: n, Max: n} }
			r.PortForwardings = []nodeapi.PortForwarding{
				pf("tcp", "203.0.113.22", "10.0.0.13", one(2222), one(22)), pf("udp", "203.0.113.22", "10.0.0.13", one(53), one(53)),
				pf("tcp", "203.0.113.22", "10.0.0.13", nodeapi.PortRange{Min: 3000, Max: 3010}, nodeapi.PortRange{Min: 3000, Max: 3010}),
				pf("tcp", "203.0.113.22", "10.0.0.13", nodeapi.PortRange{Min: 4000, Max: 4010}, one(80)),
				pf("tcp", "203.0.113.22", "10.0.0.14", nodeapi.PortRange{Min: 5000, Max: 5002}, nodeapi.PortRange{Min: 6000, Max: 6002}),
			}
		},
		"no-gateway.nft": func(r *nodeapi.Router) { r.Gateway, r.FloatingIPs = nil, nil },
	} {
		r := item()
		edit(r)
		c, err := NewConfig(r, networks)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		got := Ruleset(c)
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
}

func TestConfigRefuses(t *testing.T) {
	for name, edit := range map[string]func(*nodeapi.Router){
		"unknown network": func(r *nodeapi.Router) { r.Interfaces[0].NetworkID = "x" },
		"MAC":             func(r *nodeapi.Router) { r.Interfaces[0].MAC = "no" },
		"address":         func(r *nodeapi.Router) { r.Interfaces[0].Addresses = []string{"10.0.0.1; flush ruleset"} },
		"next hop":        func(r *nodeapi.Router) { r.Gateway.NextHops = []string{"gateway"} },
		"route":           func(r *nodeapi.Router) { r.Routes[0].Destination = "everything" },
		"floating IP":     func(r *nodeapi.Router) { r.FloatingIPs[0].Fixed = "10.0.0.1 }" },
	} {
		r := item()
		edit(r)
		if _, err := NewConfig(r, networks); err == nil {
			t.Errorf("a router with a bad %s is taken", name)
		}
	}
}

func TestAdvertise(t *testing.T) {
	c, err := NewConfig(item(), networks)
	if err != nil {
		t.Fatal(err)
	}
	got := hex.EncodeToString(Advertise(c.Interfaces[0]))
	want := "8600000040" + "00" + "012c" + "0000000000000000" + // hop limit 64, lifetime 300 s
		"0101fa163e000001" + // source link-layer address
		"05010000000005aa" + // MTU 1450
		"030440c0" + "00015180" + "00003840" + "00000000" + "20010db8000000000000000000000000" + // on link, autonomous
		"19030000" + "0000012c" + "20010db8000000000000000000000053" // the IPv6 name server only
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnnouncements(t *testing.T) {
	mac := net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 2}
	arp := gratuitousARP(mac, netip.MustParseAddr("203.0.113.20"))
	want, _ := hex.DecodeString("ffffffffffff" + "fa163e000002" + "0806" + "0001080006040001" + "fa163e000002" + "cb007114" + "000000000000" + "cb007114")
	if !bytes.Equal(arp, want) {
		t.Errorf("ARP %x", arp)
	}
	na := unsolicitedNA(mac, netip.MustParseAddr("2001:db8::1"))
	src, dst := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("ff02::1")
	if len(na) != 14+40+32 || checksum6(src, dst, 58, na[54:]) != 0 {
		t.Errorf("neighbour advertisement %x", na)
	}
}
