package network

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Two tenants with the same addresses, on one node: neither reaches the other, and equal connections of both work
// at the same time.
func TestOverlappingTenants(t *testing.T) {
	c := newCloud(t, nil)
	a, b := c.tenant(tenantA, 100, "10.0.0"), c.tenant(tenantB, 200, "10.0.0")
	c.group("web", tcp(80))
	a1 := c.port(uid("1111", "01"), a, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	a2 := c.port(uid("1111", "02"), a, "10.0.0.12", "fa:16:3e:00:00:12", "web")
	b1 := c.port(uid("2222", "01"), b, "10.0.0.11", "fa:16:3e:00:01:11", "web")
	b2 := c.port(uid("2222", "02"), b, "10.0.0.12", "fa:16:3e:00:01:12", "web")
	b3 := c.port(uid("2222", "03"), b, "10.0.0.13", "fa:16:3e:00:01:13", "web")
	c.apply()
	guests := map[string]*nettest.Guest{}
	for _, p := range []*nodeapi.Port{a1, a2, b1, b2, b3} {
		g := c.guest(p)
		g.Address(p.FixedIPs[0].IP+"/24", "")
		guests[p.ID] = g
	}
	c.lab.Listen(guests[a2.ID].NS, "tcp", ":80")
	c.lab.Listen(guests[b2.ID].NS, "tcp", ":80")
	c.lab.Listen(guests[b3.ID].NS, "tcp", ":80")
	ca, err := nettest.Dial(guests[a1.ID].NS, "tcp", "10.0.0.11:45000", "10.0.0.12:80", wait)
	must(t, err)
	defer ca.Close()
	cb, err := nettest.Dial(guests[b1.ID].NS, "tcp", "10.0.0.11:45000", "10.0.0.12:80", wait)
	must(t, err)
	defer cb.Close()
	if !nettest.Echo(ca, wait) || !nettest.Echo(cb, wait) {
		t.Error("equal connections of two tenants do not both work")
	}
	flows, err := c.node.NS.Flows()
	must(t, err)
	zones := map[uint16]bool{}
	for _, f := range flows {
		if f.SrcPort == 45000 {
			zones[f.Zone] = true
		}
	}
	if len(zones) != 2 || zones[0] {
		t.Errorf("zones of the two connections: %v", zones)
	}
	if nettest.Reach(guests[a1.ID].NS, "tcp", "", "10.0.0.13:80", never) {
		t.Error("a tenant reaches the other's guest")
	}
}

// A guest that spoofs is not heard.
func TestSpoofing(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	any := c.group("any")
	any.Rules = append(any.Rules, nodeapi.SecurityGroupRule{ID: "in4", Direction: "ingress", EtherType: "IPv4"}, nodeapi.SecurityGroupRule{ID: "in6", Direction: "ingress", EtherType: "IPv6"})
	evil := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "any")
	evil.AllowedAddressPairs = []nodeapi.AddressPair{{IP: "10.0.0.64/30"}, {IP: "10.0.0.99", MAC: "fa:16:3e:00:00:99"}}
	peer := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "any")
	c.apply()
	g, victim := c.guest(evil), c.guest(peer)
	victim.Address("10.0.0.12/24", "")
	own, other, pair := nettest.MAC(evil.MAC), nettest.MAC("fa:16:3e:00:00:77"), nettest.MAC("fa:16:3e:00:00:99")
	to := nettest.MAC(peer.MAC)
	seq := byte(0)
	for _, tc := range []struct {
		name  string
		heard bool
		frame func(tag byte) []byte
	}{
		{"own address", true, func(tag byte) []byte { return udpFrame(own, to, "10.0.0.11", "10.0.0.12", 1000, 2000, tag) }},
		{"MAC spoofed", false, func(tag byte) []byte { return udpFrame(other, to, "10.0.0.11", "10.0.0.12", 1000, 2000, tag) }},
		{"IP spoofed", false, func(tag byte) []byte { return udpFrame(own, to, "10.0.0.77", "10.0.0.12", 1000, 2000, tag) }},
		{"allowed pair with prefix", true, func(tag byte) []byte { return udpFrame(own, to, "10.0.0.66", "10.0.0.12", 1000, 2000, tag) }},
		{"outside the pair's prefix", false, func(tag byte) []byte { return udpFrame(own, to, "10.0.0.68", "10.0.0.12", 1000, 2000, tag) }},
		{"allowed pair with MAC", true, func(tag byte) []byte { return udpFrame(pair, to, "10.0.0.99", "10.0.0.12", 1000, 2000, tag) }},
		{"pair's IP with own MAC", false, func(tag byte) []byte { return udpFrame(own, to, "10.0.0.99", "10.0.0.12", 1000, 2000, tag) }},
		{"DHCP offer", false, func(tag byte) []byte { return udpFrame(own, to, "10.0.0.11", "10.0.0.12", 67, 68, tag) }},
		{"own ARP", true, func(tag byte) []byte { return arpFrame(own, own, "10.0.0.11", tag) }},
		{"ARP with spoofed address", false, func(tag byte) []byte { return arpFrame(own, own, "10.0.0.1", tag) }},
		{"ARP with spoofed sender MAC", false, func(tag byte) []byte { return arpFrame(own, other, "10.0.0.11", tag) }},
		{"ARP from spoofed MAC", false, func(tag byte) []byte { return arpFrame(other, other, "10.0.0.11", tag) }},
		{"ARP probe", true, func(tag byte) []byte { return arpFrame(own, own, "0.0.0.0", tag) }},
		{"own IPv6", true, func(tag byte) []byte { return icmp6Frame(own, "fe80::f816:3eff:fe00:11", 128, tag) }},
		{"IPv6 spoofed", false, func(tag byte) []byte { return icmp6Frame(own, "fe80::1", 128, tag) }},
		{"router advertisement", false, func(tag byte) []byte { return icmp6Frame(own, "fe80::f816:3eff:fe00:11", 134, tag) }},
		{"neighbour solicitation from ::", true, func(tag byte) []byte { return icmp6Frame(own, "::", 135, tag) }},
		{"own neighbour advertisement", true, func(tag byte) []byte {
			return ndFrame(own, "fe80::f816:3eff:fe00:11", "fe80::f816:3eff:fe00:11", 136, tag)
		}},
		{"neighbour advertisement of another's address", false, func(tag byte) []byte { return ndFrame(own, "fe80::f816:3eff:fe00:11", "fe80::12", 136, tag) }},
		{"echo from ::", false, func(tag byte) []byte { return icmp6Frame(own, "::", 128, tag) }},
		{"unknown ethertype", false, func(tag byte) []byte {
			return append(append(append([]byte{}, to...), own...), 0x88, 0xb5, 0xa5, 0x5a, tag, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		}},
	} {
		seq++
		tag := seq
		heard := victim.Capture()
		g.Inject(tc.frame(tag))
		match := func(f []byte) bool { return tagged(f, tag) }
		limit := never / 3
		if tc.heard {
			limit = wait
		}
		if got := heard.Wait(limit, match) != nil; got != tc.heard {
			t.Errorf("%s: heard %v", tc.name, got)
		}
	}
}

