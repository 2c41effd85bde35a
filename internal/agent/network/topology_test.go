package network

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// One network on two nodes: guests meet over VXLAN, with and without L2 population.
func TestVXLAN(t *testing.T) {
	for _, l2pop := range []bool{true, false} {
		name := "flooding"
		if l2pop {
			name = "l2population"
		}
		t.Run(name, func(t *testing.T) {
			lab := nettest.New(t)
			set := func(o *Options) { o.L2Population = l2pop }
			a, b := cloudOn(t, lab, "a", set), cloudOn(t, lab, "b", set)
			na, nb := a.tenant(tenantA, 100, "10.0.0"), b.tenant(tenantA, 100, "10.0.0")
			a.group("any", ping4())
			b.group("any", ping4())
			pa := a.port(uid("1111", "01"), na, "10.0.0.11", "fa:16:3e:00:00:11", "any")
			pb := b.port(uid("1111", "02"), nb, "10.0.0.12", "fa:16:3e:00:00:12", "any")
			remote := func(c *cloud, p *nodeapi.Port, vtep string) {
				cp := *c.state.Networks[tenantA]
				cp.Hosts = append(cp.Hosts, nodeapi.NetworkHost{PortID: p.ID, MAC: p.MAC, FixedIPs: p.FixedIPs, VTEP: vtep})
				cp.VTEPs = []string{vtep}
				c.state.Networks[tenantA] = &cp
			}
			a.apply()
			remote(a, pb, b.node.TunnelIP.String())
			remote(b, pa, a.node.TunnelIP.String())
			a.apply()
			b.apply()
			ga, gb := a.guest(pa), b.guest(pb)
			ga.Address("10.0.0.11/24", "")
			gb.Address("10.0.0.12/24", "")
			ga.MTU(1450)
			gb.MTU(1450)
			if !nettest.Ping(ga.NS, "10.0.0.12", wait) || !nettest.Ping(gb.NS, "10.0.0.11", wait) {
				t.Error("guests on two nodes do not meet")
			}
			// The DHCP service has the same addresses on both nodes; each guest meets its own node's, which alone
			// knows it.
			for _, g := range []*nettest.Guest{ga, gb} {
				_, err := nettest.Run(g.NS, "ip", "route", "add", "169.254.169.254", "via", "10.0.0.2")
				must(t, err)
			}
			for range 3 {
				for g, want := range map[*nettest.Guest]string{ga: "vm-11110001", gb: "vm-11110002"} {
					if s := get(g.NS, "GET", "http://169.254.169.254/latest/meta-data/hostname", ""); s != want {
						t.Errorf("metadata of %s: %s", want, s)
					}
				}
			}
			if !l2pop {
				return
			}
			// A host that moved: the entries follow.
			cp := *a.state.Networks[tenantA]
			cp.Hosts, cp.VTEPs = cp.Hosts[:1], nil
			a.state.Networks[tenantA] = &cp
			a.apply()
			if nettest.Ping(ga.NS, "10.0.0.12", never) {
				t.Error("a host that is gone is still forwarded to")
			}
			out, err := nettest.Run(a.node.NS, "ip", "neigh", "show", "nud", "permanent")
			must(t, err)
			if strings.Contains(out, "10.0.0.12") {
				t.Errorf("left-over neighbour: %s", out)
			}
		})
	}
}

// The addresses and routes of a physical interface move to its bridge and come back.
func TestPhysicalInterfaceAddresses(t *testing.T) {
	dir := t.TempDir()
	c := newCloud(t, func(o *Options) { o.StateDir = dir })
	must(t, c.node.NS.Do(func() error {
		if err := nettest.AddAddress(c.node.Physical, "203.0.113.2/24"); err != nil {
			return err
		}
		_, err := nettest.Run(c.node.NS, "ip", "route", "add", "default", "via", nettest.OutsideAddress, "metric", "50")
		return err
	}))
	where := func() string {
		a, err := nettest.Run(c.node.NS, "ip", "-br", "-4", "addr")
		must(t, err)
		r, err := nettest.Run(c.node.NS, "ip", "route", "show", "default")
		must(t, err)
		out := ""
		for _, line := range strings.Split(a, "\n") {
			if strings.Contains(line, "203.0.113.2/24") {
				out += strings.Split(strings.Fields(line)[0], "@")[0]
			}
		}
		return out + " " + strings.TrimSpace(strings.Join(strings.Fields(r), " "))
	}
	n := c.public()
	c.group("any", ping4())
	p := c.port(uid("1111", "01"), n, "203.0.113.50", "fa:16:3e:00:00:50", "any")
	c.apply()
	if got := where(); got != "brqffff0001-00 default via 203.0.113.1 dev brqffff0001-00 metric 50" {
		t.Errorf("in a bridge: %s", got)
	}
	if !nettest.Ping(c.lab.Outside, "203.0.113.2", wait) {
		t.Error("the node is not reached at its address")
	}
	g := c.guest(p)
	g.Address("203.0.113.50/24", "")
	if !nettest.Ping(c.lab.Outside, "203.0.113.50", wait) || !nettest.Ping(g.NS, "203.0.113.2", wait) {
		t.Error("a guest on the flat network is not reached, or does not reach the node")
	}
	c.driver.Resync()
	c.apply()
	delete(c.state.Ports, p.ID)
	delete(c.state.Networks, public)
	c.apply()
	if got := where(); got != "phys0 default via 203.0.113.1 dev phys0 metric 50" {
		t.Errorf("given back: %s", got)
	}
	if !nettest.Ping(c.lab.Outside, "203.0.113.2", wait) {
		t.Error("the node is not reached at its address afterwards")
	}
	if _, err := os.Stat(filepath.Join(dir, "moved-phys0.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is left: %v", err)
	}
}

