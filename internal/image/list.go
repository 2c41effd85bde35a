package image

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Page sizes (glance's limit_param_default and api_limit_max).
const (
	defaultLimit = 25
	maxLimit     = 1000
)

// listing is a parsed list request.
type listing struct {
	limit        int
	marker       string
	hasMarker    bool
	memberStatus string
	visibility   string
	hidden       bool
	orders       []db.Order
	sortKeys     []string
	conds        []condition
	properties   []string // names and values
}

// condition is a filter as SQL over images i.
type condition struct {
	text string
	args []any
}

func (s *Service) listImages(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	l, err := parseListing(r.Query())
	if err != nil {
		return nil, err
	}
	if !r.Can("get_images", policy.Owned{ProjectID: r.ProjectID(), UserID: r.UserID()}) {
		return nil, refused("get_images")
	}
	var docs [][]byte
	last, full := "", false
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		docs, last, full = nil, "", false
		images, err := s.find(tx, r, l)
		if err != nil {
			return err
		}
		full = len(images) == l.limit
		// Upstream asks get_image of every image that the query found.
		images = slices.DeleteFunc(images, func(i Image) bool {
			return !s.policy.Allowed("get_image", r.Caller.Creds, target(i, r.ProjectID()))
		})
		if len(images) > 0 {
			last = images[len(images)-1].ID
		}
		docs, err = s.documents(tx, images)
		return err
	})
	if err != nil {
		return nil, err
	}
	next := ""
	if full && last != "" {
		next = last
	}
	extra, err := linksOf("/v2/images", "/v2/schemas/images", r.Query(), r.HTTP.URL.RawQuery, next)
	if err != nil {
		return nil, err
	}
	return api.ListJSON("images", docs, extra), nil
}

// documents renders images whose rows are loaded; properties and tags are read only for those that are not cached.
func (s *Service) documents(tx *db.Tx, images []Image) ([][]byte, error) {
	docs := make([][]byte, len(images))
	var missing []Image
	var at []int
	for n, i := range images {
		if docs[n] = s.docs.Get(api.DocKey{ID: i.ID, Revision: i.Revision}); docs[n] == nil {
			missing = append(missing, i)
			at = append(at, n)
		}
	}
	if err := addParts(tx, missing); err != nil {
		return nil, err
	}
	for m, i := range missing {
		b, err := s.doc(i)
		if err != nil {
			return nil, err
		}
		docs[at[m]] = b
	}
	return docs, nil
}

