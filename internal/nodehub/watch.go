package nodehub

import (
	"context"
	"encoding/json"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// stream is what one watch has sent: enough to send only differences.
type stream struct {
	generation int64
	next       map[string]int64                      // per source
	sent       map[string]map[nodeapi.ItemRef]string // per source: item → its JSON
}

// Watch sends the node's items, all at first and then what changes, until ctx ends.
func (h *Hub) Watch(ctx context.Context, node string, deliver func(nodeapi.Delta) error) error {
	calls := make(chan nodeapi.Call)
	h.mu.Lock()
	h.links[node] = calls
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		if h.links[node] == calls {
			delete(h.links, node)
		}
		h.mu.Unlock()
	}()

	st := &stream{next: map[string]int64{}, sent: map[string]map[nodeapi.ItemRef]string{}}
	subs := map[string]*db.Subscription{}
	for name := range h.o.Sources {
		subs[name] = h.o.DB.Subscribe(topic(node, name))
		defer subs[name].Close()
	}
	// Subscribed first, read second: a commit in between wakes us again rather than being missed.
	merged := make(chan string)
	for name, s := range subs {
		go func() {
			for {
				select {
				case <-s.C:
				case <-ctx.Done():
					return
				}
				select {
				case merged <- name:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	names := make([]string, 0, len(subs))
	for name := range subs {
		names = append(names, name)
	}
	d, err := h.delta(ctx, node, st, names)
	if err != nil {
		return err
	}
	d.Full = true
	for {
		if d.Full || !empty(d) {
			if err := deliver(d); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-calls:
			d = nodeapi.Delta{Generation: st.generation, Calls: []nodeapi.Call{c}}
		case name := <-merged:
			if d, err = h.delta(ctx, node, st, []string{name}); err != nil {
				return err
			}
		}
	}
}

func empty(d nodeapi.Delta) bool {
	s := d.Set
	return len(s.Guests)+len(s.Networks)+len(s.Ports)+len(s.SecurityGroups)+len(s.Routers)+len(d.Removed)+len(d.Calls) == 0
}

// delta asks sources and keeps what the stream has not sent yet.
func (h *Hub) delta(ctx context.Context, node string, st *stream, sources []string) (nodeapi.Delta, error) {
	changes := map[string]Changes{}
	err := h.o.DB.Read(ctx, func(tx *db.Tx) error {
		for _, name := range sources {
			c, err := h.o.Sources[name].Items(tx, node, st.next[name])
			if err != nil {
				return err
			}
			changes[name] = c
		}
		return nil
	})
	if err != nil {
		return nodeapi.Delta{}, err
	}
	st.generation++
	d := nodeapi.Delta{Generation: st.generation}
	for name, c := range changes {
		st.next[name] = c.Next
		if err := st.fresh(name, c, &d); err != nil {
			return d, err
		}
	}
	return d, nil
}

// fresh adds to d what differs from what was sent.
func (st *stream) fresh(source string, c Changes, d *nodeapi.Delta) error {
	sent := st.sent[source]
	if sent == nil {
		sent = map[nodeapi.ItemRef]string{}
		st.sent[source] = sent
	}
	seen := map[nodeapi.ItemRef]bool{}
	var failed error
	isNew := func(kind, id string, item any) bool {
		ref := nodeapi.ItemRef{Kind: kind, ID: id}
		seen[ref] = true
		b, err := json.Marshal(item)
		if err != nil {
			failed = err
			return false
		}
		if sent[ref] == string(b) {
			return false
		}
		sent[ref] = string(b)
		return true
	}
	for _, i := range c.Items.Guests {
		if isNew(nodeapi.KindGuest, i.ID, i) {
			d.Set.Guests = append(d.Set.Guests, i)
		}
	}
	for _, i := range c.Items.Networks {
		if isNew(nodeapi.KindNetwork, i.ID, i) {
			d.Set.Networks = append(d.Set.Networks, i)
		}
	}
	for _, i := range c.Items.Ports {
		if isNew(nodeapi.KindPort, i.ID, i) {
			d.Set.Ports = append(d.Set.Ports, i)
		}
	}
	for _, i := range c.Items.SecurityGroups {
		if isNew(nodeapi.KindSecurityGroup, i.ID, i) {
			d.Set.SecurityGroups = append(d.Set.SecurityGroups, i)
		}
	}
	for _, i := range c.Items.Routers {
		if isNew(nodeapi.KindRouter, i.ID, i) {
			d.Set.Routers = append(d.Set.Routers, i)
		}
	}
	remove := func(ref nodeapi.ItemRef) {
		if _, ok := sent[ref]; ok {
			delete(sent, ref)
			d.Removed = append(d.Removed, ref)
		}
	}
	for _, ref := range c.Removed {
		remove(ref)
	}
	if c.Full {
		for ref := range sent {
			if !seen[ref] {
				remove(ref)
			}
		}
	}
	return failed
}