// A tenant's guest reaches nothing of the node by the tenant's bridge, whatever it sends there.
func TestNodeIsClosedToTenants(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("any", ping4())
	p := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "any")
	p.PortSecurity = false
	must(t, c.node.NS.Do(func() error { return nettest.AddAddress("lo", "192.0.2.1/32") }))
	c.apply()
	g := c.guest(p)
	g.Address("10.0.0.11/24", "")
	br, err := c.node.NS.Link("brqaaaa0001-00")
	must(t, err)
	_, err = nettest.Run(c.node.NS, "ip", "route", "add", "10.0.0.11/32", "dev", "brqaaaa0001-00")
	must(t, err)
	for _, args := range [][]string{
		{"ip", "neigh", "replace", "192.0.2.1", "lladdr", br.Attrs().HardwareAddr.String(), "dev", "eth0"},
		{"ip", "route", "add", "192.0.2.1", "dev", "eth0"},
	} {
		_, err := nettest.Run(g.NS, args[0], args[1:]...)
		must(t, err)
	}
	if nettest.Ping(g.NS, "192.0.2.1", never) {
		t.Error("a tenant's guest reaches the node")
	}
	heard := g.Capture()
	g.Inject(append(arpFrame(g.MAC, g.MAC, "10.0.0.11", 1)[:38], 192, 0, 2, 1))
	if heard.Wait(never, func(f []byte) bool { return f[12] == 8 && f[13] == 6 && f[21] == 2 }) != nil {
		t.Error("the node answers a tenant's ARP")
	}
	if !nettest.Ping(g.NS, "10.0.0.2", wait) {
		t.Error("the DHCP service is not reached")
	}
}

// A floating IP that is taken away cuts its connections; one that moves is announced and leads to its new owner.
func TestFloatingIPMoves(t *testing.T) {
	c := newCloud(t, nil)
	c.public()
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("web", tcp(80), ping4())
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "web")
	id := uid("cccc", "01")
	r := c.router(id, n, "10.0.0.1", "203.0.113.10")
	fip := func(fixed string) {
		cp := *r
		cp.FloatingIPs = nil
		if fixed != "" {
			cp.FloatingIPs = []nodeapi.FloatingIP{{ID: "f", Floating: "203.0.113.20", Fixed: fixed}}
		}
		c.state.Routers[id] = &cp
		c.apply()
	}
	fip("10.0.0.11")
	g1, g2 := c.guest(p1), c.guest(p2)
	g1.Address("10.0.0.11/24", "10.0.0.1")
	g2.Address("10.0.0.12/24", "10.0.0.1")
	c.lab.Listen(g1.NS, "tcp", ":80")
	whoami(t, c.lab, g2.NS, ":80")
	conn, err := nettest.Dial(c.lab.Outside, "tcp", "", "203.0.113.20:80", wait)
	must(t, err)
	defer conn.Close()
	if !nettest.Echo(conn, wait) {
		t.Fatal("the floating IP does not work")
	}
	fip("")
	if nettest.Echo(conn, never) {
		t.Error("the connection goes on without the floating IP")
	}
	if nettest.Ping(c.lab.Outside, "203.0.113.20", never) {
		t.Error("the address answers without the floating IP")
	}
	arp := listenARP(t, c.lab.Outside, "ext")
	fip("10.0.0.12")
	if !arp("203.0.113.20", r.Gateway.MAC, wait) {
		t.Error("the floating IP is not announced")
	}
	if s := seenAs(c.lab.Outside, "203.0.113.20:80"); s != nettest.OutsideAddress {
		t.Errorf("at its new owner: %s", s)
	}
	// The router without SNAT: only the floating IP works.
	cp := *c.state.Routers[id]
	gw := *cp.Gateway
	gw.EnableSNAT = false
	cp.Gateway = &gw
	c.state.Routers[id] = &cp
	c.apply()
	if nettest.Ping(g1.NS, nettest.OutsideAddress, never) {
		t.Error("a guest without floating IP gets answers without SNAT")
	}
	if !nettest.Ping(g2.NS, nettest.OutsideAddress, wait) {
		t.Error("a guest with floating IP gets no answers")
	}
}

