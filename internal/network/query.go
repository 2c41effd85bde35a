package network

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// page is what a list request says about order and extent.
type page struct {
	limit   int // 0: all
	marker  string
	reverse bool
	keys    []string
	desc    []bool
}

// notFilters are the query parameters with a meaning of their own.
var notFilters = map[string]bool{"fields": true, "limit": true, "marker": true, "page_reverse": true, "sort_key": true, "sort_dir": true}

func (r *resource) page(q url.Values) (page, error) {
	var p page
	if l := q.Get("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 0 {
			return p, badRequest("BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not '%s'.", l)
		}
		p.limit = n
	}
	p.marker = q.Get("marker")
	p.reverse = strings.EqualFold(q.Get("page_reverse"), "true")
	keys, dirs := q["sort_key"], q["sort_dir"]
	if len(keys) != len(dirs) {
		return p, httpBadRequest("The number of sort_keys and sort_dirs must be same")
	}
	var bad []any
	for _, k := range keys {
		if a := r.attr(k); a == nil || !a.sort || a.column == "" {
			bad = append(bad, k)
		}
	}
	if len(bad) > 0 {
		return p, httpBadRequest("%s is invalid attribute for sort_keys", schema.PyRepr(bad))
	}
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			bad = append(bad, d)
		}
	}
	if len(bad) > 0 {
		return p, httpBadRequest("%s is invalid value for sort_dirs, valid value is 'asc' and 'desc'", schema.PyRepr(bad))
	}
	for i, k := range keys {
		p.keys = append(p.keys, k)
		p.desc = append(p.desc, dirs[i] == "desc")
	}
	return p, nil
}