// linksOf are a list's first, next and schema.
func linksOf(path, schema string, q url.Values, raw, next string) ([]byte, error) {
	out := struct {
		First  string `json:"first"`
		Next   string `json:"next,omitempty"`
		Schema string `json:"schema"`
	}{First: path, Schema: schema}
	// In the order in which the client gave them.
	var names []string
	for part := range strings.SplitSeq(raw, "&") {
		k, _, _ := strings.Cut(part, "=")
		if name, err := url.QueryUnescape(k); err == nil && name != "marker" && len(q[name]) > 0 && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var params []string
	for _, name := range names {
		for _, v := range q[name] {
			params = append(params, url.QueryEscape(name)+"="+url.QueryEscape(v))
		}
	}
	if len(params) > 0 {
		out.First += "?" + strings.Join(params, "&")
	}
	if next != "" {
		out.Next = path + "?" + strings.Join(append(params, "marker="+url.QueryEscape(next)), "&")
	}
	return api.Marshal(out, api.Version{})
}

// find runs the query: the images that the caller may see, filtered and sorted, after the marker.
func (s *Service) find(tx *db.Tx, r *api.Request, l listing) ([]Image, error) {
	var w db.Where
	project := r.ProjectID()
	if !s.isAdmin(r.Caller) {
		// glance/db/sqlalchemy/api.py, _select_images_query
		member := "EXISTS (SELECT 1 FROM image_members m WHERE m.image_id = i.id AND m.member_id = ?"
		args := []any{project, project}
		if l.memberStatus != "all" {
			member += " AND m.status = ?"
			args = append(args, l.memberStatus)
		}
		w.Add("i.visibility IN ('public', 'community') OR i.owner = ? OR i.visibility = 'shared' AND "+member+")", args...)
	}
	switch l.visibility {
	case "":
		// Others' community images must be asked for.
		w.Add("i.visibility <> 'community' OR i.owner = ?", project)
	case "all":
	default:
		w.Add("i.visibility = ?", l.visibility)
	}
	w.Add("i.os_hidden = ?", l.hidden)
	for _, c := range l.conds {
		w.Add(c.text, c.args...)
	}
	if l.hasMarker {
		marker, err := s.known(tx, r, l.marker)
		if err != nil {
			if e := fault.As(err); e.Status == 404 {
				return nil, fault.BadRequest("%s", e.Message)
			}
			return nil, err
		}
		w.After(l.orders, sortValues(marker, l.sortKeys))
	}
	if l.limit == 0 {
		return nil, nil
	}
	text := `SELECT ` + imageColumns + ` FROM images i` + w.SQL() + db.OrderBy(l.orders) + ` LIMIT ` + w.Arg(l.limit)
	return db.All(tx, scanImage, text, w.Args()...)
}

// sortColumns are the keys that lists may be sorted by; NULL sorts as empty or 0.
var sortColumns = map[string]string{
	"name": "coalesce(i.name, '')", "status": "i.status", "container_format": "coalesce(i.container_format, '')",
	"disk_format": "coalesce(i.disk_format, '')", "size": "coalesce(i.size, 0)", "id": "i.id", "created_at": "i.created_at", "updated_at": "i.updated_at",
}

const sortKeyNames = "name, status, container_format, disk_format, size, id, created_at, updated_at"

func sortValues(i Image, keys []string) []any {
	str := func(s *string) any {
		if s == nil {
			return ""
		}
		return *s
	}
	values := make([]any, len(keys))
	for n, k := range keys {
		switch k {
		case "name":
			values[n] = str(i.Name)
		case "status":
			values[n] = i.Status
		case "container_format":
			values[n] = str(i.ContainerFormat)
		case "disk_format":
			values[n] = str(i.DiskFormat)
		case "size":
			values[n] = int64(0)
			if i.Size != nil {
				values[n] = *i.Size
			}
		case "id":
			values[n] = i.ID
		case "created_at":
			values[n] = i.CreatedAt
		case "updated_at":
			values[n] = i.UpdatedAt
		}
	}
	return values
}

func lastOf(q url.Values, name string) (string, bool) {
	v := q[name]
	if len(v) == 0 {
		return "", false
	}
	return v[len(v)-1], true
}

// parseListing reads the query string (glance/api/v2/images.py, index).
func parseListing(q url.Values) (listing, error) {
	for name, values := range q {
		if slices.ContainsFunc(append(values, name), func(s string) bool { return strings.ContainsRune(s, 0) || !isUTF8(s) }) {
			return listing{}, fault.BadRequest("The query string contains characters that are not allowed.")
		}
	}
	l := listing{limit: defaultLimit, memberStatus: "accepted"}
	if v, ok := lastOf(q, "visibility"); ok && v != "" {
		if !slices.Contains([]string{"community", "public", "private", "shared", "all"}, v) {
			return l, fault.BadRequest("Invalid visibility value: %s", v)
		}
		l.visibility = v
	}
	if v, ok := lastOf(q, "changes-since"); ok && v != "" {
		return l, fault.BadRequest(`The "changes-since" filter is no longer available on v2.`)
	}
	if v, ok := lastOf(q, "member_status"); ok {
		if !slices.Contains([]string{"pending", "accepted", "rejected", "all"}, v) {
			return l, fault.BadRequest("Invalid status: %s", v)
		}
		l.memberStatus = v
	}
	l.marker, l.hasMarker = lastOf(q, "marker")
	if v, ok := lastOf(q, "limit"); ok {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		switch {
		case err != nil && !isDigits(v):
			return l, fault.BadRequest("limit param must be an integer")
		case n < 0:
			return l, fault.BadRequest("limit param must be positive")
		}
		l.limit = int(min(n, maxLimit))
	}
	if err := l.parseSort(q); err != nil {
		return l, err
	}
	return l, l.parseFilters(q)
}

// isDigits tells whether s is an integer that is only too large.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func (l *listing) parseSort(q url.Values) error {
	var keys, dirs []string
	if v, ok := lastOf(q, "sort"); ok {
		if q["sort_key"] != nil || q["sort_dir"] != nil {
			return fault.BadRequest("Old and new sorting syntax cannot be combined")
		}
		for part := range strings.SplitSeq(strings.TrimSpace(v), ",") {
			key, dir, _ := strings.Cut(part, ":")
			if dir == "" {
				dir = "desc"
			}
			keys, dirs = append(keys, strings.TrimSpace(key)), append(dirs, strings.TrimSpace(dir))
		}
	} else {
		for _, k := range q["sort_key"] {
			keys = append(keys, strings.TrimSpace(k))
		}
		for _, d := range q["sort_dir"] {
			dirs = append(dirs, strings.TrimSpace(d))
		}
		if len(dirs) > 1 && len(dirs) != len(keys) {
			return fault.BadRequest("Number of sort dirs does not match the number of sort keys")
		}
	}
	for _, k := range keys {
		if sortColumns[k] == "" {
			return fault.BadRequest("Invalid sort key: %s. It must be one of the following: %s.", k, sortKeyNames)
		}
	}
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			return fault.BadRequest("Invalid sort direction: %s", d)
		}
	}
	if len(keys) == 0 {
		keys = []string{"created_at"}
	}
	rest := "desc" // the direction of the keys that are appended
	switch {
	case len(dirs) == 0:
		dirs = slices.Repeat([]string{"desc"}, len(keys))
	case len(dirs) == 1:
		rest = dirs[0]
		dirs = slices.Repeat(dirs, len(keys))
	}
	for _, k := range []string{"created_at", "id"} {
		if !slices.Contains(keys, k) {
			keys, dirs = append(keys, k), append(dirs, rest)
		}
	}
	l.sortKeys = keys
	for n, k := range keys {
		l.orders = append(l.orders, db.Order{Column: sortColumns[k], Desc: dirs[n] == "desc"})
	}
	return nil
}

