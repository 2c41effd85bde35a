package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hanok-cloud/hanok/internal/audit"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// Many requests write while two controllers chain: each entry is in the chain once, and the chain is whole.
func TestWritersAndTwoChainers(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		logs := []*audit.Log{w.log, w.log}
		if url != "sqlite::memory:" {
			other := newWorld(t, url)
			logs[1] = other.log
		}
		const writers, requests = 8, 25
		var wg, chaining sync.WaitGroup
		done := make(chan struct{})
		for _, l := range logs {
			chaining.Go(func() {
				for {
					if err := l.Chain(context.Background()); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		for i := range writers {
			wg.Go(func() {
				for j := range requests {
					path := fmt.Sprintf("/things/%d-%d", i, j)
					if j%3 == 0 {
						path += "/nothing"
					}
					if code, _ := w.send("member", "PUT", path, ""); code != 200 {
						t.Error(path, code)
					}
				}
			})
		}
		wg.Wait()
		close(done)
		chaining.Wait()
		w.chain()
		w.good(1, writers*requests)
		seen := map[string]int{}
		for _, e := range w.events(audit.Query{}) {
			seen[e.Target.ID]++
		}
		for i := range writers {
			for j := range requests {
				if id := fmt.Sprintf("%d-%d", i, j); seen[id] != 1 {
					t.Errorf("%s is in the log %d times", id, seen[id])
				}
			}
		}
	})
}

// The process ends between the commit of a change and the chaining of its entry, or in the middle of chaining.
func TestAnotherProcessGoesOn(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		if url == "sqlite::memory:" {
			t.Skip("it ends with its process")
		}
		w := newWorld(t, url)
		w.append(3)
		w.chain()
		w.append(250)
		// Row 150 is in the way: the transaction that comes to it is undone, as by the end of the process.
		w.exec(`INSERT INTO audit_log (n, event, hash, at, service, action, outcome, user_id, project_id, target_id, request_id) VALUES (150,'','',0,'','','','','','','')`)
		if err := w.log.Chain(context.Background()); err == nil {
			t.Fatal("row 150 is taken")
		}
		w.exec(`DELETE FROM audit_log WHERE n = 150`)
		if err := w.d.Close(); err != nil {
			t.Fatal(err)
		}
		w = newWorld(t, url)
		if n := w.count(`SELECT count(*) FROM audit_inbox`); n != 150 {
			t.Errorf("%d entries wait, want the 150 of the transaction that was undone and of the one after it", n)
		}
		if v := w.verify(false); v.Problem != "" || v.Waiting != 150 || v.Last != 103 {
			t.Errorf("%+v", v)
		}
		w.chain()
		w.good(1, 253)
	})
}

// On PostgreSQL a row may become visible after one with a higher number.
func TestALateRowIsNotSkipped(t *testing.T) {
	w := newWorld(t, dbtest.PostgresURL(t))
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := make(chan error)
	go func() {
		slow <- w.d.Write(context.Background(), func(tx *db.Tx) error {
			if _, err := tx.Exec(`INSERT INTO audit_inbox (event) VALUES ('late')`); err != nil {
				return err
			}
			close(entered)
			<-leave
			return nil
		})
	}()
	<-entered
	w.append(2)
	w.chain()
	w.good(1, 2) // it did not wait
	close(leave)
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	w.chain()
	w.good(1, 3)
	if n := w.count(`SELECT n FROM audit_log WHERE event = 'late'`); n != 3 {
		t.Error(n)
	}
}

