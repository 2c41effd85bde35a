package image

import (
	"testing"

	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// FuzzPatch reads patches of both drafts: each is refused with a client's error, or its edits can be applied.
func FuzzPatch(f *testing.F) {
	s, err := loadSchemas()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		`[{"op":"replace","path":"/name","value":"x"}]`, `[{"op":"add","path":"/tags","value":["a","b"]}]`, `[{"add":"/x","value":"y"}]`, `[{"op":"remove","path":"/a~1b"}]`,
		`[{"op":"add","path":"/locations/0","value":{"url":"x","metadata":{}}}]`, `[{"op":"replace","path":"/min_ram","value":-1}]`, `[{"op":"replace","path":"//","value":null}]`,
		`[{"op":"replace","path":"/protected","value":true},{"op":"replace","path":"/visibility","value":"public"}]`, `[{"op":"add","path":"/kernel_id","value":null}]`,
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, draft10 bool) {
		body, err := schema.Decode([]byte(text))
		if err != nil {
			return
		}
		draft := 4
		if draft10 {
			draft = 10
		}
		edits, err := parsePatch(s.image, body, draft)
		if err != nil {
			if e := fault.As(err); e.Status < 400 || e.Status >= 500 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		img := Image{Status: Queued, Properties: map[string]string{}}
		for _, e := range edits {
			if len(e.path) == 0 {
				t.Fatalf("%q: an edit without a path", text)
			}
			if e.op == "remove" || e.name() == "locations" {
				continue
			}
			if err := img.set(e.name(), e.value); err != nil {
				if s := fault.As(err).Status; s < 400 || s >= 500 {
					t.Fatalf("%q: %v", text, err)
				}
			}
		}
		if _, err := document(img); err != nil {
			t.Fatal(err)
		}
	})
}