// filter turns the query string into conditions.
func (c *call) filter(r *resource, w *db.Where, q url.Values) error {
	if len(q["tenant_id"]) > 0 && len(q["project_id"]) > 0 {
		return badRequest("TenantIdProjectIdFilterConflict", "Both tenant_id and project_id passed as filters.")
	}
	var bad []any
	for _, name := range sortedKeys(q) {
		if notFilters[name] {
			continue
		}
		f := r.filters[name]
		if f == nil {
			f = tagFilters[name]
		}
		if f != nil {
			if err := f(w, c, q[name]); err != nil {
				return err
			}
			continue
		}
		a := r.attr(name)
		if a == nil || a.column == "" {
			bad = append(bad, name)
			continue
		}
		if err := a.where(w, q[name]); err != nil {
			return err
		}
	}
	if len(bad) > 0 {
		return httpBadRequest("%s is invalid attribute for filtering", schema.PyRepr(bad))
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (a *attr) where(w *db.Where, vs []string) error {
	args := make([]any, 0, len(vs))
	for _, v := range vs {
		switch a.kind {
		case boolean:
			b, err := toBool(v)
			if err != nil {
				return err
			}
			args = append(args, b)
		case integer:
			i, err := toInt(v)
			if err != nil {
				return err
			}
			args = append(args, i)
		default:
			if a.convert != nil {
				x, err := a.convert(v)
				if err != nil {
					return err
				}
				v = str(x)
				if x == nil {
					v = ""
				}
			}
			args = append(args, v)
		}
	}
	w.Add(a.column+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	return nil
}

// tagFilters are the four of the tags extension; several values in one parameter are separated by commas.
var tagFilters = map[string]func(w *db.Where, c *call, values []string) error{
	"tags":         func(w *db.Where, _ *call, vs []string) error { addTags(w, vs, " AND ", false); return nil },
	"tags-any":     func(w *db.Where, _ *call, vs []string) error { addTags(w, vs, " OR ", false); return nil },
	"not-tags":     func(w *db.Where, _ *call, vs []string) error { addTags(w, vs, " AND ", true); return nil },
	"not-tags-any": func(w *db.Where, _ *call, vs []string) error { addTags(w, vs, " OR ", true); return nil },
	"changed_since": func(w *db.Where, _ *call, vs []string) error {
		t, ok := parseTime(vs[0])
		if !ok {
			return invalidInput("Invalid input for changed_since: %s", vs[0])
		}
		w.Add("t.updated_at >= ?", t.UnixMicro())
		return nil
	},
}

// addTags looks into the JSON list: an element starts after the bracket or a comma, and a quote inside of a tag is escaped there.
func addTags(w *db.Where, vs []string, op string, not bool) {
	var conds []string
	var args []any
	seen := map[string]bool{}
	for _, v := range vs {
		for _, tag := range strings.Split(v, ",") {
			if seen[tag] {
				continue
			}
			seen[tag] = true
			e := likeEscape(jsonArg(tag))
			conds = append(conds, "(t.tags LIKE ? ESCAPE '!' OR t.tags LIKE ? ESCAPE '!')")
			args = append(args, "["+e+"%", "%,"+e+"%")
		}
	}
	cond := db.Join(conds, op)
	if not {
		cond = "NOT (" + cond + ")"
	}
	w.Add(cond, args...)
}

func likeEscape(s string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s)
}

// listed is what a list reads of each row: enough to find its document and to ask policy.
type listed struct {
	id, project, parent string
	rev                 int64
	shared              bool
}

// list answers GET of a collection.
func (s *Service) list(ctx context.Context, q *api.Request, r *resource) (*api.List, error) {
	q.Asked()
	if r.beforeList != nil {
		if err := r.beforeList(ctx, s, q); err != nil {
			return nil, err
		}
	}
	p, err := r.page(q.Query())
	if err != nil {
		return nil, err
	}
	out := &api.List{Key: r.collection}
	err = s.o.DB.Read(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		if r.nested != nil {
			if _, _, err := c.find(r.nested.below, q.Path("parent")); err != nil {
				return err
			}
		}
		rows, err := c.rows(r, p, q.Query())
		if err != nil {
			return err
		}
		out.Docs, err = c.documents(r, rows, q.Query()["fields"])
		out.Extra = links(q, r.collection, p, rows)
		return err
	})
	return out, err
}

// rows finds the rows of a page.
func (c *call) rows(r *resource, p page, q url.Values) ([]listed, error) {
	w := &db.Where{}
	c.scoped(r, w)
	if r.nested != nil {
		w.Add("t."+r.nested.column+" = ?", c.r.Path("parent"))
	}
	if err := c.filter(r, w, q); err != nil {
		return nil, err
	}
	orders := make([]db.Order, 0, len(p.keys)+1)
	byID := false
	for i, k := range p.keys {
		orders = append(orders, db.Order{Column: r.attr(k).column, Desc: p.desc[i] != p.reverse})
		byID = byID || k == "id"
	}
	if !byID {
		orders = append(orders, db.Order{Column: "t.id", Desc: p.reverse})
	}
	if p.marker != "" && p.limit > 0 {
		if err := c.after(r, w, orders, p.marker); err != nil {
			return nil, err
		}
	}
	parent := "''"
	if r.parent != "" {
		parent = "t." + r.parent
	}
	// The shared expression and the limit take their arguments after the conditions; the placeholders are numbered.
	query := `SELECT t.id, t.project_id, t.rev, ` + parent + `, ` + c.sharedExpr(r, w) + ` FROM ` + r.table + ` t` + w.SQL() + db.OrderBy(orders)
	if p.limit > 0 {
		query += " LIMIT " + w.Arg(p.limit)
	}
	rows, err := db.All(c.tx, func(row db.Row) (listed, error) {
		var l listed
		return l, row.Scan(&l.id, &l.project, &l.rev, &l.parent, &l.shared)
	}, query, w.Args()...)
	if p.reverse {
		slices.Reverse(rows)
	}
	return rows, err
}

// after continues behind the marker; one that is gone counts as none, as upstream's does, and so does another tenant's: where a page
// begins would tell that it exists.
func (c *call) after(r *resource, w *db.Where, orders []db.Order, marker string) error {
	cols := make([]string, len(orders))
	for i, o := range orders {
		cols[i] = o.Column
	}
	vals := make([]any, len(orders))
	own := (&db.Where{}).Add("t.id = ?", marker)
	c.scoped(r, own)
	_, err := db.One(c.tx, func(row db.Row) (int, error) {
		dest := make([]any, len(vals))
		for i := range vals {
			dest[i] = &vals[i]
		}
		return 0, row.Scan(dest...)
	}, `SELECT `+strings.Join(cols, ", ")+` FROM `+r.table+` t`+own.SQL(), own.Args()...)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err == nil {
		w.After(orders, vals)
	}
	return err
}

// rowKey stands for a row in policy questions until its document is really needed.
type rowKey struct {
	standard
	parent string
	load   func() doc
}

func (k *rowKey) doc() doc { return k.load() }

// documents renders rows, from the cache where it can. Policy is asked once for all rows that look the same to the rules.
func (c *call) documents(r *resource, rows []listed, fields []string) ([][]byte, error) {
	type verdict struct {
		view
		visible bool
	}
	type likeness struct {
		project, parent string
		shared          bool
	}
	seen := map[likeness]verdict{}
	views := make([]view, 0, len(rows))
	kept := make([]listed, 0, len(rows))
	for _, row := range rows {
		k := likeness{row.project, row.parent, row.shared}
		v, ok := seen[k]
		if !ok {
			special := false // a rule asked for an attribute that differs from row to row
			var full object
			o := &rowKey{standard: standard{ID: row.id, ProjectID: row.project}, parent: row.parent}
			o.load = func() doc {
				special = true
				if full == nil {
					full, _ = c.one(r, row.id)
				}
				if full == nil {
					return doc{}
				}
				return full.doc()
			}
			t := c.target(r, row.project, row.shared, o)
			v.visible = c.s.policy.Check("get_"+r.name, c.creds, t) == policy.Granted
			if v.visible {
				v.view = c.view(r, row.project, row.shared, o, fields)
			}
			if !special {
				seen[k] = v
			}
		}
		if v.visible {
			views = append(views, v.view)
			kept = append(kept, row)
		}
	}
	return c.renderRows(r, kept, views)
}

func (c *call) renderRows(r *resource, rows []listed, views []view) ([][]byte, error) {
	docs := make([][]byte, len(rows))
	var missing []string
	for i, row := range rows {
		if docs[i] = c.s.docs.Get(api.DocKey{ID: row.id, Revision: row.rev, View: views[i].key}); docs[i] == nil {
			missing = append(missing, row.id)
		}
	}
	if len(missing) == 0 {
		return docs, nil
	}
	loaded := map[string]object{}
	for chunk := range slices.Chunk(missing, 500) {
		os, err := r.load(c, chunk)
		if err != nil {
			return nil, err
		}
		for _, o := range os {
			loaded[o.std().ID] = o
		}
	}
	for i, row := range rows {
		if docs[i] != nil {
			continue
		}
		o := loaded[row.id]
		b, err := c.encode(r, o, views[i])
		if err != nil {
			return nil, err
		}
		docs[i] = b
		c.s.docs.Put(api.DocKey{ID: row.id, Revision: row.rev, View: views[i].key}, b)
	}
	return docs, nil
}

// links are next and previous (neutron/api/api_common.py, get_pagination_links).
func links(q *api.Request, collection string, p page, rows []listed) []byte {
	if p.limit == 0 {
		return nil
	}
	link := func(rel string, marker string) map[string]string {
		v := url.Values{}
		for k, x := range q.Query() {
			if k != "marker" && k != "page_reverse" {
				v[k] = x
			}
		}
		if marker != "" {
			v.Set("marker", marker)
		}
		if rel == "previous" {
			v.Set("page_reverse", "True")
		}
		return map[string]string{"rel": rel, "href": q.ServiceURL() + strings.TrimSuffix(q.HTTP.URL.Path[len(q.Service().Prefix):], ".json") + "?" + v.Encode()}
	}
	first, last := "", ""
	if len(rows) > 0 {
		first, last = rows[0].id, rows[len(rows)-1].id
	}
	var l []map[string]string
	short := len(rows) < p.limit
	if !short || p.reverse {
		l = append(l, link("next", last))
	}
	if !short || !p.reverse {
		l = append(l, link("previous", first))
	}
	b, err := encodeJSON(map[string]any{collection + "_links": l})
	if err != nil {
		return nil
	}
	return b
}
