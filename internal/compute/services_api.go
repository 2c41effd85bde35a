package compute

import (
	"context"
	"slices"
	"strconv"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/placement"
)

func (s *Service) serviceRoutes() []api.Route {
	all := "/v2.1/os-services"
	return []api.Route{
		api.Handle("GET", all, api.Scoped(pServices+"list"), 200, s.indexServices, query(servicesIndexQuery())),
		api.Handle("PUT", all+"/{id}", api.Scoped(pServices+"update"), 200, s.updateService, body(servicesUpdateBody())),
		api.Handle("DELETE", all+"/{id}", api.Scoped(pServices+"delete"), 204, s.deleteService),
		api.Handle("GET", "/v2.1/os-availability-zone", api.Scoped(pZones+"list"), 200, s.indexZones),
		api.Handle("GET", "/v2.1/os-availability-zone/detail", api.Scoped(pZones+"detail"), 200, s.detailZones),
	}
}

// controllerServices are the services that upstream runs beside nova-compute; here they are this process. Their ids are fixed.
var controllerServices = []struct {
	binary, uuid string
	num          int64
}{
	{"nova-scheduler", "0c1b7cbe-5b0f-5b38-8a5c-5d2f2f0a6d01", -2},
	{"nova-conductor", "0c1b7cbe-5b0f-5b38-8a5c-5d2f2f0a6d02", -1},
}

type serviceRow struct {
	binary string
	computeHost
}

// controllerHost is the name under which the control plane lists itself.
const controllerHost = "controller"

func (s *Service) serviceRows(tx *db.Tx) ([]serviceRow, error) {
	var out []serviceRow
	for _, c := range controllerServices {
		out = append(out, serviceRow{c.binary, computeHost{UUID: c.uuid, Num: c.num, Host: controllerHost, HeartbeatAt: tx.NowMicros(), AZ: "internal", heard: true}})
	}
	hosts, err := s.computeHosts(tx)
	for _, h := range hosts {
		out = append(out, serviceRow{"nova-compute", h})
	}
	return out, err
}

func serviceView(r *api.Request, v serviceRow) map[string]any {
	m := map[string]any{"binary": v.binary, "host": v.Host, "id": v.Num, "zone": v.AZ, "status": enabled(v.Disabled), "state": upDown(v.Up()),
		"updated_at": isoOrNull(v.HeartbeatAt), "disabled_reason": v.DisabledReason}
	if r.Since("2.53") {
		m["id"] = v.UUID
	}
	if r.Since("2.11") {
		m["forced_down"] = v.ForcedDown
	}
	return m
}

