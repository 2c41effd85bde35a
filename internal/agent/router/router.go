package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent/bridge"
	"github.com/hanok-cloud/hanok/internal/agent/netns"
)

// Manager makes routers on one node.
type Manager struct {
	node *netns.NS
	dir  netns.Dir
	// join puts a leg's near end into a bridge and brings it up.
	join func(name, bridge string) error
	log  *slog.Logger
	have map[string]*running
}

// running is what this process knows of a router it has set up.
type running struct {
	cfg  Config
	stop context.CancelFunc // of its advertisers and announcements
	ctx  context.Context
	// ads stops the advertisers by device.
	ads map[string]advertiser
}

// New makes a manager.
func New(node *netns.NS, dir netns.Dir, join func(name, bridge string) error, log *slog.Logger) *Manager {
	return &Manager{node: node, dir: dir, join: join, log: log, have: map[string]*running{}}
}

// Apply makes a router be as its config says. Whatever can be done is done before an error is returned.
func (m *Manager) Apply(ctx context.Context, c Config) error {
	ns, err := m.dir.Ensure(Namespace(c.ID))
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := prepare(ns); err != nil {
		return fmt.Errorf("router %s: %w", c.ID, err)
	}
	r := m.have[c.ID]
	var old Config
	if r == nil {
		rctx, stop := context.WithCancel(context.Background())
		r = &running{stop: stop, ctx: rctx, ads: map[string]advertiser{}}
		m.have[c.ID] = r
	} else {
		old = r.cfg
	}
	var errs []error
	if err := removeLegs(ns, c); err != nil {
		errs = append(errs, err)
	}
	// Translation first: a packet that leaves untranslated shows a tenant's address outside.
	if err := ns.Nft(ctx, Ruleset(c)); err != nil {
		return errors.Join(append(errs, fmt.Errorf("router %s: %w", c.ID, err))...)
	}
	for _, l := range c.Interfaces {
		errs = append(errs, m.applyLeg(r, ns, l, InterfaceName(l.PortID), l.Addresses))
	}
	if g := c.Gateway; g != nil {
		addrs := slices.Clone(g.Addresses)
		for _, f := range c.floating() {
			if p := netip.PrefixFrom(f, f.BitLen()); !slices.Contains(addrs, p) {
				addrs = append(addrs, p)
			}
		}
		errs = append(errs, m.applyLeg(r, ns, g.Leg, GatewayName(g.PortID), addrs))
	}
	errs = append(errs, applyRoutes(ns, c))
	if err := forgetFlows(ns, old, c); err != nil {
		errs = append(errs, err)
	}
	m.advertise(r, ns, c)
	r.cfg = c
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("router %s: %w", c.ID, err)
	}
	return nil
}

// floating are the addresses that the external leg has besides its own.
func (c Config) floating() []netip.Addr {
	var out []netip.Addr
	for _, f := range c.FloatingIPs {
		out = append(out, f.Floating)
	}
	for _, f := range c.Forwardings {
		out = append(out, f.Floating)
	}
	return out
}

// Remove takes a router away with its legs.
func (m *Manager) Remove(id string) error {
	if r := m.have[id]; r != nil {
		r.stop()
		delete(m.have, id)
	}
	ns, err := m.dir.Open(Namespace(id))
	if err == nil {
		// Deleting a peer deletes the near end at once; a namespace's own end takes its time.
		err = removeLegs(ns, Config{})
		ns.Close()
		if err != nil {
			return fmt.Errorf("router %s: %w", id, err)
		}
	}
	return m.dir.Remove(Namespace(id))
}

// Sweep removes routers' namespaces that keep does not name.
func (m *Manager) Sweep(keep func(id string) bool) error {
	names, err := m.dir.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		if id, ok := strings.CutPrefix(n, "qrouter-"); ok && !keep(id) {
			errs = append(errs, m.Remove(id))
		}
	}
	return errors.Join(errs...)
}

// Close stops what runs in this process.
func (m *Manager) Close() {
	for _, r := range m.have {
		r.stop()
	}
}

