package schema

import "fmt"

// Dialect is a service's way of validating: which draft, which formats, which error of several, and how it is worded.
type Dialect uint8

// The dialects. The network service does not use JSON schema.
const (
	Keystone Dialect = iota
	Nova
	Cinder
	Glance
	Placement
	// KeystoneAPI is keystone's second validator, which its routes ask before anything else (keystone/api/validation, since 2025.1).
	KeystoneAPI
)

// newDraft reports whether the dialect's schemas are read by the newest draft, which jsonschema.validate() falls back to, and not by draft 4.
func (d Dialect) newDraft() bool { return d == Glance || d == Placement || d == KeystoneAPI }

// textNumbers reports whether bounds also apply to numbers written as text (nova/api/validation/validators.py, and its copies).
func (d Dialect) textNumbers() bool { return d == Nova || d == Cinder || d == KeystoneAPI }

// Validate checks a decoded document (Decode's, or map[string]any with json.Number). It returns nil when the document is valid. Keystone, nova and cinder
// report the first error, glance, placement and keystone's routes jsonschema's best match.
func (d Dialect) Validate(s *Schema, v any) *Error {
	r := run{d: d, all: d.newDraft()}
	errs := r.errors(s, v)
	if len(errs) == 0 {
		return nil
	}
	e := errs[0]
	if r.all {
		e = bestMatch(errs)
	}
	e.finish()
	return e
}

// ValidateAll gives every error, in the order of the schema's keywords.
func (d Dialect) ValidateAll(s *Schema, v any) []*Error {
	errs := run{d: d, all: true}.errors(s, v)
	for _, e := range errs {
		e.finish()
	}
	return errs
}

type run struct {
	d   Dialect
	all bool // collect every error, not only the first
}

// errors returns v's errors in the order of the schema's keywords.
func (r run) errors(s *Schema, v any) []*Error {
	var all []*Error
	for i := range s.kws {
		k := &s.kws[i]
		errs := r.check(k, v, s)
		for _, e := range errs {
			if e.schema == nil {
				e.Keyword, e.Instance, e.schema, e.d = k.name, v, s, r.d
			}
			e.rschema = append(e.rschema, k.name)
		}
		if len(errs) > 0 && !r.all {
			return errs[:1]
		}
		all = append(all, errs...)
	}
	return all
}

// descend validates a part; path and at are its places in the document and the schema, nil where upstream adds none.
func (r run) descend(s *Schema, v, path, at any) []*Error {
	errs := r.errors(s, v)
	for _, e := range errs {
		if path != nil {
			e.rpath = append(e.rpath, path)
		}
		if at != nil {
			e.rschema = append(e.rschema, at)
		}
	}
	return errs
}

func (r run) valid(s *Schema, v any) bool {
	return len(run{d: r.d}.errors(s, v)) == 0
}

func fail(format string, args ...any) []*Error {
	return []*Error{{Message: fmt.Sprintf(format, args...)}}
}