func (l *listing) where(text string, args ...any) { l.conds = append(l.conds, condition{text, args}) }

// parseFilters turns the other parameters into conditions: image attributes by their names, everything else is a custom property.
func (l *listing) parseFilters(q url.Values) error {
	// All tags and all properties in one subquery each: planning takes time that grows with the square of their number, and the client names it.
	var tags []string
	for _, tag := range q["tag"] {
		if tag = strings.TrimSpace(tag); !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	l.all("image_tags", slices.Repeat([]string{"x.tag = ?"}, len(tags)), anyOf(tags))
	names := make([]string, 0, len(q))
	for name := range q {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v, _ := lastOf(q, name)
		if err := l.filter(name, v); err != nil {
			return err
		}
	}
	l.all("image_properties", slices.Repeat([]string{"x.name = ? AND x.value = ?"}, len(l.properties)/2), anyOf(l.properties))
	return nil
}

// all keeps the images that have a row for each of the conditions, which different rows of a table fulfil.
func (l *listing) all(table string, conds []string, args []any) {
	if n := len(conds); n > 0 {
		l.where("(SELECT count(*) FROM "+table+" x WHERE x.image_id = i.id AND ("+db.Join(conds, " OR ")+")) = ?", append(args, n)...)
	}
}

func anyOf(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

func (l *listing) filter(name, v string) error {
	switch name {
	case "limit", "marker", "member_status", "tag", "sort", "sort_key", "sort_dir", "visibility", "changes-since":
	case "os_hidden", "protected":
		if name == "os_hidden" {
			v = strings.ToLower(v)
		}
		if v != "true" && v != "false" {
			return fault.BadRequest("Invalid value '%s' for '%s' filter. Valid values are 'true' or 'false'.", v, name)
		}
		if name == "os_hidden" {
			l.hidden = v == "true"
		} else {
			l.where("i.protected = ?", v == "true")
		}
	case "created_at", "updated_at":
		return l.filterTime(name, v)
	case "name", "id", "status", "container_format", "disk_format":
		return l.filterText(name, v)
	case "owner", "checksum", "os_hash_algo", "os_hash_value":
		l.where("i."+name+" = ?", v)
	case "size", "virtual_size", "min_ram", "min_disk":
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			l.where("1 = 0") // no number equals it
			return nil
		}
		l.where("i."+name+" = ?", n)
	case "size_min", "size_max", "min_ram_min", "min_ram_max", "min_disk_min", "min_disk_max", "virtual_size_min", "virtual_size_max":
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return fault.BadRequest("Unable to filter on a range with a non-numeric value.")
		}
		if col, ok := strings.CutSuffix(name, "_min"); ok {
			l.where("i."+col+" >= ?", n)
		} else {
			l.where("i."+strings.TrimSuffix(name, "_max")+" <= ?", n)
		}
	default:
		l.properties = append(l.properties, name, v)
	}
	return nil
}

