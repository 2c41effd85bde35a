package compute

import (
	"fmt"
	"maps"
	"sort"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// quotaDefaults are nova's (nova/conf/quota.py). Those of the network are -1: it counts its own.
var quotaDefaults = map[string]int64{
	"instances": 10, "cores": 20, "ram": 50 * 1024, "metadata_items": 128, "injected_files": 5, "injected_file_content_bytes": 10 * 1024,
	"injected_file_path_bytes": 255, "key_pairs": 100, "server_groups": 10, "server_group_members": 10,
	"fixed_ips": -1, "floating_ips": -1, "security_groups": -1, "security_group_rules": -1,
}

// limits are the quotas that hold for a project, or for a user in it: own values over the default class's over the configured ones.
func (s *Service) limits(tx *db.Tx, project, user string) (map[string]int64, error) {
	out := maps.Clone(quotaDefaults)
	maps.Copy(out, s.o.Quotas)
	// Ordered so that the more particular one comes later and wins.
	err := tx.Each(func(r db.Row) error {
		var resource string
		var value int64
		err := r.Scan(&resource, &value)
		out[resource] = value
		return err
	}, `SELECT resource, value FROM compute_quotas WHERE class = 'default' OR class = '' AND project_id = $1 AND project_id <> '' AND user_id IN ('', $2)
		ORDER BY class DESC, user_id`, project, user)
	return out, err
}

// usage is what a project, or a user in it, has.
type usage struct{ instances, cores, ram int64 }

func serverUsage(tx *db.Tx, project, user string) (usage, error) {
	var w db.Where
	w.Add("project_id = ?", project).Add("deleted = FALSE")
	if user != "" {
		w.Add("user_id = ?", user)
	}
	return db.One(tx, func(r db.Row) (usage, error) {
		var u usage
		err := r.Scan(&u.instances, &u.cores, &u.ram)
		return u, err
	}, `SELECT count(*), coalesce(sum(vcpus), 0), coalesce(sum(memory_mb), 0) FROM servers`+w.SQL(), w.Args()...)
}

// takeQuota tells how many of the servers may be made: between min_count and max_count, as the quota leaves room.
func (s *Service) takeQuota(tx *db.Tx, v *Server, spec *createSpec) (int, error) {
	if err := tx.LockQuota(v.ProjectID, "instances"); err != nil {
		return 0, err
	}
	limits, err := s.limits(tx, v.ProjectID, v.UserID)
	if err != nil {
		return 0, err
	}
	if max := limits["metadata_items"]; max >= 0 && int64(len(v.Metadata.V)) > max {
		return 0, fault.Forbidden("Maximum number of metadata items exceeds %d", max)
	}
	if max := limits["injected_files"]; max >= 0 && int64(spec.personality) > max {
		return 0, fault.Forbidden("Quota exceeded, too many personality files: at most %d.", max)
	}
	used, err := serverUsage(tx, v.ProjectID, "")
	if err != nil {
		return 0, err
	}
	if len(overQuota(limits, used, v, int64(spec.minCount))) > 0 {
		return 0, fault.Forbidden("%s", quotaText(limits, used, v, int64(spec.minCount)))
	}
	if spec.minCount > mostAtOnce {
		return 0, fault.Forbidden("Quota exceeded for instances: Requested %d, but one request can make %d instances", spec.minCount, mostAtOnce)
	}
	// The largest number that fits; a search, since the client may name any.
	most := min(spec.maxCount, mostAtOnce)
	count := spec.minCount + sort.Search(most-spec.minCount, func(i int) bool {
		return len(overQuota(limits, used, v, int64(spec.minCount+i+1))) > 0
	})
	return count, s.groupQuota(tx, limits, v, count)
}

// mostAtOnce bounds the rows of one transaction, where no quota does.
const mostAtOnce = 1000

func (s *Service) groupQuota(tx *db.Tx, limits map[string]int64, v *Server, count int) error {
	max := limits["server_group_members"]
	if v.GroupID == "" || max < 0 {
		return nil
	}
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM servers WHERE group_id = $1 AND user_id = $2 AND NOT deleted`, v.GroupID, v.UserID)
	if err == nil && n+int64(count) > max {
		err = fault.Forbidden("Quota exceeded, too many servers in group")
	}
	return err
}

type quotaUse struct {
	name              string
	asked, used, most int64
}

// overQuota are the resources that n servers would need too much of, in the order in which nova names them.
func overQuota(limits map[string]int64, u usage, v *Server, n int64) []quotaUse {
	var out []quotaUse
	for _, q := range []quotaUse{
		{"cores", n * v.VCPUs, u.cores, limits["cores"]}, {"instances", n, u.instances, limits["instances"]}, {"ram", n * v.MemoryMB, u.ram, limits["ram"]},
	} {
		if q.most >= 0 && q.used+q.asked > q.most {
			out = append(out, q)
		}
	}
	return out
}

func quotaText(limits map[string]int64, u usage, v *Server, n int64) string {
	var names, asked, used, most []string
	for _, q := range overQuota(limits, u, v, n) {
		names = append(names, q.name)
		asked = append(asked, fmt.Sprint(q.asked))
		used = append(used, fmt.Sprint(q.used))
		most = append(most, fmt.Sprint(q.most))
	}
	j := func(l []string) string { return strings.Join(l, ", ") }
	return fmt.Sprintf("Quota exceeded for %s: Requested %s, but already used %s of %s %s", j(names), j(asked), j(used), j(most), j(names))
}

// setQuota stores a limit of a project, of a user in it, or of a class.
func setQuota(tx *db.Tx, class, project, user, resource string, value int64) error {
	_, err := tx.Exec(`INSERT INTO compute_quotas (class, project_id, user_id, resource, value) VALUES ($1,$2,$3,$4,$5)
		ON CONFLICT (class, project_id, user_id, resource) DO UPDATE SET value = excluded.value`, class, project, user, resource, value)
	return err
}
