package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Dict is a JSON object that remembers the order of its names, which shows in messages that print it.
type Dict struct {
	names  []string
	values map[string]any
}

// NewDict makes a Dict of name, value pairs.
func NewDict(pairs ...any) *Dict {
	o := &Dict{values: map[string]any{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Put(pairs[i].(string), pairs[i+1])
	}
	return o
}

// Put sets a value; a name that is there keeps its place, as in Python's dict.
func (o *Dict) Put(name string, v any) {
	if _, ok := o.values[name]; !ok {
		o.names = append(o.names, name)
	}
	o.values[name] = v
}

// Get returns the value of a name and whether it is there.
func (o *Dict) Get(name string) (any, bool) {
	v, ok := o.values[name]
	return v, ok
}

// Names returns the names in their order.
func (o *Dict) Names() []string { return o.names }

// MarshalJSON keeps the order.
func (o *Dict) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, n := range o.names {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(o.values[n])
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// maxNesting and maxDigits are where Python's decoder gives up; a body beyond them is refused before it costs anything.
const (
	maxNesting = 900
	maxDigits  = 4300
)

// Decode reads one JSON document for validation: objects become *Dict, numbers json.Number. Of equal names the last counts.
func Decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := decode(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON document")
	}
	return v, nil
}

func decode(dec *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("the JSON document is nested deeper than %d", maxNesting)
	}
	tok, err := dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Number:
		if len(tok) > maxDigits && !strings.ContainsAny(string(tok), ".eE") {
			return nil, fmt.Errorf("a number has more than %d digits", maxDigits)
		}
		return tok, nil
	case json.Delim:
		if tok == '[' {
			list := []any{}
			for dec.More() {
				v, err := decode(dec, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err = dec.Token()
			return list, err
		}
		o := NewDict()
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(dec, depth+1)
			if err != nil {
				return nil, err
			}
			o.Put(name.(string), v)
		}
		_, err = dec.Token()
		return o, err
	}
	return tok, nil
}

// object views *Dict and map[string]any alike; a plain map is walked in the order of its names.
type object struct {
	names []string
	get   func(string) (any, bool)
}

func asObject(v any) (object, bool) {
	switch v := v.(type) {
	case *Dict:
		return object{v.names, v.Get}, true
	case map[string]any:
		names := make([]string, 0, len(v))
		for n := range v {
			names = append(names, n)
		}
		slices.Sort(names)
		return object{names, func(n string) (any, bool) { x, ok := v[n]; return x, ok }}, true
	}
	return object{}, false
}

func asArray(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out, true
	}
	return nil, false
}

// MarshalJSON writes the schema's document in its order, for services that publish it.
func (s *Schema) MarshalJSON() ([]byte, error) { return json.Marshal(view(s)) }
