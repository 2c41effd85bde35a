package audit_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/audit"
)

// from sends a request as if it came from an address of its own.
func from(i int) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = fmt.Sprintf("198.51.%d.%d:1", i/256%256, i%256) }
}

// sum counts the refusals that entries stand for.
func sum(events []audit.Event) (n int64) {
	for _, e := range events {
		n += max(1, e.Count)
	}
	return n
}

func TestAFloodIsCounted(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		for _, c := range []struct {
			name      string
			addresses int
			most      int
		}{{"from one address", 1, 9}, {"from thousands", 5000, 170}} {
			t.Run(c.name, func(t *testing.T) {
				w := newWorld(t, url)
				before := len(w.events(audit.Query{}))
				const requests = 5000
				var wg sync.WaitGroup
				for worker := range 4 {
					wg.Go(func() {
						for i := worker; i < requests; i += 4 {
							w.send("", "POST", "/login", `{"name":"kim","password":"wrong"}`, from(i%c.addresses))
						}
					})
				}
				wg.Wait()
				got := w.events(audit.Query{})[before:]
				if n := sum(got); n != requests {
					t.Errorf("the log tells of %d refusals, %d were sent", n, requests)
				}
				if len(got) > c.most {
					t.Errorf("%d entries, want at most %d", len(got), c.most)
				}
				// A success among them has its entry all the same.
				w.send("member", "PUT", "/things/a", "", from(1))
				if n := len(w.events(audit.Query{Outcome: audit.Success, Target: "a"})); n == 0 {
					t.Error("the success is missing")
				}
			})
		}
	})
}

// A window that is over makes room for entries of their own again.
func TestAfterTheFlood(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	for range 20 {
		w.send("", "PUT", "/things/a", "")
	}
	if got := w.events(audit.Query{}); len(got) != 9 || got[8].Count != 12 || got[8].Until == "" {
		t.Fatalf("%d entries, the last %+v", len(got), got[len(got)-1])
	}
	w.send("", "PUT", "/things/a", "")
	if got := w.events(audit.Query{}); len(got) != 10 || got[9].Count != 0 {
		t.Errorf("%d entries, the last %+v", len(got), got[len(got)-1])
	}
}

// While the database does not take refusals they are kept, bounded, and none is lost.
func TestRefusalsOutliveTheDatabasesAbsence(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	ctx := context.Background()
	w.exec(`ALTER TABLE audit_inbox RENAME TO elsewhere`)
	const rounds, each = 40, 300
	for i := range rounds {
		for j := range each {
			w.send("", "PUT", "/things/a", "", from(i*each+j))
		}
		if err := w.log.Flush(ctx, true); err == nil {
			t.Fatal("the inbox is not there")
		}
	}
	w.exec(`ALTER TABLE elsewhere RENAME TO audit_inbox`)
	got := w.events(audit.Query{})
	if n := sum(got); n != rounds*each {
		t.Errorf("the log tells of %d refusals, %d were sent", n, rounds*each)
	}
	if len(got) > 2300 {
		t.Errorf("%d entries were kept", len(got))
	}
}

func TestRunWritesAndEndsWithWhatIsLeft(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.log.Run(ctx); close(done) }()
	ticks := func(n int) {
		for range n {
			w.ticks <- time.Time{} // taken when the work of the one before is done
		}
	}
	inbox := func() int64 { return w.count(`SELECT count(*) FROM audit_inbox`) }
	refuse := func() {
		for range 20 {
			w.send("", "PUT", "/things/a", "")
		}
	}
	refuse()
	ticks(2)
	if n := inbox(); n != 8 {
		t.Errorf("%d entries after a tick, want 8", n)
	}
	ticks(9)
	if n := inbox(); n != 9 {
		t.Errorf("%d entries after the window, want 9", n)
	}
	refuse()
	cancel()
	<-done
	if n := inbox(); n != 18 {
		t.Errorf("%d entries in the end, want 18", n)
	}
}
