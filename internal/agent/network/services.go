package network

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/agent/bridge"
	"github.com/hanok-cloud/hanok/internal/agent/dhcp"
	"github.com/hanok-cloud/hanok/internal/agent/guard"
	"github.com/hanok-cloud/hanok/internal/agent/metadata"
	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/router"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

const metadataAddress = "169.254.169.254"

// service is a network's DHCP, DNS and metadata service in its own namespace.
type service struct {
	device string
	addrs  []netip.Prefix
	mac    string
	dhcp   *dhcp.Server
	dns    *dhcp.Resolver
	http   *proxy // holds the namespace that all of them listen in
}

func (s *service) close() {
	if s.dhcp != nil {
		s.dhcp.Close()
	}
	if s.dns != nil {
		s.dns.Close()
	}
	if s.http != nil {
		s.http.close()
	}
}

// proxy is a metadata server in somebody's namespace.
type proxy struct {
	server *http.Server
	ns     *netns.NS // to notice that the name has become another namespace's
}

func (p *proxy) close() {
	_ = p.server.Close()
	p.ns.Close()
}

// in tells whether the server listens in the namespace that now has the name.
func (p *proxy) in(ns *netns.NS) bool { return p != nil && p.ns.Same(ns) }

func (d *Driver) serveMetadata(ns *netns.NS, at string, find func(netip.Addr) (metadata.Instance, bool)) (*proxy, error) {
	var l net.Listener
	var own *netns.NS
	err := ns.Do(func() (err error) {
		if own, err = netns.Current(); err != nil {
			return err
		}
		if l, err = net.Listen("tcp4", at); err != nil {
			own.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for metadata requests at %s: %w", at, err)
	}
	p := &proxy{ns: own, server: metadata.NewServer(&metadata.Handler{Find: find, Passwords: d.passwords, Random: d.o.Random})}
	go func() {
		if err := p.server.Serve(guard.Listener(l)); !errors.Is(err, http.ErrServerClosed) {
			d.o.Logger.Error("metadata stops answering", "at", at, "error", err)
		}
	}()
	return p, nil
}

func (d *Driver) ensureProxy(id string) error {
	ns, err := d.o.NetnsDir.Open(router.Namespace(id))
	if err != nil {
		return err
	}
	defer ns.Close()
	if old := d.proxies[id]; old != nil {
		if old.in(ns) {
			return nil
		}
		old.close()
		delete(d.proxies, id)
	}
	p, err := d.serveMetadata(ns, fmt.Sprintf("0.0.0.0:%d", router.MetadataPort), func(a netip.Addr) (metadata.Instance, bool) {
		return d.instanceBehind(id, a)
	})
	if err != nil {
		return fmt.Errorf("router %s: %w", id, err)
	}
	d.proxies[id] = p
	return nil
}

// applyServices brings the DHCP services of changed networks up to date. A failure is logged and tried again by the
// next Apply; it is no failure of a port.
func (d *Driver) applyServices(c changes, want State, netErrs map[string]error, full bool) {
	ids := slices.Clone(c.networks.set)
	for id := range c.services {
		if want.Networks[id] != nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if netErrs[id] != nil {
			continue
		}
		if err := d.applyService(want.Networks[id], want, full); err != nil {
			d.o.Logger.Error("a network's DHCP service is not as it should be", "network", id, "error", err)
			d.note(nodeapi.KindNetwork, id, err)
		}
	}
}

func (d *Driver) applyService(n *nodeapi.Network, want State, full bool) error {
	cfg, ok, err := dhcp.NewConfig(n, dhcp.Options{Lease: d.o.LeaseTime, Domain: d.o.DNSDomain, RouterIsHere: routersHere(want)})
	if err != nil {
		return err
	}
	if !ok {
		return d.removeService(n.ID)
	}
	device := dhcp.DeviceName(n.DHCPPort.PortID)
	s := d.services[n.ID]
	addrs, err := serviceAddresses(n)
	if err != nil {
		return err
	}
	if s != nil && s.device == device && s.mac == n.DHCPPort.MAC && slices.Equal(s.addrs, addrs) && !full {
		s.dhcp.Update(cfg)
		s.dns.Update(cfg.Names)
		return d.setServiceMTU(n, device)
	}
	ns, err := d.o.NetnsDir.Ensure(dhcp.Namespace(n.ID))
	if err != nil {
		return err
	}
	defer ns.Close()
	fresh, err := d.wireService(ns, n, device, addrs)
	if err != nil {
		return err
	}
	if s != nil {
		if !fresh && s.device == device && s.mac == n.DHCPPort.MAC && slices.Equal(s.addrs, addrs) && s.http.in(ns) {
			s.dhcp.Update(cfg)
			s.dns.Update(cfg.Names)
			return nil
		}
		s.close()
		delete(d.services, n.ID)
	}
	s = &service{device: device, addrs: addrs, mac: n.DHCPPort.MAC}
	if s.dhcp, err = dhcp.Listen(ns, device, cfg, d.o.Logger); err != nil {
		return err
	}
	var own []netip.Addr
	for _, a := range addrs {
		if a.Addr().String() != metadataAddress {
			own = append(own, a.Addr())
		}
	}
	if s.dns, err = dhcp.ListenDNS(ns, d.node, own, cfg.Names, d.o.Resolvers, d.o.Logger); err != nil {
		s.close()
		return err
	}
	id := n.ID
	s.http, err = d.serveMetadata(ns, metadataAddress+":80", func(a netip.Addr) (metadata.Instance, bool) { return d.instanceOn(id, a) })
	if err != nil {
		s.close()
		return err
	}
	d.services[n.ID] = s
	return nil
}

func serviceAddresses(n *nodeapi.Network) ([]netip.Prefix, error) {
	addrs := []netip.Prefix{netip.MustParsePrefix(metadataAddress + "/32")}
	for _, a := range n.DHCPPort.Addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			return nil, fmt.Errorf("network %s: DHCP port: %w", n.ID, err)
		}
		addrs = append(addrs, p)
	}
	return addrs, nil
}

