package identity

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// currentEpoch is the epoch that an answer must respect. With PostgreSQL another controller may have moved it, so it is asked for; requests
// that arrive meanwhile share the next question.
func (s *Service) currentEpoch(ctx context.Context) (int64, error) {
	if s.o.DB.Engine() != db.Postgres {
		return s.epoch.Load(), nil
	}
	return s.epochReads.join(ctx, s.readEpoch)
}

// readEpoch is the epoch now, and never one before what this process has seen: answers of two readers may arrive in another order than they were read.
func (s *Service) readEpoch(ctx context.Context) (int64, error) {
	var e int64
	if err := s.o.DB.Query(ctx, func(tx *db.Tx) (err error) {
		e, err = epochIn(tx)
		return err
	}); err != nil {
		return 0, err
	}
	s.advance(e)
	return max(e, s.epoch.Load()), nil
}

// flights lets callers share a reading that starts after all of them have arrived, so that nobody gets an answer older than his question.
// The zero value is ready.
type flights struct {
	mu   sync.Mutex
	next *flight    // takes passengers
	air  sync.Mutex // held by the one that is under way
}

type flight struct {
	done  chan struct{}
	value int64
	err   error
}

// errNotRead is what passengers see when the reading panicked.
var errNotRead = errors.New("the authorisation epoch could not be read")

// flightLimit ends a reading that gets no answer: those who wait for it may have no limit of their own.
const flightLimit = 30 * time.Second

func (g *flights) join(ctx context.Context, read func(context.Context) (int64, error)) (int64, error) {
	g.mu.Lock()
	f := g.next
	if f != nil {
		g.mu.Unlock()
		select {
		case <-f.done:
			return f.value, f.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	f = &flight{done: make(chan struct{}), err: errNotRead}
	g.next = f
	g.mu.Unlock()

	g.air.Lock()
	defer g.air.Unlock()
	g.mu.Lock()
	g.next = nil // who comes from now on is too late for this one
	g.mu.Unlock()
	defer close(f.done)
	// The first passenger's end is not the others'.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightLimit)
	defer cancel()
	f.value, f.err = read(own)
	return f.value, f.err
}
