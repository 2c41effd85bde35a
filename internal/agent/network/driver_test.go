package network

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Ids in tests: what matters is that the first 11 characters differ.
func uid(kind, n string) string { return kind + "00" + n + "-0000-4000-8000-000000000000" }

var (
	public  = uid("ffff", "01")
	tenantA = uid("aaaa", "01")
	tenantB = uid("bbbb", "01")
)

// cloud is a desired state with helpers to grow it.
type cloud struct {
	t      testing.TB
	lab    *nettest.Lab
	node   *nettest.Node
	driver *Driver
	state  State
	guests map[string]nodeapi.Guest
}

func newCloud(t testing.TB, edit func(*Options)) *cloud {
	lab := nettest.New(t)
	return cloudOn(t, lab, "a", edit)
}

func cloudOn(t testing.TB, lab *nettest.Lab, name string, edit func(*Options)) *cloud {
	c := &cloud{t: t, lab: lab, node: lab.Node(name), guests: map[string]nodeapi.Guest{}}
	c.state = State{Networks: map[string]*nodeapi.Network{}, Ports: map[string]*nodeapi.Port{},
		SecurityGroups: map[string]*nodeapi.SecurityGroup{}, Routers: map[string]*nodeapi.Router{}}
	c.start(edit, t.TempDir())
	return c
}

func (c *cloud) start(edit func(*Options), dir string) {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	o := Options{
		PhysicalInterfaceMappings: map[string]string{"physnet1": c.node.Physical}, EnableVXLAN: true, LocalIP: c.node.TunnelIP.String(),
		L2Population: true, StateDir: dir, NetnsDir: c.node.Dir,
		Guests: func(id string) (nodeapi.Guest, bool) { g, ok := c.guests[id]; return g, ok },
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	}
	if edit != nil {
		edit(&o)
	}
	must(c.t, c.node.NS.Do(func() (err error) { c.driver, err = New(o); return err }))
	driver := c.driver
	c.t.Cleanup(func() { driver.Close() })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) apply() Result {
	c.t.Helper()
	res, err := c.driver.Apply(context.Background(), c.state)
	must(c.t, err)
	for _, p := range res.Ports {
		if p.Error != "" {
			c.t.Errorf("%s", p.Error)
		}
	}
	for _, r := range res.Routers {
		if r.Error != "" {
			c.t.Errorf("%s", r.Error)
		}
	}
	return res
}

func (c *cloud) public() *nodeapi.Network {
	n := &nodeapi.Network{ID: public, Type: nodeapi.NetworkFlat, PhysicalNetwork: "physnet1", MTU: 1500, AdminUp: true,
		Subnets: []nodeapi.Subnet{{ID: "sub-public", CIDR: "203.0.113.0/24", GatewayIP: nettest.OutsideAddress}}}
	c.state.Networks[public] = n
	return n
}

// tenant is a VXLAN network with DHCP at .2.
func (c *cloud) tenant(id string, vni int, prefix string) *nodeapi.Network {
	n := &nodeapi.Network{ID: id, Type: nodeapi.NetworkVXLAN, SegmentationID: vni, MTU: 1450, AdminUp: true,
		Subnets:  []nodeapi.Subnet{{ID: "sub-" + id, CIDR: prefix + ".0/24", GatewayIP: prefix + ".1", EnableDHCP: true}},
		DHCPPort: &nodeapi.ServicePort{PortID: uid("dddd", id[6:8]+id[:0])[:4] + id[:4] + "-dd00-4000-8000-000000000000", NetworkID: id, MAC: "fa:16:3e:dd:00:" + id[:2], Addresses: []string{prefix + ".2/24"}}}
	c.state.Networks[id] = n
	return n
}

// port adds a guest's port, on this node.
func (c *cloud) port(id string, n *nodeapi.Network, ip, mac string, groups ...string) *nodeapi.Port {
	p := &nodeapi.Port{ID: id, NetworkID: n.ID, GuestID: "guest-" + id, MAC: mac, AdminUp: true, PortSecurity: true, SecurityGroups: groups,
		FixedIPs: []nodeapi.FixedIP{{SubnetID: n.Subnets[0].ID, IP: ip}}}
	c.state.Ports[id] = p
	cp := *c.state.Networks[n.ID]
	cp.Hosts = append(cp.Hosts[:len(cp.Hosts):len(cp.Hosts)], nodeapi.NetworkHost{PortID: id, MAC: mac, FixedIPs: p.FixedIPs, Hostname: "host-" + id[:4] + id[6:8], GuestID: p.GuestID})
	c.state.Networks[n.ID] = &cp
	c.guests[p.GuestID] = nodeapi.Guest{ID: p.GuestID, Name: "instance-00000001", NICs: []nodeapi.NIC{{PortID: id, MAC: mac}},
		Metadata: nodeapi.Metadata{Hostname: "vm-" + id[:8], DisplayName: "vm", ProjectID: "p"}}
	return p
}

func (c *cloud) group(id string, rules ...nodeapi.SecurityGroupRule) *nodeapi.SecurityGroup {
	rules = append(rules, nodeapi.SecurityGroupRule{ID: "egress4", Direction: "egress", EtherType: "IPv4"}, nodeapi.SecurityGroupRule{ID: "egress6", Direction: "egress", EtherType: "IPv6"})
	g := &nodeapi.SecurityGroup{ID: id, Stateful: true, Rules: rules}
	c.state.SecurityGroups[id] = g
	return g
}

// guest starts a guest at a port.
func (c *cloud) guest(p *nodeapi.Port) *nettest.Guest {
	c.t.Helper()
	c.ensure(p.ID)
	return c.node.Guest(TapName(p.ID), p.MAC)
}

