package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// How a requirement judges the values of its attribute.
const (
	anyOneOf  = "any_one_of"
	notAnyOf  = "not_any_of"
	blacklist = "blacklist"
	whitelist = "whitelist"
)

// requirement is one remote part: the attribute that must be there, and what of it counts.
type requirement struct {
	attribute string
	kind      string // one of the four, or empty: all values
	values    []string
	patterns  []*regexp2.Regexp // instead of values
}

// matchTime bounds the match of one value: rules are Python's regular expressions, and values come from outside.
const matchTime = 100 * time.Millisecond

func compileRequirement(v any) (requirement, error) {
	d, _ := v.(map[string]any)
	q := requirement{attribute: str(d, "type")}
	for _, kind := range []string{anyOneOf, notAnyOf, blacklist, whitelist} {
		list, ok := d[kind].([]any)
		if !ok {
			continue
		}
		q.kind = kind
		regex, _ := d["regex"].(bool)
		for _, e := range list {
			s, isText := e.(string)
			switch {
			case regex && !isText:
				return q, fmt.Errorf("%s: %v is not a regular expression", kind, e)
			case regex:
				re, err := compilePattern(s)
				if err != nil {
					return q, fmt.Errorf("%s: %q is not a regular expression: %w", kind, s, err)
				}
				q.patterns = append(q.patterns, re)
			case isText: // nothing else can equal a value
				q.values = append(q.values, s)
			}
		}
		if regex {
			q.values = nil
			if q.patterns == nil {
				q.patterns = []*regexp2.Regexp{}
			}
		}
		break
	}
	return q, nil
}

// compilePattern compiles an expression of Python's re; what is written otherwise here is rewritten.
func compilePattern(expr string) (*regexp2.Regexp, error) {
	var b strings.Builder
	for rest := expr; rest != ""; {
		switch {
		case strings.HasPrefix(rest, `\Z`):
			b.WriteString(`\z`)
			rest = rest[2:]
		case rest[0] == '\\' && len(rest) > 1:
			b.WriteString(rest[:2])
			rest = rest[2:]
		case strings.HasPrefix(rest, "(?P<"):
			b.WriteString("(?<")
			rest = rest[4:]
		case strings.HasPrefix(rest, "(?P="):
			name, after, _ := strings.Cut(rest[4:], ")")
			b.WriteString(`\k<` + name + ">")
			rest = after
		default:
			b.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	re, err := regexp2.Compile(b.String(), regexp2.None)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchTime
	return re, nil
}

// match compares a rule's remote parts with an assertion. direct are the values that {0}, {1}, … stand for: a text, or a list of them.
func (r rule) match(assertion map[string][]string) (direct []any, ok bool, err error) {
	for _, q := range r.remote {
		values := assertion[q.attribute]
		if len(values) == 0 {
			return nil, false, nil
		}
		if q.kind != "" {
			hits, err := q.hits(values)
			if err != nil {
				return nil, false, err
			}
			switch q.kind {
			case anyOneOf, notAnyOf:
				if (len(hits) > 0) != (q.kind == anyOneOf) {
					return nil, false, nil
				}
				continue
			case blacklist:
				values = distinct(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return slices.Contains(hits, v) }))
			case whitelist:
				values = hits
			}
		}
		if len(values) == 1 {
			direct = append(direct, values[0])
		} else {
			direct = append(direct, values)
		}
	}
	return direct, true, nil
}

// hits are the values that the requirement names. Upstream's are a set, or with regular expressions a list.
func (q requirement) hits(values []string) ([]string, error) {
	var out []string
	if q.patterns == nil {
		for _, v := range distinct(values) {
			if slices.Contains(q.values, v) {
				out = append(out, v)
			}
		}
		return out, nil
	}
	for _, v := range values {
		for _, re := range q.patterns {
			ok, err := re.MatchString(v)
			if err != nil {
				return nil, errors.Join(noMatch("a value of %s takes too long to match %q", q.attribute, re.String()), err)
			}
			if ok {
				out = append(out, v)
				break
			}
		}
	}
	return out, nil
}

// distinct keeps the first of equal values.
func distinct(values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
