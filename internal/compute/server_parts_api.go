package compute

import (
	"context"
	"net/http"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// partRoutes are small things below a server, and lists that are empty here by their nature.
func (s *Service) partRoutes() []api.Route {
	one := "/v2.1/servers/{id}"
	const migrations = "os_compute_api:servers:migrations:"
	return []api.Route{
		api.Handle("GET", one+"/diagnostics", api.Object("os_compute_api:os-server-diagnostics"), 200, s.diagnostics),
		api.Handle("GET", one+"/os-server-password", api.Object("os_compute_api:os-server-password:show"), 200, s.showPassword),
		api.Handle("DELETE", one+"/os-server-password", api.Object("os_compute_api:os-server-password:clear"), 204, s.clearPassword),
		api.Handle("GET", one+"/os-volume_attachments", api.Object(pVolumes+"index"), 200, s.indexAttachments, query(volumesVolumeAttachmentIndexQuery())),
		api.Handle("POST", one+"/os-volume_attachments", api.Object(pVolumes+"create"), 200, s.attachVolume, body(volumesVolumeAttachmentCreateBody())),
		api.Handle("GET", one+"/os-volume_attachments/{volume}", api.Object(pVolumes+"show"), 200, s.noAttachment("show")),
		api.Handle("PUT", one+"/os-volume_attachments/{volume}", api.Object(pVolumes+"update"), 202, s.noAttachmentPut),
		api.Handle("DELETE", one+"/os-volume_attachments/{volume}", api.Object(pVolumes+"delete"), 202, s.noAttachment("delete")),
		api.Handle("GET", one+"/migrations", api.Object(migrations+"index"), 200, s.serverMigrations, api.MV("2.23-")),
		api.Handle("GET", one+"/migrations/{migration}", api.Object(migrations+"show"), 200, s.noMigration("show"), api.MV("2.23-")),
		api.Handle("DELETE", one+"/migrations/{migration}", api.Object(migrations+"delete"), 202, s.noMigration("delete"), api.MV("2.24-")),
		api.Handle("GET", one+"/topology", api.Object("compute:server:topology:index"), 200, s.topology, api.MV("2.78-")),
		api.Handle("GET", "/v2.1/os-migrations", api.Scoped("os_compute_api:os-migrations:index"), 200, s.indexMigrations, query(migrationsIndexQuery())),
		api.Handle("POST", "/v2.1/os-server-external-events", api.Scoped("os_compute_api:os-server-external-events:create"), 200, s.externalEvents,
			body(serverExternalEventsCreateBody())),
	}
}

// diagnostics tells what the control plane knows; the counters of a hypervisor are not collected.
func (s *Service) diagnostics(ctx context.Context, r *api.Request, _ api.None) (out map[string]any, err error) {
	err = s.readServer(ctx, r, "os_compute_api:os-server-diagnostics", func(tx *db.Tx, v *Server) error {
		if v.Host == "" {
			return fault.Conflict("Instance %s is not ready", v.ID)
		}
		if v.VMState != vmActive {
			return invalidState("get_diagnostics", v.ID, "vm_state", v.VMState)
		}
		if !r.Since("2.48") {
			out = map[string]any{"memory": v.MemoryMB * 1024}
			return nil
		}
		ports, err := s.portsOf(tx, []string{v.ID})
		if err != nil {
			return err
		}
		cpus, nics := []map[string]any{}, []map[string]any{}
		for i := range v.VCPUs {
			cpus = append(cpus, map[string]any{"id": i, "time": nil, "utilisation": nil})
		}
		for _, p := range ports[v.ID] {
			n := map[string]any{"mac_address": p.MAC}
			for _, k := range []string{"octets", "errors", "drop", "packets", "rate"} {
				n["rx_"+k], n["tx_"+k] = nil, nil
			}
			nics = append(nics, n)
		}
		out = map[string]any{"state": "running", "driver": "libvirt", "hypervisor": "qemu", "hypervisor_os": "linux", "uptime": (tx.NowMicros() - v.LaunchedAt) / 1e6,
			"config_drive": v.ConfigDrive, "num_cpus": v.VCPUs, "num_nics": len(nics), "num_disks": 1, "cpu_details": cpus, "nic_details": nics,
			"disk_details":   []map[string]any{{"read_bytes": nil, "read_requests": nil, "write_bytes": nil, "write_requests": nil, "errors_count": nil}},
			"memory_details": map[string]any{"maximum": v.MemoryMB, "used": nil}}
		return nil
	})
	return out, err
}

func (s *Service) indexAttachments(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	return map[string]any{"volumeAttachments": []any{}}, s.readServer(ctx, r, pVolumes+"index", func(*db.Tx, *Server) error { return nil })
}

func (s *Service) attachVolume(ctx context.Context, r *api.Request, in struct {
	Attachment struct {
		VolumeID string `json:"volumeId"`
	} `json:"volumeAttachment"`
}) (api.None, error) {
	return api.None{}, s.readServer(ctx, r, pVolumes+"create", func(*db.Tx, *Server) error {
		return fault.NotFound("Volume %s could not be found.", in.Attachment.VolumeID)
	})
}

func (s *Service) noAttachment(rule string) func(context.Context, *api.Request, api.None) (api.None, error) {
	return func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
		return api.None{}, s.readServer(ctx, r, pVolumes+rule, func(*db.Tx, *Server) error {
			return fault.NotFound("Volume %s could not be found.", r.Path("volume"))
		})
	}
}

