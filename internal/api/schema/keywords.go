package schema

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// checked reports whether a keyword checks anything.
func checked(name string) bool {
	switch name {
	case "type", "properties", "patternProperties", "additionalProperties", "required", "dependencies", "dependentRequired", "minProperties", "maxProperties",
		"minLength", "maxLength", "pattern", "format", "enum", "minimum", "maximum", "items", "additionalItems", "minItems", "maxItems", "uniqueItems",
		"allOf", "anyOf", "oneOf", "not", "if":
		return true
	}
	return false
}

// check applies one keyword. The messages are those of jsonschema/_validators.py and _legacy_validators.py.
func (r run) check(k *keyword, v any, s *Schema) []*Error {
	switch k.name {
	case "type":
		return r.checkType(k.arg, v)
	case "enum":
		return checkEnum(k.arg.([]any), v)
	case "allOf", "anyOf", "oneOf", "not":
		return r.checkCombination(k, v)
	case "if":
		if pair := k.arg.(conditional); r.valid(pair.when, v) {
			return r.descend(pair.then, v, nil, "then")
		}
	case "minLength", "maxLength", "pattern":
		if text, ok := v.(string); ok {
			return checkString(k, text)
		}
	case "format":
		return r.checkFormat(k.arg.(format), v)
	case "minimum", "maximum":
		return r.checkBound(k, v)
	case "items", "additionalItems", "minItems", "maxItems", "uniqueItems":
		if list, ok := asArray(v); ok {
			return r.checkArray(k, v, list, s)
		}
	case "properties", "patternProperties", "additionalProperties", "required", "dependencies", "dependentRequired", "minProperties", "maxProperties":
		if o, ok := asObject(v); ok {
			return r.checkObject(k, v, o, s)
		}
	}
	return nil
}

func (r run) checkType(arg, v any) []*Error {
	switch t := arg.(type) {
	case string:
		if !r.isType(v, t) {
			return fail("%s is not of type %s", PyRepr(v), PyRepr(t))
		}
	case []string:
		if !slices.ContainsFunc(t, func(t string) bool { return r.isType(v, t) }) {
			return fail("%s is not of type %s", PyRepr(v), reprList(t))
		}
	}
	return nil
}

func (r run) isType(v any, name string) bool {
	switch name {
	case "null":
		return v == nil
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "string":
		_, ok := v.(string)
		return ok
	case "array":
		switch v.(type) {
		case []any, []string:
			return true
		}
		return false
	case "object":
		switch v.(type) {
		case *Dict, map[string]any:
			return true
		}
		return false
	case "integer":
		n, ok := asNumber(v)
		return ok && (n.isInt() || r.d.newDraft() && n.whole())
	case "number":
		_, ok := asNumber(v)
		return ok
	}
	return false
}

// reprList joins reprs as jsonschema lists them.
func reprList[T any](all []T) string {
	reprs := make([]string, len(all))
	for i, s := range all {
		reprs[i] = PyRepr(s)
	}
	return strings.Join(reprs, ", ")
}

// extras lists what is too much and the verb for it.
func extras[T any](all []T) string {
	if len(all) == 1 {
		return reprList(all) + " was"
	}
	return reprList(all) + " were"
}

func checkEnum(values []any, v any) []*Error {
	key := equalKey(v)
	if slices.ContainsFunc(values, func(x any) bool { return equalKey(x) == key }) {
		return nil
	}
	return fail("%s is not one of %s", PyRepr(v), PyRepr(values))
}

// equalKey is the same text for values that are equal in JSON Schema's sense: 1 and 1.0 are, 1 and true are not.
func equalKey(v any) string {
	switch v := view(v).(type) {
	case string:
		return PyRepr(v)
	case []any:
		keys := make([]string, len(v))
		for i, e := range v {
			keys[i] = equalKey(e)
		}
		return "[" + strings.Join(keys, ",") + "]"
	case *Dict:
		keys := make([]string, 0, len(v.names))
		for _, n := range v.names {
			keys = append(keys, PyRepr(n)+":"+equalKey(v.values[n]))
		}
		slices.Sort(keys)
		return "{" + strings.Join(keys, ",") + "}"
	default:
		if n, ok := asNumber(v); ok {
			return n.key()
		}
		return PyRepr(v)
	}
}

