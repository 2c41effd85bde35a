package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/audit"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func kek() []byte { return bytes.Repeat([]byte{7}, 32) }

// each runs the test on every engine at hand, each with the URL of a new empty database. One in memory is gone when it is closed.
func each(t *testing.T, fn func(t *testing.T, url string)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { t.Parallel(); fn(t, "sqlite::memory:") })
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); fn(t, "sqlite:"+filepath.Join(t.TempDir(), "hanok.db")) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); fn(t, dbtest.PostgresURL(t)) })
}

// world is a small service behind the real kit, whose requests are logged. Tests step its clock.
type world struct {
	t     testing.TB
	d     *db.DB
	log   *audit.Log
	h     http.Handler
	heads string
	shift atomic.Int64
	ticks chan time.Time // of Run
}

func newWorld(t testing.TB, url string) *world {
	t.Helper()
	w := &world{t: t, ticks: make(chan time.Time), heads: filepath.Join(t.TempDir(), "audit", "heads.jsonl")}
	d, err := db.Open(context.Background(), db.Options{URL: url, BeforeCommit: audit.Commit, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	w.d = d
	if w.log, err = audit.New(context.Background(), audit.Options{DB: d, KEK: kek(), HeadsFile: w.heads, Now: w.now,
		After: func(time.Duration) <-chan time.Time { return w.ticks }}); err != nil {
		t.Fatal(err)
	}
	w.exec(`CREATE TABLE IF NOT EXISTS things (id TEXT PRIMARY KEY)`)
	w.h = api.NewServer(api.Options{Services: []*api.Service{w.service()}, Auth: callers{}, Audit: w.log, PublicEndpoint: "http://cloud",
		TrustedProxy: func(addr string) bool { return strings.HasPrefix(addr, "10.0.0.") }})
	return w
}

func (w *world) now() time.Time {
	return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(w.shift.Load()))
}

func (w *world) step(d time.Duration) { w.shift.Add(int64(d)) }

// callers are who a token stands for.
type callers struct{}

func (callers) Authenticate(_ context.Context, token string) (*api.Caller, error) {
	c := &api.Caller{UserID: "u-" + token, UserName: token, ProjectID: "p", Roles: []string{"member"}, AuditID: "audit-" + token, Methods: []string{"password"}}
	switch token {
	case "member":
	case "reader":
		c.Roles = []string{"reader"}
	case "trustee":
		c.UserID, c.ActorID, c.TrustID, c.AppCredID = "u-trustor", "u-trustee", "trust", "appcred"
	default:
		return nil, nil
	}
	c.Creds = &policy.Creds{UserID: c.UserID, ProjectID: c.ProjectID, Roles: c.Roles}
	return c, nil
}

func (w *world) service() *api.Service {
	rules, err := policy.New([]policy.Rule{{Name: "things:change", Check: "role:member"}, {Name: "things:read", Check: "role:member"}})
	if err != nil {
		w.t.Fatal(err)
	}
	change := func(action string, code int, after error) func(context.Context, *api.Request, api.None) (api.None, error) {
		return func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
			id := r.Path("thing_id")
			if id == "" {
				id = "made"
			}
			err := w.d.Write(ctx, func(tx *db.Tx) error {
				if _, err := tx.Exec(`INSERT INTO things (id) VALUES ($1) ON CONFLICT (id) DO NOTHING`, id); err != nil {
					return err
				}
				return tx.Emit(db.Change{Kind: "thing", ID: id, ProjectID: "p", Action: action, RequestID: r.ID})
			})
			if err == nil {
				err = after
			}
			return api.None{}, err
		}
	}
	nothing := func(context.Context, *api.Request, api.None) (api.None, error) { return api.None{}, nil }
	login := func(ctx context.Context, r *api.Request, in map[string]any) (api.None, error) {
		name, _ := in["name"].(string)
		r.Note(api.Note{Initiator: &api.Caller{UserID: "u-" + name}})
		// The failure is counted in a transaction, which must not look like a success.
		err := w.d.Write(ctx, func(tx *db.Tx) error {
			_, err := tx.Exec(`INSERT INTO things (id) VALUES ('tried') ON CONFLICT (id) DO NOTHING`)
			return err
		})
		if err == nil && in["password"] != "right" {
			err = fault.Unauthorized("The request you have made requires authentication.")
		}
		if err == nil {
			r.Header().Set("X-Subject-Token", "made")
			r.Note(api.Note{Initiator: &api.Caller{UserID: "u-" + name, UserName: name, ProjectID: "p", AuditID: "new", Methods: []string{"password"}}})
		}
		return api.None{}, err
	}
	must := api.Scoped("things:change")
	return &api.Service{Name: "network", Prefix: "/network", Policy: rules,
		Dialect: api.Dialect{WriteError: func(w http.ResponseWriter, _ *api.Request, e *fault.Error) {
			w.WriteHeader(e.Status)
			_, _ = io.WriteString(w, e.Message)
		}},
		Routes: []api.Route{
			api.Handle("GET", "/v2.0/things", api.Scoped("things:read"), 200, nothing),
			api.Handle("POST", "/v2.0/things", must, 201, change("create", 201, nil)),
			api.Handle("PUT", "/v2.0/things/{thing_id}", must, 200, change("update", 200, nil)),
			api.Handle("PUT", "/v2.0/things/{thing_id}/nothing", must, 200, nothing),
			api.Handle("DELETE", "/v2.0/things/{thing_id}", must, 204, change("delete", 204, nil)),
			api.Handle("POST", "/v2.0/things/{thing_id}/halfway", must, 202, change("update", 202, fault.Conflict("Thing is busy."))),
			api.Handle("POST", "/v2.0/things/{thing_id}/invalid", must, 202, change("update", 202, fault.BadRequest("'hunter2' is too short"))),
			api.Handle("POST", "/v2.0/things/{thing_id}/action", must, 202, func(ctx context.Context, r *api.Request, in map[string]any) (api.None, error) {
				r.Note(api.Note{Action: "update/shake"})
				return change("update", 202, nil)(ctx, r, api.None{})
			}),
			api.Handle("POST", "/v2.0/login", api.Public(), 201, login),
			api.Handle("POST", "/v2.0/oauth2", api.Public(), 200, func(_ context.Context, r *api.Request, _ api.None) (map[string]string, error) {
				r.SetStatus(401)
				return map[string]string{"error": "invalid_client"}, nil
			}),
			api.Handle("GET", "/v2.0/sso", api.Public(), 200, nothing, api.Authenticates()),
		}}
}

