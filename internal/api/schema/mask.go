package schema

import (
	"slices"
	"strings"
)

// Upstream's messages about bad input print the value, and what it stands in: a password of a wrong type ends in the client's log, and
// in that of whatever is between (keystone/common/validation/validators.py says so in a TODO). Here the value is masked.

const masked = "***"

// secretName tells whether a member of that name holds a secret, or an object that does.
func secretName(name string) bool {
	switch name {
	case "password", "original_password", "adminPass", "admin_pass", "secret", "blob", "token", "passcode", "signature", "user_data", "personality", "contents",
		"private_key", "client_secret":
		return true
	}
	return false
}

// hide masks the secrets in the error's value and message.
func (e *Error) hide() {
	inside := slices.ContainsFunc(e.Path, func(p any) bool { name, ok := p.(string); return ok && secretName(name) })
	var found []any
	clean := hideIn(e.Instance, inside, &found)
	if len(found) == 0 {
		return
	}
	e.Message = strings.ReplaceAll(e.Message, PyRepr(e.Instance), PyRepr(clean))
	for _, v := range found {
		if s := PyStr(v); len(s) > 2 { // shorter ones are no secrets, but parts of words
			e.Message = strings.ReplaceAll(e.Message, s, masked)
			e.detail = strings.ReplaceAll(e.detail, s, masked)
		}
	}
	e.Instance = clean
}

// hideIn returns v with its secrets masked and collects what they were.
func hideIn(v any, secret bool, found *[]any) any {
	if o, ok := asObject(v); ok {
		out := NewDict()
		for _, n := range o.names {
			m, _ := o.get(n)
			out.Put(n, hideIn(m, secret || secretName(n), found))
		}
		return out
	}
	if a, ok := asArray(v); ok {
		out := make([]any, len(a))
		for i, m := range a {
			out[i] = hideIn(m, secret, found)
		}
		return out
	}
	if _, isBool := v.(bool); !secret || v == nil || isBool {
		return v
	}
	*found = append(*found, v)
	return masked
}
