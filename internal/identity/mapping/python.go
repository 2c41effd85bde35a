package mapping

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// errNoValue is upstream's DirectMappingError.
var errNoValue = errors.New("refers to a remote match that does not exist (e.g. {0} in a local section)")

// format is Python's str.format of a text with values that are texts or lists of texts: {0} and {}, an index in brackets, the conversions !s and !r,
// and alignment. What Python would raise an error for is an error here too.
func format(text string, values []any) (string, error) {
	var b strings.Builder
	auto, manual := 0, false
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case strings.HasPrefix(text[i:], "{{"), strings.HasPrefix(text[i:], "}}"):
			b.WriteByte(c)
			i += 2
		case c == '}':
			return "", fmt.Errorf("%q: single '}' encountered in format string", text)
		case c == '{':
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				return "", fmt.Errorf("%q: expected '}' before end of string", text)
			}
			field := text[i+1 : i+end]
			i += end + 1
			v, err := replacement(field, values, &auto, &manual)
			if err != nil {
				return "", fmt.Errorf("%q: %w", text, err)
			}
			b.WriteString(v)
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), nil
}

// replacement is what a field such as "0", "0[1]!r:>10" stands for.
func replacement(field string, values []any, auto *int, manual *bool) (string, error) {
	name, spec, _ := strings.Cut(field, ":")
	name, conversion, converted := strings.Cut(name, "!")
	index := ""
	if at := strings.IndexAny(name, "[."); at >= 0 {
		name, index = name[:at], name[at:]
	}
	if name == "" {
		if *manual {
			return "", errors.New("cannot switch from manual field specification to automatic field numbering")
		}
		name = strconv.Itoa(*auto)
		*auto++
	} else {
		if *auto > 0 {
			return "", errors.New("cannot switch from automatic field numbering to manual field specification")
		}
		*manual = true
	}
	n, err := strconv.ParseUint(name, 10, 31)
	if err != nil {
		return "", fmt.Errorf("{%s} is not a number", field)
	}
	if n >= uint64(len(values)) {
		return "", errNoValue
	}
	v := values[n]
	for index != "" {
		inner, rest, ok := strings.Cut(strings.TrimPrefix(index, "["), "]")
		if index[0] != '[' || !ok {
			return "", fmt.Errorf("{%s}: only [number] may follow", field)
		}
		if v, err = element(v, inner); err != nil {
			return "", err
		}
		index = rest
	}
	_, isList := v.([]string)
	switch {
	case !converted || conversion == "s":
	case conversion == "r":
		v, isList = schema.PyRepr(plain(v)), false
	default:
		return "", fmt.Errorf("unknown conversion specifier %q", conversion)
	}
	if isList {
		if spec != "" && !converted {
			return "", errors.New("a list takes no format")
		}
		v = schema.PyRepr(plain(v))
	}
	return align(v.(string), spec)
}

// plain is a value as PyRepr wants it.
func plain(v any) any {
	list, ok := v.([]string)
	if !ok {
		return v
	}
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func element(v any, index string) (any, error) {
	n, err := strconv.ParseUint(index, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("index %q is not a number", index)
	}
	switch v := v.(type) {
	case []string:
		if n < uint64(len(v)) {
			return v[n], nil
		}
	case string:
		if r := []rune(v); n < uint64(len(r)) {
			return string(r[n]), nil
		}
	}
	return nil, errNoValue
}

// widest bounds what alignment may add.
const widest = 1000

// align applies [[fill]align][width][.precision][s].
func align(v, spec string) (string, error) {
	if spec == "" {
		return v, nil
	}
	whole := spec
	fill, dir := " ", byte('<')
	if r, n := utf8.DecodeRuneInString(spec); len(spec) > n && strings.IndexByte("<>^", spec[n]) >= 0 {
		fill, dir, spec = string(r), spec[n], spec[n+1:]
	} else if strings.IndexByte("<>^", spec[0]) >= 0 {
		dir, spec = spec[0], spec[1:]
	} else if spec[0] == '0' {
		fill, spec = "0", spec[1:]
	}
	spec = strings.TrimSuffix(spec, "s")
	width, precision, cut := strings.Cut(spec, ".")
	number := func(s string) (int, error) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n > widest {
			return 0, fmt.Errorf("invalid format specifier %q", whole)
		}
		return int(n), nil
	}
	if cut {
		n, err := number(precision)
		if err != nil {
			return "", err
		}
		if r := []rune(v); len(r) > n {
			v = string(r[:n])
		}
	}
	if width == "" {
		return v, nil
	}
	n, err := number(width)
	if err != nil {
		return "", err
	}
	missing := n - utf8.RuneCountInString(v)
	if missing <= 0 {
		return v, nil
	}
	left := map[byte]int{'<': 0, '>': missing, '^': missing / 2}[dir]
	return strings.Repeat(fill, left) + v + strings.Repeat(fill, missing-left), nil
}