// tagged finds the marker that the frame builders put at the end.
func tagged(f []byte, tag byte) bool {
	for i := 0; i+2 < len(f); i++ {
		if f[i] == 0xa5 && f[i+1] == 0x5a && f[i+2] == tag {
			return true
		}
	}
	return false
}

func udpFrame(src, dst []byte, from, to string, sport, dport uint16, tag byte) []byte {
	f := append(append(append([]byte{}, dst...), src...), 0x08, 0)
	ip := []byte{0x45, 0, 0, 20 + 8 + 4, 0, tag, 0, 0, 64, 17, 0, 0}
	ip = append(ip, netip.MustParseAddr(from).AsSlice()...)
	ip = append(ip, netip.MustParseAddr(to).AsSlice()...)
	var s uint32
	for i := 0; i < 20; i += 2 {
		s += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(s+s>>16))
	f = append(f, ip...)
	f = binary.BigEndian.AppendUint16(f, sport)
	f = binary.BigEndian.AppendUint16(f, dport)
	return append(f, 0, 12, 0, 0, 0xa5, 0x5a, tag, 0)
}

func arpFrame(src, sender []byte, ip string, tag byte) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src...)
	f = append(f, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	f = append(f, sender...)
	f = append(f, netip.MustParseAddr(ip).AsSlice()...)
	f = append(f, 0, 0, 0, 0, 0, 0, 10, 0, 0, 12)
	return append(f, 0xa5, 0x5a, tag)
}

