package db_test

import (
	"context"
	"slices"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// TestManyConditions: a query string of 16 KiB makes thousands of conditions, and every engine answers.
func TestManyConditions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const n = 8000
		every, some := &db.Where{}, &db.Where{}
		for range n {
			every.Add("name <> ?", "x")
		}
		args := make([]any, n)
		for i := range args {
			args[i] = "x"
		}
		args[n/2] = "there"
		some.Add(db.Join(slices.Repeat([]string{"name = ?"}, n), " OR "), args...)
		if err := d.Write(context.Background(), func(tx *db.Tx) error {
			_, err := tx.Exec(`INSERT INTO settings (name, value) VALUES ($1, $2)`, "there", "1")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for what, w := range map[string]*db.Where{"AND": every, "OR": some} {
			if err := d.Read(context.Background(), func(tx *db.Tx) error {
				found, err := db.All(tx, db.Value[string], `SELECT name FROM settings`+w.SQL(), w.Args()...)
				if err == nil && !slices.Contains(found, "there") {
					t.Errorf("%s: %v", what, found)
				}
				return err
			}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

// TestKeysThatComeAgain: the condition behind a marker grows with the square of the keys, so that a repeated one must not count.
func TestKeysThatComeAgain(t *testing.T) {
	orders := slices.Repeat([]db.Order{{Column: "a"}, {Column: "b", Desc: true}, {Column: "a", Desc: true}}, 5000)
	w := (&db.Where{}).After(orders, make([]any, len(orders)))
	if got := w.SQL(); got != " WHERE (a > $1 OR a = $2 AND b < $3)" || len(w.Args()) != 3 {
		t.Errorf("%s with %d arguments", got, len(w.Args()))
	}
	if got := db.OrderBy(orders); got != " ORDER BY a, b DESC" {
		t.Error(got)
	}
}
