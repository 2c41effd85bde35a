package db_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func TestPurgeEventsRemovesWhatIsOlder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		now := d.Now()
		// More than two batches are old; one is exactly at the limit, one younger.
		if err := d.Write(ctx, func(tx *db.Tx) error {
			for i := range 2500 {
				if err := tx.Emit(db.Change{Kind: "server", ID: fmt.Sprint(i), Action: "create"}); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(`UPDATE events SET at = $1`, db.Micros(now.Add(-31*24*time.Hour))); err != nil {
				return err
			}
			for _, id := range []string{"limit", "young"} {
				if err := tx.Emit(db.Change{Kind: "server", ID: id, Action: "create"}); err != nil {
					return err
				}
			}
			_, err := tx.Exec(`UPDATE events SET at = $1 WHERE resource_id = 'limit'`, db.Micros(now.Add(-30*24*time.Hour)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int64{2500, 0} {
			if n, err := d.PurgeEvents(ctx, now.Add(-30*24*time.Hour)); err != nil || n != want {
				t.Fatalf("purged %d, error %v; want %d", n, err, want)
			}
		}
		var left []string
		if err := d.Read(ctx, func(tx *db.Tx) (err error) {
			left, err = db.All(tx, db.Value[string], `SELECT resource_id FROM events ORDER BY seq`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(left, []string{"limit", "young"}) {
			t.Fatalf("left: %v", left)
		}
	})
}

func TestPurgeEventsStopsWhenCutOff(t *testing.T) {
	d := dbtest.Memory(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.PurgeEvents(ctx, d.Now()); err == nil {
		t.Fatal("no error")
	}
}
