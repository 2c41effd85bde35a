package schema_test

import (
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// A value that is refused is shown, a secret one is not, wherever the error lies: in it, around it or beside it.
func TestSecretsAreMasked(t *testing.T) {
	str := schema.Str()
	s := schema.Object(schema.P("user", schema.Object(schema.P("name", str), schema.P("password", str), schema.P("age", schema.Int())).Required("name").Closed()))
	for _, c := range []struct{ body, shown string }{
		{`{"user":{"name":"n","password":["hunter22"]}}`, ""},
		{`{"user":{"name":"n","password":{"a":{"b":"hunter22"}}}}`, ""},
		{`{"user":{"name":"n","password":4711001}}`, ""},
		{`{"user":{"password":"hunter22"}}`, "'name' is a required property"},
		{`{"user":{"name":"n","password":"hunter22","x":"shown"}}`, "'x' was unexpected"},
		{`{"user":{"name":["shown"],"password":"hunter22"}}`, "shown"},
		{`{"user":["hunter","shown"]}`, "shown"},
	} {
		for _, d := range []schema.Dialect{schema.Keystone, schema.Nova, schema.Placement} {
			v, err := schema.Decode([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			e := d.Validate(s, v)
			if e == nil {
				t.Fatalf("%s is valid", c.body)
			}
			text := e.Error() + e.Verbose()
			if strings.Contains(text, "hunter22") || strings.Contains(text, "4711001") {
				t.Errorf("%s: %s", c.body, text)
			}
			if !strings.Contains(text, c.shown) {
				t.Errorf("%s: %s lacks %s", c.body, text, c.shown)
			}
		}
	}
}
