package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"sync"

	"github.com/hanok-cloud/hanok/internal/agent/bridge"
	"github.com/hanok-cloud/hanok/internal/agent/firewall"
	"github.com/hanok-cloud/hanok/internal/agent/metadata"
	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/router"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Driver is the real network of one node.
type Driver struct {
	o         Options
	node      *netns.NS
	bridges   *bridge.Manager
	firewall  *firewall.Firewall
	routers   *router.Manager
	zones     *zones
	passwords *metadata.Passwords

	mu       sync.Mutex
	resync   bool
	last     State
	dirty    map[ref]int     // items whose last attempts failed, and how many
	ensured  map[string]bool // ports whose taps a guest has or is about to get
	segments map[string]bridge.Segment
	services map[string]*service // by network id
	proxies  map[string]*proxy   // by router id
	configs  map[string]router.Config
	view     view
}

// ref names an item.
type ref struct{ kind, id string }

var _ Interface = (*Driver)(nil)

// New makes the driver of the network namespace that the calling thread is in; it keeps to that namespace.
func New(o Options) (*Driver, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.NetnsDir == "" {
		o.NetnsDir = netns.DefaultDir
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.DNSDomain == "" {
		o.DNSDomain = "openstacklocal"
	}
	if o.Guests == nil {
		o.Guests = func(string) (nodeapi.Guest, bool) { return nodeapi.Guest{}, false }
	}
	node, err := netns.Current()
	if err != nil {
		return nil, err
	}
	d := &Driver{o: o, node: node, resync: true, dirty: map[ref]int{}, ensured: map[string]bool{}, segments: map[string]bridge.Segment{},
		services: map[string]*service{}, proxies: map[string]*proxy{}, configs: map[string]router.Config{},
		passwords: &metadata.Passwords{Dir: filepath.Join(o.StateDir, "passwords")}}
	d.bridges, err = bridge.New(node, bridgeOptions(o))
	if err == nil {
		d.zones, err = loadZones(o.StateDir)
	}
	if err != nil {
		node.Close()
		return nil, err
	}
	d.firewall = firewall.New(node, o.Logger)
	d.routers = router.New(node, o.NetnsDir, func(name, br string) error { return d.bridges.Join(name, br, true) }, o.Logger)
	return d, nil
}

func bridgeOptions(o Options) bridge.Options {
	return bridge.Options{PhysicalInterfaceMappings: o.PhysicalInterfaceMappings, EnableVXLAN: o.EnableVXLAN, LocalIP: o.LocalIP,
		L2Population: o.L2Population, VXLANPort: o.VXLANPort, TapUser: o.TapUser, TapGroup: o.TapGroup, StateDir: o.StateDir, Logger: o.Logger}
}

// Resync makes the next Apply compare everything with the kernel.
func (d *Driver) Resync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resync = true
}

// Close stops the services in this process and leaves the kernel as it is.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.services {
		s.close()
	}
	for _, p := range d.proxies {
		p.close()
	}
	d.services, d.proxies = map[string]*service{}, map[string]*proxy{}
	d.routers.Close()
	d.node.Close()
	return nil
}

// EnsurePort wires one port now.
func (d *Driver) EnsurePort(ctx context.Context, port *nodeapi.Port) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last.Networks[port.NetworkID] == nil {
		return "", fmt.Errorf("port %s: network %s has not arrived on this node yet", port.ID, port.NetworkID)
	}
	want := d.last
	if want.Ports[port.ID] != port {
		want.Ports = maps.Clone(want.Ports)
		if want.Ports == nil {
			want.Ports = map[string]*nodeapi.Port{}
		}
		want.Ports[port.ID] = port
	}
	d.ensured[port.ID] = true
	if l, err := d.node.Link(TapName(port.ID)); err != nil || l == nil {
		d.dirty[ref{nodeapi.KindPort, port.ID}]++ // look at it even if the item is as before
	}
	res, err := d.apply(ctx, want)
	for _, p := range res.Ports {
		if p.ID != port.ID {
			continue
		}
		if p.Error != "" {
			return "", errors.New(p.Error)
		}
		return TapName(port.ID), nil // other items' failures are no business of this guest
	}
	if l, lerr := d.node.Link(TapName(port.ID)); lerr != nil || l == nil {
		return "", errors.Join(fmt.Errorf("port %s: its tap could not be made", port.ID), lerr, err)
	}
	return TapName(port.ID), nil
}

// RemovePort takes one port's tap away. Its rules stay as long as its item.
func (d *Driver) RemovePort(ctx context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ensured, id)
	return d.node.RemoveLink(TapName(id))
}

// Password is the encrypted password that a guest posted; nil: none.
func (d *Driver) Password(guestID string) ([]byte, error) { return d.passwords.Get(guestID) }

// ClearPassword forgets it.
func (d *Driver) ClearPassword(guestID string) error { return d.passwords.Clear(guestID) }

// Apply makes the node be as wanted. The maps are copied: the caller may go on with its own.
func (d *Driver) Apply(ctx context.Context, want State) (Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.apply(ctx, State{Networks: maps.Clone(want.Networks), Ports: maps.Clone(want.Ports),
		SecurityGroups: maps.Clone(want.SecurityGroups), Routers: maps.Clone(want.Routers)})
}

