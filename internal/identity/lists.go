package identity

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// listing is a list request for a kind: which filters it knows, and what narrows it besides.
type listing struct {
	kind    *kind
	filters []string
	exprs   map[string]string // what stands for a column that is not what it shows
	where   db.Where
	keep    func(doc) bool // nil: all
	max     int            // of documents in an answer; 0: any number
	// only is what ids it is of, in order; nil: any. They are as fresh as the request, so that the answer is not kept.
	only *[]string
	// prefix of the members' links where it is not the kind's path.
	path string
}

// inexact is a filter such as name__icontains.
type inexact struct {
	name, comparator, value string
	fold                    bool
}

func (f inexact) match(d doc) bool {
	v, ok := d[f.name].(string)
	if !ok {
		return false
	}
	want := f.value
	if f.fold {
		v, want = strings.ToLower(v), strings.ToLower(want)
	}
	switch f.comparator {
	case "contains":
		return strings.Contains(v, want)
	case "startswith":
		return strings.HasPrefix(v, want)
	case "endswith":
		return strings.HasSuffix(v, want)
	}
	return true
}

// asBool reads a filter's value: everything that does not say no means yes (keystone/common/utils.py, attr_as_boolean).
func asBool(v string) bool {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "0", "f", "false", "off", "n", "no":
		return false
	}
	return true
}

// narrow adds the query's filters: what a column can answer to where, the rest to the returned checks.
func (l *listing) narrow(q url.Values) (checks []func(doc) bool) {
	for key, values := range q {
		for _, v := range values {
			if slices.Contains(l.filters, key) {
				if c, ok := l.kind.column(key); ok {
					l.exact(c, v)
				} else if key == "id" {
					l.where.Add("id = ?", v)
				}
				continue
			}
			name, comparator, ok := strings.Cut(key, "__")
			if !ok || !slices.Contains(l.filters, name) {
				continue
			}
			f := inexact{name: name, value: v}
			f.comparator, f.fold = strings.CutPrefix(comparator, "i")
			checks = append(checks, f.match)
		}
	}
	return checks
}

func (l *listing) exact(c column, v string) {
	switch c.typ {
	case flag:
		l.where.Add(c.name+" = ?", asBool(v))
	case number, nullNum:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			n = -2 // matches nothing
		}
		l.where.Add(c.name+" = ?", n)
	case when:
		l.timeFilter(c.name, v)
	default:
		l.where.Add(cmp.Or(l.exprs[c.name], c.name)+" = ?", v)
	}
}

// timeFilter narrows by "lt:2016-10-28T00:00:00Z"; what is wrong with it badTimeFilter has said.
func (l *listing) timeFilter(name, v string) {
	sign, at, err := readTimeFilter(v)
	if err != nil {
		l.where.Add("1 = 0")
		return
	}
	l.where.Add(name+" <> 0 AND "+name+" "+sign+" ?", at.UnixMicro())
}

