package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// VerifyOptions for Verify.
type VerifyOptions struct {
	DB  *db.DB
	KEK []byte // opens the keys that heads must be signed with
	// Heads are exported statements; without them a tail that was cut together with its heads is not missed.
	Heads []Statement
}

// Verdict is what Verify found.
type Verdict struct {
	First, Last int64 // the rows that were checked; Last is First-1 when there are none
	Signed      int64 // the last row that a signed head covers
	Heads       int   // signed heads that were compared with their rows
	Waiting     int64 // entries that are not chained yet
	// Bad is the first row at which the log is not what it was; 0: none. With Since below Bad, it is some row after Since up to Bad.
	Bad, Since int64
	Problem    string // what is wrong; empty: nothing
}

// verifyAtOnce bounds one read of the database.
const verifyAtOnce = 1000

// verifier walks along the chain.
type verifier struct {
	keys   map[string]ed25519.PrivateKey
	heads  []Statement // by row, those of the database and the exported ones
	n      int64       // the last row that was good
	hash   string
	signed int64
	used   int
}

// errTampered ends a walk; the verdict says why.
var errTampered = errors.New("the audit log was tampered with")

// Verify follows the chain from its base and compares it with the signed heads. It stops at the first row that is wrong.
func Verify(ctx context.Context, o VerifyOptions) (Verdict, error) {
	var v Verdict
	keys, _, err := loadKeys(ctx, o.DB, o.KEK)
	if err != nil {
		return v, err
	}
	w := &verifier{keys: keys}
	err = o.DB.Read(ctx, func(tx *db.Tx) (err error) {
		w.heads, err = db.All(tx, scanStatement, `SELECT `+statementColumns+` FROM audit_heads WHERE kind = '`+headKind+`'`)
		return err
	})
	if err != nil {
		return v, err
	}
	for _, s := range o.Heads {
		if s.Kind == headKind {
			w.heads = append(w.heads, s)
		}
	}
	for _, s := range w.heads {
		if !s.signedBy(keys) {
			v.Bad, v.Problem = s.N, fmt.Sprintf("the head of row %d is not signed by a key of this cloud", s.N)
			return v, nil
		}
	}
	slices.SortFunc(w.heads, func(a, b Statement) int { return cmp.Compare(a.N, b.N) })
	v.First = 1
	err = w.walk(ctx, o.DB, &v)
	v.Last, v.Signed, v.Heads = w.n, w.signed, w.used
	if errors.Is(err, errTampered) {
		err = nil
	}
	return v, err
}

func (w *verifier) walk(ctx context.Context, d *db.DB, v *Verdict) error {
	for {
		var rows []storedRow
		var end state
		err := d.Read(ctx, func(tx *db.Tx) (err error) {
			// Looked up for every page: the retention may go on meanwhile.
			bases, err := db.All(tx, scanStatement, `SELECT `+statementColumns+` FROM audit_heads WHERE kind = '`+baseKind+`' AND n > $1 ORDER BY n DESC LIMIT 1`, w.n)
			if err != nil {
				return err
			}
			if len(bases) > 0 {
				if err := w.start(bases[0], v); err != nil {
					return err
				}
			}
			if rows, err = db.All(tx, scanStored, `SELECT n, event, hash, at, service, action, outcome, user_id, project_id, target_id, request_id
				FROM audit_log WHERE n > $1 ORDER BY n LIMIT $2`, w.n, verifyAtOnce); err != nil {
				return err
			}
			if end, err = readState(tx); err != nil {
				return err
			}
			v.Waiting, err = db.One(tx, db.Value[int64], `SELECT count(*) FROM audit_inbox`)
			return err
		})
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := w.check(r, v); err != nil {
				return err
			}
		}
		if len(rows) == verifyAtOnce {
			continue
		}
		return w.checkEnd(end, v)
	}
}

