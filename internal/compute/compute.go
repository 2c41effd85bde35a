// Package compute is Nova's API at /compute/v2.1: flavors, key pairs, servers and what is around them; the scheduler; and what a node is to
// know of its guests (nodehub's source "guests") and reports back. A server is a row of what is wanted (the API writes it) and of what was
// observed (reports write it); its status is derived from both by pure functions. It calls network, placement and image in the same
// transaction, and must not know how a node works.
package compute

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/policy"
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
	Network  *network.Service
	// FindImage reads an image that the caller may see; a *fault.Error 404 otherwise.
	FindImage func(tx *db.Tx, caller *api.Caller, id string) (ImageInfo, error)
	Docs      *api.Docs
	Logger    *slog.Logger

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
	Rand io.Reader
	// Now is the clock for what is outside of a transaction; nil: time.Now.
	Now func() time.Time
}

// Service is the compute service.
type Service struct {
	o       Options
	db      *db.DB
	docs    *api.Docs
	log     *slog.Logger
	policy  *policy.Enforcer
	rand    io.Reader
	now     func() time.Time
	nodes   Nodes
	local   http.Handler
	actions map[string]action
	api     *api.Service
}

var (
	_ nodehub.Source    = (*Service)(nil)
	_ nodehub.Sink      = (*Service)(nil)
	_ nodehub.Registrar = (*Service)(nil)
)

// New prepares the service.
func New(o Options) (*Service, error) {
	setDefaults(&o)
	p, err := policy.New(policy.Nova())
	if err != nil {
		return nil, fmt.Errorf("compute policy: %w", err)
	}
	for name := range o.Quotas {
		if _, ok := quotaDefaults[name]; !ok {
			return nil, fmt.Errorf("compute: there is no quota %q", name)
		}
	}
	s := &Service{o: o, db: o.DB, docs: o.Docs, log: o.Logger, policy: p, rand: o.Rand, now: o.Now}
	s.actions = s.actionTable()
	if o.Network != nil {
		o.Network.SetServerChanged(s.ServerChanged)
	}
	s.api = &api.Service{
		Name: "compute", Prefix: "/compute", Routes: s.routes(), Dialect: dialect(), Policy: p, Schema: schema.Nova,
		RequestIDHeader: "X-Compute-Request-Id", Microversions: microversions(), Rewrite: rewrite, Docs: o.Docs,
	}
	return s, nil
}

func setDefaults(o *Options) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Docs == nil {
		o.Docs = api.NewDocs(32 << 20)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CPURatio == 0 {
		o.CPURatio = 4
	}
	if o.RAMRatio == 0 {
		o.RAMRatio = 1
	}
	if o.DiskRatio == 0 {
		o.DiskRatio = 1
	}
	if o.DefaultAZ == "" {
		o.DefaultAZ = "nova"
	}
	if o.Domain == "" {
		o.Domain = "novalocal"
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 60
	}
}

// SetNodes joins the service to the hub; console logs and passwords need it.
func (s *Service) SetNodes(n Nodes) { s.nodes = n }

// API is the route table.
func (s *Service) API() *api.Service { return s.api }

func (s *Service) read(ctx context.Context, fn func(*db.Tx) error) error { return s.db.Read(ctx, fn) }

func (s *Service) write(ctx context.Context, fn func(*db.Tx) error) error {
	return s.db.Write(ctx, fn)
}

// wake makes the server's node look at its guests again.
func (s *Service) wake(tx *db.Tx, v *Server) { nodehub.Wake(tx, v.Host, nodehub.Guests) }
