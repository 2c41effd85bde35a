package compute

import (
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// The states of nova/compute/vm_states.py, task_states.py and power_state.py that occur here.
const (
	vmBuilding  = "building"
	vmActive    = "active"
	vmStopped   = "stopped"
	vmPaused    = "paused"
	vmSuspended = "suspended"
	vmError     = "error"
	vmDeleted   = "deleted"

	powerNone      = 0
	powerRunning   = 1
	powerPaused    = 3
	powerShutdown  = 4
	powerSuspended = 7
)

// Intents are what the last request to a server was for; the task state while it is under way follows.
const (
	intentStart   = "start"
	intentStop    = "stop"
	intentReboot  = "reboot"
	intentPause   = "pause"
	intentUnpause = "unpause"
	intentSuspend = "suspend"
	intentResume  = "resume"
	intentRebuild = "rebuild"
	intentNone    = "" // a change that shows no task: another name, an interface
)

var intentTasks = map[string]string{
	intentStart: "powering-on", intentStop: "powering-off", intentPause: "pausing", intentUnpause: "unpausing", intentSuspend: "suspending",
	intentResume: "resuming",
}

// stepTasks are the tasks of a server that has never run, by the agent's step.
var stepTasks = map[string]string{"image": "spawning", "disk": "block_device_mapping", "network": "networking", "start": "spawning"}

type observedState struct {
	vm    string
	power int64
}

// stableStates are what a finished guest's observed power means. A guest that crashed is off, as upstream's power sync makes it.
var stableStates = map[string]observedState{
	nodeapi.ObservedRunning:   {vmActive, powerRunning},
	nodeapi.ObservedStopped:   {vmStopped, powerShutdown},
	nodeapi.ObservedPaused:    {vmPaused, powerPaused},
	nodeapi.ObservedSuspended: {vmSuspended, powerSuspended},
	nodeapi.ObservedCrashed:   {vmStopped, powerShutdown},
	nodeapi.ObservedAbsent:    {vmStopped, powerNone},
}

// state is all that a server's states follow from.
type state struct {
	Deleted, Unplaced bool
	Power             string // desired
	Generation        int64
	Intent            string
	RebootSeq         int64
	RebootHard        bool
	RebuildSeq        int64
	Forced            string // os-resetState: active, error or empty
	HasHost           bool

	Launched                      bool
	SeenGeneration                int64
	SeenPower, SeenStable         string
	SeenStep                      string
	SeenRebootSeq, SeenRebuildSeq int64
	FaultGeneration               int64 // of the desired state that cannot be reached; 0: none
}

// settled tells whether the node has done all that is wanted.
func (s state) settled() bool {
	return s.SeenGeneration >= s.Generation && s.SeenRebootSeq >= s.RebootSeq && s.SeenRebuildSeq >= s.RebuildSeq && s.SeenPower != nodeapi.ObservedPending
}

// faulty tells whether the node has given up on what is wanted.
func (s state) faulty() bool { return s.FaultGeneration > 0 && s.FaultGeneration >= s.Generation }

// derive is the states as the API shows them.
func (s state) derive() (vm, task string, power int64) {
	if s.Deleted {
		return vmDeleted, "", powerNone
	}
	vm, power = vmBuilding, powerNone
	if s.Launched {
		st := stableStates[s.SeenStable]
		// A suspended guest is one whose processors are stopped: the node knows it as paused, and who asked for what tells them apart.
		if s.SeenStable == nodeapi.ObservedPaused && (s.Power == nodeapi.PowerSuspended || s.Intent == intentResume) {
			st = observedState{vmSuspended, powerShutdown}
		}
		vm, power = st.vm, st.power
	}
	broken := s.Unplaced || s.faulty()
	if broken {
		vm = vmError
	}
	if s.Forced != "" {
		vm = s.Forced
	}
	switch {
	case s.Power == nodeapi.PowerAbsent:
		return vm, "deleting", power
	case broken || s.Forced != "" || s.settled() && s.Launched:
		return vm, "", power
	case !s.Launched:
		return vm, buildTask(s.HasHost, s.SeenStep), power
	}
	return vm, s.task(), power
}

func buildTask(hasHost bool, step string) string {
	if t := stepTasks[step]; t != "" {
		return t
	}
	if hasHost {
		return "spawning"
	}
	return "scheduling"
}

func (s state) task() string {
	switch s.Intent {
	case intentReboot:
		if s.RebootHard {
			return "rebooting_hard"
		}
		return "rebooting"
	case intentRebuild:
		switch s.SeenStep {
		case "":
			return "rebuilding"
		case "disk":
			return "rebuild_block_device_mapping"
		}
		return "rebuild_spawning"
	}
	return intentTasks[s.Intent]
}

// statuses is nova/api/openstack/common.py's map: vm state → task state → status. The empty task is its default.
var statuses = map[string]map[string]string{
	vmActive: {"": "ACTIVE", "rebooting": "REBOOT", "reboot_pending": "REBOOT", "reboot_started": "REBOOT", "rebooting_hard": "HARD_REBOOT",
		"reboot_pending_hard": "HARD_REBOOT", "reboot_started_hard": "HARD_REBOOT", "updating_password": "PASSWORD", "rebuilding": "REBUILD",
		"rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD", "migrating": "MIGRATING", "resize_prep": "RESIZE",
		"resize_migrating": "RESIZE", "resize_migrated": "RESIZE", "resize_finish": "RESIZE"},
	vmBuilding: {"": "BUILD"},
	vmStopped: {"": "SHUTOFF", "resize_prep": "RESIZE", "resize_migrating": "RESIZE", "resize_migrated": "RESIZE", "resize_finish": "RESIZE",
		"rebuilding": "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD"},
	"resized":           {"": "VERIFY_RESIZE", "resize_reverting": "REVERT_RESIZE"},
	vmPaused:            {"": "PAUSED", "migrating": "MIGRATING"},
	vmSuspended:         {"": "SUSPENDED"},
	"rescued":           {"": "RESCUE"},
	vmError:             {"": "ERROR", "rebuilding": "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD"},
	vmDeleted:           {"": "DELETED"},
	"soft-delete":       {"": "SOFT_DELETED"},
	"shelved":           {"": "SHELVED"},
	"shelved_offloaded": {"": "SHELVED_OFFLOADED"},
}

// statusOf is the status of a server.
func statusOf(vm, task string) string {
	m := statuses[vm]
	if m == nil {
		return "UNKNOWN"
	}
	if s := m[task]; s != "" {
		return s
	}
	return m[""]
}

// statesOf are the vm and task states that a status filter asks for. With a default among the tasks the tasks do not restrict.
func statesOf(wanted []string) (vms, tasks []string) {
	for vm, m := range statuses {
		for task, status := range m {
			if slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, status) }) {
				vms, tasks = append(vms, vm), append(tasks, task)
			}
		}
	}
	slices.Sort(vms)
	slices.Sort(tasks)
	return slices.Compact(vms), slices.Compact(tasks)
}
