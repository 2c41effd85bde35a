package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPageIsCurrent(t *testing.T) {
	want, err := render(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../../docs/compat.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), want); diff != "" {
		t.Errorf("docs/compat.md is not current; run `go run ./internal/compat/gen > docs/compat.md` (-have +want):\n%s", diff)
	}
}
