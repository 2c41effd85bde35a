package arch

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// What the conformance run leaves out or expects to fail is listed with reasons; that run is not part of `make test`, this is.
func TestConformanceListsHaveReasons(t *testing.T) {
	for name, form := range map[string]*regexp.Regexp{
		"skips.txt":             regexp.MustCompile(`^(out|skip|why) \S[^#]*  # \S`),
		"expected-failures.txt": regexp.MustCompile(`^[A-Za-z]\S*  # \S`),
	} {
		b, err := os.ReadFile("../../test/conformance/" + name)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for i, line := range strings.Split(string(b), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if !form.MatchString(line) {
				t.Errorf("%s:%d: %q is not `NAME  # reason` in that list's form", name, i+1, line)
			}
			entry, _, _ := strings.Cut(line, "  #")
			if n := seen[entry]; n > 0 {
				t.Errorf("%s:%d: %s stands in line %d already", name, i+1, entry, n)
			}
			seen[entry] = i + 1
		}
	}
}
