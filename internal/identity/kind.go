package identity

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// doc is a resource as it goes over the wire. Keystone keeps whatever members a client sends ("extra"), so a struct would need a
// map beside it for nearly every resource; the columns of its kind say which members are checked and typed.
type doc = map[string]any

// columnType tells how a column reads as JSON.
type columnType uint8

const (
	text     columnType = iota
	nullText            // '' is null
	flag                // boolean
	number              // integer
	nullNum             // -1 is null
	when                // microseconds; 0 is null
	value               // JSON text
	nullVal             // JSON text; '' is null
)

type column struct {
	name string
	typ  columnType
}

// kind is one sort of resource: its table, its columns on the wire and its words.
type kind struct {
	singular, plural string
	path             string // below /v3
	table            string
	columns          []column
	extra            bool   // unknown members are kept
	byAge            bool   // lists are in the order in which rows were made
	noun             string // in "Could not find user: x."
	// loaded completes a document that has just been read; nil: there is nothing to complete.
	loaded func(d doc)
	// wire changes a stored document into the one that is sent.
	wire func(s *Service, d doc)
	// listed adds what only lists show; nil: nothing.
	listed func(d doc)
}

func (k *kind) notFound(id string) *fault.Error {
	if strings.HasSuffix(k.noun, " for") { // limits are worded so
		return fault.NotFound("Could not find %s %s.", k.noun, id)
	}
	return fault.NotFound("Could not find %s: %s.", k.noun, id)
}

func (k *kind) column(name string) (column, bool) {
	i := slices.IndexFunc(k.columns, func(c column) bool { return c.name == name })
	if i < 0 {
		return column{}, false
	}
	return k.columns[i], true
}

func (k *kind) selection() string {
	names := []string{"id"}
	for _, c := range k.columns {
		names = append(names, c.name)
	}
	if k.extra {
		names = append(names, "extra")
	}
	return strings.Join(names, ", ")
}

// isoTime is how keystone writes times.
func isoTime(micros int64) string {
	return db.Time(micros).Format("2006-01-02T15:04:05.000000Z")
}

func (k *kind) scan(row db.Row) (doc, error) {
	d := doc{}
	dest := make([]any, 0, len(k.columns)+2)
	var id, extra string
	dest = append(dest, &id)
	for _, c := range k.columns {
		switch c.typ {
		case flag:
			dest = append(dest, new(bool))
		case number, nullNum, when:
			dest = append(dest, new(int64))
		default:
			dest = append(dest, new(string))
		}
	}
	if k.extra {
		dest = append(dest, &extra)
	}
	if err := row.Scan(dest...); err != nil {
		return nil, err
	}
	if extra != "" && extra != "{}" {
		if err := json.Unmarshal([]byte(extra), &d); err != nil {
			return nil, fmt.Errorf("%s %s: extra: %w", k.singular, id, err)
		}
	}
	d["id"] = id
	for i, c := range k.columns {
		v, err := c.read(dest[i+1])
		if err != nil {
			return nil, fmt.Errorf("%s %s: %s: %w", k.singular, id, c.name, err)
		}
		d[c.name] = v
	}
	if k.loaded != nil {
		k.loaded(d)
	}
	return d, nil
}

func (c column) read(p any) (any, error) {
	switch v := p.(type) {
	case *bool:
		return *v, nil
	case *int64:
		switch {
		case c.typ == when && *v == 0, c.typ == nullNum && *v == -1:
			return nil, nil
		case c.typ == when:
			return isoTime(*v), nil
		}
		return *v, nil
	case *string:
		switch {
		case (c.typ == nullText || c.typ == nullVal) && *v == "":
			return nil, nil
		case c.typ == value || c.typ == nullVal:
			var out any
			err := json.Unmarshal([]byte(*v), &out)
			return out, err
		}
		return *v, nil
	}
	return nil, fmt.Errorf("unexpected column %T", p)
}

// write is a member as it is stored.
func (c column) write(v any) (any, error) {
	switch c.typ {
	case flag:
		b, _ := v.(bool)
		return b, nil
	case number, nullNum:
		switch n := v.(type) {
		case json.Number:
			return n.Int64()
		case int64:
			return n, nil
		case int:
			return int64(n), nil
		case nil:
			if c.typ == nullNum {
				return int64(-1), nil
			}
		}
		return int64(0), nil
	case when:
		switch t := v.(type) {
		case string:
			at, err := time.Parse("2006-01-02T15:04:05.000000Z", t)
			return at.UnixMicro(), err
		case int64:
			return t, nil
		}
		return int64(0), nil
	case value, nullVal:
		if v == nil && c.typ == nullVal {
			return "", nil
		}
		b, err := json.Marshal(v)
		return string(b), err
	}
	s, _ := v.(string)
	return s, nil
}

// newID is a resource id as keystone makes them: a UUID without dashes.
func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// get reads a resource, or answers keystone's 404.
func (k *kind) get(tx *db.Tx, id string) (doc, error) {
	d, err := db.One(tx, k.scan, `SELECT `+k.selection()+` FROM `+k.table+` WHERE id = $1`, id)
	if err == db.ErrNotFound {
		return nil, k.notFound(id)
	}
	return d, err
}

// find is get that answers nil when there is none.
func (k *kind) find(tx *db.Tx, id string) (doc, error) {
	d, err := k.get(tx, id)
	if fault.Is(err, 404) {
		return nil, nil
	}
	return d, err
}

func (k *kind) all(tx *db.Tx, w *db.Where) ([]doc, error) {
	order := "id"
	if k.byAge { // a row that never changes keeps the revision it was made with
		order = "revision, id"
	}
	return db.All(tx, k.scan, `SELECT `+k.selection()+` FROM `+k.table+w.SQL()+` ORDER BY `+order, w.Args()...)
}

