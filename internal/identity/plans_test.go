package identity_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// grows are the tables that grow with the cloud. The others hold what an operator sets up: roles, services, identity providers.
var grows = []string{"identity_users", "identity_projects", "identity_groups", "identity_members", "identity_assignments", "identity_expiring_members", "identity_logins", "identity_passwords",
	"identity_credentials", "identity_trusts", "identity_application_credentials", "identity_access_rules", "identity_limits", "identity_revocations", "identity_federated_users",
	"identity_request_tokens", "identity_access_tokens", "identity_project_endpoints", "identity_project_endpoint_groups", "identity_totp_steps"}

// parts are indexes of few of a table's rows, which may be read whole.
var parts = []string{"identity_projects_domains"}

// planner asks the database how it runs each statement.
type planner struct {
	mu     sync.Mutex
	asking bool
	seen   map[string]bool
	scans  []string // what reads a whole table
	err    error
}

func (p *planner) trace(tx *db.Tx, query string, args []any) {
	p.mu.Lock()
	if !p.asking || p.seen[query] || !regexp.MustCompile(`^\s*(SELECT|WITH|UPDATE|DELETE)`).MatchString(query) {
		p.mu.Unlock()
		return
	}
	p.seen[query], p.asking = true, false // its own questions are none of the service
	p.mu.Unlock()
	var tables []string
	var err error
	if !strings.HasSuffix(query, "LIMIT 1") {
		tables, err = scanned(tx, query, args)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking = true
	if err != nil {
		p.err = fmt.Errorf("%w: %s", err, query)
	}
	for _, name := range tables {
		if slices.Contains(grows, name) {
			p.scans = append(p.scans, name+" in: "+strings.Join(strings.Fields(query), " "))
		}
	}
}

// during gives what whole tables are read while fn runs.
func (p *planner) during(t *testing.T, fn func()) []string {
	t.Helper()
	p.mu.Lock()
	p.asking, p.seen, p.scans, p.err = true, map[string]bool{}, nil, nil
	p.mu.Unlock()
	fn()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking = false
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.scans
}

// scanned are the tables that a statement would read from the first row to the last, be it by an index.
func scanned(tx *db.Tx, query string, args []any) ([]string, error) {
	if tx.Engine() == db.SQLite {
		return scannedSQLite(tx, query, args)
	}
	// Small tables are read whole because they are small. Told not to, PostgreSQL does so only where it knows no other way.
	for _, way := range []string{"seqscan", "hashjoin", "mergejoin"} {
		if _, err := tx.Exec(`SET LOCAL enable_` + way + ` = off`); err != nil {
			return nil, err
		}
	}
	text, err := db.One(tx, db.Value[string], `EXPLAIN (FORMAT JSON) `+query, args...)
	if err != nil {
		return nil, err
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		return nil, err
	}
	return plans[0].Plan.scanned(), nil
}

type planNode struct {
	Type     string     `json:"Node Type"`
	Index    string     `json:"Index Name"`
	Relation string     `json:"Relation Name"`
	Cond     string     `json:"Index Cond"`
	Plans    []planNode `json:"Plans"`
}

func (n planNode) scanned() (out []string) {
	switch {
	case slices.Contains(parts, n.Index):
	case n.Type == "Seq Scan", strings.HasPrefix(n.Type, "Index") && n.Relation != "" && n.Cond == "":
		out = append(out, n.Relation)
	}
	for _, p := range n.Plans {
		out = append(out, p.scanned()...)
	}
	return out
}

func scannedSQLite(tx *db.Tx, query string, args []any) ([]string, error) {
	names := map[string]string{}
	for _, m := range regexp.MustCompile(`(identity_\w+)(?: (?:AS )?(\w+))?`).FindAllStringSubmatch(query, -1) {
		names[m[1]], names[m[2]] = m[1], m[1]
	}
	var out []string
	err := tx.Each(func(r db.Row) error {
		var id, parent, unused int64
		var detail string
		err := r.Scan(&id, &parent, &unused, &detail)
		if name, ok := strings.CutPrefix(detail, "SCAN "); ok && !slices.ContainsFunc(parts, func(p string) bool { return strings.HasSuffix(detail, " INDEX "+p) }) {
			name, _, _ = strings.Cut(name, " ")
			out = append(out, names[name])
		}
		return err
	}, `EXPLAIN QUERY PLAN `+query, args...)
	return out, err
}

// No request but those for everything reads a table whole that grows with the cloud.
func TestNothingIsSearchedFromEndToEnd(t *testing.T) {
	p := &planner{}
	dbtest.Traced(t, p.trace, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		f := c.fill(small)
		own := c.send("", "POST", "/v3/auth/tokens", loginBody(f)).header.Get("X-Subject-Token")
		all := map[string]string{"projects-page": "identity_projects", "users-page": "identity_users", "users-all": "identity_users"}
		for i, q := range scaleRequests(f, c.role("admin")) {
			token := c.admin
			if q.own {
				token = own
			}
			scans := p.during(t, func() {
				if err := c.svc.Forget(t.Context()); err != nil {
					t.Fatal(err)
				}
				r := c.send(token, q.method, q.path, strings.ReplaceAll(q.body, "%d", fmt.Sprint(i)), "X-Subject-Token", own)
				if r.code != q.code {
					t.Errorf("%s: %d %s", q.name, r.code, r.raw)
				}
			})
			for _, s := range scans {
				if name := all[q.name]; name == "" || !strings.HasPrefix(s, name) {
					t.Errorf("%s reads all of %s", q.name, s)
				}
			}
		}
		// The test itself must be able to see one.
		if scans := p.during(t, func() { c.must(200, "GET", "/v3/users?enabled=false", "") }); len(scans) == 0 {
			t.Error("a list of disabled users was found without looking at all of them")
		}
	})
}
