package schema

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// novaDescriptionPattern is `^[printable characters]*$`, which nova and cinder spell out range by range and print when it does not match.
var novaDescriptionPattern = sync.OnceValue(func() pattern {
	var text strings.Builder
	var first, last rune = -1, -1
	flush := func() {
		if first >= 0 && last != first {
			text.WriteString("-" + pyEscapeRune(last))
		}
		first = -1
	}
	for r := range rune(0xFFFF) {
		if !printable(r) {
			flush()
			continue
		}
		if first < 0 {
			first = r
			text.WriteString(pyEscapeRune(r))
		}
		last = r
	}
	flush()
	return pattern{text: "^[" + text.String() + "]*$", re: regexp.MustCompile(`^` + rangesOf(printable) + `*\n?$`)}
})

// rangesOf writes a class of the characters of the basic plane that satisfy ok.
func rangesOf(ok func(rune) bool) string {
	var b strings.Builder
	b.WriteByte('[')
	for r := rune(0); r < 0xFFFF; r++ {
		if !ok(r) {
			continue
		}
		b.WriteString(hex(r))
		first := r
		for r+1 < 0xFFFF && ok(r+1) {
			r++
		}
		if r != first {
			b.WriteString("-" + hex(r))
		}
	}
	return b.String() + "]"
}

// pyEscapeRune is re.escape.
func pyEscapeRune(r rune) string {
	if strings.ContainsRune("()[]{}?*+-|^$\\.&~# \t\n\r\v\f", r) {
		return `\` + string(r)
	}
	return string(r)
}

func hex(r rune) string { return fmt.Sprintf(`\x{%x}`, r) }
