// Package nettest builds whole networks for tests out of network namespaces, with no way out to the
// machine's own network: an "outside" that holds 203.0.113.1/24, nodes with a physical interface on it
// and an underlay between them, and guests that speak through a node's real tap devices. Everything
// vanishes at the end of the test, and a check fails the test when something did not.
//
//	lab := nettest.New(t)                       // skips without root
//	node := lab.Node("a")                       // phys0 on the outside, tun0 = 172.31.99.1/24
//	err := node.NS.Do(func() error { … })       // make the driver in here: it keeps this namespace
//	guest := node.Guest("tapaaaaaaaa-bb", mac)  // owns the tap as QEMU would
//	guest.Address("10.0.0.5/24", "10.0.0.1")
//	lab.Outside.Do(…)                           // the world
//
// Namespaces that a node makes (qrouter-…) are to be named in node.Dir, a folder of the test's own, so
// that two nodes on one machine do not meet. For a program that knows only /run/netns, node.Command
// starts it inside the node with a private /run/netns and /sys.
package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// OutsideAddress is what the outside answers at.
const OutsideAddress = "203.0.113.1"

// Lab is one test's network.
type Lab struct {
	t testing.TB
	// Outside holds OutsideAddress/24 on the bridge "ext" that every node's phys0 leads to, and the underlay.
	Outside *netns.NS
	nodes   []*Node
}

// Node is a machine of the lab.
type Node struct {
	lab  *Lab
	Name string
	NS   *netns.NS
	// Dir is where this node's namespaces are to be named.
	Dir netns.Dir
	// Physical is the interface to the outside; it has no address.
	Physical string
	// TunnelIP is the node's address on the underlay, the interface tun0.
	TunnelIP netip.Addr
}

// New makes a lab; without root the test is skipped.
func New(t testing.TB) *Lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	leakCheck(t)
	lab := &Lab{t: t}
	lab.Outside = lab.namespace()
	must(t, lab.Outside.Do(func() error {
		for _, b := range []string{"ext", "underlay"} {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = b
			br := &netlink.Bridge{LinkAttrs: attrs}
			if err := netlink.LinkAdd(br); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(br); err != nil {
				return err
			}
		}
		return AddAddress("ext", OutsideAddress+"/24")
	}))
	return lab
}

func (lab *Lab) namespace() *netns.NS {
	ns, err := netns.Anonymous()
	must(lab.t, err)
	lab.t.Cleanup(ns.Close)
	// Duplicate address detection would make fresh addresses unusable for a second.
	must(lab.t, ns.Sysctl("ipv6/conf/all/accept_dad", "0"))
	must(lab.t, ns.Sysctl("ipv6/conf/default/accept_dad", "0"))
	return ns
}

// Node adds a machine.
func (lab *Lab) Node(name string) *Node {
	lab.t.Helper()
	n := &Node{lab: lab, Name: name, NS: lab.namespace(), Physical: "phys0",
		TunnelIP: netip.AddrFrom4([4]byte{172, 31, 99, byte(len(lab.nodes) + 1)})}
	n.Dir = netns.Dir(filepath.Join(lab.t.TempDir(), "netns"))
	lab.t.Cleanup(n.removeNames)
	lab.nodes = append(lab.nodes, n)
	for _, l := range []struct{ near, peer, bridge string }{
		{"x-" + name, n.Physical, "ext"}, {"u-" + name, "tun0", "underlay"},
	} {
		near, _, err := lab.Outside.EnsureVeth(netns.Veth{Name: l.near, Peer: l.peer, In: n.NS})
		must(lab.t, err)
		nl, err := lab.Outside.Netlink()
		must(lab.t, err)
		br, err := nl.LinkByName(l.bridge)
		must(lab.t, err)
		must(lab.t, nl.LinkSetMaster(near, br))
		must(lab.t, nl.LinkSetUp(near))
	}
	must(lab.t, n.NS.Do(func() error { return AddAddress("tun0", n.TunnelIP.String()+"/24") }))
	return n
}

func (n *Node) removeNames() {
	names, _ := n.Dir.List()
	for _, name := range names {
		if err := n.Dir.Remove(name); err != nil {
			n.lab.t.Error(err)
		}
	}
	if err := unix.Unmount(string(n.Dir), unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		n.lab.t.Errorf("unmount %s: %v", n.Dir, err)
	}
}

// Namespace is a further empty namespace, for a host of the test's own.
func (lab *Lab) Namespace() *netns.NS { return lab.namespace() }

// Command prepares a program that runs inside the node with a /run/netns and /sys of its own. The caller
// starts it with Start.
func (n *Node) Command(name string, args ...string) *Cmd {
	const private = `mkdir -p /run/netns && mount -t tmpfs none /run/netns && mount -t sysfs none /sys && exec "$@"`
	c := exec.Command("sh", append([]string{"-c", private, "sh", name}, args...)...)
	c.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	return &Cmd{Cmd: c, ns: n.NS}
}

// Cmd is a program inside a namespace.
type Cmd struct {
	*exec.Cmd
	ns *netns.NS
}

// Start starts it there.
func (c *Cmd) Start() error { return c.ns.Do(c.Cmd.Start) }

// Run runs a program in a namespace and returns what it printed, for tools such as ping and nft.
func Run(ns *netns.NS, name string, args ...string) (string, error) {
	var out []byte
	err := ns.Do(func() error {
		var err error
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// AddAddress adds an address to a link of the current namespace and brings the link up.
func AddAddress(link, cidr string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: netns.IPNet(p)}); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// leakCheck compares the machine before and after the test: links and named namespaces of the test
// process's own network namespace, nft tables, mounts, and child processes. Of mounts only the test's own: other packages are tested at the same time.
func leakCheck(t testing.TB) {
	t.Helper()
	own := filepath.Dir(t.TempDir()) + string(filepath.Separator)
	before := machine(t, own)
	t.Cleanup(func() {
		for what, now := range machine(t, own) {
			for _, x := range now {
				if !contains(before[what], x) {
					t.Errorf("leak: %s %s", what, x)
				}
			}
		}
	})
}

func machine(t testing.TB, folder string) map[string][]string {
	t.Helper()
	m := map[string][]string{}
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		m["link"] = append(m["link"], l.Attrs().Name)
	}
	m["namespace"], err = netns.DefaultDir.List()
	must(t, err)
	own, err := netns.Current()
	must(t, err)
	defer own.Close()
	if out, err := Run(own, "nft", "list", "tables"); err == nil {
		m["nft"] = strings.Split(strings.TrimSpace(out), "\n")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], folder) {
			m["mount"] = append(m["mount"], f[4])
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, p := range tasks {
		kids, _ := os.ReadFile(p)
		m["process"] = append(m["process"], strings.Fields(string(kids))...)
	}
	return m
}

func contains(all []string, x string) bool {
	for _, a := range all {
		if a == x {
			return true
		}
	}
	return false
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		_, file, line, _ := runtime.Caller(1)
		t.Fatalf("%s:%d: %v", filepath.Base(file), line, err)
	}
}

// MAC parses or panics: for constants in tests.
func MAC(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}
