package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func insertSetting(name string) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES ($1, 'x')`, name)
		return err
	}
}

func settings(t *testing.T, d *DB) (n int64) {
	t.Helper()
	if err := d.Read(context.Background(), func(tx *Tx) (err error) {
		n, err = One(tx, Value[int64], `SELECT count(*) FROM settings`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// What may wait for the disk is there for everybody at once, and on the disk without anybody asking.
func TestWriteSoonReachesTheDisk(t *testing.T) {
	d, err := Open(t.Context(), Options{URL: "sqlite:" + t.TempDir() + "/h.db"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := d.backend.(*sqliteDB)
	synced, fail := make(chan struct{}, 10), true
	file := s.syncLog
	before := settings(t, d)
	// The writer goroutine reads the field when the first commit that may wait has armed its timer.
	s.syncLog = func() error {
		defer func() { synced <- struct{}{} }()
		if fail {
			fail = false
			return errors.New("the disk is away")
		}
		return file()
	}
	if err := d.WriteSoon(t.Context(), insertSetting("a")); err != nil || settings(t, d) != before+1 {
		t.Fatal(err, settings(t, d))
	}
	<-synced
	<-synced // a failure is tried again
	if err := d.WriteSoon(t.Context(), insertSetting("a")); !IsConflict(err, "") {
		t.Fatal(err)
	}
}

// The two kinds keep their order, and each is committed as it must be.
func TestWritesThatMayWaitAndThatMayNot(t *testing.T) {
	d, err := Open(t.Context(), Options{URL: "sqlite:" + t.TempDir() + "/h.db"})
	if err != nil {
		t.Fatal(err)
	}
	s := d.backend.(*sqliteDB)
	before := settings(t, d)
	level := func(tx *Tx) int64 {
		v, err := One(tx, Value[int64], `SELECT synchronous FROM pragma_synchronous`)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	const full, normal = 2, 1
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			name, strict := fmt.Sprint(i), i%3 == 0
			write := d.WriteSoon
			if strict {
				write = d.Write
			}
			err := write(context.Background(), func(tx *Tx) error {
				if l := level(tx); l != full && (strict || l != normal) {
					t.Errorf("level %d", l)
				}
				return insertSetting(name)(tx)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := settings(t, d); n != before+400 {
		t.Error(n)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if s.waits {
		t.Error("closed with something that is not on the disk")
	}
}