// start goes on behind the rows that the retention removed.
func (w *verifier) start(base Statement, v *Verdict) error {
	if !base.signedBy(w.keys) {
		return v.bad(w.n, w.n+1, "the statement that rows up to %d were removed after their retention is not signed by a key of this cloud", base.N)
	}
	// Heads below the base tell of rows that are gone.
	w.heads = slices.DeleteFunc(w.heads, func(s Statement) bool { return s.N < base.N })
	w.n, w.hash, w.signed, v.First = base.N, base.Hash, base.N, base.N+1
	return w.compareHeads(v)
}

type storedRow struct {
	n           int64
	event, hash string
	columns     columns
}

func scanStored(r db.Row) (v storedRow, err error) {
	c := &v.columns
	return v, r.Scan(&v.n, &v.event, &v.hash, &c.at, &c.service, &c.action, &c.outcome, &c.user, &c.project, &c.target, &c.requestID)
}

func (v *Verdict) bad(since, n int64, format string, args ...any) error {
	v.Since, v.Bad, v.Problem = since, n, fmt.Sprintf(format, args...)
	return errTampered
}

func (w *verifier) check(r storedRow, v *Verdict) error {
	if r.n != w.n+1 {
		return v.bad(w.n, w.n+1, "row %d is missing; the next one is %d", w.n+1, r.n)
	}
	if want := chainHash(r.n, w.hash, r.event); r.hash != want {
		return v.bad(w.n, r.n, "row %d was changed, or the row before it was: its hash does not fit", r.n)
	}
	if r.columns != columnsOf(r.event) {
		return v.bad(w.n, r.n, "row %d: the columns that searches look at do not say what its event says", r.n)
	}
	w.n, w.hash = r.n, r.hash
	return w.compareHeads(v)
}

// compareHeads compares the row just passed with the heads signed of it.
func (w *verifier) compareHeads(v *Verdict) error {
	n := 0 // the database and the file may both have one
	for ; n < len(w.heads) && w.heads[n].N == w.n; n++ {
		if w.heads[n].Hash != w.hash {
			return v.bad(w.signed, w.n, "the head of row %d that was signed at %s has another hash: a row after %d and up to %d was changed and the chain computed anew",
				w.n, db.Time(w.heads[n].At).Format(time.RFC3339), w.signed, w.n)
		}
	}
	if n > 0 {
		w.heads, w.signed = w.heads[n:], w.n
		w.used++
	}
	return nil
}

func (w *verifier) checkEnd(end state, v *Verdict) error {
	switch {
	case len(w.heads) > 0:
		last := w.heads[len(w.heads)-1]
		return v.bad(w.n, w.n+1, "the log ends at row %d, but there is a head of row %d, signed at %s: rows were cut off the end",
			w.n, last.N, db.Time(last.At).Format(time.RFC3339))
	case end.n > w.n:
		return v.bad(w.n, w.n+1, "the log ends at row %d, but %d rows were chained: rows were cut off the end", w.n, end.n)
	case end.n < w.n || end.hash != w.hash:
		return v.bad(end.n, end.n+1, "the log ends at row %d, but only %d rows were chained: rows were put at its end", w.n, end.n)
	}
	return nil
}

func (v Verdict) String() string {
	if v.Problem != "" {
		text := fmt.Sprintf("TAMPERED: first bad row %d: %s.\n", v.Bad, v.Problem)
		if v.Last >= v.First {
			text += fmt.Sprintf("Rows %d to %d are as they were written; %d of them are covered by signed heads.\n", v.First, v.Last, max(0, v.Signed-v.First+1))
		}
		return text
	}
	s := fmt.Sprintf("The audit log is as it was written: rows %d to %d, %d signed heads.\n", v.First, v.Last, v.Heads)
	if v.Last < v.First {
		s = "The audit log is empty.\n"
	}
	if n := v.Last - v.Signed; n > 0 {
		s += fmt.Sprintf("The last %d rows have no signed head yet.\n", n)
	}
	if v.Waiting > 0 {
		s += fmt.Sprintf("%d entries wait to be chained.\n", v.Waiting)
	}
	return s
}
