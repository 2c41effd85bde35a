package schema

import "slices"

// checkObject applies a keyword of objects.
func (r run) checkObject(k *keyword, v any, o object, s *Schema) []*Error {
	switch k.name {
	case "properties":
		return r.checkProperties(k.arg.([]Property), o)
	case "patternProperties":
		return r.checkPatternProperties(k.arg.([]patternProperty), o)
	case "additionalProperties":
		return r.checkAdditional(k.arg, o, s)
	case "required":
		var all []*Error
		for _, n := range k.arg.([]string) {
			if _, ok := o.get(n); !ok {
				all = append(all, fail("%s is a required property", PyRepr(n))...)
			}
		}
		return all
	case "dependencies":
		if r.d.newDraft() { // the newest draft has split the keyword, and ignores it
			return nil
		}
		return checkDependencies(k.arg.([]dependency), o)
	case "dependentRequired":
		return checkDependencies(k.arg.([]dependency), o)
	case "minProperties":
		if len(o.names) < k.arg.(int) {
			return fail("%s does not have enough properties", PyRepr(v))
		}
	case "maxProperties":
		if len(o.names) > k.arg.(int) {
			return fail("%s has too many properties", PyRepr(v))
		}
	}
	return nil
}

func (r run) checkProperties(props []Property, o object) []*Error {
	var all []*Error
	for i := range props {
		x, ok := o.get(props[i].Name)
		if !ok {
			continue
		}
		errs := r.errors(props[i].Schema, x)
		if len(errs) == 0 {
			continue
		}
		for _, e := range errs {
			e.rpath = append(e.rpath, props[i].Name)
			e.rschema = append(e.rschema, props[i].Name)
		}
		if !r.all {
			return errs
		}
		all = append(all, errs...)
	}
	return all
}

func (r run) checkPatternProperties(props []patternProperty, o object) []*Error {
	var all []*Error
	for _, p := range props {
		for _, n := range o.names {
			if !p.match(n) {
				continue
			}
			x, _ := o.get(n)
			errs := r.descend(p.s, x, n, p.text)
			if len(errs) > 0 && !r.all {
				return errs
			}
			all = append(all, errs...)
		}
	}
	return all
}

// checkAdditional looks at the properties that neither a name nor a pattern covers. Upstream walks them in a set's order, which is random for several; here
// it is the document's.
func (r run) checkAdditional(arg any, o object, s *Schema) []*Error {
	if arg == true {
		return nil
	}
	props, _ := s.get("properties").([]Property)
	patterns, hasPatterns := s.get("patternProperties").([]patternProperty)
	var more []string
	for _, n := range o.names {
		if !slices.ContainsFunc(props, func(p Property) bool { return p.Name == n }) &&
			!slices.ContainsFunc(patterns, func(p patternProperty) bool { return p.match(n) }) {
			more = append(more, n)
		}
	}
	if len(more) == 0 {
		return nil
	}
	if t, ok := arg.(*Schema); ok {
		var all []*Error
		for _, n := range more {
			x, _ := o.get(n)
			errs := r.descend(t, x, n, nil)
			if len(errs) > 0 && !r.all {
				return errs
			}
			all = append(all, errs...)
		}
		return all
	}
	slices.Sort(more)
	if !hasPatterns {
		return fail("Additional properties are not allowed (%s unexpected)", extras(more))
	}
	verb := "do"
	if len(more) == 1 {
		verb = "does"
	}
	exprs := make([]string, len(patterns))
	for i, p := range patterns {
		exprs[i] = p.text
	}
	slices.Sort(exprs)
	return fail("%s %s not match any of the regexes: %s", reprList(more), verb, reprList(exprs))
}

func checkDependencies(deps []dependency, o object) []*Error {
	var all []*Error
	for _, d := range deps {
		if _, ok := o.get(d.name); !ok {
			continue
		}
		for _, n := range d.on {
			if _, ok := o.get(n); !ok {
				all = append(all, fail("%s is a dependency of %s", PyRepr(n), PyRepr(d.name))...)
			}
		}
	}
	return all
}
