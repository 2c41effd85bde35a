package compute

import (
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"
)

// docWriter appends one JSON object. Documents of servers are written by hand: reflection over sixty fields would cost more than the query.
type docWriter struct {
	b []byte
}

func (w *docWriter) open() { w.b = append(w.b, '{') }

func (w *docWriter) shut() { w.b = append(w.b, '}') }

func (w *docWriter) key(k string) {
	if n := len(w.b); n > 0 && w.b[n-1] != '{' && w.b[n-1] != '[' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, k...) // keys are constants without anything to escape
	w.b = append(w.b, '"', ':')
}

func (w *docWriter) str(k, v string) { w.key(k); w.text(v) }

// strOrNull writes an empty text as null.
func (w *docWriter) strOrNull(k, v string) {
	if v == "" {
		w.raw(k, "null")
		return
	}
	w.str(k, v)
}

func (w *docWriter) ptr(k string, v *string) {
	if v == nil {
		w.raw(k, "null")
		return
	}
	w.str(k, *v)
}

func (w *docWriter) int(k string, v int64) { w.key(k); w.b = strconv.AppendInt(w.b, v, 10) }

func (w *docWriter) bool(k string, v bool) { w.key(k); w.b = strconv.AppendBool(w.b, v) }

func (w *docWriter) raw(k, v string) { w.key(k); w.b = append(w.b, v...) }

// texts writes an object of texts, sorted, or a list of them.
func (w *docWriter) texts(k string, m map[string]string) {
	w.key(k)
	w.open()
	keys := make([]string, 0, len(m))
	for n := range m {
		keys = append(keys, n)
	}
	slices.Sort(keys)
	for i, n := range keys {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.text(n)
		w.b = append(w.b, ':')
		w.text(m[n])
	}
	w.shut()
}

func (w *docWriter) list(k string, l []string) {
	w.key(k)
	w.b = append(w.b, '[')
	for i, s := range l {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.text(s)
	}
	w.b = append(w.b, ']')
}

// text writes a JSON string; plain ASCII takes the short way.
func (w *docWriter) text(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			b, err := json.Marshal(s)
			if err != nil {
				b = []byte(`""`)
			}
			w.b = append(w.b, b...)
			return
		}
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, s...)
	w.b = append(w.b, '"')
}
