package network

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
)

// ipString is netaddr's text of an address: IPv6 in the compact form.
func ipString(a netip.Addr) string { return a.String() }

// parseIP reads an address as netaddr does for neutron: four decimal groups (leading zeros are looked at by the validator) or IPv6.
func parseIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, err
	}
	if a.Zone() != "" {
		return a, fmt.Errorf("an address with a zone")
	}
	return a, nil
}

// parseNetwork reads a CIDR; without a prefix length it is a single address; a netmask counts as its length.
func parseNetwork(s string) (netip.Prefix, error) {
	ip, bits, ok := strings.Cut(s, "/")
	a, err := parseIP(ip)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !ok {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := strconv.Atoi(bits)
	if err != nil {
		n, err = maskBits(bits)
	}
	if err != nil || n < 0 || n > a.BitLen() {
		return netip.Prefix{}, fmt.Errorf("not a prefix length: %s", bits)
	}
	return netip.PrefixFrom(a, n), nil
}

func maskBits(s string) (int, error) {
	m, err := netip.ParseAddr(s)
	if err != nil || !m.Is4() {
		return 0, fmt.Errorf("not a netmask: %s", s)
	}
	b := m.As4()
	v := binary.BigEndian.Uint32(b[:])
	n := 0
	for ; n < 32 && v&(1<<31) != 0; n++ {
		v <<= 1
	}
	if v != 0 {
		return 0, fmt.Errorf("not a netmask: %s", s)
	}
	return n, nil
}

// ipKey sorts as text like the address sorts as a number.
func ipKey(a netip.Addr) string { return hex.EncodeToString(a.AsSlice()) }

func keyIP(k string) netip.Addr {
	b, err := hex.DecodeString(k)
	if err != nil {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// lastIP is a network's highest address.
func lastIP(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ipRange is an allocation pool.
type ipRange struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

func (r ipRange) contains(a netip.Addr) bool {
	return a.BitLen() == r.Start.BitLen() && a.Compare(r.Start) >= 0 && a.Compare(r.End) <= 0
}

func (r ipRange) overlaps(o ipRange) bool {
	return r.Start.Compare(o.End) <= 0 && o.Start.Compare(r.End) <= 0
}

// String is netaddr's text of a range.
func (r ipRange) String() string { return ipString(r.Start) + "-" + ipString(r.End) }

// size is how many addresses the range holds.
func (r ipRange) size() *big.Int {
	n := new(big.Int).Sub(new(big.Int).SetBytes(r.End.AsSlice()), new(big.Int).SetBytes(r.Start.AsSlice()))
	return n.Add(n, big.NewInt(1))
}

// usable is the part of a network that pools may cover: not the network and broadcast address (neutron/db/ipam_backend_mixin.py).
func usable(p netip.Prefix) ipRange {
	first, last := p.Masked().Addr(), lastIP(p)
	if p.Addr().Is4() {
		if p.Bits() <= 30 {
			first, last = first.Next(), last.Prev()
		}
	} else if p.Bits() < 128 {
		first = first.Next()
	}
	return ipRange{first, last}
}

// generatePools is everything but the gateway.
func generatePools(p netip.Prefix, gateway string) []ipRange {
	all := usable(p)
	if p.Addr().Is6() && p.Bits() >= 127 {
		all.Start = p.Masked().Addr()
	}
	gw, err := parseIP(gateway)
	if err != nil || !all.contains(gw) {
		return []ipRange{all}
	}
	var pools []ipRange
	if gw.Compare(all.Start) > 0 {
		pools = append(pools, ipRange{all.Start, gw.Prev()})
	}
	if gw.Compare(all.End) < 0 {
		pools = append(pools, ipRange{gw.Next(), all.End})
	}
	return pools
}

// eui64 is the SLAAC address of a MAC in a network.
func eui64(p netip.Prefix, mac string) netip.Addr {
	raw, err := hex.DecodeString(strings.ReplaceAll(mac, ":", ""))
	if err != nil || len(raw) != 6 {
		return netip.Addr{}
	}
	b := p.Masked().Addr().As16()
	b[8], b[9], b[10], b[11], b[12] = raw[0]^2, raw[1], raw[2], 0xff, 0xfe
	b[13], b[14], b[15] = raw[3], raw[4], raw[5]
	return netip.AddrFrom16(b)
}
