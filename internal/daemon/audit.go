package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"log/syslog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/hanok-cloud/hanok/internal/audit"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/db"
)

// AuditQuery and AuditRow are what `hanok audit` asks for and gets.
type (
	AuditQuery = audit.Query
	AuditRow   = audit.Row
)

// AuditHeads is where the audit log's signed heads are exported to.
func (p Paths) AuditHeads() string { return filepath.Join(p.Data, "audit", "heads.jsonl") }

// toSyslog sends lines to the machine's syslog; nil when it has none.
func toSyslog(log *slog.Logger) func(string) error {
	const socket = "/dev/log"
	if _, err := os.Stat(socket); err != nil {
		return nil
	}
	w, err := syslog.Dial("unixgram", socket, syslog.LOG_AUTHPRIV|syslog.LOG_NOTICE, "hanok-audit")
	if err != nil {
		log.Warn("the audit log's heads do not go to syslog", "socket", socket, "error", err)
		return nil
	}
	return w.Notice
}

// SearchAudit calls fn for every row that the query finds, up to limit (0: all), page by page: through the running daemon, or in the
// database when none runs.
func SearchAudit(ctx context.Context, c *config.Config, paths Paths, q AuditQuery, limit int, fn func(AuditRow) error) error {
	search := func(ctx context.Context, q AuditQuery) (rows []AuditRow, err error) {
		b, err := json.Marshal(q)
		if err != nil {
			return nil, err
		}
		return rows, ask(ctx, paths, "GET", "/audit?query="+url.QueryEscape(string(b)), &rows)
	}
	if paths.Running() == 0 {
		d, kek, err := openForAudit(ctx, c, paths)
		if err != nil {
			return err
		}
		defer func() { _ = d.Close() }()
		log, err := audit.New(ctx, audit.Options{DB: d, KEK: kek})
		if err != nil {
			return err
		}
		search = log.Search
	}
	for got := 0; limit == 0 || got < limit; {
		q.Limit = audit.PageMax
		if limit > 0 {
			q.Limit = min(q.Limit, limit-got)
		}
		rows, err := search(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := fn(r); err != nil {
				return err
			}
		}
		got += len(rows)
		if len(rows) < q.Limit {
			return nil
		}
		q.Marker = rows[len(rows)-1].N
	}
	return nil
}

func openForAudit(ctx context.Context, c *config.Config, paths Paths) (*db.DB, []byte, error) {
	if err := cloudIn(paths); err != nil {
		return nil, nil, err
	}
	kek, err := paths.kek()
	if err != nil {
		return nil, nil, err
	}
	d, err := db.Open(ctx, db.Options{URL: c.DatabaseURL()})
	return d, kek, err
}

// ErrTampered: the audit log is not what it was.
var ErrTampered = errors.New("the audit log was tampered with")

// VerifyAudit compares the audit log with its hashes, its signed heads and the exported heads. It reads the database itself, whether the
// daemon runs or not. Without files the data folder's own is taken.
func VerifyAudit(ctx context.Context, c *config.Config, paths Paths, files []string) (string, error) {
	own := len(files) == 0
	if own {
		files = []string{paths.AuditHeads()}
	}
	var heads []audit.Statement
	var notes string
	for _, f := range files {
		bad, err := audit.ReadHeads(f, func(s audit.Statement) { heads = append(heads, s) })
		if own && errors.Is(err, os.ErrNotExist) {
			notes += fmt.Sprintf("There is no file of exported heads at %s: rows that were cut off the end together with their heads are not missed.\n", f)
			continue
		}
		if err != nil {
			return "", err
		}
		if bad > 0 {
			notes += fmt.Sprintf("%d lines of %s are no heads.\n", bad, f)
		}
	}
	d, kek, err := openForAudit(ctx, c, paths)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.Close() }()
	v, err := audit.Verify(ctx, audit.VerifyOptions{DB: d, KEK: kek, Heads: heads})
	if err != nil {
		return "", err
	}
	if v.Problem != "" {
		err = ErrTampered
	}
	return v.String() + notes, err
}
