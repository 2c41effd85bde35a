package agent

import (
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// progress is what the agent has done for a guest; it stands in the journal beside the guest's item.
type progress struct {
	// Applied is the generation of the item that was last applied whole; 0: none was.
	Applied    int64 `json:"applied,omitempty"`
	RebootSeq  int64 `json:"reboot_seq,omitempty"`
	RebuildSeq int64 `json:"rebuild_seq,omitempty"`
	// Running: the guest ran when it was last looked at, in the node's boot BootID. A guest that ran in
	// another boot went down with the node.
	Running bool   `json:"running,omitempty"`
	BootID  string `json:"boot_id,omitempty"`
	// Fault is why the item of generation Fault.Generation cannot be applied. It is not tried again.
	Fault *nodeapi.Fault `json:"fault,omitempty"`
}

// situation is all that plan looks at.
type situation struct {
	want    *nodeapi.Guest // nil: nobody told us of the guest
	done    progress
	is      GuestState
	plugged []string // ports that have a device for this guest, sorted
	bootID  string
	resume  bool // upstream's resume_guests_state_on_host_boot
}

type stepKind string

const (
	stepImage   stepKind = "image"
	stepDisk    stepKind = "disk"
	stepNetwork stepKind = "network" // EnsurePort of all NICs
	stepStart   stepKind = "start"
	stepStop    stepKind = "stop"
	stepPause   stepKind = "pause"
	stepUnpause stepKind = "unpause"
	stepAttach  stepKind = "attach-interface"
	stepDetach  stepKind = "detach-interface"
	stepUnplug  stepKind = "unplug" // RemovePort
	stepRemove  stepKind = "remove"
	stepForget  stepKind = "forget" // the journal's entries
	stepSettle  stepKind = "settle" // the item is applied whole
	stepNote    stepKind = "note"   // the guest changed by itself
	stepRefuse  stepKind = "refuse" // the item cannot be applied; reason says why
)

// step is one thing to do.
type step struct {
	kind    stepKind
	port    string        // attach, detach, unplug
	timeout time.Duration // stop
	reason  error         // refuse
}

// plan compares what is wanted with what is there and says what to do, in order. Applying a part of it and
// planning again leads to the same end: that is how everything recovers.
func plan(s situation) []step {
	switch {
	case s.want == nil:
		return nil // a guest without an item is reported, never touched
	case s.want.Power == nodeapi.PowerAbsent:
		return s.planAbsent()
	case s.done.Fault != nil && s.done.Fault.Generation == s.want.Generation && !s.resumes():
		return s.planLeftAlone()
	case s.want.Generation == s.done.Applied && !s.resumes() && !s.reboots() && !s.rebuilds():
		return s.planLeftAlone()
	case s.lostDisks():
		return []step{{kind: stepRefuse, reason: Final("Rebuild the server, or delete it.",
			"the disks of guest %s are gone from this node", s.want.ID)}}
	}
	switch s.want.Power {
	case nodeapi.PowerRunning, nodeapi.PowerPaused:
		return s.planUp()
	case nodeapi.PowerStopped:
		return s.planDown()
	}
	return []step{{kind: stepRefuse, reason: Final("", "guest %s cannot be brought into the state %q on this node", s.want.ID, s.want.Power)}}
}

func (s situation) up() bool {
	return s.is.Power == nodeapi.ObservedRunning || s.is.Power == nodeapi.ObservedPaused
}

// resumes: the guest went down with the node and is to come back.
func (s situation) resumes() bool {
	return s.resume && s.done.Running && s.done.BootID != s.bootID && s.want.Power == nodeapi.PowerRunning && !s.up()
}

func (s situation) reboots() bool {
	return s.want.Reboot.Seq > max(s.done.RebootSeq, s.is.RebootSeq) && s.want.Power == nodeapi.PowerRunning
}

func (s situation) rebuilds() bool { return s.want.RebuildSeq > s.done.RebuildSeq }

// lostDisks: disks that were there once have vanished. Making new ones would hand the tenant an empty
// machine in place of theirs.
func (s situation) lostDisks() bool {
	return s.done.Applied != 0 && !s.rebuilds() && !s.is.Disks && !s.up()
}

func (s situation) needsDisks() bool {
	if s.is.Disks {
		return s.is.RebuildSeq != s.want.RebuildSeq && (s.rebuilds() || s.done.Applied == 0)
	}
	// A guest that runs without disks has lost them; it keeps the deleted files until it stops.
	return s.rebuilds() || s.done.Applied == 0 && !s.up()
}

func (s situation) wantsPort(id string) bool {
	return slices.ContainsFunc(s.want.NICs, func(n nodeapi.NIC) bool { return n.PortID == id })
}

func (s situation) planAbsent() []step {
	steps := []step{{kind: stepRemove}}
	ports := slices.Concat(s.plugged, s.is.Ports)
	for _, n := range s.want.NICs {
		ports = append(ports, n.PortID)
	}
	slices.Sort(ports)
	return append(unplug(steps, slices.Compact(ports)), step{kind: stepForget})
}

// planLeftAlone is for a guest about which nothing is to be done: it may have changed by itself.
func (s situation) planLeftAlone() []step {
	var steps []step
	if !s.up() {
		steps = unplug(steps, s.plugged)
	}
	if s.done.Running != s.up() || s.done.BootID != s.bootID {
		steps = append(steps, step{kind: stepNote})
	}
	return steps
}

func (s situation) planUp() []step {
	var steps []step
	up := s.up()
	if up && (s.needsDisks() || s.reboots()) {
		stop := step{kind: stepStop}
		if s.needsDisks() || !s.want.Reboot.Hard {
			stop.timeout = s.stopTimeout()
		}
		steps = append(steps, stop)
		up = false
	}
	if !up {
		steps = s.unplugUnwanted(steps, s.plugged)
		if s.needsDisks() {
			steps = append(steps, step{kind: stepImage}, step{kind: stepDisk})
		}
		steps = append(steps, step{kind: stepNetwork}, step{kind: stepStart})
	} else {
		if s.is.Power == nodeapi.ObservedPaused && s.want.Power == nodeapi.PowerRunning {
			steps = append(steps, step{kind: stepUnpause})
		}
		steps = s.diffNICs(steps)
	}
	if s.want.Power == nodeapi.PowerPaused && (!up || s.is.Power == nodeapi.ObservedRunning) {
		steps = append(steps, step{kind: stepPause})
	}
	return append(steps, step{kind: stepSettle})
}

// diffNICs detaches before it attaches, so that a replaced NIC finds a free slot.
func (s situation) diffNICs(steps []step) []step {
	for _, id := range s.is.Ports {
		if !s.wantsPort(id) {
			steps = append(steps, step{kind: stepDetach, port: id})
		}
	}
	// Devices that were let go of in an earlier pass, too.
	steps = s.unplugUnwanted(steps, slices.Concat(s.is.Ports, s.plugged))
	for _, n := range s.want.NICs {
		if !slices.Contains(s.is.Ports, n.PortID) {
			steps = append(steps, step{kind: stepAttach, port: n.PortID})
		}
	}
	return steps
}

func (s situation) planDown() []step {
	var steps []step
	if s.up() || s.is.Power == nodeapi.ObservedCrashed {
		steps = append(steps, step{kind: stepStop, timeout: s.stopTimeout()})
	}
	ports := slices.Concat(s.plugged, s.is.Ports)
	slices.Sort(ports)
	steps = unplug(steps, slices.Compact(ports))
	if s.needsDisks() {
		steps = append(steps, step{kind: stepImage}, step{kind: stepDisk})
	}
	return append(steps, step{kind: stepSettle})
}

func (s situation) stopTimeout() time.Duration {
	return time.Duration(s.want.StopTimeout) * time.Second
}

func (s situation) unplugUnwanted(steps []step, ports []string) []step {
	ports = slices.Clone(ports)
	slices.Sort(ports)
	return unplug(steps, slices.DeleteFunc(slices.Compact(ports), s.wantsPort))
}

func unplug(steps []step, ports []string) []step {
	for _, id := range ports {
		steps = append(steps, step{kind: stepUnplug, port: id})
	}
	return steps
}

// starts says whether the guest is on its way up: its being stopped is then part of the work and no news.
func starts(steps []step) bool {
	return slices.ContainsFunc(steps, func(s step) bool { return s.kind == stepStart })
}

// settle is the progress of a guest whose item is applied whole.
func settle(want *nodeapi.Guest, is GuestState, bootID string) progress {
	return progress{
		Applied:    want.Generation,
		RebootSeq:  want.Reboot.Seq,
		RebuildSeq: want.RebuildSeq,
		Running:    is.Power == nodeapi.ObservedRunning || is.Power == nodeapi.ObservedPaused,
		BootID:     bootID,
	}
}
