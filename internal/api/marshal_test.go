package api_test

import (
	"encoding/json"
	"testing"

	"github.com/hanok-cloud/hanok/internal/api"
)

type inner struct {
	New string `json:"new" mv:"2.10-"`
	Old string `json:"old,omitempty"`
}

type outer struct {
	Name  string           `json:"name"`
	List  []inner          `json:"list"`
	Map   map[string]any   `json:"map"`
	Ptr   *inner           `json:"ptr"`
	Raw   json.RawMessage  `json:"raw" mv:"-2.19"`
	Skip  string           `json:"-"`
	Bytes []byte           `json:"bytes,omitempty"`
	ByKey map[string]inner `json:"by_key,omitempty"`
}

func TestMarshal(t *testing.T) {
	v := outer{Name: "<a&b>", List: []inner{{"n", "o"}}, Map: map[string]any{"z": inner{"n", ""}, "a": nil}, Raw: json.RawMessage(`{"x":1}`), ByKey: map[string]inner{"k": {New: "n"}}}
	for mv, want := range map[string]string{
		"2.1":  `{"name":"<a&b>","list":[{"old":"o"}],"map":{"a":null,"z":{}},"ptr":null,"raw":{"x":1},"by_key":{"k":{}}}`,
		"2.10": `{"name":"<a&b>","list":[{"new":"n","old":"o"}],"map":{"a":null,"z":{"new":"n"}},"ptr":null,"raw":{"x":1},"by_key":{"k":{"new":"n"}}}`,
		"2.20": `{"name":"<a&b>","list":[{"new":"n","old":"o"}],"map":{"a":null,"z":{"new":"n"}},"ptr":null,"by_key":{"k":{"new":"n"}}}`,
	} {
		got, err := api.Marshal(v, api.MustVersion(mv))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n got %s\nwant %s", mv, err, got, want)
		}
	}
	if got, err := api.Marshal(outer{}, api.MustVersion("2.20")); err != nil || string(got) != `{"name":"","list":null,"map":null,"ptr":null}` {
		t.Errorf("empty: %s %v", got, err)
	}
}

func TestRangesAndVersions(t *testing.T) {
	for _, bad := range []string{"", "2", "2.", "2.01", "a.b", "2.1.1", "-1.0", "2.-1", " 2.1"} {
		if v, ok := api.ParseVersion(bad); ok {
			t.Errorf("%q was read as %s", bad, v)
		}
	}
	for s, in := range map[string][2]string{"2.19-": {"2.19", "2.18"}, "-2.35": {"2.35", "2.36"}, "2.1-2.101": {"2.101", "2.102"}, "2.5": {"2.5", "2.6"}} {
		r := api.MustRange(s)
		if !r.Has(api.MustVersion(in[0])) || r.Has(api.MustVersion(in[1])) {
			t.Errorf("%s must hold %s and not %s", s, in[0], in[1])
		}
	}
}
