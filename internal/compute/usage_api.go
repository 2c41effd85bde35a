package compute

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) usageRoutes() []api.Route {
	return []api.Route{
		api.Handle("GET", "/v2.1/os-simple-tenant-usage", api.Scoped(pUsage+"list"), 200, s.indexUsage, query(simpleTenantUsageIndexQuery())),
		api.Handle("GET", "/v2.1/os-simple-tenant-usage/{id}", api.Object(pUsage+"show"), 200, s.showUsage, query(simpleTenantUsageShowQuery())),
		api.Handle("GET", "/v2.1/os-instance_usage_audit_log", api.Scoped("os_compute_api:os-instance-usage-audit-log:list"), 200, s.indexAudit),
		api.Handle("GET", "/v2.1/os-instance_usage_audit_log/{date}", api.Scoped("os_compute_api:os-instance-usage-audit-log:show"), 200, s.showAudit),
	}
}

// period is the time asked about; without bounds it is this instant, as upstream has it.
type period struct {
	start, stop int64
	detailed    bool
}

func (s *Service) usagePeriod(r *api.Request) (period, error) {
	now := s.now().UnixMicro()
	read := func(name string) (int64, error) {
		v := r.Query().Get(name)
		if v == "" {
			return s.now().UnixMicro(), nil
		}
		for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999"} {
			if t, err := time.Parse(layout, v); err == nil {
				return t.UnixMicro(), nil
			}
		}
		return 0, fault.BadRequest("Invalid datetime string: Datetime is in invalid format")
	}
	start, err := read("start")
	if err != nil {
		return period{}, err
	}
	stop, err := read("end")
	if err != nil {
		return period{}, err
	}
	if r.Query().Get("start") == "" && r.Query().Get("end") == "" && stop <= start {
		stop = start + 1 // a clock that stands still must not refuse what asks for no period
	}
	if start >= stop {
		return period{}, fault.BadRequest("Invalid start time. The start time cannot occur after the end time.")
	}
	return period{start, min(stop, max(now, start+1)), r.Query().Get("detailed") == "1"}, nil
}

type serverUse struct {
	Hours     pyFloat `json:"hours"`
	Flavor    string  `json:"flavor"`
	ServerID  string  `json:"instance_id"`
	Name      string  `json:"name"`
	TenantID  string  `json:"tenant_id"`
	MemoryMB  int64   `json:"memory_mb"`
	LocalGB   int64   `json:"local_gb"`
	VCPUs     int64   `json:"vcpus"`
	StartedAt string  `json:"started_at"`
	EndedAt   *string `json:"ended_at"`
	State     string  `json:"state"`
	Uptime    int64   `json:"uptime"`
}

type tenantUse struct {
	TenantID string       `json:"tenant_id"`
	Servers  *[]serverUse `json:"server_usages,omitempty"`
	LocalGB  pyFloat      `json:"total_local_gb_usage"`
	VCPUs    pyFloat      `json:"total_vcpus_usage"`
	MemoryMB pyFloat      `json:"total_memory_mb_usage"`
	Hours    pyFloat      `json:"total_hours"`
	Start    string       `json:"start"`
	Stop     string       `json:"stop"`
}

// useOf is one server's part of a period.
func useOf(v *Server, p period, now int64) serverUse {
	start, stop := max(v.LaunchedAt, p.start), p.stop
	u := serverUse{Flavor: v.Flavor.V.Name, ServerID: v.ID, Name: v.Name, TenantID: v.ProjectID, MemoryMB: v.MemoryMB, LocalGB: v.RootGB + v.EphemeralGB,
		VCPUs: v.VCPUs, StartedAt: isoMicros(v.LaunchedAt), EndedAt: isoOrNull(v.TerminatedAt), State: v.VMState}
	end := now
	if v.TerminatedAt != 0 {
		u.State, end, stop = "terminated", v.TerminatedAt, min(stop, v.TerminatedAt)
	}
	u.Uptime = (end - v.LaunchedAt) / 1e6
	if stop > start {
		u.Hours = pyFloat(float64(stop-start) / 3.6e9)
	}
	return u
}

