package network

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// dhcpFrame wraps a client's message as a guest without an address sends it.
func dhcpFrame(m *dhcpv4.DHCPv4, src net.HardwareAddr, from, to string, dst net.HardwareAddr) []byte {
	payload := m.ToBytes()
	f := append(append(append([]byte{}, dst...), src...), 0x08, 0)
	ip := []byte{0x45, 0}
	ip = binary.BigEndian.AppendUint16(ip, uint16(28+len(payload)))
	ip = append(ip, 0, 1, 0, 0, 64, 17, 0, 0)
	ip = append(ip, netip.MustParseAddr(from).AsSlice()...)
	ip = append(ip, netip.MustParseAddr(to).AsSlice()...)
	var s uint32
	for i := 0; i < 20; i += 2 {
		s += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(s))
	f = append(f, ip...)
	f = append(f, 0, 68, 0, 67)
	f = binary.BigEndian.AppendUint16(f, uint16(8+len(payload)))
	f = append(f, 0, 0)
	return append(f, payload...)
}

// exchange sends a message from a guest, again every now and then as clients do, and returns the answer to it.
func exchange(g *nettest.Guest, m *dhcpv4.DHCPv4, from, to string, timeout time.Duration) (answer *dhcpv4.DHCPv4, frame []byte) {
	c := g.Capture()
	dst := nettest.MAC("ff:ff:ff:ff:ff:ff")
	match := func(f []byte) bool {
		if len(f) < 42 || f[23] != 17 || binary.BigEndian.Uint16(f[36:]) != 68 {
			return false
		}
		r, err := dhcpv4.FromBytes(f[42:])
		if err != nil || r.TransactionID != m.TransactionID {
			return false
		}
		answer = r
		return true
	}
	for deadline := time.Now().Add(timeout); frame == nil && time.Now().Before(deadline); {
		g.Inject(dhcpFrame(m, g.MAC, from, to, dst))
		frame = c.Wait(timeout/6, match)
	}
	return answer, frame
}

func TestDHCP(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	n.Subnets[0].HostRoutes = []nodeapi.Route{{Destination: "192.168.0.0/16", NextHop: "10.0.0.9"}}
	c.group("none")
	p := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "none")
	off := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "none")
	off.PortSecurity = false
	c.apply()
	g := c.guest(p)
	discover, err := dhcpv4.NewDiscovery(g.MAC, dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionDomainName, dhcpv4.OptionHostName, dhcpv4.OptionClasslessStaticRoute))
	must(t, err)
	offer, frame := exchange(g, discover, "0.0.0.0", "255.255.255.255", wait)
	if offer == nil || offer.MessageType() != dhcpv4.MessageTypeOffer || offer.YourIPAddr.String() != "10.0.0.11" {
		t.Fatalf("offer %v", offer)
	}
	if net.HardwareAddr(frame[:6]).String() != g.MAC.String() {
		t.Errorf("the offer is not addressed to the client's MAC: %s", net.HardwareAddr(frame[:6]))
	}
	request, err := dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithRequestedOptions(dhcpv4.OptionHostName, dhcpv4.OptionClasslessStaticRoute))
	must(t, err)
	request.SetBroadcast()
	ack, frame := exchange(g, request, "0.0.0.0", "255.255.255.255", wait)
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
		t.Fatalf("ack %v", ack)
	}
	if frame[0] != 0xff {
		t.Error("the broadcast flag is not honoured")
	}
	for what, pair := range map[string][2]string{
		"mask": {ack.SubnetMask().String(), "ffffff00"}, "router": {ack.Router()[0].String(), "10.0.0.1"}, "dns": {ack.DNS()[0].String(), "10.0.0.2"},
		"domain": {ack.DomainName(), "openstacklocal"}, "host": {ack.HostName(), "host-111101"}, "lease": {ack.IPAddressLeaseTime(0).String(), "24h0m0s"},
		"routes": {fmt.Sprint(ack.ClasslessStaticRoute()), "[route to 192.168.0.0/16 via 10.0.0.9 route to 169.254.169.254/32 via 10.0.0.2 route to 0.0.0.0/0 via 10.0.0.1]"},
		"mtu":    {fmt.Sprint(ack.Options.Get(dhcpv4.OptionInterfaceMTU)), "[5 170]"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %s, want %s", what, pair[0], pair[1])
		}
	}
	renew, err := dhcpv4.NewRenewFromAck(ack)
	must(t, err)
	if r, _ := exchange(g, renew, "10.0.0.11", "10.0.0.2", wait); r == nil || r.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("renewal: %v", r)
	}
	wrong, err := dhcpv4.New(dhcpv4.WithHwAddr(g.MAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 0, 0, 77))))
	must(t, err)
	if r, _ := exchange(g, wrong, "0.0.0.0", "255.255.255.255", wait); r == nil || r.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("request of a wrong address: %v", r)
	}
	// A MAC that no port has gets no answer, nor has another's chaddr.
	free := c.guest(off)
	unknown, err := dhcpv4.NewDiscovery(nettest.MAC("fa:16:3e:00:00:77"))
	must(t, err)
	free.MAC = unknown.ClientHWAddr
	if r, _ := exchange(free, unknown, "0.0.0.0", "255.255.255.255", never); r != nil {
		t.Errorf("an unknown MAC is answered: %v", r)
	}
	discover.ClientHWAddr = off2mac(off)
	if r, _ := exchange(g, discover, "0.0.0.0", "255.255.255.255", never); r != nil {
		t.Errorf("a request in another's name is answered: %v", r)
	}
}

