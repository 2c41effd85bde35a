package compute

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// serverQuery is a checked list request.
type serverQuery struct {
	where  db.Where
	orders []db.Order
	limit  int
	marker string
	none   bool // no server can match
	// Whose list it is.
	admin   bool
	project string
	// addresses are filters on the ports, which the network service keeps.
	ip, ip6 string
}

// joinedTables are filters that nova's schema lets pass so that they can be refused by name.
var joinedTables = []string{"block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups", "pci_devices"}

// openFilters are the filters of everybody, with the microversion of each; others need the rule allow_all_filters.
var openFilters = map[string]int{
	"reservation_id": 1, "name": 1, "status": 1, "image": 1, "flavor": 1, "ip": 1, "changes-since": 1, "all_tenants": 1, "ip6": 5,
	"tags": 26, "tags-any": 26, "not-tags": 26, "not-tags-any": 26, "changes-before": 66, "locked": 73,
	"availability_zone": 83, "config_drive": 83, "key_name": 83, "created_at": 83, "launched_at": 83, "terminated_at": 83, "power_state": 83,
	"task_state": 83, "vm_state": 83, "progress": 83, "user_id": 83, "hostname": 90,
}

// exact and regex are columns by filter name (nova/compute/api.py, get_all, and nova/db/main/api.py).
var (
	exactFilters = map[string]string{
		"host": "host", "project_id": "project_id", "tenant_id": "project_id", "user_id": "user_id", "image": "image_id", "image_ref": "image_id",
		"vm_state": "vm_state", "task_state": "task_state", "uuid": "id",
	}
	regexFilters = map[string]string{
		"name": "name", "display_name": "name", "hostname": "hostname", "key_name": "key_name", "node": "host", "reservation_id": "reservation_id",
		"availability_zone": "availability_zone", "description": "coalesce(description, '')", "display_description": "coalesce(description, '')",
		"access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6", "locked_by": "locked_by",
	}
	sortColumns = map[string]string{
		"access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6", "auto_disk_config": "auto_disk_config", "availability_zone": "availability_zone",
		"config_drive": "config_drive", "created_at": "created_at", "display_description": "coalesce(description, '')", "display_name": "name",
		"host": "host", "hostname": "hostname", "image_ref": "image_id", "instance_type_id": "flavor_id", "key_name": "key_name",
		"launch_index": "launch_index", "launched_at": "launched_at", "locked_by": "locked_by", "node": "host", "power_state": "power_state",
		"project_id": "project_id", "task_state": "task_state", "terminated_at": "terminated_at", "updated_at": "updated_at", "user_id": "user_id",
		"uuid": "id", "vm_state": "vm_state", "locked": "locked_by",
	}
	// sortedByNothing are keys that nova takes and that are the same for all servers here.
	sortedByNothing = []string{"kernel_id", "ramdisk_id", "root_device_name", "progress"}
)

// regexMatch is a condition on a column: Python's and MySQL's search, so unanchored.
func regexMatch(column string) string { return "regexp_like(" + column + ", ?)" }

// parseServerQuery turns the query string into conditions as nova/api/openstack/compute/servers.py does.
func (s *Service) parseServerQuery(tx *db.Tx, r *api.Request, detail bool) (*serverQuery, error) {
	opts := url.Values{}
	all := r.Can(pServers+"allow_all_filters", r.Self())
	for k, v := range r.Query() {
		switch {
		case k == "sort_key" || k == "sort_dir" || k == "limit" || k == "marker":
		case !all && (openFilters[k] == 0 || openFilters[k] > r.MV.Minor):
		default:
			opts[k] = v
		}
	}
	for k := range opts {
		if slices.Contains(joinedTables, k) || strings.HasPrefix(k, "_") {
			return nil, fault.BadRequest("Invalid filter field: %s.", k)
		}
	}
	q := &serverQuery{admin: isAdmin(r), project: r.ProjectID()}
	steps := []func(*db.Tx, *api.Request, url.Values, bool) error{q.status, q.times, q.deleted, q.scope, q.columns, q.flags, q.tags}
	for _, step := range steps {
		if err := step(tx, r, opts, detail); err != nil {
			return nil, err
		}
	}
	var err error
	if q.limit, q.marker, err = page(r); err != nil {
		return nil, err
	}
	return q, q.sort(r)
}

