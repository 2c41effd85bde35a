package network

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// quotaKind is a resource that quotas count, with its table and upstream's default.
type quotaKind struct {
	name, table string
	def         int64
}

var quotaKinds = []quotaKind{{"network", "net_networks", 100}, {"subnet", "net_subnets", 100}, {"subnetpool", "net_subnetpools", -1}, {"port", "net_ports", 500},
	{"router", "net_routers", 10}, {"floatingip", "net_floatingips", 50}, {"rbac_policy", "net_rbac_policies", 10}, {"security_group", "net_security_groups", 10},
	{"security_group_rule", "net_security_group_rules", 100}}

func quotaKindOf(name string) (quotaKind, bool) {
	for _, k := range quotaKinds {
		if k.name == name {
			return k, true
		}
	}
	return quotaKind{}, false
}

// defaultQuota is the configured limit of projects without one of their own.
func (s *Service) defaultQuota(k quotaKind) int64 {
	if n, ok := s.o.Quotas[k.name]; ok {
		return n
	}
	return k.def
}

// checkQuota counts what the owners of new objects have, in the transaction that makes them.
func (c *call) checkQuota(r *resource, all []values) error {
	k, ok := quotaKindOf(r.quota)
	if !ok || c.internal {
		return nil
	}
	adds := map[string]int64{}
	for _, v := range all {
		adds[v.str("tenant_id")]++
	}
	for _, project := range sortedKeys(adds) {
		if err := c.quotaHolds(project, k, adds[project]); err != nil {
			return err
		}
	}
	return nil
}

// quotaHolds refuses n more of a kind when that is more than the project may have.
func (c *call) quotaHolds(project string, k quotaKind, n int64) error {
	limit, err := c.quotaLimit(project, k)
	if err != nil || limit < 0 || project == "" {
		return err
	}
	if err := c.tx.LockQuota(project, "network/"+k.name); err != nil {
		return err
	}
	used, err := db.One(c.tx, db.Value[int64], `SELECT count(*) FROM (SELECT 1 FROM `+k.table+` WHERE project_id = $1 LIMIT $2) q`, project, limit+1)
	if err == nil && used+n > limit {
		return overQuota(k.name)
	}
	return err
}

func (c *call) quotaLimit(project string, k quotaKind) (int64, error) {
	limits, err := c.quotaLimits(project)
	if err != nil {
		return 0, err
	}
	return limits[k.name], nil
}

// quotaLimits are a project's limits by resource.
func (c *call) quotaLimits(project string) (map[string]int64, error) {
	limits := map[string]int64{}
	for _, k := range quotaKinds {
		limits[k.name] = c.s.defaultQuota(k)
	}
	err := c.tx.Each(func(r db.Row) error {
		var name string
		var n int64
		err := r.Scan(&name, &n)
		limits[name] = n
		return err
	}, `SELECT resource, quota_limit FROM net_quotas WHERE project_id = $1`, project)
	return limits, err
}

// Quota is a limit and what counts against it.
type Quota struct{ Limit, Used int64 }

// Quotas are a project's quotas by resource name, for compute's limits.
func (s *Service) Quotas(tx *db.Tx, projectID string) (map[string]Quota, error) {
	c := s.call(tx, nil, nil)
	limits, err := c.quotaLimits(projectID)
	if err != nil {
		return nil, err
	}
	out := map[string]Quota{}
	for _, k := range quotaKinds {
		used, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM `+k.table+` WHERE project_id = $1`, projectID)
		if err != nil {
			return nil, err
		}
		out[k.name] = Quota{limits[k.name], used}
	}
	return out, nil
}

func (s *Service) quotaRoutes() []api.Route {
	read := func(ctx context.Context, q *api.Request, fn func(c *call) (any, error)) (api.JSON, error) {
		q.Asked()
		var out api.JSON
		err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
			v, err := fn(s.call(tx, q, q.Caller))
			if err == nil {
				out, err = encodeJSON(v)
			}
			return err
		})
		return out, err
	}
	// One's own project's are asked no rule about (neutron/extensions/quotasv2.py). About another's the rule is asked with that project,
	// where upstream names the caller's and so shows every project's quotas to a manager of any.
	mayGet := func(c *call, project string) error {
		if project == c.projectID {
			return nil
		}
		return c.r.Enforce("get_quota", policy.Owned{ProjectID: project})
	}
	// The details of another project's are for administrators of whatever scope, by no rule of their own (neutron/extensions/quotasv2_detail.py).
	mayDetail := func(c *call, project string) error {
		if project == c.projectID || c.admin {
			return nil
		}
		c.denied(nil, "context_is_admin")
		return fault.New(http.StatusForbidden, "AdminRequired", "User does not have admin privileges: Only admin is authorized to access quotas for another project.")
	}
	// Only /details differs between these, and /default from the project's own.
	show := func(may func(c *call, project string) error, view func(c *call, project string) (any, error)) func(context.Context, *api.Request, api.None) (api.JSON, error) {
		return func(ctx context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			project := q.Path("project")
			return read(ctx, q, func(c *call) (any, error) {
				switch project {
				case "tenant", "project": // whose quotas these are (neutron/extensions/quotasv2.py)
					return map[string]any{project: map[string]string{project + "_id": c.projectID}}, nil
				}
				if err := may(c, project); err != nil {
					return nil, err
				}
				v, err := view(c, project)
				return map[string]any{"quota": v}, err
			})
		}
	}
	return []api.Route{
		api.Handle("GET", "/v2.0/quotas", api.Object("get_quota"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			return read(ctx, q, listQuotas)
		}),
		api.Handle("GET", "/v2.0/quotas/{project}", api.Object("get_quota"), http.StatusOK, show(mayGet, func(c *call, p string) (any, error) { return c.quotaLimits(p) })),
		api.Handle("GET", "/v2.0/quotas/{project}/default", api.Object("get_quota"), http.StatusOK, show(mayGet, func(c *call, _ string) (any, error) {
			limits := map[string]int64{}
			for _, k := range quotaKinds {
				limits[k.name] = s.defaultQuota(k)
			}
			return limits, nil
		})),
		api.Handle("GET", "/v2.0/quotas/{project}/details", api.Object("get_quota"), http.StatusOK, show(mayDetail, quotaDetails)),
		api.Handle("PUT", "/v2.0/quotas/{project}", api.Object("update_quota"), http.StatusOK, s.updateQuota),
		api.Handle("DELETE", "/v2.0/quotas/{project}", api.Object("delete_quota"), http.StatusNoContent, s.deleteQuota),
	}
}

func quotaDetails(c *call, project string) (any, error) {
	all, err := c.s.Quotas(c.tx, project)
	out := map[string]any{}
	for name, x := range all {
		out[name] = map[string]int64{"limit": x.Limit, "used": x.Used, "reserved": 0}
	}
	return out, err
}

// listQuotas lists the projects that have limits of their own, as far as the caller may see them.
func listQuotas(c *call) (any, error) {
	if err := c.r.Enforce("get_quota", policy.Owned{ProjectID: c.projectID}); err != nil {
		return nil, err
	}
	projects, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT project_id FROM net_quotas ORDER BY project_id`)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, p := range projects {
		if !c.r.Can("get_quota", policy.Owned{ProjectID: p}) {
			continue
		}
		limits, err := c.quotaLimits(p)
		if err != nil {
			return nil, err
		}
		d := map[string]any{"project_id": p, "tenant_id": p}
		for k, n := range limits {
			d[k] = n
		}
		out = append(out, d)
	}
	return map[string]any{"quotas": out}, nil
}

