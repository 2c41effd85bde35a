package compute

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/placement"
)

func (s *Service) hypervisorRoutes() []api.Route {
	all := "/v2.1/os-hypervisors"
	old := api.MV("2.1-2.52")
	return []api.Route{
		api.Handle("GET", all, api.Scoped(pHypervisors+"list"), 200, s.indexHypervisors(false), query(hypervisorsIndexQuery())),
		api.Handle("GET", all+"/detail", api.Scoped(pHypervisors+"list-detail"), 200, s.indexHypervisors(true), query(hypervisorsDetailQuery())),
		api.Handle("GET", all+"/statistics", api.Scoped(pHypervisors+"statistics"), 200, s.hypervisorStatistics, api.MV("2.1-2.87")),
		api.Handle("GET", all+"/{id}", api.Scoped(pHypervisors+"show"), 200, s.showHypervisor, query(hypervisorsShowQuery())),
		api.Handle("GET", all+"/{id}/uptime", api.Scoped(pHypervisors+"uptime"), 200, s.hypervisorUptime, api.MV("2.1-2.87")),
		api.Handle("GET", all+"/{id}/search", api.Scoped(pHypervisors+"search"), 200, s.searchHypervisors(false), old),
		api.Handle("GET", all+"/{id}/servers", api.Scoped(pHypervisors+"servers"), 200, s.searchHypervisors(true), old),
	}
}

// hypervisor is a host with what is used of it.
type hypervisor struct {
	computeHost
	vcpusUsed, memoryUsed, diskUsed int64
	servers                         []map[string]string
	running                         int64
}

func (s *Service) hypervisors(tx *db.Tx) ([]hypervisor, error) {
	hosts, err := s.computeHosts(tx)
	if err != nil || len(hosts) == 0 {
		return nil, err
	}
	providers := make([]string, len(hosts))
	for i, h := range hosts {
		providers[i] = h.Provider
	}
	stocks, err := placement.Stocks(tx, providers...)
	if err != nil {
		return nil, err
	}
	out := make([]hypervisor, len(hosts))
	place := map[string]int{}
	for i, h := range hosts {
		st := stocks[h.Provider]
		out[i] = hypervisor{computeHost: h, vcpusUsed: st["VCPU"].Used, memoryUsed: st["MEMORY_MB"].Used + st["MEMORY_MB"].Reserved, diskUsed: st["DISK_GB"].Used}
		place[h.Host] = i
	}
	return out, tx.Each(func(r db.Row) error {
		v := Server{}
		if err := r.Scan(&v.ID, &v.Num, &v.Host); err != nil {
			return err
		}
		if i, ok := place[v.Host]; ok {
			out[i].running++
			out[i].servers = append(out[i].servers, map[string]string{"name": v.instanceName(), "uuid": v.ID})
		}
		return nil
	}, `SELECT id, num, host FROM servers WHERE NOT deleted AND host <> '' ORDER BY num`)
}

// numbers are the totals that were told until 2.87.
func (h hypervisor) numbers() map[string]any {
	return map[string]any{
		"vcpus": h.Facts.VCPUs, "memory_mb": h.Facts.MemoryMiB, "local_gb": h.Facts.DiskGiB, "vcpus_used": h.vcpusUsed, "memory_mb_used": h.memoryUsed,
		"local_gb_used": h.diskUsed, "free_ram_mb": h.Facts.MemoryMiB - h.memoryUsed, "free_disk_gb": h.Facts.DiskGiB - h.diskUsed,
		"current_workload": 0, "running_vms": h.running, "disk_available_least": h.Facts.DiskFreeGiB,
	}
}

func (h hypervisor) view(r *api.Request, detail, servers bool) map[string]any {
	m := map[string]any{"id": h.Num, "hypervisor_hostname": h.Host, "state": upDown(h.Up()), "status": enabled(h.Disabled)}
	service := map[string]any{"id": h.Num, "host": h.Host, "disabled_reason": h.DisabledReason}
	if r.Since("2.53") {
		m["id"], service["id"] = h.id(), h.UUID
	}
	if detail {
		m["hypervisor_type"], m["hypervisor_version"], m["host_ip"], m["service"] = h.Facts.HypervisorType, h.Facts.HypervisorVersion, h.Facts.HostIP, service
		if r.Since("2.88") {
			m["uptime"] = h.uptime()
		} else {
			for k, v := range h.numbers() {
				m[k] = v
			}
			m["cpu_info"] = h.cpuInfo(r.Since("2.28"))
		}
	}
	if servers && (len(h.servers) > 0 || r.Since("2.75")) {
		m["servers"] = h.servers
		if h.servers == nil {
			m["servers"] = []any{}
		}
	}
	return m
}

// id is the provider's uuid, as the compute node's is upstream.
func (h hypervisor) id() string { return h.Provider }

func (h hypervisor) cpuInfo(object bool) any {
	features := h.Facts.CPUFeatures
	if features == nil {
		features = []string{}
	}
	info := map[string]any{"arch": h.Facts.Arch, "model": h.Facts.CPUModel, "vendor": h.Facts.CPUVendor, "features": features,
		"topology": map[string]int{"cores": h.Facts.VCPUs, "threads": 1, "sockets": 1}}
	if object {
		return info
	}
	b, err := json.Marshal(info)
	if err != nil {
		return "{}"
	}
	return string(b)
}

