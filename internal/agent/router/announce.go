package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// announcements are sent this often, a second apart, as upstream's send_ip_addr_adv_notif does: one may be lost.
const announcements = 3

// announce tells the neighbours of a device's new addresses: gratuitous ARP, unsolicited neighbour
// advertisements. The first is sent before it returns, the others go on by themselves.
func announce(ctx context.Context, log *slog.Logger, ns *netns.NS, device string, mac net.HardwareAddr, added []netip.Prefix) {
	var frames [][]byte
	for _, p := range added {
		if p.Addr().Is4() {
			frames = append(frames, gratuitousARP(mac, p.Addr()))
		} else {
			frames = append(frames, unsolicitedNA(mac, p.Addr()))
		}
	}
	fd, err := packetSocket(ns, device)
	if err != nil {
		log.Warn("addresses are not announced", "device", device, "error", err)
		return
	}
	send := func() {
		for _, f := range frames {
			// A device that went meanwhile has nothing to announce.
			_ = unix.Send(fd, f, 0)
		}
	}
	send()
	go func() {
		defer unix.Close(fd)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for range announcements - 1 {
			select {
			case <-tick.C:
				send()
			case <-ctx.Done():
				return
			}
		}
	}()
}

// packetSocket opens a raw socket on a device.
func packetSocket(ns *netns.NS, device string) (int, error) {
	fd := -1
	err := ns.Do(func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open raw socket: %w", err)
		}
		if err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
			return errors.Join(fmt.Errorf("bind raw socket to %s: %w", device, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

func gratuitousARP(mac net.HardwareAddr, a netip.Addr) []byte {
	f := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	f = append(f, mac...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP request, Ethernet, IPv4
	f = append(f, mac...)
	f = append(f, a.AsSlice()...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, a.AsSlice()...)
}

// unsolicitedNA is a neighbour advertisement to all nodes with the override flag.
func unsolicitedNA(mac net.HardwareAddr, a netip.Addr) []byte {
	all := netip.MustParseAddr("ff02::1")
	body := []byte{136, 0, 0, 0, 0xa0, 0, 0, 0} // router and override
	body = append(body, a.AsSlice()...)
	body = append(body, 2, 1)
	body = append(body, mac...)
	binary.BigEndian.PutUint16(body[2:], checksum6(a, all, 58, body))
	f := []byte{0x33, 0x33, 0, 0, 0, 1}
	f = append(f, mac...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), 58, 255)
	f = append(f, a.AsSlice()...)
	f = append(f, all.AsSlice()...)
	return append(f, body...)
}

// checksum6 is the transport checksum over an IPv6 pseudo-header.
func checksum6(src, dst netip.Addr, proto byte, body []byte) uint16 {
	b := append(src.AsSlice(), dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, 0, 0, 0, proto)
	b = append(b, body...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
