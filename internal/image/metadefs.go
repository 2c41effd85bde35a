package image

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// standardResourceTypes are those that upstream's own definitions are made for.
var standardResourceTypes = []string{"OS::Glance::Image", "OS::Cinder::Volume", "OS::Nova::Server", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Trove::Instance"}

func seedResourceTypes(tx *db.Tx) error {
	for i, name := range standardResourceTypes {
		if _, err := tx.Exec(`INSERT INTO metadef_resource_types (name, created_at) VALUES ($1,$2) ON CONFLICT (name) DO NOTHING`, name, tx.NowMicros()+int64(i)); err != nil {
			return err
		}
	}
	return nil
}

func namespaceTarget(n namespace) policy.Target {
	return policy.Map{"project_id": n.Owner, "visibility": n.Visibility}
}

func noNamespace(name string) *fault.Error {
	return fault.NotFound("Metadata definition namespace=%s was not found.", name)
}

// findNamespace loads the namespace of the path and asks a rule about it. Who may not see it gets a 404
// (glance/api/v2/policy.py, MetadefAPIPolicy).
func (s *Service) findNamespace(tx *db.Tx, r *api.Request, rule string) (namespace, error) {
	name := r.Path("namespace")
	n, err := namespaceByName(tx, name)
	if errors.Is(err, db.ErrNotFound) || err == nil && !s.namespaceVisible(r, n) {
		if err == nil {
			r.Denied(namespaceTarget(n), rule)
		}
		r.Asked()
		return n, noNamespace(name)
	}
	if err != nil {
		return n, err
	}
	return n, mayMetadef(r, rule, namespaceTarget(n))
}

// mayMetadef asks a rule about metadata definitions. Who may not see such a namespace gets a 404, even where none is named: a token
// of another scope does not list them either.
func mayMetadef(r *api.Request, rule string, t policy.Target) error {
	if r.Can(rule, t) {
		return nil
	}
	r.Denied(t, rule)
	if !r.Can("get_metadef_namespace", t) {
		return webob.Plain(404)
	}
	return refused(rule)
}

func (s *Service) namespaceVisible(r *api.Request, n namespace) bool {
	return n.Visibility == "public" || n.Owner == r.ProjectID() || s.isAdmin(r.Caller)
}

// readMetadef reads a body that the named schema accepts.
func (s *Service) readMetadef(r *api.Request, in *api.Stream, name string) (*schema.Dict, error) {
	v, err := readJSON(r, in)
	if err != nil {
		return nil, err
	}
	d, ok := v.(*schema.Dict)
	if !ok {
		return nil, errMalformed
	}
	if name == "namespace" || name == "object" || name == "tag" {
		for _, ro := range []string{"created_at", "updated_at"} {
			if _, ok := d.Get(ro); ok {
				return nil, fault.Forbidden("Attribute '%s' is read-only.", ro)
			}
		}
	}
	if e := schema.Glance.Validate(s.schema.metadefs[name], d); e != nil {
		return nil, fault.BadRequest("%s", e.GlanceMessage(name))
	}
	return d, nil
}

func optional(d *schema.Dict, name string) *string {
	v, _ := d.Get(name)
	return text(v)
}

// namespaceDoc is a namespace on the wire; parts are added by the caller, self and schema come last.
func namespaceDoc(n namespace) *schema.Dict {
	d := schema.NewDict("namespace", n.Name)
	for _, f := range []struct {
		name string
		v    *string
	}{{"display_name", n.DisplayName}, {"description", n.Description}} {
		if f.v != nil {
			d.Put(f.name, *f.v)
		}
	}
	d.Put("visibility", n.Visibility)
	d.Put("protected", n.Protected)
	d.Put("owner", n.Owner)
	d.Put("created_at", isoTime(n.CreatedAt))
	d.Put("updated_at", isoTime(n.UpdatedAt))
	return d
}

func closeNamespaceDoc(d *schema.Dict, name string) *schema.Dict {
	d.Put("self", "/v2/metadefs/namespaces/"+name)
	d.Put("schema", "/v2/schemas/metadefs/namespace")
	return d
}

// addPartDocs puts what belongs to the namespace into its document.
func addPartDocs(d *schema.Dict, parts []part) error {
	props := schema.NewDict()
	lists := map[string][]any{}
	for _, p := range parts {
		doc, err := kinds[p.Kind].shown(p)
		if err != nil {
			return err
		}
		switch p.Kind {
		case kindProperty:
			props.Put(p.Name, withoutName(doc))
		case kindTag:
			lists[p.Kind] = append(lists[p.Kind], schema.NewDict("name", p.Name))
		default:
			lists[p.Kind] = append(lists[p.Kind], doc)
		}
	}
	if l := lists[kindType]; l != nil {
		d.Put("resource_type_associations", l)
	}
	if len(props.Names()) > 0 {
		d.Put("properties", props)
	}
	if l := lists[kindObject]; l != nil {
		d.Put("objects", l)
	}
	if l := lists[kindTag]; l != nil {
		d.Put("tags", l)
	}
	return nil
}

func encoded(d *schema.Dict) (api.JSON, error) {
	b, err := json.Marshal(d)
	return b, err
}

func (s *Service) createNamespace(ctx context.Context, r *api.Request, in *api.Stream) (api.JSON, error) {
	body, err := s.readMetadef(r, in, "namespace")
	if err != nil {
		return nil, err
	}
	n := namespace{Visibility: "private", Owner: r.ProjectID()}
	setNamespace(&n, body)
	if err := mayMetadef(r, "add_metadef_namespace", namespaceTarget(n)); err != nil {
		return nil, err
	}
	parts, err := partsInBody(n.Name, body)
	if err != nil {
		return nil, err
	}
	var out api.JSON
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		err := insertNamespace(tx, n)
		if db.IsConflict(err, "") {
			return fault.Conflict("The metadata definition namespace=%s already exists.", n.Name)
		}
		if err != nil {
			return err
		}
		for _, p := range parts {
			if err := kinds[p.Kind].insert(tx, p); err != nil {
				return err
			}
		}
		if n, err = namespaceByName(tx, n.Name); err != nil {
			return err
		}
		doc := namespaceDoc(n)
		stored, err := partsOf(tx, []string{n.Name}, "")
		if err != nil {
			return err
		}
		if err := addPartDocs(doc, stored); err != nil {
			return err
		}
		out, err = encoded(closeNamespaceDoc(doc, n.Name))
		return err
	})
	if err == nil {
		r.Header().Set("Location", r.ServiceURL()+"/v2/metadefs/namespaces/"+url.PathEscape(n.Name))
	}
	return out, err
}

