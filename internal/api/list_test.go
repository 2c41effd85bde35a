package api

import (
	"bytes"
	"strings"
	"testing"
)

// A list is the same whatever the size of the pieces it is sent in.
func TestListPieces(t *testing.T) {
	var docs [][]byte
	for i := range 50 {
		docs = append(docs, []byte(`{"x":"`+strings.Repeat("y", i*3)+`"}`))
	}
	for _, extra := range [][]byte{nil, []byte(`{}`), []byte(`{"things_links":[]}`)} {
		for n := range 3 {
			l := List{"things", docs[:n*25], extra}
			want := `{"things":[` + string(bytes.Join(l.Docs, []byte(","))) + `]`
			if len(extra) > 2 {
				want += `,"things_links":[]`
			}
			want += `}`
			for _, block := range []int{0, 1, 10, 64, 1000, 100000} {
				var b bytes.Buffer
				if err := l.writeTo(&b, make([]byte, 0, block)); err != nil || b.String() != want || l.size() != len(want) {
					t.Fatalf("block %d: %v %d bytes, size %d, not\n%s\n%s", block, err, b.Len(), l.size(), want, b.String())
				}
			}
		}
	}
}