func prepare(ns *netns.NS) error {
	for _, kv := range [][2]string{
		{"ipv4/ip_forward", "1"},
		{"ipv6/conf/all/forwarding", "1"},
		{"ipv4/conf/all/rp_filter", "1"},
		{"ipv4/conf/default/rp_filter", "1"},
		{"ipv4/conf/all/arp_ignore", "1"}, // a leg answers for its own addresses only
		{"ipv4/conf/all/arp_announce", "2"},
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/default/send_redirects", "0"},
		{"ipv6/conf/default/accept_ra", "0"},
		{"ipv6/conf/default/accept_dad", "0"},
	} {
		if err := ns.Sysctl(kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

// removeLegs deletes legs that the config does not have.
func removeLegs(ns *netns.NS, c Config) error {
	nl, err := ns.Netlink()
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, l := range c.Interfaces {
		want[InterfaceName(l.PortID)] = true
	}
	if c.Gateway != nil {
		want[GatewayName(c.Gateway.PortID)] = true
	}
	links, err := nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		if (strings.HasPrefix(name, "qr-") || strings.HasPrefix(name, "qg-")) && !want[name] {
			if err := ns.RemoveLink(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Manager) applyLeg(r *running, ns *netns.NS, l Leg, device string, addrs []netip.Prefix) error {
	near := bridge.TapName(l.PortID)
	if _, _, err := m.node.EnsureVeth(netns.Veth{Name: near, Peer: device, In: ns, MAC: l.MAC, MTU: l.MTU}); err != nil {
		return err
	}
	if err := m.join(near, l.Bridge); err != nil {
		return err
	}
	added, err := ns.SetAddresses(device, addrs)
	if len(added) > 0 {
		// Neighbours may still know an address at its former owner.
		announce(r.ctx, m.log, ns, device, l.MAC, added)
	}
	return err
}

// routeProtocol marks our routes in a router's namespace; connected ones are the kernel's.
const routeProtocol = unix.RTPROT_STATIC

// applyRoutes makes the default routes and extra routes exactly as wanted.
func applyRoutes(ns *netns.NS, c Config) error {
	nl, err := ns.Netlink()
	if err != nil {
		return err
	}
	have, err := nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	want, err := wantedRoutes(nl, c)
	if err != nil {
		return err
	}
	var errs []error
	for i := range have {
		if !slices.ContainsFunc(want, func(w netlink.Route) bool { return sameRoute(w, have[i]) }) {
			if err := nl.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("remove route %s: %w", have[i].Dst, err))
			}
		}
	}
	for i := range want {
		if !slices.ContainsFunc(have, func(h netlink.Route) bool { return sameRoute(want[i], h) }) {
			if err := nl.RouteReplace(&want[i]); err != nil {
				errs = append(errs, fmt.Errorf("add route to %s via %s: %w", want[i].Dst, want[i].Gw, err))
			}
		}
	}
	return errors.Join(errs...)
}

func wantedRoutes(nl *netlink.Handle, c Config) ([]netlink.Route, error) {
	var want []netlink.Route
	if g := c.Gateway; g != nil {
		l, err := nl.LinkByName(GatewayName(g.PortID))
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", GatewayName(g.PortID), err)
		}
		index := l.Attrs().Index
		seen := map[bool]bool{} // one default route per family
		for _, nh := range g.NextHops {
			if seen[nh.Is6()] {
				continue
			}
			seen[nh.Is6()] = true
			if !onLink(g.Addresses, nh) {
				want = append(want, netlink.Route{LinkIndex: index, Dst: netns.IPNet(netip.PrefixFrom(nh, nh.BitLen())), Scope: netlink.SCOPE_LINK, Protocol: routeProtocol})
			}
			any := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if nh.Is6() {
				any = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			want = append(want, netlink.Route{LinkIndex: index, Dst: netns.IPNet(any), Gw: nh.AsSlice(), Protocol: routeProtocol})
		}
	}
	for _, r := range c.Routes {
		route := netlink.Route{Dst: netns.IPNet(r.Destination), Gw: r.NextHop.AsSlice(), Protocol: routeProtocol}
		legs := []struct {
			name  string
			addrs []netip.Prefix
		}{}
		for _, l := range c.Interfaces {
			legs = append(legs, struct {
				name  string
				addrs []netip.Prefix
			}{InterfaceName(l.PortID), l.Addresses})
		}
		if c.Gateway != nil {
			legs = append(legs, struct {
				name  string
				addrs []netip.Prefix
			}{GatewayName(c.Gateway.PortID), c.Gateway.Addresses})
		}
		for _, leg := range legs {
			if onLink(leg.addrs, r.NextHop) {
				l, err := nl.LinkByName(leg.name)
				if err != nil {
					return nil, fmt.Errorf("look up %s: %w", leg.name, err)
				}
				route.LinkIndex = l.Attrs().Index
				break
			}
		}
		want = append(want, route)
	}
	return want, nil
}

func onLink(addrs []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

func sameRoute(a, b netlink.Route) bool {
	text := func(r netlink.Route) string {
		dst := "default"
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				dst = r.Dst.String()
			} else if r.Dst.IP.To4() == nil {
				dst = "default6"
			}
		} else if r.Gw.To4() == nil {
			dst = "default6"
		}
		return fmt.Sprint(dst, r.Gw, r.LinkIndex)
	}
	return text(a) == text(b)
}

// forgetFlows cuts the connections through floating IPs that went or moved, and through an own address that
// is no longer translated to; otherwise they would go on as they began.
func forgetFlows(ns *netns.NS, old, c Config) error {
	was := map[netip.Addr]netip.Addr{}
	for _, f := range old.FloatingIPs {
		was[f.Floating] = f.Fixed
	}
	for _, f := range c.FloatingIPs {
		if was[f.Floating] == f.Fixed {
			delete(was, f.Floating)
		}
	}
	if o := old.Gateway; o != nil && o.EnableSNAT {
		if own, ok := firstIPv4(o.Addresses); ok {
			now, still := netip.Addr{}, false
			if c.Gateway != nil && c.Gateway.EnableSNAT {
				now, still = firstIPv4(c.Gateway.Addresses)
			}
			if !still || now != own {
				was[own] = own
			}
		}
	}
	gone := slices.DeleteFunc(slices.Clone(old.Forwardings), func(f Forwarding) bool { return slices.Contains(c.Forwardings, f) })
	if len(was)+len(gone) == 0 {
		return nil
	}
	flows, err := ns.Flows()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range flows {
		_, in := was[f.Dst]
		_, out := was[f.ReplyDst]
		if in || out || slices.ContainsFunc(gone, func(g Forwarding) bool { return g.carries(f) }) {
			errs = append(errs, ns.DeleteFlow(f))
		}
	}
	return errors.Join(errs...)
}
