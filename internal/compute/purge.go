package compute

import (
	"context"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// purgeBatch bounds a transaction of Purge.
const purgeBatch = 200

// Purge forgets the servers that were deleted before a time, with their actions, and returns how many. A server of which its node has
// not said yet that nothing is left stays: the node must still be told. It works in transactions of bounded size, may run on several
// controllers at once, and may be cut off anywhere.
func (s *Service) Purge(ctx context.Context, before time.Time) (int64, error) {
	var total int64
	for {
		var n int64
		err := s.o.DB.Write(ctx, func(tx *db.Tx) error {
			ids, err := db.All(tx, db.Value[string],
				`SELECT id FROM servers WHERE deleted AND gone AND deleted_at < $1 ORDER BY deleted_at, num LIMIT $2`+lockRows(tx), db.Micros(before), purgeBatch)
			if err != nil {
				return err
			}
			n = int64(len(ids))
			if n == 0 {
				return nil
			}
			actions := new(db.Where).In("server_id", ids)
			if _, err := tx.Exec(`DELETE FROM server_actions`+actions.SQL(), actions.Args()...); err != nil {
				return err
			}
			servers := new(db.Where).In("id", ids)
			_, err = tx.Exec(`DELETE FROM servers`+servers.SQL(), servers.Args()...)
			return err
		})
		if err != nil {
			return total, err
		}
		total += n
		if n < purgeBatch {
			return total, nil
		}
	}
}
