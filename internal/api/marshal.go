package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Marshal encodes v as JSON for a microversion: a struct field with the tag mv:"2.19-" is left out in versions
// outside of its range. HTML characters are not escaped, as Python's json does not.
func Marshal(v any, mv Version) ([]byte, error) {
	var b bytes.Buffer
	if err := encode(&b, reflect.ValueOf(v), mv); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type fieldPlan struct {
	index     []int
	key       []byte // `"name":`
	omitEmpty bool
	mv        Range
	limited   bool
}

// plans holds, per struct type, its fields, or nil when no mv tag is anywhere below it and encoding/json may do it.
var plans sync.Map // reflect.Type → []fieldPlan

var marshaler = reflect.TypeFor[json.Marshaler]()

// versioned tells whether encoding t depends on the microversion.
func versionedType(t reflect.Type, seen []reflect.Type) bool {
	if t.Implements(marshaler) || slices.Contains(seen, t) {
		return false
	}
	switch t.Kind() {
	case reflect.Interface:
		return true // not known before it is seen
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return versionedType(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("mv") != "" || versionedType(f.Type, append(seen, t)) {
				return true
			}
		}
	}
	return false
}

func planOf(t reflect.Type) []fieldPlan {
	if p, ok := plans.Load(t); ok {
		return p.([]fieldPlan)
	}
	var plan []fieldPlan
	if versionedType(t, nil) {
		plan = []fieldPlan{}
		for _, f := range reflect.VisibleFields(t) {
			tag := f.Tag.Get("json")
			name, opts, _ := strings.Cut(tag, ",")
			if tag == "-" || !f.IsExported() || f.Anonymous && name == "" {
				continue
			}
			if name == "" {
				name = f.Name
			}
			key, _ := json.Marshal(name)
			p := fieldPlan{index: f.Index, key: append(key, ':'), omitEmpty: strings.Contains(opts, "omitempty")}
			if mv := f.Tag.Get("mv"); mv != "" {
				p.mv, p.limited = MustRange(mv), true
			}
			plan = append(plan, p)
		}
	}
	plans.Store(t, plan)
	return plan
}

func encode(b *bytes.Buffer, v reflect.Value, mv Version) error {
	for v.IsValid() && (v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer && !v.Type().Implements(marshaler)) && !v.IsNil() {
		v = v.Elem()
	}
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	t := v.Type()
	if !t.Implements(marshaler) {
		switch t.Kind() {
		case reflect.Struct:
			if plan := planOf(t); plan != nil {
				return encodeStruct(b, v, plan, mv)
			}
		case reflect.Slice, reflect.Array:
			if t.Elem().Kind() != reflect.Uint8 && versionedType(t.Elem(), nil) && (t.Kind() == reflect.Array || !v.IsNil()) {
				return encodeList(b, v, mv)
			}
		case reflect.Map:
			if versionedType(t.Elem(), nil) && !v.IsNil() && t.Key().Kind() == reflect.String {
				return encodeMap(b, v, mv)
			}
		}
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v.Interface()); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // Encode ends with a newline
	return nil
}

func encodeStruct(b *bytes.Buffer, v reflect.Value, plan []fieldPlan, mv Version) error {
	b.WriteByte('{')
	first := true
	for _, p := range plan {
		if p.limited && !p.mv.Has(mv) {
			continue
		}
		f, err := v.FieldByIndexErr(p.index)
		if err != nil || p.omitEmpty && isEmpty(f) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.Write(p.key)
		if err := encode(b, f, mv); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func encodeList(b *bytes.Buffer, v reflect.Value, mv Version) error {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode(b, v.Index(i), mv); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func encodeMap(b *bytes.Buffer, v reflect.Value, mv Version) error {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, c reflect.Value) int { return strings.Compare(a.String(), c.String()) })
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(k.String())
		b.Write(key)
		b.WriteByte(':')
		if err := encode(b, v.MapIndex(k), mv); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}
