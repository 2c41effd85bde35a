package image

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// The documents of /v2/schemas, as the service publishes them. Bodies are validated by the same documents.
//
//go:embed schemas
var schemaFS embed.FS

// schemas are the parsed documents by name: "image", "metadefs/namespace".
type schemas struct {
	docs  map[string]api.JSON
	image *schema.Schema
	// metadefs are those of metadata definitions by name: "namespace", "object".
	metadefs map[string]*schema.Schema
}

func loadSchemas() (*schemas, error) {
	s := &schemas{docs: map[string]api.JSON{}}
	for _, dir := range []string{"schemas", "schemas/metadefs"} {
		entries, err := schemaFS.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			b, err := schemaFS.ReadFile(path.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			name := strings.TrimSuffix(strings.TrimPrefix(path.Join(dir, e.Name()), "schemas/"), ".json")
			var compact bytes.Buffer
			if err := json.Compact(&compact, b); err != nil {
				return nil, fmt.Errorf("schema %s: %w", name, err)
			}
			s.docs[name] = compact.Bytes()
		}
	}
	s.metadefs = map[string]*schema.Schema{}
	for _, name := range []string{"image", "metadefs/namespace", "metadefs/object", "metadefs/property", "metadefs/tag", "metadefs/tags", "metadefs/resource_type"} {
		v, err := schema.Decode(s.docs[name])
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		d, _ := v.(*schema.Dict)
		defs, _ := d.Get("definitions")
		definitions, _ := defs.(*schema.Dict)
		parsed, err := validator(v, definitions)
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		if short, ok := strings.CutPrefix(name, "metadefs/"); ok {
			s.metadefs[short] = parsed
		} else {
			s.image = parsed
		}
	}
	return s, nil
}

// validator makes a validator of a schema document, in the document's order: the texts of errors print it. References are
// replaced by what they point to.
func validator(v any, definitions *schema.Dict) (*schema.Schema, error) {
	d, ok := v.(*schema.Dict)
	if !ok {
		return nil, fmt.Errorf("%v is not an object", v)
	}
	if ref, ok := d.Get("$ref"); ok {
		name := strings.TrimPrefix(ref.(string), "#/definitions/")
		def, ok := definitions.Get(name)
		if !ok {
			return nil, fmt.Errorf("no definition %s", name)
		}
		return validator(def, definitions)
	}
	s := schema.Any()
	for _, name := range d.Names() {
		arg, _ := d.Get(name)
		var err error
		if s, err = addKeyword(s, name, arg, definitions); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return s, nil
}

func addKeyword(s *schema.Schema, name string, arg any, definitions *schema.Dict) (*schema.Schema, error) {
	switch name {
	case "type":
		return s.Type(texts(arg)...), nil
	case "enum":
		return s.Enum(arg.([]any)...), nil
	case "required":
		return s.Required(texts(arg)...), nil
	case "pattern":
		return s.Pattern(arg.(string)), nil
	case "minLength", "maxLength":
		n, err := arg.(json.Number).Int64()
		if name == "minLength" {
			return s.MinLen(int(n)), err
		}
		return s.MaxLen(int(n)), err
	case "minimum":
		n, err := arg.(json.Number).Int64()
		return s.Min(n), err
	case "maximum":
		n, err := arg.(json.Number).Int64()
		return s.Max(n), err
	case "minItems":
		n, err := arg.(json.Number).Int64()
		return s.MinItems(int(n)), err
	case "uniqueItems":
		if arg == true {
			return s.Unique(), nil
		}
		return s, nil
	case "format":
		return s.Format(arg.(string)), nil
	case "allOf":
		return allOf(s, arg.([]any), definitions)
	case "items":
		items, err := validator(arg, definitions)
		return s.Items(items), err
	case "additionalProperties":
		if more, ok := arg.(bool); ok {
			if more {
				return s.Open(), nil
			}
			return s.Closed(), nil
		}
		more, err := validator(arg, definitions)
		return s.Additional(more), err
	case "properties":
		d := arg.(*schema.Dict)
		var props []schema.Property
		for _, p := range d.Names() {
			v, _ := d.Get(p)
			sub, err := validator(v, definitions)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			props = append(props, schema.P(p, sub))
		}
		return s.Props(props...), nil
	}
	return s.Set(name, arg), nil
}

// allOf occurs as the only keyword besides defaults, so the parts are added up.
func allOf(s *schema.Schema, list []any, definitions *schema.Dict) (*schema.Schema, error) {
	parts := make([]*schema.Schema, len(list))
	for i, e := range list {
		var err error
		if parts[i], err = validator(e, definitions); err != nil {
			return nil, err
		}
	}
	return schema.AllOf(parts...), nil
}

func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var out []string
	for _, e := range v.([]any) {
		out = append(out, e.(string))
	}
	return out
}
