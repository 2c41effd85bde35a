// Package nodehub is the controller's end of nodeapi: it registers nodes, turns what the services want on a node
// into watch streams, hands reports back to the services, and carries calls to agents. It must not know what a guest or a
// port is; the services register as sources and sinks.
package nodehub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// DownAfter is how long a node may be silent before it counts as down (nova's service_down_time).
const DownAfter = 60 * time.Second

// Source renders what one service wants on a node.
type Source interface {
	// Items returns the node's items. since is 0 for a new stream, else what the last call returned as next. With
	// full set the items are all that the service wants there; else they are those that changed since, and removed
	// names those that are gone.
	Items(tx *db.Tx, node string, since int64) (c Changes, err error)
}

// Changes is a Source's answer.
type Changes struct {
	Items   nodeapi.Items
	Removed []nodeapi.ItemRef
	Full    bool
	Next    int64
}

// Sink stores what a node reported. Each sink takes its part of the report.
type Sink interface {
	Report(tx *db.Tx, r *nodeapi.Report) error
}

// Registrar learns of nodes: at the first heartbeat, when the facts changed, and after a reboot of the node (boot_id changed).
type Registrar interface {
	NodeSeen(tx *db.Tx, n nodeapi.Node) error
}

// Options for New. Sources are by name; Wake(tx, node, name) makes a stream look at that source again.
type Options struct {
	DB         *db.DB
	Sources    map[string]Source
	Sinks      []Sink
	Registrars []Registrar
	// Image opens an image's bytes for a node's cache.
	Image  func(ctx context.Context, imageID string) (io.ReadCloser, error)
	Logger *slog.Logger
}

// Hub implements nodeapi.Controller.
type Hub struct {
	o     Options
	mu    sync.Mutex
	calls map[string]chan nodeapi.CallResult // waiting callers by call id
	links map[string]chan nodeapi.Call       // the stream of a node
}

var _ nodeapi.Controller = (*Hub)(nil)

// New makes a hub.
func New(o Options) *Hub {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Hub{o: o, calls: map[string]chan nodeapi.CallResult{}, links: map[string]chan nodeapi.Call{}}
}

// Source names used by the services.
const (
	Guests   = "guests"
	Networks = "networks"
)

// Wake makes the node's stream look at a source again after the commit.
func Wake(tx *db.Tx, node, source string) {
	if node != "" {
		tx.Wake(topic(node, source))
	}
}

func topic(node, source string) string { return "node/" + node + "/" + source }

// Heartbeat stores that the node is alive, and its facts when they changed.
func (h *Hub) Heartbeat(ctx context.Context, n nodeapi.Node) error {
	if n.Name == "" {
		return errors.New("a node must have a name")
	}
	facts, err := json.Marshal(n)
	if err != nil {
		return err
	}
	err = h.o.DB.Write(ctx, func(tx *db.Tx) error {
		old, err := db.One(tx, db.Value[string], `SELECT facts FROM nodes WHERE name = $1`, n.Name)
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO nodes (name, facts, boot_id, registered_at, heartbeat_at) VALUES ($1,$2,$3,$4,$4)
			ON CONFLICT (name) DO UPDATE SET facts = excluded.facts, boot_id = excluded.boot_id, heartbeat_at = excluded.heartbeat_at`,
			n.Name, string(facts), n.BootID, tx.NowMicros()); err != nil {
			return err
		}
		if same, err := lasting(old, n); err != nil || same {
			return err
		}
		for _, r := range h.o.Registrars {
			if err := r.NodeSeen(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("heartbeat of node %s: %w", n.Name, err)
	}
	return nil
}

// lasting tells whether a node is as it was, but for what changes all the time: load, uptime and free disk.
func lasting(old string, n nodeapi.Node) (bool, error) {
	if old == "" {
		return false, nil
	}
	var was nodeapi.Node
	if err := json.Unmarshal([]byte(old), &was); err != nil {
		return false, err
	}
	was.UptimeSeconds, was.LoadAverage, was.DiskFreeGiB = n.UptimeSeconds, n.LoadAverage, n.DiskFreeGiB
	a, err := json.Marshal(was)
	if err != nil {
		return false, err
	}
	b, err := json.Marshal(n)
	return string(a) == string(b), err
}

// Report hands the report to every sink in one transaction and wakes waiting callers.
func (h *Hub) Report(ctx context.Context, r nodeapi.Report) error {
	if len(r.Guests)+len(r.Ports)+len(r.Routers) > 0 || r.Full {
		if err := h.o.DB.Write(ctx, func(tx *db.Tx) error {
			for _, s := range h.o.Sinks {
				if err := s.Report(tx, &r); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("report of node %s: %w", r.Node, err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, res := range r.Results {
		if c := h.calls[res.ID]; c != nil {
			c <- res
			delete(h.calls, res.ID)
		}
	}
	return nil
}

// ImageData opens an image for the node's cache.
func (h *Hub) ImageData(ctx context.Context, _, imageID string) (io.ReadCloser, error) {
	return h.o.Image(ctx, imageID)
}

// ErrNotConnected: the node's agent has no stream to this controller now.
var ErrNotConnected = errors.New("the node's agent is not connected")

// Call asks the node's agent and waits for the answer until ctx ends.
func (h *Hub) Call(ctx context.Context, node string, c nodeapi.Call) ([]byte, error) {
	c.ID = uuid.NewString()
	answer := make(chan nodeapi.CallResult, 1)
	h.mu.Lock()
	link := h.links[node]
	h.calls[c.ID] = answer
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.calls, c.ID)
		h.mu.Unlock()
	}()
	if link == nil {
		return nil, fmt.Errorf("%s on node %s: %w", c.Method, node, ErrNotConnected)
	}
	select {
	case link <- c:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case res := <-answer:
		if res.Error != "" {
			return res.Data, fmt.Errorf("%s on node %s: %s", c.Method, node, res.Error)
		}
		return res.Data, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s on node %s: %w", c.Method, node, ctx.Err())
	}
}
