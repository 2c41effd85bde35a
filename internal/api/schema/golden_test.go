package schema

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

// schemaOf builds a schema from its document, as decoded with order kept.
func schemaOf(v any) (*Schema, error) {
	doc, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("a schema is an object, not %s", PyRepr(v))
	}
	s := Any()
	for _, name := range doc.Names() {
		arg, err := argumentOf(name, doc.values[name])
		if err != nil {
			return nil, err
		}
		s = s.with(name, arg)
	}
	return s, nil
}

func argumentOf(name string, v any) (any, error) {
	strs := func(v any) []string {
		var out []string
		for _, e := range v.([]any) {
			out = append(out, e.(string))
		}
		return out
	}
	props := func() (out []Property, err error) {
		for _, n := range v.(*Dict).Names() {
			s, err := schemaOf(v.(*Dict).values[n])
			if err != nil {
				return nil, err
			}
			out = append(out, P(n, s))
		}
		return out, nil
	}
	switch name {
	case "type":
		if _, ok := v.([]any); ok {
			return strs(v), nil
		}
	case "required":
		return strs(v), nil
	case "properties":
		return props()
	case "patternProperties":
		all, err := props()
		if err != nil {
			return nil, err
		}
		return Any().PatternProps(all...).get(name), nil
	case "additionalProperties":
		if _, ok := v.(bool); !ok {
			return schemaOf(v)
		}
	case "not":
		return schemaOf(v)
	case "items", "allOf", "anyOf", "oneOf":
		if _, ok := v.(*Dict); ok {
			return schemaOf(v)
		}
		var out []*Schema
		for _, e := range v.([]any) {
			s, err := schemaOf(e)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
		return out, nil
	case "dependencies":
		var out []dependency
		for _, n := range v.(*Dict).Names() {
			out = append(out, dependency{n, strs(v.(*Dict).values[n])})
		}
		return out, nil
	case "pattern":
		return mustPattern(v.(string)), nil
	case "format":
		return format{name: v.(string)}, nil
	case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties":
		n, err := v.(json.Number).Int64()
		return int(n), err
	}
	return v, nil
}

var dialects = map[string]Dialect{"nova": Nova, "nova-query": Nova, "keystone": Keystone, "cinder": Cinder, "glance": Glance, "placement": Placement}

func loadGolden(t testing.TB) []any {
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return v.([]any)
}

// TestGolden compares verdicts and messages with the services' own validators.
func TestGolden(t *testing.T) {
	refused, failed := 0, 0
	for _, c := range loadGolden(t) {
		row := c.([]any)
		dialect := row[0].(string)
		s, err := schemaOf(row[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range row[2].([]any) {
			doc, want := d.([]any)[0], d.([]any)[1]
			if want == "?" { // upstream answers 500
				continue
			}
			var e *Error
			if dialect == "nova-query" {
				q := url.Values{}
				for _, n := range doc.(*Dict).names {
					for _, v := range doc.(*Dict).values[n].([]any) {
						q.Add(n, v.(string))
					}
				}
				e = Nova.ValidateQuery(s, q)
			} else {
				e = dialects[dialect].Validate(s, doc)
			}
			var got any
			if e != nil {
				got = e.Error()
				refused++
			}
			if got != want {
				failed++
				if failed < 20 {
					t.Errorf("%s\nschema %s\nvalue  %s\ngot    %v\nwant   %v", dialect, PyRepr(s), PyRepr(doc), got, want)
				}
			}
		}
	}
	if failed > 0 {
		t.Errorf("%d differ", failed)
	}
	if refused < 1000 {
		t.Errorf("only %d documents were refused", refused)
	}
}

func FuzzValidate(f *testing.F) {
	var schemas []*Schema
	for _, c := range loadGolden(f) {
		row := c.([]any)
		if s, err := schemaOf(row[1]); err == nil && len(schemas) < 60 {
			schemas = append(schemas, s)
		}
		if doc, err := json.Marshal(row[2].([]any)[0].([]any)[0]); err == nil {
			f.Add(string(doc), uint8(len(schemas)))
		}
	}
	for _, d := range []Dialect{Nova, Cinder} {
		for _, name := range []string{"uuid", "cidr", "uri", "base64", "date-time", "name", "az_name", "regex", "keypair_name_20", "key_size"} {
			if d.format(name) != nil {
				schemas = append(schemas, Object(P("a", Any().Format(name)), P("b", NovaPositive()), P("c-d", NovaDescription())))
			}
		}
	}
	f.Fuzz(func(t *testing.T, doc string, pick uint8) {
		v, err := Decode([]byte(doc))
		if err != nil {
			return
		}
		s := schemas[int(pick)%len(schemas)]
		for _, d := range []Dialect{Keystone, Nova, Cinder, Glance, Placement} {
			if e := d.Validate(s, v); e != nil && strings.TrimSpace(e.Error()) == "" {
				t.Error("an error without words")
			}
		}
	})
}
