package schema

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// pformat is Python's pprint.pformat with its defaults and a width.
func pformat(v any, width int) string {
	p := &printer{width: width}
	p.format(view(v), 0, 0, 0)
	return p.b.String()
}

type printer struct {
	b     strings.Builder
	width int
}

func sortedRepr(v any) string {
	var b strings.Builder
	writeRepr(&b, v, true)
	return b.String()
}

func (p *printer) format(v any, indent, allowance, level int) {
	v = view(v)
	rep := sortedRepr(v)
	if utf8.RuneCountInString(rep) > p.width-indent-allowance {
		switch v := v.(type) {
		case *Dict:
			p.object(v, indent, allowance+1, level+1)
			return
		case []any:
			p.list(v, indent, allowance+1, level+1)
			return
		case string:
			p.text(v, indent, allowance, level+1)
			return
		}
	}
	p.b.WriteString(rep)
}

func (p *printer) object(o *Dict, indent, allowance, level int) {
	p.b.WriteByte('{')
	indent++
	for i, n := range pyNames(o, true) {
		if i > 0 {
			p.newline(",", indent)
		}
		rep := PyRepr(n)
		p.b.WriteString(rep + ": ")
		p.format(o.values[n], indent+utf8.RuneCountInString(rep)+2, p.room(i, len(o.names), allowance), level)
	}
	p.b.WriteByte('}')
}

func (p *printer) list(l []any, indent, allowance, level int) {
	p.b.WriteByte('[')
	indent++
	for i, e := range l {
		if i > 0 {
			p.newline(",", indent)
		}
		p.format(e, indent, p.room(i, len(l), allowance), level)
	}
	p.b.WriteByte(']')
}

// room is what must stay free behind a member: the closing brackets after the last, a comma after the others.
func (p *printer) room(i, n, allowance int) int {
	if i == n-1 {
		return allowance
	}
	return 1
}

func (p *printer) newline(before string, indent int) {
	p.b.WriteString(before + "\n" + strings.Repeat(" ", indent))
}

// text breaks a long string into literals at white space.
func (p *printer) text(s string, indent, allowance, level int) {
	if level == 1 {
		indent++
		allowance++
	}
	chunks := chunk(s, p.width-indent, allowance)
	if len(chunks) == 1 {
		p.b.WriteString(chunks[0])
		return
	}
	if level == 1 {
		p.b.WriteByte('(')
	}
	for i, c := range chunks {
		if i > 0 {
			p.newline("", indent)
		}
		p.b.WriteString(c)
	}
	if level == 1 {
		p.b.WriteByte(')')
	}
}

func chunk(s string, width, allowance int) []string {
	var chunks []string
	lines := splitLines(s)
	for i, line := range lines {
		lastLine := i == len(lines)-1
		most := width
		if lastLine {
			most -= allowance
		}
		if rep := PyRepr(line); utf8.RuneCountInString(rep) <= most {
			chunks = append(chunks, rep)
			continue
		}
		most = width
		current := ""
		words := splitWords(line)
		for j, w := range words {
			if lastLine && j == len(words)-1 {
				most -= allowance
			}
			if utf8.RuneCountInString(PyRepr(current+w)) > most {
				if current != "" {
					chunks = append(chunks, PyRepr(current))
				}
				current = w
			} else {
				current += w
			}
		}
		if current != "" {
			chunks = append(chunks, PyRepr(current))
		}
	}
	return chunks
}

// splitLines is str.splitlines(True).
func splitLines(s string) []string {
	var lines []string
	rs := []rune(s)
	start := 0
	for i := 0; i < len(rs); i++ {
		if !slices.Contains([]rune{'\n', '\r', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029}, rs[i]) {
			continue
		}
		if rs[i] == '\r' && i+1 < len(rs) && rs[i+1] == '\n' {
			i++
		}
		lines = append(lines, string(rs[start:i+1]))
		start = i + 1
	}
	if start < len(rs) {
		lines = append(lines, string(rs[start:]))
	}
	return lines
}

// splitWords is re.findall(r'\S*\s*'): words with the white space behind them.
func splitWords(s string) []string {
	var words []string
	rs := []rune(s)
	for start := 0; start < len(rs); {
		i := start
		for i < len(rs) && !isSpace(rs[i]) {
			i++
		}
		for i < len(rs) && isSpace(rs[i]) {
			i++
		}
		words = append(words, string(rs[start:i]))
		start = i
	}
	return words
}