// listenARP returns a function that waits for a gratuitous ARP.
func listenARP(t *testing.T, ns *netns.NS, device string) func(ip, mac string, timeout time.Duration) bool {
	var fd int
	must(t, ns.Do(func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		const arp = 0x0608 // ETH_P_ARP in network order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, arp); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: arp, Ifindex: ifi.Index})
	}))
	f := os.NewFile(uintptr(fd), "arp")
	t.Cleanup(func() { f.Close() })
	return func(ip, mac string, timeout time.Duration) bool {
		_ = f.SetReadDeadline(time.Now().Add(timeout))
		buf := make([]byte, 100)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return false
			}
			if n >= 42 && net.IP(buf[28:32]).String() == ip && net.IP(buf[38:42]).String() == ip && net.HardwareAddr(buf[22:28]).String() == mac {
				return true
			}
		}
	}
}

// Two subnets and an extra route behind one router, and none to the other tenant.
func TestRouterSubnetsAndRoutes(t *testing.T) {
	c := newCloud(t, nil)
	c.public()
	a, b := c.tenant(tenantA, 100, "10.0.0"), c.tenant(tenantB, 200, "10.1.0")
	third := c.tenant(uid("eeee", "01"), 300, "10.2.0")
	c.group("web", tcp(80), ping4())
	p1 := c.port(uid("1111", "01"), a, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("2222", "01"), b, "10.1.0.11", "fa:16:3e:00:01:11", "web")
	p2.AllowedAddressPairs = []nodeapi.AddressPair{{IP: "172.20.0.0/16"}}
	p3 := c.port(uid("3333", "01"), third, "10.2.0.11", "fa:16:3e:00:02:11", "web")
	r := c.router(uid("cccc", "01"), a, "10.0.0.1", "203.0.113.10")
	r.Interfaces = append(r.Interfaces, nodeapi.ServicePort{PortID: "cccc0001-3300-4000-8000-000000000000", NetworkID: tenantB, MAC: "fa:16:3e:11:cc:02", Addresses: []string{"10.1.0.1/24"}})
	r.Routes = []nodeapi.Route{{Destination: "172.20.0.0/16", NextHop: "10.1.0.11"}}
	c.router(uid("cccc", "02"), third, "10.2.0.1", "203.0.113.11")
	c.apply()
	g1, g2, g3 := c.guest(p1), c.guest(p2), c.guest(p3)
	g1.Address("10.0.0.11/24", "10.0.0.1")
	g2.Address("10.1.0.11/24", "10.1.0.1")
	g2.Address("172.20.0.1/32", "")
	g3.Address("10.2.0.11/24", "10.2.0.1")
	if !nettest.Ping(g1.NS, "10.1.0.11", wait) {
		t.Error("the router's other subnet is not reached")
	}
	if !nettest.Ping(g1.NS, "172.20.0.1", wait) {
		t.Error("the extra route does not lead anywhere")
	}
	if nettest.Ping(g3.NS, "10.0.0.11", never) || nettest.Ping(g1.NS, "10.2.0.11", never) {
		t.Error("a tenant reaches another one")
	}
	cp := *r
	cp.Routes = nil
	c.state.Routers[r.ID] = &cp
	c.apply()
	if nettest.Ping(g1.NS, "172.20.0.1", never) {
		t.Error("a removed route still leads there")
	}
	delete(c.state.Routers, r.ID)
	c.apply()
	if names, _ := c.node.Dir.List(); strings.Contains(strings.Join(names, " "), "qrouter-"+r.ID) {
		t.Error("the router's namespace is left")
	}
	if l, _ := c.node.NS.Link("tapcccc0001-33"); l != nil {
		t.Error("the router's leg is left")
	}
}