// literalList reads the text of a Python list, as ast.literal_eval does; any other text is a list of itself.
func literalList(text string) []string {
	p := literal{rest: strings.TrimLeft(text, " \t")}
	list, ok := p.list()
	p.space()
	if !ok || p.rest != "" {
		return []string{text}
	}
	return list
}

// literal takes the text of a list of texts and numbers apart.
type literal struct{ rest string }

func (p *literal) space() {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n\f")
}

func (p *literal) take(s string) bool {
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *literal) list() ([]string, bool) {
	if !p.take("[") {
		return nil, false
	}
	out := []string{}
	for {
		p.space()
		if p.take("]") {
			return out, true
		}
		v, ok := p.element()
		if !ok {
			return nil, false
		}
		out = append(out, v)
		p.space()
		if p.take(",") {
			continue
		}
		return out, p.take("]")
	}
}

// element is a text, in several pieces perhaps, or a whole number, which is taken as text: names and ids are texts.
func (p *literal) element() (string, bool) {
	digits := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789"))
	if digits > 0 {
		v := p.rest[:digits]
		p.rest = p.rest[digits:]
		return v, v == "0" || v[0] != '0'
	}
	v, ok := p.text()
	for ok {
		p.space()
		if next := strings.TrimLeft(p.rest, "urUR"); next == "" || next[0] != '\'' && next[0] != '"' {
			break
		}
		var more string
		more, ok = p.text()
		v += more
	}
	return v, ok
}

// text is one quoted piece.
func (p *literal) text() (string, bool) {
	raw := false
	for _, prefix := range []string{"u", "U", "r", "R"} {
		if len(p.rest) > 1 && strings.HasPrefix(p.rest, prefix) && (p.rest[1] == '\'' || p.rest[1] == '"') {
			p.rest = p.rest[1:]
			raw = prefix == "r" || prefix == "R"
			break
		}
	}
	quote := ""
	for _, q := range []string{`'''`, `"""`, `'`, `"`} {
		if p.take(q) {
			quote = q
			break
		}
	}
	if quote == "" {
		return "", false
	}
	var b strings.Builder
	for p.rest != "" {
		if p.take(quote) {
			return b.String(), true
		}
		c := p.rest[0]
		switch {
		case c == '\n' && len(quote) == 1:
			return "", false
		case c == '\\' && raw:
			if len(p.rest) < 2 {
				return "", false
			}
			b.WriteString(p.rest[:2])
			p.rest = p.rest[2:]
		case c == '\\':
			s, ok := p.escape()
			if !ok {
				return "", false
			}
			b.WriteString(s)
		default:
			b.WriteByte(c)
			p.rest = p.rest[1:]
		}
	}
	return "", false
}

// escape is a backslash and what belongs to it.
func (p *literal) escape() (string, bool) {
	if len(p.rest) < 2 {
		return "", false
	}
	c := p.rest[1]
	number := func(digits, base int) (string, bool) {
		if len(p.rest) < digits {
			return "", false
		}
		n, err := strconv.ParseUint(p.rest[:digits], base, 32)
		if err != nil || n > utf8.MaxRune || n >= 0xd800 && n < 0xe000 {
			return "", false
		}
		p.rest = p.rest[digits:]
		return string(rune(n)), true
	}
	all := p.rest
	p.rest = p.rest[2:]
	switch c {
	case '\n':
		return "", true
	case '\\', '\'', '"':
		return string(c), true
	case 'a', 'b', 'f', 'n', 'r', 't', 'v':
		return map[byte]string{'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}[c], true
	case 'x':
		return number(2, 16)
	case 'u':
		return number(4, 16)
	case 'U':
		return number(8, 16)
	case 'N':
		return "", false // by name: nobody's group is written so
	}
	if c >= '0' && c <= '7' {
		p.rest = all[1:]
		n := 1
		for n < 3 && n < len(p.rest) && p.rest[n] >= '0' && p.rest[n] <= '7' {
			n++
		}
		return number(n, 8)
	}
	return all[:2], true // Python keeps the backslash of an escape that it does not know
}