// setNamespace reads a body; what is absent gets its default, in an update as well.
func setNamespace(n *namespace, body *schema.Dict) {
	if v := optional(body, "namespace"); v != nil {
		n.Name = *v
	}
	n.DisplayName, n.Description = optional(body, "display_name"), optional(body, "description")
	if v := optional(body, "visibility"); v != nil {
		n.Visibility = *v
	}
	if v := optional(body, "owner"); v != nil {
		n.Owner = *v
	}
	if v, ok := body.Get("protected"); ok {
		n.Protected = v.(bool)
	}
}

// partsInBody reads the parts that come with a new namespace.
func partsInBody(ns string, body *schema.Dict) ([]part, error) {
	var out []part
	add := func(kind string, d *schema.Dict) error {
		p, err := newPart(ns, kind, d)
		if err == nil && p.Name == "" {
			err = fault.BadRequest("A %s of a namespace must have a name.", kind)
		}
		out = append(out, p)
		return err
	}
	for _, l := range []struct{ field, kind string }{{"resource_type_associations", kindType}, {"objects", kindObject}, {"tags", kindTag}} {
		v, _ := body.Get(l.field)
		list, _ := v.([]any)
		for _, e := range list {
			if err := add(l.kind, e.(*schema.Dict)); err != nil {
				return nil, err
			}
		}
	}
	v, _ := body.Get("properties")
	if props, ok := v.(*schema.Dict); ok {
		for _, name := range props.Names() {
			e, _ := props.Get(name)
			d := schema.NewDict("name", name)
			sub := e.(*schema.Dict)
			for _, k := range sub.Names() {
				if k != "name" {
					v, _ := sub.Get(k)
					d.Put(k, v)
				}
			}
			if err := add(kindProperty, d); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (s *Service) showNamespace(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	var out api.JSON
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, "get_metadef_namespace")
		if err != nil {
			return err
		}
		parts, err := partsOf(tx, []string{n.Name}, "")
		if err != nil {
			return err
		}
		doc := namespaceDoc(n)
		if err := addPartDocs(doc, parts); err != nil {
			return err
		}
		out, err = encoded(closeNamespaceDoc(doc, n.Name))
		return err
	})
	return out, err
}

