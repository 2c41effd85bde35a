package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Options are the node's settings for layer 2.
type Options struct {
	PhysicalInterfaceMappings map[string]string
	EnableVXLAN               bool
	LocalIP                   string
	L2Population              bool
	VXLANPort                 int
	TapUser, TapGroup         int
	StateDir                  string
	Logger                    *slog.Logger
}

// Manager makes and removes bridges, uplinks and taps in one network namespace.
type Manager struct {
	ns   *netns.NS
	nl   *netlink.Handle
	o    Options
	fwdb map[string]map[forward]bool // by VXLAN device: what is installed
}

// New makes a manager for the namespace.
func New(ns *netns.NS, o Options) (*Manager, error) {
	nl, err := ns.Netlink()
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.VXLANPort == 0 {
		o.VXLANPort = 4789
	}
	return &Manager{ns: ns, nl: nl, o: o, fwdb: map[string]map[forward]bool{}}, nil
}

// SetupError says that the node is not set up for what a network needs: trying again does not help.
type SetupError struct{ Message string }

func (e *SetupError) Error() string { return e.Message }

func setupError(format string, args ...any) error {
	return &SetupError{fmt.Sprintf(format, args...)}
}

// Segment is a network's layer 2 on this node.
type Segment struct {
	Bridge string
	MAC    net.HardwareAddr // of the bridge itself
	Uplink string           // physical, VLAN or VXLAN device; empty for local networks
	// Open: the node's own addresses may be on this bridge (a flat or VLAN provider network). Tenants'
	// bridges are closed to the node.
	Open bool
}

// EnsureNetwork makes the network's bridge and uplink. full compares forwarding entries with the kernel,
// otherwise only those that changed since the last call are touched.
func (m *Manager) EnsureNetwork(n *nodeapi.Network, full bool) (Segment, error) {
	seg := Segment{Bridge: Name(n.ID), MAC: MAC(n.ID)}
	var physical string
	switch n.Type {
	case nodeapi.NetworkFlat, nodeapi.NetworkVLAN:
		seg.Open = true
		var ok bool
		if physical, ok = m.o.PhysicalInterfaceMappings[n.PhysicalNetwork]; !ok {
			return seg, setupError("network %s: no interface of this node leads to physical network %q: add it to physical_interface_mappings", n.ID, n.PhysicalNetwork)
		}
	case nodeapi.NetworkVXLAN:
		if !m.o.EnableVXLAN || m.o.LocalIP == "" {
			return seg, setupError("network %s: VXLAN is off on this node: set enable_vxlan and local_ip", n.ID)
		}
	case nodeapi.NetworkLocal:
	default:
		return seg, setupError("network %s: network type %q is not known here", n.ID, n.Type)
	}
	if physical != "" {
		l, err := m.ns.Link(physical)
		if err != nil {
			return seg, err
		}
		if l == nil {
			return seg, setupError("network %s: interface %s of physical network %q does not exist on this node", n.ID, physical, n.PhysicalNetwork)
		}
		if n.Type == nodeapi.NetworkFlat {
			seg.MAC = l.Attrs().HardwareAddr // so that the node keeps its place in its neighbours' ARP tables
		}
	}
	br, err := m.ensureBridge(seg, n.MTU)
	if err != nil {
		return seg, fmt.Errorf("network %s: %w", n.ID, err)
	}
	switch n.Type {
	case nodeapi.NetworkFlat:
		seg.Uplink = physical
		err = m.enslavePhysical(physical, br)
	case nodeapi.NetworkVLAN:
		seg.Uplink = VLANName(physical, n.SegmentationID)
		err = m.ensureVLAN(physical, n.SegmentationID, br)
	case nodeapi.NetworkVXLAN:
		seg.Uplink = VXLANName(n.SegmentationID)
		if err = m.ensureVXLAN(n, br); err == nil {
			err = m.ensureForwarding(n, br, full)
		}
	}
	if err != nil {
		return seg, fmt.Errorf("network %s: %w", n.ID, err)
	}
	return seg, nil
}

func (m *Manager) ensureBridge(seg Segment, mtu int) (netlink.Link, error) {
	l, err := m.ns.Link(seg.Bridge)
	if err != nil {
		return nil, err
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = seg.Bridge, seg.MAC
		if mtu > 0 {
			attrs.MTU = mtu
		}
		if err := m.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return nil, fmt.Errorf("make bridge %s: %w", seg.Bridge, err)
		}
		if l, err = m.nl.LinkByName(seg.Bridge); err != nil {
			return nil, fmt.Errorf("look up new bridge %s: %w", seg.Bridge, err)
		}
	}
	if _, ok := l.(*netlink.Bridge); !ok {
		return nil, fmt.Errorf("%s exists and is a %s, not a bridge: remove it", seg.Bridge, l.Type())
	}
	if l.Attrs().HardwareAddr.String() != seg.MAC.String() {
		if err := m.nl.LinkSetHardwareAddr(l, seg.MAC); err != nil {
			return nil, fmt.Errorf("set MAC %s of bridge %s: %w", seg.MAC, seg.Bridge, err)
		}
	}
	if mtu > 0 && l.Attrs().MTU != mtu {
		if err := m.nl.LinkSetMTU(l, mtu); err != nil {
			return nil, fmt.Errorf("set MTU %d of bridge %s: %w", mtu, seg.Bridge, err)
		}
	}
	if !seg.Open {
		// No address of the node on a tenant's network, not even a link-local one.
		if err := m.ns.Sysctl("ipv6/conf/"+seg.Bridge+"/disable_ipv6", "1"); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
	}
	return l, m.up(l)
}

