package placement

import (
	sc "github.com/hanok-cloud/hanok/internal/api/schema"
)

// The schemas of placement/schemas/*.py.

const (
	uuidPattern  = "^[0-9a-fA-F-]{36}$"
	classPattern = "^[A-Z0-9_]+$"
	customName   = "^CUSTOM_[A-Z0-9_]+$"
	groupOld     = `[1-9][0-9]*`
	groupNew     = `[a-zA-Z0-9_-]{1,64}`
	// largestRatio is placement/db/constants.py, SQL_SP_FLOAT_MAX.
	largestRatio = 3.40282e+38
)

func closed(props ...sc.Property) *sc.Schema { return sc.Object(props...).Closed() }

func uuidText() *sc.Schema { return sc.Str().Format("uuid") }

func providerSchema(withUUID, withParent bool) *sc.Schema {
	props := []sc.Property{sc.P("name", sc.Str().MaxLen(200))}
	if withUUID {
		props = append(props, sc.P("uuid", uuidText()))
	}
	if withParent {
		props = append(props, sc.P("parent_provider_uuid", sc.AnyOf(uuidText(), sc.Null())))
	}
	return closed(props...).Required("name")
}

func listProvidersSchema(since func(string) bool) *sc.Schema {
	props := []sc.Property{sc.P("name", sc.Str()), sc.P("uuid", uuidText())}
	for _, p := range []struct {
		mv, name string
		s        *sc.Schema
	}{{"1.3", "member_of", sc.Str()}, {"1.4", "resources", sc.Str()}, {"1.14", "in_tree", uuidText()}, {"1.18", "required", sc.Str()}} {
		if since(p.mv) {
			props = append(props, sc.P(p.name, p.s))
		}
	}
	return closed(props...)
}

func inventorySchema() *sc.Schema {
	amount := func(least int64) *sc.Schema { return sc.Int().Max(maxInt).Min(least) }
	return closed(
		sc.P("resource_provider_generation", sc.Int()),
		sc.P("total", amount(1)), sc.P("reserved", amount(0)), sc.P("min_unit", amount(1)), sc.P("max_unit", amount(1)), sc.P("step_size", amount(1)),
		sc.P("allocation_ratio", sc.Num().MaxNum(largestRatio)),
	).Required("total", "resource_provider_generation")
}

func postInventorySchema() *sc.Schema {
	return inventorySchema().Extend(sc.P("resource_class", sc.Str().Pattern(classPattern))).Required("total", "resource_class")
}

func putInventoriesSchema() *sc.Schema {
	return closed(
		sc.P("resource_provider_generation", sc.Int()),
		sc.P("inventories", sc.Types("object").PatternProps(sc.P(classPattern, inventorySchema().Required("total")))),
	).Required("resource_provider_generation", "inventories")
}

func aggregatesSchema(since func(string) bool) *sc.Schema {
	list := sc.Array(uuidText()).Unique()
	if !since("1.19") {
		return list
	}
	return closed(sc.P("aggregates", list), sc.P("resource_provider_generation", sc.Int())).Required("aggregates", "resource_provider_generation")
}

func classSchema() *sc.Schema {
	return closed(sc.P("name", sc.Str().Pattern(customName).MaxLen(255))).Required("name")
}

func traitName() *sc.Schema { return sc.Str().MinLen(1).MaxLen(255) }

func providerTraitsSchema() *sc.Schema {
	return closed(sc.P("traits", sc.Array(traitName())), sc.P("resource_provider_generation", sc.Int())).Required("traits", "resource_provider_generation")
}

func listTraitsSchema() *sc.Schema {
	return closed(sc.P("name", sc.Str()), sc.P("associated", sc.Str()))
}

func owner() *sc.Schema { return sc.Str().Len(1, 255) }

func usagesSchema(since func(string) bool) *sc.Schema {
	s := closed(sc.P("project_id", owner()), sc.P("user_id", owner())).Required("project_id")
	if since("1.38") {
		s = s.Extend(sc.P("consumer_type", sc.Str().Pattern(classPattern+"|^all|^unknown$").Len(1, 255)))
	}
	return s
}