func (c *cloud) ensure(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		_, err := c.driver.EnsurePort(context.Background(), c.state.Ports[id])
		must(c.t, err)
	}
}

func tcp(port int) nodeapi.SecurityGroupRule {
	return nodeapi.SecurityGroupRule{ID: "tcp", Direction: "ingress", EtherType: "IPv4", Protocol: "tcp", PortMin: &port, PortMax: &port}
}

func ping4() nodeapi.SecurityGroupRule {
	return nodeapi.SecurityGroupRule{ID: "icmp", Direction: "ingress", EtherType: "IPv4", Protocol: "icmp"}
}

// router joins a tenant to the public network at 203.0.113.10.
func (c *cloud) router(id string, tenant *nodeapi.Network, gatewayIP, externalIP string) *nodeapi.Router {
	r := &nodeapi.Router{ID: id, AdminUp: true,
		Interfaces: []nodeapi.ServicePort{{PortID: id[:8] + "-1100-4000-8000-000000000000", NetworkID: tenant.ID, MAC: "fa:16:3e:11:" + id[:2] + ":01", Addresses: []string{gatewayIP + "/24"}}},
		Gateway: &nodeapi.Gateway{ServicePort: nodeapi.ServicePort{PortID: id[:8] + "-2200-4000-8000-000000000000", NetworkID: public, MAC: "fa:16:3e:22:" + id[:2] + ":01",
			Addresses: []string{externalIP + "/24"}}, EnableSNAT: true, NextHops: []string{nettest.OutsideAddress}}}
	c.state.Routers[id] = r
	cp := *c.state.Networks[tenant.ID]
	cp.Subnets = append([]nodeapi.Subnet{}, cp.Subnets...)
	cp.Subnets[0].RouterIP = gatewayIP
	c.state.Networks[tenant.ID] = &cp
	return r
}

// wait is for what must arrive, on a machine with much else to do; never is for what must not.
const (
	wait  = 30 * time.Second
	never = 700 * time.Millisecond
)

// peer is the source that an echo server outside saw: it sends the remote address back first.
func whoami(t testing.TB, lab *nettest.Lab, ns *netns.NS, addr string) {
	must(t, ns.Do(func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				_, _ = c.Write([]byte(host))
				c.Close()
			}
		}()
		return nil
	}))
}

func seenAs(ns *netns.NS, to string) string {
	c, err := nettest.Dial(ns, "tcp", "", to, wait)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	buf := make([]byte, 64)
	n, _ := c.Read(buf)
	return string(buf[:n])
}

func TestMainPath(t *testing.T) {
	c := newCloud(t, nil)
	c.public()
	net1 := c.tenant(tenantA, 100, "10.0.0")
	c.group("web", tcp(80), ping4())
	p1 := c.port(uid("1111", "01"), net1, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), net1, "10.0.0.12", "fa:16:3e:00:00:12", "web")
	r := c.router(uid("cccc", "01"), net1, "10.0.0.1", "203.0.113.10")
	r.FloatingIPs = []nodeapi.FloatingIP{{ID: "f1", Floating: "203.0.113.20", Fixed: "10.0.0.11", PortID: p1.ID}}
	res := c.apply()
	if len(res.Ports) != 0 || len(res.Routers) != 1 || !res.Routers[0].Active {
		t.Fatalf("result %+v", res)
	}
	g1, g2 := c.guest(p1), c.guest(p2)
	g1.Address("10.0.0.11/24", "10.0.0.1")
	g2.Address("10.0.0.12/24", "10.0.0.1")
	whoami(t, c.lab, c.lab.Outside, nettest.OutsideAddress+":7")
	c.lab.Listen(g1.NS, "tcp", ":80")
	c.lab.Listen(g1.NS, "tcp", ":81")
	check := func(what string, want bool, got bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	check("guest pings its router", true, nettest.Ping(g1.NS, "10.0.0.1", wait))
	check("guest pings outside", true, nettest.Ping(g2.NS, nettest.OutsideAddress, wait))
	if s := seenAs(g1.NS, nettest.OutsideAddress+":7"); s != "203.0.113.20" {
		t.Errorf("guest with a floating IP is seen as %s", s)
	}
	if s := seenAs(g2.NS, nettest.OutsideAddress+":7"); s != "203.0.113.10" {
		t.Errorf("guest without is seen as %s", s)
	}
	check("floating IP answers ping", true, nettest.Ping(c.lab.Outside, "203.0.113.20", wait))
	check("port 80 by floating IP", true, nettest.Reach(c.lab.Outside, "tcp", "", "203.0.113.20:80", wait))
	check("port 81 by floating IP", false, nettest.Reach(c.lab.Outside, "tcp", "", "203.0.113.20:81", never))
	check("hairpin from the neighbour", true, nettest.Reach(g2.NS, "tcp", "", "203.0.113.20:80", wait))
	check("hairpin from itself", true, nettest.Reach(g1.NS, "tcp", "", "203.0.113.20:80", wait))
	check("neighbour on the network", true, nettest.Reach(g2.NS, "tcp", "", "10.0.0.11:80", wait))
	check("neighbour, closed port", false, nettest.Reach(g2.NS, "tcp", "", "10.0.0.11:81", never))

	// A second Apply changes nothing, a Resync neither.
	c.driver.Resync()
	if res := c.apply(); len(res.Ports) != 2 || !res.Ports[0].Active || !res.Ports[1].Active {
		t.Errorf("result of a resync %+v", res)
	}
	check("after a resync", true, nettest.Reach(c.lab.Outside, "tcp", "", "203.0.113.20:80", wait))

	must(t, c.node.NS.Do(func() error { return Purge(context.Background(), c.driver.o) }))
}
