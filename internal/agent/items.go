package agent

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// items are the newest item of each kind and id. The maps are NetworkItems' and, beside them, the guests
// that are to be removed.
type items struct {
	NetworkItems
	absent map[string]*nodeapi.Guest
}

func newItems() items {
	return items{
		NetworkItems: NetworkItems{
			Guests:         map[string]*nodeapi.Guest{},
			Networks:       map[string]*nodeapi.Network{},
			Ports:          map[string]*nodeapi.Port{},
			SecurityGroups: map[string]*nodeapi.SecurityGroup{},
			Routers:        map[string]*nodeapi.Router{},
		},
		absent: map[string]*nodeapi.Guest{},
	}
}

// change sets an item, or removes it when item is nil. item is a pointer to the nodeapi type of the kind.
type change struct {
	ref  nodeapi.ItemRef
	item any
}

func (c change) guest() *nodeapi.Guest {
	g, _ := c.item.(*nodeapi.Guest)
	return g
}

// diff says what a delta changes. A guest never goes by being left out or removed: only Power absent removes
// its disks, and until it was seen to be gone its item is kept.
func (it items) diff(d *nodeapi.Delta) []change {
	var changes []change
	for i := range d.Set.Guests {
		g := &d.Set.Guests[i]
		old := it.Guests[g.ID]
		if old == nil {
			old = it.absent[g.ID]
		}
		if old == nil || !reflect.DeepEqual(old, g) {
			changes = append(changes, change{nodeapi.ItemRef{Kind: nodeapi.KindGuest, ID: g.ID}, g})
		}
	}
	changes = diffKind(changes, nodeapi.KindNetwork, it.Networks, d.Set.Networks, func(i *nodeapi.Network) string { return i.ID }, d)
	changes = diffKind(changes, nodeapi.KindPort, it.Ports, d.Set.Ports, func(i *nodeapi.Port) string { return i.ID }, d)
	changes = diffKind(changes, nodeapi.KindSecurityGroup, it.SecurityGroups, d.Set.SecurityGroups, func(i *nodeapi.SecurityGroup) string { return i.ID }, d)
	return diffKind(changes, nodeapi.KindRouter, it.Routers, d.Set.Routers, func(i *nodeapi.Router) string { return i.ID }, d)
}

func diffKind[T any](changes []change, kind string, have map[string]*T, set []T, id func(*T) string, d *nodeapi.Delta) []change {
	listed := map[string]bool{}
	for i := range set {
		item := &set[i]
		listed[id(item)] = true
		if old := have[id(item)]; old == nil || !reflect.DeepEqual(old, item) {
			changes = append(changes, change{nodeapi.ItemRef{Kind: kind, ID: id(item)}, item})
		}
	}
	gone := func(id string) {
		if have[id] != nil && !listed[id] {
			listed[id] = true
			changes = append(changes, change{ref: nodeapi.ItemRef{Kind: kind, ID: id}})
		}
	}
	for _, ref := range d.Removed {
		if ref.Kind == kind {
			gone(ref.ID)
		}
	}
	if d.Full {
		for id := range have {
			gone(id)
		}
	}
	return changes
}

// apply makes the changes.
func (it items) apply(changes []change) {
	for _, c := range changes {
		switch c.ref.Kind {
		case nodeapi.KindGuest:
			delete(it.Guests, c.ref.ID)
			delete(it.absent, c.ref.ID)
			if g := c.guest(); g != nil && g.Power == nodeapi.PowerAbsent {
				it.absent[g.ID] = g
			} else if g != nil {
				it.Guests[g.ID] = g
			}
		case nodeapi.KindNetwork:
			applyKind(it.Networks, c)
		case nodeapi.KindPort:
			applyKind(it.Ports, c)
		case nodeapi.KindSecurityGroup:
			applyKind(it.SecurityGroups, c)
		case nodeapi.KindRouter:
			applyKind(it.Routers, c)
		}
	}
}

func applyKind[T any](have map[string]*T, c change) {
	if item, ok := c.item.(*T); ok {
		have[c.ref.ID] = item
	} else {
		delete(have, c.ref.ID)
	}
}

// Keys of the journal: an item's is kind/id; progress stands beside the guest's item, so that a step
// done does not write the item's user data again.
const (
	progressKey = "progress"
	syncedKey   = "synced/" // some controller has told us all there is, at least once
)

func itemKey(ref nodeapi.ItemRef) string { return ref.Kind + "/" + ref.ID }

func (c change) entry() (entry, error) {
	if c.item == nil {
		return entry{Key: itemKey(c.ref)}, nil
	}
	return put(itemKey(c.ref), c.item)
}

// journaled is what a journal held.
type journaled struct {
	items
	progress map[string]progress
	synced   bool
}

// read takes one entry of the journal.
func (j *journaled) read(key string, value json.RawMessage) error {
	kind, id, _ := strings.Cut(key, "/")
	var c change
	switch kind {
	case nodeapi.KindGuest:
		c.item = new(nodeapi.Guest)
	case nodeapi.KindNetwork:
		c.item = new(nodeapi.Network)
	case nodeapi.KindPort:
		c.item = new(nodeapi.Port)
	case nodeapi.KindSecurityGroup:
		c.item = new(nodeapi.SecurityGroup)
	case nodeapi.KindRouter:
		c.item = new(nodeapi.Router)
	case progressKey:
		var p progress
		if err := json.Unmarshal(value, &p); err != nil {
			return err
		}
		j.progress[id] = p
		return nil
	case "synced":
		j.synced = true
		return nil
	default:
		return fmt.Errorf("unknown kind %q: was the journal written by a newer agent?", kind)
	}
	if err := json.Unmarshal(value, c.item); err != nil {
		return err
	}
	c.ref = nodeapi.ItemRef{Kind: kind, ID: id}
	j.apply([]change{c})
	return nil
}
