// Package nodeapi is what the controller and a node's agent say to each other: the spec that a node
// is to realise, the reports of what it observed, and the calls that need an answer at once (a
// console log). It holds types and the two ends' interfaces. It must not know how either end works:
// no SQL, no HTTP routes of the OpenStack APIs, no kernel.
//
// The controller sends Items: one guest, network, port, security group or router each. An agent
// keeps the newest item per (Kind, ID), compares with what is there and applies the difference. After a
// break it gets every item again, ended by Delta.Full, and must then treat items that it knows but did
// not get as gone, except guests: a guest is removed only when its item says Power "absent", so that no
// lost or restored database can delete a disk.
package nodeapi

// Kinds of items.
const (
	KindGuest         = "guest"
	KindNetwork       = "network"
	KindPort          = "port"
	KindSecurityGroup = "security_group"
	KindRouter        = "router"
)

// Delta is one message of the watch stream.
type Delta struct {
	// Generation numbers the state after this delta; a report that answers it carries it back.
	Generation int64 `json:"generation"`
	// Full: the items are all there are. An item not listed is gone (but see the package comment on guests).
	Full    bool      `json:"full,omitempty"`
	Set     Items     `json:"set"`
	Removed []ItemRef `json:"removed,omitempty"`
	Calls   []Call    `json:"calls,omitempty"`
}

// ItemRef names an item.
type ItemRef struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Items are items by kind.
type Items struct {
	Guests         []Guest         `json:"guests,omitempty"`
	Networks       []Network       `json:"networks,omitempty"`
	Ports          []Port          `json:"ports,omitempty"`
	SecurityGroups []SecurityGroup `json:"security_groups,omitempty"`
	Routers        []Router        `json:"routers,omitempty"`
}

// Call asks the agent for something that needs an answer now; the agent answers with a CallResult.
type Call struct {
	ID        string `json:"id"`
	Method    string `json:"method"` // one of the Method constants
	GuestID   string `json:"guest_id,omitempty"`
	Lines     int    `json:"lines,omitempty"` // console-log: last lines; 0 means all that is kept
	RequestID string `json:"request_id,omitempty"`
}

// MethodConsoleLog reads the guest's serial console log; the result's Data is the text.
const MethodConsoleLog = "console-log"

// MethodPassword reads the encrypted password that the guest posted to the metadata service, nothing when it posted none;
// MethodClearPassword forgets it, after which the guest may post another.
const (
	MethodPassword      = "password"
	MethodClearPassword = "clear-password"
)

// CallResult answers a Call.
type CallResult struct {
	ID    string `json:"id"`
	Data  []byte `json:"data,omitempty"`
	Error string `json:"error,omitempty"`
}

// Desired power of a guest.
const (
	PowerRunning   = "running"
	PowerStopped   = "stopped"
	PowerPaused    = "paused"
	PowerSuspended = "suspended"
	PowerAbsent    = "absent" // remove the guest, its disks and its journal entry
)

// Guest is one server on this node.
type Guest struct {
	ID         string `json:"id"`
	Generation int64  `json:"generation"` // of the server's desired state; echoed in GuestStatus
	RequestID  string `json:"request_id"` // of the API request that set this generation; for logs and faults
	Name       string `json:"name"`       // instance-0000002a, upstream's OS-EXT-SRV-ATTR:instance_name
	ProjectID  string `json:"project_id"`
	UserID     string `json:"user_id"`

	VCPUs     int   `json:"vcpus"`
	MemoryMiB int64 `json:"memory_mib"`
	Root      Disk  `json:"root"`
	// EphemeralGiB and SwapMiB are empty extra disks; 0 is none.
	EphemeralGiB int64 `json:"ephemeral_gib,omitempty"`
	SwapMiB      int64 `json:"swap_mib,omitempty"`
	ConfigDrive  bool  `json:"config_drive,omitempty"`
	// NICs in the order the guest sees them.
	NICs []NIC `json:"nics"`

	Power string `json:"power"` // one of the Power constants
	// Reboot is done once for each Seq greater than the one the agent's journal holds for this guest.
	Reboot Reboot `json:"reboot"`
	// RebuildSeq greater than the journal's: stop, make the root disk anew from Root, start if Power says so.
	RebuildSeq int64 `json:"rebuild_seq,omitempty"`
	// StopTimeout is how long a clean shutdown may take before the power is cut, in seconds (nova: 60).
	StopTimeout int `json:"stop_timeout"`

	// Metadata is what the metadata service and the config drive answer.
	Metadata Metadata `json:"metadata"`
}

// Reboot asks for one reboot.
type Reboot struct {
	Seq  int64 `json:"seq"`
	Hard bool  `json:"hard,omitempty"`
}

// Disk is a guest's root disk made from an image.
type Disk struct {
	ImageID string `json:"image_id"`
	// ImageFormat is qcow2 or raw as the image service verified it; it is never probed again.
	ImageFormat string `json:"image_format"`
	ImageSize   int64  `json:"image_size"`   // bytes of the image file
	ImageSHA512 string `json:"image_sha512"` // hex; the agent verifies what it downloaded
	SizeGiB     int64  `json:"size_gib"`     // virtual size; 0: as the image
}

// NIC joins a guest to a port.
type NIC struct {
	PortID string `json:"port_id"`
	MAC    string `json:"mac"`
	MTU    int    `json:"mtu"`
	Tag    string `json:"tag,omitempty"`
}

// Metadata is the content that a guest may ask for. The agent renders the OpenStack and EC2 trees from
// it (nova/api/metadata/base.py); it is kept in the agent's journal so that guests are served while the
// controller is away.
type Metadata struct {
	Hostname         string            `json:"hostname"` // with domain, e.g. web.novalocal
	DisplayName      string            `json:"display_name"`
	AvailabilityZone string            `json:"availability_zone"`
	ProjectID        string            `json:"project_id"`
	LaunchIndex      int               `json:"launch_index"`
	Meta             map[string]string `json:"meta,omitempty"`
	Keys             []MetadataKey     `json:"keys,omitempty"`
	UserData         []byte            `json:"user_data,omitempty"` // decoded
	AdminPass        string            `json:"admin_pass,omitempty"`
	RandomSeed       []byte            `json:"random_seed,omitempty"`
	ReservationID    string            `json:"reservation_id"`
	InstanceType     string            `json:"instance_type"`
	ImageID          string            `json:"image_id"`
	SecurityGroups   []string          `json:"security_groups,omitempty"` // names
	PublicIPv4       string            `json:"public_ipv4,omitempty"`     // the first floating IP
	CreatedAt        int64             `json:"created_at"`                // unix seconds
}

// MetadataKey is a key pair as the guest sees it.
type MetadataKey struct {
	Name string `json:"name"`
	Type string `json:"type"` // ssh or x509
	Data string `json:"data"`
}
