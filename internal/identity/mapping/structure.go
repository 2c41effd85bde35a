package mapping

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// Structure checks the form of mappings.
type Structure struct{ v1, v2 *schema.Schema }

// NewStructure makes the schemas of keystone/federation/utils.py.
func NewStructure() *Structure {
	domain := schema.Object(schema.P("id", schema.Str()), schema.P("name", schema.Str())).Closed()
	roles := schema.Array(schema.Types("object").Required("name").Props(schema.P("name", schema.Str())).Closed())
	project := schema.Types("object").Required("name", "roles").Closed().Props(schema.P("name", schema.Str()), schema.P("roles", roles))
	project2 := schema.Types("object").Required("name", "roles").Closed().Props(schema.P("name", schema.Str()), schema.P("roles", roles), schema.P("domain", domain))
	user := schema.Object(schema.P("id", schema.Str()), schema.P("name", schema.Str()), schema.P("email", schema.Str()), schema.P("domain", domain),
		schema.P("type", schema.Str().Enum(Ephemeral, Local))).Closed()
	group := schema.Types("object").OneOf(
		schema.Object(schema.P("id", schema.Str())).Closed().Required("id"),
		schema.Object(schema.P("name", schema.Str()), schema.P("domain", domain)).Closed().Required("name", "domain"))
	judged := func(kind string) *schema.Schema {
		return schema.Types("object").Closed().Required("type", kind).Props(schema.P("type", schema.Str()), schema.P(kind, schema.Types("array")), schema.P("regex", schema.Bool()))
	}
	remote := schema.Types("array").MinItems(1).Items(schema.Types("object").OneOf(
		schema.Types("object").Required("type").Props(schema.P("type", schema.Str())).Closed(),
		judged(anyOneOf), judged(notAnyOf), judged(blacklist), judged(whitelist)))
	whole := func(project *schema.Schema) *schema.Schema {
		local := schema.Array(schema.Types("object").Closed().Props(schema.P("user", user), schema.P("projects", schema.Array(project)), schema.P("group", group),
			schema.P("groups", schema.Str()), schema.P("group_ids", schema.Str()), schema.P("domain", domain)))
		rule := schema.Types("object").Required("local", "remote").Closed().Props(schema.P("local", local), schema.P("remote", remote))
		return schema.Types("object").Required("rules").Props(schema.P("rules", schema.Types("array").MinItems(1).Items(rule)))
	}
	return &Structure{whole(project), whole(project2)}
}

// Validate checks a mapping ("rules", "schema_version") whose version is set. The text names every fault, a line each, as upstream does; empty:
// it is good. What could never be applied is refused too: upstream keeps it and fails at each login.
func (s *Structure) Validate(version string, doc map[string]any) string {
	sc := map[string]*schema.Schema{Version1: s.v1, Version2: s.v2}[version]
	if sc == nil {
		return fmt.Sprintf("schema_version %q is not known; %s and %s are.", version, Version1, Version2)
	}
	errs := schema.Keystone.ValidateAll(sc, doc)
	slices.SortStableFunc(errs, func(a, b *schema.Error) int { return cmp.Compare(a.Verbose(), b.Verbose()) })
	var b strings.Builder
	for _, e := range errs {
		b.WriteString(e.Message + "\n")
	}
	if b.Len() == 0 {
		if _, err := New(version, doc["rules"]); err != nil {
			return err.Error()
		}
	}
	return b.String()
}
