package network

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// A restarted driver takes over what is there: devices are not remade, connections go on.
func TestRestartKeepsConnections(t *testing.T) {
	dir := t.TempDir()
	set := func(o *Options) { o.StateDir, o.TapUser, o.TapGroup = dir, 65534, 65534 }
	c := newCloud(t, set)
	c.public()
	b := c.tenant(tenantB, 200, "10.1.0") // so that zones are not handed out in the order of names
	c.group("web", tcp(80))
	c.port(uid("2222", "01"), b, "10.1.0.11", "fa:16:3e:00:01:11", "web")
	c.apply()
	n := c.tenant(tenantA, 100, "10.0.0")
	p1 := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	p2 := c.port(uid("1111", "02"), n, "10.0.0.12", "fa:16:3e:00:00:12", "web")
	r := c.router(uid("cccc", "01"), n, "10.0.0.1", "203.0.113.10")
	r.FloatingIPs = []nodeapi.FloatingIP{{Floating: "203.0.113.20", Fixed: "10.0.0.11"}}
	c.apply()
	c.ensure(p1.ID)
	out, err := nettest.Run(c.node.NS, "ip", "-d", "link", "show", TapName(p1.ID))
	must(t, err)
	if !strings.Contains(out, "user nobody group nogroup") {
		t.Errorf("the tap is not QEMU's user's: %s", out)
	}
	before, err := c.node.NS.Link(TapName(p1.ID))
	must(t, err)
	g1, g2 := c.guest(p1), c.guest(p2)
	g1.Address("10.0.0.11/24", "10.0.0.1")
	g2.Address("10.0.0.12/24", "10.0.0.1")
	inner := serverSide(t, g1, g2)
	defer inner.Close()
	c.lab.Listen(g1.NS, "tcp", ":80")
	outer, err := nettest.Dial(c.lab.Outside, "tcp", "", "203.0.113.20:80", wait)
	must(t, err)
	defer outer.Close()
	must(t, c.driver.Close())
	if !nettest.Echo(inner, wait) || !nettest.Echo(outer, wait) {
		t.Error("connections do not go on without the agent")
	}
	c.start(set, dir)
	c.apply()
	if !nettest.Echo(inner, wait) || !nettest.Echo(outer, wait) {
		t.Error("connections do not outlive a restart of the agent")
	}
	after, err := c.node.NS.Link(TapName(p1.ID))
	must(t, err)
	if before.Attrs().Index != after.Attrs().Index {
		t.Error("the tap was remade")
	}
	if s := get(g2.NS, "GET", "http://169.254.169.254/latest/meta-data/hostname", ""); s != "vm-11110002" {
		t.Errorf("metadata after the restart: %s", s)
	}
	// Namespaces deleted by hand come back with their services.
	for _, name := range []string{"qrouter-" + r.ID, "qdhcp-" + tenantA} {
		must(t, c.node.Dir.Remove(name))
	}
	c.driver.Resync()
	c.apply()
	if s := get(g2.NS, "GET", "http://169.254.169.254/latest/meta-data/hostname", ""); s != "vm-11110002" {
		t.Errorf("metadata in a new namespace: %s", s)
	}
	if !nettest.Ping(g2.NS, "10.0.0.2", wait) || !nettest.Reach(c.lab.Outside, "tcp", "", "203.0.113.20:80", wait) {
		t.Error("DHCP service or router did not come back")
	}
}

// serverSide connects two guests and returns the server's end; the client's echoes. What the server says first
// passes only as part of the connection that the kernel has tracked: the client has no rule for it.
func serverSide(t *testing.T, server, client *nettest.Guest) net.Conn {
	var l net.Listener
	must(t, server.NS.Do(func() (err error) { l, err = net.Listen("tcp", "10.0.0.11:80"); return err }))
	defer l.Close()
	c, err := nettest.Dial(client.NS, "tcp", "", "10.0.0.11:80", wait)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	go io.Copy(c, c)
	s, err := l.Accept()
	must(t, err)
	return s
}