func (d *Driver) apply(ctx context.Context, want State) (Result, error) {
	full := d.resync
	c := changes{
		networks: compare(d, nodeapi.KindNetwork, d.last.Networks, want.Networks, full),
		ports:    compare(d, nodeapi.KindPort, d.last.Ports, want.Ports, full),
		groups:   compare(d, nodeapi.KindSecurityGroup, d.last.SecurityGroups, want.SecurityGroups, full),
		routers:  compare(d, nodeapi.KindRouter, d.last.Routers, want.Routers, full),
		services: map[string]bool{},
	}
	d.widen(&c, want)
	was := d.last
	d.last = want
	d.view.update(was, want, c.networks, full)
	var errs []error
	if full {
		errs = append(errs, d.firewall.Prepare(ctx))
	}
	errs = append(errs, d.removeGone(c, was, want, full))
	netErrs := d.applyNetworks(ctx, c.networks.set, want, full)
	fwErr := d.applyFirewall(ctx, c, want, netErrs, full)
	res := Result{Ports: d.applyPorts(c.ports.set, want, netErrs, fwErr)}
	d.applyServices(c, want, netErrs, full)
	res.Routers = d.applyRouters(ctx, c.routers.set, want, netErrs)
	if fwErr != nil {
		errs = append(errs, fwErr)
	}
	// What failed by network, port or router is dirty and tried again by itself. Only what is not remembered
	// by item, a removal above all, needs everything to be compared again.
	d.resync = errors.Join(errs...) != nil
	if n := d.worthRetrying(); n > 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%d networks, ports or routers are not as they should be yet", n))
	}
	return res, errors.Join(errs...)
}

// removeGone takes away what is no longer wanted, before anything new is made: names and interfaces may be
// used again. A tap goes before its rules do.
func (d *Driver) removeGone(c changes, was, want State, full bool) error {
	var errs []error
	for _, id := range c.ports.gone {
		errs = append(errs, d.node.RemoveLink(TapName(id)))
		delete(d.ensured, id)
		delete(d.dirty, ref{nodeapi.KindPort, id})
	}
	for _, id := range c.routers.gone {
		errs = append(errs, d.removeRouter(id))
	}
	for _, id := range c.networks.gone {
		errs = append(errs, d.removeService(id))
		errs = append(errs, d.bridges.RemoveNetwork(bridge.Name(id)))
		delete(d.dirty, ref{nodeapi.KindNetwork, id})
	}
	for _, id := range c.groups.gone {
		delete(d.dirty, ref{nodeapi.KindSecurityGroup, id})
	}
	if full {
		errs = append(errs, d.sweep(want))
	}
	return errors.Join(errs...)
}

func (d *Driver) removeRouter(id string) error {
	if p := d.proxies[id]; p != nil {
		p.close()
		delete(d.proxies, id)
	}
	delete(d.configs, id)
	delete(d.dirty, ref{nodeapi.KindRouter, id})
	return d.routers.Remove(id)
}

// sweep removes leftovers of earlier lives of this node that nothing wants.
func (d *Driver) sweep(want State) error {
	keep := map[string]bool{}
	for id, n := range want.Networks {
		keep[bridge.Name(id)] = true
		if n.Type == nodeapi.NetworkVXLAN {
			keep[bridge.VXLANName(n.SegmentationID)] = true
		}
		if n.DHCPPort != nil && n.AdminUp {
			keep[bridge.TapName(n.DHCPPort.PortID)] = true
		}
	}
	for id := range want.Ports {
		keep[TapName(id)] = true
	}
	for _, r := range want.Routers {
		if !r.AdminUp {
			continue
		}
		for _, i := range r.Interfaces {
			keep[bridge.TapName(i.PortID)] = true
		}
		if r.Gateway != nil {
			keep[bridge.TapName(r.Gateway.PortID)] = true
		}
	}
	return errors.Join(
		d.passwords.Keep(func(id string) bool { _, ok := d.o.Guests(id); return ok }),
		d.routers.Sweep(func(id string) bool { r := want.Routers[id]; return r != nil && r.AdminUp }),
		sweepServices(d.o.NetnsDir, func(id string) bool { n := want.Networks[id]; return n != nil && n.DHCPPort != nil && n.AdminUp }),
		d.bridges.Sweep(func(name string) bool { return keep[name] }),
	)
}

// applyNetworks makes bridges and uplinks; the errors are by network.
func (d *Driver) applyNetworks(ctx context.Context, ids []string, want State, full bool) map[string]error {
	errs := map[string]error{}
	for _, id := range ids {
		seg, err := d.bridges.EnsureNetwork(want.Networks[id], full)
		d.note(nodeapi.KindNetwork, id, err)
		if err != nil {
			errs[id] = err
			continue
		}
		d.segments[id] = seg
	}
	return errs
}

