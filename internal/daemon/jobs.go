package daemon

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hanok-cloud/hanok/internal/job"
)

// runJobs runs the controller's background jobs until ctx ends.
func (c *controller) runJobs(ctx context.Context, log *slog.Logger) {
	keep := time.Duration(c.o.Config.Retention.Days) * 24 * time.Hour
	job.Run(ctx, []job.Job{
		{Name: "purge-events", Every: time.Hour, Run: func(ctx context.Context) error {
			n, err := c.db.PurgeEvents(ctx, c.db.Now().Add(-keep))
			return purged(log, "events", n, err)
		}},
		{Name: "purge-servers", Every: time.Hour, Run: func(ctx context.Context) error {
			n, err := c.compute.Purge(ctx, c.db.Now().Add(-keep))
			return purged(log, "deleted servers", n, err)
		}},
		{Name: "end-servers-on-down-nodes", Every: 30 * time.Second, Run: func(ctx context.Context) error {
			n, err := c.compute.EndOnDownNodes(ctx)
			if n > 0 {
				log.Info("ended servers whose node is down", "servers", n)
			}
			return err
		}},
		{Name: "chain-audit", Every: 5 * time.Second, Run: func(ctx context.Context) error {
			return errors.Join(c.audit.Chain(ctx), c.audit.Export(ctx))
		}},
		{Name: "purge-audit", Every: time.Hour, Run: func(ctx context.Context) error {
			n, err := c.audit.Purge(ctx, c.db.Now().Add(-keep))
			return purged(log, "audit log", n, err)
		}},
		{Name: "rotate-keys", Every: time.Hour, Run: c.identity.RotateDueKeys},
	}, job.Options{Logger: log})
}

func purged(log *slog.Logger, what string, n int64, err error) error {
	if n > 0 {
		log.Info("retention is over", "purged", what, "rows", n)
	}
	return err
}
