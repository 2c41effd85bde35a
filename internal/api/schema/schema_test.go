package schema

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestBuilderKeepsOrderAndShares(t *testing.T) {
	base := Object(P("name", NovaName()), P("size", NovaPositive())).Required("name", "size").Closed()
	later := base.Extend(P("tags", Array(NovaTag()).MaxItems(50).Unique()), P("name", Str())).Without("size")
	raw, err := json.Marshal(later)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"object","properties":{"name":{"type":"string"},"tags":{"type":"array","items":{"type":"string","minLength":1,` +
		`"maxLength":60,"pattern":"^[^,/]*$"},"maxItems":50,"uniqueItems":true}},"required":["name"],"additionalProperties":false}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	if base.Prop("size") == nil || base.Prop("tags") != nil || base.Prop("name").get("format") == nil {
		t.Error("the schema extended has changed")
	}
	if got := PyRepr(KeystoneBool().Nullable()); got != "{'type': ['boolean', 'null'], 'enum': [True, False, None]}" {
		t.Error(got)
	}
}

func TestFirstErrorFollowsTheSchema(t *testing.T) {
	doc, err := Decode([]byte(`{"z": 1, "b": 1, "a": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]*Schema{
		"Invalid input for field/attribute a. Value: 1. 1 is not of type 'string'": Object(P("a", Str()), P("b", Str())).Closed(),
		"Invalid input for field/attribute b. Value: 1. 1 is not of type 'string'": Object(P("b", Str()), P("a", Str())).Closed(),
		"Additional properties are not allowed ('a', 'b', 'z' were unexpected)":    Object().Closed().Props(),
		"'c' is a required property": Any().Required("c").Props(P("a", Str())),
	} {
		if e := Nova.Validate(s, doc); e == nil || e.Error() != want {
			t.Errorf("got %v, want %s", e, want)
		}
	}
}

// TestPlainMaps: what encoding/json decodes is validated too.
func TestPlainMaps(t *testing.T) {
	dec := json.NewDecoder(strings.NewReader(`{"server": {"name": ["x"], "b": {"z": 1, "y": 2.50}}}`))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	e := Nova.Validate(Object(P("server", Object(P("b", Str())))), v)
	if want := "Invalid input for field/attribute b. Value: {'y': 2.5, 'z': 1}. {'y': 2.5, 'z': 1} is not of type 'string'"; e == nil || e.Error() != want {
		t.Error(e)
	}
	if len(e.Path) != 2 || e.Path[0] != "server" || e.Path[1] != "b" || e.Keyword != "type" {
		t.Error(e.Path, e.Keyword)
	}
}

func TestDescriptionPattern(t *testing.T) {
	want, err := os.ReadFile("testdata/description_pattern.txt")
	if err != nil {
		t.Fatal(err)
	}
	// Unicode grows: characters that upstream's Python does not know yet are the only difference.
	if got := novaDescriptionPattern().text; len(got) < len(want)*9/10 || got[:200] != string(want[:200]) {
		t.Errorf("got  %.300s\nwant %.300s", got, want)
	}
	s := NovaDescription()
	for v, ok := range map[any]bool{nil: true, "": true, "a b é 漢\n": true, "a\tb": false, "\x00": false, "\U0001f600": false, "a\nb": false} {
		if e := Nova.Validate(s, v); (e == nil) != ok {
			t.Errorf("%q: %v", v, e != nil)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, doc := range []string{"", "{", "[1", `{"a"`, "1 2", "{} {}", strings.Repeat("[", 2000) + strings.Repeat("]", 2000), strings.Repeat("9", 5000), `{"a":}`, "nul"} {
		if v, err := Decode([]byte(doc)); err == nil {
			t.Errorf("%.20q decodes to %v", doc, v)
		}
	}
	v, err := Decode([]byte(`{"b": 1, "a": 2, "b": 3}`))
	if err != nil || PyRepr(v) != "{'b': 3, 'a': 2}" {
		t.Error(PyRepr(v), err)
	}
}

func TestDeclares(t *testing.T) {
	s := Any().Props(P("limit", NovaQuery())).PatternProps(P("tag[s]?", NovaQuery()))
	for name, want := range map[string]bool{"limit": true, "limits": false, "tags": true, "tagged": true, "x-tag": false} {
		if s.Declares(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	var server *Schema
	for _, c := range loadGolden(b) {
		if s, err := schemaOf(c.([]any)[1]); err == nil {
			server = s // the first is a server
			break
		}
	}
	raw := []byte(`{"server": {"name": "web-1", "flavorRef": "1", "metadata": {"a": "b"}, "networks": [{"port": null}], "min_count": 1}}`)
	b.ReportAllocs()
	for b.Loop() {
		v, err := Decode(raw)
		if err != nil {
			b.Fatal(err)
		}
		if e := Nova.Validate(server, v); e != nil {
			b.Fatal(e)
		}
	}
}

// TestTypes: the shared types are upstream's, keyword by keyword and in their order, since the order decides which error is reported.
func TestTypes(t *testing.T) {
	raw, err := os.ReadFile("testdata/types.json")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]any{
		"NovaBool": NovaBool(), "NovaName": NovaName(), "NovaNameOrNone": NovaNameOrNone(), "NovaAZName": NovaAZName(),
		"NovaKeypairName20": NovaKeypairName("keypair_name_20"), "NovaPositive": NovaPositive(), "NovaNonNegative": NovaNonNegative(),
		"NovaVolumeSize": NovaVolumeSize(), "NovaFlavorNonNegative": NovaFlavorNonNegative(), "NovaHostname": NovaHostname(), "NovaFQDN": NovaFQDN(),
		"NovaProjectID": NovaProjectID(), "UUID": UUID(), "NovaImageIDOrEmpty": NovaImageIDOrEmpty(), "NovaFlavorRef": NovaFlavorRef(),
		"NovaMetadata": NovaMetadata(), "NovaMetadataWithNull": NovaMetadataWithNull(), "NovaMAC": NovaMAC(), "NovaIP": NovaIP(),
		"NovaDiskConfig": NovaDiskConfig(), "NovaPersonality": NovaPersonality(), "NovaTag": NovaTag(), "NovaTrustedCerts": NovaTrustedCerts(),
		"NovaQuery": NovaQuery(), "NovaQueryRegex": NovaQueryRegex(), "NovaPage": NovaPage(),
		"KeystoneBool": KeystoneBool(), "KeystoneName": KeystoneName(), "KeystoneID": KeystoneID(), "KeystoneExternalID": KeystoneExternalID(),
		"KeystoneURL": KeystoneURL(), "KeystoneEmail": KeystoneEmail(), "KeystoneTags": KeystoneTags(),
		"CinderBool": CinderBool(), "CinderName": CinderName(), "CinderNameOrNull": CinderNameOrNull(), "CinderUUIDOrNull": CinderUUIDOrNull(),
		"CinderExtraSpecs": CinderExtraSpecs(), "CinderMetadataOrNull": CinderMetadataOrNull(), "CinderVolumeSize": CinderVolumeSize(),
		"CinderAZ": CinderAZ(),
	} {
		w, ok := want.(*Dict).Get(name)
		if got := PyRepr(s); !ok || got != PyRepr(w) {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, PyRepr(w))
		}
	}
}
