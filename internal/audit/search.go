package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// Query is what to search for; empty members ask for nothing.
type Query struct {
	User, Project, Target, Service, Outcome, RequestID string
	// Action matches itself and what it was more precisely: update finds update/reboot.
	Action string
	// Text must occur in the event.
	Text         string
	Since, Until time.Time // Since is part of the range, Until is not
	// Marker is the number of the last row of the page before; 0: the first page.
	Marker int64
	Oldest bool // first; otherwise the newest
	Limit  int  // 0 or too large: PageMax
}

// PageMax is the most rows of a page.
const PageMax = 500

// Row is an entry that was found.
type Row struct {
	N     int64           `json:"n"`
	Hash  string          `json:"hash"`
	Event json.RawMessage `json:"event"`
}

// Search returns a page of the log; a page shorter than the limit is the last. It sees what was written before it began, except refusals
// that are still counted.
func (l *Log) Search(ctx context.Context, q Query) ([]Row, error) {
	if err := l.Flush(ctx, false); err != nil {
		return nil, err
	}
	if err := l.Chain(ctx); err != nil {
		return nil, err
	}
	if q.Limit <= 0 || q.Limit > PageMax {
		q.Limit = PageMax
	}
	var rows []Row
	err := l.o.DB.Read(ctx, func(tx *db.Tx) (err error) {
		w := q.where()
		order := " ORDER BY n DESC LIMIT "
		if q.Oldest {
			order = " ORDER BY n LIMIT "
		}
		text := `SELECT n, hash, event FROM audit_log` + w.SQL() + order + w.Arg(int64(q.Limit))
		rows, err = db.All(tx, func(r db.Row) (v Row, err error) {
			var event string
			err = r.Scan(&v.N, &v.Hash, &event)
			v.Event = json.RawMessage(event)
			return v, err
		}, text, w.Args()...)
		return err
	})
	return rows, err
}

func (q Query) where() *db.Where {
	w := &db.Where{}
	for column, v := range map[string]string{"user_id": q.User, "project_id": q.Project, "target_id": q.Target, "service": q.Service, "outcome": q.Outcome, "request_id": q.RequestID} {
		if v != "" {
			w.Add(column+" = ?", v)
		}
	}
	if q.Action != "" {
		w.Add("action = ? OR action LIKE ? ESCAPE '!'", q.Action, like(q.Action)+"/%")
	}
	if q.Text != "" {
		w.Add("event LIKE ? ESCAPE '!'", "%"+like(q.Text)+"%")
	}
	if !q.Since.IsZero() {
		w.Add("at >= ?", db.Micros(q.Since))
	}
	if !q.Until.IsZero() {
		w.Add("at < ?", db.Micros(q.Until))
	}
	switch {
	case q.Marker > 0 && q.Oldest:
		w.Add("n > ?", q.Marker)
	case q.Marker > 0:
		w.Add("n < ?", q.Marker)
	}
	return w
}

func like(s string) string { return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s) }

// Text is a row for people, on one line.
func (r Row) Text() string {
	var e Event
	if err := json.Unmarshal(r.Event, &e); err != nil {
		return fmt.Sprintf("%d  not an event: %q", r.N, string(r.Event))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-7s  %s %s %s", plain(e.EventTime), plain(e.Outcome), plain(e.Action), plain(e.Target.TypeURI), plain(e.Target.ID))
	i := e.Initiator
	b.WriteString("  by " + plain(i.ID))
	if i.Name != "" {
		b.WriteString(" (" + plain(i.Name) + ")")
	}
	for _, p := range [][2]string{{" impersonated by ", i.ActorID}, {" in project ", i.ProjectID}, {" in domain ", i.DomainID}, {" in system ", i.System}, {" from ", i.Host.Address}} {
		if p[1] != "" {
			b.WriteString(p[0] + plain(p[1]))
		}
	}
	if c := i.Credential; c != nil {
		b.WriteString(" with token " + plain(c.AuditID))
		if c.AppCredID != "" {
			b.WriteString(" of application credential " + plain(c.AppCredID))
		}
		if c.TrustID != "" {
			b.WriteString(" of trust " + plain(c.TrustID))
		}
	}
	if e.Reason != nil {
		b.WriteString("  " + plain(e.Reason.Code))
		if e.Reason.PolicyID != "" {
			b.WriteString(" by rule " + plain(e.Reason.PolicyID))
		}
		if e.Reason.Message != "" {
			b.WriteString(" " + strconv.Quote(e.Reason.Message))
		}
	}
	if e.Count > 1 {
		fmt.Fprintf(&b, "  %d times until %s", e.Count, plain(e.Until))
	}
	if i.RequestID != "" {
		b.WriteString("  " + plain(i.RequestID))
	}
	return b.String()
}

// plain quotes what would disturb a terminal.
func plain(s string) string {
	if q := strconv.Quote(s); len(q) != len(s)+2 {
		return q
	}
	return s
}
