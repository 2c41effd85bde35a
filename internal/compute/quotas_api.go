package compute

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) quotaRoutes() []api.Route {
	one := "/v2.1/os-quota-sets/{id}"
	return []api.Route{
		api.Handle("GET", one, api.Object(pQuotas+"show"), 200, s.showQuota, query(quotaSetsShowQuery())),
		api.Handle("GET", one+"/detail", api.Object(pQuotas+"detail"), 200, s.detailQuota, query(quotaSetsDetailQuery())),
		api.Handle("GET", one+"/defaults", api.Object(pQuotas+"defaults"), 200, s.defaultQuota),
		api.Handle("PUT", one, api.Object(pQuotas+"update"), 200, s.updateQuota, body(quotaSetsUpdateBody()), query(quotaSetsUpdateQuery())),
		api.Handle("DELETE", one, api.Object(pQuotas+"delete"), 202, s.deleteQuota, query(quotaSetsDeleteQuery())),
		api.Handle("GET", "/v2.1/os-quota-class-sets/{id}", api.Scoped(pQuotaClasses+"show"), 200, s.showQuotaClass),
		api.Handle("PUT", "/v2.1/os-quota-class-sets/{id}", api.Scoped(pQuotaClasses+"update"), 200, s.updateQuotaClass, body(quotaClassesUpdateBody())),
		api.Handle("GET", "/v2.1/limits", api.Scoped("os_compute_api:limits"), 200, s.showLimits, query(limitsIndexQuery())),
	}
}

// hiddenQuotas are what a microversion does not tell any more: the network's since 2.36, injected files since 2.57.
func hiddenQuota(r *api.Request, name string) bool {
	network := slices.Contains([]string{"fixed_ips", "floating_ips", "networks", "security_group_rules", "security_groups"}, name)
	injected := slices.Contains([]string{"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}, name)
	return network && r.Since("2.36") || injected && r.Since("2.57")
}

func quotaView[V any](r *api.Request, values map[string]V, more map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range values {
		if !hiddenQuota(r, k) {
			out[k] = v
		}
	}
	for k, v := range more {
		out[k] = v
	}
	return map[string]any{"quota_set": out}
}

// quotaProject checks the rule and the project in the path.
func (s *Service) quotaProject(tx *db.Tx, r *api.Request, rule string) (string, error) {
	id := r.Path("id")
	if err := r.Enforce(pQuotas+rule, policy.Map{"project_id": id}); err != nil {
		return "", err
	}
	return id, s.verifyProject(tx, id)
}

func (s *Service) showQuota(ctx context.Context, r *api.Request, _ api.None) (out map[string]any, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		id, err := s.quotaProject(tx, r, "show")
		if err != nil {
			return err
		}
		l, err := s.limits(tx, id, r.Query().Get("user_id"))
		out = quotaView(r, l, map[string]any{"id": id})
		return err
	})
	return out, err
}

type quotaDetail struct {
	Limit    int64 `json:"limit"`
	InUse    int64 `json:"in_use"`
	Reserved int64 `json:"reserved"`
}

// inUse counts what quotas limit. Key pairs belong to users and are told as 0, as upstream does.
func inUse(tx *db.Tx, project, user string) (map[string]int64, error) {
	u, err := serverUsage(tx, project, user)
	if err != nil {
		return nil, err
	}
	groups, err := groupCount(tx, project)
	return map[string]int64{"instances": u.instances, "cores": u.cores, "ram": u.ram, "server_groups": groups}, err
}

func (s *Service) detailQuota(ctx context.Context, r *api.Request, _ api.None) (out map[string]any, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		id, err := s.quotaProject(tx, r, "detail")
		if err != nil {
			return err
		}
		user := r.Query().Get("user_id")
		l, err := s.limits(tx, id, user)
		if err != nil {
			return err
		}
		used, err := inUse(tx, id, user)
		details := map[string]quotaDetail{}
		for k, v := range l {
			details[k] = quotaDetail{Limit: v, InUse: used[k]}
		}
		out = quotaView(r, details, map[string]any{"id": id})
		return err
	})
	return out, err
}

func (s *Service) defaultQuota(ctx context.Context, r *api.Request, _ api.None) (out map[string]any, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		id, err := s.quotaProject(tx, r, "defaults")
		if err != nil {
			return err
		}
		l, err := s.limits(tx, "", "")
		out = quotaView(r, l, map[string]any{"id": id})
		return err
	})
	return out, err
}

func (s *Service) updateQuota(ctx context.Context, r *api.Request, in map[string]any) (out map[string]any, err error) {
	set := in["quota_set"].(map[string]any)
	user := r.Query().Get("user_id")
	err = s.write(ctx, func(tx *db.Tx) error {
		id, err := s.quotaProject(tx, r, "update")
		if err != nil {
			return err
		}
		if _, ok := set["networks"]; ok {
			return fault.BadRequest("The networks quota has been removed")
		}
		if err := tx.LockQuota(id, "instances"); err != nil {
			return err
		}
		used, err := inUse(tx, id, user)
		if err != nil {
			return err
		}
		project, err := s.limits(tx, id, "")
		if err != nil {
			return err
		}
		force := anyBool(set["force"], false)
		for k, v := range set {
			if k == "force" || k == "tenant_id" || v == nil || v == "" {
				continue
			}
			n := anyInt(v, 0)
			if err := quotaInRange(k, n, used[k], project[k], user != "", force); err != nil {
				return err
			}
			if err := setQuota(tx, "", id, user, k, n); err != nil {
				return err
			}
		}
		l, err := s.limits(tx, id, user)
		out = quotaView(r, l, nil)
		return err
	})
	return out, err
}

