package audit_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/audit"
)

// short is what the table below compares.
func short(e audit.Event) string {
	var b strings.Builder
	b.WriteString(e.Outcome + " " + e.Action + " " + e.Target.TypeURI + " " + e.Target.ID + " by " + e.Initiator.ID + " from " + e.Initiator.Host.Address)
	if c := e.Initiator.Credential; c != nil {
		b.WriteString(" with " + c.AuditID)
	}
	if e.Reason != nil {
		b.WriteString(" " + e.Reason.Code + " " + e.Reason.PolicyID + " " + e.Reason.Message)
	}
	return strings.TrimSpace(b.String())
}

func TestEntries(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		for _, c := range []struct {
			name, token, method, path, body string
			code                            int
			want                            []string
		}{
			{"a read", "member", "GET", "/things", "", 200, nil},
			{"a read without a token", "", "GET", "/things", "", 401,
				[]string{"failure read service/network/things unknown by unknown from 192.0.2.1 401  The request you have made requires authentication."}},
			{"a read that a rule refuses", "reader", "GET", "/things", "", 403,
				[]string{"failure read service/network/things unknown by u-reader from 192.0.2.1 with audit-reader 403 things:read Policy doesn't allow things:read to be performed."}},
			{"a read of nothing", "member", "GET", "/nothing", "", 404, nil},
			{"create", "member", "POST", "/things", "", 201, []string{"success create service/network/things made by u-member from 192.0.2.1 with audit-member 201"}},
			{"update", "member", "PUT", "/things/a", "", 200, []string{"success update service/network/things/thing a by u-member from 192.0.2.1 with audit-member 200"}},
			{"delete", "member", "DELETE", "/things/a", "", 204, []string{"success delete service/network/things/thing a by u-member from 192.0.2.1 with audit-member 204"}},
			{"action", "member", "POST", "/things/a/action", "{}", 202, []string{"success update/shake service/network/things/thing/action a by u-member from 192.0.2.1 with audit-member 202"}},
			{"a success that changes nothing", "member", "PUT", "/things/a/nothing", "", 200, []string{"success update service/network/things/thing/nothing a by u-member from 192.0.2.1 with audit-member 200"}},
			{"a change that a rule refuses", "reader", "DELETE", "/things/a", "", 403,
				[]string{"failure delete service/network/things/thing a by u-reader from 192.0.2.1 with audit-reader 403 things:change Policy doesn't allow things:change to be performed."}},
			{"a bad token", "stolen", "DELETE", "/things/a", "", 401, []string{"failure delete service/network/things/thing a by unknown from 192.0.2.1 401  The request you have made requires authentication."}},
			{"no such path", "member", "POST", "/hunter2", "", 404, []string{"failure create service/network unknown by u-member from 192.0.2.1 with audit-member 404  The resource could not be found."}},
			{"a failure after a commit", "member", "POST", "/things/a/halfway", "", 409, []string{
				"success update service/network/things/thing/halfway a by u-member from 192.0.2.1 with audit-member 202",
				"failure update service/network/things/thing/halfway a by u-member from 192.0.2.1 with audit-member 409  Thing is busy."}},
			{"bad input is not repeated", "member", "POST", "/things/a/invalid", "", 400, []string{
				"success update service/network/things/thing/invalid a by u-member from 192.0.2.1 with audit-member 202",
				"failure update service/network/things/thing/invalid a by u-member from 192.0.2.1 with audit-member 400"}},
			{"login", "", "POST", "/login", `{"name":"kim","password":"right"}`, 201, []string{"success authenticate service/security/account/user u-kim by u-kim from 192.0.2.1 with new 201"}},
			{"failed login", "", "POST", "/login", `{"name":"kim","password":"wrong"}`, 401,
				[]string{"failure authenticate service/security/account/user u-kim by u-kim from 192.0.2.1 401  The request you have made requires authentication."}},
			{"a failed login with an answer of its own", "", "POST", "/oauth2", "", 401, []string{"failure authenticate service/security/account/user unknown by unknown from 192.0.2.1 401"}},
			{"login by GET", "", "GET", "/sso", "", 200, []string{"success authenticate service/security/account/user unknown by unknown from 192.0.2.1 200"}},
			{"a token in the path", "member", "PUT", "/things/gAAAAABsecret_-=x", "", 200, []string{"success update service/network/things/thing (token) by u-member from 192.0.2.1 with audit-member 200"}},
		} {
			before := len(w.events(audit.Query{}))
			code, id := w.send(c.token, c.method, c.path, c.body)
			if code != c.code {
				t.Errorf("%s: %d, want %d", c.name, code, c.code)
			}
			var got []string
			for _, e := range w.events(audit.Query{})[before:] {
				got = append(got, short(e))
				if e.Initiator.RequestID != id || e.EventTime != "2030-01-02T03:04:05.000000Z" || e.TypeURI != "http://schemas.dmtf.org/cloud/audit/1.0/event" ||
					e.EventType != "activity" || e.Observer.ID != "network" || e.ID == "" {
					t.Errorf("%s: %+v", c.name, e)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
		for _, e := range w.events(audit.Query{}) {
			if b, _ := json.Marshal(e); strings.Contains(string(b), "hunter2") || strings.Contains(string(b), "gAAAA") {
				t.Errorf("a secret in %s", b)
			}
		}
	})
}

func TestWithWhichCredentialFromWhere(t *testing.T) {
	w := newWorld(t, "sqlite::memory:")
	w.send("trustee", "PUT", "/things/a", "", func(r *http.Request) {
		r.RemoteAddr = "10.0.0.9:80"
		r.Header.Set("X-Forwarded-For", "198.51.100.66, 203.0.113.5, 10.0.0.8")
		r.Header.Set("User-Agent", strings.Repeat("agent", 100))
	})
	e := w.events(audit.Query{})[0]
	i := e.Initiator
	if i.UserID != "u-trustor" || i.ActorID != "u-trustee" || i.ProjectID != "p" || i.Roles[0] != "member" {
		t.Errorf("%+v", i)
	}
	if d := cmp.Diff(&audit.Credential{Type: "password", AuditID: "audit-trustee", AppCredID: "appcred", TrustID: "trust"}, i.Credential); d != "" {
		t.Error(d)
	}
	if i.Host.Address != "203.0.113.5" || len(i.Host.Agent) > 300 {
		t.Errorf("%+v: the client is the last address that no trusted proxy has", i.Host)
	}
	if d := cmp.Diff([]audit.Change{{Kind: "thing", ID: "a", Action: "update"}}, e.Changed); d != "" {
		t.Error(d)
	}
}

// What is answered is in the log: the entry is committed with the change, or before the answer.
func TestASuccessIsCommittedWhenItIsAnswered(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		for i, path := range []string{"POST /things", "PUT /things/a/nothing", "POST /login"} {
			method, p, _ := strings.Cut(path, " ")
			if code, _ := w.send("member", method, p, `{"name":"kim","password":"right"}`); code > 299 {
				t.Fatal(path, code)
			}
			if n := w.count(`SELECT count(*) FROM audit_inbox`); n != int64(i+1) {
				t.Errorf("%s: %d entries, want %d", path, n, i+1)
			}
		}
	})
}