func resourcesSchema() *sc.Schema {
	return sc.Types("object").MinProps(1).PatternProps(sc.P(classPattern, sc.Int().Min(1))).Closed()
}

// allocationSchema is the body of PUT /allocations/{uuid}, and of each consumer in POST /allocations (post) and in the reshaper.
func allocationSchema(since func(string) bool, post bool) *sc.Schema {
	if !since("1.12") {
		s := closed(sc.P("allocations", sc.Array(closed(
			sc.P("resource_provider", closed(sc.P("uuid", uuidText())).Required("uuid")),
			sc.P("resources", resourcesSchema()),
		).Required("resource_provider", "resources")).MinItems(1))).Required("allocations")
		if since("1.8") {
			s = s.Extend(sc.P("project_id", owner()), sc.P("user_id", owner())).Required("allocations", "project_id", "user_id")
		}
		return s
	}
	least := 1
	if post || since("1.28") {
		least = 0
	}
	required := []string{"allocations", "project_id", "user_id"}
	s := closed(
		sc.P("allocations", sc.Types("object").MinProps(least).PatternProps(sc.P(uuidPattern, closed(
			sc.P("generation", sc.Int()), sc.P("resources", resourcesSchema()),
		).Required("resources"))).Closed()),
		sc.P("project_id", owner()), sc.P("user_id", owner()),
	)
	if since("1.28") {
		s = s.Extend(sc.P("consumer_generation", sc.Types("integer", "null").Closed()))
		required = append(required, "consumer_generation")
	}
	if since("1.34") {
		s = s.Extend(sc.P("mappings", sc.Types("object").MinProps(1).PatternProps(sc.P(groupNew, sc.Array(uuidText()).MinItems(1)))))
	}
	if since("1.38") {
		s = s.Extend(sc.P("consumer_type", sc.Str().Pattern(classPattern).Len(1, 255)))
		required = append(required, "consumer_type")
	}
	return s.Required(required...)
}

func allocationsSchema(since func(string) bool, least int) *sc.Schema {
	return sc.Types("object").MinProps(least).Closed().PatternProps(sc.P(uuidPattern, allocationSchema(since, true)))
}

func reshaperSchema(since func(string) bool) *sc.Schema {
	return closed(
		sc.P("inventories", sc.Types("object").PatternProps(sc.P(uuidPattern, putInventoriesSchema())).MinProps(1).Closed()),
		sc.P("allocations", allocationsSchema(since, 0)),
	).Required("inventories", "allocations")
}

func candidatesSchema(since func(string) bool) *sc.Schema {
	var props []sc.Property
	if since("1.16") {
		props = append(props, sc.P("limit", sc.Types("integer", "string").Pattern("^[1-9][0-9]*$").Min(1).MinLen(1)))
	}
	if !since("1.25") {
		props = append([]sc.Property{sc.P("resources", sc.Str())}, props...)
		if since("1.17") {
			props = append(props, sc.P("required", sc.Types("string")))
		}
		if since("1.21") {
			props = append(props, sc.P("member_of", sc.Types("string")))
		}
		return closed(props...).Required("resources")
	}
	props = append(props, sc.P("group_policy", sc.Str().Enum("none", "isolate")))
	if since("1.35") {
		props = append(props, sc.P("root_required", sc.Types("string")))
	}
	if since("1.36") {
		props = append(props, sc.P("same_subtree", sc.Types("string")))
	}
	group, names := groupOld, []string{"resources", "required", "member_of"}
	if since("1.31") {
		names = append(names, "in_tree")
	}
	if since("1.33") {
		group = groupNew
	}
	var patterns []sc.Property
	for _, n := range names {
		patterns = append(patterns, sc.P("^"+n+"("+group+")?$", sc.Str()))
	}
	return closed(props...).PatternProps(patterns...)
}
