package nettest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// Guest is a namespace with one interface, eth0, whose frames go through a node's tap device: the test
// holds the tap's file as QEMU would.
type Guest struct {
	lab *Lab
	NS  *netns.NS
	MAC net.HardwareAddr

	tap  *os.File // on the node
	eth  *os.File // in the guest
	mu   sync.Mutex
	subs []*Capture
	done sync.WaitGroup
}

// Guest attaches a guest to a tap device that the node already has.
func (n *Node) Guest(tap, mac string) *Guest {
	t := n.lab.t
	t.Helper()
	g := &Guest{lab: n.lab, NS: n.lab.namespace(), MAC: MAC(mac)}
	must(t, n.NS.Do(func() (err error) {
		if _, err := netlink.LinkByName(tap); err != nil {
			return fmt.Errorf("the node has no tap %s yet: %w", tap, err)
		}
		g.tap, err = openTap(tap)
		return err
	}))
	must(t, g.NS.Do(func() (err error) {
		if g.eth, err = openTap("eth0"); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetHardwareAddr(l, g.MAC); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}))
	waitUp(t, n.NS, tap)
	g.done.Add(2)
	go g.pump(g.tap, g.eth, true)
	go g.pump(g.eth, g.tap, false)
	t.Cleanup(g.Detach)
	return g
}

// waitUp waits until a bridge would forward for the device: the kernel notices a carrier in its own time.
// A device that is administratively down never comes up and is not waited for.
func waitUp(t testing.TB, ns *netns.NS, device string) {
	nl, err := ns.Netlink()
	must(t, err)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		l, err := nl.LinkByName(device)
		must(t, err)
		if l.Attrs().OperState == netlink.OperUp || l.Attrs().Flags&net.FlagUp == 0 {
			return
		}
	}
	t.Fatalf("%s does not come up", device)
}

// Detach lets go of the tap, as a guest that is stopped does.
func (g *Guest) Detach() {
	g.tap.Close()
	g.eth.Close()
	g.done.Wait()
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], name)
	req.flags = unix.IFF_TAP | unix.IFF_NO_PI
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("attach to tap %s: %w", name, errno)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (g *Guest) pump(from, to *os.File, toGuest bool) {
	defer g.done.Done()
	buf := make([]byte, 65536)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if toGuest {
			g.publish(buf[:n])
		}
		// A frame for an interface that is down or full is lost, as on a wire.
		_, _ = to.Write(buf[:n])
	}
}

// Inject sends a frame to the node as it is: for spoofing.
func (g *Guest) Inject(frame []byte) {
	g.lab.t.Helper()
	_, err := g.tap.Write(frame)
	must(g.lab.t, err)
}

// Capture collects the frames that reach the guest from now on.
type Capture struct {
	mu     sync.Mutex
	frames [][]byte
	wake   chan struct{}
}

// Capture starts one.
func (g *Guest) Capture() *Capture {
	c := &Capture{wake: make(chan struct{}, 1)}
	g.mu.Lock()
	g.subs = append(g.subs, c)
	g.mu.Unlock()
	return c
}

func (g *Guest) publish(frame []byte) {
	g.mu.Lock()
	subs := g.subs
	g.mu.Unlock()
	for _, c := range subs {
		c.mu.Lock()
		c.frames = append(c.frames, bytes.Clone(frame))
		c.mu.Unlock()
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Wait returns the first captured frame that match accepts, or nil when none comes in time.
func (c *Capture) Wait(timeout time.Duration, match func([]byte) bool) []byte {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	next := 0
	for {
		c.mu.Lock()
		frames := c.frames
		c.mu.Unlock()
		for ; next < len(frames); next++ {
			if match(frames[next]) {
				return frames[next]
			}
		}
		select {
		case <-c.wake:
		case <-deadline.C:
			return nil
		}
	}
}

// Address gives eth0 an address and, when gateway is not empty, a default route.
func (g *Guest) Address(cidr, gateway string) {
	g.lab.t.Helper()
	must(g.lab.t, g.NS.Do(func() error {
		if err := AddAddress("eth0", cidr); err != nil {
			return err
		}
		if gateway == "" {
			return nil
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gateway), Dst: anyOf(gateway)})
	}))
}

func anyOf(gateway string) *net.IPNet {
	if netip.MustParseAddr(gateway).Is4() {
		return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

// MTU sets eth0's.
func (g *Guest) MTU(mtu int) {
	must(g.lab.t, g.NS.Do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(l, mtu)
	}))
}

// Listen opens a TCP or UDP echo server in a namespace; it ends with the test.
func (lab *Lab) Listen(ns *netns.NS, network, addr string) {
	lab.t.Helper()
	must(lab.t, ns.Do(func() error {
		if network == "udp" {
			c, err := net.ListenPacket("udp", addr)
			if err != nil {
				return err
			}
			lab.t.Cleanup(func() { c.Close() })
			go echoPackets(c)
			return nil
		}
		l, err := net.Listen(network, addr)
		if err != nil {
			return err
		}
		lab.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go echo(c)
			}
		}()
		return nil
	}))
}

func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func echoPackets(c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// Dial opens a connection from a namespace; local may be empty. Nothing is retried but what TCP retries.
func Dial(ns *netns.NS, network, local, to string, timeout time.Duration) (net.Conn, error) {
	var c net.Conn
	err := ns.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		d := net.Dialer{}
		if local != "" {
			if network == "udp" {
				a, err := net.ResolveUDPAddr(network, local)
				if err != nil {
					return err
				}
				d.LocalAddr = a
			} else {
				a, err := net.ResolveTCPAddr(network, local)
				if err != nil {
					return err
				}
				d.LocalAddr = a
			}
		}
		var err error
		c, err = d.DialContext(ctx, network, to)
		return err
	})
	return c, err
}

// Echo sends a word and tells whether it came back in time, after whatever earlier words come back late.
func Echo(c net.Conn, timeout time.Duration) bool {
	word := []byte(fmt.Sprintf("echo %d\n", time.Now().UnixNano()))
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.Write(word); err != nil {
		return false
	}
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, word) {
		n, err := c.Read(buf)
		if err != nil {
			return false
		}
		got = append(got, buf[:n]...)
	}
	return true
}

// Reach tells whether a connection from a namespace to an echo server works, both ways.
func Reach(ns *netns.NS, network, local, to string, timeout time.Duration) bool {
	c, err := Dial(ns, network, local, to, timeout)
	if err != nil {
		return false
	}
	defer c.Close()
	return Echo(c, timeout)
}
