package compute

import (
	"context"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// powerAction is a change of a server's power: which states allow it and what is wanted then (nova/compute/api.py's check_instance_state).
type powerAction struct {
	rule   string
	vm     []string
	power  string
	intent string
	action string // of the history
	event  string
}

var powerActions = map[string]powerAction{
	"start":   {pServers + "start", []string{vmStopped}, nodeapi.PowerRunning, intentStart, "start", "compute_start_instance"},
	"stop":    {pServers + "stop", []string{vmActive, vmError}, nodeapi.PowerStopped, intentStop, "stop", "compute_stop_instance"},
	"pause":   {"os_compute_api:os-pause-server:pause", []string{vmActive}, nodeapi.PowerPaused, intentPause, "pause", "compute_pause_instance"},
	"unpause": {"os_compute_api:os-pause-server:unpause", []string{vmPaused}, nodeapi.PowerRunning, intentUnpause, "unpause", "compute_unpause_instance"},
	"suspend": {"os_compute_api:os-suspend-server:suspend", []string{vmActive}, nodeapi.PowerSuspended, intentSuspend, "suspend", "compute_suspend_instance"},
	"resume":  {"os_compute_api:os-suspend-server:resume", []string{vmSuspended}, nodeapi.PowerRunning, intentResume, "resume", "compute_resume_instance"},
}

// allowed refuses an action on a server that is locked, in another state, or busy.
func (s *Service) allowed(r *api.Request, v *Server, name string, vm []string, tasks ...string) error {
	if err := s.unlocked(r, v); err != nil {
		return err
	}
	if !slices.Contains(vm, v.VMState) {
		return invalidState(name, v.ID, "vm_state", v.VMState)
	}
	if v.TaskState != "" && !slices.Contains(tasks, v.TaskState) {
		return invalidState(name, v.ID, "task_state", v.TaskState)
	}
	return nil
}

// act notes the action, wants something new and stores it.
func (s *Service) act(tx *db.Tx, r *api.Request, v *Server, intent, action, event string) error {
	v.want(intent, r.ID)
	if err := s.save(tx, v); err != nil {
		return err
	}
	if err := addAction(tx, v, r, action, event, "", ""); err != nil {
		return err
	}
	return emit(tx, v, "update", r.ID)
}

func (s *Service) power(name string) func(context.Context, *api.Request, any) (any, error) {
	a := powerActions[name]
	return func(ctx context.Context, r *api.Request, _ any) (any, error) {
		return api.None{}, s.withServer(ctx, r, a.rule, func(tx *db.Tx, v *Server) error {
			if err := s.allowed(r, v, name, a.vm); err != nil {
				return err
			}
			if v.Host == "" {
				return fault.Conflict("Instance %s is not ready", v.ID)
			}
			v.Power = a.power
			return s.act(tx, r, v, a.intent, a.action, a.event)
		})
	}
}

// reboot is soft or hard; a hard one also starts what is off or broken.
func (s *Service) reboot(ctx context.Context, r *api.Request, arg any) (any, error) {
	kind, _ := arg.(map[string]any)["type"].(string)
	hard := strings.EqualFold(kind, "HARD")
	return api.None{}, s.withServer(ctx, r, pServers+"reboot", func(tx *db.Tx, v *Server) error {
		vm, tasks := []string{vmActive}, []string(nil)
		if hard {
			vm = []string{vmActive, vmStopped, vmPaused, vmSuspended, vmError}
			tasks = []string{"rebooting", "rebooting_hard", "resuming", "unpausing", "suspending", "pausing", "reboot_pending"}
		}
		if err := s.allowed(r, v, "reboot", vm, tasks...); err != nil {
			return err
		}
		if v.Host == "" {
			return fault.Conflict("Cannot 'reboot' instance %s while it is in vm_state %s", v.ID, v.VMState)
		}
		v.Power = nodeapi.PowerRunning
		v.RebootSeq++
		v.RebootHard = hard
		return s.act(tx, r, v, intentReboot, "reboot", "compute_reboot_instance")
	})
}

func (s *Service) lock(ctx context.Context, r *api.Request, arg any) (any, error) {
	return api.None{}, s.withServer(ctx, r, "os_compute_api:os-lock-server:lock", func(tx *db.Tx, v *Server) error {
		v.LockedBy = "owner"
		if isAdmin(r) && v.ProjectID != r.ProjectID() {
			v.LockedBy = "admin"
		}
		v.LockedReason = nil
		if m, ok := arg.(map[string]any); ok && r.Since("2.73") {
			if reason, ok := m["locked_reason"].(string); ok {
				v.LockedReason = &reason
			}
		}
		if err := addAction(tx, v, r, "lock", "api_lock", "Success", ""); err != nil {
			return err
		}
		return s.save(tx, v)
	})
}

func (s *Service) unlock(ctx context.Context, r *api.Request, _ any) (any, error) {
	return api.None{}, s.withServer(ctx, r, "os_compute_api:os-lock-server:unlock", func(tx *db.Tx, v *Server) error {
		if v.LockedBy == "admin" {
			if err := r.Enforce("os_compute_api:os-lock-server:unlock:unlock_override", v.target()); err != nil {
				return err
			}
		}
		v.LockedBy, v.LockedReason = "", nil
		if err := addAction(tx, v, r, "unlock", "api_unlock", "Success", ""); err != nil {
			return err
		}
		return s.save(tx, v)
	})
}

// resetState overrides the state until the next action.
func (s *Service) resetState(ctx context.Context, r *api.Request, arg any) (any, error) {
	state, _ := arg.(map[string]any)["state"].(string)
	return api.None{}, s.withServer(ctx, r, "os_compute_api:os-admin-actions:reset_state", func(tx *db.Tx, v *Server) error {
		v.ForcedState = state
		return s.save(tx, v)
	})
}

func (s *Service) forceDelete(ctx context.Context, r *api.Request, _ any) (any, error) {
	return api.None{}, s.withServer(ctx, r, "os_compute_api:os-deferred-delete:force", func(tx *db.Tx, v *Server) error {
		return s.remove(tx, r, v)
	})
}

// restore brings back what was soft-deleted, which nothing is: there is no reclaim interval.
func (s *Service) restore(ctx context.Context, r *api.Request, _ any) (any, error) {
	return api.None{}, s.withServer(ctx, r, "os_compute_api:os-deferred-delete:restore", func(_ *db.Tx, v *Server) error {
		return invalidState("restore", v.ID, "vm_state", v.VMState)
	})
}

func (s *Service) injectNetworkInfo(ctx context.Context, r *api.Request, _ any) (any, error) {
	return api.None{}, s.withServer(ctx, r, "os_compute_api:os-admin-actions:inject_network_info", func(tx *db.Tx, v *Server) error {
		s.wake(tx, v)
		return nil
	})
}

func (s *Service) gone410(context.Context, *api.Request, any) (any, error) {
	return nil, fault.New(410, "", "This resource is no longer available. No forwarding address is given.")
}
