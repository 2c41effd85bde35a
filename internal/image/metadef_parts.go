package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// What a namespace consists of.
const (
	kindObject   = "object"
	kindProperty = "property"
	kindTag      = "tag"
	kindType     = "resource_type"
)

// partKind is what the kinds of parts differ in.
type partKind struct {
	kind   string
	plural string // path element, and the member of lists
	rule   string // of the rules' names: get_metadef_<rule>
	schema string
	// Texts: one is there already (name, namespace), none is there (name).
	exists, missing string
	// document makes the wire form; body is the maker's JSON.
	document func(p part, body *schema.Dict) *schema.Dict
}

var kinds = map[string]partKind{
	kindObject: {kind: kindObject, plural: "objects", rule: "object", schema: "object",
		exists:  "A metadata definition object with name=%s already exists in namespace=%s.",
		missing: "Could not find metadata object %s", document: objectDoc},
	kindProperty: {kind: kindProperty, plural: "properties", rule: "property", schema: "property",
		exists:  "A metadata definition property with name=%s already exists in namespace=%s.",
		missing: "Could not find property %s", document: func(_ part, body *schema.Dict) *schema.Dict { return body }},
	kindTag: {kind: kindTag, plural: "tags", rule: "tag", schema: "tag",
		exists:  "A metadata tag with name=%s already exists in namespace=%s. (Please note that metadata tag names are case insensitive).",
		missing: "Could not find metadata tag %s", document: timedDoc},
	kindType: {kind: kindType, plural: "resource_types", rule: "resource_type", schema: "resource_type",
		exists:  "The metadata definition resource-type association of resource-type=%s to namespace=%s already exists.",
		missing: "Failed to find resource type %s to delete", document: timedDoc},
}

func objectDoc(p part, body *schema.Dict) *schema.Dict {
	timedDoc(p, body)
	body.Put("self", "/v2/metadefs/namespaces/"+p.Namespace+"/objects/"+p.Name)
	body.Put("schema", "/v2/schemas/metadefs/object")
	return body
}

func timedDoc(p part, body *schema.Dict) *schema.Dict {
	body.Put("created_at", isoTime(p.CreatedAt))
	body.Put("updated_at", isoTime(p.UpdatedAt))
	return body
}

// doc is a part on the wire: its name, what its maker sent, and what the service adds.
func (k partKind) doc(p part) (*schema.Dict, error) {
	v, err := schema.Decode([]byte(p.Body))
	if err != nil {
		return nil, fmt.Errorf("stored %s %s of namespace %s: %w", p.Kind, p.Name, p.Namespace, err)
	}
	d := schema.NewDict("name", p.Name)
	stored := v.(*schema.Dict)
	for _, n := range stored.Names() {
		e, _ := stored.Get(n)
		d.Put(n, e)
	}
	return k.document(p, d), nil
}

// shown is doc as reads answer it: an object has its lists even when they are empty.
func (k partKind) shown(p part) (*schema.Dict, error) {
	d, err := k.doc(p)
	if err == nil && k.kind == kindObject {
		for name, empty := range map[string]any{"required": []any{}, "properties": schema.NewDict()} {
			if _, ok := d.Get(name); !ok {
				d.Put(name, empty)
			}
		}
	}
	return d, err
}

func withoutName(d *schema.Dict) *schema.Dict {
	out := schema.NewDict()
	for _, n := range d.Names() {
		if n != "name" {
			v, _ := d.Get(n)
			out.Put(n, v)
		}
	}
	return out
}

// newPart makes a part of a body.
func newPart(ns, kind string, d *schema.Dict) (part, error) {
	name, _ := d.Get("name")
	p := part{Namespace: ns, Kind: kind}
	p.Name, _ = name.(string)
	if utf8.RuneCountInString(p.Name) > 255 {
		return p, fault.BadRequest("The name is longer than 255 characters.")
	}
	kept := schema.NewDict()
	for _, n := range withoutName(d).Names() {
		switch n {
		case "created_at", "updated_at", "self", "schema":
		default:
			v, _ := d.Get(n)
			kept.Put(n, v)
		}
	}
	b, err := json.Marshal(kept)
	p.Body = string(b)
	return p, err
}

func (k partKind) insert(tx *db.Tx, p part) error {
	if k.kind == kindType {
		if _, err := tx.Exec(`INSERT INTO metadef_resource_types (name, created_at) VALUES ($1,$2) ON CONFLICT (name) DO NOTHING`, p.Name, tx.NowMicros()); err != nil {
			return err
		}
	}
	err := insertPart(tx, p)
	if db.IsConflict(err, "") {
		return fault.Conflict(k.exists, p.Name, p.Namespace)
	}
	return err
}

