package compute

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// What nova/api/openstack/compute/schemas says of keypairs.

func keypairsCreateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("keypair", schema.Object(
			schema.P("name", schema.AllOf(schema.NovaName(), schema.Str().MinLen(1).MaxLen(255).Format("keypair_name_20"))),
			schema.P("public_key", schema.Str()),
		).Required("name").Closed()),
	).Required("keypair").Closed()
	v22 := v21.Extend(
		schema.P("keypair", v21.Prop("keypair").Extend(
			schema.P("type", schema.Str().Enum("ssh", "x509")),
		)),
	)
	v210 := v22.Extend(
		schema.P("keypair", v22.Prop("keypair").Extend(
			schema.P("user_id", schema.Str()),
		)),
	)
	v292 := v210.Extend(
		schema.P("keypair", v210.Prop("keypair").Extend(
			schema.P("name", schema.NovaKeypairName("keypair_name_292")),
		).Required("name", "public_key")),
	)
	return []api.VersionedSchema{
		since("2.1-2.1", v21),
		since("2.2-2.9", v22),
		since("2.10-2.91", v210),
		since("2.92-", v292),
	}
}

func keypairsDeleteQuery() []api.VersionedSchema {
	v21 := schema.Object().Open()
	v22 := v21
	v210 := schema.Object(
		schema.P("user_id", schema.NovaQuery()),
	).Open()
	v275 := schema.Object(
		schema.P("user_id", schema.NovaQuery()),
	).Closed()
	return []api.VersionedSchema{
		since("2.1-2.1", v21),
		since("2.2-2.9", v22),
		since("2.10-2.74", v210),
		since("2.75-", v275),
	}
}

func keypairsShowQuery() []api.VersionedSchema { return keypairsDeleteQuery() }

func keypairsIndexQuery() []api.VersionedSchema {
	v21 := schema.Object().Open()
	v22 := v21
	v210 := schema.Object(
		schema.P("user_id", schema.NovaQuery()),
	).Open()
	v235 := v210.Extend(
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("marker", schema.NovaQuery()),
	)
	v275 := v235.Closed()
	return []api.VersionedSchema{
		since("2.1-2.1", v21),
		since("2.2-2.9", v22),
		since("2.10-2.34", v210),
		since("2.35-2.74", v235),
		since("2.75-", v275),
	}
}