func icmp6Frame(src []byte, from string, kind, tag byte) []byte {
	return ndFrame(src, from, "fe80::12", kind, tag)
}

// ndFrame is an ICMPv6 message with a target where neighbour discovery has it.
func ndFrame(src []byte, from, target string, kind, tag byte) []byte {
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, src...)
	body := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	body = append(body, netip.MustParseAddr(target).AsSlice()...)
	body = append(body, 0xa5, 0x5a, tag, 0)
	a, b := netip.MustParseAddr(from), netip.MustParseAddr("ff02::1")
	pseudo := append(append(a.AsSlice(), b.AsSlice()...), 0, 0, 0, byte(len(body)), 0, 0, 0, 58)
	pseudo = append(pseudo, body...)
	var s uint32
	for i := 0; i < len(pseudo); i += 2 {
		s += uint32(binary.BigEndian.Uint16(pseudo[i:]))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	binary.BigEndian.PutUint16(body[2:], ^uint16(s))
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), 58, 255)
	f = append(f, a.AsSlice()...)
	f = append(f, b.AsSlice()...)
	return append(f, body...)
}

// A rule opens and closes a port at once, and closing cuts what is established, whichever side speaks first.
func TestRuleChangeCutsConnections(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	web := c.group("web", tcp(80), ping4())
	c.group("client", ping4())
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "client")
	c.apply()
	server, client := c.guest(p1), c.guest(p2)
	server.Address("10.0.0.11/24", "")
	client.Address("10.0.0.12/24", "")
	c.lab.Listen(server.NS, "tcp", ":80")
	c.lab.Listen(server.NS, "tcp", ":81")
	c.lab.Listen(server.NS, "udp", ":53")
	conn, err := nettest.Dial(client.NS, "tcp", "", "10.0.0.11:80", wait)
	must(t, err)
	defer conn.Close()
	if !nettest.Echo(conn, wait) {
		t.Fatal("the connection does not work")
	}
	set := func(rules ...nodeapi.SecurityGroupRule) {
		g := *web
		g.Rules = append(rules, web.Rules[2:]...)
		c.state.SecurityGroups["web"] = &g
		c.apply()
	}
	set(tcp(80), ping4(), tcp(81))
	if !nettest.Reach(client.NS, "tcp", "", "10.0.0.11:81", wait) {
		t.Error("a new rule does not open its port")
	}
	if !nettest.Echo(conn, wait) {
		t.Error("a new rule disturbs a connection")
	}
	set(ping4())
	if nettest.Echo(conn, never) {
		t.Error("the connection goes on without its rule")
	}
	if nettest.Reach(client.NS, "tcp", "", "10.0.0.11:80", never) {
		t.Error("a new connection is taken without a rule")
	}
	if !nettest.Ping(client.NS, "10.0.0.11", wait) {
		t.Error("ping has still a rule")
	}
	// The server's retransmissions begin nothing: the client's side of the connection stays silent.
	if nettest.Echo(conn, never) {
		t.Error("the connection came back by itself")
	}
	set(tcp(80), ping4())
	if !nettest.Echo(conn, 4*wait) {
		t.Error("the connection is not taken up again with its rule")
	}
	udp := 53
	dns := nodeapi.SecurityGroupRule{ID: "udp", Direction: "ingress", EtherType: "IPv4", Protocol: "udp", PortMin: &udp, PortMax: &udp}
	set(tcp(80), ping4(), dns)
	uc, err := nettest.Dial(client.NS, "udp", "", "10.0.0.11:53", wait)
	must(t, err)
	defer uc.Close()
	if !nettest.Echo(uc, wait) {
		t.Error("UDP has a rule")
	}
	set(tcp(80))
	if nettest.Echo(uc, never) {
		t.Error("a UDP flow goes on without its rule")
	}
	if nettest.Ping(client.NS, "10.0.0.11", never) {
		t.Error("ping goes on without its rule")
	}
}