// send returns status and request id. A token must come with a success alone.
func (w *world) send(token, method, path, body string, change ...func(*http.Request)) (int, string) {
	w.t.Helper()
	r := httptest.NewRequest(method, "/network/v2.0"+path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:4711"
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	for _, f := range change {
		f(r)
	}
	out := httptest.NewRecorder()
	w.h.ServeHTTP(out, r)
	if t := out.Header().Get("X-Subject-Token"); t != "" && out.Code >= 300 {
		w.t.Errorf("%d with a token", out.Code)
	}
	return out.Code, out.Header().Get("X-Openstack-Request-Id")
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	if err := w.d.Write(context.Background(), func(tx *db.Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(query string, args ...any) int64 {
	w.t.Helper()
	var n int64
	err := w.d.Read(context.Background(), func(tx *db.Tx) (err error) { n, err = db.One(tx, db.Value[int64], query, args...); return err })
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// append puts entries into the inbox in transactions of their own.
func (w *world) append(n int) {
	w.t.Helper()
	for i := range n {
		ctx := audit.Local(context.Background(), "update", "data/security/account/user", fmt.Sprint("x", i))
		if err := w.d.Write(ctx, func(*db.Tx) error { return nil }); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) chain() {
	w.t.Helper()
	ctx := context.Background()
	if err := w.log.Chain(ctx); err != nil {
		w.t.Fatal(err)
	}
	if err := w.log.Export(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// events are all entries in their order.
func (w *world) events(q audit.Query) []audit.Event {
	w.t.Helper()
	if err := w.log.Flush(context.Background(), true); err != nil {
		w.t.Fatal(err)
	}
	q.Oldest = true
	var out []audit.Event
	for {
		rows, err := w.log.Search(context.Background(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range rows {
			var e audit.Event
			if err := json.Unmarshal(r.Event, &e); err != nil {
				w.t.Fatal(err)
			}
			out = append(out, e)
			q.Marker = r.N
		}
		if len(rows) < audit.PageMax && (q.Limit == 0 || len(rows) < q.Limit) {
			return out
		}
	}
}

// verify reads the exported heads and checks everything.
func (w *world) verify(withHeads bool) audit.Verdict {
	w.t.Helper()
	o := audit.VerifyOptions{DB: w.d, KEK: kek()}
	if withHeads {
		if _, err := audit.ReadHeads(w.heads, func(s audit.Statement) { o.Heads = append(o.Heads, s) }); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	v, err := audit.Verify(context.Background(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) good(first, last int64) {
	w.t.Helper()
	if v := w.verify(true); v.Problem != "" || v.First != first || v.Last != last {
		w.t.Fatalf("%+v, want rows %d to %d and no problem", v, first, last)
	}
}