// usages sums the servers that lived in the period by project.
func (s *Service) usages(tx *db.Tx, p period, project string, detailed bool, limit int, marker string) ([]tenantUse, string, error) {
	var w db.Where
	w.Add("launched_at > 0").Add("launched_at < ?", p.stop).Add("terminated_at = 0 OR terminated_at > ?", p.start)
	if project != "" {
		w.Add("project_id = ?", project)
	}
	orders := []db.Order{{Column: "project_id"}, {Column: "num"}}
	if marker != "" {
		at, err := serverByID(tx, marker, false)
		if errors.Is(err, db.ErrNotFound) || err == nil && project != "" && at.ProjectID != project {
			return nil, "", fault.BadRequest("Marker %s could not be found.", marker)
		}
		if err != nil {
			return nil, "", err
		}
		w.After(orders, []any{at.ProjectID, at.Num})
	}
	rows, err := db.All(tx, scanServer, `SELECT `+serverColumns+` FROM servers`+w.SQL()+db.OrderBy(orders)+` LIMIT `+w.Arg(limit), w.Args()...)
	out, last := []tenantUse{}, ""
	for _, v := range rows {
		i := slices.IndexFunc(out, func(t tenantUse) bool { return t.TenantID == v.ProjectID })
		if i < 0 {
			i = len(out)
			out = append(out, tenantUse{TenantID: v.ProjectID, Start: isoMicros(p.start), Stop: isoMicros(p.stop)})
			if detailed {
				out[i].Servers = &[]serverUse{}
			}
		}
		u, t := useOf(v, p, tx.NowMicros()), &out[i]
		t.LocalGB += pyFloat(u.LocalGB) * u.Hours
		t.VCPUs += pyFloat(u.VCPUs) * u.Hours
		t.MemoryMB += pyFloat(u.MemoryMB) * u.Hours
		t.Hours += u.Hours
		if detailed {
			*t.Servers = append(*t.Servers, u)
		}
	}
	if len(rows) > 0 && len(rows) == limit {
		last = rows[len(rows)-1].ID
	}
	return out, last, err
}

func (s *Service) usagePage(r *api.Request) (p period, limit int, marker string, err error) {
	if p, err = s.usagePeriod(r); err != nil {
		return p, 0, "", err
	}
	limit = maxLimit
	if r.Since("2.40") {
		limit, marker, err = page(r)
	}
	return p, limit, marker, err
}

func (s *Service) indexUsage(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	p, limit, marker, err := s.usagePage(r)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	err = s.read(ctx, func(tx *db.Tx) error {
		list, last, err := s.usages(tx, p, "", p.detailed, limit, marker)
		out["tenant_usages"] = list
		if last != "" && r.Since("2.40") {
			out["tenant_usages_links"] = nextLink(r, "os-simple-tenant-usage", last)
		}
		return err
	})
	return out, err
}

func (s *Service) showUsage(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	id := r.Path("id")
	if err := r.Enforce(pUsage+"show", policy.Map{"project_id": id}); err != nil {
		return nil, err
	}
	p, limit, marker, err := s.usagePage(r)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"tenant_usage": map[string]any{}}
	err = s.read(ctx, func(tx *db.Tx) error {
		list, last, err := s.usages(tx, p, id, true, limit, marker)
		if len(list) > 0 {
			out["tenant_usage"] = list[0]
		}
		if last != "" && r.Since("2.40") {
			out["tenant_usage_links"] = nextLink(r, "os-simple-tenant-usage/"+id, last)
		}
		return err
	})
	return out, err
}

// audit is the log of a task that upstream's compute services run once a period to bill; nothing here does, so no host has run it.
func (s *Service) audit(ctx context.Context, before time.Time) (map[string]any, error) {
	end := time.Date(before.Year(), before.Month(), 1, 0, 0, 0, 0, time.UTC)
	begin := end.AddDate(0, -1, 0)
	hosts := []string{}
	err := s.read(ctx, func(tx *db.Tx) error {
		list, err := s.computeHosts(tx)
		for _, h := range list {
			hosts = append(hosts, h.Host)
		}
		return err
	})
	const layout = "2006-01-02 15:04:05"
	status := "ALL hosts done. 0 errors."
	if len(hosts) > 0 {
		status = "0 of " + pyText(len(hosts)) + " hosts done. 0 errors."
	}
	return map[string]any{"period_beginning": begin.Format(layout), "period_ending": end.Format(layout), "num_hosts": len(hosts), "num_hosts_done": 0,
		"num_hosts_running": 0, "num_hosts_not_run": len(hosts), "hosts_not_run": hosts, "total_instances": 0, "total_errors": 0,
		"overall_status": status, "log": map[string]any{}}, err
}

func (s *Service) indexAudit(ctx context.Context, _ *api.Request, _ api.None) (map[string]any, error) {
	a, err := s.audit(ctx, s.now().UTC())
	return map[string]any{"instance_usage_audit_logs": a}, err
}

func (s *Service) showAudit(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	t, err := time.Parse("2006-01-02 15:04:05.999999", r.Path("date"))
	if err != nil {
		return nil, fault.BadRequest("Invalid timestamp for date %s", r.Path("date"))
	}
	a, err := s.audit(ctx, t)
	return map[string]any{"instance_usage_audit_log": a}, err
}
