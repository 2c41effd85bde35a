package audit

import (
	"context"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// What a flood of refusals may cost. Ordinary refusals get an entry each; who is refused over and over fills one entry with a count. The
// limits hold for a window, so that a flood of any size and from any number of addresses makes at most this many rows in one.
const (
	window      = 10 * time.Second
	tick        = time.Second
	perKind     = 8   // of one kind, in entries of their own
	perWindow   = 100 // of all kinds, in entries of their own
	kindsMax    = 64  // kinds that are counted; more are counted by service and status
	backlogMax  = 2000
	writeAtOnce = 100
)

// kind is what refusals have in common that are counted together.
type kind struct {
	addr, user, service, action, pattern, rule string
	status                                     int
}

func keyOf(r *api.Request, e *fault.Error) kind {
	k := kind{addr: r.ClientAddr(), service: r.Service().Name, action: actionOf(r), rule: r.RefusedBy(), status: e.Status}
	if rt := r.Route(); rt != nil {
		k.pattern = rt.Path
	}
	if c := r.Noted().Initiator; c != nil {
		k.user = c.UserID
	} else if r.Caller != nil {
		k.user = r.Caller.UserID
	}
	return k
}

type counted struct {
	event *Event
	count int64
	last  time.Time
}

// refusals holds what was refused until it is written. Its size is bounded whatever comes.
type refusals struct {
	mu      sync.Mutex
	single  []string         // entries of their own
	began   int              // how many of those in this window
	ofKind  map[kind]int     // the same by kind
	counts  map[kind]counted // the others
	due     map[kind]counted // of an earlier window
	flushes sync.Mutex       // one at a time
}

func (f *refusals) add(now time.Time, k kind, describe func(time.Time) *Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.ofKind, f.counts = map[kind]int{}, map[kind]counted{}
	}
	if c, ok := f.counts[k]; ok {
		f.count(k, c, now)
		return
	}
	if f.ofKind[k] < perKind && f.began < perWindow && len(f.single) < backlogMax {
		f.ofKind[k]++
		f.began++
		f.single = append(f.single, describe(now).encode())
		return
	}
	e := describe(now)
	if len(f.counts) >= kindsMax {
		k = kind{service: k.service, status: k.status}
		if c, ok := f.counts[k]; ok {
			f.count(k, c, now)
			return
		}
		e.Initiator = Initiator{TypeURI: accountURI, ID: unknown, Host: Host{Address: "various"}}
		e.Action, e.RequestPath, e.Target, e.Reason.Message, e.Reason.PolicyID = unknown, "", Target{TypeURI: e.Observer.TypeURI, ID: unknown}, "", ""
	}
	f.counts[k] = counted{e, 1, now}
}

func (f *refusals) count(k kind, c counted, now time.Time) {
	c.count++
	c.last = now
	f.counts[k] = c
}

// next are the oldest entries that wait; written drops them. Until then they count against the backlog, so that a database that does not
// answer costs no memory.
func (f *refusals) next() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.single[:min(len(f.single), writeAtOnce)]
}

func (f *refusals) written(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.single = f.single[n:]
	if len(f.single) == 0 {
		f.single = nil
	}
}

// roll begins a new window. The counts of the last one are due, unless those before could not be written yet: then they go on.
func (f *refusals) roll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ofKind, f.began = map[kind]int{}, 0
	if f.due == nil && len(f.counts) > 0 {
		f.due, f.counts = f.counts, map[kind]counted{}
	}
}

// Flush writes the refusals that wait; with roll those that are being counted, too.
func (l *Log) Flush(ctx context.Context, roll bool) error {
	f := &l.refusals
	f.flushes.Lock()
	defer f.flushes.Unlock()
	for {
		events := f.next()
		if len(events) == 0 {
			break
		}
		if err := l.write(ctx, events); err != nil {
			return err
		}
		f.written(len(events))
	}
	if err := l.writeDue(ctx); err != nil || !roll {
		return err
	}
	f.roll()
	return l.writeDue(ctx)
}

func (l *Log) writeDue(ctx context.Context) error {
	if len(l.refusals.due) == 0 {
		return nil
	}
	var events []string
	for _, c := range l.refusals.due {
		e := *c.event
		if c.count > 1 {
			e.Count, e.Until = c.count, c.last.UTC().Format(timeLayout)
		}
		events = append(events, e.encode())
	}
	if err := l.write(ctx, events); err != nil {
		return err
	}
	l.refusals.mu.Lock()
	defer l.refusals.mu.Unlock()
	l.refusals.due = nil
	return nil
}

// Run writes refusals until ctx ends, and then what is left.
func (l *Log) Run(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
		case <-l.o.After(tick):
			if err := l.Flush(ctx, n%int(window/tick) == 0); err != nil && ctx.Err() == nil {
				l.o.Logger.Error("refused requests could not be written to the audit log; they are kept and tried again", "error", err)
			}
		}
	}
	if err := l.Flush(context.WithoutCancel(ctx), true); err != nil {
		l.o.Logger.Error("refused requests could not be written to the audit log at the end", "error", err)
	}
}
