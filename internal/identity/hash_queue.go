package identity

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// claimant is on whose behalf a password is hashed: the address that the request came from and the account that it names.
type claimant struct{ source, account string }

type claimantKey struct{}

// claim notes the claimant for the hash queue. What is hashed without one belongs to the program itself.
func claim(ctx context.Context, r *api.Request, account string) context.Context {
	return context.WithValue(ctx, claimantKey{}, claimant{r.ClientAddr(), account})
}

// errBusy refuses what would wait for longer than a client does.
func errBusy() *fault.Error {
	e := fault.New(http.StatusServiceUnavailable, "", "Too many passwords are waiting to be checked. Try again in a moment.")
	e.Header = http.Header{"Retry-After": {"5"}}
	return e
}

// hashQueue lets a few hashes run at a time. Those that wait are served in turns: one per source, and within a source one per account, so
// that a flood of wrong passwords delays its own source and account and nobody else's. When the queue is full, the newest of the longest
// line goes.
type hashQueue struct {
	mu             sync.Mutex
	width, limit   int
	running, count int
	sources        []*hashSource // those with waiters, the next one first
}

type hashSource struct {
	name     string
	count    int
	accounts []*hashAccount // those with waiters, the next one first
}

type hashAccount struct {
	name    string
	waiting []*hashTicket
}

type hashTicket struct {
	turn chan struct{} // closed when it is its turn, or when it was put out
	out  bool          // read after turn is closed
}

// waitersPerSlot bounds the queue to about half a minute: clients give up after a minute.
const waitersPerSlot = 128

func newHashQueue(width int) *hashQueue {
	return &hashQueue{width: width, limit: width * waitersPerSlot}
}

// enter waits for a slot, which leave gives back.
func (q *hashQueue) enter(ctx context.Context) error {
	who, _ := ctx.Value(claimantKey{}).(claimant)
	q.mu.Lock()
	if q.running < q.width {
		q.running++
		q.mu.Unlock()
		return nil
	}
	t := &hashTicket{turn: make(chan struct{})}
	q.add(who, t)
	q.mu.Unlock()
	select {
	case <-t.turn:
	case <-ctx.Done():
		q.mu.Lock()
		gone := q.remove(who, t)
		q.mu.Unlock()
		if !gone && !t.out { // its turn came at the same moment
			q.leave()
		}
		return ctx.Err()
	}
	if t.out {
		return errBusy()
	}
	return nil
}

// leave hands the slot to the next one in turn.
func (q *hashQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.next(); t != nil {
		close(t.turn)
		return
	}
	q.running--
}

// add puts a ticket in its line; the queue's limit puts another one out.
func (q *hashQueue) add(who claimant, t *hashTicket) {
	s := q.source(who.source)
	if s == nil {
		s = &hashSource{name: who.source}
		q.sources = append(q.sources, s)
	}
	i := slices.IndexFunc(s.accounts, func(a *hashAccount) bool { return a.name == who.account })
	if i < 0 {
		s.accounts = append(s.accounts, &hashAccount{name: who.account})
		i = len(s.accounts) - 1
	}
	a := s.accounts[i]
	a.waiting = append(a.waiting, t)
	s.count++
	q.count++
	if q.count > q.limit {
		q.shed()
	}
}

// shed puts out the newest ticket of the longest account of the longest source.
func (q *hashQueue) shed() {
	s := slices.MaxFunc(q.sources, func(a, b *hashSource) int { return a.count - b.count })
	a := slices.MaxFunc(s.accounts, func(a, b *hashAccount) int { return len(a.waiting) - len(b.waiting) })
	t := a.waiting[len(a.waiting)-1]
	q.drop(s, a, len(a.waiting)-1)
	t.out = true
	close(t.turn)
}

// next takes the ticket whose turn it is and moves its account and its source to the end of their lines.
func (q *hashQueue) next() *hashTicket {
	if len(q.sources) == 0 {
		return nil
	}
	s := q.sources[0]
	a := s.accounts[0]
	t := a.waiting[0]
	q.sources = append(q.sources[1:], s)
	s.accounts = append(s.accounts[1:], a)
	q.drop(s, a, 0)
	return t
}

// remove takes out a ticket whose client is gone; false when it is not in the queue any more.
func (q *hashQueue) remove(who claimant, t *hashTicket) bool {
	s := q.source(who.source)
	if s == nil {
		return false
	}
	for _, a := range s.accounts {
		if i := slices.Index(a.waiting, t); i >= 0 {
			q.drop(s, a, i)
			return true
		}
	}
	return false
}

// drop deletes a ticket, and its account and source when they were the last.
func (q *hashQueue) drop(s *hashSource, a *hashAccount, i int) {
	a.waiting = slices.Delete(a.waiting, i, i+1)
	s.count--
	q.count--
	if len(a.waiting) == 0 {
		s.accounts = slices.DeleteFunc(s.accounts, func(o *hashAccount) bool { return o == a })
	}
	if s.count == 0 {
		q.sources = slices.DeleteFunc(q.sources, func(o *hashSource) bool { return o == s })
	}
}

func (q *hashQueue) source(name string) *hashSource {
	i := slices.IndexFunc(q.sources, func(s *hashSource) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return q.sources[i]
}