func off2mac(p *nodeapi.Port) net.HardwareAddr { return nettest.MAC(p.MAC) }

func TestDNS(t *testing.T) {
	var upstream *dns.Server
	c := newCloud(t, func(o *Options) { o.Resolvers = []string{nettest.OutsideAddress} })
	must(t, c.lab.Outside.Do(func() error {
		pc, err := net.ListenPacket("udp", nettest.OutsideAddress+":53")
		upstream = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(192, 0, 2, 9)})
			_ = w.WriteMsg(m)
		})}
		return err
	}))
	go upstream.ActivateAndServe()
	defer upstream.Shutdown()
	must(t, c.node.NS.Do(func() error { return nettest.AddAddress(c.node.Physical, "203.0.113.2/24") }))
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("none")
	p := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "none")
	c.apply()
	g := c.guest(p)
	g.Address("10.0.0.11/24", "")
	ask := func(name string, kind uint16, network string) string {
		q := new(dns.Msg).SetQuestion(name, kind)
		var conn *dns.Conn
		client := &dns.Client{Net: network, Timeout: wait}
		if err := g.NS.Do(func() (err error) { conn, err = client.Dial("10.0.0.2:53"); return err }); err != nil {
			return err.Error()
		}
		defer conn.Close()
		a, _, err := client.ExchangeWithConn(q, conn)
		if err != nil {
			return err.Error()
		}
		out := dns.RcodeToString[a.Rcode]
		for _, rr := range a.Answer {
			f := strings.Fields(rr.String())
			out += " " + f[len(f)-1]
		}
		return out
	}
	for _, tc := range []struct {
		name string
		kind uint16
		want string
	}{
		{"host-111101.openstacklocal.", dns.TypeA, "NOERROR 10.0.0.11"},
		{"HOST-111101.", dns.TypeA, "NOERROR 10.0.0.11"},
		{"host-111101.", dns.TypeAAAA, "NOERROR"},
		{"11.0.0.10.in-addr.arpa.", dns.TypePTR, "NOERROR host-111101.openstacklocal."},
		{"nobody.openstacklocal.", dns.TypeA, "NXDOMAIN"},
		{"www.example.org.", dns.TypeA, "NOERROR 192.0.2.9"},
	} {
		if got := ask(tc.name, tc.kind, "udp"); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := ask("host-111101.", dns.TypeA, "tcp"); got != "NOERROR 10.0.0.11" {
		t.Errorf("over TCP: %s", got)
	}
}

func get(ns *netns.NS, method, url, body string) string {
	return getWithin(wait, ns, method, url, body)
}

func getWithin(limit time.Duration, ns *netns.NS, method, url, body string) string {
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
		return nettest.Dial(ns, network, "", addr, limit)
	}}}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	res, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 {
		return res.Status
	}
	return string(b)
}