// childState is how the process that will be killed is told what to do.
type childState struct {
	StateDir, LocalIP, Physical string
	NetnsDir                    netns.Dir
	State                       State
}

const childVariable = "HANOK_TEST_NETWORK_CHILD"

// TestChild is the process that TestKilledAnywhere kills.
func TestChild(t *testing.T) {
	file := os.Getenv(childVariable)
	if file == "" {
		t.Skip("runs as a child of TestKilledAnywhere")
	}
	b, err := os.ReadFile(file)
	must(t, err)
	var c childState
	must(t, json.Unmarshal(b, &c))
	ns, err := netns.Current()
	must(t, err)
	defer ns.Close()
	o := Options{StateDir: c.StateDir, LocalIP: c.LocalIP, NetnsDir: c.NetnsDir, EnableVXLAN: true, L2Population: true,
		PhysicalInterfaceMappings: map[string]string{"physnet1": c.Physical}}
	for {
		// Each round is a life of its own: full, then empty, then full.
		var d *Driver
		must(t, ns.Do(func() (err error) { d, err = New(o); return err }))
		_, _ = d.Apply(context.Background(), c.State)
		for _, p := range c.State.Ports {
			_, _ = d.EnsurePort(context.Background(), p)
		}
		_, _ = d.Apply(context.Background(), State{})
		_, _ = d.Apply(context.Background(), c.State)
		_ = d.Close()
	}
}

// The agent may be killed at any instant: the next one finishes the work and leaves nothing.
func TestKilledAnywhere(t *testing.T) {
	dir := t.TempDir()
	set := func(o *Options) { o.StateDir = dir }
	c := newCloud(t, set)
	must(t, c.node.NS.Do(func() error { return nettest.AddAddress(c.node.Physical, "203.0.113.2/24") }))
	c.public()
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("web", tcp(80), ping4())
	p := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "web")
	r := c.router(uid("cccc", "01"), n, "10.0.0.1", "203.0.113.10")
	r.FloatingIPs = []nodeapi.FloatingIP{{Floating: "203.0.113.20", Fixed: "10.0.0.11"}}
	b, err := json.Marshal(childState{dir, c.node.TunnelIP.String(), c.node.Physical, c.node.Dir, c.state})
	must(t, err)
	file := dir + "/child.json"
	must(t, os.WriteFile(file, b, 0o600))
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 15 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestChild$")
		cmd.Env = append(os.Environ(), childVariable+"="+file)
		must(t, c.node.NS.Do(cmd.Start))
		<-time.After(time.Duration(60+rnd.IntN(500)) * time.Millisecond)
		must(t, cmd.Process.Kill())
		err := cmd.Wait()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
			t.Fatalf("the child ended by itself: %v", err)
		}
	}
	c.start(set, dir)
	c.apply()
	g := c.guest(p)
	g.Address("10.0.0.11/24", "10.0.0.1")
	if !nettest.Ping(c.lab.Outside, "203.0.113.20", wait) || !nettest.Ping(c.lab.Outside, "203.0.113.2", wait) {
		t.Error("after the kills the guest or the node is not reached")
	}
	c.state = State{}
	c.apply()
	nl, err := c.node.NS.Netlink()
	must(t, err)
	links, err := nl.LinkList()
	must(t, err)
	for _, l := range links {
		if name := l.Attrs().Name; name != "lo" && name != "tun0" && name != "phys0" {
			t.Errorf("left: link %s", name)
		}
	}
	if names, _ := c.node.Dir.List(); len(names) != 0 {
		t.Errorf("left: namespaces %v", names)
	}
	if !nettest.Ping(c.lab.Outside, "203.0.113.2", wait) {
		t.Error("the node has lost its address")
	}
}