// An address group is a group with members and no rules: nets come and go, also the one that holds all addresses.
func TestAddressGroup(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	web := c.group("web")
	web.Rules = append(web.Rules, nodeapi.SecurityGroupRule{ID: "r", Direction: "ingress", EtherType: "IPv4", Protocol: "tcp", RemoteGroupID: "offices"})
	c.group("client", ping4())
	offices := &nodeapi.SecurityGroup{ID: "offices", Stateful: true, Members: []string{"10.0.0.12/32", "2001:db8::/64"}}
	c.state.SecurityGroups["offices"] = offices
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "client")
	p3 := c.port(uid("1111", "03"), n, "10.0.0.13", "fa:16:3e:00:00:13", "client")
	c.apply()
	server, in, out := c.guest(p1), c.guest(p2), c.guest(p3)
	server.Address("10.0.0.11/24", "")
	in.Address("10.0.0.12/24", "")
	out.Address("10.0.0.13/24", "")
	c.lab.Listen(server.NS, "tcp", ":80")
	for _, step := range []struct {
		members []string
		in, out bool
	}{
		{[]string{"10.0.0.12/32", "2001:db8::/64"}, true, false},
		{[]string{"10.0.0.12/31", "::/0"}, true, true},
		{[]string{"10.0.0.13/32", "10.0.0.16/28", "::/0"}, false, true},
		{[]string{"10.0.0.13/32", "10.0.0.0/28", "0.0.0.0/0"}, true, true},
		{[]string{"10.0.0.0/29"}, false, false},
	} {
		g := *offices
		g.Members = step.members
		c.state.SecurityGroups["offices"] = &g
		c.apply()
		for _, x := range []struct {
			name string
			from *nettest.Guest
			want bool
		}{{"10.0.0.12", in, step.in}, {"10.0.0.13", out, step.out}} {
			patience := wait
			if !x.want {
				patience = never
			}
			if got := nettest.Reach(x.from.NS, "tcp", "", "10.0.0.11:80", patience); got != x.want {
				t.Errorf("group %v: %s gets through: %v", step.members, x.name, got)
			}
		}
	}
}

// What a port's policy asks for: bits are bounded both ways, and the guest's packets are marked.
func TestQoS(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	udp := func(port int) nodeapi.SecurityGroupRule {
		return nodeapi.SecurityGroupRule{ID: "udp", Direction: "ingress", EtherType: "IPv4", Protocol: "udp", PortMin: &port, PortMax: &port}
	}
	c.group("open", ping4(), udp(9))
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "open")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "open")
	c.apply()
	g1, g2 := c.guest(p1), c.guest(p2)
	g1.Address("10.0.0.11/24", "")
	g2.Address("10.0.0.12/24", "")
	if !nettest.Ping(g1.NS, "10.0.0.12", wait) {
		t.Fatal("the guests do not reach each other")
	}
	qos := func(p *nodeapi.Port, q *nodeapi.QoS) {
		cp := *c.state.Ports[p.ID]
		cp.QoS = q
		c.state.Ports[p.ID] = &cp
		c.apply()
	}
	const sent = 400
	// flood sends so many datagrams of 1,000 bytes from the first guest to the second, and returns how many came and how the last was marked.
	flood := func() (came, tos int) {
		t.Helper()
		var in, out *net.UDPConn
		must(t, g2.NS.Do(func() (err error) {
			in, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 9})
			return err
		}))
		defer in.Close()
		must(t, in.SetReadBuffer(4<<20))
		raw, err := in.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) }))
		must(t, err)
		must(t, g1.NS.Do(func() (err error) {
			out, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 12), Port: 9})
			return err
		}))
		defer out.Close()
		for range sent {
			_, err := out.Write(make([]byte, 1000))
			must(t, err)
		}
		buf, oob := make([]byte, 2000), make([]byte, 128)
		for {
			must(t, in.SetReadDeadline(time.Now().Add(never)))
			_, n, _, _, err := in.ReadMsgUDP(buf, oob)
			if err != nil {
				return came, tos
			}
			came++
			ms, err := unix.ParseSocketControlMessage(oob[:n])
			must(t, err)
			for _, m := range ms {
				if m.Header.Type == unix.IP_TOS {
					tos = int(m.Data[0])
				}
			}
		}
	}
	if came, tos := flood(); came < sent/2 || tos != 0 {
		t.Fatalf("without a policy %d came, marked %#x", came, tos)
	}
	mark := 26
	least := nodeapi.Limit{KBits: 1}
	qos(p1, &nodeapi.QoS{Egress: least, DSCP: &mark})
	if came, tos := flood(); came == 0 || came > 100 || tos != mark<<2 {
		t.Errorf("with the sender's limit %d came, marked %#x", came, tos)
	}
	qos(p1, nil)
	qos(p2, &nodeapi.QoS{Ingress: least})
	if came, tos := flood(); came == 0 || came > 100 || tos != 0 {
		t.Errorf("with the receiver's limit %d came, marked %#x", came, tos)
	}
	qos(p2, nil)
	if came, _ := flood(); came < sent/2 {
		t.Errorf("after the policy %d came", came)
	}
}

