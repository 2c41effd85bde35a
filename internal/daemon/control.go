package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/audit"
)

// The control socket serves the commands of this machine's root (`hanok status`, `hanok admin reset-password`) while the
// daemon runs. Whoever may open the socket may do everything; its folder is for root alone.

// Status is what `hanok status` prints.
type Status struct {
	Version  string       `json:"version"`
	PID      int          `json:"pid"`
	Endpoint string       `json:"endpoint"`
	Started  time.Time    `json:"started"`
	Database string       `json:"database"`
	Nodes    []NodeStatus `json:"nodes"`
	Servers  map[string]int64
	// Policies are the policy.yaml files that count for something, or should.
	Policies []PolicyState `json:"policies"`
}

// NodeStatus is one node of a Status.
type NodeStatus struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
}

func (s Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "hanok %s, process %d, up since %s\n", s.Version, s.PID, s.Started.Format(time.RFC3339))
	fmt.Fprintf(&b, "endpoint  %s\ndatabase  %s\n", s.Endpoint, s.Database)
	for _, n := range s.Nodes {
		state := "down"
		if n.Up {
			state = "up"
		}
		fmt.Fprintf(&b, "node      %s: %s\n", n.Name, state)
	}
	for _, state := range []string{"active", "stopped", "building", "error"} {
		if n := s.Servers[state]; n > 0 {
			fmt.Fprintf(&b, "servers   %d %s\n", n, state)
		}
	}
	for _, p := range s.Policies {
		fmt.Fprintf(&b, "policy    %s\n", p)
	}
	return b.String()
}

type control struct {
	policy        *policyControl
	status        func(context.Context) (Status, error)
	resetPassword func(ctx context.Context, domain, user string) (string, error)
	audit         func(ctx context.Context, q audit.Query) ([]audit.Row, error)
	rotateKeys    func(context.Context) (int, error)
}

// serve listens on the socket until ctx ends.
func (c control) serve(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	_ = os.Remove(path) // of an earlier process; claim made sure that none runs
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		s, err := c.status(r.Context())
		answer(w, s, err)
	})
	c.policy.routes(mux)
	mux.HandleFunc("POST /reset-password", func(w http.ResponseWriter, r *http.Request) {
		p, err := c.resetPassword(r.Context(), r.FormValue("domain"), r.FormValue("user"))
		answer(w, p, err)
	})
	mux.HandleFunc("GET /audit", func(w http.ResponseWriter, r *http.Request) {
		var q audit.Query
		err := json.Unmarshal([]byte(r.FormValue("query")), &q)
		var rows []audit.Row
		if err == nil {
			rows, err = c.audit(r.Context(), q)
		}
		answer(w, rows, err)
	})
	mux.HandleFunc("POST /rotate-keys", func(w http.ResponseWriter, r *http.Request) {
		n, err := c.rotateKeys(r.Context())
		answer(w, n, err)
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	go func() { _ = srv.Serve(l) }()
	return nil
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(v)
}

// ask sends a request to the control socket.
func ask(ctx context.Context, paths Paths, method, path string, out any) error {
	if paths.Running() == 0 {
		return ErrNotRunning
	}
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", paths.Control())
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://hanok"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running cloud: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(b)))
	}
	return json.Unmarshal(b, out)
}

// AskStatus asks the running daemon.
func AskStatus(ctx context.Context, paths Paths) (Status, error) {
	var s Status
	return s, ask(ctx, paths, "GET", "/status", &s)
}

// RotateKeys makes the running daemon rotate the keys of tokens and credentials, and tells how many credentials it encrypted again.
func RotateKeys(ctx context.Context, paths Paths) (int, error) {
	var n int
	err := ask(ctx, paths, "POST", "/rotate-keys", &n)
	return n, err
}