// split parts a document into columns and extra.
func (k *kind) split(d doc) (cols []string, vals []any, extra doc, err error) {
	extra = doc{}
	for name, v := range d {
		if name == "id" || name == "links" {
			continue
		}
		c, ok := k.column(name)
		if !ok {
			extra[name] = v
			continue
		}
		stored, err := c.write(v)
		if err != nil {
			return nil, nil, nil, err
		}
		cols, vals = append(cols, name), append(vals, stored)
	}
	return cols, vals, extra, nil
}

// insert stores a new resource with its "id" and further columns that do not show.
func (k *kind) insert(tx *db.Tx, d doc, hidden ...hiddenColumn) error {
	cols, vals, extra, err := k.split(d)
	if err != nil {
		return err
	}
	cols, vals = append(cols, "id"), append(vals, d["id"])
	if k.extra {
		b, err := json.Marshal(extra)
		if err != nil {
			return err
		}
		cols, vals = append(cols, "extra"), append(vals, string(b))
	}
	for _, h := range hidden {
		cols, vals = append(cols, h.name), append(vals, h.value)
	}
	marks := make([]string, len(cols))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	if _, err := tx.Exec(`INSERT INTO `+k.table+` (`+strings.Join(cols, ", ")+`) VALUES (`+strings.Join(marks, ", ")+`)`, vals...); err != nil {
		return err
	}
	return k.touch(tx, d["id"].(string), "create")
}

type hiddenColumn struct {
	name  string
	value any
}

// update stores the members of changes over the resource; old is what get returned, for the extra members.
func (k *kind) update(tx *db.Tx, old, changes doc, hidden ...hiddenColumn) (doc, error) {
	id := old["id"].(string)
	cols, vals, extra, err := k.split(changes)
	if err != nil {
		return nil, err
	}
	if k.extra && len(extra) > 0 {
		_, _, all, err := k.split(old)
		if err != nil {
			return nil, err
		}
		for n, v := range extra {
			all[n] = v
		}
		b, err := json.Marshal(all)
		if err != nil {
			return nil, err
		}
		cols, vals = append(cols, "extra"), append(vals, string(b))
	}
	for _, h := range hidden {
		cols, vals = append(cols, h.name), append(vals, h.value)
	}
	if len(cols) > 0 {
		for i := range cols {
			cols[i] = fmt.Sprintf("%s = $%d", cols[i], i+1)
		}
		n, err := tx.Exec(`UPDATE `+k.table+` SET `+strings.Join(cols, ", ")+fmt.Sprintf(` WHERE id = $%d`, len(cols)+1), append(vals, id)...)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, k.notFound(id)
		}
	}
	if err := k.touch(tx, id, "update"); err != nil {
		return nil, err
	}
	return k.get(tx, id)
}

// replace stores a whole document over the resource: extra members that it does not have go.
func (k *kind) replace(tx *db.Tx, d doc, hidden ...hiddenColumn) error {
	cols, vals, extra, err := k.split(d)
	if err != nil {
		return err
	}
	b, err := json.Marshal(extra)
	if err != nil {
		return err
	}
	cols, vals = append(cols, "extra"), append(vals, string(b))
	for _, h := range hidden {
		cols, vals = append(cols, h.name), append(vals, h.value)
	}
	for i := range cols {
		cols[i] = fmt.Sprintf("%s = $%d", cols[i], i+1)
	}
	if _, err := tx.Exec(`UPDATE `+k.table+` SET `+strings.Join(cols, ", ")+fmt.Sprintf(` WHERE id = $%d`, len(cols)+1), append(vals, d["id"])...); err != nil {
		return err
	}
	return k.touch(tx, d["id"].(string), "update")
}

// touch draws the resource's next revision and tells the outbox.
func (k *kind) touch(tx *db.Tx, id, action string) error {
	rev, err := tx.NextRevision()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`UPDATE `+k.table+` SET revision = $1 WHERE id = $2`, rev, id); err != nil {
		return err
	}
	return k.emit(tx, id, action)
}

func (k *kind) emit(tx *db.Tx, id, action string) error {
	return tx.Emit(db.Change{Kind: k.singular, ID: id, Action: action, RequestID: api.RequestID(tx.Context())})
}

// remove deletes a resource, or answers keystone's 404.
func (k *kind) remove(tx *db.Tx, id string) error {
	n, err := tx.Exec(`DELETE FROM `+k.table+` WHERE id = $1`, id)
	if err != nil {
		return err
	}
	if n == 0 {
		return k.notFound(id)
	}
	return k.emit(tx, id, "delete")
}

// linked is the document with its self link, ready to be sent.
func (k *kind) linked(s *Service, base string, d doc) doc {
	id, _ := d["id"].(string)
	d["links"] = doc{"self": base + "/" + k.path + "/" + id}
	if k.wire != nil {
		k.wire(s, d)
	}
	return d
}

// member is {"user": {…}}.
func (k *kind) member(s *Service, r *api.Request, d doc) doc {
	return doc{k.singular: k.linked(s, base(r), d)}
}

// showExtra repeats the extra members under "extra", as upstream's updates of users and projects do.
func (k *kind) showExtra(d doc) {
	extra := doc{}
	for name, v := range d {
		if _, ok := k.column(name); !ok && name != "id" {
			extra[name] = v
		}
	}
	d["extra"] = extra
}

// str is a string member, or "".
func str(d doc, name string) string {
	s, _ := d[name].(string)
	return s
}

// truth is a boolean member.
func truth(d doc, name string) bool {
	b, _ := d[name].(bool)
	return b
}
