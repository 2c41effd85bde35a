package compute

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// sweepBatch bounds a transaction.
const sweepBatch = 100

// EndOnDownNodes ends the servers that shall be deleted and whose node has gone silent meanwhile, so that nothing stays in deleting
// until somebody repairs the node. The node removes what is left when it comes back, as after a delete while it was down.
func (s *Service) EndOnDownNodes(ctx context.Context) (int, error) {
	total := 0
	for {
		n := 0
		err := s.write(ctx, func(tx *db.Tx) error {
			n = 0
			hosts, err := s.computeHosts(tx)
			if err != nil {
				return err
			}
			var down []string
			for _, h := range hosts {
				if !h.Up() {
					down = append(down, h.Host)
				}
			}
			if len(down) == 0 {
				return nil
			}
			var w db.Where
			w.In("host", down).Add("NOT gone").Add("NOT deleted").Add("power = ?", nodeapi.PowerAbsent)
			rows, err := db.All(tx, scanServer, `SELECT `+serverColumns+` FROM servers`+w.SQL()+` ORDER BY num LIMIT `+w.Arg(sweepBatch)+lockRows(tx), w.Args()...)
			if err != nil {
				return err
			}
			for _, v := range rows {
				if err := s.end(tx, v); err != nil {
					return err
				}
			}
			n = len(rows)
			return nil
		})
		total += n
		if err != nil || n < sweepBatch {
			return total, err
		}
	}
}
