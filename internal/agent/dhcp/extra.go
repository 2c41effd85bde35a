package dhcp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// How an option's value is written on the wire.
type encoding int

const (
	asText encoding = iota
	asAddresses
	asUint8
	asUint16
	asUint32
	asNames
	asRoutes
)

// extraOption encodes an extra_dhcp_opts entry. Names are dnsmasq's (its dhcp-common.c, "dnsmasq --help
// dhcp"); a number is an option without known encoding: an address list when it looks like one, else text.
func extraOption(name, value string) (code uint8, out []byte, ok bool) {
	name = strings.ToLower(strings.TrimPrefix(name, "option:"))
	value, _, _ = strings.Cut(value, "\n")
	enc := asText
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		code = uint8(n)
		enc = encodingOf(code, value)
	} else if code, enc, ok = namedOption(name); !ok {
		return 0, nil, false
	}
	if code == 0 || code == 255 || code == 53 || code == 54 || code == 51 {
		return 0, nil, false // pad, end and what makes the lease are not a port's business
	}
	out, ok = encode(enc, value)
	return code, out, ok && len(out) < 256
}

func namedOption(name string) (uint8, encoding, bool) {
	for _, o := range []struct {
		name string
		code uint8
		enc  encoding
	}{
		{"netmask", 1, asAddresses}, {"time-offset", 2, asUint32}, {"router", 3, asAddresses}, {"dns-server", 6, asAddresses},
		{"log-server", 7, asAddresses}, {"lpr-server", 9, asAddresses}, {"hostname", 12, asText}, {"boot-file-size", 13, asUint16},
		{"domain-name", 15, asText}, {"swap-server", 16, asAddresses}, {"root-path", 17, asText}, {"extension-path", 18, asText},
		{"ip-forward-enable", 19, asUint8}, {"non-local-source-routing", 20, asUint8}, {"max-datagram-reassembly", 22, asUint16},
		{"default-ttl", 23, asUint8}, {"mtu", 26, asUint16}, {"all-subnets-local", 27, asUint8}, {"broadcast", 28, asAddresses},
		{"router-discovery", 31, asUint8}, {"router-solicitation", 32, asAddresses}, {"static-route", 33, asAddresses},
		{"arp-timeout", 35, asUint32}, {"ethernet-encap", 36, asUint8}, {"tcp-ttl", 37, asUint8}, {"tcp-keepalive", 38, asUint32},
		{"nis-domain", 40, asText}, {"nis-server", 41, asAddresses}, {"ntp-server", 42, asAddresses}, {"netbios-ns", 44, asAddresses},
		{"netbios-dd", 45, asAddresses}, {"netbios-nodetype", 46, asUint8}, {"netbios-scope", 47, asText}, {"x-windows-fs", 48, asAddresses},
		{"x-windows-dm", 49, asAddresses}, {"t1", 58, asUint32}, {"t2", 59, asUint32}, {"vendor-class", 60, asText},
		{"nis+-domain", 64, asText}, {"nis+-server", 65, asAddresses}, {"tftp-server", 66, asText}, {"bootfile-name", 67, asText},
		{"mobile-ip-home", 68, asAddresses}, {"smtp-server", 69, asAddresses}, {"pop3-server", 70, asAddresses}, {"nntp-server", 71, asAddresses},
		{"irc-server", 74, asAddresses}, {"user-class", 77, asText}, {"domain-search", 119, asNames}, {"classless-static-route", 121, asRoutes},
		{"tftp-server-address", 150, asAddresses},
	} {
		if o.name == name {
			return o.code, o.enc, true
		}
	}
	return 0, 0, false
}

// encodingOf is the encoding of a numbered option: a named one's, else by its looks.
func encodingOf(code uint8, value string) encoding {
	switch code {
	case 249:
		return asRoutes
	case 66, 67, 12, 15, 17:
		return asText
	case 26:
		return asUint16
	case 119:
		return asNames
	case 121:
		return asRoutes
	}
	if _, ok := encode(asAddresses, value); ok {
		return asAddresses
	}
	return asText
}

func encode(enc encoding, value string) ([]byte, bool) {
	switch enc {
	case asAddresses:
		var out []byte
		for _, s := range strings.Split(value, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(s))
			if err != nil || !a.Is4() {
				return nil, false
			}
			out = append(out, a.AsSlice()...)
		}
		return out, true
	case asUint8, asUint16, asUint32:
		size := map[encoding]int{asUint8: 1, asUint16: 2, asUint32: 4}[enc]
		n, err := strconv.ParseUint(value, 0, size*8)
		if err != nil {
			return nil, false
		}
		return binary.BigEndian.AppendUint32(nil, uint32(n))[4-size:], true
	case asNames:
		labels := &rfc1035label.Labels{Labels: strings.Split(value, ",")}
		return labels.ToBytes(), true
	case asRoutes:
		return encodeRoutes(value)
	}
	return []byte(value), true
}

// encodeRoutes reads "dest/len,gateway,dest/len,gateway".
func encodeRoutes(value string) ([]byte, bool) {
	parts := strings.Split(value, ",")
	if len(parts)%2 != 0 {
		return nil, false
	}
	var out []byte
	for i := 0; i < len(parts); i += 2 {
		dst, err := netip.ParsePrefix(strings.TrimSpace(parts[i]))
		via, err2 := netip.ParseAddr(strings.TrimSpace(parts[i+1]))
		if err != nil || err2 != nil || !dst.Addr().Is4() || !via.Is4() {
			return nil, false
		}
		out = append(out, byte(dst.Bits()))
		out = append(out, dst.Masked().Addr().AsSlice()[:(dst.Bits()+7)/8]...)
		out = append(out, via.AsSlice()...)
	}
	return out, true
}

// applyBoot copies boot options to the BOOTP fields, where boot firmware looks first.
func applyBoot(r *dhcpv4.DHCPv4, code uint8, value string) {
	switch code {
	case 67:
		if len(value) < 128 {
			r.BootFileName = value
		}
	case 66, 150:
		first, _, _ := strings.Cut(value, ",")
		if a, err := netip.ParseAddr(strings.TrimSpace(first)); err == nil && a.Is4() {
			r.ServerIPAddr = a.AsSlice()
		}
	}
}
