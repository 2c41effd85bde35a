package conf

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Load reads a file; a missing one is all defaults if it is optional. Errors name the file and the line.
func Load(path string, optional bool) (*Config, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && optional {
		return Default(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read identity options: %w", err)
	}
	c, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return c, nil
}

// Default is every option at its default.
func Default() *Config {
	c := &Config{}
	Defaults(c)
	return c
}

// Parse reads a file's text. Errors start with the line: "12: unknown option …".
func Parse(text string) (*Config, error) {
	c := Default()
	given, err := readINI(text)
	if err != nil {
		return nil, err
	}
	lines, err := fill(c, given)
	if err != nil {
		return nil, err
	}
	if name, err := c.check(); err != nil {
		return nil, wrongLine(max(lines[name], 1), "%s: %v", name, err)
	}
	return c, nil
}

// Defaults sets every option of dst, a pointer to a struct of sections, to its default.
func Defaults(dst any) {
	setDefaults(optionsOf(dst))
}

func setDefaults(options []Option) {
	for _, o := range options {
		if o.Default == "" {
			continue
		}
		if err := o.set(o.Default); err != nil {
			panic("default of [" + o.Section + "] " + o.Name + ": " + err.Error())
		}
	}
}

// fill sets what the file gives and tells on which line each option was.
func fill(dst any, given []assignment) (map[string]int, error) {
	for _, a := range given {
		addSection(dst, a.section)
	}
	options := optionsOf(dst)
	lines := map[string]int{}
	for _, a := range given {
		i := slices.IndexFunc(options, func(o Option) bool { return o.Section == a.section && o.Name == a.name })
		if i < 0 {
			if !slices.ContainsFunc(options, func(o Option) bool { return o.Section == a.section }) {
				return nil, wrongLine(a.line, "unknown section [%s]; docs/keystone-conf.md lists all options", a.section)
			}
			return nil, wrongLine(a.line, "unknown option %s in [%s]; docs/keystone-conf.md lists all options", a.name, a.section)
		}
		o := options[i]
		key := "[" + o.Section + "] " + o.Name
		v, err := plain(a.value)
		if err == nil {
			if o.multi && lines[key] == 0 {
				o.field.SetZero()
			}
			err = o.set(v)
		}
		if err != nil {
			return nil, wrongLine(a.line, "%s: %v", key, err)
		}
		lines[key] = a.line
	}
	return lines, nil
}

// Option is one option of the reference.
type Option struct {
	Section, Name, Type, Default, Doc string
	multi                             bool
	tag                               reflect.StructTag
	field                             reflect.Value
}

// optionsOf lists the options of a pointer to a struct of sections, in its order.
func optionsOf(dst any) []Option {
	var out []Option
	v := reflect.ValueOf(dst).Elem()
	for i := range v.NumField() {
		section := v.Type().Field(i).Tag.Get("section")
		if v.Field(i).Kind() != reflect.Map {
			out = append(out, sectionOptions(section, v.Field(i))...)
			continue
		}
		named := v.Field(i)
		keys := named.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			out = append(out, sectionOptions(section+":"+k.String(), named.MapIndex(k).Elem())...)
		}
	}
	return out
}

func sectionOptions(section string, v reflect.Value) (out []Option) {
	for j := range v.NumField() {
		f := v.Type().Field(j)
		o := Option{Section: section, Name: f.Tag.Get("opt"), Default: f.Tag.Get("default"), Doc: f.Tag.Get("doc"), multi: f.Tag.Get("multi") != "", tag: f.Tag, field: v.Field(j)}
		o.Type = o.typeName()
		out = append(out, o)
	}
	return out
}

// addSection makes room for a section with a name of its own, at its defaults.
func addSection(dst any, section string) {
	kind, name, ok := strings.Cut(section, ":")
	if !ok || name == "" {
		return
	}
	v := reflect.ValueOf(dst).Elem()
	for i := range v.NumField() {
		m := v.Field(i)
		if m.Kind() != reflect.Map || v.Type().Field(i).Tag.Get("section") != kind {
			continue
		}
		if m.IsNil() {
			m.Set(reflect.MakeMap(m.Type()))
		}
		if key := reflect.ValueOf(name); !m.MapIndex(key).IsValid() {
			fresh := reflect.New(m.Type().Elem().Elem())
			setDefaults(sectionOptions(section, fresh.Elem()))
			m.SetMapIndex(key, fresh)
		}
	}
}

