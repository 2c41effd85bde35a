package compute

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// What nova/api/openstack/compute/schemas says of aggregates.

func aggregatesCreateBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("aggregate", schema.Object(
			schema.P("name", schema.NovaName()),
			schema.P("availability_zone", schema.OneOf(schema.NovaAZName(), schema.Null())),
		).Required("name").Closed()),
	).Required("aggregate").Closed())}
}

func aggregatesUpdateBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("aggregate", schema.Object(
			schema.P("name", schema.Str().MinLen(1).MaxLen(255).Format("name_with_leading_trailing_spaces")),
			schema.P("availability_zone", schema.OneOf(schema.NovaAZName(), schema.Null())),
		).Closed().AnyOf(schema.Any().Required("name"), schema.Any().Required("availability_zone"))),
	).Required("aggregate").Closed())}
}

func aggregatesAddHostBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("add_host", schema.Object(
			schema.P("host", schema.NovaFQDN()),
		).Required("host").Closed()),
	).Required("add_host").Closed())}
}

func aggregatesRemoveHostBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("remove_host", schema.Object(
			schema.P("host", schema.NovaFQDN()),
		).Required("host").Closed()),
	).Required("remove_host").Closed())}
}

func aggregatesSetMetadataBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("set_metadata", schema.Object(
			schema.P("metadata", schema.NovaMetadataWithNull()),
		).Required("metadata").Closed()),
	).Required("set_metadata").Closed())}
}

func aggregatesImagesBody() []api.VersionedSchema {
	v281 := schema.Object(
		schema.P("cache", schema.Types("array").MinItems(1).Items(schema.Object(
			schema.P("id", schema.UUID()),
		).Closed().Required("id"))),
	).Required("cache").Closed()
	return []api.VersionedSchema{
		since("2.81-", v281),
	}
}

// What nova/api/openstack/compute/schemas says of hosts.

func hostsIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("zone", schema.NovaQuery()),
	).Open()
	return []api.VersionedSchema{
		since("2.1-2.42", v21),
	}
}

func hostsUpdateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("status", schema.Str().Enum("enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE")),
		schema.P("maintenance_mode", schema.Str().Enum("enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE")),
	).Closed()
	return []api.VersionedSchema{
		since("2.1-2.42", v21),
	}
}

// What nova/api/openstack/compute/schemas says of hypervisors.

func hypervisorsIndexQuery() []api.VersionedSchema {
	v233 := schema.Object(
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("marker", schema.NovaQuery()),
	).Open()
	v253 := v233.Extend(
		schema.P("limit", schema.Single(schema.NovaNonNegative())),
		schema.P("marker", schema.Single(schema.Str())),
		schema.P("hypervisor_hostname_pattern", schema.Single(schema.NovaFQDN())),
		schema.P("with_servers", schema.Single(schema.NovaBool())),
	).Closed()
	return []api.VersionedSchema{
		since("2.33-2.52", v233),
		since("2.53-", v253),
	}
}

func hypervisorsDetailQuery() []api.VersionedSchema { return hypervisorsIndexQuery() }

func hypervisorsShowQuery() []api.VersionedSchema {
	v253 := schema.Object(
		schema.P("with_servers", schema.Single(schema.NovaBool())),
	).Closed()
	return []api.VersionedSchema{
		since("2.53-", v253),
	}
}

// What nova/api/openstack/compute/schemas says of services.

func servicesIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("host", schema.NovaQuery()),
		schema.P("binary", schema.NovaQuery()),
	).Open()
	v275 := schema.Object(
		schema.P("host", schema.NovaQuery()),
		schema.P("binary", schema.NovaQuery()),
	).Closed()
	return []api.VersionedSchema{
		since("2.1-2.74", v21),
		since("2.75-", v275),
	}
}

func servicesUpdateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("host", schema.NovaFQDN()),
		schema.P("binary", schema.Str().MinLen(1).MaxLen(255)),
		schema.P("disabled_reason", schema.Str().MinLen(1).MaxLen(255)),
	).Required("host", "binary").Closed()
	v211 := v21.Extend(
		schema.P("forced_down", schema.NovaBool()),
	)
	v253 := schema.Object(
		schema.P("status", schema.Str().Enum("enabled", "disabled")),
		schema.P("disabled_reason", schema.Str().MinLen(1).MaxLen(255)),
		schema.P("forced_down", schema.NovaBool()),
	).Closed()
	return []api.VersionedSchema{
		since("2.1-2.10", v21),
		since("2.11-2.52", v211),
		since("2.53-", v253),
	}
}

