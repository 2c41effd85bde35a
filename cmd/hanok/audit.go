package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/hanok-cloud/hanok/internal/daemon"
)

type auditCmd struct {
	Search auditSearchCmd `cmd:"" default:"withargs" help:"Search the audit log (the default)."`
	Verify auditVerifyCmd `cmd:"" help:"Check that the audit log was not tampered with."`
}

type auditSearchCmd struct {
	User      string `help:"Id of the user who did it."`
	Project   string `help:"Id of the project in which it happened."`
	Resource  string `help:"Id of what it was done to."`
	Service   string `help:"identity, compute, network, image, …"`
	Action    string `help:"create, update, delete, authenticate, revoke; update/reboot for a server's action."`
	Outcome   string `help:"success or failure." enum:"success,failure," default:""`
	RequestID string `name:"request-id" help:"Request id (req-…)."`
	Text      string `help:"Text that must occur in the event."`
	Since     string `help:"Not before: a time (2026-01-31T08:00:00Z), a day (2026-01-31), or how long ago (90m, 12h)."`
	Until     string `help:"Before: as --since."`
	Limit     int    `help:"How many; 0 for all." default:"100"`
	Oldest    bool   `help:"The oldest first, instead of the newest."`
	JSON      bool   `name:"json" help:"One JSON object a line: number, hash and the CADF event."`
}

func (a auditSearchCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	q := daemon.AuditQuery{User: a.User, Project: a.Project, Target: a.Resource, Service: a.Service, Action: a.Action, Outcome: a.Outcome,
		RequestID: a.RequestID, Text: a.Text, Oldest: a.Oldest}
	now := time.Now()
	if q.Since, err = moment(a.Since, now); err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if q.Until, err = moment(a.Until, now); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	lines := json.NewEncoder(os.Stdout)
	found := false
	err = daemon.SearchAudit(ctx, c, paths, q, a.Limit, func(r daemon.AuditRow) error {
		found = true
		if a.JSON {
			return lines.Encode(r)
		}
		_, err := fmt.Println(r.Text())
		return err
	})
	if err == nil && !found {
		fmt.Fprintln(os.Stderr, "no entry matches (users, projects and resources are named by their ids)")
	}
	return err
}

// moment reads a point in time; empty is none.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time, no day and no duration", s)
}

type auditVerifyCmd struct {
	Heads []string `help:"File of exported heads, from a place that the database's owner cannot write; may be given again. Default: audit/heads.jsonl in the data folder." type:"existingfile"`
}

func (a auditVerifyCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	text, err := daemon.VerifyAudit(ctx, c, paths, a.Heads)
	fmt.Print(text)
	return err
}
