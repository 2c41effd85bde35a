package oidc

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Attributes are claims in the form in which Apache's mod_auth_openidc hands them to keystone: each as OIDC-name and, as an HTTP header would come
// out, as HTTP_OIDC_NAME. Several values are joined by the delimiter, truth is 1 or 0, objects are JSON. REMOTE_USER is the subject.
func Attributes(c Claims, delimiter string) map[string]string {
	out := make(map[string]string, 2*len(c)+1)
	// Several names may make one header; of those the last counts, and the provider's and the subject's own always.
	for _, name := range append(slices.Sorted(maps.Keys(c)), "iss", "sub") {
		if text, ok := attribute(c[name], delimiter); ok {
			out["OIDC-"+name] = text
			out["HTTP_OIDC_"+headerName(name)] = text
		}
	}
	if sub := c.Text("sub"); sub != "" {
		out["REMOTE_USER"] = sub
	}
	return out
}

// headerName is the end of a header's name as CGI has it.
func headerName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}

func attribute(v any, delimiter string) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "1", true
		}
		return "0", true
	case []any:
		var parts []string
		for _, e := range v {
			if _, nested := e.([]any); nested {
				continue
			}
			// One that would be parted into several is left out: who may name a group could be in two by one.
			if s, ok := attribute(e, delimiter); ok && !strings.Contains(s, ";") && (delimiter == "" || !strings.Contains(s, delimiter)) {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, delimiter), true
	case map[string]any:
		b, err := json.Marshal(v)
		return string(b), err == nil
	}
	return "", false
}
