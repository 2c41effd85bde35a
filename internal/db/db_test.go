package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func put(name, value string) func(*db.Tx) error {
	return func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES ($1, $2)`, name, value)
		return err
	}
}

func count(t *testing.T, d *db.DB) int64 {
	t.Helper()
	var n int64
	if err := d.Read(context.Background(), func(tx *db.Tx) (err error) {
		n, err = db.One(tx, db.Value[int64], `SELECT count(*) FROM settings`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFailedClosureLeavesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		boom := errors.New("boom")
		err := d.Write(context.Background(), func(tx *db.Tx) error {
			return errors.Join(put("a", "1")(tx), boom)
		})
		if !errors.Is(err, boom) || count(t, d) != 0 {
			t.Fatalf("error %v, %d rows", err, count(t, d))
		}
	})
}

func TestConcurrentWritesShareCommitsAndFailAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var wg sync.WaitGroup
		errs := make([]error, 100)
		for i := range errs {
			wg.Go(func() { errs[i] = d.Write(context.Background(), put(fmt.Sprint(i/2), "x")) })
		}
		wg.Wait()
		conflicts := 0
		for _, err := range errs {
			if db.IsConflict(err, "settings") {
				conflicts++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, d); conflicts != 50 || n != 50 {
			t.Fatalf("%d conflicts, %d rows; want 50 and 50", conflicts, n)
		}
	})
}

func TestRevisionsGrow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var last int64
		for range 3 {
			if err := d.Write(context.Background(), func(tx *db.Tx) error {
				r, err := tx.NextRevision()
				if r <= last {
					t.Errorf("revision %d after %d", r, last)
				}
				last = r
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWakeUpsComeAfterTheCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		s := d.Subscribe("x")
		defer s.Close()
		go func() {
			_ = d.Write(context.Background(), func(tx *db.Tx) error {
				tx.Wake("x")
				return put("a", "1")(tx)
			})
		}()
		for count(t, d) == 0 { // PostgreSQL wakes everybody once when it starts to listen
			<-s.C
		}
	})
}

func TestPanicIsTheCallersAndUndone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = d.Write(context.Background(), func(tx *db.Tx) error {
				_ = put("a", "1")(tx)
				panic("boom")
			})
		}()
		if n := count(t, d); n != 0 {
			t.Fatalf("%d rows", n)
		}
	})
}

func TestArgumentsKeepTheirNumbers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		if err := d.Write(context.Background(), func(tx *db.Tx) error {
			if _, err := tx.Exec(`INSERT INTO settings (value, name) VALUES ($2, $1)`, "n", "v"); err != nil {
				return err
			}
			v, err := db.One(tx, db.Value[string], `SELECT value FROM settings WHERE name = $1 AND '$2' = '$2' AND regexp_like(value, $2)`, "n", "^v$")
			if v != "v" {
				t.Errorf("value %q", v)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkDurableWrites: the grouped rate of durable single-row writes; compare -cpu and parallelism.
func BenchmarkDurableWrites(b *testing.B) {
	d, err := db.Open(context.Background(), db.Options{URL: "sqlite:" + filepath.Join(b.TempDir(), "b.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	var n sync.Mutex
	i := 0
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n.Lock()
			i++
			name := fmt.Sprint(i)
			n.Unlock()
			if err := d.Write(context.Background(), put(name, "x")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestFilesAreForTheirOwnerAlone: the database holds hashes of passwords and tenants' data, and its folder is one that guests' user passes through.
func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	d, err := db.Open(context.Background(), db.Options{URL: "sqlite:" + filepath.Join(dir, "hanok.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if st, err := f.Info(); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), st.Mode(), err)
		}
	}
}
