package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// When the head is signed: a row is unsigned for no longer than this.
const (
	headRows  = 1000
	headEvery = time.Minute
)

// chainAtOnce bounds a transaction of the chaining job; with SQLite other writers wait for it.
const chainAtOnce = 100

// state is where the chain ends.
type state struct {
	n             int64
	hash          string
	headN, headAt int64
}

// lockState reads the end of the chain and holds it: of several controllers one chains at a time.
func lockState(tx *db.Tx) (state, error) {
	return db.One(tx, scanState, `UPDATE audit_state SET id = id WHERE id = 1 RETURNING n, hash, head_n, head_at`)
}

func readState(tx *db.Tx) (state, error) {
	return db.One(tx, scanState, `SELECT n, hash, head_n, head_at FROM audit_state WHERE id = 1`)
}

func scanState(r db.Row) (state, error) {
	var s state
	return s, r.Scan(&s.n, &s.hash, &s.headN, &s.headAt)
}

func (s state) headDue(now time.Time) bool {
	return s.n > s.headN && (s.n-s.headN >= headRows || now.UnixMicro()-s.headAt >= headEvery.Microseconds())
}

// chainHash binds a row to its number and to all rows before it.
func chainHash(n int64, previous, event string) string {
	h := sha256.New()
	var head [16]byte
	binary.BigEndian.PutUint64(head[:8], uint64(n))
	binary.BigEndian.PutUint64(head[8:], uint64(len(previous)))
	_, _ = h.Write([]byte("hanok audit row 1\n"))
	_, _ = h.Write(head[:])
	_, _ = h.Write([]byte(previous))
	_, _ = h.Write([]byte(event))
	return hex.EncodeToString(h.Sum(nil))
}

// columns are what searches look at. They are read out of the event; what cannot be read is empty, since nothing may stop the chain.
type columns struct {
	at                                                         int64
	service, action, outcome, user, project, target, requestID string
}

func columnsOf(event string) columns {
	var e struct {
		EventTime, Action, Outcome string
		Initiator                  struct {
			UserID    string `json:"user_id"`
			ProjectID string `json:"project_id"`
			RequestID string `json:"request_id"`
		}
		Target struct {
			ID        string
			ProjectID string `json:"project_id"`
		}
		Observer struct{ ID string }
	}
	if json.Unmarshal([]byte(event), &e) != nil {
		return columns{}
	}
	c := columns{service: e.Observer.ID, action: e.Action, outcome: e.Outcome, user: e.Initiator.UserID, project: e.Target.ProjectID,
		target: e.Target.ID, requestID: e.Initiator.RequestID}
	if c.project == "" {
		c.project = e.Initiator.ProjectID
	}
	if at, err := time.Parse(timeLayout, e.EventTime); err == nil {
		c.at = at.UnixMicro()
	}
	return c
}

type inboxRow struct {
	seq   int64
	event string
}

// Chain takes everything from the inbox into the chain, and signs its head when that is due. It may run on several controllers at once and
// be cut off anywhere.
func (l *Log) Chain(ctx context.Context) error {
	for {
		// Asked first without a lock: mostly there is nothing to do.
		var due bool
		err := l.o.DB.Read(ctx, func(tx *db.Tx) error {
			waiting, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM (SELECT seq FROM audit_inbox LIMIT 1) AS one`)
			if err != nil {
				return err
			}
			s, err := readState(tx)
			due = waiting > 0 || s.headDue(tx.Now())
			return err
		})
		if err != nil || !due {
			return err
		}
		if err := l.o.DB.Write(ctx, l.chainSome); err != nil {
			return fmt.Errorf("chain the audit log: %w", err)
		}
	}
}

func (l *Log) chainSome(tx *db.Tx) error {
	s, err := lockState(tx)
	if err != nil {
		return err
	}
	// Rows leave the inbox when they are chained, so one that becomes visible late, out of the order of its number, is not skipped.
	rows, err := db.All(tx, func(r db.Row) (v inboxRow, err error) { return v, r.Scan(&v.seq, &v.event) },
		`SELECT seq, event FROM audit_inbox ORDER BY seq LIMIT $1`, chainAtOnce)
	if err != nil {
		return err
	}
	args := make([]any, 0, len(rows)*rowColumns)
	for _, v := range rows {
		s.n++
		s.hash = chainHash(s.n, s.hash, v.event)
		c := columnsOf(v.event)
		args = append(args, s.n, v.event, s.hash, c.at, c.service, c.action, c.outcome, c.user, c.project, c.target, c.requestID)
	}
	if err := insertRows(tx, args); err != nil {
		return err
	}
	if err := deleteInbox(tx, rows); err != nil {
		return err
	}
	if s.headDue(tx.Now()) {
		if err := l.signer.put(tx, headKind, s.n, s.hash); err != nil {
			return err
		}
		s.headN, s.headAt = s.n, tx.NowMicros()
	}
	n, err := tx.Exec(`UPDATE audit_state SET n = $1, hash = $2, head_n = $3, head_at = $4 WHERE id = 1`, s.n, s.hash, s.headN, s.headAt)
	if err == nil && n != 1 {
		err = errors.New("the state of the audit log is missing")
	}
	return err
}

// Several rows go with one statement. There are few sizes of statements, so that each stays prepared.
const (
	rowColumns = 11
	many       = 20
)

func insertRows(tx *db.Tx, args []any) error {
	for len(args) > 0 {
		n := 1
		if len(args) >= many*rowColumns {
			n = many
		}
		var b strings.Builder
		b.WriteString(`INSERT INTO audit_log (n, event, hash, at, service, action, outcome, user_id, project_id, target_id, request_id) VALUES `)
		for i := range n {
			if i > 0 {
				b.WriteString(", ")
			}
			writeMarks(&b, i*rowColumns, rowColumns)
		}
		if _, err := tx.Exec(b.String(), args[:n*rowColumns]...); err != nil {
			return err
		}
		args = args[n*rowColumns:]
	}
	return nil
}

func writeMarks(b *strings.Builder, from, n int) {
	b.WriteByte('(')
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(b, "$%d", from+i+1)
	}
	b.WriteByte(')')
}

func deleteInbox(tx *db.Tx, rows []inboxRow) error {
	for len(rows) > 0 {
		n := min(len(rows), many)
		args := make([]any, many)
		for i := range args {
			args[i] = rows[min(i, n-1)].seq // the last again, to fill up
		}
		var b strings.Builder
		b.WriteString(`DELETE FROM audit_inbox WHERE seq IN `)
		writeMarks(&b, 0, many)
		if _, err := tx.Exec(b.String(), args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}
