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
	v, err := schema.Decode(s.docs["image"])
	if err != nil {
		return nil, fmt.Errorf("schema image: %w", err)
	}
	if s.image, err = validator(v); err != nil {
		return nil, fmt.Errorf("schema image: %w", err)
	}
	return s, nil
}

// validator makes a validator of a schema document, in the document's order: the texts of errors print it.
func validator(v any) (*schema.Schema, error) {
	d, ok := v.(*schema.Dict)
	if !ok {
		return nil, fmt.Errorf("%v is not an object", v)
	}
	s := schema.Any()
	for _, name := range d.Names() {
		arg, _ := d.Get(name)
		var err error
		if s, err = addKeyword(s, name, arg); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return s, nil
}

func addKeyword(s *schema.Schema, name string, arg any) (*schema.Schema, error) {
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
	case "items":
		items, err := validator(arg)
		return s.Items(items), err
	case "additionalProperties":
		if more, ok := arg.(bool); ok {
			if more {
				return s.Open(), nil
			}
			return s.Closed(), nil
		}
		more, err := validator(arg)
		return s.Additional(more), err
	case "properties":
		d := arg.(*schema.Dict)
		var props []schema.Property
		for _, p := range d.Names() {
			v, _ := d.Get(p)
			sub, err := validator(v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			props = append(props, schema.P(p, sub))
		}
		return s.Props(props...), nil
	}
	return s.Set(name, arg), nil
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
