package arch

import (
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// The finder of changing variables, tried on each way to change one.
func TestChangingVariablesAreFound(t *testing.T) {
	text := `package p

import "sync"

var (
	registry  = map[string]int{}
	counter   int
	list      []int
	dropped   = map[string]int{}
	pointed   struct{ a int }
	field     struct{ a struct{ b int } }
	mu        sync.Mutex
	constant  = map[string]int{"a": 1}
	shadowed  = 1
	once      = sync.OnceValue(func() int { return 1 })
	compared  = []string{"a"}
)

func f() int {
	registry["a"] = 1
	counter++
	list = append(list, 1)
	delete(dropped, "a")
	_ = &pointed
	field.a.b = 2
	shadowed := 2
	shadowed++
	mu.Lock()
	for _, c := range compared { _ = c }
	if &compared[0] == &compared[1] { return 1 }
	return constant["a"] + shadowed + once()
}
`
	name := filepath.Join(t.TempDir(), "p.go")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &source{fset: token.NewFileSet(), packages: map[string]*pkg{}}
	if err := s.add(name, "p/p.go"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range changing(s, s.packages["p"]) {
		got = append(got, v.name)
	}
	want := []string{"counter", "dropped", "field", "list", "mu", "pointed", "registry"}
	if len(got) != len(want) {
		t.Fatalf("found %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("found %v, want %v", got, want)
		}
	}
}

func TestLayersSayNo(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"internal/identity", "internal/api/schema", true},
		{"internal/identity", "internal/image", false},
		{"internal/image", "internal/identity", true},
		{"internal/network", "internal/compute", false},
		{"internal/compute", "internal/network", true},
		{"internal/agent/guest", "internal/agent/qmp", true},
		{"internal/agent/guest", "internal/db", false},
		{"internal/nodeapi", "internal/agent", false},
		{"internal/db", "internal/identity", false},
		{"internal/api", "internal/db", false},
		{"internal/demo", "internal/compute", false},
		{"internal/demo", "internal/client", true},
		{"internal/daemon", "internal/compute", true},
		{"cmd/hanok", "internal/identity", false},
	} {
		l, ok := layerOf(c.from)
		if !ok || l.allowed(c.from, c.to) != c.want {
			t.Errorf("%s imports %s: allowed %v, want %v", c.from, c.to, !c.want, c.want)
		}
	}
}