// quotaInRange refuses a limit below what is used, and a user's above the project's.
func quotaInRange(name string, n, used, project int64, user, force bool) error {
	if force {
		return nil
	}
	if n != -1 && n < used {
		return fault.BadRequest("Quota limit %d for %s must be greater than or equal to already used and reserved %d.", n, name, used)
	}
	if user && project != -1 && (n == -1 || n > project) {
		return fault.BadRequest("Quota limit %d for %s must be less than or equal to %d.", n, name, project)
	}
	return nil
}

func (s *Service) deleteQuota(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	id, user := r.Path("id"), r.Query().Get("user_id")
	if err := r.Enforce(pQuotas+"delete", policy.Map{"project_id": id}); err != nil {
		return api.None{}, err
	}
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		var w db.Where
		w.Add("class = ''").Add("project_id = ?", id)
		if user != "" {
			w.Add("user_id = ?", user)
		}
		_, err := tx.Exec(`DELETE FROM compute_quotas`+w.SQL(), w.Args()...)
		return err
	})
}

func (s *Service) showQuotaClass(ctx context.Context, r *api.Request, _ api.None) (out map[string]any, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		out, err = s.quotaClass(tx, r, map[string]any{"id": r.Path("id")})
		return err
	})
	return out, err
}

func (s *Service) quotaClass(tx *db.Tx, r *api.Request, more map[string]any) (map[string]any, error) {
	l, err := s.limits(tx, "", "")
	if err != nil {
		return nil, err
	}
	if class := r.Path("id"); class != "default" {
		if err := tx.Each(func(row db.Row) error {
			var k string
			var n int64
			err := row.Scan(&k, &n)
			l[k] = n
			return err
		}, `SELECT resource, value FROM compute_quotas WHERE class = $1`, class); err != nil {
			return nil, err
		}
	}
	if !r.Since("2.50") { // until then they were not told
		delete(l, "server_groups")
		delete(l, "server_group_members")
	}
	v := quotaView(r, l, more)
	return map[string]any{"quota_class_set": v["quota_set"]}, nil
}

func (s *Service) updateQuotaClass(ctx context.Context, r *api.Request, in map[string]any) (out map[string]any, err error) {
	err = s.write(ctx, func(tx *db.Tx) error {
		for k, v := range in["quota_class_set"].(map[string]any) {
			if v == nil {
				continue
			}
			if err := setQuota(tx, r.Path("id"), "", "", k, anyInt(v, 0)); err != nil {
				return err
			}
		}
		out, err = s.quotaClass(tx, r, nil)
		return err
	})
	return out, err
}

// limitNames are nova/api/openstack/compute/views/limits.py's.
var limitNames = map[string][]string{
	"ram": {"maxTotalRAMSize"}, "instances": {"maxTotalInstances"}, "cores": {"maxTotalCores"}, "key_pairs": {"maxTotalKeypairs"},
	"floating_ips": {"maxTotalFloatingIps"}, "metadata_items": {"maxServerMeta", "maxImageMeta"}, "injected_files": {"maxPersonality"},
	"injected_file_content_bytes": {"maxPersonalitySize"}, "security_groups": {"maxSecurityGroups"}, "security_group_rules": {"maxSecurityGroupRules"},
	"server_groups": {"maxServerGroups"}, "server_group_members": {"maxServerGroupMembers"},
}

var usedNames = map[string]string{
	"totalRAMUsed": "ram", "totalCoresUsed": "cores", "totalInstancesUsed": "instances", "totalFloatingIpsUsed": "floating_ips",
	"totalSecurityGroupsUsed": "security_groups", "totalServerGroupsUsed": "server_groups",
}

func (s *Service) showLimits(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	project := r.ProjectID()
	if t := r.Query().Get("tenant_id"); r.Query().Has("tenant_id") {
		project = t
		if err := r.Enforce("os_compute_api:limits:other_project", r.Self()); err != nil {
			return nil, err
		}
	}
	absolute := map[string]int64{}
	err := s.read(ctx, func(tx *db.Tx) error {
		l, err := s.limits(tx, project, "")
		if err != nil {
			return err
		}
		used, err := inUse(tx, project, "")
		for k, names := range limitNames {
			for _, n := range names {
				if !hiddenQuota(r, k) && (n != "maxImageMeta" || !r.Since("2.39")) {
					absolute[n] = l[k]
				}
			}
		}
		for n, k := range usedNames {
			if !hiddenQuota(r, k) {
				absolute[n] = used[k]
			}
		}
		return err
	})
	return map[string]any{"limits": map[string]any{"rate": []any{}, "absolute": absolute}}, err
}
