package agent

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// reporter tells the controller what changed until it says that it has stored it. What is reported is what is
// true when it is sent, not when it changed: a busy controller gets fewer reports, never stale ones.
type reporter struct {
	a     *Agent
	wake  chan struct{}
	hurry chan struct{}

	mu         sync.Mutex
	guests     map[string]bool
	ports      map[string]nodeapi.PortStatus // as last known
	routers    map[string]nodeapi.RouterStatus
	dirtyPorts map[string]bool
	dirtyRtrs  map[string]bool
	results    []nodeapi.CallResult
	all        bool
	generation int64
	unsent     bool // the generation changed
	urgent     bool
}

func (r *reporter) init(a *Agent) {
	r.a = a
	r.wake, r.hurry = make(chan struct{}, 1), make(chan struct{}, 1)
	r.guests = map[string]bool{}
	r.ports, r.routers = map[string]nodeapi.PortStatus{}, map[string]nodeapi.RouterStatus{}
	r.dirtyPorts, r.dirtyRtrs = map[string]bool{}, map[string]bool{}
}

// ring wakes run; urgent news do not wait for company. r.mu is held.
func (r *reporter) ring(urgent bool) {
	r.urgent = r.urgent || urgent
	select {
	case r.wake <- struct{}{}:
	default:
	}
	if urgent {
		select {
		case r.hurry <- struct{}{}:
		default:
		}
	}
}

// guest notes that a guest's status may have changed. Agent.mu is held.
func (r *reporter) guest(g *guest) {
	st := g.status()
	if g.sent != nil && reflect.DeepEqual(*g.sent, st) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests[g.id] = true
	r.ring(st.Power != nodeapi.ObservedPending || st.Fault != nil)
}

// full makes the next report hold everything.
func (r *reporter) full() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = true
	r.ring(true)
}

// applied notes that a delta is realised.
func (r *reporter) applied(generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.generation != generation {
		r.generation, r.unsent = generation, true
		r.ring(false)
	}
}

func (r *reporter) result(res nodeapi.CallResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
	r.ring(true)
}

func (r *reporter) port(p nodeapi.PortStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setPort(p)
}

func (r *reporter) setPort(p nodeapi.PortStatus) {
	if old, ok := r.ports[p.ID]; !ok || old != p {
		r.ports[p.ID] = p
		r.dirtyPorts[p.ID] = true
		r.ring(false)
	}
}

// network notes what Apply said, and forgets items that are gone. A changed router is reported even if its status is the same: the
// controller takes the status of its new legs and floating IPs from that.
func (r *reporter) network(s NetworkStatus, changed []nodeapi.ItemRef, items NetworkItems) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range s.Ports {
		r.setPort(p)
	}
	for _, rt := range s.Routers {
		if old, ok := r.routers[rt.ID]; !ok || old != rt || slices.Contains(changed, nodeapi.ItemRef{Kind: nodeapi.KindRouter, ID: rt.ID}) {
			r.routers[rt.ID] = rt
			r.dirtyRtrs[rt.ID] = true
			r.ring(false)
		}
	}
	for _, ref := range changed {
		switch {
		case ref.Kind == nodeapi.KindPort && items.Ports[ref.ID] == nil:
			delete(r.ports, ref.ID)
			delete(r.dirtyPorts, ref.ID)
		case ref.Kind == nodeapi.KindRouter && items.Routers[ref.ID] == nil:
			delete(r.routers, ref.ID)
			delete(r.dirtyRtrs, ref.ID)
		}
	}
}

// brokenItems says whether some port or router is in error.
func (r *reporter) brokenItems() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.ports {
		if p.Error != "" {
			return true
		}
	}
	for _, rt := range r.routers {
		if rt.Error != "" {
			return true
		}
	}
	return false
}

// run sends reports, one at a time, until ctx ends.
func (r *reporter) run(ctx context.Context) {
	for failures := 0; ; {
		if failures == 0 {
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			}
			if !r.company(ctx) {
				return
			}
		}
		rep, undo, ok := r.collect()
		if !ok {
			failures = 0
			continue
		}
		err := r.a.o.Controller.Report(ctx, rep)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			r.acknowledged(rep)
			continue
		}
		undo()
		if failures == 0 {
			r.a.o.Logger.Warn("a report could not be delivered, trying again", "error", err)
		}
		if Sleep(ctx, r.a.o.Clock, backoff(failures, 200*time.Millisecond, 5*time.Second)) != nil {
			return
		}
		failures++
	}
}

// company waits for more to report, unless it is urgent. False: ctx ended.
func (r *reporter) company(ctx context.Context) bool {
	r.mu.Lock()
	urgent := r.urgent
	r.mu.Unlock()
	if urgent {
		return true
	}
	waited := make(chan struct{})
	stop := r.a.o.Clock.AfterFunc(r.a.o.ReportDelay, func() { close(waited) })
	defer stop()
	select {
	case <-waited:
	case <-r.hurry:
	case <-ctx.Done():
		return false
	}
	return true
}

// collect makes the report of all that is new. undo puts it back after a failure.
func (r *reporter) collect() (rep nodeapi.Report, undo func(), ok bool) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	guests, ports, routers, results := r.guests, r.dirtyPorts, r.dirtyRtrs, r.results
	rep = nodeapi.Report{Node: r.a.name, Generation: r.generation, Full: r.all, Results: results}
	if r.all {
		guests, ports, routers = map[string]bool{}, map[string]bool{}, map[string]bool{}
		for id := range r.a.guests {
			guests[id] = true
		}
		for id := range r.ports {
			ports[id] = true
		}
		for id := range r.routers {
			routers[id] = true
		}
	}
	for id := range guests {
		g := r.a.guests[id]
		if g == nil {
			continue
		}
		if st := g.status(); r.all || g.sent == nil || !reflect.DeepEqual(*g.sent, st) {
			rep.Guests = append(rep.Guests, st)
		}
	}
	for id := range ports {
		rep.Ports = append(rep.Ports, r.ports[id])
	}
	for id := range routers {
		rep.Routers = append(rep.Routers, r.routers[id])
	}
	ok = r.all || r.unsent || len(rep.Guests)+len(rep.Ports)+len(rep.Routers)+len(rep.Results) > 0
	unsent := r.unsent
	r.guests, r.dirtyPorts, r.dirtyRtrs, r.results = map[string]bool{}, map[string]bool{}, map[string]bool{}, nil
	r.all, r.unsent, r.urgent = false, false, false
	select {
	case <-r.hurry:
	default:
	}
	return rep, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		maps.Copy(r.guests, guests)
		for id := range ports {
			if _, known := r.ports[id]; known {
				r.dirtyPorts[id] = true
			}
		}
		for id := range routers {
			if _, known := r.routers[id]; known {
				r.dirtyRtrs[id] = true
			}
		}
		r.results = append(results, r.results...)
		r.all, r.unsent = r.all || rep.Full, r.unsent || unsent
	}, ok
}

// acknowledged remembers what the controller knows, and lets go of guests whose end it knows.
func (r *reporter) acknowledged(rep nodeapi.Report) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	for i := range rep.Guests {
		st := &rep.Guests[i]
		g := r.a.guests[st.ID]
		if g == nil {
			continue
		}
		g.sent = st
		if st.Power == nodeapi.ObservedAbsent && g.gone && !g.working {
			delete(r.a.guests, st.ID)
		}
	}
}
