package identity_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// answer is what counts of an answer. Whatever differs from one cloud or run to the next stands as a placeholder: the address, saved
// values by their names, other ids, secrets and tokens, and the digits of times. Lists of objects are sorted, for no order is promised.
type answer struct {
	Request string            `json:"request"`
	Status  int               `json:"status"`
	Header  map[string]string `json:"header"`
	Body    any               `json:"body,omitempty"`
	Text    string            `json:"text,omitempty"` // a body that is not JSON
	raw     string
}

// present are headers of which only the presence counts, valued those compared by value.
var (
	present = []string{"X-Subject-Token", "X-Openstack-Request-Id", "Openstack-Auth-Receipt"}
	valued  = []string{"Content-Type", "Vary", "WWW-Authenticate", "Location", "Allow", "Cache-Control", "Pragma"}
)

func (p *player) answer(resp *http.Response, raw []byte) answer {
	a := answer{Status: resp.StatusCode, Header: map[string]string{}, raw: string(raw)}
	for _, h := range present {
		if resp.Header.Get(h) != "" {
			a.Header[h] = "<set>"
		}
	}
	for _, h := range valued {
		if v := resp.Header.Values(h); len(v) > 0 {
			a.Header[h] = p.plain(strings.Join(v, " | "))
		}
	}
	if allow, ok := a.Header["Allow"]; ok { // Flask's order is a set's
		methods := strings.Split(allow, ", ")
		slices.Sort(methods)
		a.Header["Allow"] = strings.Join(methods, ", ")
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		a.Text = p.plain(string(raw))
		return a
	}
	a.Body = p.normal("", v)
	return a
}

var (
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?`)
	digit   = regexp.MustCompile(`\d`)
	anyUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyHex  = regexp.MustCompile(`[0-9a-f]{64}|[0-9a-f]{32}`)
	fernet  = regexp.MustCompile(`gAAAA[A-Za-z0-9_-]{40,}={0,2}`)
)

// plain is a text with placeholders.
func (p *player) plain(s string) string {
	s = strings.ReplaceAll(s, p.base, "<base>")
	for _, name := range p.longestFirst() {
		if v := p.vars[name]; len(v) >= 16 {
			s = strings.ReplaceAll(s, v, "<"+name+">")
		}
	}
	s = fernet.ReplaceAllString(s, "<token>")
	s = anyTime.ReplaceAllStringFunc(s, func(t string) string { return digit.ReplaceAllString(t, "0") })
	s = anyUUID.ReplaceAllString(s, "<uuid>")
	return anyHex.ReplaceAllStringFunc(s, func(id string) string { return fmt.Sprintf("<id of %d>", len(id)) })
}

// normal is a value with placeholders; key is the member whose value it is.
func (p *player) normal(key string, v any) any {
	switch v := v.(type) {
	case string:
		if key == "secret" || key == "audit_ids" || key == "oauth_verifier" {
			return fmt.Sprintf("<%s of %d>", key, len(v))
		}
		return p.plain(v)
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, p.normal(key, e))
		}
		if key == "catalog" { // what the services are differs from cloud to cloud
			return shapeOf(out)
		}
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(text(a), text(b)) })
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[p.plain(k)] = p.normal(k, e)
		}
		return out
	}
	return v
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// shapeOf keeps members and types of a value, and of lists which shapes their elements have.
func shapeOf(v any) any {
	switch v := v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		shapes := map[string]any{}
		for _, e := range v {
			s := shapeOf(e)
			shapes[text(s)] = s
		}
		out := []any{}
		for _, k := range slices.Sorted(maps.Keys(shapes)) {
			out = append(out, shapes[k])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = shapeOf(e)
		}
		return out
	}
	return v
}

// differs tells in what an answer differs from upstream's; shape: values and lengths of lists do not count.
func (a answer) differs(got answer, shape bool) string {
	var out []string
	if a.Status != got.Status {
		out = append(out, "status: "+strconv.Itoa(got.Status)+", upstream "+strconv.Itoa(a.Status))
	}
	for _, h := range slices.Concat(present, valued) {
		if a.Header[h] != got.Header[h] {
			out = append(out, fmt.Sprintf("%s: %q, upstream %q", h, got.Header[h], a.Header[h]))
		}
	}
	if a.Text != got.Text {
		out = append(out, fmt.Sprintf("text: %q, upstream %q", got.Text, a.Text))
	}
	want, have := a.Body, got.Body
	if shape && a.Status < 400 {
		want, have = shapeOf(want), shapeOf(have)
	}
	return strings.Join(append(out, compare("body", want, have)...), "\n")
}

// compare lists the places where two values differ.
func compare(at string, want, have any) []string {
	if text(want) == text(have) {
		return nil
	}
	w, isObject := want.(map[string]any)
	h, both := have.(map[string]any)
	if isObject && both {
		var out []string
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if v, ok := h[k]; ok {
				out = append(out, compare(at+"."+k, w[k], v)...)
			} else {
				out = append(out, at+"."+k+" is missing, upstream "+text(w[k]))
			}
		}
		for _, k := range slices.Sorted(maps.Keys(h)) {
			if _, ok := w[k]; !ok {
				out = append(out, at+"."+k+" is not upstream's: "+text(h[k]))
			}
		}
		return out
	}
	wl, isList := want.([]any)
	hl, both := have.([]any)
	if isList && both && len(wl) == len(hl) {
		var out []string
		for i := range wl {
			out = append(out, compare(fmt.Sprintf("%s[%d]", at, i), wl[i], hl[i])...)
		}
		return out
	}
	return []string{at + ": " + text(have) + "\n  upstream: " + text(want)}
}
