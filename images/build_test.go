package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuildAgain runs the builder on an image that is newer than all its inputs.
func TestBuildAgain(t *testing.T) {
	t.Parallel()
	path := image(t)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if before.Size() > 30<<20 {
		t.Errorf("the image has %d bytes; it is meant to stay below 30 MiB", before.Size())
	}
	out, err := exec.Command("./build.sh", "--out", path, "--cache", filepath.Dir(path)).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "is up to date") {
		t.Errorf("a second build: %v, %s", err, out)
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !after.ModTime().Equal(before.ModTime()) {
		t.Error("a second build replaced an image that was up to date")
	}
}
