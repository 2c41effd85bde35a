package network

import (
	"errors"
	"reflect"
	"slices"

	"github.com/hanok-cloud/hanok/internal/agent/bridge"
	"github.com/hanok-cloud/hanok/internal/agent/router"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// changes are the ids to look at, by kind.
type changes struct {
	networks, ports, groups, routers diff
	// services are networks whose DHCP service may differ though the network does not.
	services map[string]bool
}

type diff struct{ set, gone []string }

func compare[T any](d *Driver, kind string, was, is map[string]*T, full bool) diff {
	var out diff
	for id, item := range is {
		old := was[id]
		if full || d.dirty[ref{kind, id}] > 0 || old != item && (old == nil || !reflect.DeepEqual(old, item)) {
			out.set = append(out.set, id)
		}
	}
	for id := range was {
		if is[id] == nil {
			out.gone = append(out.gone, id)
		}
	}
	slices.Sort(out.set)
	slices.Sort(out.gone)
	return out
}

// widen adds what depends on something that changed: a port's tap on its network's MTU, a router's legs on
// their networks, a network's DHCP answers on the routers that are here.
func (d *Driver) widen(c *changes, want State) {
	changed := map[string]bool{}
	for _, id := range c.networks.set {
		changed[id] = true
	}
	if len(changed) > 0 {
		mtu := map[string]bool{}
		for id := range changed {
			if old := d.last.Networks[id]; old == nil || old.MTU != want.Networks[id].MTU {
				mtu[id] = true
			}
		}
		if len(mtu) > 0 {
			for id, p := range want.Ports {
				if mtu[p.NetworkID] && !slices.Contains(c.ports.set, id) {
					c.ports.set = append(c.ports.set, id)
				}
			}
		}
		for id, r := range want.Routers {
			if slices.Contains(c.routers.set, id) {
				continue
			}
			if slices.ContainsFunc(legNetworks(r), func(n string) bool { return changed[n] }) && d.legsDiffer(r, want) {
				c.routers.set = append(c.routers.set, id)
			}
		}
	}
	for _, ids := range [][]string{c.routers.set, c.routers.gone} {
		for _, id := range ids {
			for _, r := range []*nodeapi.Router{d.last.Routers[id], want.Routers[id]} {
				for _, n := range legNetworks(r) {
					c.services[n] = true
				}
			}
		}
	}
}

func legNetworks(r *nodeapi.Router) []string {
	if r == nil {
		return nil
	}
	var ids []string
	for _, i := range r.Interfaces {
		ids = append(ids, i.NetworkID)
	}
	if r.Gateway != nil {
		ids = append(ids, r.Gateway.NetworkID)
	}
	return ids
}

func (d *Driver) legsDiffer(r *nodeapi.Router, want State) bool {
	c, err := router.NewConfig(r, func(id string) (*nodeapi.Network, bool) { n := want.Networks[id]; return n, n != nil })
	return err != nil || !reflect.DeepEqual(c, d.configs[r.ID])
}

// attempts is how often an item's failure makes the whole Apply fail, so that it is repeated soon. After that its
// status says so, and it is tried again whenever an Apply comes along: one broken item must not hold up the others.
const attempts = 3

// hopeless counts as many failures: repeating does not help until something changes.
const hopeless = 1000

// note remembers how an item went.
func (d *Driver) note(kind, id string, err error) {
	var setup *bridge.SetupError
	switch r := (ref{kind, id}); {
	case err == nil:
		delete(d.dirty, r)
	case errors.As(err, &setup):
		d.dirty[r] = hopeless
	default:
		d.dirty[r]++
		d.o.Logger.Warn("not as it should be", "kind", kind, "id", id, "attempt", d.dirty[r], "error", err)
	}
}

// worthRetrying counts the items that failed a few times only.
func (d *Driver) worthRetrying() int {
	n := 0
	for _, failures := range d.dirty {
		if failures <= attempts {
			n++
		}
	}
	return n
}