// metadefRoutes are the routes of namespaces and of all kinds of parts.
func (s *Service) metadefRoutes() []api.Route {
	const (
		all = "/v2/metadefs/namespaces"
		one = all + "/{namespace}"
	)
	routes := []api.Route{
		api.Handle("GET", "/v2/metadefs/resource_types", api.Object("list_metadef_resource_types"), 200, s.listResourceTypes),
		api.Handle("GET", all, api.Object("get_metadef_namespaces"), 200, s.listNamespaces),
		api.Handle("POST", all, api.Object("add_metadef_namespace"), 201, s.createNamespace),
		api.Handle("GET", one, api.Object("get_metadef_namespace"), 200, s.showNamespace),
		api.Handle("PUT", one, api.Object("modify_metadef_namespace"), 200, s.updateNamespace),
		api.Handle("DELETE", one, api.Object("delete_metadef_namespace"), 204, s.deleteNamespace),
		api.Handle("POST", one+"/tags", api.Object("add_metadef_tags"), 201, s.setTags),
		api.Handle("POST", one+"/tags/{name}", api.Object("add_metadef_tag"), 201, s.createTag),
	}
	for _, kind := range []string{kindObject, kindProperty, kindTag, kindType} {
		k := kinds[kind]
		path := one + "/" + k.plural
		get, add, remove := "get_metadef_"+k.rule, "add_metadef_"+k.rule, "delete_metadef_"+k.rule
		list := get + "s"
		switch kind {
		case kindProperty:
			list, remove = "get_metadef_properties", "remove_metadef_property"
		case kindType:
			list, add, remove = get, "add_metadef_resource_type_association", "remove_metadef_resource_type_association"
		}
		routes = append(routes,
			api.Handle("GET", path, api.Object(list), 200, func(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
				return s.listParts(ctx, r, k, list)
			}),
			api.Handle("DELETE", path+"/{name}", api.Object(remove), 204, func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
				return s.deletePart(ctx, r, k, remove)
			}))
		if kind != kindTag {
			routes = append(routes, api.Handle("POST", path, api.Object(add), 201, func(ctx context.Context, r *api.Request, in *api.Stream) (api.JSON, error) {
				return s.createPart(ctx, r, in, k, add)
			}))
		}
		if kind == kindType {
			continue
		}
		modify, clearRule := "modify_metadef_"+k.rule, remove
		if kind == kindTag {
			clearRule = "delete_metadef_tags"
		}
		routes = append(routes,
			api.Handle("GET", path+"/{name}", api.Object(get), 200, func(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
				return s.showPart(ctx, r, k, get)
			}),
			api.Handle("PUT", path+"/{name}", api.Object(modify), 200, func(ctx context.Context, r *api.Request, in *api.Stream) (api.JSON, error) {
				return s.updatePart(ctx, r, in, k, modify)
			}),
			api.Handle("DELETE", path, api.Object(clearRule), 204, func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
				return s.clearParts(ctx, r, k, clearRule)
			}))
	}
	return routes
}

func (s *Service) listParts(ctx context.Context, r *api.Request, k partKind, rule string) (api.JSON, error) {
	out := schema.NewDict()
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, rule)
		if err != nil {
			return err
		}
		parts, err := partsOf(tx, []string{n.Name}, k.kind)
		if err != nil {
			return err
		}
		list, props := []any{}, schema.NewDict()
		for _, p := range parts {
			d, err := k.shown(p)
			if err != nil {
				return err
			}
			switch k.kind {
			case kindProperty:
				props.Put(p.Name, withoutName(d))
			case kindTag:
				list = append(list, schema.NewDict("name", p.Name))
			default:
				list = append(list, d)
			}
		}
		switch k.kind {
		case kindProperty:
			out = schema.NewDict("properties", props)
		case kindType:
			out = schema.NewDict("resource_type_associations", list)
		case kindObject:
			out = schema.NewDict("objects", list, "schema", "v2/schemas/metadefs/objects") // without its first slash upstream, too
		default:
			out = schema.NewDict(k.plural, list)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return encoded(out)
}

func (k partKind) noPart(name string) *fault.Error { return fault.NotFound(k.missing, name) }

func (s *Service) showPart(ctx context.Context, r *api.Request, k partKind, rule string) (api.JSON, error) {
	var d *schema.Dict
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, rule)
		if err != nil {
			return err
		}
		p, err := partOf(tx, n.Name, k.kind, r.Path("name"))
		if errors.Is(err, db.ErrNotFound) {
			return k.noPart(r.Path("name"))
		}
		if err != nil {
			return err
		}
		d, err = k.shown(p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return encoded(d)
}

