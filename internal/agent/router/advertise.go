package router

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"reflect"
	"time"

	"golang.org/x/net/ipv6"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// Router advertisements, radvd's part upstream (neutron/agent/linux/ra.py), with its times.
const (
	advertiseEvery  = 30 * time.Second
	routerLifetime  = 300 // seconds
	prefixLifetime  = 86400
	preferredLife   = 14400
	initialInterval = 4 * time.Second // for the first three, so that guests that are already up learn soon
)

// advertiser is the announcer of one leg.
type advertiser struct {
	leg  Leg
	stop context.CancelFunc
}

// advertise starts, restarts and stops the announcers of a router's legs.
func (m *Manager) advertise(r *running, ns *netns.NS, c Config) {
	want := map[string]Leg{}
	for _, l := range c.Interfaces {
		if len(l.Advertise) > 0 {
			want[InterfaceName(l.PortID)] = l
		}
	}
	for device, a := range r.ads {
		if l, ok := want[device]; !ok || !reflect.DeepEqual(l, a.leg) {
			a.stop()
			delete(r.ads, device)
		}
	}
	for device, l := range want {
		if _, ok := r.ads[device]; ok {
			continue
		}
		conn, index, err := openRA(ns, device)
		if err != nil {
			m.log.Warn("no router advertisements", "router", c.ID, "device", device, "error", err)
			continue
		}
		ctx, stop := context.WithCancel(r.ctx)
		r.ads[device] = advertiser{leg: l, stop: stop}
		go runRA(ctx, conn, index, Advertise(l))
	}
}

// Advertise is the router advertisement of a leg (RFC 4861, RFC 8106).
func Advertise(l Leg) []byte {
	var flags byte
	for _, a := range l.Advertise {
		switch a.Mode {
		case "dhcpv6-stateful":
			flags |= 0x80 // addresses from DHCPv6
		case "dhcpv6-stateless":
			flags |= 0x40 // other configuration from DHCPv6
		}
	}
	b := []byte{134, 0, 0, 0, 64, flags}
	b = binary.BigEndian.AppendUint16(b, routerLifetime)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(append(b, 1, 1), l.MAC...)
	if l.MTU > 0 {
		b = append(b, 5, 1, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(l.MTU))
	}
	for _, a := range l.Advertise {
		bits := byte(0x80) // on link
		if a.Mode != "dhcpv6-stateful" {
			bits |= 0x40 // make an address of it
		}
		b = append(b, 3, 4, byte(a.Prefix.Bits()), bits)
		b = binary.BigEndian.AppendUint32(b, prefixLifetime)
		b = binary.BigEndian.AppendUint32(b, preferredLife)
		b = append(append(b, 0, 0, 0, 0), a.Prefix.Addr().AsSlice()...)
		if len(a.DNS) > 0 {
			b = append(b, 25, byte(1+2*len(a.DNS)), 0, 0)
			b = binary.BigEndian.AppendUint32(b, routerLifetime)
			for _, d := range a.DNS {
				b = append(b, d.AsSlice()...)
			}
		}
	}
	return b
}

func openRA(ns *netns.NS, device string) (*ipv6.PacketConn, int, error) {
	var conn *ipv6.PacketConn
	index := 0
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		index = ifi.Index
		c, err := net.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			return fmt.Errorf("open ICMPv6 socket: %w", err)
		}
		conn = ipv6.NewPacketConn(c)
		var f ipv6.ICMPFilter
		f.SetAll(true)
		f.Accept(ipv6.ICMPTypeRouterSolicitation)
		for _, err := range []error{
			conn.SetICMPFilter(&f), conn.SetMulticastHopLimit(255), conn.SetMulticastInterface(ifi),
			conn.JoinGroup(ifi, &net.UDPAddr{IP: net.ParseIP("ff02::2")}), conn.SetControlMessage(ipv6.FlagInterface, true),
			conn.SetMulticastLoopback(false),
		} {
			if err != nil {
				c.Close()
				return fmt.Errorf("prepare ICMPv6 socket: %w", err)
			}
		}
		return nil
	})
	return conn, index, err
}

// runRA sends at once, soon again, then now and then, and whenever a guest asks.
func runRA(ctx context.Context, conn *ipv6.PacketConn, index int, message []byte) {
	defer conn.Close()
	asked := make(chan struct{}, 1)
	go func() {
		buf := make([]byte, 1500)
		for {
			_, cm, _, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			if cm != nil && cm.IfIndex == index {
				select {
				case asked <- struct{}{}:
				default:
				}
			}
		}
	}()
	to := &net.IPAddr{IP: net.ParseIP("ff02::1")}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for sent := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		case <-timer.C:
			sent++
			next := advertiseEvery
			if sent < 3 {
				next = initialInterval
			}
			timer.Reset(next)
		}
		_, _ = conn.WriteTo(message, &ipv6.ControlMessage{IfIndex: index, HopLimit: 255}, to)
	}
}
