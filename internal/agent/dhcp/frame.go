package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// parseFrame takes the DHCP message out of an Ethernet frame to UDP port 67 and tells who sent it.
func parseFrame(f []byte) (m *dhcpv4.DHCPv4, from net.HardwareAddr, ok bool) {
	if len(f) < 14+20+8 || binary.BigEndian.Uint16(f[12:]) != 0x0800 {
		return nil, nil, false
	}
	ip := f[14:]
	head := int(ip[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 // more fragments, or not the first
	if ip[0]>>4 != 4 || head < 20 || ip[9] != 17 || fragment || total > len(ip) || total < head+8 {
		return nil, nil, false
	}
	udp := ip[head:total]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != 67 || size < 8 || size > len(udp) {
		return nil, nil, false
	}
	m, err := dhcpv4.FromBytes(udp[8:size])
	if err != nil {
		return nil, nil, false
	}
	return m, net.HardwareAddr(f[6:12]), true
}

// buildFrame wraps a reply. It goes to the client's MAC even before the client has an address and could
// answer ARP; that is why the service writes frames and not datagrams (RFC 2131, 4.1).
func buildFrame(r *dhcpv4.DHCPv4, mac net.HardwareAddr, server netip.Addr) []byte {
	dstMAC, dst := r.ClientHWAddr, r.YourIPAddr
	switch {
	case r.MessageType() == dhcpv4.MessageTypeNak || r.IsBroadcast() && r.ClientIPAddr.IsUnspecified():
		dstMAC, dst = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, net.IPv4bcast
	case !r.ClientIPAddr.IsUnspecified():
		dst = r.ClientIPAddr
	}
	payload := r.ToBytes()
	f := append(append([]byte{}, dstMAC...), mac...)
	f = append(f, 0x08, 0x00)
	ip := []byte{0x45, 0x10}
	ip = binary.BigEndian.AppendUint16(ip, uint16(20+8+len(payload)))
	ip = append(ip, 0, 0, 0, 0, 64, 17, 0, 0)
	ip = append(ip, server.AsSlice()...)
	ip = append(ip, dst.To4()...)
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip, 0))
	udp := []byte{0, 67, 0, 68}
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, payload...)
	pseudo := append(append([]byte{}, ip[12:20]...), 0, 17, udp[4], udp[5])
	c := ^sum(udp, uint32(sum(pseudo, 0)))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], c)
	return append(append(f, ip...), udp...)
}

func sum(b []byte, s uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
