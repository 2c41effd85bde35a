package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Options configure an agent.
type Options struct {
	// Node describes the node; it is asked at each heartbeat. Name and BootID must not change.
	Node       func() nodeapi.Node
	Controller nodeapi.Controller
	Guests     GuestDriver
	Network    NetworkDriver
	// ConfigDrive renders a config drive's files by path; nil: guests that want one get a fault.
	ConfigDrive func(g *nodeapi.Guest, items NetworkItems) map[string][]byte
	// StateDir holds the journal; empty: nothing is kept, for simulated nodes.
	StateDir string
	// NoResume leaves guests stopped that ran when the node went down (upstream's
	// resume_guests_state_on_host_boot is the opposite of it; here coming back is the default).
	NoResume bool
	// BootSlots is how many guests may have disks made or be started at the same time; 0: one per
	// processor, negative: no limit.
	BootSlots int
	// HeartbeatInterval is 10 s when 0.
	HeartbeatInterval time.Duration
	// ReportDelay is how long a report of unfinished work waits for more to go with it; 0: 20 ms.
	ReportDelay time.Duration
	Clock       Clock
	Logger      *slog.Logger
}

// Agent is the agent of one node. Make it with New and call Run once.
type Agent struct {
	o       Options
	name    string
	bootID  string
	journal *journal
	slots   chan struct{}  // nil: no limit
	workers sync.WaitGroup // of guests, retries and calls
	ctx     context.Context

	itemsMu sync.RWMutex
	items   items
	synced  bool

	network network
	reports reporter

	mu     sync.Mutex
	guests map[string]*guest
}

// New opens the journal and makes an agent. Close releases the journal when Run is never called.
func New(o Options) (*Agent, error) {
	if o.Node == nil || o.Controller == nil || o.Guests == nil || o.Network == nil {
		return nil, errors.New("agent: Node, Controller, Guests and Network are needed")
	}
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HeartbeatInterval == 0 {
		o.HeartbeatInterval = 10 * time.Second
	}
	if o.ReportDelay == 0 {
		o.ReportDelay = 20 * time.Millisecond
	}
	if o.BootSlots == 0 {
		o.BootSlots = runtime.NumCPU()
	}
	node := o.Node()
	if node.Name == "" {
		return nil, errors.New("agent: the node needs a name")
	}
	a := &Agent{o: o, name: node.Name, bootID: node.BootID, guests: map[string]*guest{}}
	a.o.Logger = o.Logger.With("node", a.name)
	if o.BootSlots > 0 {
		a.slots = make(chan struct{}, o.BootSlots)
	}
	stored := journaled{items: newItems(), progress: map[string]progress{}}
	if o.StateDir != "" {
		j, err := openJournal(o.StateDir, stored.read)
		if err != nil {
			return nil, fmt.Errorf("agent of node %s: %w", a.name, err)
		}
		a.journal = j
	}
	a.items, a.synced = stored.items, stored.synced
	for id, g := range stored.Guests {
		a.guests[id] = &guest{id: id, want: g, done: stored.progress[id]}
	}
	for id, g := range stored.absent {
		a.guests[id] = &guest{id: id, want: g, done: stored.progress[id]}
	}
	a.network.init(a)
	a.reports.init(a)
	return a, nil
}

// Close releases the journal. Run does it itself.
func (a *Agent) Close() error { return a.journal.close() }

// Guest is the newest item of a guest on this node; it must not be changed.
func (a *Agent) Guest(id string) (*nodeapi.Guest, bool) {
	a.itemsMu.RLock()
	defer a.itemsMu.RUnlock()
	g, ok := a.items.Guests[id]
	return g, ok
}

// Run works until ctx ends. Guests and the network stay as they are then. An error means that the node's
// guests could not be looked at.
func (a *Agent) Run(ctx context.Context) error {
	defer a.journal.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.ctx = ctx
	if err := a.adopt(ctx); err != nil {
		return fmt.Errorf("agent of node %s: looking for guests: %w", a.name, err)
	}
	var loops sync.WaitGroup
	// The network and the guests come back from the journal alone, before any controller is asked.
	loops.Go(func() { a.network.run(ctx) })
	a.kickAll()
	loops.Go(func() { a.reports.run(ctx) })
	loops.Go(func() { a.controllerLoop(ctx) })
	<-ctx.Done()
	loops.Wait()
	a.stopRetries()
	a.workers.Wait()
	return nil
}

// controllerLoop registers the node and then watches; heartbeats go on beside.
func (a *Agent) controllerLoop(ctx context.Context) {
	log := a.o.Logger
	for n := 0; ; n++ {
		err := a.o.Controller.Heartbeat(ctx, a.o.Node())
		if err == nil {
			break
		}
		if n == 0 {
			log.Warn("the controller cannot be reached; guests go on, trying again", "error", err)
		}
		if Sleep(ctx, a.o.Clock, backoff(n, 100*time.Millisecond, 5*time.Second)) != nil {
			return
		}
	}
	var beat sync.WaitGroup
	beat.Go(func() { a.heartbeats(ctx) })
	defer beat.Wait()
	failures := 0
	for {
		err := a.o.Controller.Watch(ctx, a.name, func(d nodeapi.Delta) error {
			failures = 0
			return a.deliver(d)
		})
		if ctx.Err() != nil {
			return
		}
		if failures == 0 {
			log.Warn("the watch stream broke; guests go on, trying again", "error", err)
		}
		if Sleep(ctx, a.o.Clock, backoff(failures, 100*time.Millisecond, 5*time.Second)) != nil {
			return
		}
		failures++
	}
}

func (a *Agent) heartbeats(ctx context.Context) {
	lost := false
	for Sleep(ctx, a.o.Clock, a.o.HeartbeatInterval) == nil {
		err := a.o.Controller.Heartbeat(ctx, a.o.Node())
		if ctx.Err() != nil {
			return
		}
		if err != nil && !lost {
			a.o.Logger.Warn("heartbeat failed", "error", err)
		}
		lost = err != nil
	}
}

// deliver takes a delta: first into the journal, then into memory, then to work. Nothing is ever started
// of which the journal does not know.
func (a *Agent) deliver(d nodeapi.Delta) error {
	for _, c := range d.Calls {
		a.call(c)
	}
	a.itemsMu.Lock()
	changes := a.items.diff(&d)
	entries := make([]entry, 0, len(changes)+1)
	if a.journal != nil {
		for _, c := range changes {
			e, err := c.entry()
			if err != nil {
				a.itemsMu.Unlock()
				return err
			}
			entries = append(entries, e)
		}
		if d.Full && !a.synced {
			entries = append(entries, entry{Key: syncedKey, Value: []byte("true")})
		}
	}
	if err := a.journal.append(entries...); err != nil {
		a.itemsMu.Unlock()
		a.o.Logger.Error("the journal cannot be written: make room on the disk of the state directory", "error", err)
		return err
	}
	a.items.apply(changes)
	a.synced = a.synced || d.Full
	a.itemsMu.Unlock()

	a.network.enqueue(d.Generation, d.Full, changes)
	a.mu.Lock()
	defer a.mu.Unlock()
	if d.Full {
		a.reports.full()
		a.retryNow()
	}
	for _, c := range changes {
		if g := c.guest(); g != nil {
			a.setGuest(g)
		}
	}
	return nil
}
