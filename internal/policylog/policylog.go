// Package policylog keeps the requests that policy refused for a while, so that an operator can ask why. It knows what a refusal is and the
// table that holds them; it must not know any service.
//
// Whoever is refused may send such requests as fast as the network allows, so everything here has a bound: a refusal waits in a short queue in
// which one user has few places, is written by one goroutine some times a second, and the table holds the newest of each user and of all. What
// finds no place is counted and forgotten. An accepted request never comes here.
package policylog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// The bounds. A row has at most a few KiB, so the table stays below 50 MB.
const (
	queueAll     = 256
	queueUser    = 16
	keepAll      = 20000
	keepUser     = 200
	keepFor      = 7 * 24 * time.Hour
	longestText  = 256
	mostValues   = 48
	batchEvery   = 500 * time.Millisecond
	trimEveryNth = 32
)

// Options for New.
type Options struct {
	DB     *db.DB
	Logger *slog.Logger
	// After is the clock between two batches; nil: time.After.
	After func(time.Duration) <-chan time.Time
}

// Log is one process's writer of refusals.
type Log struct {
	o    Options
	wake chan struct{}

	mu      sync.Mutex
	queue   []api.Refusal
	waiting map[string]int // by user
	dropped int64

	writing sync.Mutex
	batches int
}

// New makes a log; Run writes it.
func New(o Options) *Log {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.After == nil {
		o.After = time.After
	}
	return &Log{o: o, wake: make(chan struct{}, 1), waiting: map[string]int{}}
}

// Add takes a refusal; it never blocks.
func (l *Log) Add(f api.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= queueAll || l.waiting[f.UserID] >= queueUser {
		l.dropped++
		return
	}
	l.waiting[f.UserID]++
	l.queue = append(l.queue, f)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Dropped is how many refusals found no place since the start.
func (l *Log) Dropped() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Run writes what comes until ctx ends.
func (l *Log) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		if err := l.Flush(ctx); err != nil && ctx.Err() == nil {
			l.o.Logger.Warn("refused requests were not recorded; `hanok policy explain` will not know them", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.o.After(batchEvery):
		}
	}
}

// Flush writes what waits. A batch that cannot be written is lost: keeping it would keep ever more.
func (l *Log) Flush(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batch := l.queue
	l.queue, l.waiting = nil, map[string]int{}
	l.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	trim := l.batches%trimEveryNth == 0
	l.batches++
	return l.o.DB.Write(ctx, func(tx *db.Tx) error { return write(tx, batch, trim) })
}

func write(tx *db.Tx, batch []api.Refusal, trim bool) error {
	users := map[string]bool{}
	for i := range batch {
		b, err := json.Marshal(shorten(batch[i]))
		if err != nil {
			return fmt.Errorf("refusal of %s: %w", batch[i].RequestID, err)
		}
		if _, err := tx.Exec(`INSERT INTO policy_refusals (request_id, at, user_id, refusal) VALUES ($1,$2,$3,$4) ON CONFLICT DO NOTHING`,
			batch[i].RequestID, batch[i].At.UnixMicro(), batch[i].UserID, string(b)); err != nil {
			return err
		}
		users[batch[i].UserID] = true
	}
	for user := range users {
		if _, err := tx.Exec(`DELETE FROM policy_refusals WHERE user_id = $1 AND at < (SELECT at FROM policy_refusals WHERE user_id = $1 ORDER BY at DESC LIMIT 1 OFFSET $2)`,
			user, keepUser-1); err != nil {
			return err
		}
	}
	if !trim {
		return nil
	}
	if _, err := tx.Exec(`DELETE FROM policy_refusals WHERE at < (SELECT at FROM policy_refusals ORDER BY at DESC LIMIT 1 OFFSET $1)`, keepAll-1); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM policy_refusals WHERE at < $1`, tx.Now().Add(-keepFor).UnixMicro())
	return err
}

// shorten bounds what the caller could make long.
func shorten(f api.Refusal) api.Refusal {
	cut := func(s string) string {
		if len(s) > longestText {
			return strings.ToValidUTF8(s[:longestText], "") + "…"
		}
		return s
	}
	f.Path = cut(f.Path)
	if len(f.Roles) > mostValues {
		f.Roles = f.Roles[:mostValues]
	}
	target := make(map[string]any, len(f.Target))
	for k, v := range f.Target {
		if len(target) == mostValues {
			break
		}
		switch v := v.(type) {
		case string:
			target[k] = cut(v)
		case nil, bool, int, int64, json.Number:
			target[k] = v
		case *string:
			if v == nil {
				target[k] = nil
			} else {
				target[k] = cut(*v)
			}
		default:
			target[k] = cut(fmt.Sprint(v))
		}
	}
	f.Target = target
	return f
}

// Find returns a refusal by its request id; the second result says whether it is there.
func Find(tx *db.Tx, requestID string) (api.Refusal, bool, error) {
	var f api.Refusal
	raw, err := db.One(tx, db.Value[string], `SELECT refusal FROM policy_refusals WHERE request_id = $1`, requestID)
	if errors.Is(err, db.ErrNotFound) {
		return f, false, nil
	}
	if err != nil {
		return f, false, err
	}
	return f, true, json.Unmarshal([]byte(raw), &f)
}
