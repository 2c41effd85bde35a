package schema

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// number is a Python int or float.
type number struct {
	i *big.Int // nil for a float
	f float64
}

// asNumber reads a JSON number as Python's decoder does: without point and exponent it is an int, of any size.
func asNumber(v any) (number, bool) {
	switch v := v.(type) {
	case json.Number:
		return parseNumber(string(v))
	case int:
		return number{i: big.NewInt(int64(v))}, true
	case int64:
		return number{i: big.NewInt(v)}, true
	case float64:
		return number{f: v}, true
	}
	return number{}, false
}

func parseNumber(s string) (number, bool) {
	if !strings.ContainsAny(s, ".eE") {
		i, ok := new(big.Int).SetString(s, 10)
		return number{i: i}, ok
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return number{}, false
	}
	return number{f: f}, true
}

func (n number) isInt() bool { return n.i != nil }

// whole reports whether the value is an integer, whatever its type.
func (n number) whole() bool {
	return n.i != nil || n.f == math.Trunc(n.f) && !math.IsInf(n.f, 0)
}

// cmp compares exactly, as Python does between int and float. NaN compares as equal to everything, so that no bound refuses it.
func (n number) cmp(m number) int {
	switch {
	case n.i != nil && m.i != nil:
		return n.i.Cmp(m.i)
	case n.i == nil && m.i == nil:
		switch {
		case n.f < m.f:
			return -1
		case n.f > m.f:
			return 1
		}
		return 0
	case n.i == nil:
		return -m.cmp(n)
	}
	if math.IsNaN(m.f) {
		return 0
	}
	if math.IsInf(m.f, 0) {
		if m.f > 0 {
			return -1
		}
		return 1
	}
	return new(big.Float).SetInt(n.i).Cmp(big.NewFloat(m.f))
}

// repr is Python's repr of the number.
func (n number) repr() string {
	if n.i != nil {
		return n.i.String()
	}
	return floatRepr(n.f)
}

// key is the same text for equal numbers.
func (n number) key() string {
	if n.i == nil && n.whole() {
		i, _ := big.NewFloat(n.f).Int(nil)
		return i.String()
	}
	return n.repr()
}

func floatRepr(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	e := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	if f != 0 && (exp < -4 || exp >= 16) {
		return e
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// numberFromText reads what Python's int() and then float() make of a value, as nova and cinder do before they compare it with a bound.
func numberFromText(v any) (number, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return number{i: big.NewInt(1)}, true
		}
		return number{i: new(big.Int)}, true
	case string:
		s := strings.TrimFunc(v, isSpace)
		if isDigits(s) && len(s) <= maxDigits {
			return parseNumber(strings.ReplaceAll(strings.TrimPrefix(s, "+"), "_", ""))
		}
		if strings.ContainsAny(s, "xXpP") { // Go reads hexadecimal floats
			return number{}, false
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) {
			return number{}, false
		}
		return number{f: f}, true
	}
	n, ok := asNumber(v)
	if ok && !n.isInt() {
		if math.IsInf(n.f, 0) || math.IsNaN(n.f) {
			return n, true
		}
		i, _ := big.NewFloat(n.f).Int(nil)
		n = number{i: i}
	}
	return n, ok
}

// isDigits reports whether int() reads s: a sign, digits, single underscores between them.
func isDigits(s string) bool {
	s = strings.TrimLeft(s, "+-")
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") {
		return false
	}
	for _, r := range s {
		if (r < '0' || r > '9') && r != '_' {
			return false
		}
	}
	return true
}
