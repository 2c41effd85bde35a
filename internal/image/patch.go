package image

import (
	"context"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// Media types of PATCH and the draft of JSON patch that each stands for.
var patchDrafts = map[string]int{
	"application/openstack-images-v2.0-json-patch": 4,
	"application/openstack-images-v2.1-json-patch": 10,
}

// edit is one operation of a patch.
type edit struct {
	op    string // add, remove, replace
	path  []string
	value any
	draft int
}

func (e edit) name() string { return e.path[0] }

func (s *Service) patchImage(ctx context.Context, r *api.Request, in *api.Stream) (api.JSON, error) {
	media, _, _ := mime.ParseMediaType(in.ContentType)
	draft := patchDrafts[media]
	if draft == 0 {
		e := webob.Plain(http.StatusUnsupportedMediaType)
		e.Header = http.Header{"Accept-Patch": {"application/openstack-images-v2.0-json-patch, application/openstack-images-v2.1-json-patch"}}
		return nil, e
	}
	body, err := readJSON(r, in)
	if err != nil {
		return nil, err
	}
	edits, err := parsePatch(s.schema.image, body, draft)
	if err != nil {
		return nil, err
	}
	img, err := s.change(ctx, r, func(_ *db.Tx, img *Image) (bool, error) {
		if len(edits) == 0 {
			r.Asked() // nothing is changed, and what is shown the caller has just been allowed to see
			return false, enforce(r, "get_image", *img)
		}
		for _, e := range edits {
			if err := s.applyEdit(r, img, e); err != nil {
				return false, err
			}
		}
		return true, img.checkQuotas()
	})
	if err != nil {
		return nil, err
	}
	return s.doc(img)
}

// applyEdit does one operation (glance/api/v2/images.py, _do_add, _do_replace, _do_remove).
func (s *Service) applyEdit(r *api.Request, img *Image, e edit) error {
	name := e.name()
	if name == "locations" {
		return locationsRefused(e)
	}
	if e.op == "replace" && name == "owner" && !s.isAdmin(r.Caller) {
		return webob.Detailed(http.StatusForbidden, "Owner can't be updated by non admin.")
	}
	if name == "visibility" && e.op != "remove" {
		if err := mayPublish(r, e.value.(string), target(*img, r.ProjectID())); err != nil {
			return err
		}
	}
	if err := enforce(r, "modify_image", *img); err != nil {
		return err
	}
	isAttribute := slices.Contains(attributes, name)
	_, isProperty := img.Properties[name]
	switch e.op {
	case "replace":
		if !isAttribute && !isProperty {
			return webob.Detailed(http.StatusConflict, "Property %s does not exist.", name)
		}
	case "add":
		if e.draft == 4 && (isAttribute || isProperty) {
			return webob.Detailed(http.StatusConflict, "Property %s already present.", name)
		}
	case "remove":
		if isAttribute {
			return webob.Detailed(http.StatusForbidden, "Property %s may not be removed.", name)
		}
		if !isProperty {
			return webob.Detailed(http.StatusConflict, "Property %s does not exist.", name)
		}
		delete(img.Properties, name)
		return nil
	}
	return img.set(name, e.value)
}

// locationsRefused: the service never shows locations, so they cannot be changed.
func locationsRefused(e edit) error {
	if list, ok := e.value.([]any); e.op == "replace" && ok && len(list) == 0 {
		return webob.Detailed(http.StatusForbidden, "Cannot set locations to empty list.")
	}
	verb := map[string]string{"add": "add", "remove": "remove", "replace": "update"}[e.op]
	return fault.Forbidden("It's not allowed to %s locations if locations are invisible.", verb)
}

// parsePatch reads and checks the operations, first to last; the first wrong one is reported.
func parsePatch(image *schema.Schema, body any, draft int) ([]edit, error) {
	list, ok := body.([]any)
	if !ok {
		return nil, fault.BadRequest("Request body must be a JSON array of operation objects.")
	}
	edits := make([]edit, 0, len(list))
	for _, raw := range list {
		d, ok := raw.(*schema.Dict)
		if !ok {
			return nil, fault.BadRequest("Operations must be JSON objects.")
		}
		e, err := parseEdit(d, draft)
		if err != nil {
			return nil, err
		}
		if err := checkEdit(image, e); err != nil {
			return nil, err
		}
		edits = append(edits, e)
	}
	return edits, nil
}

var operations = []string{"add", "remove", "replace"}

func parseEdit(d *schema.Dict, draft int) (edit, error) {
	e := edit{draft: draft}
	var pointer any
	var err error
	if draft == 10 {
		e.op, pointer, err = operation10(d)
	} else {
		e.op, pointer, err = operation4(d)
	}
	if err != nil {
		return e, err
	}
	p, ok := pointer.(string)
	if !ok {
		return e, fault.BadRequest("Pointer `%s` does not start with \"/\".", schema.PyStr(pointer))
	}
	if e.path, err = parsePointer(p); err != nil {
		return e, err
	}
	depth := 1
	if e.name() == "locations" && e.op != "replace" {
		depth = 2
	}
	if len(e.path) != depth {
		return e, fault.BadRequest("Invalid JSON pointer for this resource: '/%s'", strings.Join(e.path, "/"))
	}
	if e.op != "remove" {
		if e.value, ok = d.Get("value"); !ok {
			return e, fault.BadRequest("Operation \"%s\" requires a member named \"value\".", e.op)
		}
	}
	return e, nil
}

// operation10 reads {"op": "add", "path": "/name"}.
func operation10(d *schema.Dict) (op string, pointer any, err error) {
	raw, ok := d.Get("op")
	if !ok || raw == nil {
		return "", nil, fault.BadRequest("Unable to find `op` in JSON Schema change. It must be one of the following: %s.", strings.Join(operations, ", "))
	}
	op, _ = raw.(string)
	if !slices.Contains(operations, op) {
		return "", nil, fault.BadRequest("Invalid operation: `%s`. It must be one of the following: %s.", schema.PyStr(raw), strings.Join(operations, ", "))
	}
	if pointer, ok = d.Get("path"); !ok {
		return "", nil, fault.BadRequest("Unable to find 'path' in JSON Schema change")
	}
	return op, pointer, nil
}

// operation4 reads {"add": "/name"}.
func operation4(d *schema.Dict) (op string, pointer any, err error) {
	for _, o := range operations {
		if p, ok := d.Get(o); ok {
			if op != "" {
				return "", nil, fault.BadRequest(`Operation objects must contain only one member named "add", "remove", or "replace".`)
			}
			op, pointer = o, p
		}
	}
	if op == "" {
		return "", nil, fault.BadRequest(`Operation objects must contain exactly one member named "add", "remove", or "replace".`)
	}
	return op, pointer, nil
}

var (
	adjacent  = regexp.MustCompile(`/\s*?/`)
	badEscape = regexp.MustCompile(`(?s)~[^01]`)
)

// parsePointer reads the limited form of JSON pointers that upstream accepts.
func parsePointer(p string) ([]string, error) {
	switch {
	case !strings.HasPrefix(p, "/"):
		return nil, fault.BadRequest("Pointer `%s` does not start with \"/\".", p)
	case adjacent.MatchString(p[1:]):
		return nil, fault.BadRequest("Pointer `%s` contains adjacent \"/\".", p)
	case len(p) > 1 && strings.HasSuffix(p, "/"):
		return nil, fault.BadRequest("Pointer `%s` end with \"/\".", p)
	case badEscape.MatchString(p) || strings.HasSuffix(p, "~"):
		return nil, fault.BadRequest("Pointer `%s` contains \"~\" not part of a recognized escape sequence.", p)
	}
	var path []string
	for part := range strings.SplitSeq(strings.TrimLeft(p, "/"), "/") {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		path = append(path, strings.TrimSpace(part))
	}
	return path, nil
}

// checkEdit refuses what nobody may change and what the schema does not allow.
func checkEdit(image *schema.Schema, e edit) error {
	name := e.name()
	switch {
	case slices.Contains(readOnly, name):
		return fault.Forbidden("Attribute '%s' is read-only.", name)
	case isReserved(name):
		return fault.Forbidden("Attribute '%s' is reserved.", name)
	case e.op == "remove":
		return nil
	}
	value := e.value
	if len(e.path) > 1 {
		value = []any{value} // one element of the list
	}
	if err := schema.Glance.Validate(image, schema.NewDict(name, value)); err != nil {
		return fault.BadRequest("%s", err.GlanceMessage("image"))
	}
	return nil
}
