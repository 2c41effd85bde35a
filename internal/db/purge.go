package db

import (
	"context"
	"time"
)

// purgeBatch bounds a transaction of PurgeEvents: other writers wait no longer than for so many rows.
const purgeBatch = 1000

// PurgeEvents removes the entries of the outbox that are older than before, in transactions of bounded size, and returns how many.
// It may run on several controllers at once and be cut off anywhere.
func (d *DB) PurgeEvents(ctx context.Context, before time.Time) (int64, error) {
	var total int64
	for {
		var n int64
		err := d.Write(ctx, func(t *Tx) (err error) {
			n, err = t.Exec(`DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE at < $1 ORDER BY at, seq LIMIT $2)`, Micros(before), purgeBatch)
			return err
		})
		total += n
		if err != nil || n < purgeBatch {
			return total, err
		}
	}
}
