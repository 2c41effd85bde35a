package network

import (
	"net/netip"
	"sync"

	"github.com/hanok-cloud/hanok/internal/agent/metadata"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// view is what metadata requests look at while an Apply may be under way.
type view struct {
	mu    sync.RWMutex
	state State
	// guests finds the guest that has an address on a network.
	guests map[string]map[netip.Addr]string
	mtus   map[string]int // before the current Apply
}

func (v *view) update(was, want State, networks diff, full bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.guests == nil {
		v.guests = map[string]map[netip.Addr]string{}
	}
	v.state = want
	v.mtus = map[string]int{}
	for _, id := range networks.gone {
		delete(v.guests, id)
	}
	for _, id := range networks.set {
		if old := was.Networks[id]; old != nil {
			v.mtus[id] = old.MTU
		}
		index := map[netip.Addr]string{}
		for _, h := range want.Networks[id].Hosts {
			for _, f := range h.FixedIPs {
				if a, err := netip.ParseAddr(f.IP); err == nil && h.GuestID != "" {
					index[a] = h.GuestID
				}
			}
		}
		v.guests[id] = index
	}
}

// mtu is a network's MTU before the current Apply.
func (v *view) mtu(network string) int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mtus[network]
}

// instanceOn finds the guest that asks from an address of a network.
func (d *Driver) instanceOn(network string, a netip.Addr) (metadata.Instance, bool) {
	d.view.mu.RLock()
	id := d.view.guests[network][a]
	d.view.mu.RUnlock()
	return d.instance(id)
}

// instanceBehind finds the guest that asks a router: it is on one of the router's inner networks.
func (d *Driver) instanceBehind(routerID string, a netip.Addr) (metadata.Instance, bool) {
	d.view.mu.RLock()
	id := ""
	if r := d.view.state.Routers[routerID]; r != nil {
		for _, i := range r.Interfaces {
			if g := d.view.guests[i.NetworkID][a]; g != "" {
				id = g
				break
			}
		}
	}
	d.view.mu.RUnlock()
	return d.instance(id)
}

func (d *Driver) instance(guest string) (metadata.Instance, bool) {
	if guest == "" {
		return metadata.Instance{}, false
	}
	g, ok := d.o.Guests(guest)
	if !ok {
		return metadata.Instance{}, false
	}
	d.view.mu.RLock()
	defer d.view.mu.RUnlock()
	return metadata.Instance{Guest: g, VendorData: d.o.VendorData, Interfaces: metadata.Interfaces(g,
		func(id string) (nodeapi.Port, bool) {
			if p := d.view.state.Ports[id]; p != nil {
				return *p, true
			}
			return nodeapi.Port{}, false
		},
		func(id string) (nodeapi.Network, bool) {
			if n := d.view.state.Networks[id]; n != nil {
				return *n, true
			}
			return nodeapi.Network{}, false
		})}, true
}
