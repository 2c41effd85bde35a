package agent

import (
	"context"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// GuestDriver makes, runs and removes guests. Every method may be repeated after it failed, was
// cancelled or the process was killed half-way, and then finishes the work; what a failed call made it
// has undone, or the next call with the same arguments uses it. Calls for one guest never overlap
// (except ConsoleLog and Observe); calls for different guests do.
//
// An error made by Final is not retried; any other error is transient and is.
type GuestDriver interface {
	// Adopt finds every guest of which anything is on the node, known or not, by asking the guests'
	// processes. From then on changed is called with the id of a guest that changed by itself: shut
	// down, crashed, was killed, became paused. It must not be called from within a driver's method
	// and must not block. Adopt is called once, before everything else.
	Adopt(ctx context.Context, changed func(id string)) ([]GuestState, error)
	// Observe returns one guest as it is now; a guest of which nothing is there is GuestState{ID: id}.
	// It is cheap: no disk or guest is waited for.
	Observe(id string) GuestState

	// EnsureImage brings the guest's base image into the node's cache.
	EnsureImage(ctx context.Context, g *nodeapi.Guest) error
	// EnsureDisks makes the guest's disks for g.RebuildSeq, and its config drive out of files if
	// g.ConfigDrive. Disks of that RebuildSeq are kept as they are, those of another are replaced.
	// The guest does not run.
	EnsureDisks(ctx context.Context, g *nodeapi.Guest, files map[string][]byte) error
	// Start starts the guest with these NICs, in the order of g.NICs, and returns when its processors
	// run. The state then says RebootSeq g.Reboot.Seq: a start is a reboot.
	Start(ctx context.Context, g *nodeapi.Guest, nics []NICDevice) error
	// Stop asks the guest to shut down and cuts the power after timeout; at once when timeout is 0.
	Stop(ctx context.Context, id string, timeout time.Duration) error
	// Pause and Unpause stop and continue the processors.
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	// AttachNIC and DetachNIC change the devices of a running guest. DetachNIC returns when the guest
	// has let go of the device.
	AttachNIC(ctx context.Context, g *nodeapi.Guest, nic NICDevice) error
	DetachNIC(ctx context.Context, id, portID string) error
	// Remove cuts the power and removes everything that is of the guest on this node.
	Remove(ctx context.Context, id string) error

	// ConsoleLog is the text of the guest's serial console: the last lines, or all that is kept when
	// lines is 0. It works for stopped guests, too.
	ConsoleLog(ctx context.Context, id string, lines int) ([]byte, error)
}

// GuestState is what is there of a guest.
type GuestState struct {
	ID string
	// Power is ObservedRunning, ObservedPaused, ObservedStopped or ObservedCrashed (its process ended
	// in a way that nobody asked for). Empty: nothing of the guest is there.
	Power string
	// Disks: its disks are complete, made for RebuildSeq.
	Disks      bool
	RebuildSeq int64
	// RebootSeq is the g.Reboot.Seq that the running guest was started with. It is kept with the
	// process, not by the agent, so that a reboot is done once even when the agent is killed after it.
	RebootSeq int64
	// Ports are the ports whose devices the running guest has.
	Ports []string
}

// NICDevice is a NIC with the host's end of it.
type NICDevice struct {
	nodeapi.NIC
	PortDevice
}

// PortDevice is what a guest's process is given to reach a port.
type PortDevice struct {
	// Tap is a persistent tap interface in the agent's network namespace.
	Tap string
}

// NetworkDriver programs the node's network: networks, security groups, guests' ports, routers, DHCP
// and metadata. Apply calls never overlap each other; EnsurePort and RemovePort may overlap it and
// each other for different ports.
type NetworkDriver interface {
	// Apply makes the node's network what items say, and removes what they don't say, including what
	// an earlier process left. It goes on past a port or router that cannot be realised and says so in
	// its status. An error means that Apply as a whole is to be repeated.
	//
	// The agent calls it at start with the items of its journal, and after each change.
	Apply(ctx context.Context, change NetworkChange) (NetworkStatus, error)
	// EnsurePort makes the device of a guest's port, fully wired, before the guest gets it. The port was
	// in the items of an Apply that returned nil; a port that was not is an error.
	EnsurePort(ctx context.Context, portID string) (PortDevice, error)
	// RemovePort removes the device after the guest let go of it. It is no error when it is not there.
	RemovePort(ctx context.Context, portID string) error
	// Password is the encrypted password that a guest posted to the metadata service; nil: none.
	Password(guestID string) ([]byte, error)
	// ClearPassword forgets it. It is no error when there is none.
	ClearPassword(guestID string) error
}

// NetworkItems are all items that the node's network is made of, by id. A driver must not change them,
// nor keep the maps after Apply returned (the items themselves it may keep: they are never changed).
type NetworkItems struct {
	Guests         map[string]*nodeapi.Guest // for metadata and host names; guests to be removed are not in it
	Networks       map[string]*nodeapi.Network
	Ports          map[string]*nodeapi.Port
	SecurityGroups map[string]*nodeapi.SecurityGroup
	Routers        map[string]*nodeapi.Router
}

// NetworkChange is what Apply is to realise.
type NetworkChange struct {
	Items NetworkItems
	// Changed are the items set or removed since the last Apply that returned nil. A driver may use it to do
	// less; it is meaningless when Full.
	Changed []nodeapi.ItemRef
	// Full: the first call after the start or a resync; everything is to be compared with the kernel.
	Full bool
	// RequestIDs are of the API requests behind the change, as far as they are known; for logs.
	RequestIDs []string
}

// NetworkStatus says how ports and routers are. Those that it does not list are as before; ports whose
// EnsurePort returned nil the agent itself reports as active, if their admin state is up, and as not active
// after RemovePort. While some item has an error Apply is repeated, with growing pauses.
type NetworkStatus struct {
	Ports   []nodeapi.PortStatus
	Routers []nodeapi.RouterStatus
}
