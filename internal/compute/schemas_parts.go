package compute

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// What nova/api/openstack/compute/schemas says of server_groups.

func serverGroupsIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("all_projects", schema.NovaQuery()),
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("offset", schema.Array(schema.NovaNonNegative())),
	).Open()
	v275 := v21.Closed()
	return []api.VersionedSchema{
		since("2.1-2.74", v21),
		since("2.75-", v275),
	}
}

func serverGroupsCreateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("server_group", schema.Object(
			schema.P("name", schema.NovaName()),
			schema.P("policies", schema.Array(schema.Str().Enum("anti-affinity", "affinity")).Unique().MinItems(1).MaxItems(1)),
		).Required("name", "policies").Closed()),
	).Required("server_group").Closed()
	v215 := v21.Extend(
		schema.P("server_group", v21.Prop("server_group").Extend(
			schema.P("policies", schema.Array(schema.Str().Enum("anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity")).Unique().MinItems(1).MaxItems(1)),
		)),
	)
	v264 := v215.Extend(
		schema.P("server_group", v215.Prop("server_group").Without("policies").Extend(
			schema.P("policy", schema.Str().Enum("anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity")),
			schema.P("rules", schema.Object(
				schema.P("max_server_per_host", schema.NovaPositive()),
			).Closed()),
		).Required("name", "policy")),
	)
	return []api.VersionedSchema{
		since("2.1-2.14", v21),
		since("2.15-2.63", v215),
		since("2.64-", v264),
	}
}

// What nova/api/openstack/compute/schemas says of server_metadata.

func serverMetadataCreateBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("metadata", schema.NovaMetadata()),
	).Required("metadata").Closed())}
}

func serverMetadataUpdateBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("meta", schema.Object().PatternProps(
			schema.P(`^[a-zA-Z0-9-_:. ]{1,255}$`, schema.Str().MaxLen(255)),
		).Closed().MinProps(1).MaxProps(1)),
	).Required("meta").Closed())}
}

func serverMetadataUpdateAllBody() []api.VersionedSchema { return serverMetadataCreateBody() }

// What nova/api/openstack/compute/schemas says of server_tags.

func serverTagsUpdateAllBody() []api.VersionedSchema {
	v226 := schema.Object(
		schema.P("tags", schema.Array(schema.NovaTag()).MaxItems(50)),
	).Required("tags").Closed()
	return []api.VersionedSchema{
		since("2.26-", v226),
	}
}

// What nova/api/openstack/compute/schemas says of attach_interfaces.

func attachInterfacesCreateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("interfaceAttachment", schema.Object(
			schema.P("net_id", schema.UUID()),
			schema.P("port_id", schema.UUID()),
			schema.P("fixed_ips", schema.Types("array").MinItems(1).MaxItems(1).Items(schema.Object(
				schema.P("ip_address", schema.NovaIP()),
			).Required("ip_address").Closed())),
		).Closed()),
	).Closed()
	v249 := v21.Extend(
		schema.P("interfaceAttachment", v21.Prop("interfaceAttachment").Extend(
			schema.P("tag", schema.NovaTag()),
		)),
	)
	return []api.VersionedSchema{
		since("2.1-2.48", v21),
		since("2.49-", v249),
	}
}

// What nova/api/openstack/compute/schemas says of instance_actions.

func instanceActionsIndexQuery() []api.VersionedSchema {
	v258 := schema.Object(
		schema.P("limit", schema.Single(schema.NovaNonNegative())),
		schema.P("marker", schema.Single(schema.Str())),
		schema.P("changes-since", schema.Single(schema.Str().Format("date-time"))),
	).Closed()
	v266 := v258.Extend(
		schema.P("changes-before", schema.Single(schema.Str().Format("date-time"))),
	)
	return []api.VersionedSchema{
		since("2.58-2.65", v258),
		since("2.66-", v266),
	}
}

// What nova/api/openstack/compute/schemas says of volumes.

func volumesVolumeAttachmentIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("offset", schema.Array(schema.NovaNonNegative())),
	).Open()
	v275 := v21.Closed()
	return []api.VersionedSchema{
		since("2.1-2.74", v21),
		since("2.75-", v275),
	}
}

func volumesVolumeAttachmentCreateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("volumeAttachment", schema.Object(
			schema.P("volumeId", schema.UUID()),
			schema.P("device", schema.Types("string", "null").Pattern(`(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$`)),
		).Required("volumeId").Closed()),
	).Required("volumeAttachment").Closed()
	v249 := v21.Extend(
		schema.P("volumeAttachment", v21.Prop("volumeAttachment").Extend(
			schema.P("tag", schema.NovaTag()),
		)),
	)
	v279 := v249.Extend(
		schema.P("volumeAttachment", v249.Prop("volumeAttachment").Extend(
			schema.P("delete_on_termination", schema.NovaBool()),
		)),
	)
	return []api.VersionedSchema{
		since("2.1-2.48", v21),
		since("2.49-2.78", v249),
		since("2.79-", v279),
	}
}

// What nova/api/openstack/compute/schemas says of image_metadata.

func imageMetadataCreateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("metadata", schema.NovaMetadata()),
	).Required("metadata").Closed()
	return []api.VersionedSchema{
		since("2.1-2.38", v21),
	}
}

func imageMetadataUpdateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("meta", schema.Object().PatternProps(
			schema.P(`^[a-zA-Z0-9-_:. ]{1,255}$`, schema.Str().MaxLen(255)),
		).Closed().MinProps(1).MaxProps(1)),
	).Required("meta").Closed()
	return []api.VersionedSchema{
		since("2.1-2.38", v21),
	}
}

func imageMetadataUpdateAllBody() []api.VersionedSchema { return imageMetadataCreateBody() }

// What nova/api/openstack/compute/schemas says of security_groups.

func securityGroupsIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("offset", schema.Array(schema.NovaNonNegative())),
		schema.P("all_tenants", schema.NovaQuery()),
	).Open()
	return []api.VersionedSchema{
		since("2.1-2.35", v21),
	}
}

// What nova/api/openstack/compute/schemas says of server_migrations.
