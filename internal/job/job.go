// Package job runs what must happen from time to time without anybody asking: purging what is past its retention, rotating keys.
// It knows when and how often; what is done belongs to the package that owns the rows.
//
// A job must be safe to run at any time, on several controllers at once, and to be cut off anywhere: the next run finishes the
// work. It does its work in bounded transactions and returns when ctx ends.
package job

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
)

// Job is one kind of background work.
type Job struct {
	// Name stands in the log and in request ids: purge-events.
	Name string
	// Every is the pause between the end of a run and the start of the next, give or take a tenth.
	Every time.Duration
	// Run does the work once. Its ctx carries a request id (job-<name>-<uuid>) that its log lines and events bear.
	Run func(ctx context.Context) error
}

// Options for Run.
type Options struct {
	Logger *slog.Logger
	// After is the clock: it sends once when d is over. nil: time.After.
	After func(d time.Duration) <-chan time.Time
	// Random draws from [0, 1) for the jitter. nil: math/rand.
	Random func() float64
}

// firstWithin spreads the first runs after a start: several controllers that start together do not work at the same moment, and a
// program that is restarted often gets its jobs done all the same.
const firstWithin = time.Minute

// Run runs the jobs until ctx ends, and returns when none is at work any more. Each job has one goroutine: a run never overlaps
// with the next of the same job, however long it takes. An error or a panic is logged and the job goes on at its next turn.
func Run(ctx context.Context, jobs []Job, o Options) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	var wg sync.WaitGroup
	for _, j := range jobs {
		wg.Go(func() { o.repeat(ctx, j) })
	}
	wg.Wait()
}

func (o Options) repeat(ctx context.Context, j Job) {
	pause := time.Duration(o.Random() * float64(min(j.Every, firstWithin)))
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-o.After(pause):
		}
		if ctx.Err() != nil {
			return // both were ready
		}
		o.once(ctx, j)
		pause = time.Duration(float64(j.Every) * (0.9 + 0.2*o.Random()))
	}
}

// once runs the job one time under a request id of its own.
func (o Options) once(ctx context.Context, j Job) {
	id := "job-" + j.Name + "-" + uuid.NewString()
	log := o.Logger.With("request_id", id, "job", j.Name)
	log.Debug("job starts")
	err := guarded(api.WithRequestID(ctx, id), j.Run)
	switch {
	case err == nil:
		log.Debug("job done")
	case ctx.Err() != nil:
		log.Debug("job cut off by the end of the program", "error", err)
	default:
		log.Error("job failed; it runs again at its next turn", "error", err, "every", j.Every)
	}
}

func guarded(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run(ctx)
}
