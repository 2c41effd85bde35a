package conf

import (
	"fmt"
	"strings"
)

// assignment is one option as the file gives it, with the line on which it starts.
type assignment struct {
	section, name, value string
	line                 int
}

// LineError is what is wrong with a file, and where.
type LineError struct {
	Line int
	Text string
}

func (e *LineError) Error() string { return fmt.Sprintf("%d: %s", e.Line, e.Text) }

func wrongLine(line int, format string, args ...any) error {
	return &LineError{line, fmt.Sprintf(format, args...)}
}

// readINI takes a file apart as oslo.config does (oslo_config/iniparser.py): comments are lines of their own that begin with # or ;,
// a line that begins with a blank continues the value before it, an empty line ends it, name and value are parted by the first = or :, and
// quotes around a whole value are dropped. Options before the first section belong to DEFAULT.
func readINI(text string) ([]assignment, error) {
	var out []assignment
	section, open := "DEFAULT", false
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		line = strings.TrimRight(line, " \t\r\f\v")
		switch {
		case line == "":
			open = false
		case line[0] == ' ' || line[0] == '\t':
			if !open {
				return nil, wrongLine(n, "the line begins with a blank, but there is no value that it could continue")
			}
			out[len(out)-1].value += "\n" + strings.TrimLeft(line, " \t")
		case line[0] == '[':
			open = false
			if !strings.HasSuffix(line, "]") {
				return nil, wrongLine(n, "the section's name must end with ]")
			}
			if section = strings.TrimSpace(line[1 : len(line)-1]); section == "" {
				return nil, wrongLine(n, "the section has no name")
			}
		case line[0] == '#' || line[0] == ';':
			open = false
		default:
			at := strings.IndexAny(line, "=:")
			if at < 0 {
				return nil, wrongLine(n, "%q is not name = value", line)
			}
			name := strings.TrimSpace(line[:at])
			if name == "" {
				return nil, wrongLine(n, "the value has no name")
			}
			out = append(out, assignment{section, name, unquote(strings.TrimSpace(line[at+1:])), n})
			open = true
		}
	}
	return out, nil
}

func unquote(v string) string {
	if len(v) > 1 && v[0] == v[len(v)-1] && (v[0] == '"' || v[0] == '\'') {
		return v[1 : len(v)-1]
	}
	return v
}

// plain resolves $$ and \$, which mean a dollar sign. oslo.config replaces $name by another option's value; that is refused here, since a
// value that means something else than it says is worse than an error.
func plain(v string) (string, error) {
	if !strings.Contains(v, "$") {
		return v, nil
	}
	v = strings.ReplaceAll(v, `\$`, "$$")
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if v[i] != '$' || i+1 == len(v) {
			b.WriteByte(v[i])
			continue
		}
		switch c := v[i+1]; {
		case c == '$':
			b.WriteByte('$')
			i++
		case c == '{' || c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			return "", fmt.Errorf("%q refers to another option, which is not supported; write $$ for a dollar sign", v[i:])
		default:
			b.WriteByte('$')
		}
	}
	return b.String(), nil
}
