package schema

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// PyRepr prints a decoded JSON value as Python's repr: 'x', None, True, {'a': 1}.
func PyRepr(v any) string {
	var b strings.Builder
	writeRepr(&b, v, false)
	return b.String()
}

// PyStr prints a decoded JSON value as Python's str: as PyRepr, but a string is itself.
func PyStr(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return PyRepr(v)
}

// writeRepr writes v's repr; sorted orders the names of objects, as pprint does.
func writeRepr(b *strings.Builder, v any, sorted bool) {
	switch v := view(v).(type) {
	case nil:
		b.WriteString("None")
		return
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
		return
	case string:
		writeStr(b, v)
		return
	case *Dict:
		b.WriteByte('{')
		for i, n := range pyNames(v, sorted) {
			if i > 0 {
				b.WriteString(", ")
			}
			writeStr(b, n)
			b.WriteString(": ")
			writeRepr(b, v.values[n], sorted)
		}
		b.WriteByte('}')
		return
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, e, sorted)
		}
		b.WriteByte(']')
		return
	default:
		if n, ok := asNumber(v); ok {
			b.WriteString(n.repr())
			return
		}
		fmt.Fprint(b, v)
	}
}

func pyNames(o *Dict, sorted bool) []string {
	if !sorted {
		return o.names
	}
	return slices.Sorted(slices.Values(o.names))
}

// view turns what stands in a schema or comes from callers into nil, bool, string, numbers, []any and *Dict.
func view(v any) any {
	switch v := v.(type) {
	case map[string]any:
		o := NewDict()
		for _, n := range slices.Sorted(func(yield func(string) bool) {
			for n := range v {
				if !yield(n) {
					return
				}
			}
		}) {
			o.Put(n, v[n])
		}
		return o
	case []string:
		a, _ := asArray(v)
		return a
	case *Schema:
		o := NewDict()
		for _, k := range v.kws {
			o.Put(k.name, view(k.arg))
		}
		return o
	case []*Schema:
		a := make([]any, len(v))
		for i, s := range v {
			a[i] = view(s)
		}
		return a
	case []Property:
		o := NewDict()
		for _, p := range v {
			o.Put(p.Name, view(p.Schema))
		}
		return o
	case []patternProperty:
		o := NewDict()
		for _, p := range v {
			o.Put(p.text, view(p.s))
		}
		return o
	case []dependency:
		o := NewDict()
		for _, d := range v {
			o.Put(d.name, view(d.on))
		}
		return o
	case pattern:
		return v.text
	case format:
		return v.name
	}
	return v
}

// writeStr writes a string's repr: single quotes unless only they occur inside, and escapes for what Python deems unprintable.
func writeStr(b *strings.Builder, s string) {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	b.WriteByte(q)
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteByte(q)
}

// isSpace is Python's str.isspace for one character, which is also what \s matches.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}
