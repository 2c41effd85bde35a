package schema

import "net/url"

// ValidateQuery checks a query string. Nova's schemas see every parameter as a list of its values, placement's as its last value, keystone's as its first.
func (d Dialect) ValidateQuery(s *Schema, query url.Values) *Error {
	doc := make(map[string]any, len(query))
	for name, values := range query {
		if d == Placement {
			if n := len(values); n > 0 {
				doc[name] = values[n-1]
			}
			continue
		}
		if d == KeystoneAPI && len(values) > 0 {
			doc[name] = values[0]
			continue
		}
		doc[name] = values
	}
	e := d.Validate(s, doc)
	if e != nil {
		e.query = true
	}
	return e
}

// Declares reports whether a schema names a property or has a pattern for it: nova drops other query parameters where it does not refuse them.
func (s *Schema) Declares(name string) bool {
	if s.Prop(name) != nil {
		return true
	}
	patterns, _ := s.get("patternProperties").([]patternProperty)
	for _, p := range patterns {
		if loc := p.re.FindStringIndex(name); loc != nil && loc[0] == 0 {
			return true
		}
	}
	return false
}