func (o Option) typeName() string {
	if _, ok := o.field.Interface().(time.Duration); ok {
		return o.tag.Get("unit")
	}
	switch o.field.Kind() {
	case reflect.Slice:
		if o.multi {
			return "text, may be repeated"
		}
		return "list with commas"
	case reflect.Bool:
		return "boolean"
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	}
	return "text"
}

// set reads a value; an empty one means not set, as a missing one does.
func (o Option) set(v string) error {
	if list := o.tag.Get("choices"); list != "" && !slices.Contains(strings.Split(list, ","), v) {
		return fmt.Errorf("%q is none of %s", v, strings.ReplaceAll(list, ",", ", "))
	}
	if u, ok := o.field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(v))
	}
	if v == "" && o.field.Kind() != reflect.Slice {
		o.field.SetZero()
		return nil
	}
	if _, ok := o.field.Interface().(time.Duration); ok {
		return o.setDuration(v)
	}
	switch o.field.Kind() {
	case reflect.String:
		o.field.SetString(v)
	case reflect.Bool:
		return o.setBool(v)
	case reflect.Int:
		n, err := o.number(v)
		o.field.SetInt(n)
		return err
	case reflect.Float64:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		o.field.SetFloat(f)
	case reflect.Slice:
		o.setList(v)
	default:
		panic("options cannot be of type " + o.field.Type().String())
	}
	return nil
}

func (o Option) setBool(v string) error {
	switch strings.ToLower(v) {
	case "true", "1", "on", "yes":
		o.field.SetBool(true)
	case "false", "0", "off", "no":
		o.field.SetBool(false)
	default:
		return fmt.Errorf("%q is not true or false", v)
	}
	return nil
}

// number reads a whole number within the tags min and max.
func (o Option) number(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", v)
	}
	for _, bound := range []string{"min", "max"} {
		text := o.tag.Get(bound)
		if text == "" {
			continue
		}
		limit, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		if bound == "min" && n < limit {
			return 0, fmt.Errorf("%d is less than %d", n, limit)
		}
		if bound == "max" && n > limit {
			return 0, fmt.Errorf("%d is more than %d", n, limit)
		}
	}
	return n, nil
}

func (o Option) setDuration(v string) error {
	unit, ok := map[string]time.Duration{"seconds": time.Second, "minutes": time.Minute, "days": 24 * time.Hour}[o.tag.Get("unit")]
	if !ok {
		panic("[" + o.Section + "] " + o.Name + " has no unit")
	}
	n, err := o.number(v)
	if err != nil {
		return err
	}
	if n > int64(100*365*24*time.Hour/unit) || n < -int64(100*365*24*time.Hour/unit) {
		return fmt.Errorf("%d %s are more than a century", n, o.tag.Get("unit"))
	}
	o.field.SetInt(n * int64(unit))
	return nil
}

func (o Option) setList(v string) {
	if o.multi {
		o.field.Set(reflect.Append(o.field, reflect.ValueOf(v)))
		return
	}
	var list []string
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, unquote(part))
		}
	}
	o.field.Set(reflect.ValueOf(list))
}

// text is an option's present value as the file would give it.
func (o Option) text() string {
	if d, ok := o.field.Interface().(time.Duration); ok {
		if d == 0 && o.Default == "" {
			return ""
		}
		unit := map[string]time.Duration{"seconds": time.Second, "minutes": time.Minute, "days": 24 * time.Hour}[o.tag.Get("unit")]
		return strconv.FormatInt(int64(d/unit), 10)
	}
	switch o.field.Kind() {
	case reflect.Slice:
		list, _ := o.field.Interface().([]string)
		return strings.Join(list, ",")
	case reflect.Int:
		if o.field.Int() == 0 && o.Default == "" {
			return ""
		}
	}
	return escape(fmt.Sprint(o.field.Interface()))
}

// escape writes a value so that it is read as it is.
func escape(v string) string { return strings.ReplaceAll(v, "$", "$$") }