func (s *Service) updateQuota(ctx context.Context, q *api.Request, in map[string]any) (api.JSON, error) {
	if err := q.Enforce("update_quota", policy.Owned{ProjectID: q.Path("project")}); err != nil {
		return nil, err
	}
	body, limits, err := quotaBody(in)
	if err != nil {
		return nil, err
	}
	project := q.Path("project")
	var out api.JSON
	err = s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		for _, k := range quotaKinds {
			n, ok := limits[k.name]
			if !ok {
				continue
			}
			if check, err := toBool(body["check_limit"]); err == nil && check == true && n >= 0 {
				used, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM `+k.table+` WHERE project_id = $1`, project)
				if err != nil {
					return err
				}
				if used > n {
					return badRequest("BadRequest", "Bad Quota limit is less than usage request: Resource %s limit %d is less than its current usage %d.", k.name, n, used)
				}
			}
			if _, err := tx.Exec(`INSERT INTO net_quotas (project_id, resource, quota_limit) VALUES ($1, $2, $3) ON CONFLICT (project_id, resource) DO UPDATE SET quota_limit = excluded.quota_limit`,
				project, k.name, n); err != nil {
				return err
			}
		}
		all, err := c.quotaLimits(project)
		if err == nil {
			out, err = encodeJSON(map[string]any{"quota": all})
		}
		return err
	})
	return out, err
}

// quotaBody reads and checks {"quota": {"port": 10}}.
func quotaBody(in map[string]any) (map[string]any, map[string]int64, error) {
	m, ok := in["quota"].(map[string]any)
	if !ok {
		if _, there := in["quota"]; there {
			return nil, nil, httpBadRequest("Object 'quota' contains invalid data")
		}
		return nil, nil, httpBadRequest("Unable to find 'quota' in request body")
	}
	body := plain(m).(map[string]any)
	limits := map[string]int64{}
	var unknown *fault.Error
	for _, name := range sortedKeys(body) {
		switch name {
		case "check_limit", "force", "project_id", "tenant_id":
			continue
		}
		if _, ok := quotaKindOf(name); !ok {
			unknown = httpBadRequest("Unrecognized attribute(s) '%s'", name)
			continue
		}
		n, ok := pyInt(body[name])
		switch {
		case !ok:
			return nil, nil, invalidInput("'%s' is not an integer", str(body[name]))
		case n < -1:
			return nil, nil, httpBadRequest("Invalid input for %s. Reason: '%d' is too small - must be at least '-1'.", name, n)
		case n > 1<<31-1:
			return nil, nil, httpBadRequest("Invalid input for %s. Reason: '%d' is too large - must be no larger than '%d'.", name, n, 1<<31-1)
		}
		limits[name] = n
	}
	if unknown != nil {
		return nil, nil, unknown
	}
	return body, limits, nil
}

func (s *Service) deleteQuota(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
	project := q.Path("project")
	if err := q.Enforce("delete_quota", policy.Owned{ProjectID: project}); err != nil {
		return api.None{}, err
	}
	return api.None{}, s.o.DB.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(`DELETE FROM net_quotas WHERE project_id = $1`, project)
		if err == nil && n == 0 {
			return notFound("TenantQuotaNotFound", "Quota for tenant %s could not be found.", project)
		}
		if err != nil {
			return fmt.Errorf("delete quotas of project %s: %w", project, err)
		}
		return nil
	})
}
