package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// purgeAtOnce bounds a transaction of Purge.
const purgeAtOnce = 500

// Purge removes the rows that were signed before, up to a signed head: always whole segments. It leaves a signed statement of where the log
// begins now, from which verification goes on; rows that are missing without one were tampered with. It may be cut off anywhere.
func (l *Log) Purge(ctx context.Context, before time.Time) (int64, error) {
	var base int64
	err := l.o.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := lockState(tx); err != nil {
			return err
		}
		var err error
		if base, err = baseOf(tx); err != nil {
			return err
		}
		// A head is signed after the rows that it covers were written, so they are older than it is.
		head, err := db.One(tx, scanStatement, `SELECT `+statementColumns+` FROM audit_heads WHERE kind = '`+headKind+`' AND at < $1 AND n > $2 ORDER BY n DESC LIMIT 1`,
			db.Micros(before), base)
		if errors.Is(err, db.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := l.signer.put(tx, baseKind, head.N, head.Hash); err != nil {
			return err
		}
		base = head.N
		_, err = tx.Exec(`DELETE FROM audit_heads WHERE n < $1`, base)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("retention of the audit log: %w", err)
	}
	if err := l.Export(ctx); err != nil {
		return 0, err
	}
	var total int64
	for {
		var n int64
		err := l.o.DB.Write(ctx, func(tx *db.Tx) (err error) {
			n, err = tx.Exec(`DELETE FROM audit_log WHERE n IN (SELECT n FROM audit_log WHERE n <= $1 ORDER BY n LIMIT $2)`, base, purgeAtOnce)
			return err
		})
		total += n
		if err != nil || n < purgeAtOnce {
			return total, err
		}
	}
}

// baseOf is the last row that was removed, or 0.
func baseOf(tx *db.Tx) (int64, error) {
	return db.One(tx, db.Value[int64], `SELECT coalesce(max(n), 0) FROM audit_heads WHERE kind = '`+baseKind+`'`)
}
