package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// controller is the other end of nodeapi in memory: it holds what is wanted and what was reported.
type controller struct {
	mu       sync.Mutex
	news     chan struct{} // closed and replaced at every change
	gen      int64
	set      map[nodeapi.ItemRef]any
	queue    []nodeapi.Delta
	broken   bool // the link is cut
	cut      chan struct{}
	guests   map[string]nodeapi.GuestStatus
	ports    map[string]nodeapi.PortStatus
	routers  map[string]nodeapi.RouterStatus
	results  map[string]nodeapi.CallResult
	reports  int
	seen     []string // power/step of every guest status, in order
	applied  int64
	refusals int // reports to refuse
	beats    int
}

func newController() *controller {
	return &controller{news: make(chan struct{}), cut: make(chan struct{}), set: map[nodeapi.ItemRef]any{},
		guests: map[string]nodeapi.GuestStatus{}, ports: map[string]nodeapi.PortStatus{}, routers: map[string]nodeapi.RouterStatus{}, results: map[string]nodeapi.CallResult{}}
}

func (c *controller) changed() {
	close(c.news)
	c.news = make(chan struct{})
}

func delta(items ...any) nodeapi.Delta {
	var d nodeapi.Delta
	for _, i := range items {
		switch i := i.(type) {
		case nodeapi.Guest:
			d.Set.Guests = append(d.Set.Guests, i)
		case nodeapi.Port:
			d.Set.Ports = append(d.Set.Ports, i)
		case nodeapi.Router:
			d.Set.Routers = append(d.Set.Routers, i)
		case nodeapi.ItemRef:
			d.Removed = append(d.Removed, i)
		case nodeapi.Call:
			d.Calls = append(d.Calls, i)
		default:
			panic(fmt.Sprintf("%T", i))
		}
	}
	return d
}

// want sends items in one delta.
func (c *controller) want(items ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := delta(items...)
	for _, g := range d.Set.Guests {
		c.set[nodeapi.ItemRef{Kind: nodeapi.KindGuest, ID: g.ID}] = g
	}
	for _, p := range d.Set.Ports {
		c.set[nodeapi.ItemRef{Kind: nodeapi.KindPort, ID: p.ID}] = p
	}
	for _, r := range d.Set.Routers {
		c.set[nodeapi.ItemRef{Kind: nodeapi.KindRouter, ID: r.ID}] = r
	}
	for _, ref := range d.Removed {
		delete(c.set, ref)
	}
	c.gen++
	d.Generation = c.gen
	c.queue = append(c.queue, d)
	c.changed()
}

// disconnect breaks the link until connect.
func (c *controller) disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	close(c.cut)
}

func (c *controller) connect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = false
	c.cut = make(chan struct{})
	c.changed()
}

var errDown = errors.New("connection refused")

func (c *controller) Heartbeat(context.Context, nodeapi.Node) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return errDown
	}
	c.beats++
	return nil
}

func (c *controller) Watch(ctx context.Context, _ string, deliver func(nodeapi.Delta) error) error {
	c.mu.Lock()
	cut := c.cut
	if c.broken {
		c.mu.Unlock()
		return errDown
	}
	c.queue = nil
	d := delta(slices.Collect(maps.Values(c.set))...)
	d.Full, d.Generation = true, c.gen
	c.mu.Unlock()
	for {
		if err := deliver(d); err != nil {
			return err
		}
		for {
			c.mu.Lock()
			news := c.news
			ok := len(c.queue) > 0
			if ok {
				d, c.queue = c.queue[0], c.queue[1:]
			}
			c.mu.Unlock()
			if ok {
				break
			}
			select {
			case <-news:
			case <-cut:
				return errDown
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func (c *controller) Report(_ context.Context, r nodeapi.Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.refusals > 0 {
		c.refusals--
		return errDown
	}
	if r.Full {
		clear(c.guests)
	}
	for _, g := range r.Guests {
		c.guests[g.ID] = g
		c.seen = append(c.seen, strings.TrimSuffix(g.Power+"/"+g.Step, "/"))
	}
	for _, p := range r.Ports {
		c.ports[p.ID] = p
	}
	for _, rt := range r.Routers {
		c.routers[rt.ID] = rt
	}
	for _, res := range r.Results {
		c.results[res.ID] = res
	}
	c.applied = r.Generation
	c.reports++
	c.changed()
	return nil
}

func (c *controller) ImageData(context.Context, string, string) (io.ReadCloser, error) {
	return nil, errors.New("no images here")
}

// wait waits until ok is true of what was reported.
func (c *controller) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		c.mu.Lock()
		news, yes := c.news, ok()
		c.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-news:
		case <-limit:
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Fatalf("never happened: %s; guests %+v", what, c.guests)
		}
	}
}

func (c *controller) waitPower(t *testing.T, id, power string, generation int64) nodeapi.GuestStatus {
	t.Helper()
	var st nodeapi.GuestStatus
	c.wait(t, fmt.Sprintf("%s %s at generation %d", id, power, generation), func() bool {
		st = c.guests[id]
		return st.Power == power && st.Generation == generation
	})
	return st
}