// Members of a remote group come and go.
func TestRemoteGroup(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	db := c.group("db")
	db.Rules = append(db.Rules, nodeapi.SecurityGroupRule{ID: "r", Direction: "ingress", EtherType: "IPv4", Protocol: "6", RemoteGroupID: "app"})
	app := c.group("app")
	app.Members = []string{"10.0.0.12"}
	c.group("extra", ping4())
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "db", "extra")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "app")
	p3 := c.port(uid("1111", "03"), n, "10.0.0.13", "fa:16:3e:00:00:13", "extra")
	c.apply()
	server, in, out := c.guest(p1), c.guest(p2), c.guest(p3)
	server.Address("10.0.0.11/24", "")
	in.Address("10.0.0.12/24", "")
	out.Address("10.0.0.13/24", "")
	c.lab.Listen(server.NS, "tcp", ":80")
	if !nettest.Reach(in.NS, "tcp", "", "10.0.0.11:80", wait) {
		t.Error("a member of the remote group is refused")
	}
	if nettest.Reach(out.NS, "tcp", "", "10.0.0.11:80", never) {
		t.Error("who is not in the remote group gets through")
	}
	if !nettest.Ping(out.NS, "10.0.0.11", wait) {
		t.Error("the port's second group does not count")
	}
	conn, err := nettest.Dial(in.NS, "tcp", "", "10.0.0.11:80", wait)
	must(t, err)
	defer conn.Close()
	members := func(m ...string) {
		g := *app
		g.Members = m
		c.state.SecurityGroups["app"] = &g
		c.apply()
	}
	members("10.0.0.12", "10.0.0.13")
	if !nettest.Reach(out.NS, "tcp", "", "10.0.0.11:80", wait) {
		t.Error("a new member is refused")
	}
	members("10.0.0.13/32", "10.0.0.128/25", "10.0.0.130")
	if nettest.Echo(conn, never) {
		t.Error("the connection of a former member goes on")
	}
	if nettest.Reach(in.NS, "tcp", "", "10.0.0.11:80", never) {
		t.Error("a former member gets through")
	}
}

// Stateless groups, port security off, and a port that is administratively down.
func TestPortKinds(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("web", tcp(80))
	less := c.group("less", tcp(80))
	less.Stateful = false
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "less")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "web")
	p3 := c.port(uid("1111", "03"), n, "10.0.0.13", "fa:16:3e:00:00:13", "web")
	p3.PortSecurity = false
	c.apply()
	g1, g2, g3 := c.guest(p1), c.guest(p2), c.guest(p3)
	g1.Address("10.0.0.11/24", "")
	g2.Address("10.0.0.12/24", "")
	g3.Address("10.0.0.13/24", "")
	for _, g := range []*nettest.Guest{g1, g2, g3} {
		c.lab.Listen(g.NS, "tcp", ":80")
		c.lab.Listen(g.NS, "tcp", ":81")
	}
	if !nettest.Reach(g2.NS, "tcp", "", "10.0.0.11:80", wait) {
		t.Error("a stateless group's rule does not work")
	}
	if nettest.Reach(g1.NS, "tcp", "", "10.0.0.12:80", never) {
		t.Error("a stateless group lets answers in without a rule")
	}
	if !nettest.Reach(g2.NS, "tcp", "", "10.0.0.13:81", wait) {
		t.Error("a port without port security is filtered")
	}
	heard := g2.Capture()
	g3.Inject(arpFrame(g3.MAC, g3.MAC, "10.0.0.99", 7))
	if heard.Wait(wait, func(f []byte) bool { return tagged(f, 7) }) == nil {
		t.Error("a port without port security cannot use another address")
	}
	down := *p3
	down.AdminUp = false
	c.state.Ports[p3.ID] = &down
	if res := c.apply(); len(res.Ports) != 1 || res.Ports[0].Active {
		t.Errorf("result of a port that is down: %+v", res.Ports)
	}
	if nettest.Ping(g3.NS, "10.0.0.2", never) {
		t.Error("a port that is down passes packets")
	}
}