func TestHeads(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	heads := func() (n []int64) {
		if _, err := audit.ReadHeads(w.heads, func(s audit.Statement) { n = append(n, s.N) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	w.append(1)
	w.chain()
	w.append(5)
	w.chain()
	if got := fmt.Sprint(heads()); got != "[1]" {
		t.Errorf("%s: a head is signed once a minute", got)
	}
	w.step(time.Minute)
	w.chain()
	w.step(time.Hour)
	w.chain() // nothing is new
	if got := fmt.Sprint(heads()); got != "[1 6]" {
		t.Error(got)
	}
	w.append(1100)
	w.chain()
	if got := fmt.Sprint(heads()); got != "[1 6 106 1106]" {
		t.Errorf("%s: a head is signed for a thousand rows", got)
	}
	w.good(1, 1106)
	if s := w.verify(true).String(); !strings.Contains(s, "rows 1 to 1106") {
		t.Error(s)
	}
}

// tampering is what somebody who may write the database does to a log of 30 rows with heads of rows 10, 20 and 30.
type tampering struct {
	name       string
	do         func(w *world)
	since, bad int64
	// only the exported heads show it
	exported bool
}

func tamperings() []tampering {
	sql := func(text string) func(*world) { return func(w *world) { w.exec(text) } }
	return []tampering{
		{"an event", sql(`UPDATE audit_log SET event = replace(event, 'success', 'failure') WHERE n = 7`), 6, 7, false},
		{"a hash", sql(`UPDATE audit_log SET hash = 'x' WHERE n = 7`), 6, 7, false},
		{"a column", sql(`UPDATE audit_log SET user_id = 'somebody else' WHERE n = 12`), 11, 12, false},
		{"a row is gone", sql(`DELETE FROM audit_log WHERE n = 15`), 14, 15, false},
		{"a row is gone and the others moved up", sql(`DELETE FROM audit_log WHERE n = 15; UPDATE audit_log SET n = -n WHERE n > 15; UPDATE audit_log SET n = -n - 1 WHERE n < 0; UPDATE audit_state SET n = 29`), 14, 15, false},
		{"two rows change places", sql(`UPDATE audit_log SET n = -1 WHERE n = 8; UPDATE audit_log SET n = 8 WHERE n = 9; UPDATE audit_log SET n = 9 WHERE n = -1`), 7, 8, false},
		{"a row at the end", sql(`INSERT INTO audit_log SELECT n + 1, event, hash, at, service, action, outcome, user_id, project_id, target_id, request_id FROM audit_log WHERE n = 30`), 30, 31, false},
		{"the beginning", sql(`DELETE FROM audit_log WHERE n <= 10`), 0, 1, false},
		{"the beginning, said to be the retention's doing", sql(`DELETE FROM audit_log WHERE n <= 10; UPDATE audit_heads SET kind = 'base' WHERE n = 10`), 0, 1, false},
		{"the end", sql(`DELETE FROM audit_log WHERE n > 25`), 25, 26, false},
		{"the end with the state", sql(`DELETE FROM audit_log WHERE n > 25; UPDATE audit_state SET n = 25, hash = (SELECT hash FROM audit_log WHERE n = 25), head_n = 20`), 25, 26, false},
		{"the end with the state and its head", sql(`DELETE FROM audit_log WHERE n > 25; DELETE FROM audit_heads WHERE n > 25; UPDATE audit_state SET n = 25, hash = (SELECT hash FROM audit_log WHERE n = 25), head_n = 20`), 25, 26, true},
		{"everything", sql(`DELETE FROM audit_log; DELETE FROM audit_heads; UPDATE audit_state SET n = 0, hash = '', head_n = 0, head_at = 0`), 0, 1, true},
		{"the chain is computed anew from row 13", func(w *world) { w.rewrite(13) }, 10, 20, false},
		{"the chain is computed anew and the heads removed", func(w *world) { w.rewrite(13); w.exec(`DELETE FROM audit_heads WHERE n > 10`) }, 10, 20, true},
		{"a head", sql(`UPDATE audit_heads SET hash = 'x' WHERE n = 20`), 0, 20, false},
		{"everything anew, signed with the cloud's own key", func(w *world) {
			w.exec(`DELETE FROM audit_log; DELETE FROM audit_heads; UPDATE audit_state SET n = 0, hash = '', head_n = 0, head_at = 0`)
			for range 3 {
				w.append(10)
				w.step(time.Hour)
				if err := w.log.Chain(context.Background()); err != nil {
					w.t.Fatal(err)
				}
			}
		}, 0, 10, true},
	}
}

// rewrite changes row n and computes all hashes from there on, as somebody with the program's source can.
func (w *world) rewrite(n int64) {
	w.exec(`UPDATE audit_log SET event = replace(event, 'update', 'delete'), action = 'delete' WHERE n = $1`, n)
	hash := ""
	err := w.d.Write(context.Background(), func(tx *db.Tx) error {
		type row struct {
			n           int64
			event, hash string
		}
		rows, err := db.All(tx, func(r db.Row) (v row, err error) { return v, r.Scan(&v.n, &v.event, &v.hash) }, `SELECT n, event, hash FROM audit_log ORDER BY n`)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.n >= n {
				r.hash = audit.ChainHash(r.n, hash, r.event)
				if _, err := tx.Exec(`UPDATE audit_log SET hash = $1 WHERE n = $2`, r.hash, r.n); err != nil {
					return err
				}
			}
			hash = r.hash
		}
		_, err = tx.Exec(`UPDATE audit_state SET hash = $1`, hash)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// reset empties the log, the inbox and the heads file.
func (w *world) reset() {
	w.t.Helper()
	w.exec(`DELETE FROM audit_inbox; DELETE FROM audit_log; DELETE FROM audit_heads; UPDATE audit_state SET n = 0, hash = '', head_n = 0, head_at = 0`)
	if err := os.Remove(w.heads); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
}

// thirty makes a log of 30 rows with heads of rows 10, 20 and 30.
func (w *world) thirty() {
	for range 3 {
		w.step(time.Hour)
		w.append(10)
		w.chain()
	}
	w.good(1, 30)
}

func TestTampering(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		for _, c := range tamperings() {
			w.reset()
			w.thirty()
			c.do(w)
			v := w.verify(true)
			if v.Problem == "" || v.Bad != c.bad || v.Since != c.since {
				t.Errorf("%s: first bad row %d after %d, want %d after %d: %s", c.name, v.Bad, v.Since, c.bad, c.since, v)
			}
			if !strings.Contains(v.String(), fmt.Sprint("first bad row ", c.bad)) {
				t.Errorf("%s: %s", c.name, v)
			}
			if v := w.verify(false); (v.Problem == "") != c.exported {
				t.Errorf("%s: without the exported heads: %s", c.name, v)
			}
		}
	})
}

// A log that ends before its exported heads is noticed by the next export.
func TestExportNoticesARollback(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	w.thirty()
	w.exec(`DELETE FROM audit_log WHERE n > 25; DELETE FROM audit_heads WHERE n > 25; UPDATE audit_state SET n = 25, hash = (SELECT hash FROM audit_log WHERE n = 25), head_n = 20`)
	if err := w.log.Export(context.Background()); err == nil || !strings.Contains(err.Error(), "ends at row 25") {
		t.Error(err)
	}
}

func TestRetention(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		start := w.now()
		w.thirty() // heads 1, 2 and 3 hours after the start
		purge := func(before time.Time, want int64) {
			t.Helper()
			if n, err := w.log.Purge(context.Background(), before); err != nil || n != want {
				t.Errorf("%d rows removed, want %d: %v", n, want, err)
			}
		}
		purge(start.Add(30*time.Minute), 0)
		w.good(1, 30)
		purge(start.Add(90*time.Minute), 10)
		w.good(11, 30)
		purge(start.Add(90*time.Minute), 0)
		w.append(5) // not signed yet
		if err := w.log.Chain(context.Background()); err != nil {
			t.Fatal(err)
		}
		purge(start.Add(24*time.Hour), 20)
		w.good(31, 35)
		// An empty log knows where it goes on.
		w.step(time.Hour)
		w.chain()
		purge(start.Add(24*time.Hour), 5)
		w.good(36, 35)
		w.append(1)
		w.chain()
		w.good(36, 36)
		w.exec(`DELETE FROM audit_log WHERE n = 36`)
		if v := w.verify(true); v.Bad != 36 {
			t.Errorf("%+v", v)
		}
	})
}

// The retention is cut off before it has removed all rows; what is left below the base is not part of the log.
func TestRetentionIsRepeatable(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	w.thirty()
	w.exec(`CREATE TRIGGER stop BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'cut off'); END`)
	if _, err := w.log.Purge(context.Background(), w.now().Add(-90*time.Minute)); err == nil {
		t.Fatal("the trigger stops it")
	}
	w.good(11, 30)
	w.exec(`DROP TRIGGER stop`)
	if n, err := w.log.Purge(context.Background(), w.now().Add(-90*time.Minute)); n != 10 || err != nil {
		t.Error(n, err)
	}
	w.good(11, 30)
}

// Whatever happens in whatever order, the log verifies; and whichever row is changed then is found.
func TestAnyHistory(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	rapid.Check(t, func(rt *rapid.T) {
		w.reset()
		ctx := context.Background()
		written, removed := int64(0), int64(0)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) { n := rapid.IntRange(1, 12).Draw(rt, "rows"); w.append(n); written += int64(n) },
			"chain":  func(*rapid.T) { w.chain() },
			"wait":   func(rt *rapid.T) { w.step(time.Duration(rapid.IntRange(1, 100).Draw(rt, "seconds")) * time.Second) },
			"purge": func(rt *rapid.T) {
				n, err := w.log.Purge(ctx, w.now().Add(-time.Duration(rapid.IntRange(0, 200).Draw(rt, "seconds"))*time.Second))
				if err != nil {
					rt.Fatal(err)
				}
				removed += n
			},
			"": func(rt *rapid.T) {
				v, err := audit.Verify(ctx, audit.VerifyOptions{DB: w.d, KEK: kek()})
				if err != nil || v.Problem != "" || v.First != removed+1 || v.Last+v.Waiting != written {
					rt.Fatalf("%+v %v; %d written, %d removed", v, err, written, removed)
				}
			},
		})
		w.chain()
		v := w.verify(true)
		if v.Last < v.First {
			return
		}
		n := rapid.Int64Range(v.First, v.Last).Draw(rt, "row")
		change := rapid.SampledFrom([]string{`UPDATE audit_log SET event = event || ' ' WHERE n = $1`, `DELETE FROM audit_log WHERE n = $1`,
			`UPDATE audit_log SET at = at + 1 WHERE n = $1`, `UPDATE audit_log SET hash = upper(hash) || '0' WHERE n = $1`}).Draw(rt, "change")
		w.exec(change, n)
		if v := w.verify(true); v.Bad != n {
			rt.Fatalf("%s of row %d: %+v", change, n, v)
		}
	})
}

func TestAnotherKeyEncryptionKey(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	_, err := audit.New(context.Background(), audit.Options{DB: w.d, KEK: make([]byte, 32)})
	if err == nil || !strings.Contains(err.Error(), "key-encryption key") {
		t.Error(err)
	}
	if errors.Is(err, db.ErrNotFound) {
		t.Error(err)
	}
}