func (q *serverQuery) status(_ *db.Tx, r *api.Request, opts url.Values, _ bool) error {
	wanted, ok := r.Query()["status"]
	if !ok {
		return nil
	}
	vms, tasks := statesOf(wanted)
	if len(vms) == 0 {
		if r.Since("2.38") {
			return fault.BadRequest("Invalid status value")
		}
		q.none = true
		return nil
	}
	opts.Del("vm_state")
	if slices.Equal(vms, []string{vmDeleted}) {
		if !isAdmin(r) {
			return fault.Forbidden("Only administrators may list deleted instances")
		}
		opts.Set("deleted", "True")
	}
	q.where.In("vm_state", vms)
	if !slices.Contains(tasks, "") {
		q.where.In("task_state", tasks)
	}
	return nil
}

func (q *serverQuery) times(_ *db.Tx, _ *api.Request, opts url.Values, _ bool) error {
	var since, before time.Time
	var err error
	if v := opts.Get("changes-since"); opts.Has("changes-since") {
		if since, err = parseISO(v); err != nil {
			return fault.BadRequest("Invalid filter field: changes-since.")
		}
		q.where.Add("updated_at >= ?", since.UnixMicro())
	}
	if v := opts.Get("changes-before"); opts.Has("changes-before") {
		if before, err = parseISO(v); err != nil {
			return fault.BadRequest("Invalid filter field: changes-before.")
		}
		if !since.IsZero() && before.Before(since) {
			return fault.BadRequest("The value of changes-since must be less than or equal to changes-before.")
		}
		q.where.Add("updated_at <= ?", before.UnixMicro())
	}
	return nil
}

func (q *serverQuery) deleted(_ *db.Tx, _ *api.Request, opts url.Values, _ bool) error {
	switch {
	case opts.Has("deleted"):
		if boolOf(opts.Get("deleted"), false) {
			q.where.Add("deleted = TRUE")
		} else {
			q.where.Add("deleted = FALSE")
		}
	case !opts.Has("changes-since") && !opts.Has("changes-before"):
		q.where.Add("deleted = FALSE") // not "NOT deleted", for which SQLite takes no index: the list would be sorted anew each time
	}
	return nil
}

// scope limits the list to the caller's project unless all are asked for.
func (q *serverQuery) scope(_ *db.Tx, r *api.Request, opts url.Values, detail bool) error {
	everybody := false
	if opts.Has("all_tenants") {
		v := opts.Get("all_tenants")
		ok := true
		if everybody = v == ""; !everybody {
			if everybody, ok = strictBool(v); !ok {
				return unrecognizedBool(v)
			}
		}
	}
	if !everybody {
		opts.Del("tenant_id")
		opts.Del("project_id")
		if r.ProjectID() != "" {
			q.where.Add("project_id = ?", r.ProjectID())
		} else {
			q.where.Add("user_id = ?", r.UserID())
		}
		return nil
	}
	rule := "index"
	if detail {
		rule = "detail"
	}
	return r.Enforce(pServers+rule+":get_all_tenants", r.Self())
}

func (q *serverQuery) columns(tx *db.Tx, _ *api.Request, opts url.Values, _ bool) error {
	for k, col := range exactFilters {
		if !opts.Has(k) {
			continue
		}
		values := opts[k]
		if k == "image" {
			values = []string{lastPart(opts.Get(k))}
		}
		if k == "task_state" || k == "vm_state" {
			values = slices.Clone(values)
			for i, v := range values {
				if strings.EqualFold(v, "none") {
					values[i] = ""
				}
			}
		}
		q.where.In(col, values)
	}
	for k, col := range regexFilters {
		if opts.Has(k) {
			q.where.Add(regexMatch(col), opts.Get(k))
		}
	}
	if opts.Has("flavor") {
		q.where.Add("flavor_id = ?", lastPart(opts.Get("flavor")))
	}
	q.ip, q.ip6 = opts.Get("ip"), opts.Get("ip6")
	return nil
}

