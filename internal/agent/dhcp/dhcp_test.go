package dhcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func network() *nodeapi.Network {
	return &nodeapi.Network{ID: "n", MTU: 1450, AdminUp: true, DNSDomain: "example.org.",
		DHCPPort: &nodeapi.ServicePort{PortID: "d", MAC: "fa:16:3e:00:00:02", Addresses: []string{"10.0.0.2/24", "10.1.0.2/24", "2001:db8::2/64"}},
		Subnets: []nodeapi.Subnet{
			{ID: "a", CIDR: "10.0.0.0/24", GatewayIP: "10.0.0.1", EnableDHCP: true, RouterIP: "10.0.0.1"},
			{ID: "b", CIDR: "10.1.0.0/24", EnableDHCP: true, DNS: []string{"0.0.0.0"}, HostRoutes: []nodeapi.Route{{Destination: "0.0.0.0/0", NextHop: "10.1.0.9"}}},
			{ID: "c", CIDR: "10.2.0.0/24", GatewayIP: "10.2.0.1"},
			{ID: "d", CIDR: "10.3.0.0/24", EnableDHCP: true}, // served by another node's port
			{ID: "six", CIDR: "2001:db8::/64", EnableDHCP: true},
		},
		Hosts: []nodeapi.NetworkHost{
			{MAC: "fa:16:3e:00:00:11", Hostname: "one", FixedIPs: []nodeapi.FixedIP{{SubnetID: "six", IP: "2001:db8::11"}, {SubnetID: "c", IP: "10.2.0.11"}, {SubnetID: "a", IP: "10.0.0.11"}, {SubnetID: "b", IP: "10.1.0.11"}},
				Options: []nodeapi.DHCPOption{{Name: "mtu", Value: "1400", Version: 4}, {Name: "bootfile-name", Value: "pxe.0", Version: 4}, {Name: "tftp-server", Value: "192.0.2.7", Version: 4},
					{Name: "router", Value: "10.9.9.9", Version: 6}, {Name: "51", Value: "1", Version: 4}, {Name: "nonsense", Value: "x", Version: 4}}},
			{MAC: "fa:16:3e:00:00:12", FixedIPs: []nodeapi.FixedIP{{SubnetID: "b", IP: "10.1.0.12"}}},
			{MAC: "fa:16:3e:00:00:13", FixedIPs: []nodeapi.FixedIP{{SubnetID: "c", IP: "10.2.0.13"}}},
			{MAC: "fa:16:3e:00:00:14", VTEP: "172.31.99.2", FixedIPs: []nodeapi.FixedIP{{SubnetID: "a", IP: "10.0.0.14"}}},
		}}
}

func config(t testing.TB) *Config {
	c, ok, err := NewConfig(network(), Options{RouterIsHere: func(n, ip string) bool { return ip == "10.0.0.1" }})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return c
}