func (s *Service) updateNamespace(ctx context.Context, r *api.Request, in *api.Stream) (api.JSON, error) {
	body, err := s.readMetadef(r, in, "namespace")
	if err != nil {
		return nil, err
	}
	var out api.JSON
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, "modify_metadef_namespace")
		if fault.Is(err, 404) {
			return fault.NotFound("Namespace %s not found", r.Path("namespace"))
		}
		if err != nil {
			return err
		}
		old := n.Name
		n.Visibility, n.Protected = "private", false
		setNamespace(&n, body)
		err = updateNamespace(tx, old, n)
		if db.IsConflict(err, "") {
			return fault.Conflict("The metadata definition namespace=%s already exists.", n.Name)
		}
		if err != nil {
			return err
		}
		if n, err = namespaceByName(tx, n.Name); err != nil {
			return err
		}
		out, err = encoded(closeNamespaceDoc(namespaceDoc(n), n.Name))
		return err
	})
	return out, err
}

func (s *Service) deleteNamespace(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, "delete_metadef_namespace")
		if err != nil {
			if fault.Is(err, 404) {
				return fault.NotFound("Namespace %s not found", r.Path("namespace"))
			}
			return err
		}
		if n.Protected {
			return fault.Forbidden("Metadata definition namespace %s is protected and cannot be deleted.", n.Name)
		}
		_, err = tx.Exec(`DELETE FROM metadef_namespaces WHERE namespace = $1`, n.Name)
		return err
	})
}