func (m *Manager) up(l netlink.Link) error {
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := m.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring up %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// join puts a link into a bridge.
func (m *Manager) join(l, br netlink.Link) error {
	if l.Attrs().MasterIndex == br.Attrs().Index {
		return nil
	}
	if err := m.nl.LinkSetMaster(l, br); err != nil {
		return fmt.Errorf("put %s into bridge %s: %w", l.Attrs().Name, br.Attrs().Name, err)
	}
	return nil
}

func (m *Manager) ensureVLAN(physical string, vid int, br netlink.Link) error {
	name := VLANName(physical, vid)
	l, err := m.ns.Link(name)
	if err != nil {
		return err
	}
	if l == nil {
		parent, err := m.nl.LinkByName(physical)
		if err != nil {
			return fmt.Errorf("look up %s: %w", physical, err)
		}
		if err := m.up(parent); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = name, parent.Attrs().Index
		err = m.nl.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: vid, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
		if errors.Is(err, unix.EOPNOTSUPP) {
			return setupError("VLAN %d on %s: this node's kernel has no 802.1Q (CONFIG_VLAN_8021Q): use flat or VXLAN networks, or another kernel", vid, physical)
		}
		if err != nil {
			return fmt.Errorf("make VLAN device %s: %w", name, err)
		}
		if l, err = m.nl.LinkByName(name); err != nil {
			return fmt.Errorf("look up new VLAN device %s: %w", name, err)
		}
	}
	if err := m.join(l, br); err != nil {
		return err
	}
	return m.up(l)
}

// RemoveNetwork takes a network's bridge and uplink away and gives a physical interface its addresses back.
func (m *Manager) RemoveNetwork(bridge string) error {
	br, err := m.ns.Link(bridge)
	if err != nil || br == nil {
		return err
	}
	links, err := m.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex != br.Attrs().Index {
			continue
		}
		switch name := l.Attrs().Name; {
		case IsVXLAN(name):
			delete(m.fwdb, name)
			err = m.ns.RemoveLink(name)
		case IsTap(name): // its port's owner removes it
			err = m.nl.LinkSetNoMaster(l)
		case l.Type() == "vlan" && m.isPhysicalVLAN(name):
			err = m.ns.RemoveLink(name)
		default:
			err = m.releasePhysical(l, br)
		}
		if err != nil {
			return fmt.Errorf("empty bridge %s: %w", bridge, err)
		}
	}
	return m.ns.RemoveLink(bridge)
}

func (m *Manager) isPhysicalVLAN(name string) bool {
	for _, p := range m.o.PhysicalInterfaceMappings {
		if len(name) > len(p)+1 && name[:len(p)+1] == p+"." {
			return true
		}
	}
	return false
}

// EnsureTap makes a guest's tap device, owned by the user QEMU runs as, with the MTU of its network. It is not
// in a bridge yet.
func (m *Manager) EnsureTap(name string, mtu int) error {
	l, err := m.ns.Link(name)
	if err != nil {
		return err
	}
	if l != nil {
		if tun, ok := l.(*netlink.Tuntap); !ok || int(tun.Owner) != m.o.TapUser {
			if err := m.ns.RemoveLink(name); err != nil {
				return err
			}
			l = nil
		}
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
			Owner: uint32(m.o.TapUser), Group: uint32(m.o.TapGroup)}
		// The device belongs to the namespace of the thread that opens /dev/net/tun.
		if err := m.ns.Do(func() error { return netlink.LinkAdd(tap) }); err != nil {
			return fmt.Errorf("make tap device %s: %w", name, err)
		}
		if err := m.ns.Sysctl("ipv6/conf/"+name+"/disable_ipv6", "1"); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if l, err = m.nl.LinkByName(name); err != nil {
			return fmt.Errorf("look up new tap device %s: %w", name, err)
		}
	}
	if mtu > 0 && l.Attrs().MTU != mtu {
		if err := m.nl.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", mtu, name, err)
		}
	}
	return nil
}

// Join puts a tap or veth into a network's bridge and sets it up or down.
func (m *Manager) Join(name, bridge string, up bool) error {
	l, err := m.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("look up %s: %w", name, err)
	}
	br, err := m.nl.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("look up bridge %s: %w", bridge, err)
	}
	if err := m.join(l, br); err != nil {
		return err
	}
	if up {
		return m.up(l)
	}
	if err := m.nl.LinkSetDown(l); err != nil {
		return fmt.Errorf("bring down %s: %w", name, err)
	}
	return nil
}

// Sweep removes bridges, VXLAN devices, taps and veths of ours that keep does not name.
func (m *Manager) Sweep(keep func(name string) bool) error {
	links, err := m.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		if IsTap(name) && !keep(name) {
			errs = append(errs, m.ns.RemoveLink(name))
		}
	}
	for _, l := range links {
		name := l.Attrs().Name
		switch {
		case keep(name):
		case IsBridge(name) && l.Type() == "bridge":
			errs = append(errs, m.RemoveNetwork(name))
		case IsVXLAN(name) && l.Type() == "vxlan":
			delete(m.fwdb, name)
			errs = append(errs, m.ns.RemoveLink(name))
		}
	}
	return errors.Join(errs...)
}

func addr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}
