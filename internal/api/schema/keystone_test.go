package schema

import (
	"net/url"
	"testing"
)

// The words are those of keystone/api/validation/validators.py; the replay of internal/identity has many more.
func TestKeystoneAPI(t *testing.T) {
	credential := Object(P("credential", Object(P("type", Str()), P("project_id", Str())).Required("type").
		IfThen(Any().Props(P("type", Enum("ec2"))), Any().Required("project_id")))).Required("credential").Closed()
	for body, want := range map[string]string{
		`{}`:                                    "'credential' is a required property",
		`{"credential":{"type":"cert"}}`:        "",
		`{"credential":{"type":"ec2"}}`:         "Invalid input for field/attribute credential. Value: {'type': 'ec2'}. 'project_id' is a required property",
		`{"credential":{"type":5}}`:             "Invalid input for field/attribute type. Value: 5. 5 is not of type 'string'",
		`{"credential":{"type":"cert"},"x":[]}`: "Additional properties are not allowed ('x' was unexpected)",
	} {
		doc, err := Decode([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := text(KeystoneAPI.Validate(credential, doc)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	query := Object(P("tree", Any()), P("project", Str().Enum("a"))).Needs("tree", "project").Not(Any().Required("both")).Closed()
	for q, want := range map[string]string{
		"tree&project=a":      "",
		"tree":                "'project' is a dependency of 'tree'",
		"project=a&project=b": "",
		"project=b&project=a": "Invalid input for field/attribute project. Value: b. 'b' is not one of ['a']",
	} {
		values, err := url.ParseQuery(q)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(KeystoneAPI.ValidateQuery(query, values)); got != want {
			t.Errorf("%s: %q, want %q", q, got, want)
		}
	}
}

func text(e *Error) string {
	if e == nil {
		return ""
	}
	return e.Error()
}