// uptime is the text of uptime(1), which clients take apart.
func (h hypervisor) uptime() *string {
	if !h.heard || h.Facts.UptimeSeconds == 0 {
		return nil
	}
	up := h.Facts.UptimeSeconds
	days := ""
	if d := up / 86400; d > 0 {
		days = fmt.Sprintf("%d days, ", d)
	}
	l := h.Facts.LoadAverage
	now := zulu(h.HeartbeatAt)
	text := fmt.Sprintf(" %s up %s%2d:%02d,  0 users,  load average: %.2f, %.2f, %.2f", now[11:19], days, up%86400/3600, up%3600/60, l[0], l[1], l[2])
	return &text
}

func (s *Service) indexHypervisors(detail bool) func(context.Context, *api.Request, api.None) (map[string]any, error) {
	return func(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
		q := r.Query()
		limit, marker, with, pattern := maxLimit, "", false, ""
		var err error
		if r.Since("2.33") {
			if limit, marker, err = page(r); err != nil {
				return nil, err
			}
		}
		if r.Since("2.53") {
			pattern = q.Get("hypervisor_hostname_pattern")
			if v := q.Get("with_servers"); v != "" {
				ok := false
				if with, ok = strictBool(v); !ok {
					return nil, unrecognizedBool(v)
				}
			}
			if pattern != "" && (q.Has("limit") || marker != "") {
				return nil, fault.BadRequest("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
			}
		}
		var list []hypervisor
		if err := s.read(ctx, func(tx *db.Tx) error {
			list, err = s.hypervisors(tx)
			return err
		}); err != nil {
			return nil, err
		}
		if pattern != "" {
			if list, err = matchingHosts(list, pattern); err != nil {
				return nil, err
			}
		}
		if marker != "" {
			i := slices.IndexFunc(list, func(h hypervisor) bool {
				return h.id() == marker || !r.Since("2.53") && strconv.FormatInt(h.Num, 10) == marker
			})
			if i < 0 {
				return nil, markerNotFound(marker)
			}
			list = list[i+1:]
		}
		docs := []map[string]any{}
		for _, h := range list[:min(limit, len(list))] {
			docs = append(docs, h.view(r, detail, with))
		}
		out := map[string]any{"hypervisors": docs}
		if r.Since("2.33") && pattern == "" && len(docs) > 0 && len(docs) == limit {
			collection := "os-hypervisors"
			if detail {
				collection += "/detail"
			}
			out["hypervisors_links"] = nextLink(r, collection, fmt.Sprint(docs[len(docs)-1]["id"]))
		}
		return out, nil
	}
}

func matchingHosts(list []hypervisor, pattern string) ([]hypervisor, error) {
	var out []hypervisor
	for _, h := range list {
		if strings.Contains(h.Host, pattern) {
			out = append(out, h)
		}
	}
	if len(out) == 0 {
		return nil, fault.NotFound("No hypervisor matching '%s' could be found.", pattern)
	}
	return out, nil
}

// hypervisor finds the one in the path: a number until 2.52, a uuid from 2.53 on.
func (s *Service) hypervisor(ctx context.Context, r *api.Request) (hypervisor, error) {
	id := r.Path("id")
	if r.Since("2.53") && !isUUID(id) {
		return hypervisor{}, fault.BadRequest("Invalid uuid %s", id)
	}
	var list []hypervisor
	if err := s.read(ctx, func(tx *db.Tx) (err error) {
		list, err = s.hypervisors(tx)
		return err
	}); err != nil {
		return hypervisor{}, err
	}
	for _, h := range list {
		if r.Since("2.53") && h.id() == id || !r.Since("2.53") && strconv.FormatInt(h.Num, 10) == id {
			return h, nil
		}
	}
	return hypervisor{}, fault.NotFound("Hypervisor with ID '%s' could not be found.", id)
}

func (s *Service) showHypervisor(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	with := false
	if v := r.Query().Get("with_servers"); v != "" && r.Since("2.53") {
		ok := false
		if with, ok = strictBool(v); !ok {
			return nil, unrecognizedBool(v)
		}
	}
	h, err := s.hypervisor(ctx, r)
	if err != nil {
		return nil, err
	}
	return map[string]any{"hypervisor": h.view(r, true, with)}, nil
}

func (s *Service) hypervisorUptime(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	h, err := s.hypervisor(ctx, r)
	if err != nil {
		return nil, err
	}
	up := h.uptime()
	if up == nil {
		return nil, fault.BadRequest("Compute service of %s is unavailable at this time.", h.Host)
	}
	m := h.view(r, false, false)
	m["uptime"] = up
	return map[string]any{"hypervisor": m}, nil
}

func (s *Service) searchHypervisors(servers bool) func(context.Context, *api.Request, api.None) (map[string]any, error) {
	return func(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
		var list []hypervisor
		if err := s.read(ctx, func(tx *db.Tx) (err error) {
			list, err = s.hypervisors(tx)
			return err
		}); err != nil {
			return nil, err
		}
		list, err := matchingHosts(list, r.Path("id"))
		if err != nil {
			return nil, err
		}
		docs := []map[string]any{}
		for _, h := range list {
			docs = append(docs, h.view(r, false, servers))
		}
		return map[string]any{"hypervisors": docs}, nil
	}
}

func (s *Service) hypervisorStatistics(ctx context.Context, _ *api.Request, _ api.None) (map[string]any, error) {
	sum := map[string]any{"count": 0}
	for k := range (hypervisor{}).numbers() {
		sum[k] = int64(0)
	}
	err := s.read(ctx, func(tx *db.Tx) error {
		list, err := s.hypervisors(tx)
		sum["count"] = len(list)
		for _, h := range list {
			for k, v := range h.numbers() {
				n, _ := sum[k].(int64)
				switch x := v.(type) {
				case int:
					n += int64(x)
				case int64:
					n += x
				}
				sum[k] = n
			}
		}
		return err
	})
	return map[string]any{"hypervisor_statistics": sum}, err
}
