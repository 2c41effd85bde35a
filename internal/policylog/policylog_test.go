package policylog

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func refusal(user string, n int) api.Refusal {
	return api.Refusal{
		At: time.UnixMicro(time.Now().UnixMicro() + int64(n)), RequestID: fmt.Sprintf("req-%s-%d", user, n), UserID: user, Service: "compute",
		Status: 403, Path: "/x", Rules: []string{"a"}, Target: policy.Map{"project_id": "p"},
	}
}

func count(t *testing.T, d *db.DB, user string) int64 {
	t.Helper()
	var n int64
	if err := d.Read(context.Background(), func(tx *db.Tx) (err error) {
		n, err = db.One(tx, db.Value[int64], `SELECT count(*) FROM policy_refusals WHERE user_id = $1`, user)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBounds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := New(Options{DB: d})
		ctx := context.Background()
		// One user floods; another's refusal still finds its place.
		for i := range 10 * queueAll {
			l.Add(refusal("flood", i))
		}
		l.Add(refusal("quiet", 0))
		if l.Dropped() != 10*queueAll-queueUser {
			t.Errorf("%d dropped", l.Dropped())
		}
		if err := l.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if f, q := count(t, d, "flood"), count(t, d, "quiet"); f != queueUser || q != 1 {
			t.Errorf("%d of the flood, %d of the other", f, q)
		}
		for i := range keepUser {
			l.Add(refusal("flood", 100000+i))
			if i%queueUser == queueUser-1 {
				if err := l.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if f, q := count(t, d, "flood"), count(t, d, "quiet"); f != keepUser || q != 1 {
			t.Errorf("%d of the flood, want %d; %d of the other", f, keepUser, q)
		}
		if err := d.Read(ctx, func(tx *db.Tx) error {
			for id, want := range map[string]bool{"req-flood-0": false, fmt.Sprintf("req-flood-%d", 100000+keepUser-1): true, "req-quiet-0": true} {
				f, found, err := Find(tx, id)
				if err != nil || found != want || found && (f.RequestID != id || f.Target["project_id"] != "p") {
					t.Errorf("%s: %+v %v %v", id, f, found, err)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOldOnesGo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		l := New(Options{DB: d})
		old := refusal("u", 1)
		old.At = old.At.Add(-keepFor - time.Hour)
		l.Add(old)
		l.Add(refusal("u", 2))
		if err := l.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, d, "u"); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestLongTextsAreCut(t *testing.T) {
	f := refusal("u", 1)
	f.Path = strings.Repeat("ä", 1000)
	f.Target = policy.Map{"name": strings.Repeat("x", 5000), "list": []string{strings.Repeat("y", 5000)}}
	for i := range 1000 {
		f.Roles = append(f.Roles, fmt.Sprint(i))
	}
	s := shorten(f)
	if len(s.Path) > longestText+3 || len(s.Roles) > mostValues || len(s.Target["name"].(string)) > longestText+3 || len(s.Target["list"].(string)) > longestText+3 {
		t.Errorf("%d %d %v", len(s.Path), len(s.Roles), s.Target)
	}
}

func TestRunWritesBatches(t *testing.T) {
	d := dbtest.Memory(t)
	l := New(Options{DB: d, After: func(time.Duration) <-chan time.Time { c := make(chan time.Time, 1); c <- time.Time{}; return c }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.Run(ctx); close(done) }()
	l.Add(refusal("u", 1))
	for count(t, d, "u") == 0 {
	}
	cancel()
	<-done
}
