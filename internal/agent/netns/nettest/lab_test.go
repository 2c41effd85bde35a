package nettest

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestLab proves the harness itself: a guest behind a tap on a bridge with phys0 reaches the outside.
func TestLab(t *testing.T) {
	lab := New(t)
	node := lab.Node("a")
	must(t, node.NS.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br"
		br := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		attrs.Name = "tap0"
		tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP}
		if err := netlink.LinkAdd(tap); err != nil {
			return err
		}
		for _, name := range []string{"br", "tap0", "phys0"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if name != "br" {
				if err := netlink.LinkSetMaster(l, br); err != nil {
					return err
				}
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
		}
		return nil
	}))
	g := node.Guest("tap0", "fa:16:3e:00:00:01")
	g.Address("203.0.113.50/24", "")
	if !Ping(g.NS, OutsideAddress, 30*time.Second) {
		t.Error("the guest does not reach the outside")
	}
	lab.Listen(lab.Outside, "tcp", OutsideAddress+":80")
	if !Reach(g.NS, "tcp", "", OutsideAddress+":80", 30*time.Second) {
		t.Error("no TCP to the outside")
	}
	cmd := node.Command("ls", "/sys/class/net", "/run/netns")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	buf := make([]byte, 1000)
	n, _ := out.Read(buf)
	_ = cmd.Wait()
	if s := string(buf[:n]); s != "/run/netns:\n\n/sys/class/net:\nbr\nlo\nphys0\ntap0\ntun0\n" {
		t.Errorf("inside the node: %q", s)
	}
	if Ping(node.NS, "192.0.2.1", time.Second) {
		t.Error("the node has a way out")
	}
}
