package job_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/job"
)

// clock hands out pauses and ends them when the test says so.
type clock struct {
	asked chan time.Duration
	fire  chan time.Time
}

func newClock() *clock { return &clock{make(chan time.Duration), make(chan time.Time)} }

func (c *clock) after(d time.Duration) <-chan time.Time {
	c.asked <- d
	return c.fire
}

// start runs one job and returns what stops it.
func start(t *testing.T, c *clock, j job.Job, log *bytes.Buffer, random float64) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		job.Run(ctx, []job.Job{j}, job.Options{
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			After:  c.after, Random: func() float64 { return random },
		})
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

func TestRunsWithJitterAndNeverOverlaps(t *testing.T) {
	c := newClock()
	var log bytes.Buffer
	ids := make(chan string)
	release := make(chan struct{})
	stop := start(t, c, job.Job{Name: "sweep", Every: time.Hour, Run: func(ctx context.Context) error {
		ids <- api.RequestID(ctx)
		<-release
		return nil
	}}, &log, 0.75)
	if d := <-c.asked; d != 45*time.Second {
		t.Fatalf("first pause %v, want three quarters of a minute", d)
	}
	c.fire <- time.Time{}
	first := <-ids
	if !strings.HasPrefix(first, "job-sweep-") {
		t.Fatalf("request id %q", first)
	}
	select {
	case d := <-c.asked:
		t.Fatalf("asked for a pause of %v while the run is under way", d)
	case c.fire <- time.Time{}:
		t.Fatal("waits for its next turn while the run is under way")
	default:
	}
	release <- struct{}{}
	if d := <-c.asked; d != 63*time.Minute {
		t.Fatalf("second pause %v, want 1.05 of an hour", d)
	}
	c.fire <- time.Time{}
	if second := <-ids; second == first {
		t.Fatal("two runs share a request id")
	}
	release <- struct{}{}
	<-c.asked
	stop()
}

func TestFailureAndPanicAreLoggedAndTheJobGoesOn(t *testing.T) {
	c := newClock()
	var log bytes.Buffer
	n := 0
	stop := start(t, c, job.Job{Name: "sweep", Every: time.Second, Run: func(context.Context) error {
		n++
		switch n {
		case 1:
			return errors.New("the disk is full")
		case 2:
			panic("no such thing")
		}
		return nil
	}}, &log, 0)
	for range 3 {
		<-c.asked
		c.fire <- time.Time{}
	}
	<-c.asked
	stop()
	if n != 3 {
		t.Fatalf("%d runs", n)
	}
	for _, want := range []string{"the disk is full", "no such thing", "request_id=job-sweep-", "level=ERROR"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestEndOfTheProgramIsNoFailure(t *testing.T) {
	c := newClock()
	var log bytes.Buffer
	begun := make(chan struct{})
	stop := start(t, c, job.Job{Name: "sweep", Every: time.Second, Run: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}}, &log, 0)
	<-c.asked
	c.fire <- time.Time{}
	<-begun
	stop()
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("an error was logged:\n%s", log.String())
	}
}