func message(t testing.TB, mac string, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(kind)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ip(s string) net.IP { return net.ParseIP(s).To4() }

func TestReply(t *testing.T) {
	want := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip(s))) }
	server := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(s))) }
	const (
		one, two = "fa:16:3e:00:00:11", "fa:16:3e:00:00:12"
		discover = dhcpv4.MessageTypeDiscover
		request  = dhcpv4.MessageTypeRequest
	)
	for _, tc := range []struct {
		name string
		m    *dhcpv4.DHCPv4
		want string
	}{
		{"discover", message(t, one, discover), "OFFER 10.0.0.11 from 10.0.0.2"},
		{"discover, wants its other address", message(t, one, discover, want("10.1.0.11")), "OFFER 10.1.0.11 from 10.1.0.2"},
		{"discover, wants another's address", message(t, one, discover, want("10.0.0.99")), "OFFER 10.0.0.11 from 10.0.0.2"},
		{"select", message(t, one, request, want("10.0.0.11"), server("10.0.0.2")), "ACK 10.0.0.11 from 10.0.0.2"},
		{"select another server", message(t, one, request, want("10.0.0.11"), server("10.0.0.99")), "silence"},
		{"select a wrong address", message(t, one, request, want("10.0.0.12"), server("10.0.0.2")), "NAK 0.0.0.0 from 10.0.0.2"},
		{"init-reboot", message(t, two, request, want("10.1.0.12")), "ACK 10.1.0.12 from 10.1.0.2"},
		{"init-reboot, wrong", message(t, two, request, want("192.168.1.5")), "NAK 0.0.0.0 from 10.1.0.2"},
		{"renew", message(t, two, request, dhcpv4.WithClientIP(ip("10.1.0.12"))), "ACK 10.1.0.12 from 10.1.0.2"},
		{"renew, wrong", message(t, two, request, dhcpv4.WithClientIP(ip("10.1.0.13"))), "NAK 0.0.0.0 from 10.1.0.2"},
		{"request of nothing", message(t, two, request), "NAK 0.0.0.0 from 10.1.0.2"},
		{"inform", message(t, two, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(ip("10.1.0.12"))), "ACK 0.0.0.0 from 10.1.0.2"},
		{"release", message(t, two, dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(ip("10.1.0.12"))), "silence"},
		{"unknown MAC", message(t, "fa:16:3e:00:00:77", discover), "silence"},
		{"only in a subnet without DHCP", message(t, "fa:16:3e:00:00:13", discover), "silence"},
		{"on another node", message(t, "fa:16:3e:00:00:14", discover), "silence"},
		{"relayed", message(t, one, discover, dhcpv4.WithGatewayIP(ip("10.0.0.9"))), "silence"},
		{"a server's message", message(t, one, dhcpv4.MessageTypeOffer), "silence"},
		{"BOOTP", message(t, one, dhcpv4.MessageTypeNone), "silence"},
	} {
		got := "silence"
		if r := config(t).Reply(tc.m); r != nil {
			got = fmt.Sprintf("%s %s from %s", r.MessageType(), r.YourIPAddr, r.ServerIdentifier())
			if kind := r.MessageType(); kind == dhcpv4.MessageTypeNak && !r.IsBroadcast() {
				t.Errorf("%s: a NAK that is not broadcast", tc.name)
			}
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestOptions(t *testing.T) {
	c := config(t)
	r := c.Reply(message(t, "fa:16:3e:00:00:11", dhcpv4.MessageTypeDiscover))
	for what, pair := range map[string][2]any{
		"mtu":     {binary.BigEndian.Uint16(r.Options.Get(dhcpv4.OptionInterfaceMTU)), uint16(1400)},
		"file":    {r.BootFileName, "pxe.0"},
		"next":    {r.ServerIPAddr.String(), "192.0.2.7"},
		"router":  {r.Router()[0].String(), "10.0.0.1"},
		"dns":     {fmt.Sprint(r.DNS()), "[10.0.0.2]"},
		"domain":  {r.DomainName(), "example.org"},
		"host":    {r.HostName(), "one"},
		"lease":   {r.IPAddressLeaseTime(0), DefaultLease},
		"bcast":   {net.IP(r.Options.Get(dhcpv4.OptionBroadcastAddress)).String(), "10.0.0.255"},
		"routes":  {fmt.Sprint(r.ClasslessStaticRoute()), "[route to 10.1.0.0/24 via 0.0.0.0 route to 10.2.0.0/24 via 0.0.0.0 route to 10.3.0.0/24 via 0.0.0.0 route to 169.254.169.254/32 via 10.0.0.1 route to 0.0.0.0/0 via 10.0.0.1]"},
		"windows": {bytes.Equal(r.Options.Get(dhcpv4.GenericOptionCode(249)), r.Options.Get(dhcpv4.OptionClasslessStaticRoute)), true},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %v, want %v", what, pair[0], pair[1])
		}
	}
	// A subnet without gateway takes its default route from the host routes, and 0.0.0.0 is no name server.
	r = c.Reply(message(t, "fa:16:3e:00:00:12", dhcpv4.MessageTypeDiscover))
	if r.Router()[0].String() != "10.1.0.9" || len(r.DNS()) != 0 || !strings.HasSuffix(fmt.Sprint(r.ClasslessStaticRoute()), "route to 169.254.169.254/32 via 10.1.0.2 route to 0.0.0.0/0 via 10.1.0.9]") {
		t.Errorf("router %v, DNS %v, routes %v", r.Router(), r.DNS(), r.ClasslessStaticRoute())
	}
	// Only what is asked for, and the MTU.
	r = c.Reply(message(t, "fa:16:3e:00:00:12", dhcpv4.MessageTypeDiscover, dhcpv4.WithRequestedOptions(dhcpv4.OptionDomainName)))
	if r.Router() != nil || r.DomainName() != "example.org" || r.Options.Get(dhcpv4.OptionInterfaceMTU) == nil {
		t.Errorf("with a parameter request list: %s", r.Summary())
	}
}

func TestExtraOption(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		code        uint8
		want        string // in hex; empty: refused
	}{
		{"tftp-server", "192.0.2.7", 66, "3139322e302e322e37"},
		{"ntp-server", "192.0.2.7,192.0.2.8", 42, "c0000207c0000208"},
		{"option:ntp-server", "192.0.2.7", 42, "c0000207"},
		{"mtu", "9000", 26, "2328"},
		{"26", "9000", 26, "2328"},
		{"150", "192.0.2.7", 150, "c0000207"},
		{"150", "text", 150, "74657874"},
		{"default-ttl", "255", 23, "ff"},
		{"classless-static-route", "10.0.0.0/9,192.0.2.1", 121, "090a00c0000201"},
		{"domain-search", "a.b", 119, "0161016200"},
		{"hostname", "x\nevil", 12, "78"},
		{"mtu", "many", 26, ""},
		{"default-ttl", "256", 23, ""},
		{"router", "2001:db8::1", 3, ""},
		{"classless-static-route", "10.0.0.0/9", 121, ""},
		{"lease-time", "1", 0, ""},
		{"51", "1", 51, ""},
		{"255", "x", 255, ""},
		{"256", "x", 0, ""},
		{"hostname", strings.Repeat("x", 256), 12, ""},
	} {
		code, value, ok := extraOption(tc.name, tc.value)
		if got := fmt.Sprintf("%x", value); ok != (tc.want != "") || ok && (got != tc.want || code != tc.code) {
			t.Errorf("%s=%s: %d %s %v", tc.name, tc.value, code, got, ok)
		}
	}
}