// Two tenants with equal addresses ask for metadata, one through its router and one through the DHCP service;
// each gets its own.
func TestMetadata(t *testing.T) {
	c := newCloud(t, nil)
	c.public()
	a, b := c.tenant(tenantA, 100, "10.0.0"), c.tenant(tenantB, 200, "10.0.0")
	c.group("none")
	p1 := c.port(uid("1111", "01"), a, "10.0.0.11", "fa:16:3e:00:00:11", "none")
	p2 := c.port(uid("2222", "01"), b, "10.0.0.11", "fa:16:3e:00:01:11", "none")
	off := c.port(uid("2222", "02"), b, "10.0.0.12", "fa:16:3e:00:01:12", "none")
	off.PortSecurity = false
	c.router(uid("cccc", "01"), a, "10.0.0.1", "203.0.113.10")
	c.apply()
	g1, g2, g3 := c.guest(p1), c.guest(p2), c.guest(off)
	g1.Address("10.0.0.11/24", "10.0.0.1")
	g2.Address("10.0.0.11/24", "10.0.0.2") // as the DHCP service's route to the metadata address says
	g3.Address("10.0.0.50/24", "10.0.0.2")
	const base = "http://169.254.169.254"
	if s := get(g1.NS, "GET", base+"/latest/meta-data/hostname", ""); s != "vm-11110001" {
		t.Errorf("through the router: %s", s)
	}
	if s := get(g2.NS, "GET", base+"/latest/meta-data/hostname", ""); s != "vm-22220001" {
		t.Errorf("through the DHCP service: %s", s)
	}
	if s := get(g2.NS, "GET", base+"/openstack/latest/network_data.json", ""); !strings.Contains(s, `"ethernet_mac_address":"fa:16:3e:00:01:11"`) || !strings.Contains(s, `"ipv4_dhcp"`) {
		t.Errorf("network_data.json: %s", s)
	}
	if s := get(g2.NS, "GET", base+"/openstack/latest/meta_data.json", ""); !strings.Contains(s, `"random_seed":"`) {
		t.Errorf("meta_data.json: %s", s)
	}
	if s := get(g3.NS, "GET", base+"/openstack", ""); s != "404 Not Found" {
		t.Errorf("an address without a guest: %s", s)
	}
	if s := getWithin(never, g1.NS, "GET", "http://10.0.0.1:9697/openstack", ""); !strings.Contains(s, "timeout") && !strings.Contains(s, "deadline") {
		t.Errorf("the proxy's own port: %s", s)
	}
	pw := base + "/openstack/latest/password"
	for _, step := range [][3]string{{"GET", "", ""}, {"POST", strings.Repeat("x", 1021), "400 Bad Request"}, {"POST", "c2VjcmV0", ""}, {"GET", "", "c2VjcmV0"}, {"POST", "again", "409 Conflict"}} {
		if s := get(g1.NS, step[0], pw, step[1]); s != step[2] {
			t.Errorf("%s password: %q, want %q", step[0], s, step[2])
		}
	}
	if p, err := c.driver.Password("guest-" + p1.ID); err != nil || string(p) != "c2VjcmV0" {
		t.Errorf("the driver's password %q, %v", p, err)
	}
	if s := get(g2.NS, "GET", pw, ""); s != "" {
		t.Errorf("another guest's password: %q", s)
	}
	// It stays while the guest is there.
	c.driver.Resync()
	c.apply()
	if s := get(g1.NS, "GET", pw, ""); s != "c2VjcmV0" {
		t.Errorf("after a resync: %q", s)
	}
	for range 2 {
		if err := c.driver.ClearPassword("guest-" + p1.ID); err != nil {
			t.Error(err)
		}
	}
	for _, step := range [][3]string{{"GET", "", ""}, {"POST", "bmV3", ""}, {"GET", "", "bmV3"}} {
		if s := get(g1.NS, step[0], pw, step[1]); s != step[2] {
			t.Errorf("%s cleared password: %q, want %q", step[0], s, step[2])
		}
	}
	must(t, c.node.NS.Do(func() error { return Purge(t.Context(), c.driver.o) }))
	if p, err := c.driver.Password(p1.GuestID); err != nil || string(p) != "bmV3" {
		t.Errorf("after the node's network was taken down: %q, %v", p, err)
	}
	delete(c.guests, p1.GuestID)
	c.driver.Resync()
	c.apply()
	if left, _ := os.ReadDir(c.driver.passwords.Dir); len(left) != 0 {
		t.Errorf("a password outlives its guest: %v", left)
	}
}
