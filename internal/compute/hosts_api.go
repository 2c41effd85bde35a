package compute

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// hostRoutes are os-hosts, which ended with 2.42.
func (s *Service) hostRoutes() []api.Route {
	all, one, old := "/v2.1/os-hosts", "/v2.1/os-hosts/{id}", api.MV("2.1-2.42")
	routes := []api.Route{
		api.Handle("GET", all, api.Scoped(pHosts+"list"), 200, s.indexHosts, query(hostsIndexQuery()), old),
		api.Handle("GET", one, api.Scoped(pHosts+"show"), 200, s.showHost, old),
		api.Handle("PUT", one, api.Scoped(pHosts+"update"), 200, s.updateHost, body(hostsUpdateBody()), old),
	}
	for action, rule := range map[string]string{"startup": "start", "shutdown": "shutdown", "reboot": "reboot"} {
		routes = append(routes, api.Handle("GET", one+"/"+action, api.Scoped(pHosts+rule), 200, s.hostPower, old))
	}
	return routes
}

func (s *Service) indexHosts(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	docs := []map[string]string{}
	zone := r.Query().Get("zone")
	err := s.read(ctx, func(tx *db.Tx) error {
		rows, err := s.serviceRows(tx)
		for _, v := range rows {
			if !v.Disabled && (zone == "" || zone == v.AZ) {
				docs = append(docs, map[string]string{"host_name": v.Host, "service": v.binary[len("nova-"):], "zone": v.AZ})
			}
		}
		return err
	})
	return map[string]any{"hosts": docs}, err
}

// host finds a hypervisor by its host's name; upstream calls an unknown one unmapped.
func (s *Service) host(ctx context.Context, name string) (hypervisor, error) {
	var list []hypervisor
	if err := s.read(ctx, func(tx *db.Tx) (err error) {
		list, err = s.hypervisors(tx)
		return err
	}); err != nil {
		return hypervisor{}, err
	}
	i := slices.IndexFunc(list, func(h hypervisor) bool { return h.Host == name })
	if i < 0 {
		return hypervisor{}, fault.NotFound("Host '%s' is not mapped to any cell", name)
	}
	return list[i], nil
}

func (s *Service) showHost(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	h, err := s.host(ctx, r.Path("id"))
	if err != nil {
		return nil, err
	}
	entry := func(project string, cpu, memory, disk int64) map[string]any {
		return map[string]any{"resource": map[string]any{"host": h.Host, "project": project, "cpu": cpu, "memory_mb": memory, "disk_gb": disk}}
	}
	var sum [3]int64
	var projects []map[string]any
	err = s.read(ctx, func(tx *db.Tx) error {
		sum, projects = [3]int64{}, nil
		return tx.Each(func(row db.Row) error {
			var project string
			var cpu, memory, disk int64
			if err := row.Scan(&project, &cpu, &memory, &disk); err != nil {
				return err
			}
			sum[0], sum[1], sum[2] = sum[0]+cpu, sum[1]+memory, sum[2]+disk
			projects = append(projects, entry(project, cpu, memory, disk))
			return nil
		}, `SELECT project_id, sum(vcpus), sum(memory_mb), sum(root_gb + ephemeral_gb) FROM servers WHERE host = $1 AND NOT deleted GROUP BY project_id ORDER BY project_id`, h.Host)
	})
	out := []map[string]any{
		entry("(total)", int64(h.Facts.VCPUs), h.Facts.MemoryMiB, h.Facts.DiskGiB),
		entry("(used_now)", h.vcpusUsed, h.memoryUsed, h.diskUsed),
		entry("(used_max)", sum[0], sum[1], sum[2]),
	}
	return map[string]any{"host": append(out, projects...)}, err
}

// updateHost and hostPower did something on drivers that are gone; the others answered 501.
func (s *Service) updateHost(ctx context.Context, r *api.Request, in struct {
	Status      *string `json:"status"`
	Maintenance *string `json:"maintenance_mode"`
}) (api.None, error) {
	if _, err := s.host(ctx, r.Path("id")); err != nil {
		return api.None{}, err
	}
	return api.None{}, notSupported()
}

func (s *Service) hostPower(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if _, err := s.host(ctx, r.Path("id")); err != nil {
		return api.None{}, err
	}
	return api.None{}, notSupported()
}
