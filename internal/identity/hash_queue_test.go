package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hanok-cloud/hanok/internal/fault"
)

// order serves a queue to its end and tells whose turn it was.
func order(q *hashQueue, names map[*hashTicket]string) string {
	var out []string
	for t := q.next(); t != nil; t = q.next() {
		out = append(out, names[t])
	}
	return strings.Join(out, " ")
}

func line(q *hashQueue, waiting ...string) map[*hashTicket]string {
	names := map[*hashTicket]string{}
	for i, w := range waiting {
		source, account, _ := strings.Cut(w, "/")
		t := &hashTicket{turn: make(chan struct{})}
		names[t] = fmt.Sprintf("%s%d", w, i)
		q.add(claimant{source, account}, t)
	}
	return names
}

func TestHashQueueTakesTurns(t *testing.T) {
	for _, c := range []struct {
		name    string
		limit   int
		waiting []string
		want    string
	}{
		{"in order", 9, []string{"a/x", "a/x", "a/x"}, "a/x0 a/x1 a/x2"},
		{"a flood from one address delays nobody elsewhere", 9, []string{"a/x", "a/x", "a/x", "b/y", "c/z"}, "a/x0 b/y3 c/z4 a/x1 a/x2"},
		{"a flood on one account delays no other behind the same address", 9, []string{"a/x", "a/x", "a/x", "a/y"}, "a/x0 a/y3 a/x1 a/x2"},
		{"many accounts are one source", 9, []string{"a/1", "a/2", "a/3", "b/y", "b/y"}, "a/10 b/y3 a/21 b/y4 a/32"},
		{"the newest of the longest line goes", 3, []string{"a/x", "a/x", "a/x", "b/y"}, "a/x0 b/y3 a/x1"},
		{"of the longest account of it", 3, []string{"a/x", "a/y", "a/y", "b/z"}, "a/x0 b/z3 a/y1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newHashQueue(1)
			q.limit = c.limit
			names := line(q, c.waiting...)
			if got := order(q, names); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if q.count != 0 || len(q.sources) != 0 {
				t.Errorf("%d waiters and %d sources are left", q.count, len(q.sources))
			}
		})
	}
}

func TestHashQueueSheds(t *testing.T) {
	q := newHashQueue(1)
	q.limit = 1
	ctx := context.WithValue(context.Background(), claimantKey{}, claimant{"a", "x"})
	if err := q.enter(ctx); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error, 2)
	for range 2 {
		go func() { answers <- q.enter(ctx) }()
	}
	if err := <-answers; !fault.Is(err, 503) || fault.As(err).Header.Get("Retry-After") == "" {
		t.Fatal(err)
	}
	q.leave()
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	q.leave()
	if q.running != 0 || q.count != 0 {
		t.Errorf("%d running, %d waiting", q.running, q.count)
	}
}

// Whoever goes away leaves no hole: all slots are free in the end.
func TestHashQueueForgetsWhoIsGone(t *testing.T) {
	q := newHashQueue(2)
	var done sync.WaitGroup
	for i := range 200 {
		done.Go(func() {
			ctx, cancel := context.WithCancel(context.WithValue(context.Background(), claimantKey{}, claimant{fmt.Sprint(i % 3), fmt.Sprint(i % 7)}))
			if i%2 == 0 {
				go cancel()
			}
			defer cancel()
			if err := q.enter(ctx); err == nil {
				q.leave()
			} else if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if q.running != 0 || q.count != 0 || len(q.sources) != 0 {
		t.Errorf("%d running, %d waiting, %d sources", q.running, q.count, len(q.sources))
	}
}