// noAttachmentPut asks another rule when the volume is to be another one, or could only be (nova/api/openstack/compute/volumes.py).
func (s *Service) noAttachmentPut(ctx context.Context, r *api.Request, in struct {
	Attachment struct {
		VolumeID string `json:"volumeId"`
	} `json:"volumeAttachment"`
}) (api.None, error) {
	if r.Since("2.85") && in.Attachment.VolumeID == r.Path("volume") {
		return s.noAttachment("update")(ctx, r, api.None{})
	}
	return api.None{}, s.read(ctx, func(tx *db.Tx) error {
		if _, err := serverFor(tx, r, r.Path("id"), isAdmin(r), false, false); err != nil {
			return err
		}
		if err := r.Enforce(pVolumes+"swap", nil); err != nil {
			return err
		}
		return fault.NotFound("Volume %s could not be found.", r.Path("volume"))
	})
}

func (s *Service) serverMigrations(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	return map[string]any{"migrations": []any{}}, s.readServer(ctx, r, "os_compute_api:servers:migrations:index", func(*db.Tx, *Server) error { return nil })
}

func (s *Service) noMigration(rule string) func(context.Context, *api.Request, api.None) (api.None, error) {
	return func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
		return api.None{}, s.readServer(ctx, r, "os_compute_api:servers:migrations:"+rule, func(_ *db.Tx, v *Server) error {
			return fault.NotFound("In-progress live migration %s is not found for server %s.", r.Path("migration"), v.ID)
		})
	}
}

func (s *Service) topology(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	return map[string]any{"nodes": []any{}, "pagesize_kb": nil}, s.readServer(ctx, r, "compute:server:topology:index", func(*db.Tx, *Server) error { return nil })
}

// indexMigrations is empty: servers do not move here yet.
func (s *Service) indexMigrations(_ context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	q := r.Query()
	if q.Has("changes-since") && q.Has("changes-before") && r.Since("2.66") {
		a, err1 := parseISO(q.Get("changes-since"))
		b, err2 := parseISO(q.Get("changes-before"))
		if err1 == nil && err2 == nil && b.Before(a) {
			return nil, fault.BadRequest("The value of changes-since must be less than or equal to changes-before.")
		}
	}
	if r.Since("2.59") {
		if _, marker, err := page(r); err != nil {
			return nil, err
		} else if marker != "" {
			return nil, fault.BadRequest("Marker %s could not be found.", marker)
		}
	}
	return map[string]any{"migrations": []any{}}, nil
}

// externalEvents takes what a network or volume service of others would tell. Ours tell it in the same transaction, so an event only
// makes the node look again.
func (s *Service) externalEvents(ctx context.Context, r *api.Request, in struct {
	Events []map[string]any `json:"events"`
}) (map[string]any, error) {
	found := false
	status := http.StatusOK
	err := s.write(ctx, func(tx *db.Tx) error {
		for _, e := range in.Events {
			id, _ := e["server_uuid"].(string)
			v, err := serverFor(tx, r, id, true, false, false)
			switch {
			case fault.Is(err, 404):
				e["status"], e["code"], status = "failed", 404, http.StatusMultiStatus
				continue
			case err != nil:
				return err
			}
			found = true
			if e["status"] == nil {
				e["status"] = "completed"
			}
			if needsTag(e) {
				e["status"], e["code"], status = "failed", 400, http.StatusMultiStatus
				continue
			}
			if v.Host == "" {
				e["status"], e["code"], status = "failed", 422, http.StatusMultiStatus
				continue
			}
			e["status"], e["code"] = "completed", 200
			s.wake(tx, v)
		}
		return nil
	})
	if err == nil && !found {
		err = fault.NotFound("No instances found for any event")
	}
	r.SetStatus(status)
	return map[string]any{"events": in.Events}, err
}

func needsTag(e map[string]any) bool {
	tag, _ := e["tag"].(string)
	return tag == "" && (e["name"] == "volume-extended" || e["name"] == "accelerator-request-bound")
}
