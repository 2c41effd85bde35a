package schema

import (
	"regexp"
	"strings"
)

// What Python's \s and \S mean inside a class; RE2's own are ASCII only.
const (
	spaceClass    = `\t-\r\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`
	nonSpaceClass = `\x{0}-\x{8}\x{e}-\x{1b}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}` +
		`\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff}`
	wordClass  = `\p{L}\p{N}_`
	digitClass = `\p{Nd}`
)

// compilePattern compiles an expression in Python's syntax. What RE2 reads differently is rewritten: `$` also stands before a final newline, and the
// letter classes are Unicode's. Of look-around only `^(?! )` and `(?<! )$` together are known; the other schemas that use it are formats here.
func compilePattern(expr string) (pattern, error) {
	rest, ahead := strings.CutPrefix(expr, "^(?! )")
	rest, behind := strings.CutSuffix(rest, "(?<! )$")
	if ahead && behind {
		re, err := rewrite("^" + rest + "$")
		return pattern{text: expr, re: re, trimmed: true}, err
	}
	re, err := rewrite(expr)
	return pattern{text: expr, re: re}, err
}

func rewrite(expr string) (*regexp.Regexp, error) {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(expr); i++ {
		c := expr[i]
		if c == '\\' && i+1 < len(expr) {
			i++
			b.WriteString(pyEscape(expr[i], inClass))
			continue
		}
		switch {
		case inClass:
			inClass = c != ']'
		case c == '[':
			inClass = true
			b.WriteByte(c)
			for _, first := range []string{"^", "]"} { // a bracket in first place is itself
				if strings.HasPrefix(expr[i+1:], first) {
					i++
					b.WriteString(map[string]string{"^": "^", "]": `\]`}[first])
				}
			}
			continue
		case c == '$':
			b.WriteString(`(?:\n?\z)`)
			continue
		}
		if inClass && c == '[' {
			b.WriteByte('\\') // or RE2 may take it for a POSIX class
		}
		b.WriteByte(c)
	}
	return regexp.Compile(b.String())
}

func pyEscape(c byte, inClass bool) string {
	wrap := func(set string) string {
		if inClass {
			return set
		}
		return "[" + set + "]"
	}
	switch c {
	case 's':
		return wrap(spaceClass)
	case 'S':
		return wrap(nonSpaceClass)
	case 'w':
		return wrap(wordClass)
	case 'd':
		return wrap(digitClass)
	case 'Z':
		return `\z`
	}
	return `\` + string(c)
}
