package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Error is a document's fault. Path leads to the part at fault; Message is jsonschema's about it; Error is what the service answers.
type Error struct {
	Path     []any // names and indexes
	Message  string
	Keyword  string
	Instance any

	d              Dialect
	query          bool
	schema         *Schema
	rpath, rschema []any // from the inside out
	context        []*Error
	detail         string // a format's own words, which replace the whole text
}

func (e *Error) finish() {
	e.Path = slices.Clone(e.rpath)
	slices.Reverse(e.Path)
	e.hide()
}

// Error is the text that the dialect's service puts into its answer.
func (e *Error) Error() string {
	switch {
	case e.d == Nova && e.query:
		return e.NovaQueryMessage()
	case e.d == Nova:
		return e.NovaMessage()
	case e.d == Cinder, e.d == KeystoneAPI: // keystone's is a copy, which says the same of queries
		return e.CinderMessage()
	case e.d == Keystone:
		return e.KeystoneMessage()
	case e.d == Placement && e.query:
		return e.PlacementQueryMessage()
	case e.d == Placement:
		return e.PlacementMessage()
	}
	return e.Verbose()
}

// NovaMessage is the text of nova/api/validation/validators.py for a body.
func (e *Error) NovaMessage() string {
	return e.wsme("Invalid input for field/attribute", false)
}

// NovaQueryMessage is the same for a query string: it names the parameter, not the index among its values.
func (e *Error) NovaQueryMessage() string {
	return e.wsme("Invalid input for query parameters", true)
}

// CinderMessage is the text of cinder/api/validation/validators.py.
func (e *Error) CinderMessage() string {
	return e.wsme("Invalid input for field/attribute", false)
}

func (e *Error) wsme(what string, first bool) string {
	switch {
	case e.detail != "":
		return e.detail
	case len(e.Path) == 0:
		return e.Message
	}
	at := e.Path[len(e.Path)-1]
	if first {
		at = e.Path[0]
	}
	return fmt.Sprintf("%s %v. Value: %s. %s", what, at, PyStr(e.Instance), e.Message)
}

// KeystoneMessage is the text of keystone/common/validation/validators.py.
func (e *Error) KeystoneMessage() string {
	if len(e.Path) == 0 {
		return e.Verbose()
	}
	at := make([]string, len(e.Path))
	for i, p := range e.Path {
		at[i] = fmt.Sprint(p)
	}
	return fmt.Sprintf("Invalid input for field '%s': %s", strings.Join(at, "/"), e.Verbose())
}

// GlanceMessage is the text of glance's InvalidObject for the schema of that name.
func (e *Error) GlanceMessage(name string) string {
	return fmt.Sprintf("Provided object does not match schema '%s': %s", name, e.Verbose())
}

// PlacementMessage is the text of placement/util.py for a body.
func (e *Error) PlacementMessage() string { return "JSON does not validate: " + e.Verbose() }

// PlacementQueryMessage is the text of placement/util.py for a query string.
func (e *Error) PlacementQueryMessage() string {
	return "Invalid query string parameters: " + e.Verbose()
}

// Verbose is jsonschema's str() of the error: the message, the schema at fault and the value, pretty-printed (jsonschema/exceptions.py).
func (e *Error) Verbose() string {
	var at, path strings.Builder
	for i := len(e.rschema) - 1; i >= 1; i-- {
		fmt.Fprintf(&at, "[%s]", PyRepr(e.rschema[i]))
	}
	for _, p := range e.Path {
		fmt.Fprintf(&path, "[%s]", PyRepr(p))
	}
	indent := func(v any) string { return strings.ReplaceAll(pformat(v, 72), "\n", "\n    ") }
	return fmt.Sprintf("%s\n\nFailed validating %s in schema%s:\n    %s\n\nOn instance%s:\n    %s",
		e.Message, PyRepr(e.Keyword), at.String(), indent(e.schema), path.String(), indent(e.Instance))
}

// relevance orders errors as jsonschema's best_match does; greater is better.
type relevance struct {
	depth            int // negative
	strong, mismatch bool
}

func (e *Error) relevance() relevance {
	return relevance{-len(e.rpath), e.Keyword != "anyOf" && e.Keyword != "oneOf", !e.matchesType()}
}

func (a relevance) compare(b relevance) int {
	switch {
	case a.depth != b.depth:
		return a.depth - b.depth
	case a.strong != b.strong:
		return sign(a.strong)
	case a.mismatch != b.mismatch:
		return sign(a.mismatch)
	}
	return 0
}

func sign(greater bool) int {
	if greater {
		return 1
	}
	return -1
}

func (e *Error) matchesType() bool {
	r := run{d: e.d}
	switch t := e.schema.get("type").(type) {
	case string:
		return r.isType(e.Instance, t)
	case []string:
		return slices.ContainsFunc(t, func(t string) bool { return r.isType(e.Instance, t) })
	}
	return false
}

// bestMatch picks the error that jsonschema.validate() raises: the shallowest, and below an anyOf or oneOf the deepest unless it is undecided.
func bestMatch(errs []*Error) *Error {
	best := errs[0]
	for _, e := range errs[1:] {
		if e.relevance().compare(best.relevance()) > 0 {
			best = e
		}
	}
	for len(best.context) > 0 {
		c := slices.Clone(best.context)
		slices.SortStableFunc(c, func(a, b *Error) int { return a.relevance().compare(b.relevance()) })
		if len(c) > 1 && c[0].relevance() == c[1].relevance() {
			return best
		}
		best = c[0]
	}
	return best
}
