// Package compute is Nova's API at /compute/v2.1: flavors, key pairs, servers and what is around them; the scheduler; and what a node is to
// know of its guests (nodehub's source "guests") and reports back. A server is a row of what is wanted (the API writes it) and of what was
// observed (reports write it); its status is derived from both by pure functions. It calls network, placement and image in the same
// transaction, and must not know how a node works.
package compute

import (
	"context"
	"log/slog"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// Projects tells whether a project exists; identity.Service is one.
type Projects interface {
	ProjectExists(tx *db.Tx, id string) (bool, error)
}

// Nodes carries calls to agents; *nodehub.Hub is one. The hub is made after this service, so it is set with SetNodes.
type Nodes interface {
	Call(ctx context.Context, node string, c nodeapi.Call) ([]byte, error)
}

// Options for New.
type Options struct {
	DB       *db.DB
	Projects Projects
	// PolicyFile is an operator's policy.yaml, or empty.
	PolicyFile []byte
	Docs       *api.Docs
	Logger     *slog.Logger

	// Allocation ratios of new nodes (nova's initial_cpu_allocation_ratio and kin); 0: 4, 1, 1.
	CPURatio, RAMRatio, DiskRatio float64
	// ReservedMemoryMiB and ReservedDiskGiB are kept from guests on each node (reserved_host_memory_mb, 512 there).
	ReservedMemoryMiB, ReservedDiskGiB int64
	// DefaultAZ is the zone of hosts without one (default_availability_zone); empty: nova.
	DefaultAZ string
	// Domain is appended to hostnames in the metadata (dhcp_domain); empty: novalocal.
	Domain string
	// Quotas changes default quotas by nova's names (instances, cores, ram, …).
	Quotas map[string]int64
	// ResumeGuests: guests that ran start again after a reboot of their node (resume_guests_state_on_host_boot).
	ResumeGuests bool
	// StopTimeout is how long a clean shutdown may take, in seconds; 0: 60.
	StopTimeout int
	// Rand is the source of passwords, reservation ids and keys; nil: crypto/rand.Reader.
	Rand func(p []byte) (int, error)
	// Now is the clock for what is outside of a transaction; nil: time.Now.
	Now func() time.Time
}

// Service is the compute service.
type Service struct {
	o     Options
	nodes Nodes
}

var (
	_ nodehub.Source    = (*Service)(nil)
	_ nodehub.Sink      = (*Service)(nil)
	_ nodehub.Registrar = (*Service)(nil)
)

// New prepares the service.
func New(o Options) (*Service, error) { return &Service{o: o}, nil }

// SetNodes joins the service to the hub; console logs need it.
func (s *Service) SetNodes(n Nodes) { s.nodes = n }

// API is the route table.
func (s *Service) API() *api.Service { return nil }

// Items is the guests of a node (nodehub.Source).
func (s *Service) Items(tx *db.Tx, node string, since int64) (nodehub.Changes, error) {
	return nodehub.Changes{Full: true}, nil
}

// Report stores what a node observed of its guests (nodehub.Sink).
func (s *Service) Report(tx *db.Tx, r *nodeapi.Report) error { return nil }

// NodeSeen keeps the node's service record and its placement provider (nodehub.Registrar).
func (s *Service) NodeSeen(tx *db.Tx, n nodeapi.Node) error { return nil }