// Forwarded ports: single ones, ranges and ranges that lead to one port, from outside and from inside; what is no longer forwarded is cut.
func TestPortForwarding(t *testing.T) {
	c := newCloud(t, nil)
	c.public()
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("web", tcp(80), tcp(81), tcp(3001), tcp(6001), ping4())
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "web")
	id := uid("cccc", "01")
	r := c.router(id, n, "10.0.0.1", "203.0.113.10")
	forward := func(all ...nodeapi.PortForwarding) {
		cp := *r
		cp.PortForwardings = all
		c.state.Routers[id] = &cp
		c.apply()
	}
	to := func(fixed string, external, internal nodeapi.PortRange) nodeapi.PortForwarding {
		return nodeapi.PortForwarding{ID: "p", Floating: "203.0.113.20", Fixed: fixed, Protocol: "tcp", External: external, Internal: internal}
	}
	one := func(n int) nodeapi.PortRange { return nodeapi.PortRange{Min: n, Max: n} }
	web, other := to("10.0.0.11", one(8080), one(80)), to("10.0.0.12", one(8081), one(80))
	same := nodeapi.PortRange{Min: 3000, Max: 3005}
	all := []nodeapi.PortForwarding{web, other, to("10.0.0.12", same, same), to("10.0.0.11", nodeapi.PortRange{Min: 4000, Max: 4005}, one(81)),
		to("10.0.0.12", nodeapi.PortRange{Min: 5000, Max: 5005}, nodeapi.PortRange{Min: 6000, Max: 6005})}
	arp := listenARP(t, c.lab.Outside, "ext")
	forward(all...)
	if !arp("203.0.113.20", r.Gateway.MAC, wait) {
		t.Error("the floating IP is not announced")
	}
	g1, g2 := c.guest(p1), c.guest(p2)
	g1.Address("10.0.0.11/24", "10.0.0.1")
	g2.Address("10.0.0.12/24", "10.0.0.1")
	whoami(t, c.lab, g1.NS, ":80")
	whoami(t, c.lab, g1.NS, ":81")
	for _, port := range []string{":80", ":3001", ":6001"} {
		c.lab.Listen(g2.NS, "tcp", port)
	}
	for _, port := range []string{"8080", "4003"} {
		if s := seenAs(c.lab.Outside, "203.0.113.20:"+port); s != nettest.OutsideAddress {
			t.Errorf("port %s from outside: the guest sees %q", port, s)
		}
	}
	for _, port := range []string{"8081", "3001", "5001"} {
		if !nettest.Reach(c.lab.Outside, "tcp", "", "203.0.113.20:"+port, wait) {
			t.Errorf("port %s is not forwarded", port)
		}
	}
	for _, port := range []string{"80", "3006", "5000", "8082"} {
		if nettest.Reach(c.lab.Outside, "tcp", "", "203.0.113.20:"+port, never) {
			t.Errorf("port %s is forwarded", port)
		}
	}
	if s := seenAs(g2.NS, "203.0.113.20:8080"); s != "203.0.113.10" {
		t.Errorf("from inside, the guest sees %q", s)
	}
	conn, err := nettest.Dial(c.lab.Outside, "tcp", "", "203.0.113.20:8081", wait)
	must(t, err)
	defer conn.Close()
	kept, err := nettest.Dial(c.lab.Outside, "tcp", "", "203.0.113.20:3001", wait)
	must(t, err)
	defer kept.Close()
	if !nettest.Echo(conn, wait) || !nettest.Echo(kept, wait) {
		t.Fatal("the forwarded connections do not work")
	}
	forward(append([]nodeapi.PortForwarding{web}, all[2:]...)...)
	if nettest.Echo(conn, never) {
		t.Error("a connection goes on without its forwarding")
	}
	if !nettest.Echo(kept, wait) {
		t.Error("a connection is cut though its ports are still forwarded")
	}
	forward()
	if nettest.Ping(c.lab.Outside, "203.0.113.20", never) {
		t.Error("the address is still there")
	}
}

