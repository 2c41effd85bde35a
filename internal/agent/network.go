package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// network hands the items to the network driver, one Apply at a time; what arrives meanwhile is the next one's.
type network struct {
	a    *Agent
	wake chan struct{}

	// applied are the maps that Apply sees. Only run touches them.
	applied items

	mu      sync.Mutex
	queue   []change
	full    bool
	known   map[string]bool // ports that the last Apply which returned nil has seen
	waiting map[string]bool // guests that wait for a port to be known
	newest  int64           // generation of the newest delta enqueued
}

func (n *network) init(a *Agent) {
	n.a, n.wake = a, make(chan struct{}, 1)
	n.applied, n.known, n.waiting = newItems(), map[string]bool{}, map[string]bool{}
	// A journal that never saw a whole spec must not make Apply remove what an earlier agent left.
	if a.synced {
		n.full = true
		it := a.items
		for id, i := range it.Guests {
			n.queue = append(n.queue, change{nodeapi.ItemRef{Kind: nodeapi.KindGuest, ID: id}, i})
		}
		for id, i := range it.Networks {
			n.queue = append(n.queue, change{nodeapi.ItemRef{Kind: nodeapi.KindNetwork, ID: id}, i})
		}
		for id, i := range it.Ports {
			n.queue = append(n.queue, change{nodeapi.ItemRef{Kind: nodeapi.KindPort, ID: id}, i})
		}
		for id, i := range it.SecurityGroups {
			n.queue = append(n.queue, change{nodeapi.ItemRef{Kind: nodeapi.KindSecurityGroup, ID: id}, i})
		}
		for id, i := range it.Routers {
			n.queue = append(n.queue, change{nodeapi.ItemRef{Kind: nodeapi.KindRouter, ID: id}, i})
		}
		n.wake <- struct{}{}
	}
}

func (n *network) enqueue(generation int64, full bool, changes []change) {
	n.mu.Lock()
	n.queue = append(n.queue, changes...)
	n.full = n.full || full
	n.newest = generation
	n.mu.Unlock()
	n.ring()
}

func (n *network) ring() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *network) run(ctx context.Context) {
	log := n.a.o.Logger
	var changed []nodeapi.ItemRef
	var requests []string
	full, again := false, false
	broken := 0 // Applies in a row with an item that failed
	for failures := 0; ; {
		unretry := func() bool { return true }
		if broken > 0 {
			unretry = n.a.o.Clock.AfterFunc(backoff(broken-1, time.Second, time.Minute), n.ring)
		}
		if failures == 0 {
			select {
			case <-n.wake:
			case <-ctx.Done():
				unretry()
				return
			}
		}
		again = !unretry() || again // the timer rang: items that failed are to be tried again
		n.mu.Lock()
		queue, generation := n.queue, n.newest
		full = full || n.full
		n.queue, n.full = nil, false
		n.mu.Unlock()
		n.applied.apply(queue)
		for _, c := range queue {
			changed = append(changed, c.ref)
			if g := c.guest(); g != nil && g.RequestID != "" && !slices.Contains(requests, g.RequestID) {
				requests = append(requests, g.RequestID)
			}
		}
		if len(changed) > 0 || full || again {
			status, err := n.a.o.Network.Apply(ctx, NetworkChange{Items: n.applied.NetworkItems, Changed: changed, Full: full, RequestIDs: requests})
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failures++
				log.Error("the network could not be applied; trying again", "error", err, "attempt", failures, "request_id", requests)
				if Sleep(ctx, n.a.o.Clock, backoff(failures-1, time.Second, 30*time.Second)) != nil {
					return
				}
				continue
			}
			n.a.reports.network(status, changed, n.applied.NetworkItems)
			broken++
			if !n.a.reports.brokenItems() {
				broken = 0
			}
		}
		n.finished(generation, changed)
		failures, changed, requests, full, again = 0, nil, nil, false, false
	}
}

// finished lets guests go on that waited for this Apply.
func (n *network) finished(generation int64, changed []nodeapi.ItemRef) {
	n.mu.Lock()
	for _, ref := range changed {
		if ref.Kind != nodeapi.KindPort {
			continue
		}
		if n.applied.Ports[ref.ID] != nil {
			n.known[ref.ID] = true
		} else {
			delete(n.known, ref.ID)
		}
	}
	waiting := n.waiting
	n.waiting = map[string]bool{}
	n.mu.Unlock()
	n.a.reports.applied(generation)
	n.a.mu.Lock()
	defer n.a.mu.Unlock()
	for id := range waiting {
		if g := n.a.guests[id]; g != nil {
			n.a.kick(g)
		}
	}
}

// errWaits: the step goes on by itself when an item arrives.
var errWaits = errors.New("waits for the network's items")

// ensurePort is EnsurePort once the driver knows the port. Guests and ports come by different streams: a guest
// whose port is not here yet waits for it, and is woken by the Apply that brings it.
func (n *network) ensurePort(ctx context.Context, guestID, portID string) (PortDevice, error) {
	if !n.knows(guestID, portID) {
		return PortDevice{}, errWaits
	}
	dev, err := n.a.o.Network.EnsurePort(ctx, portID)
	if err != nil {
		return dev, fmt.Errorf("port %s: %w", portID, err)
	}
	n.a.itemsMu.RLock()
	p := n.a.items.Ports[portID]
	up := p != nil && p.AdminUp
	n.a.itemsMu.RUnlock()
	n.a.reports.port(nodeapi.PortStatus{ID: portID, Active: up})
	return dev, nil
}

// knows says whether the driver has seen the port; if not, the guest is woken when it has.
func (n *network) knows(guestID, portID string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.known[portID] {
		n.waiting[guestID] = true
	}
	return n.known[portID]
}

func (n *network) removePort(ctx context.Context, portID string) error {
	if err := n.a.o.Network.RemovePort(ctx, portID); err != nil {
		return fmt.Errorf("port %s: %w", portID, err)
	}
	n.a.reports.port(nodeapi.PortStatus{ID: portID, Active: false})
	return nil
}
