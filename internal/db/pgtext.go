package db

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// PostgreSQL refuses texts with a NUL or broken UTF-8 and the statement with them, while SQLite takes them. Requests may hold such
// texts in paths, query strings and JSON; with the replacement character in their place a lookup finds nothing, as it should.

// storable returns args with their texts as PostgreSQL takes them. args itself is not changed.
func storable(args []any) []any {
	copied := false
	for i, a := range args {
		s, ok := a.(string)
		if p, isPtr := a.(*string); isPtr && p != nil {
			s, ok = *p, true
		}
		if !ok || !strings.Contains(s, "\x00") && utf8.ValidString(s) {
			continue
		}
		if !copied {
			args, copied = slices.Clone(args), true
		}
		args[i] = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return args
}
