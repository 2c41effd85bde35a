package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// An interface in a bridge cannot use its own addresses, so they move to the bridge, as upstream's Linux
// bridge agent does (update_interface_ip_details). A journal of the move is written first: removing an
// address also removes the routes through it, and a crash in between must not cut the node off for good.

type moved struct {
	Addresses []netip.Prefix `json:"addresses"`
	Routes    []movedRoute   `json:"routes"`
}

type movedRoute struct {
	Destination netip.Prefix `json:"destination"`
	Gateway     netip.Addr   `json:"gateway"`
	Metric      int          `json:"metric,omitempty"`
	Scope       uint8        `json:"scope,omitempty"`
}

func (m *Manager) journal(physical string) string {
	return filepath.Join(m.o.StateDir, "moved-"+physical+".json")
}

// enslavePhysical puts the interface into the bridge and moves its addresses and routes there.
func (m *Manager) enslavePhysical(physical string, br netlink.Link) error {
	l, err := m.nl.LinkByName(physical)
	if err != nil {
		return fmt.Errorf("look up %s: %w", physical, err)
	}
	if l.Attrs().MasterIndex != 0 && l.Attrs().MasterIndex != br.Attrs().Index {
		return fmt.Errorf("interface %s is already in another bridge or bond: a flat network needs it alone", physical)
	}
	if err := m.up(l); err != nil {
		return err
	}
	if err := m.finishMove(m.journal(physical), br); err != nil {
		return err
	}
	state, err := m.addressing(l)
	if err != nil {
		return err
	}
	if len(state.Addresses) > 0 && m.o.StateDir != "" {
		if err := writeJournal(m.journal(physical), state); err != nil {
			return err
		}
	}
	if err := m.join(l, br); err != nil {
		return err
	}
	if err := m.move(state, l, br); err != nil {
		return fmt.Errorf("move addresses of %s to %s: %w", physical, br.Attrs().Name, err)
	}
	return m.removeJournal(physical)
}

// releasePhysical takes an interface out of the bridge and gives it the bridge's addresses.
func (m *Manager) releasePhysical(l, br netlink.Link) error {
	state, err := m.addressing(br)
	if err != nil {
		return err
	}
	j := m.journal(l.Attrs().Name)
	if len(state.Addresses) > 0 && m.o.StateDir != "" {
		if err := writeJournal(j, state); err != nil {
			return err
		}
	}
	if err := m.nl.LinkSetNoMaster(l); err != nil {
		return fmt.Errorf("take %s out of %s: %w", l.Attrs().Name, br.Attrs().Name, err)
	}
	if err := m.move(state, br, l); err != nil {
		return fmt.Errorf("move addresses of %s back to %s: %w", br.Attrs().Name, l.Attrs().Name, err)
	}
	return m.removeJournal(l.Attrs().Name)
}

// finishMove completes a move that was interrupted: what the journal names is put on the target.
func (m *Manager) finishMove(journal string, to netlink.Link) error {
	if m.o.StateDir == "" {
		return nil
	}
	b, err := os.ReadFile(journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s moved
	if err := json.Unmarshal(b, &s); err != nil {
		m.o.Logger.Warn("ignoring a broken journal of moved addresses", "file", journal, "error", err)
		return nil
	}
	return m.put(s, to)
}

// addressing reads a link's addresses and the routes through it that an administrator or DHCP client made.
func (m *Manager) addressing(l netlink.Link) (moved, error) {
	var s moved
	addrs, err := m.nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return s, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	for _, a := range addrs {
		if p, ok := netns.Prefix(a.IPNet); ok && !p.Addr().IsLinkLocalUnicast() || ok && p.Addr().Is4() {
			s.Addresses = append(s.Addresses, p)
		}
	}
	if len(s.Addresses) == 0 {
		return s, nil
	}
	routes, err := m.nl.RouteList(l, netlink.FAMILY_ALL)
	if err != nil {
		return s, fmt.Errorf("list routes of %s: %w", l.Attrs().Name, err)
	}
	for _, r := range routes {
		if r.Protocol == unix.RTPROT_KERNEL || r.Table != 0 && r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		out := movedRoute{Metric: r.Priority, Scope: uint8(r.Scope)}
		if gw, ok := netip.AddrFromSlice(r.Gw); ok {
			out.Gateway = gw.Unmap()
		}
		switch {
		case r.Dst != nil:
			out.Destination, _ = netns.Prefix(r.Dst)
		case out.Gateway.Is6():
			out.Destination = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		default:
			out.Destination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		s.Routes = append(s.Routes, out)
	}
	return s, nil
}

// move puts addresses and routes on the target first and takes the addresses from the source then.
func (m *Manager) move(s moved, from, to netlink.Link) error {
	for _, p := range s.Addresses {
		if err := m.nl.AddrReplace(to, &netlink.Addr{IPNet: netns.IPNet(p)}); err != nil {
			return fmt.Errorf("add %s: %w", p, err)
		}
	}
	for _, p := range s.Addresses {
		if err := m.nl.AddrDel(from, &netlink.Addr{IPNet: netns.IPNet(p)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove %s: %w", p, err)
		}
	}
	return m.put(s, to)
}

func (m *Manager) put(s moved, to netlink.Link) error {
	for _, p := range s.Addresses {
		if err := m.nl.AddrReplace(to, &netlink.Addr{IPNet: netns.IPNet(p)}); err != nil {
			return fmt.Errorf("add %s: %w", p, err)
		}
	}
	for _, r := range s.Routes {
		route := &netlink.Route{LinkIndex: to.Attrs().Index, Dst: netns.IPNet(r.Destination), Priority: r.Metric, Scope: netlink.Scope(r.Scope)}
		if r.Gateway.IsValid() {
			route.Gw = r.Gateway.AsSlice()
		}
		if err := m.nl.RouteReplace(route); err != nil {
			return fmt.Errorf("route %s via %s: %w", r.Destination, r.Gateway, err)
		}
	}
	return nil
}

func writeJournal(path string, s moved) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (m *Manager) removeJournal(physical string) error {
	if m.o.StateDir == "" {
		return nil
	}
	if err := os.Remove(m.journal(physical)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RestorePhysical completes moves that were interrupted while an interface was given back: what the journals
// name is put on the interfaces.
func (m *Manager) RestorePhysical() error {
	var errs []error
	for _, physical := range m.o.PhysicalInterfaceMappings {
		l, err := m.ns.Link(physical)
		if err != nil || l == nil || l.Attrs().MasterIndex != 0 {
			errs = append(errs, err)
			continue
		}
		if err := m.finishMove(m.journal(physical), l); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, m.removeJournal(physical))
	}
	return errors.Join(errs...)
}
