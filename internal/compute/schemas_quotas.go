package compute

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// What nova/api/openstack/compute/schemas says of quota_classes.

func quotaClassesUpdateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("quota_class_set", schema.Any().Props(
			schema.P("instances", quotaValue()),
			schema.P("cores", quotaValue()),
			schema.P("ram", quotaValue()),
			schema.P("floating_ips", quotaValue()),
			schema.P("fixed_ips", quotaValue()),
			schema.P("metadata_items", quotaValue()),
			schema.P("key_pairs", quotaValue()),
			schema.P("security_groups", quotaValue()),
			schema.P("security_group_rules", quotaValue()),
			schema.P("injected_files", quotaValue()),
			schema.P("injected_file_content_bytes", quotaValue()),
			schema.P("injected_file_path_bytes", quotaValue()),
			schema.P("server_groups", quotaValue()),
			schema.P("server_group_members", quotaValue()),
			schema.P("networks", quotaValue()),
		).Closed()),
	).Required("quota_class_set").Closed()
	v250 := v21.Extend(
		schema.P("quota_class_set", v21.Prop("quota_class_set").Without("floating_ips", "fixed_ips", "security_groups", "security_group_rules", "networks")),
	)
	v257 := v250.Extend(
		schema.P("quota_class_set", v250.Prop("quota_class_set").Without("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")),
	)
	return []api.VersionedSchema{
		since("2.1-2.49", v21),
		since("2.50-2.56", v250),
		since("2.57-", v257),
	}
}

// What nova/api/openstack/compute/schemas says of quota_sets.

func quotaSetsShowQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("user_id", schema.NovaQuery()),
	).Open()
	v275 := schema.Object(
		schema.P("user_id", schema.NovaQuery()),
	).Closed()
	return []api.VersionedSchema{
		since("2.1-2.74", v21),
		since("2.75-", v275),
	}
}

func quotaSetsDetailQuery() []api.VersionedSchema { return quotaSetsShowQuery() }

func quotaSetsUpdateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("quota_set", schema.Any().Props(
			schema.P("instances", quotaValue()),
			schema.P("cores", quotaValue()),
			schema.P("ram", quotaValue()),
			schema.P("floating_ips", quotaValue()),
			schema.P("fixed_ips", quotaValue()),
			schema.P("metadata_items", quotaValue()),
			schema.P("key_pairs", quotaValue()),
			schema.P("security_groups", quotaValue()),
			schema.P("security_group_rules", quotaValue()),
			schema.P("injected_files", quotaValue()),
			schema.P("injected_file_content_bytes", quotaValue()),
			schema.P("injected_file_path_bytes", quotaValue()),
			schema.P("server_groups", quotaValue()),
			schema.P("server_group_members", quotaValue()),
			schema.P("networks", quotaValue()),
			schema.P("force", schema.NovaBool()),
		).Closed()),
	).Required("quota_set").Closed()
	v236 := v21.Extend(
		schema.P("quota_set", v21.Prop("quota_set").Without("floating_ips", "fixed_ips", "security_groups", "security_group_rules", "networks")),
	)
	v257 := v236.Extend(
		schema.P("quota_set", v236.Prop("quota_set").Without("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")),
	)
	return []api.VersionedSchema{
		since("2.1-2.35", v21),
		since("2.36-2.56", v236),
		since("2.57-", v257),
	}
}

func quotaSetsUpdateQuery() []api.VersionedSchema { return quotaSetsShowQuery() }

func quotaSetsDeleteQuery() []api.VersionedSchema { return quotaSetsShowQuery() }

// What nova/api/openstack/compute/schemas says of limits.

func limitsIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("tenant_id", schema.NovaQuery()),
	).Open()
	v236 := v21
	v239 := v236
	v257 := v239
	v275 := schema.Object(
		schema.P("tenant_id", schema.NovaQuery()),
	).Closed()
	return []api.VersionedSchema{
		since("2.1-2.35", v21),
		since("2.36-2.38", v236),
		since("2.39-2.56", v239),
		since("2.57-2.74", v257),
		since("2.75-", v275),
	}
}

// What nova/api/openstack/compute/schemas says of simple_tenant_usage.

func simpleTenantUsageIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("start", schema.NovaQuery()),
		schema.P("end", schema.NovaQuery()),
		schema.P("detailed", schema.NovaQuery()),
	).Open()
	v240 := v21.Extend(
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("marker", schema.NovaQuery()),
	)
	v275 := v240.Closed()
	return []api.VersionedSchema{
		since("2.1-2.39", v21),
		since("2.40-2.74", v240),
		since("2.75-", v275),
	}
}

func simpleTenantUsageShowQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("start", schema.NovaQuery()),
		schema.P("end", schema.NovaQuery()),
	).Open()
	v240 := v21.Extend(
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("marker", schema.NovaQuery()),
	)
	v275 := v240.Closed()
	return []api.VersionedSchema{
		since("2.1-2.39", v21),
		since("2.40-2.74", v240),
		since("2.75-", v275),
	}
}

func quotaValue() *schema.Schema {
	return schema.Types("integer", "string").Pattern(`^-?[0-9]+$`).Min(-1).Max(2147483647)
}