// applyFirewall loads the rules of everything that changed in one transaction.
func (d *Driver) applyFirewall(ctx context.Context, c changes, want State, netErrs map[string]error, full bool) error {
	change := firewall.Change{Networks: map[string]*firewall.Network{}, Ports: map[string]*firewall.Port{}, Groups: map[string]*nodeapi.SecurityGroup{}}
	for _, id := range c.networks.set {
		if netErrs[id] != nil {
			continue
		}
		zone, err := d.zones.of(id)
		if err != nil {
			return err
		}
		seg := d.segments[id]
		fn := &firewall.Network{Bridge: seg.Bridge, Zone: zone, MAC: seg.MAC, Open: seg.Open}
		if n := want.Networks[id]; n.Type == nodeapi.NetworkVXLAN && n.DHCPPort != nil {
			if mac, err := net.ParseMAC(n.DHCPPort.MAC); err == nil {
				fn.Tunnel, fn.Service = seg.Uplink, mac
			}
		}
		change.Networks[id] = fn
	}
	for _, id := range c.networks.gone {
		change.Networks[id] = nil
		delete(d.segments, id)
		if err := d.zones.release(id); err != nil {
			return err
		}
	}
	for _, id := range c.ports.set {
		p := want.Ports[id]
		zone, err := d.zones.of(p.NetworkID)
		if err != nil {
			return err
		}
		if fp, err := firewall.NewPort(p, TapName(id), zone); err == nil {
			change.Ports[id] = &fp
		}
	}
	for _, id := range c.ports.gone {
		change.Ports[id] = nil
	}
	for _, id := range c.groups.set {
		change.Groups[id] = want.SecurityGroups[id]
	}
	for _, id := range c.groups.gone {
		change.Groups[id] = nil
	}
	if !full && len(change.Networks)+len(change.Ports)+len(change.Groups) == 0 && !d.firewall.Foreign() {
		return nil
	}
	err := d.firewall.Apply(ctx, change, full)
	for _, id := range c.groups.set {
		d.note(nodeapi.KindSecurityGroup, id, err)
	}
	return err
}

// applyPorts makes taps and puts them into their bridges, the rules being there. A port whose guest has not asked for
// its tap has none, and nothing is said of it: a stopped server's ports are down.
func (d *Driver) applyPorts(ids []string, want State, netErrs map[string]error, fwErr error) []nodeapi.PortStatus {
	var all []nodeapi.PortStatus
	for _, id := range ids {
		p := want.Ports[id]
		if !d.ensured[id] {
			l, err := d.node.Link(TapName(id))
			if err == nil && l == nil {
				d.note(nodeapi.KindPort, id, fwErr)
				continue
			}
			d.ensured[id] = true // of a guest that an earlier agent started
		}
		err := fwErr
		if err == nil {
			err = netErrs[p.NetworkID]
		}
		if err == nil {
			err = d.applyPort(p, want)
		}
		d.note(nodeapi.KindPort, id, err)
		s := nodeapi.PortStatus{ID: id, Active: err == nil && p.AdminUp}
		if err != nil {
			s.Error = fmt.Sprintf("port %s: %v", id, err)
		}
		all = append(all, s)
	}
	return all
}

func (d *Driver) applyPort(p *nodeapi.Port, want State) error {
	seg, ok := d.segments[p.NetworkID]
	n := want.Networks[p.NetworkID]
	if !ok || n == nil {
		return fmt.Errorf("network %s has not arrived on this node yet", p.NetworkID)
	}
	if _, err := firewall.NewPort(p, TapName(p.ID), 0); err != nil {
		return &bridge.SetupError{Message: err.Error()} // no rules could be made
	}
	tap := TapName(p.ID)
	if err := d.bridges.EnsureTap(tap, n.MTU); err != nil {
		return err
	}
	return d.bridges.Join(tap, seg.Bridge, p.AdminUp)
}

// applyRouters makes routers and their metadata proxies.
func (d *Driver) applyRouters(ctx context.Context, ids []string, want State, netErrs map[string]error) []nodeapi.RouterStatus {
	var all []nodeapi.RouterStatus
	for _, id := range ids {
		r := want.Routers[id]
		err := d.applyRouter(ctx, r, want, netErrs)
		d.note(nodeapi.KindRouter, id, err)
		s := nodeapi.RouterStatus{ID: id, Active: err == nil && r.AdminUp}
		if err != nil {
			s.Error = err.Error()
		}
		all = append(all, s)
	}
	return all
}

func (d *Driver) applyRouter(ctx context.Context, r *nodeapi.Router, want State, netErrs map[string]error) error {
	if !r.AdminUp {
		return d.removeRouter(r.ID) // as upstream's agent does
	}
	for _, n := range legNetworks(r) {
		if err := netErrs[n]; err != nil {
			return err
		}
	}
	c, err := router.NewConfig(r, func(id string) (*nodeapi.Network, bool) { n := want.Networks[id]; return n, n != nil })
	if err != nil {
		return &bridge.SetupError{Message: err.Error()} // until another item comes
	}
	if err := d.routers.Apply(ctx, c); err != nil {
		return err
	}
	d.configs[r.ID] = c
	return d.ensureProxy(r.ID)
}