func TestFrames(t *testing.T) {
	server := &Server{mac: net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 2}, log: slog.New(slog.DiscardHandler)}
	server.cfg.Store(config(t))
	f := clientFrame(t, message(t, "fa:16:3e:00:00:11", dhcpv4.MessageTypeDiscover))
	out := server.answer(f)
	if out == nil {
		t.Fatal("no answer")
	}
	if dst := net.HardwareAddr(out[:6]).String(); dst != "fa:16:3e:00:00:11" {
		t.Errorf("to %s", dst)
	}
	if sum(out[14:34], 0) != 0xffff {
		t.Error("wrong IP checksum")
	}
	pseudo := append(append([]byte{}, out[26:34]...), 0, 17, out[38], out[39])
	if sum(out[34:], uint32(sum(pseudo, 0))) != 0xffff {
		t.Error("wrong UDP checksum")
	}
	f[11] = 0x99
	if server.answer(f) != nil {
		t.Error("a message in another's name is answered")
	}
}

func clientFrame(t testing.TB, m *dhcpv4.DHCPv4) []byte {
	// A reply's frame has the right shape; only the ports are the other way round.
	f := buildFrame(m, m.ClientHWAddr, addrOf(ip("10.0.0.9")))
	copy(f[34:], []byte{0, 68, 0, 67})
	return f
}

// FuzzAnswer: whatever a guest sends, the server neither fails nor answers a MAC it does not know.
func FuzzAnswer(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform} {
		f.Add(clientFrame(f, message(f, "fa:16:3e:00:00:11", kind, dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter))))
		f.Add(clientFrame(f, message(f, "fa:16:3e:00:00:77", kind)))
	}
	f.Add([]byte{})
	c := config(f)
	server := &Server{mac: net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 2}, log: slog.New(slog.DiscardHandler)}
	server.cfg.Store(c)
	f.Fuzz(func(t *testing.T, frame []byte) {
		out := server.answer(frame)
		if out == nil {
			return
		}
		if _, ok := c.Hosts[net.HardwareAddr(frame[6:12]).String()]; !ok {
			t.Fatalf("an unknown MAC is answered: %x", frame)
		}
		if _, err := dhcpv4.FromBytes(out[42:]); err != nil {
			t.Fatalf("the answer cannot be read: %v", err)
		}
	})
}

// TestQuestionsUnderWay: a guest that asks faster than the node's resolvers answer takes no more sockets than there are places.
func TestQuestionsUnderWay(t *testing.T) {
	r := &Resolver{upstream: []string{"192.0.2.1"}, asking: make(chan struct{}, 1)} // without a node: to ask would be a panic
	r.names.Store(newNames(&nodeapi.Network{}, "openstacklocal"))
	r.asking <- struct{}{}
	if a := r.resolve(new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA), "udp"); a.Rcode != dns.RcodeServerFailure {
		t.Error(dns.RcodeToString[a.Rcode])
	}
}
