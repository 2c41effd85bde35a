package network

import "testing"

// FuzzPortRange: whatever is taken is a range of ports, and its text is taken again.
func FuzzPortRange(f *testing.F) {
	for _, s := range []string{"80", "80:90", "0", "65535:65536", "9:1", ":", "1:2:3", "+1", " 1", "1e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, problem := parsePortRange(s)
		if problem != "" {
			return
		}
		if r.start < 1 || r.end > 65535 || r.start > r.end {
			t.Errorf("%q is taken as %v", s, r)
		}
		if again, problem := parsePortRange(r.String()); problem != "" || again != r {
			t.Errorf("%v is read back as %v: %s", r, again, problem)
		}
	})
}
