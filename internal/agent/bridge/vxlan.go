package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func (m *Manager) ensureVXLAN(n *nodeapi.Network, br netlink.Link) error {
	name := VXLANName(n.SegmentationID)
	local, ok := addr(m.o.LocalIP)
	if !ok {
		return fmt.Errorf("local_ip %q is no address", m.o.LocalIP)
	}
	l, err := m.ns.Link(name)
	if err != nil {
		return err
	}
	// These cannot be changed on a device that is there.
	if l != nil && !m.sameVXLAN(l, n.SegmentationID, local) {
		if err := m.ns.RemoveLink(name); err != nil {
			return err
		}
		l = nil
	}
	if l == nil {
		delete(m.fwdb, name)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = name, n.MTU
		err := m.nl.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: n.SegmentationID, SrcAddr: local.AsSlice(),
			Port: m.o.VXLANPort, Learning: !m.o.L2Population, TTL: 64})
		if err != nil {
			return fmt.Errorf("make VXLAN device %s (local %s, port %d): %w", name, local, m.o.VXLANPort, err)
		}
		if l, err = m.nl.LinkByName(name); err != nil {
			return fmt.Errorf("look up new VXLAN device %s: %w", name, err)
		}
	}
	if n.MTU > 0 && l.Attrs().MTU != n.MTU {
		if err := m.nl.LinkSetMTU(l, n.MTU); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", n.MTU, name, err)
		}
	}
	if err := m.join(l, br); err != nil {
		return err
	}
	if m.o.L2Population {
		// The bridge answers ARP and neighbour solicitations itself from the entries below.
		if err := m.nl.LinkSetBrNeighSuppress(l, true); err != nil {
			return fmt.Errorf("suppress neighbour discovery on %s: %w", name, err)
		}
		if err := m.nl.LinkSetLearning(l, false); err != nil {
			return fmt.Errorf("turn learning off on %s: %w", name, err)
		}
	}
	return m.up(l)
}

func (m *Manager) sameVXLAN(l netlink.Link, vni int, local netip.Addr) bool {
	v, ok := l.(*netlink.Vxlan)
	if !ok {
		return false
	}
	src, _ := netip.AddrFromSlice(v.SrcAddr)
	return v.VxlanId == vni && src.Unmap() == local && v.Port == m.o.VXLANPort && v.Learning == !m.o.L2Population
}

// forward is one entry of the forwarding plane: a flood target (no MAC), a remote MAC, or a remote
// neighbour (IP set) that the bridge answers for.
type forward struct {
	mac  string
	ip   netip.Addr
	vtep netip.Addr
}

const floodMAC = "00:00:00:00:00:00"

// forwards computes the entries of a network.
func (m *Manager) forwards(n *nodeapi.Network) map[forward]bool {
	want := map[forward]bool{}
	local, _ := addr(m.o.LocalIP)
	for _, v := range n.VTEPs {
		if a, ok := addr(v); ok && a != local {
			want[forward{mac: floodMAC, vtep: a}] = true
		}
	}
	if !m.o.L2Population {
		return want
	}
	for _, h := range n.Hosts {
		vtep, ok := addr(h.VTEP)
		mac, err := net.ParseMAC(h.MAC)
		if !ok || vtep == local || err != nil {
			continue
		}
		want[forward{mac: mac.String(), vtep: vtep}] = true
		for _, f := range h.FixedIPs {
			if ip, ok := addr(f.IP); ok {
				want[forward{mac: mac.String(), ip: ip}] = true
			}
		}
	}
	return want
}

// ensureForwarding installs what is missing and removes what is too much.
func (m *Manager) ensureForwarding(n *nodeapi.Network, br netlink.Link, full bool) error {
	name := VXLANName(n.SegmentationID)
	vx, err := m.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("look up %s: %w", name, err)
	}
	have := m.fwdb[name]
	if have == nil || full {
		if have, err = m.readForwarding(vx, br); err != nil {
			return err
		}
		m.fwdb[name] = have
	}
	want := m.forwards(n)
	for f := range have {
		if !want[f] {
			if err := m.setForward(f, vx, br, false); err != nil {
				return err
			}
			delete(have, f)
		}
	}
	for f := range want {
		if !have[f] {
			if err := m.setForward(f, vx, br, true); err != nil {
				return err
			}
			have[f] = true
		}
	}
	return nil
}

func (m *Manager) setForward(f forward, vx, br netlink.Link, on bool) error {
	mac, _ := net.ParseMAC(f.mac)
	entries := []*netlink.Neigh{}
	add := m.nl.NeighSet
	switch {
	case f.ip.IsValid():
		family := unix.AF_INET
		if f.ip.Is6() {
			family = unix.AF_INET6
		}
		entries = append(entries, &netlink.Neigh{LinkIndex: br.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT, IP: f.ip.AsSlice(), HardwareAddr: mac})
	case f.mac == floodMAC:
		add = m.nl.NeighAppend
		entries = append(entries, fdb(vx, mac, f.vtep, netlink.NTF_SELF, netlink.NUD_PERMANENT))
	default:
		entries = append(entries,
			fdb(vx, mac, f.vtep, netlink.NTF_SELF, netlink.NUD_PERMANENT),
			fdb(vx, mac, netip.Addr{}, netlink.NTF_MASTER, netlink.NUD_NOARP))
	}
	for _, e := range entries {
		var err error
		if on {
			if err = add(e); errors.Is(err, unix.EEXIST) {
				err = nil
			}
		} else if err = m.nl.NeighDel(e); errors.Is(err, unix.ENOENT) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("forwarding entry %s %s via %s on %s: %w", f.mac, f.ip, f.vtep, vx.Attrs().Name, err)
		}
	}
	return nil
}

func fdb(vx netlink.Link, mac net.HardwareAddr, vtep netip.Addr, flags, state int) *netlink.Neigh {
	n := &netlink.Neigh{LinkIndex: vx.Attrs().Index, Family: unix.AF_BRIDGE, State: state, Flags: flags, HardwareAddr: mac}
	if vtep.IsValid() {
		n.IP = vtep.AsSlice()
	}
	return n
}

// readForwarding reads what the kernel has. A remote MAC counts only when both halves are there.
func (m *Manager) readForwarding(vx, br netlink.Link) (map[forward]bool, error) {
	have := map[forward]bool{}
	entries, err := m.nl.NeighList(vx.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries of %s: %w", vx.Attrs().Name, err)
	}
	master := map[string]bool{}
	for _, e := range entries {
		if e.LinkIndex == vx.Attrs().Index && e.Flags&netlink.NTF_SELF == 0 {
			master[e.HardwareAddr.String()] = true
		}
	}
	for _, e := range entries {
		mac := e.HardwareAddr.String()
		vtep, ok := netip.AddrFromSlice(e.IP)
		if e.LinkIndex != vx.Attrs().Index || e.Flags&netlink.NTF_SELF == 0 || !ok || e.State&netlink.NUD_PERMANENT == 0 {
			continue
		}
		if mac == floodMAC || master[mac] {
			have[forward{mac: mac, vtep: vtep.Unmap()}] = true
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		neigh, err := m.nl.NeighList(br.Attrs().Index, family)
		if err != nil {
			return nil, fmt.Errorf("list neighbours of %s: %w", br.Attrs().Name, err)
		}
		for _, e := range neigh {
			if ip, ok := netip.AddrFromSlice(e.IP); ok && e.State&netlink.NUD_PERMANENT != 0 {
				have[forward{mac: e.HardwareAddr.String(), ip: ip.Unmap()}] = true
			}
		}
	}
	return have, nil
}
