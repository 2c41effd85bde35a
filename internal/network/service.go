// Package network is the network service: Neutron's API, the rules and tables behind it, and the items that tell a node
// what to wire. It must not know what a server is (compute names it by device_id) nor how a node wires a port.
package network

import (
	"log/slog"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Options for New.
type Options struct {
	DB     *db.DB
	Policy *policy.Enforcer // nil: the defaults of the release
	Logger *slog.Logger
	// PhysicalNetworks may carry flat networks, with their MTU; empty name list: "public" with 1500.
	PhysicalNetworks map[string]int
	// OverlayMTU is the MTU of self-service networks' underlay (global_physnet_mtu); 0: 1500.
	OverlayMTU int
	// Quotas overrides the default quotas by resource (network, port, …).
	Quotas map[string]int64
	// DocsBytes bounds the cache of encoded documents; 0: 32 MiB.
	DocsBytes int
}

// Service is the network service.
type Service struct {
	o Options
}

// New makes the service.
func New(o Options) (*Service, error) { return &Service{o: o}, nil }

// API is the HTTP face.
func (s *Service) API() *api.Service { return &api.Service{Name: "network", Prefix: "/network"} }
