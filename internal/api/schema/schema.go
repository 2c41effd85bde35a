// Package schema validates request bodies and query strings as the services do with python-jsonschema 4.10: the same verdict, the same error out of
// several, the same message, since clients and tests read it in the 400's body. A Schema therefore keeps its keywords and properties in the order
// in which they were written: most services report the first error in that order.
//
// It knows JSON, Python's way of printing values, and each service's formats and wording. It must not know HTTP or any resource.
package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Schema is a JSON schema. Its methods return an extended copy, so a schema may be shared and refined.
type Schema struct{ kws []keyword }

// keyword is one entry of the schema's document. arg is a string, bool, int, float64, nil, []string, []any, *Dict, *Schema, []*Schema, []Property,
// pattern or format.
type keyword struct {
	name string
	arg  any
}

// Property is a named schema: an object's property, or a pattern of property names.
type Property struct {
	Name   string
	Schema *Schema
}

// pattern is a regular expression in Python's words and compiled.
type pattern struct {
	text string
	re   *regexp.Regexp
	// trimmed: no space at either end, which upstream says with look-around.
	trimmed bool
}

func (p pattern) match(s string) bool {
	if p.trimmed && (strings.HasPrefix(s, " ") || strings.HasSuffix(strings.TrimSuffix(s, "\n"), " ")) {
		return false
	}
	return p.re.MatchString(s)
}

// format is a named check; fn is nil for those that the dialect knows.
type format struct {
	name string
	fn   FormatFunc
}

// FormatFunc is a check of a value's form. A non-empty detail replaces the whole error text, as upstream's own exceptions do.
type FormatFunc func(v any) (ok bool, detail string)

// P makes a Property.
func P(name string, s *Schema) Property { return Property{name, s} }

// Any accepts everything.
func Any() *Schema { return &Schema{} }

// Types accepts values of any of the named JSON types.
func Types(names ...string) *Schema { return Any().Type(names...) }

// Type sets the accepted JSON types.
func (s *Schema) Type(names ...string) *Schema {
	if len(names) == 1 {
		return s.with("type", names[0])
	}
	return s.with("type", slices.Clone(names))
}

// Str accepts a string.
func Str() *Schema { return Types("string") }

// Int accepts an integer.
func Int() *Schema { return Types("integer") }

// Num accepts a number.
func Num() *Schema { return Types("number") }

// Bool accepts true and false only; the services' wider ideas of a boolean are NovaBool, CinderBool and KeystoneBool.
func Bool() *Schema { return Types("boolean") }

// Null accepts null.
func Null() *Schema { return Types("null") }

// Object accepts an object with these properties, all of them optional, and others too.
func Object(props ...Property) *Schema {
	s := Types("object")
	if len(props) > 0 {
		s = s.Props(props...)
	}
	return s
}

// Array accepts a list whose members satisfy items.
func Array(items *Schema) *Schema { return Types("array").Items(items) }

// Enum accepts one of the values.
func Enum(values ...any) *Schema { return Any().Enum(values...) }

// OneOf accepts what exactly one of the schemas accepts.
func OneOf(schemas ...*Schema) *Schema { return Any().OneOf(schemas...) }

// AnyOf accepts what at least one of the schemas accepts.
func AnyOf(schemas ...*Schema) *Schema { return Any().with("anyOf", slices.Clone(schemas)) }

// AllOf accepts what all the schemas accept.
func AllOf(schemas ...*Schema) *Schema { return Any().with("allOf", slices.Clone(schemas)) }

// Not accepts what s does not.
func Not(s *Schema) *Schema { return Any().with("not", s) }

// Not says the same beside other keywords.
func (s *Schema) Not(t *Schema) *Schema { return s.with("not", t) }

// Props sets the properties.
func (s *Schema) Props(props ...Property) *Schema { return s.with("properties", slices.Clone(props)) }

// Extend adds properties to those there are, as a microversion does; one of the same name is replaced in its place.
func (s *Schema) Extend(props ...Property) *Schema {
	all, _ := s.get("properties").([]Property)
	all = slices.Clone(all)
	for _, p := range props {
		if i := slices.IndexFunc(all, func(q Property) bool { return q.Name == p.Name }); i >= 0 {
			all[i] = p
		} else {
			all = append(all, p)
		}
	}
	return s.with("properties", all)
}

// Without removes properties, and their names from the required ones.
func (s *Schema) Without(names ...string) *Schema {
	all, _ := s.get("properties").([]Property)
	out := s.with("properties", slices.DeleteFunc(slices.Clone(all), func(p Property) bool { return slices.Contains(names, p.Name) }))
	if req, ok := s.get("required").([]string); ok {
		out = out.with("required", slices.DeleteFunc(slices.Clone(req), func(n string) bool { return slices.Contains(names, n) }))
	}
	return out
}

// Prop returns the schema of a property, nil if there is none: microversions refine what is nested.
func (s *Schema) Prop(name string) *Schema {
	all, _ := s.get("properties").([]Property)
	for _, p := range all {
		if p.Name == name {
			return p.Schema
		}
	}
	return nil
}

// PatternProps sets the schemas of properties whose names match a regular expression (Python's syntax, unanchored).
func (s *Schema) PatternProps(props ...Property) *Schema {
	all := make([]patternProperty, len(props))
	for i, p := range props {
		all[i] = patternProperty{mustPattern(p.Name), p.Schema}
	}
	return s.with("patternProperties", all)
}

type patternProperty struct {
	pattern
	s *Schema
}

// Required names the properties that must be there.
func (s *Schema) Required(names ...string) *Schema { return s.with("required", slices.Clone(names)) }

// Closed refuses properties that are not named.
func (s *Schema) Closed() *Schema { return s.with("additionalProperties", false) }

