package nodeapi

import (
	"context"
	"errors"
	"io"
)

// Observed power of a guest; upstream's power states are derived from it.
const (
	ObservedPending   = "pending" // known, work not finished; see Step
	ObservedRunning   = "running"
	ObservedStopped   = "stopped"
	ObservedPaused    = "paused"
	ObservedSuspended = "suspended"
	ObservedCrashed   = "crashed"
	ObservedAbsent    = "absent" // nothing of it is left on the node
)

// Report is what an agent observed. Every list holds what changed since the last report that was
// acknowledged; the first one after a (re)connect holds all.
type Report struct {
	Node       string         `json:"node"`
	Generation int64          `json:"generation"` // of the newest Delta applied
	Full       bool           `json:"full,omitempty"`
	Guests     []GuestStatus  `json:"guests,omitempty"`
	Ports      []PortStatus   `json:"ports,omitempty"`
	Routers    []RouterStatus `json:"routers,omitempty"`
	Results    []CallResult   `json:"results,omitempty"`
}

// GuestStatus is one guest's observed state.
type GuestStatus struct {
	ID         string `json:"id"`
	Generation int64  `json:"generation"`     // of the Guest item that was last applied whole
	Power      string `json:"power"`          // one of the Observed constants
	Step       string `json:"step,omitempty"` // while pending: image, disk, network, start, and stop on the way to a start; upstream's task_state is derived
	RebootSeq  int64  `json:"reboot_seq,omitempty"`
	RebuildSeq int64  `json:"rebuild_seq,omitempty"`
	Fault      *Fault `json:"fault,omitempty"`
	// AttachedPorts are the ports whose devices the guest really has now.
	AttachedPorts []string `json:"attached_ports,omitempty"`
}

// Fault says why a step cannot be done.
type Fault struct {
	// Generation is that of the Guest item which could not be applied: a fault of an older generation than
	// the desired one is of no interest any more.
	Generation int64  `json:"generation,omitempty"`
	Step       string `json:"step"`
	Message    string `json:"message"`        // one line: what happened, to what, why
	Hint       string `json:"hint,omitempty"` // what to do
	// Retryable faults are retried by the agent; a final one needs a new generation.
	Retryable bool `json:"retryable,omitempty"`
}

// PortStatus tells whether a port is wired.
type PortStatus struct {
	ID     string `json:"id"`
	Active bool   `json:"active"`
	Error  string `json:"error,omitempty"`
}

// RouterStatus tells whether a router is realised.
type RouterStatus struct {
	ID     string `json:"id"`
	Active bool   `json:"active"`
	Error  string `json:"error,omitempty"`
}

// Node describes a node at registration and at each heartbeat.
type Node struct {
	Name           string `json:"name"`
	HypervisorType string `json:"hypervisor_type"` // QEMU, or fake
	// HypervisorVersion is upstream's number: 7.2.22 is 7002022.
	HypervisorVersion int      `json:"hypervisor_version"`
	HostIP            string   `json:"host_ip"`
	Arch              string   `json:"arch"`
	CPUModel          string   `json:"cpu_model"`
	CPUVendor         string   `json:"cpu_vendor"`
	CPUFeatures       []string `json:"cpu_features,omitempty"`
	VCPUs             int      `json:"vcpus"`
	MemoryMiB         int64    `json:"memory_mib"`
	DiskGiB           int64    `json:"disk_gib"`
	DiskFreeGiB       int64    `json:"disk_free_gib"`
	// UptimeSeconds and LoadAverage are the machine's.
	UptimeSeconds int64      `json:"uptime_seconds"`
	LoadAverage   [3]float64 `json:"load_average"`
	BootID        string     `json:"boot_id"` // the kernel's, to tell a reboot of the node from one of the agent
	// Traits are placement traits, e.g. COMPUTE_NODE, HW_CPU_X86_AVX2.
	Traits []string `json:"traits,omitempty"`
	// PhysicalInterfaceMappings, EnableVXLAN, LocalIP and L2Population are the agent's options of these names.
	PhysicalInterfaceMappings map[string]string `json:"physical_interface_mappings,omitempty"`
	EnableVXLAN               bool              `json:"enable_vxlan"`
	LocalIP                   string            `json:"local_ip,omitempty"`
	L2Population              bool              `json:"l2_population"`
}

// Controller is the controller as the agent sees it. Both ends in one process use it directly; apart,
// it is HTTP/2 with mutual TLS, dialled by the agent.
type Controller interface {
	// Heartbeat registers the node or says that it is alive. Repeat it every 10 seconds.
	Heartbeat(ctx context.Context, n Node) error
	// Watch delivers deltas until ctx ends or the connection breaks; the first one has Full set.
	Watch(ctx context.Context, node string, deliver func(Delta) error) error
	// Report hands over observed state; when it returns nil the state is stored.
	Report(ctx context.Context, r Report) error
	// ImageData streams an image's bytes to the node's cache. An error that is ErrNoImage is final; any
	// other is tried again.
	ImageData(ctx context.Context, node, imageID string) (io.ReadCloser, error)
}

// ErrNoImage: the image does not exist any more, or has no data.
var ErrNoImage = errors.New("no such image")