// store inserts a part and renders it.
func (k partKind) store(tx *db.Tx, p part) (*schema.Dict, error) {
	if p.Name == "" {
		return nil, fault.BadRequest("The name must not be empty.")
	}
	if err := k.insert(tx, p); err != nil {
		return nil, err
	}
	stored, err := partOf(tx, p.Namespace, k.kind, p.Name)
	if err != nil {
		return nil, err
	}
	return k.doc(stored)
}

func (s *Service) createPart(ctx context.Context, r *api.Request, in *api.Stream, k partKind, rule string) (api.JSON, error) {
	body, err := s.readMetadef(r, in, k.schema)
	if err != nil {
		return nil, err
	}
	return s.addPart(ctx, r, k, rule, body)
}

func (s *Service) addPart(ctx context.Context, r *api.Request, k partKind, rule string, body *schema.Dict) (api.JSON, error) {
	var d *schema.Dict
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, rule)
		if err != nil {
			return err
		}
		p, err := newPart(n.Name, k.kind, body)
		if err != nil {
			return err
		}
		d, err = k.store(tx, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return encoded(d)
}

// createTag makes a tag named by the path.
func (s *Service) createTag(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	return s.addPart(ctx, r, kinds[kindTag], "add_metadef_tag", schema.NewDict("name", r.Path("name")))
}

// setTags makes the namespace's tags be those of the list; with the header X-Openstack-Append they are added.
func (s *Service) setTags(ctx context.Context, r *api.Request, in *api.Stream) (api.JSON, error) {
	body, err := s.readMetadef(r, in, "tags")
	if err != nil {
		return nil, err
	}
	v, _ := body.Get("tags")
	tags, _ := v.([]any)
	k := kinds[kindTag]
	list := []any{}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, "add_metadef_tags")
		if err != nil {
			return err
		}
		if !strings.EqualFold(r.HTTP.Header.Get("X-Openstack-Append"), "true") {
			if _, err := tx.Exec(`DELETE FROM metadef_parts WHERE namespace = $1 AND kind = 'tag'`, n.Name); err != nil {
				return err
			}
		}
		list = list[:0]
		for _, t := range tags {
			d, ok := t.(*schema.Dict)
			if !ok {
				return fault.BadRequest("A tag must be an object with a name.")
			}
			p, err := newPart(n.Name, k.kind, d)
			if err != nil {
				return err
			}
			if _, err := k.store(tx, p); err != nil {
				return err
			}
			list = append(list, schema.NewDict("name", p.Name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return encoded(schema.NewDict("tags", list))
}

// updatePart replaces a part, also its name.
func (s *Service) updatePart(ctx context.Context, r *api.Request, in *api.Stream, k partKind, rule string) (api.JSON, error) {
	body, err := s.readMetadef(r, in, k.schema)
	if err != nil {
		return nil, err
	}
	var d *schema.Dict
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, rule)
		if err != nil {
			return err
		}
		old := r.Path("name")
		p, err := newPart(n.Name, k.kind, body)
		if err != nil {
			return err
		}
		if p.Name == "" {
			p.Name = old
		}
		changed, err := tx.Exec(`UPDATE metadef_parts SET name = $4, body = $5, updated_at = $6 WHERE namespace = $1 AND kind = $2 AND name = $3`,
			n.Name, k.kind, old, p.Name, p.Body, tx.NowMicros())
		if db.IsConflict(err, "") {
			return fault.Conflict(k.exists, p.Name, n.Name)
		}
		if err != nil {
			return err
		}
		if changed == 0 {
			return k.noPart(old)
		}
		stored, err := partOf(tx, n.Name, k.kind, p.Name)
		if err != nil {
			return err
		}
		d, err = k.doc(stored)
		return err
	})
	if err != nil {
		return nil, err
	}
	return encoded(d)
}

func (s *Service) deletePart(ctx context.Context, r *api.Request, k partKind, rule string) (api.None, error) {
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, rule)
		if err != nil {
			return err
		}
		if n.Protected {
			word := map[string]string{kindType: "resource-type-association"}[k.kind]
			if word == "" {
				word = k.kind
			}
			return fault.Forbidden("Metadata definition %s %s is protected and cannot be deleted.", word, r.Path("name"))
		}
		found, err := deletePart(tx, n.Name, k.kind, r.Path("name"))
		if err == nil && !found {
			return k.noPart(r.Path("name"))
		}
		return err
	})
}

func (s *Service) clearParts(ctx context.Context, r *api.Request, k partKind, rule string) (api.None, error) {
	return api.None{}, s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := s.findNamespace(tx, r, rule)
		if err != nil {
			return err
		}
		if n.Protected {
			return fault.Forbidden("Metadata definition namespace %s is protected and cannot be deleted.", n.Name)
		}
		_, err = tx.Exec(`DELETE FROM metadef_parts WHERE namespace = $1 AND kind = $2`, n.Name, k.kind)
		return err
	})
}