// What cannot be made says why, on the ports that need it, and is tried again.
func TestFailures(t *testing.T) {
	c := newCloud(t, func(o *Options) { o.Logger = slog.New(slog.DiscardHandler) })
	c.group("any")
	bad := func(id string, edit func(*nodeapi.Network)) *nodeapi.Port {
		n := c.tenant(id, 100, "10.0.0")
		n.DHCPPort = nil
		edit(n)
		return c.port(id[:8]+"-9900-4000-8000-000000000000", n, "10.0.0.11", "fa:16:3e:00:00:11", "any")
	}
	vlan := bad(uid("1111", "01"), func(n *nodeapi.Network) {
		n.Type, n.PhysicalNetwork, n.SegmentationID = nodeapi.NetworkVLAN, "physnet1", 7
	})
	unknown := bad(uid("2222", "01"), func(n *nodeapi.Network) { n.Type, n.PhysicalNetwork = nodeapi.NetworkFlat, "physnet9" })
	kind := bad(uid("3333", "01"), func(n *nodeapi.Network) { n.Type = "geneve" })
	good := c.tenant(tenantA, 300, "10.0.0")
	fine := c.port(uid("4444", "01"), good, "10.0.0.11", "fa:16:3e:00:00:14", "any")
	ctx := context.Background()
	// Repeating does not help, so nothing asks for it and nobody else is held up.
	_, err := c.driver.Apply(ctx, c.state)
	must(t, err)
	for p, want := range map[*nodeapi.Port]string{
		vlan: "802.1Q", unknown: `no interface of this node leads to physical network "physnet9"`, kind: `"geneve"`, fine: "",
	} {
		_, err := c.driver.EnsurePort(ctx, p)
		if p == vlan && err == nil {
			continue // a kernel with VLANs
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("port %s: %v, want %q", p.ID, err, want)
		}
	}
	// Tried again without being told, and only what failed.
	cp := *c.state.Networks[kind.NetworkID]
	cp.Type, cp.SegmentationID = nodeapi.NetworkVXLAN, 400
	c.state.Networks[kind.NetworkID] = &cp
	res, err := c.driver.Apply(ctx, c.state)
	must(t, err)
	ids := map[string]bool{}
	for _, p := range res.Ports {
		ids[p.ID] = p.Active
	}
	if !ids[kind.ID] {
		t.Errorf("a network that was put right: %+v", res.Ports)
	}
	if _, again := ids[unknown.ID]; !again {
		t.Error("what failed is not tried again")
	}
}

// EnsurePort and RemovePort work on one port between Applies.
func TestEnsurePort(t *testing.T) {
	c := newCloud(t, nil)
	n := c.tenant(tenantA, 100, "10.0.0")
	c.group("any", ping4())
	ctx := context.Background()
	p := c.port(uid("1111", "01"), n, "10.0.0.11", "fa:16:3e:00:00:11", "any")
	if _, err := c.driver.EnsurePort(ctx, p); err == nil {
		t.Error("a port of an unknown network is wired")
	}
	delete(c.state.Ports, p.ID)
	c.apply()
	tap, err := c.driver.EnsurePort(ctx, p)
	must(t, err)
	g := c.node.Guest(tap, p.MAC)
	g.Address("10.0.0.11/24", "")
	if !nettest.Ping(g.NS, "10.0.0.2", wait) {
		t.Error("the port is not wired")
	}
	g.Detach()
	must(t, c.driver.RemovePort(ctx, p.ID))
	c.state.Ports[p.ID] = p
	c.apply() // the item may outlive the guest's device
	if l, _ := c.node.NS.Link(tap); l != nil {
		t.Error("the tap is left")
	}
	delete(c.state.Ports, p.ID)
	c.apply()
	if rules, err := nettest.Run(c.node.NS, "nft", "list", "ruleset"); err != nil || strings.Contains(rules, tap) {
		t.Errorf("rules are left: %v", err)
	}
}
