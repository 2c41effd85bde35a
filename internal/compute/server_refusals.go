package compute

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// nodeTimeout is how long a node may take to answer.
const nodeTimeout = 10 * time.Second

// consoleOutput asks the node's agent for the guest's console log.
func (s *Service) consoleOutput(ctx context.Context, r *api.Request, arg any) (any, error) {
	lines := 0
	if m, ok := arg.(map[string]any); ok {
		lines = int(anyInt(m["length"], 0))
		if lines < 0 {
			lines = 0
		}
	}
	var v *Server
	err := s.readServer(ctx, r, "os_compute_api:os-console-output", func(_ *db.Tx, got *Server) error {
		v = got
		return nil
	})
	if err != nil {
		return nil, err
	}
	if v.Host == "" || v.LaunchedAt == 0 {
		return nil, fault.Conflict("Instance %s is not ready", v.ID)
	}
	if s.nodes == nil {
		return nil, notSupported()
	}
	ctx, stop := context.WithTimeout(ctx, nodeTimeout)
	defer stop()
	text, err := s.nodes.Call(ctx, v.Host, nodeapi.Call{Method: nodeapi.MethodConsoleLog, GuestID: v.ID, Lines: lines, RequestID: r.ID})
	if errors.Is(err, nodehub.ErrNotConnected) {
		return nil, fault.Conflict("The agent of the host of instance %s is not connected; its console log cannot be read now.", v.ID).Because(err)
	}
	if err != nil {
		return nil, fault.Conflict("The console log of instance %s cannot be read: its host did not answer.", v.ID).Because(err)
	}
	r.SetStatus(200)
	return map[string]string{"output": printable(text)}, nil
}

// printable drops what JSON readers and terminals choke on (nova/api/openstack/compute/console_output.py keeps printable characters).
func printable(b []byte) string {
	out := make([]rune, 0, len(b))
	for _, c := range string(b) {
		if c == '\n' || c == '\r' || c == '\t' || c == '\b' || c >= ' ' && c != 0x7f && c != 0xfffd {
			out = append(out, c)
		}
	}
	return string(out)
}

// changePassword needs a program in the guest that answers; there is none here, which is what upstream says of such a driver.
func (s *Service) changePassword(ctx context.Context, r *api.Request, _ any) (any, error) {
	return nil, s.readServer(ctx, r, "os_compute_api:os-admin-password", func(_ *db.Tx, v *Server) error {
		if err := s.allowed(r, v, "changePassword", []string{vmActive}); err != nil {
			return err
		}
		return fault.New(501, "", "Unable to set password on instance")
	})
}

// refuse is an action that this cloud does not have: the server must exist and the rule must let the caller, then 501.
func (s *Service) refuse(name, rule string) func(context.Context, *api.Request, any) (any, error) {
	return func(ctx context.Context, r *api.Request, _ any) (any, error) {
		return nil, s.readServer(ctx, r, rule, func(_ *db.Tx, v *Server) error {
			if err := s.unlocked(r, v); err != nil {
				return err
			}
			return fault.New(501, "", "The action %s is not supported by this cloud.", name)
		})
	}
}

// wrongState is an action for states that no server is ever in here.
func (s *Service) wrongState(name, rule string) func(context.Context, *api.Request, any) (any, error) {
	return func(ctx context.Context, r *api.Request, _ any) (any, error) {
		return nil, s.readServer(ctx, r, rule, func(_ *db.Tx, v *Server) error {
			return invalidState(name, v.ID, "vm_state", v.VMState)
		})
	}
}

func (s *Service) notResized(rule string) func(context.Context, *api.Request, any) (any, error) {
	name := map[string]string{"confirm_resize": "confirmResize", "revert_resize": "revertResize"}[rule]
	return func(ctx context.Context, r *api.Request, _ any) (any, error) {
		return nil, s.readServer(ctx, r, pServers+rule, func(_ *db.Tx, v *Server) error {
			return invalidState(name, v.ID, "vm_state", v.VMState)
		})
	}
}

// resize checks the request as upstream does and then refuses: guests are not moved to another size yet.
func (s *Service) resize(ctx context.Context, r *api.Request, arg any) (any, error) {
	ref, _ := arg.(map[string]any)["flavorRef"].(string)
	return nil, s.readServer(ctx, r, pServers+"resize", func(tx *db.Tx, v *Server) error {
		if err := s.allowed(r, v, "resize", []string{vmActive, vmStopped}); err != nil {
			return err
		}
		f, err := visibleFlavor(tx, lastPart(ref), v.ProjectID, isAdmin(r))
		if err != nil {
			return asBadRequest(err)
		}
		if f.ID == v.FlavorID {
			return fault.BadRequest("When resizing, instances must change flavor!")
		}
		limits, err := s.limits(tx, v.ProjectID, v.UserID)
		if err != nil {
			return err
		}
		used, err := serverUsage(tx, v.ProjectID, "")
		if err != nil {
			return err
		}
		more := &Server{VCPUs: max(0, f.VCPUs-v.VCPUs), MemoryMB: max(0, f.RAM-v.MemoryMB)}
		used.instances--
		if over := overQuota(limits, used, more, 1); len(over) > 0 {
			return fault.Forbidden("%s", quotaText(limits, used, more, 1))
		}
		return fault.New(501, "", "The action resize is not supported by this cloud.")
	})
}

// noConsole refuses consoles as a cloud without console services does.
func (s *Service) noConsole(name string) func(context.Context, *api.Request, any) (any, error) {
	return func(ctx context.Context, r *api.Request, arg any) (any, error) {
		kind, _ := arg.(map[string]any)["type"].(string)
		return nil, s.readServer(ctx, r, "os_compute_api:os-remote-consoles", func(_ *db.Tx, v *Server) error {
			return noConsoleOf(v, kind)
		})
	}
}

func noConsoleOf(v *Server, kind string) error {
	if v.VMState == vmBuilding {
		return fault.Conflict("Instance %s is not ready", v.ID)
	}
	return fault.BadRequest("Unavailable console type %s.", kind)
}

// remoteConsole is POST /servers/{id}/remote-consoles (2.6).
func (s *Service) remoteConsole(ctx context.Context, r *api.Request, in struct {
	Console struct {
		Protocol string `json:"protocol"`
		Type     string `json:"type"`
	} `json:"remote_console"`
}) (api.None, error) {
	if in.Console.Protocol == "mks" && !r.Since("2.8") {
		return api.None{}, fault.BadRequest("Unavailable console type %s.", in.Console.Type)
	}
	return api.None{}, s.readServer(ctx, r, "os_compute_api:os-remote-consoles", func(_ *db.Tx, v *Server) error {
		return noConsoleOf(v, in.Console.Type)
	})
}

func (s *Service) refusalRoutes() []api.Route {
	return []api.Route{
		api.Handle("POST", "/v2.1/servers/{id}/remote-consoles", api.Object("os_compute_api:os-remote-consoles"), 200, s.remoteConsole,
			body(remoteConsolesCreateBody()), api.MV("2.6-")),
		api.Handle("GET", "/v2.1/os-console-auth-tokens/{token}", api.Scoped("os_compute_api:os-console-auth-tokens"), 200,
			func(context.Context, *api.Request, api.None) (api.None, error) {
				return api.None{}, fault.NotFound("Token not found")
			}),
	}
}

// states that a tag, an interface or another part may be changed in.
func changeable(v *Server, name string, states ...string) error {
	if !slices.Contains(states, v.VMState) {
		return invalidState(name, v.ID, "vm_state", v.VMState)
	}
	return nil
}