func enabled(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func (s *Service) indexServices(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	docs := []map[string]any{}
	q := r.Query()
	err := s.read(ctx, func(tx *db.Tx) error {
		rows, err := s.serviceRows(tx)
		for _, v := range rows {
			if h := q.Get("host"); h != "" && h != v.Host {
				continue
			}
			if b := q.Get("binary"); b != "" && b != v.binary {
				continue
			}
			docs = append(docs, serviceView(r, v))
		}
		return err
	})
	return map[string]any{"services": docs}, err
}

// updateService is PUT /os-services/{action} until 2.52 and PUT /os-services/{uuid} from 2.53 on.
func (s *Service) updateService(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	if r.Since("2.53") {
		return s.updateServiceByID(ctx, r, in)
	}
	host, _ := in["host"].(string)
	binary, _ := in["binary"].(string)
	out := map[string]any{"host": host, "binary": binary}
	var set func(h *computeHost)
	switch action := r.Path("id"); {
	case action == "enable":
		out["status"] = "enabled"
		set = func(h *computeHost) { h.Disabled, h.DisabledReason = false, nil }
	case action == "disable":
		out["status"] = "disabled"
		set = func(h *computeHost) { h.Disabled, h.DisabledReason = true, nil }
	case action == "disable-log-reason":
		reason, ok := in["disabled_reason"].(string)
		if !ok {
			return nil, fault.BadRequest("Missing disabled reason field")
		}
		out["status"], out["disabled_reason"] = "disabled", reason
		set = func(h *computeHost) { h.Disabled, h.DisabledReason = true, &reason }
	case action == "force-down" && r.Since("2.11"):
		v, ok := in["forced_down"]
		if !ok {
			return nil, fault.BadRequest("Missing forced_down field")
		}
		down := anyBool(v, false)
		out["forced_down"] = down
		set = func(h *computeHost) { h.ForcedDown = down }
	default:
		return nil, fault.NotFound("Unknown action")
	}
	if binary != "nova-compute" {
		return nil, fault.BadRequest("Updating a %s service is not supported. Only nova-compute services can be updated.", binary)
	}
	err := s.write(ctx, func(tx *db.Tx) error {
		hosts, err := s.computeHosts(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(hosts, func(h computeHost) bool { return h.Host == host })
		if i < 0 {
			return fault.NotFound("Could not find binary %s on host %s.", binary, host)
		}
		set(&hosts[i])
		return saveService(tx, hosts[i])
	})
	return map[string]any{"service": out}, err
}

func saveService(tx *db.Tx, h computeHost) error {
	if _, err := tx.Exec(`UPDATE compute_services SET disabled = $2, disabled_reason = $3, forced_down = $4 WHERE uuid = $1`,
		h.UUID, h.Disabled, h.DisabledReason, h.ForcedDown); err != nil {
		return err
	}
	return placement.SetTrait(tx, h.Provider, placement.TraitDisabled, h.Disabled)
}

func (s *Service) updateServiceByID(ctx context.Context, r *api.Request, in map[string]any) (out map[string]any, err error) {
	id := r.Path("id")
	if !isUUID(id) {
		return nil, fault.BadRequest("Invalid uuid %s", id)
	}
	err = s.write(ctx, func(tx *db.Tx) error {
		rows, err := s.serviceRows(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(rows, func(v serviceRow) bool { return v.UUID == id })
		if i < 0 {
			return fault.NotFound("Service %s could not be found.", id)
		}
		v := rows[i]
		if v.binary != "nova-compute" {
			return fault.BadRequest("Updating a %s service is not supported. Only nova-compute services can be updated.", v.binary)
		}
		status, _ := in["status"].(string)
		reason, hasReason := in["disabled_reason"].(string)
		down, hasDown := in["forced_down"]
		if status == "" && !hasDown {
			return fault.BadRequest("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
		}
		switch status {
		case "enabled":
			if hasReason && reason != "" {
				return fault.BadRequest("Specifying 'disabled_reason' with status 'enabled' is invalid.")
			}
			v.Disabled, v.DisabledReason = false, nil
		case "disabled":
			v.Disabled, v.DisabledReason = true, orNull(reason)
		}
		if hasDown {
			v.ForcedDown = anyBool(down, false)
		}
		out = map[string]any{"service": serviceView(r, v)}
		return saveService(tx, v.computeHost)
	})
	return out, err
}

func (s *Service) deleteService(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	id := r.Path("id")
	byUUID := r.Since("2.53")
	num, numErr := strconv.ParseInt(id, 10, 64)
	if byUUID && !isUUID(id) {
		return api.None{}, fault.BadRequest("Invalid uuid %s", id)
	}
	if !byUUID && numErr != nil {
		return api.None{}, fault.BadRequest("Invalid input received: id must be an integer")
	}
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		hosts, err := s.computeHosts(tx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(hosts, func(h computeHost) bool { return byUUID && h.UUID == id || !byUUID && h.Num == num })
		if i < 0 {
			return fault.NotFound("Service %s not found.", id)
		}
		h := hosts[i]
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM servers WHERE host = $1 AND NOT gone`, h.Host)
		if err != nil {
			return err
		}
		if n > 0 {
			return fault.Conflict("Unable to delete compute service that is hosting instances. Migrate or delete the instances first.")
		}
		if _, err := tx.Exec(`DELETE FROM aggregate_hosts WHERE host = $1`, h.Host); err != nil {
			return err
		}
		if err := placement.RemoveProvider(tx, h.Provider); err != nil {
			return err
		}
		// The node's own record goes too: when its agent speaks again it registers anew.
		if _, err := tx.Exec(`DELETE FROM nodes WHERE name = $1`, h.Host); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM compute_services WHERE uuid = $1`, h.UUID)
		return err
	})
}

type zone struct {
	Name  string          `json:"zoneName"`
	State map[string]bool `json:"zoneState"`
	Hosts any             `json:"hosts"`
}

// zones lists availability zones: those with an enabled host are available (nova/availability_zones.py).
func (s *Service) zones(ctx context.Context, detail bool) (out []zone, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		rows, err := s.serviceRows(tx)
		if err != nil {
			return err
		}
		var names, off []string
		hosts := map[string]map[string]map[string]any{}
		for _, v := range rows {
			if v.Disabled {
				off = appendNew(off, v.AZ)
				continue
			}
			names = appendNew(names, v.AZ)
			if hosts[v.AZ] == nil {
				hosts[v.AZ] = map[string]map[string]any{}
			}
			if hosts[v.AZ][v.Host] == nil {
				hosts[v.AZ][v.Host] = map[string]any{}
			}
			hosts[v.AZ][v.Host][v.binary] = map[string]any{"available": v.Up(), "active": true, "updated_at": isoOrNull(v.HeartbeatAt)}
		}
		out = []zone{}
		for _, n := range names {
			switch {
			case detail:
				out = append(out, zone{n, map[string]bool{"available": true}, hosts[n]})
			case n != "internal":
				out = append(out, zone{n, map[string]bool{"available": true}, nil})
			}
		}
		for _, n := range off {
			if !slices.Contains(names, n) {
				out = append(out, zone{n, map[string]bool{"available": false}, nil})
			}
		}
		return nil
	})
	return out, err
}

func (s *Service) indexZones(ctx context.Context, _ *api.Request, _ api.None) (map[string][]zone, error) {
	z, err := s.zones(ctx, false)
	return map[string][]zone{"availabilityZoneInfo": z}, err
}

func (s *Service) detailZones(ctx context.Context, _ *api.Request, _ api.None) (map[string][]zone, error) {
	z, err := s.zones(ctx, true)
	return map[string][]zone{"availabilityZoneInfo": z}, err
}
