package nettest

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// Ping tells whether an address answers an echo request within the timeout. An echo is sent every 200 ms, so that a
// first one lost to address resolution does not decide.
func Ping(ns *netns.NS, to string, timeout time.Duration) bool {
	network, any, proto := "ip4:icmp", "0.0.0.0", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if netip.MustParseAddr(to).Is6() {
		network, any, proto = "ip6:ipv6-icmp", "::", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var c *icmp.PacketConn
	if err := ns.Do(func() (err error) { c, err = icmp.ListenPacket(network, any); return err }); err != nil {
		return false
	}
	defer c.Close()
	id := int(time.Now().UnixNano() & 0xffff)
	deadline := time.Now().Add(timeout)
	buf := make([]byte, 1500)
	for seq := 0; time.Now().Before(deadline); seq++ {
		m := icmp.Message{Type: request, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte("hello")}}
		b, err := m.Marshal(nil)
		if err != nil {
			return false
		}
		next := time.Now().Add(200 * time.Millisecond)
		if next.After(deadline) {
			next = deadline
		}
		// No route or no neighbour yet is a lost packet.
		_, _ = c.WriteTo(b, &net.IPAddr{IP: net.ParseIP(to)})
		_ = c.SetReadDeadline(next)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				break
			}
			r, err := icmp.ParseMessage(proto, buf[:n])
			if e, ok := bodyEcho(r, err); ok && r.Type == reply && e.ID == id && from.String() == to {
				return true
			}
		}
		if d := time.Until(next); d > 0 && d < 200*time.Millisecond {
			<-time.After(d)
		}
	}
	return false
}

func bodyEcho(m *icmp.Message, err error) (*icmp.Echo, bool) {
	if err != nil {
		return nil, false
	}
	e, ok := m.Body.(*icmp.Echo)
	return e, ok
}