// What somebody deletes or adds by hand is repaired by the next Apply that looks.
func TestRepair(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("web", tcp(80))
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "web")
	c.apply()
	g1, g2 := c.guest(p1), c.guest(p2)
	g1.Address("10.0.0.11/24", "")
	g2.Address("10.0.0.12/24", "")
	c.lab.Listen(g1.NS, "tcp", ":81")
	must(t, c.node.NS.Nft(context.Background(), "flush ruleset"))
	if !nettest.Reach(g2.NS, "tcp", "", "10.0.0.11:81", wait) {
		t.Fatal("without rules everything passes")
	}
	c.apply()
	if nettest.Reach(g2.NS, "tcp", "", "10.0.0.11:81", never) {
		t.Error("an Apply does not bring flushed rules back")
	}
	for _, args := range [][]string{
		{"ip", "link", "set", TapName(p1.ID), "nomaster"},
		{"ip", "link", "del", "vxlan-100"},
		{"ip", "link", "add", "brq12345678-9a", "type", "bridge"},
		{"ip", "link", "add", "tap0", "type", "bridge"},
	} {
		_, err := nettest.Run(c.node.NS, args[0], args[1:]...)
		must(t, err)
	}
	c.driver.Resync()
	c.apply()
	for name, want := range map[string]bool{"vxlan-100": true, "brq12345678-9a": false, "tap0": true} {
		l, err := c.node.NS.Link(name)
		must(t, err)
		if (l != nil) != want {
			t.Errorf("%s after a resync: there %v", name, l != nil)
		}
	}
	c.lab.Listen(g1.NS, "tcp", ":80")
	if !nettest.Reach(g2.NS, "tcp", "", "10.0.0.11:80", wait) {
		t.Error("the tap is not back in its bridge")
	}
}

// A server that goes on sending does not bring a cut connection back to life: to its own egress rules the
// stream would look like a new connection.
func TestServerPushDoesNotReviveCutConnection(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("web", tcp(80))
	all := c.group("all")
	all.Rules = append(all.Rules, nodeapi.SecurityGroupRule{ID: "in", Direction: "ingress", EtherType: "IPv4"})
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "all")
	c.apply()
	server, client := c.guest(p1), c.guest(p2)
	server.Address("10.0.0.11/24", "")
	client.Address("10.0.0.12/24", "")
	var l net.Listener
	must(t, server.NS.Do(func() (err error) { l, err = net.Listen("tcp", ":80"); return err }))
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := conn.Write([]byte("push ")); err != nil {
				return
			}
		}
	}()
	conn, err := nettest.Dial(client.NS, "tcp", "", "10.0.0.11:80", wait)
	must(t, err)
	defer conn.Close()
	buf := make([]byte, 1000)
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	if _, err := conn.Read(buf); err != nil {
		t.Fatal(err)
	}
	c.group("web") // without the rule
	c.apply()
	// What was under way when the rules changed may still arrive.
	deadline := time.Now().Add(never)
	_ = conn.SetReadDeadline(deadline)
	for err == nil {
		_, err = conn.Read(buf)
	}
	if time.Now().Before(deadline) {
		t.Fatalf("the connection ended: %v", err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(4 * never))
	if n, err := conn.Read(buf); err == nil {
		t.Errorf("the server is still heard: %q", buf[:n])
	}
}