func (s *Service) listNamespaces(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	for _, rule := range []string{"get_metadef_namespaces", "list_metadef_resource_types"} { // the associations are part of the answer
		if err := mayMetadef(r, rule, policy.Map{"project_id": r.ProjectID()}); err != nil {
			return nil, err
		}
	}
	q := r.Query()
	limit := defaultLimit
	if v, ok := lastOf(q, "limit"); ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, fault.BadRequest("limit param must be an integer")
		}
		limit = min(n, maxLimit)
	}
	visibility, _ := lastOf(q, "visibility")
	if visibility != "" && visibility != "public" && visibility != "private" {
		return nil, fault.BadRequest("Invalid visibility value: %s", visibility)
	}
	key, dir := q.Get("sort_key"), q.Get("sort_dir")
	col := map[string]string{"": "n.created_at", "created_at": "n.created_at", "updated_at": "n.updated_at", "namespace": "n.namespace"}[key]
	if col == "" || dir != "" && dir != "asc" && dir != "desc" {
		return nil, fault.BadRequest("Invalid sort key or direction: %s %s", key, dir)
	}
	types := strings.FieldsFunc(q.Get("resource_types"), func(c rune) bool { return c == ',' })
	var docs [][]byte
	last := ""
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		docs, last = nil, ""
		orders := []db.Order{{Column: col, Desc: dir != "asc"}}
		if col != "n.namespace" {
			orders = append(orders, db.Order{Column: "n.namespace", Desc: dir != "asc"})
		}
		found, err := s.findNamespaces(tx, r, namespaceFilter{visibility: visibility, types: types, marker: q.Get("marker"), limit: limit, orders: orders})
		if err != nil {
			return err
		}
		names := make([]string, len(found))
		for i, n := range found {
			names[i] = n.Name
		}
		parts, err := partsOf(tx, names, kindType)
		if err != nil {
			return err
		}
		for _, n := range found {
			doc := namespaceDoc(n)
			own := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.Namespace != n.Name })
			if err := addPartDocs(doc, own); err != nil {
				return err
			}
			b, err := encoded(closeNamespaceDoc(doc, n.Name))
			if err != nil {
				return err
			}
			docs = append(docs, b)
		}
		if len(found) > 0 && len(found) == limit {
			last = names[len(names)-1]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	extra, err := linksOf("/v2/metadefs/namespaces", "/v2/schemas/metadefs/namespaces", q, r.HTTP.URL.RawQuery, last)
	if err != nil {
		return nil, err
	}
	return api.ListJSON("namespaces", docs, extra), nil
}

type namespaceFilter struct {
	visibility, marker string
	types              []string
	limit              int
	orders             []db.Order
}

func (s *Service) findNamespaces(tx *db.Tx, r *api.Request, f namespaceFilter) ([]namespace, error) {
	var w db.Where
	if !s.isAdmin(r.Caller) {
		w.Add("n.visibility = 'public' OR n.owner = ?", r.ProjectID())
	}
	if f.visibility != "" {
		w.Add("n.visibility = ?", f.visibility)
	}
	if len(f.types) > 0 {
		args := make([]any, len(f.types))
		for i, t := range f.types {
			args[i] = t
		}
		w.Add("EXISTS (SELECT 1 FROM metadef_parts p WHERE p.namespace = n.namespace AND p.kind = 'resource_type' AND p.name IN (?"+strings.Repeat(", ?", len(args)-1)+"))", args...)
	}
	if f.marker != "" {
		m, err := namespaceByName(tx, f.marker)
		if errors.Is(err, db.ErrNotFound) || err == nil && !s.namespaceVisible(r, m) {
			return nil, noNamespace(f.marker)
		}
		if err != nil {
			return nil, err
		}
		values := []any{m.Name}
		switch f.orders[0].Column {
		case "n.created_at":
			values = []any{m.CreatedAt, m.Name}
		case "n.updated_at":
			values = []any{m.UpdatedAt, m.Name}
		}
		w.After(f.orders, values)
	}
	return db.All(tx, scanNamespace, `SELECT `+namespaceColumns+` FROM metadef_namespaces n`+w.SQL()+db.OrderBy(f.orders)+` LIMIT `+w.Arg(f.limit), w.Args()...)
}

type resourceTypeView struct {
	Name      string `json:"name"`
	CreatedAt string `json:"created_at"`
}

func (s *Service) listResourceTypes(ctx context.Context, r *api.Request, _ api.None) (map[string][]resourceTypeView, error) {
	if err := mayMetadef(r, "list_metadef_resource_types", policy.Map{"project_id": r.ProjectID()}); err != nil {
		return nil, err
	}
	out := []resourceTypeView{}
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		list, err := db.All(tx, func(row db.Row) (v resourceTypeView, err error) {
			var at int64
			err = row.Scan(&v.Name, &at)
			v.CreatedAt = isoTime(at)
			return v, err
		}, `SELECT name, created_at FROM metadef_resource_types ORDER BY created_at, name`)
		out = append(out[:0], list...)
		return err
	})
	return map[string][]resourceTypeView{"resource_types": out}, err
}