// wireService makes the service's leg on the network; fresh tells whether its device is a new one.
func (d *Driver) wireService(ns *netns.NS, n *nodeapi.Network, device string, addrs []netip.Prefix) (fresh bool, err error) {
	for _, kv := range [][2]string{{"ipv6/conf/default/accept_ra", "0"}, {"ipv6/conf/default/accept_dad", "0"}, {"ipv4/ip_forward", "0"}} {
		if err := ns.Sysctl(kv[0], kv[1]); err != nil {
			return false, err
		}
	}
	nl, err := ns.Netlink()
	if err != nil {
		return false, err
	}
	links, err := nl.LinkList()
	if err != nil {
		return false, err
	}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, "ns-") && name != device {
			if err := ns.RemoveLink(name); err != nil {
				return false, err
			}
		}
	}
	mac, err := net.ParseMAC(n.DHCPPort.MAC)
	if err != nil {
		return false, fmt.Errorf("network %s: DHCP port: %w", n.ID, err)
	}
	near := bridge.TapName(n.DHCPPort.PortID)
	if _, fresh, err = d.node.EnsureVeth(netns.Veth{Name: near, Peer: device, In: ns, MAC: mac, MTU: n.MTU}); err != nil {
		return false, err
	}
	if err := d.bridges.Join(near, bridge.Name(n.ID), true); err != nil {
		return false, err
	}
	_, err = ns.SetAddresses(device, addrs)
	return fresh, err
}

func (d *Driver) setServiceMTU(n *nodeapi.Network, device string) error {
	old := d.view.mtu(n.ID)
	if old == n.MTU {
		return nil
	}
	ns, err := d.o.NetnsDir.Open(dhcp.Namespace(n.ID))
	if err != nil {
		return err
	}
	defer ns.Close()
	mac, err := net.ParseMAC(n.DHCPPort.MAC)
	if err != nil {
		return err
	}
	_, _, err = d.node.EnsureVeth(netns.Veth{Name: bridge.TapName(n.DHCPPort.PortID), Peer: device, In: ns, MAC: mac, MTU: n.MTU})
	return err
}

func (d *Driver) removeService(network string) error {
	if s := d.services[network]; s != nil {
		s.close()
		delete(d.services, network)
	}
	return removeServiceNamespace(d.o.NetnsDir, network)
}

func removeServiceNamespace(dir netns.Dir, network string) error {
	name := dhcp.Namespace(network)
	ns, err := dir.Open(name)
	if err == nil {
		// The leg goes now, not when the kernel gets round to the namespace.
		nl, err := ns.Netlink()
		if err == nil {
			links, _ := nl.LinkList()
			for _, l := range links {
				if strings.HasPrefix(l.Attrs().Name, "ns-") {
					_ = ns.RemoveLink(l.Attrs().Name)
				}
			}
		}
		ns.Close()
	}
	return dir.Remove(name)
}

func sweepServices(dir netns.Dir, keep func(networkID string) bool) error {
	names, err := dir.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		if id, ok := strings.CutPrefix(n, "qdhcp-"); ok && !keep(id) {
			errs = append(errs, removeServiceNamespace(dir, id))
		}
	}
	return errors.Join(errs...)
}

// routersHere tells which router addresses are on this node.
func routersHere(want State) func(networkID, ip string) bool {
	here := map[[2]string]bool{}
	for _, r := range want.Routers {
		if !r.AdminUp {
			continue
		}
		for _, i := range r.Interfaces {
			for _, a := range i.Addresses {
				ip, _, _ := strings.Cut(a, "/")
				here[[2]string{i.NetworkID, ip}] = true
			}
		}
	}
	return func(networkID, ip string) bool { return here[[2]string{networkID, ip}] }
}