// readTimeFilter takes the operator for equality when there is none (keystone/identity/core.py, _translate_expired_password_hints).
func readTimeFilter(v string) (sign string, at time.Time, err error) {
	op := "eq"
	if i := strings.IndexByte(v, ':'); i == 2 || i == 3 {
		op, v = v[:i], v[i+1:]
	}
	if at, err = parseTime(v); err != nil {
		return "", at, fault.BadRequest("Timestamp not in expected format.%s", malformed)
	}
	sign = map[string]string{"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}[op]
	if sign == "" {
		return "", at, fault.BadRequest("The given operator %s is not valid. It must be one of the following: 'eq', 'neq', 'lt', 'lte', 'gt', or 'gte'.", op)
	}
	return sign, at, nil
}

// badTimeFilter refuses a filter by time that cannot be read.
func badTimeFilter(q url.Values, name string) error {
	for _, v := range q[name] {
		if _, _, err := readTimeFilter(v); err != nil {
			return err
		}
	}
	return nil
}

// parseTime reads the forms of ISO 8601 that clients send; without a zone it is UTC.
func parseTime(s string) (time.Time, error) {
	var err error
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04:05.999999-0700", "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05.999999", "2006-01-02", "2006-01", "2006"} {
		var t time.Time
		if t, err = time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, err
}

// maxIn is how many values one condition lists: SQLite takes 32,766 arguments.
const maxIn = 512

// page reads limit and marker. A list without limit is as long as list_limit, or complete.
func (s *Service) page(q url.Values, l *listing) (limit int, marker string, err error) {
	limit = s.listLimit(l)
	if v := q.Get("limit"); v != "" {
		limit, err = strconv.Atoi(v)
		if err != nil || limit < 0 {
			return 0, "", fault.BadRequest("Invalid input for field 'limit': %s is not a non-negative integer.", strconv.Quote(v))
		}
	}
	return min(limit, s.o.Conf.Default.MaxDBLimit), q.Get("marker"), nil
}

// listLimit is list_limit as keystone's drivers find it (keystone/identity/backends/base.py, _get_list_limit, and its like); 0: none. Lists of a user's
// projects and the like are not limited (keystone/api/users.py, UserProjectsResource).
func (s *Service) listLimit(l *listing) int {
	c := s.o.Conf
	switch l.kind.plural {
	case s.user.plural, s.group.plural:
		return cmp.Or(c.Identity.ListLimit, c.Default.ListLimit)
	case s.project.plural, s.domain.plural:
		if l.only == nil {
			return cmp.Or(c.Resource.ListLimit, c.Default.ListLimit)
		}
	case s.role.plural:
		return cmp.Or(c.Role.ListLimit, c.Default.ListLimit)
	}
	return 0
}

// list answers a list request: from the memo while nothing has changed, else from (id, revision) pairs and the documents that are cached under
// them, else, with filters that need the document, from the documents.
func (s *Service) list(ctx context.Context, r *api.Request, l listing) (api.JSON, error) {
	checks := l.narrow(r.Query())
	if l.keep != nil {
		checks = append(checks, l.keep)
	}
	limit, marker, err := s.page(r.Query(), &l)
	if err != nil {
		return nil, err
	}
	if l.max > 0 && (limit == 0 || limit > l.max) {
		limit = l.max
	}
	if marker != "" {
		l.where.Add("id > ?", marker)
	}
	work := func(tx *db.Tx) (api.JSON, error) {
		if marker != "" {
			if _, err := l.kind.get(tx, marker); err != nil {
				return nil, fault.NotFound("Marker %s could not be found.", marker).Because(err)
			}
		}
		docs, ids, err := s.collect(tx, r, &l, checks, limit)
		if err != nil {
			return nil, err
		}
		return s.wrap(r, l.kind.plural, docs, ids, limit), nil
	}
	if l.only != nil {
		return inRead(ctx, s, work)
	}
	key := fmt.Sprintf("list|%d|", limit) + l.kind.singular + "|" + l.path + "|" + l.where.SQL() + fmt.Sprintf("%q", l.where.Args()) + "|" + base(r) + "|" + selfURL(r)
	return recall(ctx, s, r, key, func(b api.JSON) int { return len(b) }, work)
}

// collect gathers a list's documents.
func (s *Service) collect(tx *db.Tx, r *api.Request, l *listing, checks []func(doc) bool, limit int) (docs [][]byte, ids []string, err error) {
	if len(checks) == 0 {
		return s.cached(tx, r, l, limit)
	}
	all := []doc{}
	err = l.each(func(w *db.Where) error {
		part, err := l.kind.all(tx, w)
		all = append(all, part...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, d := range all {
		if slices.ContainsFunc(checks, func(ok func(doc) bool) bool { return !ok(d) }) {
			continue
		}
		b, err := s.encode(r, l, d)
		if err != nil {
			return nil, nil, err
		}
		docs, ids = append(docs, b), append(ids, str(d, "id"))
	}
	return docs, ids, nil
}

// wrap is {"users": […], "links": {…}}, cut at the page's end.
func (s *Service) wrap(r *api.Request, key string, docs [][]byte, ids []string, limit int) api.JSON {
	self := selfURL(r)
	links := doc{"next": nil, "self": self, "previous": nil}
	extra := doc{"links": links}
	if limit > 0 && len(docs) > limit {
		docs = docs[:limit]
		q := url.Values{}
		for k, v := range r.Query() {
			q[k] = v
		}
		q.Set("limit", strconv.Itoa(limit))
		q.Set("marker", ids[limit-1])
		path, _, _ := strings.Cut(self, "?")
		links["next"] = path + "?" + q.Encode()
		extra["truncated"] = true
	}
	b, err := api.Marshal(extra, api.Version{})
	if err != nil { // strings and booleans always encode
		b = nil
	}
	return api.ListJSON(key, docs, b)
}

// selfURL is the request's own URL under the public endpoint.
func selfURL(r *api.Request) string {
	path := r.HTTP.URL.EscapedPath()
	if _, after, ok := strings.Cut(path, "/v3"); ok {
		path = strings.TrimSuffix(after, "/")
	}
	u := base(r) + path
	if q := r.HTTP.URL.RawQuery; q != "" {
		u += "?" + q
	}
	return u
}

func (s *Service) encode(r *api.Request, l *listing, d doc) ([]byte, error) {
	k := l.kind
	if l.path != "" {
		moved := *k
		moved.path = l.path
		k = &moved
	}
	out := k.linked(s, base(r), d)
	if k.listed != nil {
		k.listed(out)
	}
	return api.Marshal(out, api.Version{})
}

type revised struct {
	id  string
	rev int64
}

// each calls fn with the conditions of the list, or with those of its parts where its ids are given.
func (l *listing) each(fn func(*db.Where) error) error {
	if l.only == nil {
		return fn(&l.where)
	}
	for chunk := range slices.Chunk(*l.only, maxIn) {
		w := l.where
		if err := fn(w.In("id", padded(chunk))); err != nil {
			return err
		}
	}
	return nil
}

// cached collects the documents of a list, one more than limit.
func (s *Service) cached(tx *db.Tx, r *api.Request, l *listing, limit int) (docs [][]byte, ids []string, err error) {
	var rows []revised
	err = l.each(func(w *db.Where) error {
		query := `SELECT id, revision FROM ` + l.kind.table + w.SQL() + ` ORDER BY id`
		if limit > 0 {
			query += ` LIMIT ` + strconv.Itoa(limit+1)
		}
		part, err := db.All(tx, func(row db.Row) (revised, error) {
			var v revised
			err := row.Scan(&v.id, &v.rev)
			return v, err
		}, query, w.Args()...)
		rows = append(rows, part...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if limit > 0 {
		rows = rows[:min(len(rows), limit+1)]
	}
	view := l.kind.singular + l.path + base(r)
	docs, ids = make([][]byte, len(rows)), make([]string, len(rows))
	var missing []string
	at := map[string]int{} // where the missing ones belong
	for i, v := range rows {
		ids[i] = v.id
		if docs[i] = s.o.Docs.Get(api.DocKey{ID: v.id, Revision: v.rev, View: view}); docs[i] == nil {
			missing = append(missing, v.id)
			at[v.id] = i
		}
	}
	for chunk := range slices.Chunk(missing, maxIn) {
		found, err := l.kind.all(tx, (&db.Where{}).In("id", padded(chunk)))
		if err != nil {
			return nil, nil, err
		}
		for _, d := range found {
			i := at[str(d, "id")]
			if docs[i], err = s.encode(r, l, d); err != nil {
				return nil, nil, err
			}
			s.o.Docs.Put(api.DocKey{ID: ids[i], Revision: rows[i].rev, View: view}, docs[i])
		}
	}
	return docs, ids, nil
}

// docsJSON encodes documents for wrap.
func docsJSON(list []doc) (docs [][]byte, ids []string, err error) {
	for _, d := range list {
		b, err := api.Marshal(d, api.Version{})
		if err != nil {
			return nil, nil, err
		}
		docs, ids = append(docs, b), append(ids, str(d, "id"))
	}
	return docs, ids, nil
}

// collection answers with documents at hand.
func (s *Service) collection(r *api.Request, key string, list []doc) (api.JSON, error) {
	docs, ids, err := docsJSON(list)
	return s.wrap(r, key, docs, ids, 0), err
}