// What nova/api/openstack/compute/schemas says of migrations.

func migrationsIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("hidden", schema.NovaQuery()),
		schema.P("host", schema.NovaQuery()),
		schema.P("instance_uuid", schema.NovaQuery()),
		schema.P("source_compute", schema.NovaQuery()),
		schema.P("status", schema.NovaQuery()),
		schema.P("migration_type", schema.NovaQuery()),
	).Open()
	v223 := v21
	v259 := v223.Extend(
		schema.P("limit", schema.Single(schema.NovaNonNegative())),
		schema.P("marker", schema.Single(schema.Str())),
		schema.P("changes-since", schema.Single(schema.Str().Format("date-time"))),
	).Closed()
	v266 := v259.Extend(
		schema.P("changes-before", schema.Single(schema.Str().Format("date-time"))),
	)
	v280 := v266.Extend(
		schema.P("user_id", schema.Single(schema.Str())),
		schema.P("project_id", schema.Single(schema.Str())),
	)
	return []api.VersionedSchema{
		since("2.1-2.22", v21),
		since("2.23-2.58", v223),
		since("2.59-2.65", v259),
		since("2.66-2.79", v266),
		since("2.80-", v280),
	}
}

// What nova/api/openstack/compute/schemas says of server_external_events.

func serverExternalEventsCreateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("events", schema.Types("array").MinItems(1).Items(schema.Object(
			schema.P("server_uuid", schema.UUID()),
			schema.P("name", schema.Str().Enum("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted")),
			schema.P("status", schema.Str().Enum("failed", "completed", "in-progress")),
			schema.P("tag", schema.Str().MaxLen(255)),
		).Required("server_uuid", "name").Closed())),
	).Required("events").Closed()
	v251 := v21.Extend(
		schema.P("events", schema.Types("array").MinItems(1).Items(schema.Object(
			schema.P("server_uuid", schema.UUID()),
			schema.P("name", schema.Str().Enum("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended")),
			schema.P("status", schema.Str().Enum("failed", "completed", "in-progress")),
			schema.P("tag", schema.Str().MaxLen(255)),
		).Required("server_uuid", "name").Closed())),
	)
	v276 := v251.Extend(
		schema.P("events", schema.Types("array").MinItems(1).Items(schema.Object(
			schema.P("server_uuid", schema.UUID()),
			schema.P("name", schema.Str().Enum("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended", "power-update")),
			schema.P("status", schema.Str().Enum("failed", "completed", "in-progress")),
			schema.P("tag", schema.Str().MaxLen(255)),
		).Required("server_uuid", "name").Closed())),
	)
	v282 := v276.Extend(
		schema.P("events", schema.Types("array").MinItems(1).Items(schema.Object(
			schema.P("server_uuid", schema.UUID()),
			schema.P("name", schema.Str().Enum("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended", "power-update", "accelerator-request-bound")),
			schema.P("status", schema.Str().Enum("failed", "completed", "in-progress")),
			schema.P("tag", schema.Str().MaxLen(255)),
		).Required("server_uuid", "name").Closed())),
	)
	v293 := v282.Extend(
		schema.P("events", schema.Types("array").MinItems(1).Items(schema.Object(
			schema.P("server_uuid", schema.UUID()),
			schema.P("name", schema.Str().Enum("network-changed", "network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended", "power-update", "accelerator-request-bound", "volume-reimaged")),
			schema.P("status", schema.Str().Enum("failed", "completed", "in-progress")),
			schema.P("tag", schema.Str().MaxLen(255)),
		).Required("server_uuid", "name").Closed())),
	)
	return []api.VersionedSchema{
		since("2.1-2.50", v21),
		since("2.51-2.75", v251),
		since("2.76-2.81", v276),
		since("2.82-2.92", v282),
		since("2.93-", v293),
	}
}

// What nova/api/openstack/compute/schemas says of assisted_volume_snapshots.
