package policy

import (
	"errors"
	"fmt"
	"strings"
)

// template is the right side of a check: text with %(name)s places, filled from the target.
type template []part

type part struct {
	text string // literal text, or the attribute's name
	attr bool
}

func parseTemplate(s string) (template, error) {
	var t template
	lit := func(s string) {
		if s == "" {
			return
		}
		if n := len(t); n > 0 && !t[n-1].attr {
			t[n-1].text += s
			return
		}
		t = append(t, part{text: s})
	}
	for {
		before, after, ok := strings.Cut(s, "%")
		lit(before)
		if !ok {
			return t, nil
		}
		switch {
		case strings.HasPrefix(after, "%"):
			lit("%")
			s = after[1:]
		case strings.HasPrefix(after, "("):
			name, rest, ok := strings.Cut(after[1:], ")")
			if !ok || !strings.HasPrefix(rest, "s") {
				return nil, fmt.Errorf("in %q a place is not of the form %%(name)s", s)
			}
			t = append(t, part{text: name, attr: true})
			s = rest[1:]
		default:
			return nil, errors.New("a % is followed by neither (name)s nor %")
		}
	}
}

// equals reports whether the filled template is want. An absent attribute equals nothing.
func (t template) equals(target Target, want string) bool {
	if len(t) == 1 && t[0].attr {
		v, ok := attr(target, t[0].text)
		return ok && equalText(v, want)
	}
	s, ok := t.fill(target)
	return ok && s == want
}

func (t template) fill(target Target) (string, bool) {
	if len(t) == 1 && !t[0].attr {
		return t[0].text, true
	}
	var b strings.Builder
	for _, p := range t {
		if !p.attr {
			b.WriteString(p.text)
			continue
		}
		v, ok := attr(target, p.text)
		if !ok {
			return "", false
		}
		b.WriteString(text(v))
	}
	return b.String(), true
}

// static returns the text of a template without places.
func (t template) static() (string, bool) {
	switch {
	case len(t) == 0:
		return "", true
	case len(t) == 1 && !t[0].attr:
		return t[0].text, true
	}
	return "", false
}

func attr(t Target, name string) (any, bool) {
	if t == nil {
		return nil, false
	}
	return t.Attr(name)
}
