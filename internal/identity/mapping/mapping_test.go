package mapping

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type goldenCase struct {
	Name, Version string
	Rules         json.RawMessage
	Assertion     map[string]string
	Want          json.RawMessage
}

func loadGolden(t testing.TB) []goldenCase {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []goldenCase
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func decode(t testing.TB, raw []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Upstream's own engine has answered these (gen/golden.py).
func TestGolden(t *testing.T) {
	answers := map[string]int{}
	for i, c := range loadGolden(t) {
		m, err := New(c.Version, decode(t, c.Rules))
		if err != nil {
			t.Errorf("%d %s: %v", i, c.Name, err)
			continue
		}
		got, err := m.Apply(c.Assertion)
		var want any = decode(t, c.Want)
		if s, ok := want.(string); ok {
			answers[s]++
			kind := "fault"
			if errors.Is(err, ErrNoMatch) {
				kind = "nobody"
			}
			if err == nil || kind != s {
				t.Errorf("%d %s: %s about %v: got %+v %v, want %s", i, c.Name, c.Rules, c.Assertion, got, err, s)
			}
			continue
		}
		answers["result"]++
		if err != nil {
			t.Errorf("%d %s: %s about %v: %v, want %s", i, c.Name, c.Rules, c.Assertion, err, c.Want)
			continue
		}
		slices.Sort(got.GroupIDs)
		slices.SortFunc(got.GroupNames, func(a, b Group) int {
			return strings.Compare(a.Domain.ID+"|"+a.Domain.Name+"|"+a.Name, b.Domain.ID+"|"+b.Domain.Name+"|"+b.Name)
		})
		var w Result
		if err := json.Unmarshal(c.Want, &w); err != nil {
			t.Fatal(err, string(c.Want))
		}
		slices.SortFunc(w.GroupNames, func(a, b Group) int {
			return strings.Compare(a.Domain.ID+"|"+a.Domain.Name+"|"+a.Name, b.Domain.ID+"|"+b.Domain.Name+"|"+b.Name)
		})
		if d := cmp.Diff(&w, got); d != "" {
			t.Errorf("%d %s: %s about %v:\n%s", i, c.Name, c.Rules, c.Assertion, d)
		}
	}
	if answers["result"] < 150 || answers["nobody"] < 10 || answers["fault"] < 10 {
		t.Error("the cases say too little: ", answers)
	}
}

func TestStructure(t *testing.T) {
	s := NewStructure()
	for _, c := range []struct{ name, version, rules, want string }{
		{"good", "1.0", `[{"local":[{"user":{"name":"{0}"}}],"remote":[{"type":"A"}]}]`, ""},
		{"no rules", "1.0", `[]`, "[] is too short\n"},
		{"no remote", "1.0", `[{"local":[]}]`, "'remote' is a required property\n"},
		{"two faults", "1.0", `[{"local":[{"user":{"nickname":"x"}},{"groups":["a"]}],"remote":[{"type":"A"}]}]`,
			"Additional properties are not allowed ('nickname' was unexpected)\n['a'] is not of type 'string'\n"},
		{"two judgements", "1.0", `[{"local":[],"remote":[{"type":"A","whitelist":[],"blacklist":[]}]}]`,
			"{'blacklist': [], 'type': 'A', 'whitelist': []} is not valid under any of the given schemas\n"},
		{"bad type", "1.0", `[{"local":[{"user":{"type":"remote"}}],"remote":[{"type":"A"}]}]`, "'remote' is not one of ['ephemeral', 'local']\n"},
		{"domain of a project", "1.0", `[{"local":[{"projects":[{"name":"p","roles":[],"domain":{"id":"x"}}]}],"remote":[{"type":"A"}]}]`,
			"Additional properties are not allowed ('domain' was unexpected)\n"},
		{"domain of a project, second version", "2.0", `[{"local":[{"projects":[{"name":"p","roles":[],"domain":{"id":"x"}}]}],"remote":[{"type":"A"}]}]`, ""},
		{"role with more", "2.0", `[{"local":[{"projects":[{"name":"p","roles":[{"id":"x"}]}]}],"remote":[{"type":"A"}]}]`,
			"'name' is a required property\nAdditional properties are not allowed ('id' was unexpected)\n"},
		{"version", "3.0", `[]`, `schema_version "3.0" is not known; 1.0 and 2.0 are.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := s.Validate(c.version, map[string]any{"rules": decode(t, []byte(c.rules))}); got != c.want {
				// Upstream sorts by the whole text of each error, of which this is the first line.
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
	bad := s.Validate("1.0", map[string]any{"rules": decode(t, []byte(`[{"local":[],"remote":[{"type":"A","any_one_of":["("],"regex":true}]}]`))})
	if !strings.Contains(bad, `"(" is not a regular expression`) {
		t.Error(bad)
	}
}

// A rule whose expression explodes lets nobody in, and does not hang.
func TestSlowExpressionIsGivenUp(t *testing.T) {
	m, err := New(Version1, decode(t, []byte(`[{"local":[{"user":{"name":"x"}}],"remote":[{"type":"A","any_one_of":["^(a+)+$"],"regex":true}]}]`)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Apply(map[string]string{"A": strings.Repeat("a", 60) + "!"}); !errors.Is(err, ErrNoMatch) {
		t.Error(got, err)
	}
}

func TestLiteralList(t *testing.T) {
	for text, want := range map[string][]string{
		"": {""}, "a": {"a"}, "[]": {}, "['a']": {"a"}, "['a', 'b',]": {"a", "b"}, "['a' \"b\"]": {"ab"}, "[,]": {"[,]"}, "['a'": {"['a'"}, "[a]": {"[a]"},
		"['\\n']": {"\n"}, "['\\ud800']": {"['\\ud800']"}, "[01]": {"[01]"}, "[ 1 ]": {"1"}, "['a'] x": {"['a'] x"}, "['''a'b''']": {"a'b"},
	} {
		if got := literalList(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// Whatever rules and claims are: no panic, no endless work; a result names only what it should.
func FuzzApply(f *testing.F) {
	for _, c := range loadGolden(f) {
		a, err := json.Marshal(c.Assertion)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.Version, []byte(c.Rules), a)
	}
	s := NewStructure()
	f.Fuzz(func(t *testing.T, version string, rules, assertion []byte) {
		var r any
		var a map[string]string
		if json.Unmarshal(rules, &r) != nil || json.Unmarshal(assertion, &a) != nil {
			return
		}
		good := s.Validate(version, map[string]any{"rules": r}) == ""
		m, err := New(version, r)
		if err != nil {
			if good {
				t.Fatal("found good, and not usable: ", err)
			}
			return
		}
		out, err := m.Apply(a)
		if err != nil {
			return
		}
		if out.User.Type != Ephemeral && out.User.Type != Local {
			t.Fatal(out.User)
		}
		seen := map[string]bool{}
		for _, id := range out.GroupIDs {
			if seen[id] {
				t.Fatal("twice: ", id)
			}
			seen[id] = true
		}
	})
}
