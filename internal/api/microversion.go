package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/fault"
)

// Version is a microversion.
type Version struct{ Major, Minor int }

// String is "2.96".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Before orders versions.
func (v Version) Before(o Version) bool {
	return v.Major < o.Major || v.Major == o.Major && v.Minor < o.Minor
}

// ParseVersion reads "2.96".
func ParseVersion(s string) (Version, bool) {
	a, b, ok := strings.Cut(s, ".")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	canonical := fmt.Sprintf("%d.%d", major, minor) == s
	return Version{major, minor}, ok && err1 == nil && err2 == nil && canonical && major >= 1 && minor >= 0
}

// MustVersion is ParseVersion for constants.
func MustVersion(s string) Version {
	v, ok := ParseVersion(s)
	if !ok {
		panic("not a version: " + s)
	}
	return v
}

// Range is an inclusive range of versions; a zero end is open.
type Range struct{ From, To Version }

// MustRange reads "2.19-", "2.1-2.101", "-2.35" or "2.5"; for constants.
func MustRange(s string) Range {
	from, to, open := strings.Cut(s, "-")
	var r Range
	if from != "" {
		r.From = MustVersion(from)
	}
	if to != "" {
		r.To = MustVersion(to)
	}
	if !open {
		r.To = r.From
	}
	return r
}

// Has tells whether v is in the range.
func (r Range) Has(v Version) bool {
	return !v.Before(r.From) && (r.To == Version{} || !r.To.Before(v))
}

// String is what MustRange reads.
func (r Range) String() string {
	if r == (Range{}) {
		return ""
	}
	s := r.From.String() + "-"
	if r.To != (Version{}) {
		s += r.To.String()
	}
	return s
}

// Microversions says how a service negotiates.
type Microversions struct {
	Service  string // in OpenStack-API-Version: "compute 2.96"
	Legacy   string // an older header with the bare version (X-OpenStack-Nova-API-Version), or empty
	Min, Max Version
	// Invalid makes the answer to a header that is no version (400) and NotSupported to one out of range (406).
	Invalid      func(header string) *fault.Error
	NotSupported func(v Version) *fault.Error
	// Applies may exempt paths (nova's and placement's roots answer without negotiation); nil: all.
	Applies func(path string) bool
}

// negotiate reads the request's version and sets the answer's headers. OpenStack-API-Version goes before the older header.
func (m *Microversions) negotiate(w http.ResponseWriter, r *http.Request) (Version, *fault.Error) {
	h := w.Header()
	h.Add("Vary", "OpenStack-API-Version")
	if m.Legacy != "" {
		h.Add("Vary", m.Legacy)
	}
	asked := ""
	for _, line := range r.Header.Values("OpenStack-API-Version") {
		for part := range strings.SplitSeq(line, ",") {
			f := strings.Fields(part)
			if len(f) == 2 && strings.EqualFold(f[0], m.Service) {
				asked = f[1]
			}
		}
	}
	if asked == "" && m.Legacy != "" {
		asked = strings.TrimSpace(r.Header.Get(m.Legacy))
	}
	v := m.Min
	switch {
	case asked == "":
	case strings.EqualFold(asked, "latest"):
		v = m.Max
	default:
		var ok bool
		if v, ok = ParseVersion(asked); !ok {
			return m.Min, m.Invalid(asked)
		}
		if v.Before(m.Min) || m.Max.Before(v) {
			return v, m.NotSupported(v)
		}
	}
	h.Set("OpenStack-API-Version", m.Service+" "+v.String())
	if m.Legacy != "" {
		h.Set(m.Legacy, v.String())
	}
	return v, nil
}
