// Package network is the node's network driver: it takes all network items of the node (networks, ports,
// security groups, routers) and makes the kernel be like that, with bridge, firewall, router, dhcp and
// metadata as its parts. It decides what changed and in which order it is applied; it must not know who
// computes the items or how guests are run.
//
// Apply may be called any number of times with any State: what is right is left alone, what differs is
// repaired, what is no longer wanted is removed, and only things that carry this package's names are ever
// touched. The first Apply, and each one after Resync, compares everything with the kernel; the others only
// look at the items that differ from the last ones.
package network

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent/bridge"
	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Options configure the driver of one node.
type Options struct {
	// PhysicalInterfaceMappings names the interface that leads to each physical network, as upstream's option.
	PhysicalInterfaceMappings map[string]string
	EnableVXLAN               bool
	LocalIP                   string // this node's tunnel address
	L2Population              bool   // no learning: forwarding entries come from Network.Hosts
	VXLANPort                 int    // 0: 4789
	// TapUser and TapGroup own the tap devices. QEMU is handed them open and needs no right to open them itself; a device of another owner is
	// not one of this node's and is made anew.
	TapUser, TapGroup int
	// StateDir keeps what must outlive the process: the addresses that were moved from physical
	// interfaces, the passwords that guests posted.
	StateDir string
	// NetnsDir is where namespaces are named; empty: /run/netns.
	NetnsDir netns.Dir
	// Resolvers are the DNS servers that the networks' own DNS service forwards to; empty: it answers for
	// the networks' own names only.
	Resolvers []string
	// DNSDomain is the domain of networks without one (upstream's dns_domain, openstacklocal by default).
	DNSDomain string
	// LeaseTime of DHCP; 0: 86400 s, upstream's dhcp_lease_duration.
	LeaseTime time.Duration
	// Guests finds a guest of this node, for the metadata service.
	Guests func(id string) (nodeapi.Guest, bool)
	// VendorData is the operator's static vendor data; nil: {}.
	VendorData json.RawMessage
	Logger     *slog.Logger
	// Clock and Random: nil are time.Now and the kernel's random numbers.
	Clock  func() time.Time
	Random io.Reader
}

// State is everything this node is to have. Items must not be changed after they were handed over: an
// unchanged pointer is an unchanged item.
type State struct {
	Networks       map[string]*nodeapi.Network
	Ports          map[string]*nodeapi.Port
	SecurityGroups map[string]*nodeapi.SecurityGroup
	Routers        map[string]*nodeapi.Router
}

// Result reports what was tried in one Apply: the routers, and the ports with a tap, that changed or whose
// earlier attempt had failed. After Resync that is all of them.
type Result struct {
	Ports   []nodeapi.PortStatus
	Routers []nodeapi.RouterStatus
}

// TapName is the tap device of a port, upstream's tap and the first 11 characters of its id.
func TapName(portID string) string { return bridge.TapName(portID) }

// Interface is what the agent's core uses; *Driver is the real one, simulated nodes have their own.
type Interface interface {
	// Apply makes the node be as wanted. Items that failed say so in the Result and are tried again by the
	// next Apply. An error means that the Apply should be repeated soon; an item that keeps failing, or cannot
	// succeed on this node, does not make one.
	Apply(ctx context.Context, want State) (Result, error)
	// EnsurePort makes the tap of one port, whose network an Apply has set up, before the guest's QEMU starts:
	// firewall first, then the tap joins its bridge. It returns the tap's name. From then on Apply keeps
	// the tap as it should be; ports that nobody ensured have rules but no tap, except those that an
	// earlier agent left.
	EnsurePort(ctx context.Context, port *nodeapi.Port) (tap string, err error)
	// RemovePort takes a port's tap away when its guest let go of it; its rules go with its item.
	RemovePort(ctx context.Context, portID string) error
	// Resync makes the next Apply compare everything with the kernel.
	Resync()
	// Close stops the services in this process (DHCP, metadata, DNS). Devices, namespaces and rules stay:
	// guests outlive the agent.
	Close() error
}
