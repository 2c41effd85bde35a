package api

import "strings"

// fernet is how every Fernet token begins: the version and the time's first bytes.
const fernet = "gAAAA"

// Redact cuts what looks like a token out of a text: people put tokens into paths, whose elements messages repeat.
func Redact(s string) string {
	i := strings.Index(s, fernet)
	if i < 0 {
		return s
	}
	end := strings.IndexFunc(s[i:], func(c rune) bool {
		return !(c == '-' || c == '_' || c == '=' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z')
	})
	if end < 0 {
		return s[:i] + "(token)"
	}
	return s[:i] + "(token)" + Redact(s[i+end:])
}