// Open says explicitly that other properties are allowed.
func (s *Schema) Open() *Schema { return s.with("additionalProperties", true) }

// Additional sets the schema of properties that are not named.
func (s *Schema) Additional(t *Schema) *Schema { return s.with("additionalProperties", t) }

// MinProps and MaxProps bound the number of properties.
func (s *Schema) MinProps(n int) *Schema { return s.with("minProperties", n) }

// MaxProps bounds the number of properties.
func (s *Schema) MaxProps(n int) *Schema { return s.with("maxProperties", n) }

// DependsOn says that a property needs others (draft 4's dependencies).
func (s *Schema) DependsOn(name string, on ...string) *Schema {
	deps, _ := s.get("dependencies").([]dependency)
	return s.with("dependencies", append(slices.Clone(deps), dependency{name, slices.Clone(on)}))
}

// IfThen asks more of documents that a schema admits (the newest draft's if and then).
func (s *Schema) IfThen(when, then *Schema) *Schema { return s.with("if", conditional{when, then}) }

type conditional struct{ when, then *Schema }

// Needs says the same in the newest draft's words.
func (s *Schema) Needs(name string, on ...string) *Schema {
	return s.with("dependentRequired", []dependency{{name, slices.Clone(on)}})
}

type dependency struct {
	name string
	on   []string
}

// Len bounds a string's length in characters.
func (s *Schema) Len(least, most int) *Schema { return s.MinLen(least).MaxLen(most) }

// MinLen sets a string's least length.
func (s *Schema) MinLen(n int) *Schema { return s.with("minLength", n) }

// MaxLen sets a string's greatest length.
func (s *Schema) MaxLen(n int) *Schema { return s.with("maxLength", n) }

// Pattern sets a regular expression in Python's syntax, unanchored. It panics on one that does not compile: it is a constant of the program.
func (s *Schema) Pattern(expr string) *Schema { return s.with("pattern", mustPattern(expr)) }

// Format sets a form by name. Which names mean something depends on the dialect; unknown ones accept everything.
func (s *Schema) Format(name string) *Schema { return s.with("format", format{name: name}) }

// FormatFunc sets a form with its own check.
func (s *Schema) FormatFunc(name string, fn FormatFunc) *Schema {
	return s.with("format", format{name, fn})
}

// Enum restricts the value to the ones listed.
func (s *Schema) Enum(values ...any) *Schema { return s.with("enum", slices.Clone(values)) }

// OneOf adds the demand that exactly one of the schemas accepts.
func (s *Schema) OneOf(schemas ...*Schema) *Schema { return s.with("oneOf", slices.Clone(schemas)) }

// AnyOf adds the demand that at least one of the schemas accepts.
func (s *Schema) AnyOf(schemas ...*Schema) *Schema { return s.with("anyOf", slices.Clone(schemas)) }

// Min sets the least number.
func (s *Schema) Min(n int64) *Schema { return s.with("minimum", n) }

// Max sets the greatest number.
func (s *Schema) Max(n int64) *Schema { return s.with("maximum", n) }

// MinNum and MaxNum set bounds that are no integers.
func (s *Schema) MinNum(n float64) *Schema { return s.with("minimum", n) }

// MaxNum sets an upper bound that is no integer.
func (s *Schema) MaxNum(n float64) *Schema { return s.with("maximum", n) }

// Range sets both bounds.
func (s *Schema) Range(least, most int64) *Schema { return s.Min(least).Max(most) }

// Items sets the schema of a list's members.
func (s *Schema) Items(items *Schema) *Schema { return s.with("items", items) }

// Tuple sets the schemas of a list's members one by one.
func (s *Schema) Tuple(items ...*Schema) *Schema {
	return s.with("items", slices.Clone(items))
}

// NoMoreItems refuses members beyond those of Tuple.
func (s *Schema) NoMoreItems() *Schema { return s.with("additionalItems", false) }

// MinItems sets a list's least length.
func (s *Schema) MinItems(n int) *Schema { return s.with("minItems", n) }

// MaxItems sets a list's greatest length.
func (s *Schema) MaxItems(n int) *Schema { return s.with("maxItems", n) }

// Unique refuses equal members.
func (s *Schema) Unique() *Schema { return s.with("uniqueItems", true) }

// Nullable adds null to the accepted types, and to the values where they are listed, as keystone/common/validation does.
func (s *Schema) Nullable() *Schema {
	out := s
	switch t := s.get("type").(type) {
	case string:
		out = out.with("type", []string{t, "null"})
	case []string:
		out = out.with("type", append(slices.Clone(t), "null"))
	}
	if values, ok := s.get("enum").([]any); ok && !slices.Contains(values, nil) {
		out = out.with("enum", append(slices.Clone(values), nil))
	}
	return out
}

// Set sets a keyword that checks nothing, such as a description. Some services print the schema in the error, so it counts.
func (s *Schema) Set(name string, value any) *Schema {
	if checked(name) {
		panic(fmt.Sprintf("schema: %q has its own method", name))
	}
	return s.with(name, value)
}

// with returns a copy with the keyword set, in its old place if it had one.
func (s *Schema) with(name string, arg any) *Schema {
	kws := slices.Clone(s.kws)
	if i := slices.IndexFunc(kws, func(k keyword) bool { return k.name == name }); i >= 0 {
		kws[i].arg = arg
	} else {
		kws = append(kws, keyword{name, arg})
	}
	return &Schema{kws}
}

func (s *Schema) get(name string) any {
	for i := range s.kws {
		if s.kws[i].name == name {
			return s.kws[i].arg
		}
	}
	return nil
}

func mustPattern(expr string) pattern {
	p, err := compilePattern(expr)
	if err != nil {
		panic(fmt.Sprintf("schema: pattern %q: %v", expr, err))
	}
	return p
}