func checkString(k *keyword, v string) []*Error {
	switch k.name {
	case "minLength":
		if utf8.RuneCountInString(v) < k.arg.(int) {
			return fail("%s is too short", PyRepr(v))
		}
	case "maxLength":
		if n := k.arg.(int); len(v) > n && utf8.RuneCountInString(v) > n {
			return fail("%s is too long", PyRepr(v))
		}
	case "pattern":
		if p := k.arg.(pattern); !p.match(v) {
			return fail("%s does not match %s", PyRepr(v), PyRepr(p.text))
		}
	}
	return nil
}

func (r run) checkFormat(f format, v any) []*Error {
	fn := f.fn
	if fn == nil {
		if fn = r.d.format(f.name); fn == nil {
			return nil
		}
	}
	ok, detail := fn(v)
	if ok {
		return nil
	}
	errs := fail("%s is not a %s", PyRepr(v), PyRepr(f.name))
	errs[0].detail = detail
	return errs
}

func (r run) checkBound(k *keyword, v any) []*Error {
	n, ok := asNumber(v)
	if r.d.textNumbers() {
		n, ok = numberFromText(v)
	}
	if !ok {
		return nil
	}
	bound, _ := asNumber(k.arg)
	switch c := n.cmp(bound); {
	case k.name == "minimum" && c < 0:
		return fail("%s is less than the minimum of %s", n.repr(), bound.repr())
	case k.name == "maximum" && c > 0:
		return fail("%s is greater than the maximum of %s", n.repr(), bound.repr())
	}
	return nil
}

func (r run) checkArray(k *keyword, v any, list []any, s *Schema) []*Error {
	switch k.name {
	case "items":
		tuple, _ := k.arg.([]*Schema)
		one, same := k.arg.(*Schema)
		var all []*Error
		for i, e := range list {
			if !same && i >= len(tuple) {
				break
			}
			var errs []*Error
			if same {
				errs = r.descend(one, e, i, nil)
			} else {
				errs = r.descend(tuple[i], e, i, i)
			}
			if len(errs) > 0 && !r.all {
				return errs
			}
			all = append(all, errs...)
		}
		return all
	case "additionalItems":
		if tuple, ok := s.get("items").([]*Schema); ok && len(list) > len(tuple) {
			more := slices.Clone(list[len(tuple):])
			slices.SortFunc(more, func(a, b any) int { return strings.Compare(PyStr(a), PyStr(b)) })
			return fail("Additional items are not allowed (%s unexpected)", extras(more))
		}
	case "minItems":
		if len(list) < k.arg.(int) {
			return fail("%s is too short", PyRepr(v))
		}
	case "maxItems":
		if len(list) > k.arg.(int) {
			return fail("%s is too long", PyRepr(v))
		}
	case "uniqueItems":
		if !k.arg.(bool) {
			return nil
		}
		seen := make(map[string]bool, len(list))
		for _, e := range list {
			key := equalKey(e)
			if seen[key] {
				return fail("%s has non-unique elements", PyRepr(v))
			}
			seen[key] = true
		}
	}
	return nil
}

func (r run) checkCombination(k *keyword, v any) []*Error {
	if k.name == "not" {
		if s := k.arg.(*Schema); r.valid(s, v) {
			return fail("%s should not be valid under %s", PyRepr(v), PyRepr(s))
		}
		return nil
	}
	var context []*Error
	var good []*Schema
	for i, s := range k.arg.([]*Schema) {
		if len(good) > 0 { // oneOf goes on to look for a second
			if r.valid(s, v) {
				good = append(good, s)
			}
			continue
		}
		errs := r.descend(s, v, nil, i)
		if k.name == "allOf" {
			if len(errs) > 0 && !r.all {
				return errs
			}
			context = append(context, errs...)
			continue
		}
		if len(errs) > 0 {
			context = append(context, errs...)
			continue
		}
		if k.name == "anyOf" {
			return nil
		}
		good = append(good, s)
	}
	switch {
	case k.name == "allOf":
		return context
	case len(good) == 0:
		errs := fail("%s is not valid under any of the given schemas", PyRepr(v))
		errs[0].context = context
		return errs
	case len(good) > 1:
		reprs := make([]string, 0, len(good))
		for _, s := range append(good[1:], good[0]) {
			reprs = append(reprs, PyRepr(s))
		}
		return fail("%s is valid under each of %s", PyRepr(v), strings.Join(reprs, ", "))
	}
	return nil
}
