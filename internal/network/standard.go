package network

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// standard is what every resource has (upstream's standardattributes and the owner).
type standard struct {
	ID, ProjectID, Name, Description string
	Tags                             []string
	CreatedAt, UpdatedAt             int64
	Revision                         int64 // revision_number
	Rev                              int64 // documents are cached under it
}

func (s *standard) std() *standard { return s }

const standardColumns = `t.id, t.project_id, t.name, t.description, t.tags, t.created_at, t.updated_at, t.revision_number, t.rev`

// scan returns the targets of standardColumns.
func (s *standard) scan(more ...any) []any {
	return append([]any{&s.ID, &s.ProjectID, &s.Name, &s.Description, jsonOf(&s.Tags), &s.CreatedAt, &s.UpdatedAt, &s.Revision, &s.Rev}, more...)
}

// jsonText reads a JSON column into a value and writes it from there.
type jsonText[T any] struct{ v *T }

func jsonOf[T any](v *T) *jsonText[T] { return &jsonText[T]{v} }

func (j *jsonText[T]) Scan(src any) error {
	var b []byte
	switch s := src.(type) {
	case string:
		b = []byte(s)
	case []byte:
		b = s
	}
	var zero T
	*j.v = zero
	if len(b) == 0 || string(b) == "[]" || string(b) == "{}" {
		return nil
	}
	return json.Unmarshal(b, j.v)
}

// jsonArg is a value as JSON text; nil lists are [].
func jsonArg(v any) string {
	b, err := json.Marshal(v)
	if err != nil || string(b) == "null" {
		return "[]"
	}
	return string(b)
}

// wireTime is upstream's form of created_at and updated_at.
func wireTime(micros int64) string { return db.Time(micros).Format("2006-01-02T15:04:05Z") }

// doc is a document before it is encoded.
type doc = map[string]any

// common fills in what all documents share.
func (s *standard) common(d doc) doc {
	d["id"] = s.ID
	d["tenant_id"] = s.ProjectID
	d["project_id"] = s.ProjectID
	d["description"] = s.Description
	d["tags"] = emptyList(s.Tags)
	d["created_at"] = wireTime(s.CreatedAt)
	d["updated_at"] = wireTime(s.UpdatedAt)
	d["revision_number"] = s.Revision
	return d
}

func emptyList[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// orNull is null for the empty text.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// newStandard is a new resource's part.
func newStandard(tx *db.Tx, v values) standard {
	now := tx.NowMicros()
	return standard{ID: uuid.NewString(), ProjectID: v.str("tenant_id"), Name: v.str("name"), Description: v.str("description"), Tags: v.strings("tags"),
		CreatedAt: now, UpdatedAt: now}
}

// column is one column beyond the standard ones.
type column struct {
	name  string
	value any
}

// insert writes a new row and its event.
func insert(tx *db.Tx, kind, table string, s *standard, cols ...column) error {
	var err error
	if s.Rev, err = tx.NextRevision(); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("INSERT INTO " + table + " (id, project_id, name, description, tags, created_at, updated_at, revision_number, rev")
	args := []any{s.ID, s.ProjectID, s.Name, s.Description, jsonArg(s.Tags), s.CreatedAt, s.UpdatedAt, s.Revision, s.Rev}
	for _, c := range cols {
		b.WriteString(", " + c.name)
		args = append(args, c.value)
	}
	b.WriteString(") VALUES ($1")
	for i := 1; i < len(args); i++ {
		b.WriteString(", $" + strconv.Itoa(i+1))
	}
	b.WriteString(")")
	if _, err := tx.Exec(b.String(), args...); err != nil {
		return err
	}
	return emit(tx, kind, s, "create")
}

// save writes changed columns with the next revision and its event.
func save(tx *db.Tx, kind, table string, s *standard, cols ...column) error {
	s.Revision++
	s.UpdatedAt = tx.NowMicros()
	var err error
	if s.Rev, err = tx.NextRevision(); err != nil {
		return err
	}
	cols = append(cols, column{"name", s.Name}, column{"description", s.Description}, column{"tags", jsonArg(s.Tags)},
		column{"updated_at", s.UpdatedAt}, column{"revision_number", s.Revision}, column{"rev", s.Rev})
	if err := set(tx, table, s.ID, cols...); err != nil {
		return err
	}
	return emit(tx, kind, s, "update")
}

// set writes columns of a row and nothing else.
func set(tx *db.Tx, table, id string, cols ...column) error {
	var b strings.Builder
	b.WriteString("UPDATE " + table + " SET ")
	args := make([]any, 0, len(cols)+1)
	for i, c := range cols {
		if i > 0 {
			b.WriteString(", ")
		}
		args = append(args, c.value)
		b.WriteString(c.name + " = $" + strconv.Itoa(i+1))
	}
	b.WriteString(" WHERE id = $" + strconv.Itoa(len(args)+1))
	_, err := tx.Exec(b.String(), append(args, id)...)
	return err
}

// bump makes a row's document new because something that it shows changed elsewhere: with wire, as upstream's revision plugin does for parents
// (a subnet of a network, a rule of a group); without, for what has no revision of its own (a status).
func bump(tx *db.Tx, table, id string, wire bool) error {
	if id == "" {
		return nil
	}
	rev, err := tx.NextRevision()
	if err != nil {
		return err
	}
	if wire {
		_, err = tx.Exec(`UPDATE `+table+` SET rev = $1, revision_number = revision_number + 1, updated_at = $2 WHERE id = $3`, rev, tx.NowMicros(), id)
	} else {
		_, err = tx.Exec(`UPDATE `+table+` SET rev = $1 WHERE id = $2`, rev, id)
	}
	return err
}

// erase deletes a row and writes the event.
func erase(tx *db.Tx, kind, table string, s *standard) error {
	if _, err := tx.Exec(`DELETE FROM `+table+` WHERE id = $1`, s.ID); err != nil {
		return err
	}
	return emit(tx, kind, s, "delete")
}

func emit(tx *db.Tx, kind string, s *standard, action string) error {
	return tx.Emit(db.Change{Kind: kind, ID: s.ID, ProjectID: s.ProjectID, Action: action, RequestID: api.RequestID(tx.Context())})
}

// parseTime reads changed_since.
func parseTime(s string) (time.Time, bool) {
	for _, f := range []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(f, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