// flags are filters on columns that are no texts.
func (q *serverQuery) flags(_ *db.Tx, _ *api.Request, opts url.Values, _ bool) error {
	if opts.Has("locked") {
		v, ok := strictBool(opts.Get("locked"))
		if !ok {
			return unrecognizedBool(opts.Get("locked"))
		}
		if v {
			q.where.Add("locked_by <> ''")
		} else {
			q.where.Add("locked_by = ''")
		}
	}
	if opts.Has("config_drive") {
		q.where.Add("config_drive = ?", boolOf(opts.Get("config_drive"), false))
	}
	if opts.Has("auto_disk_config") {
		q.where.Add("auto_disk_config = ?", boolOf(opts.Get("auto_disk_config"), false))
	}
	for k, col := range map[string]string{"power_state": "power_state", "launch_index": "launch_index", "progress": "0"} {
		if opts.Has(k) {
			q.where.Add(col+" = ?", anyInt(opts.Get(k), -1))
		}
	}
	for _, k := range []string{"created_at", "launched_at", "terminated_at"} {
		if opts.Has(k) {
			t, err := parseISO(opts.Get(k))
			if err != nil {
				q.none = true
				continue
			}
			q.where.Add(k+" = ?", t.UnixMicro())
		}
	}
	for _, k := range []string{"kernel_id", "ramdisk_id"} {
		if opts.Get(k) != "" {
			q.none = true
		}
	}
	return nil
}

// tags are stored as a JSON list; a tag holds neither quote nor backslash unescaped, so "tag" in quotes is found by its text.
func (q *serverQuery) tags(_ *db.Tx, r *api.Request, opts url.Values, _ bool) error {
	if !r.Since("2.26") {
		return nil
	}
	has := func(list string) (conds []string, args []any) {
		for _, t := range slices.Compact(slices.Sorted(strings.SplitSeq(list, ","))) {
			var w docWriter
			w.text(t)
			conds = append(conds, `tags LIKE ? ESCAPE '!'`)
			args = append(args, "%"+strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(string(w.b))+"%")
		}
		return conds, args
	}
	for k, shape := range map[string][2]string{"tags": {" AND ", ""}, "tags-any": {" OR ", ""}, "not-tags": {" AND ", "NOT "}, "not-tags-any": {" OR ", "NOT "}} {
		if opts.Has(k) {
			conds, args := has(opts.Get(k))
			q.where.Add(shape[1]+"("+db.Join(conds, shape[0])+")", args...)
		}
	}
	return nil
}

// sort reads sort_key and sort_dir; a missing direction is that of the first, and created_at and the number come last.
func (q *serverQuery) sort(r *api.Request) error {
	keys, dirs := slices.Clone(r.Query()["sort_key"]), slices.Clone(r.Query()["sort_dir"])
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			return fault.BadRequest("Unknown sort direction, must be 'desc' or 'asc'")
		}
	}
	dirOf := func(i int) bool {
		switch {
		case i < len(dirs):
			return dirs[i] == "desc"
		case len(dirs) > 0:
			return dirs[0] == "desc"
		}
		return true
	}
	seen := map[string]bool{}
	add := func(col string, desc bool) {
		if !seen[col] {
			seen[col] = true
			q.orders = append(q.orders, db.Order{Column: col, Desc: desc})
		}
	}
	for i, k := range keys {
		k = strings.TrimSpace(k)
		col := sortColumns[k]
		if k == "locked" && !r.Since("2.73") {
			col = ""
		}
		if (k == "host" || k == "node") && !isAdmin(r) {
			return fault.Forbidden("Only administrators can sort servers by %s", k)
		}
		if col == "" || slices.Contains(sortedByNothing, k) {
			continue
		}
		add(col, dirOf(i))
	}
	last := dirOf(len(keys))
	add("created_at", last)
	add("num", last)
	return nil
}

// parseISO reads the forms of ISO 8601 that clients send; without a zone it is UTC.
func parseISO(v string) (time.Time, error) {
	v = strings.ReplaceAll(v, " ", "+")
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04", "2006-01-02", "2006-01-02+15:04:05"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.BadRequest("Invalid time %s", v)
}
