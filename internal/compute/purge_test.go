package compute

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func TestPurgeForgetsDeletedServersAndTheirActions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		s, err := New(Options{DB: d})
		if err != nil {
			t.Fatal(err)
		}
		limit := d.Now().Add(-30 * 24 * time.Hour)
		old, young := db.Micros(limit.Add(-time.Second)), db.Micros(limit)
		num := int64(0)
		add := func(id string, deleted, gone bool, at int64) func(*db.Tx) error {
			num++
			v := &Server{ID: id, Num: num, Deleted: deleted, Gone: gone, DeletedAt: at}
			return func(tx *db.Tx) error {
				if err := addServer(tx, v); err != nil {
					return err
				}
				_, err := tx.Exec(`INSERT INTO server_actions (server_id, request_id, action, user_id, project_id, started_at, updated_at, message, num, event, host, generation, finished_at, result, details)
					VALUES ($1, 'req', 'create', '', '', 0, 0, '', $2, '', '', 0, 0, '', '')`, id, v.Num)
				return err
			}
		}
		rows := []func(*db.Tx) error{
			add("lives", false, false, 0), add("young", true, true, young), add("node-not-heard", true, false, old),
		}
		for i := range purgeBatch + 1 {
			rows = append(rows, add(fmt.Sprint("old-", i), true, true, old))
		}
		if err := d.Write(ctx, func(tx *db.Tx) error {
			for _, put := range rows {
				if err := put(tx); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int64{purgeBatch + 1, 0} {
			if n, err := s.Purge(ctx, limit); err != nil || n != want {
				t.Fatalf("purged %d, error %v; want %d", n, err, want)
			}
		}
		for _, q := range []string{`SELECT id FROM servers ORDER BY num`, `SELECT server_id FROM server_actions ORDER BY num`} {
			var left []string
			if err := d.Read(ctx, func(tx *db.Tx) (err error) {
				left, err = db.All(tx, db.Value[string], q)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if want := []string{"lives", "young", "node-not-heard"}; !slices.Equal(left, want) {
				t.Errorf("%s: %v, want %v", q, left, want)
			}
		}
	})
}