// Without its entry a change does not happen, and a login does not succeed.
func TestNothingHappensUnlogged(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		w.exec(`ALTER TABLE audit_inbox RENAME TO elsewhere`)
		for _, c := range []struct{ method, path string }{{"POST", "/things"}, {"PUT", "/things/a/nothing"}, {"POST", "/login"}} {
			if code, _ := w.send("member", c.method, c.path, `{"name":"kim","password":"right"}`); code != 500 {
				t.Errorf("%s %s: %d, want 500", c.method, c.path, code)
			}
		}
		if n := w.count(`SELECT count(*) FROM things WHERE id = 'made'`); n != 0 {
			t.Error("a change without an entry")
		}
		if n := w.count(`SELECT count(*) FROM events`); n != 0 {
			t.Error("an event without an entry")
		}
		// The refusals were kept meanwhile.
		if err := w.log.Flush(context.Background(), true); err == nil {
			t.Fatal("the inbox is not there")
		}
		w.exec(`ALTER TABLE elsewhere RENAME TO audit_inbox`)
		if got := w.events(audit.Query{Outcome: audit.Failure}); len(got) != 3 {
			t.Errorf("%d failures, want 3", len(got))
		}
	})
}

func TestSearch(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		begin := w.now()
		_, first := w.send("member", "PUT", "/things/a", "")
		w.step(time.Hour)
		w.send("member", "POST", "/things/b_/action", "{}")
		w.send("reader", "DELETE", "/things/a", "")
		w.send("trustee", "DELETE", "/things/a", "")
		w.send("", "POST", "/login", `{"name":"kim","password":"right"}`)
		for _, c := range []struct {
			name string
			q    audit.Query
			want int
		}{
			{"all", audit.Query{}, 5},
			{"user", audit.Query{User: "u-member"}, 2},
			{"project", audit.Query{Project: "p"}, 5},
			{"another project", audit.Query{Project: "q"}, 0},
			{"resource", audit.Query{Target: "a"}, 3},
			{"action", audit.Query{Action: "update"}, 2},
			{"precise action", audit.Query{Action: "update/shake"}, 1},
			{"part of a word", audit.Query{Action: "upd"}, 0},
			{"outcome", audit.Query{Outcome: audit.Failure}, 1},
			{"request", audit.Query{RequestID: first}, 1},
			{"service", audit.Query{Service: "network"}, 5},
			{"since", audit.Query{Since: begin.Add(time.Minute)}, 4},
			{"until", audit.Query{Until: begin.Add(time.Minute)}, 1},
			{"from and to nothing", audit.Query{Since: begin.Add(time.Minute), Until: begin.Add(time.Minute)}, 0},
			{"text", audit.Query{Text: "u-trustee"}, 1},
			{"text with a wildcard in it", audit.Query{Text: "b_"}, 1},
			{"wildcards are text", audit.Query{Text: "u%trustee"}, 0},
			{"two of them", audit.Query{User: "u-member", Action: "update/shake"}, 1},
			{"pages", audit.Query{Limit: 2}, 5},
		} {
			if got := w.events(c.q); len(got) != c.want {
				t.Errorf("%s: %d rows, want %d", c.name, len(got), c.want)
			}
		}
		newest, err := w.log.Search(context.Background(), audit.Query{Limit: 2})
		if err != nil || len(newest) != 2 || newest[0].N != 5 || newest[1].N != 4 {
			t.Errorf("%v %v, want the newest first", newest, err)
		}
		older, err := w.log.Search(context.Background(), audit.Query{Limit: 9, Marker: 4})
		if err != nil || len(older) != 3 || older[0].N != 3 {
			t.Errorf("%v %v, want what comes after the marker", older, err)
		}
		logins, err := w.log.Search(context.Background(), audit.Query{Action: "authenticate"})
		if err != nil || len(logins) != 1 {
			t.Fatal(logins, err)
		}
		if s := logins[0].Text(); !strings.Contains(s, "success  authenticate service/security/account/user u-kim  by u-kim (kim) in project p from 192.0.2.1 with token new  201") {
			t.Error(s)
		}
	})
}
