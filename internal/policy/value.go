package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// text is Python's str() of a value: check strings compare texts, so True, None and numbers must come out as upstream prints them.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case json.Number:
		return v.String()
	case *string:
		if v == nil {
			return "None"
		}
		return *v
	}
	return fmt.Sprint(v)
}

// equalText compares text(v) with want without building it in the usual case.
func equalText(v any, want string) bool {
	if s, ok := v.(string); ok {
		return s == want
	}
	return text(v) == want
}

// orNone is the text of an id of the credentials, where absent is None.
func orNone(id string) string {
	if id == "" {
		return "None"
	}
	return id
}

// find walks v along path as oslo_policy/_checks.py's _find_in_dict does; a list is tried element by element.
func find(v any, path []string, want string) bool {
	if len(path) == 0 {
		return equalText(v, want)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	v, ok = m[path[0]]
	if !ok {
		return false
	}
	switch l := v.(type) {
	case []any:
		for _, e := range l {
			if find(e, path[1:], want) {
				return true
			}
		}
		return false
	case []string:
		for _, e := range l {
			if find(e, path[1:], want) {
				return true
			}
		}
		return false
	}
	return find(v, path[1:], want)
}
