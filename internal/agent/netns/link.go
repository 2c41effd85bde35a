package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Veth describes a pair: one end in this namespace, the peer in another.
type Veth struct {
	Name string
	Peer string
	In   *NS              // where the peer lives
	MAC  net.HardwareAddr // of the peer; nil: the kernel's choice
	MTU  int
}

// Link finds a link; nil without error when there is none.
func (ns *NS) Link(name string) (netlink.Link, error) {
	nl, err := ns.Netlink()
	if err != nil {
		return nil, err
	}
	l, err := nl.LinkByName(name)
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up link %s: %w", name, err)
	}
	return l, nil
}

// NotFound tells whether an error says that a link is not there.
func NotFound(err error) bool {
	var nf netlink.LinkNotFoundError
	return errors.As(err, &nf) || errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrNotExist)
}

// RemoveLink deletes a link if it is there.
func (ns *NS) RemoveLink(name string) error {
	l, err := ns.Link(name)
	if err != nil || l == nil {
		return err
	}
	nl, err := ns.Netlink()
	if err != nil {
		return err
	}
	if err := nl.LinkDel(l); err != nil && !NotFound(err) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// EnsureVeth makes the pair unless both ends are there with the right MAC, sets the MTU and brings the
// peer up; the near end is left down until its owner has put it where it belongs. fresh tells whether the
// pair is new.
func (ns *NS) EnsureVeth(v Veth) (near netlink.Link, fresh bool, err error) {
	if near, err = ns.Link(v.Name); err != nil {
		return nil, false, err
	}
	peer, err := v.In.Link(v.Peer)
	if err != nil {
		return nil, false, err
	}
	nl, err := ns.Netlink()
	if err != nil {
		return nil, false, err
	}
	if !pairOf(near, peer) {
		if err := ns.RemoveLink(v.Name); err != nil {
			return nil, false, err
		}
		if err := v.In.RemoveLink(v.Peer); err != nil {
			return nil, false, err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = v.Name, v.MTU
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: v.Peer, PeerHardwareAddr: v.MAC, PeerNamespace: netlink.NsFd(v.In.Fd())}
		if err := nl.LinkAdd(pair); err != nil {
			return nil, false, fmt.Errorf("make veth pair %s and %s: %w", v.Name, v.Peer, err)
		}
		if near, err = ns.Link(v.Name); err != nil {
			return nil, false, err
		}
		if peer, err = v.In.Link(v.Peer); err != nil {
			return nil, false, err
		}
		if near == nil || peer == nil {
			return nil, false, fmt.Errorf("veth pair %s and %s vanished while it was made", v.Name, v.Peer)
		}
		fresh = true
	}
	return near, fresh, ns.settleVeth(v, near, peer)
}

func pairOf(near, peer netlink.Link) bool {
	if near == nil || peer == nil {
		return false
	}
	_, a := near.(*netlink.Veth)
	_, b := peer.(*netlink.Veth)
	return a && b && near.Attrs().ParentIndex == peer.Attrs().Index && peer.Attrs().ParentIndex == near.Attrs().Index
}

func (ns *NS) settleVeth(v Veth, near, peer netlink.Link) error {
	nl, err := ns.Netlink()
	if err != nil {
		return err
	}
	pnl, err := v.In.Netlink()
	if err != nil {
		return err
	}
	if v.MTU > 0 && near.Attrs().MTU != v.MTU {
		if err := nl.LinkSetMTU(near, v.MTU); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", v.MTU, v.Name, err)
		}
	}
	if v.MTU > 0 && peer.Attrs().MTU != v.MTU {
		if err := pnl.LinkSetMTU(peer, v.MTU); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", v.MTU, v.Peer, err)
		}
	}
	if v.MAC != nil && peer.Attrs().HardwareAddr.String() != v.MAC.String() {
		if err := pnl.LinkSetHardwareAddr(peer, v.MAC); err != nil {
			return fmt.Errorf("set MAC %s of %s: %w", v.MAC, v.Peer, err)
		}
	}
	if peer.Attrs().Flags&net.FlagUp == 0 {
		if err := pnl.LinkSetUp(peer); err != nil {
			return fmt.Errorf("bring up %s: %w", v.Peer, err)
		}
	}
	return nil
}

// SetAddresses makes a link's addresses exactly the given ones, kernel-made IPv6 link-local addresses
// aside, and returns those it added.
func (ns *NS) SetAddresses(link string, want []netip.Prefix) (added []netip.Prefix, err error) {
	nl, err := ns.Netlink()
	if err != nil {
		return nil, err
	}
	l, err := nl.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("look up link %s: %w", link, err)
	}
	have, err := nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", link, err)
	}
	missing := map[netip.Prefix]bool{}
	for _, p := range want {
		missing[p] = true
	}
	for i := range have {
		p, ok := Prefix(have[i].IPNet)
		if !ok {
			continue
		}
		if missing[p] {
			delete(missing, p)
			continue
		}
		if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if err := nl.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, fmt.Errorf("remove address %s from %s: %w", p, link, err)
		}
	}
	for _, p := range want {
		if !missing[p] {
			continue
		}
		a := &netlink.Addr{IPNet: IPNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // the control plane hands out addresses; a tentative one would drop packets
		}
		if err := nl.AddrReplace(l, a); err != nil {
			return nil, fmt.Errorf("add address %s to %s: %w", p, link, err)
		}
		added = append(added, p)
	}
	return added, nil
}

// Prefix converts.
func Prefix(n *net.IPNet) (netip.Prefix, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a.Unmap(), ones), true
}

// IPNet converts, keeping the host part.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
