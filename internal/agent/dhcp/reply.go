package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Reply answers a client's message; nil is silence. The service is authoritative for the MACs it knows and
// does not exist for the others.
func (c *Config) Reply(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if m.OpCode != dhcpv4.OpcodeBootRequest || len(m.ClientHWAddr) != 6 || !m.GatewayIPAddr.IsUnspecified() {
		return nil // guests do not relay
	}
	host, ok := c.Hosts[m.ClientHWAddr.String()]
	if !ok {
		return nil
	}
	requested := addrOf(m.RequestedIPAddress())
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		lease, ok := host.lease(requested)
		if !ok {
			lease = host.Leases[0]
		}
		return c.grant(m, host, lease, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		return c.request(m, host, requested)
	case dhcpv4.MessageTypeInform:
		if lease, ok := host.lease(addrOf(m.ClientIPAddr)); ok {
			return c.grant(m, host, lease, dhcpv4.MessageTypeNone)
		}
	}
	return nil
}

// request covers the four states of RFC 2131, 4.3.2: selecting has a server identifier, the others have not;
// init-reboot names the address in an option, renewing and rebinding in ciaddr.
func (c *Config) request(m *dhcpv4.DHCPv4, host Host, requested netip.Addr) *dhcpv4.DHCPv4 {
	if id := addrOf(m.ServerIdentifier()); id.IsValid() && !c.isServer(id) {
		return nil // it took somebody else's offer
	}
	if !requested.IsValid() || requested.IsUnspecified() {
		requested = addrOf(m.ClientIPAddr)
	}
	if lease, ok := host.lease(requested); ok {
		return c.grant(m, host, lease, dhcpv4.MessageTypeAck)
	}
	nak, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(host.Leases[0].Subnet.Server.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptMessage("wrong address")))
	if err != nil {
		return nil
	}
	nak.SetBroadcast() // the client may not have an address that works
	return nak
}

func (h Host) lease(a netip.Addr) (Lease, bool) {
	for _, l := range h.Leases {
		if l.Addr == a {
			return l, true
		}
	}
	return Lease{}, false
}

func (c *Config) isServer(a netip.Addr) bool {
	for _, s := range c.Subnets {
		if s.Server == a {
			return true
		}
	}
	return false
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// grant makes an offer or acknowledgement; MessageTypeNone is the answer to an inform, without a lease.
func (c *Config) grant(m *dhcpv4.DHCPv4, host Host, lease Lease, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	r, err := dhcpv4.NewReplyFromRequest(m)
	if err != nil {
		return nil
	}
	s := lease.Subnet
	r.ServerIPAddr = s.Server.AsSlice()
	r.UpdateOption(dhcpv4.OptServerIdentifier(s.Server.AsSlice()))
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(s.Prefix.Bits(), 32)))
	if kind == dhcpv4.MessageTypeNone {
		r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
		r.ClientIPAddr = m.ClientIPAddr
	} else {
		r.UpdateOption(dhcpv4.OptMessageType(kind))
		r.YourIPAddr = lease.Addr.AsSlice()
		r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(c.Lease))
		r.UpdateOption(seconds(dhcpv4.OptionRenewTimeValue, c.Lease/2))
		r.UpdateOption(seconds(dhcpv4.OptionRebindingTimeValue, c.Lease*7/8))
	}
	c.addOptions(r, m, host, s)
	return r
}

// addOptions adds what the client asked for, or all when it asked for nothing; the MTU is sent unasked, as
// upstream forces it.
func (c *Config) addOptions(r, m *dhcpv4.DHCPv4, host Host, s *Subnet) {
	asked := m.ParameterRequestList()
	add := func(o dhcpv4.Option) {
		if len(asked) == 0 || asked.Has(o.Code) {
			r.UpdateOption(o)
		}
	}
	if c.MTU > 0 {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(c.MTU))))
	}
	if s.Gateway.IsValid() {
		add(dhcpv4.OptRouter(s.Gateway.AsSlice()))
	}
	if len(s.DNS) > 0 {
		var dns []net.IP
		for _, d := range s.DNS {
			dns = append(dns, d.AsSlice())
		}
		add(dhcpv4.OptDNS(dns...))
	}
	add(dhcpv4.OptBroadcastAddress(broadcast(s.Prefix)))
	if c.Domain != "" {
		add(dhcpv4.OptDomainName(c.Domain))
	}
	if host.Hostname != "" {
		add(dhcpv4.OptHostName(host.Hostname))
	}
	if len(s.Routes) > 0 {
		opt := dhcpv4.OptClasslessStaticRoute(s.Routes...)
		add(opt)
		// Windows Server 2003 and older ask for 249.
		add(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(249), opt.Value.ToBytes()))
	}
	for _, o := range host.Options {
		if o.Version == 6 {
			continue
		}
		if code, value, ok := extraOption(o.Name, o.Value); ok {
			// A port's own options are what its owner wants to be sent, asked for or not.
			r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value))
			applyBoot(r, code, o.Value)
		}
	}
}

func seconds(code dhcpv4.OptionCode, d time.Duration) dhcpv4.Option {
	return dhcpv4.OptGeneric(code, binary.BigEndian.AppendUint32(nil, uint32(d/time.Second)))
}

func broadcast(p netip.Prefix) net.IP {
	b := p.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | (1<<(32-p.Bits()) - 1)
	return net.IP(binary.BigEndian.AppendUint32(nil, n))
}