// IPv6: the router announces itself, guests make addresses of it, and packets are forwarded.
func TestIPv6(t *testing.T) {
	c := newCloud(t, nil)
	a, b := c.tenant(tenantA, 100, "10.0.0"), c.tenant(tenantB, 200, "10.1.0")
	for id, prefix := range map[string]string{tenantA: "2001:db8:a::", tenantB: "2001:db8:b::"} {
		n := c.state.Networks[id]
		n.Subnets = append(n.Subnets, nodeapi.Subnet{ID: "six-" + id, CIDR: prefix + "/64", GatewayIP: prefix + "1", EnableDHCP: true, IPv6AddressMode: "slaac", IPv6RAMode: "slaac"})
	}
	web := c.group("web")
	port := 80
	web.Rules = append(web.Rules, nodeapi.SecurityGroupRule{ID: "p6", Direction: "ingress", EtherType: "IPv6", Protocol: "icmp"},
		nodeapi.SecurityGroupRule{ID: "t6", Direction: "ingress", EtherType: "IPv6", Protocol: "tcp", PortMin: &port, PortMax: &port})
	p1 := c.port(uid("1111", "01"), a, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("2222", "01"), b, "10.1.0.11", "fa:16:3e:00:01:11", "web")
	p1.FixedIPs = append(p1.FixedIPs, nodeapi.FixedIP{SubnetID: "six-" + tenantA, IP: "2001:db8:a:0:f816:3eff:fe00:11"})
	p2.FixedIPs = append(p2.FixedIPs, nodeapi.FixedIP{SubnetID: "six-" + tenantB, IP: "2001:db8:b:0:f816:3eff:fe00:111"})
	r := &nodeapi.Router{ID: uid("cccc", "01"), AdminUp: true, Interfaces: []nodeapi.ServicePort{
		{PortID: "cccc0001-1100-4000-8000-000000000000", NetworkID: tenantA, MAC: "fa:16:3e:11:cc:01", Addresses: []string{"2001:db8:a::1/64"}},
		{PortID: "cccc0001-3300-4000-8000-000000000000", NetworkID: tenantB, MAC: "fa:16:3e:11:cc:02", Addresses: []string{"2001:db8:b::1/64"}}}}
	c.state.Routers[r.ID] = r
	c.apply()
	g1, g2 := c.guest(p1), c.guest(p2)
	if !nettest.Ping(g1.NS, "2001:db8:a::1", 2*wait) {
		t.Fatal("the guest has no address from the router's advertisement")
	}
	c.lab.Listen(g2.NS, "tcp", "[::]:80")
	c.lab.Listen(g2.NS, "tcp", "[::]:81")
	if !nettest.Ping(g1.NS, "2001:db8:b:0:f816:3eff:fe00:111", 2*wait) {
		t.Error("IPv6 is not forwarded")
	}
	if !nettest.Reach(g1.NS, "tcp", "", "[2001:db8:b:0:f816:3eff:fe00:111]:80", wait) {
		t.Error("IPv6 port 80 has a rule")
	}
	if nettest.Reach(g1.NS, "tcp", "", "[2001:db8:b:0:f816:3eff:fe00:111]:81", never) {
		t.Error("IPv6 port 81 has no rule")
	}
}

// Everything is gone after a purge, and a state that shrinks to nothing leaves nothing either.
func TestNothingIsLeft(t *testing.T) {
	for _, how := range []string{"empty state", "purge", "new driver with empty state"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			c := newCloud(t, func(o *Options) { o.StateDir = dir })
			must(t, c.node.NS.Do(func() error { return nettest.AddAddress(c.node.Physical, "203.0.113.2/24") }))
			c.public()
			n := c.tenant(tenantA, 100, "10.0.0")
			c.group("web", tcp(80))
			p := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
			c.router(uid("cccc", "01"), n, "10.0.0.1", "203.0.113.10")
			c.apply()
			c.ensure(p.ID)
			c.state = State{}
			switch how {
			case "empty state":
				c.apply()
			case "purge":
				must(t, c.driver.Close())
				must(t, c.node.NS.Do(func() error { return Purge(context.Background(), c.driver.o) }))
			default:
				must(t, c.driver.Close())
				c.start(func(o *Options) { o.StateDir = dir }, dir)
				c.apply()
			}
			nl, err := c.node.NS.Netlink()
			must(t, err)
			links, err := nl.LinkList()
			must(t, err)
			for _, l := range links {
				if name := l.Attrs().Name; name != "lo" && name != "tun0" && name != "phys0" {
					t.Errorf("left: link %s", name)
				}
			}
			phys, err := nl.LinkByName("phys0")
			must(t, err)
			if addrs, _ := nl.AddrList(phys, netlink.FAMILY_V4); len(addrs) != 1 {
				t.Errorf("addresses of phys0: %v", addrs)
			}
			if names, _ := c.node.Dir.List(); len(names) != 0 {
				t.Errorf("left: namespaces %v", names)
			}
			out, err := nettest.Run(c.node.NS, "nft", "list", "ruleset")
			must(t, err)
			if how == "purge" && out != "" || strings.Contains(out, "1111") || strings.Contains(out, "aaaa") {
				t.Errorf("left: rules %s", out)
			}
		})
	}
}