func (l *listing) filterText(name, v string) error {
	op, value, found := strings.Cut(v, ":")
	switch {
	case !found:
		l.where("i."+name+" = ?", v)
	case isTime(v):
		l.where("i."+name+" = ?", v)
	case op == "eq":
		l.where("i."+name+" = ?", value)
	case op == "in":
		values, err := splitQuoted(value)
		if err != nil {
			return err
		}
		cond := strings.Repeat(", ?", len(values))
		args := make([]any, len(values))
		for i := range values {
			args[i] = values[i]
		}
		l.where("i."+name+" IN ("+strings.TrimPrefix(cond, ", ")+")", args...)
	default:
		return fault.BadRequest("Unable to filter by unknown operator '%s'.", op)
	}
	return nil
}

// splitQuoted splits at commas outside of double quotes (oslo_utils.strutils.split_by_commas with glance's checks).
func splitQuoted(s string) ([]string, error) {
	bad := func(why string) error { return fault.BadRequest("Invalid filter value %s. %s", s, why) }
	var out []string
	for rest := s; ; {
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			value, after, closed := strings.Cut(quoted, `"`)
			if !closed {
				return nil, bad("The quote is not closed.")
			}
			out = append(out, value)
			if after == "" {
				return out, nil
			}
			if rest, ok = strings.CutPrefix(after, ","); !ok {
				return nil, bad("There is no comma after closing quotation mark.")
			}
			continue
		}
		value, after, more := strings.Cut(rest, ",")
		if strings.Contains(value, `"`) {
			return nil, bad("There is no comma before opening quotation mark.")
		}
		out = append(out, value)
		if !more {
			return out, nil
		}
		rest = after
	}
}

// filterTime compares whole seconds, as the API shows them.
func (l *listing) filterTime(name, v string) error {
	op, value := "eq", v
	if !isTime(v) {
		if o, rest, ok := strings.Cut(v, ":"); ok {
			op, value = o, rest
		}
	}
	t, ok := parseTime(value)
	if !ok {
		return fault.BadRequest(`Bad "%s" query filter format. Use ISO 8601 DateTime notation.`, name)
	}
	from := t.Truncate(time.Second).UnixMicro()
	next := from + int64(time.Second/time.Microsecond)
	col := "i." + name
	switch op {
	case "eq":
		l.where(col+" >= ? AND "+col+" < ?", from, next)
	case "neq":
		l.where(col+" < ? OR "+col+" >= ?", from, next)
	case "gt":
		l.where(col+" >= ?", next)
	case "gte":
		l.where(col+" >= ?", from)
	case "lt":
		l.where(col+" < ?", from)
	case "lte":
		l.where(col+" < ?", next)
	default:
		return fault.BadRequest("Unable to filter on a unknown operator.")
	}
	return nil
}

func isTime(s string) bool {
	_, ok := parseTime(s)
	return ok
}

// parseTime reads ISO 8601 in the forms that oslo.utils takes; without a zone it is UTC.
func parseTime(s string) (time.Time, bool) {
	s = strings.Replace(strings.TrimSpace(s), " ", "+", 1) // a plus sign in a query string arrives as a space
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02+15:04:05.999999999",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "20060102T150405Z", "20060102T150405", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
