package compute

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// What nova/api/openstack/compute/schemas says of servers.

func serversIndexQuery() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("user_id", schema.NovaQuery()),
		schema.P("project_id", schema.NovaQuery()),
		schema.P("tenant_id", schema.NovaQuery()),
		schema.P("launch_index", schema.NovaQuery()),
		schema.P("image_ref", schema.NovaQuery()),
		schema.P("image", schema.NovaQuery()),
		schema.P("kernel_id", schema.NovaQueryRegex()),
		schema.P("ramdisk_id", schema.NovaQueryRegex()),
		schema.P("hostname", schema.NovaQueryRegex()),
		schema.P("key_name", schema.NovaQueryRegex()),
		schema.P("power_state", schema.NovaQueryRegex()),
		schema.P("vm_state", schema.NovaQuery()),
		schema.P("task_state", schema.NovaQuery()),
		schema.P("host", schema.NovaQuery()),
		schema.P("node", schema.NovaQueryRegex()),
		schema.P("flavor", schema.NovaQueryRegex()),
		schema.P("reservation_id", schema.NovaQueryRegex()),
		schema.P("launched_at", schema.NovaQueryRegex()),
		schema.P("terminated_at", schema.NovaQueryRegex()),
		schema.P("availability_zone", schema.NovaQueryRegex()),
		schema.P("name", schema.NovaQueryRegex()),
		schema.P("display_name", schema.NovaQueryRegex()),
		schema.P("description", schema.NovaQueryRegex()),
		schema.P("display_description", schema.NovaQueryRegex()),
		schema.P("locked_by", schema.NovaQueryRegex()),
		schema.P("uuid", schema.NovaQuery()),
		schema.P("root_device_name", schema.NovaQueryRegex()),
		schema.P("config_drive", schema.NovaQueryRegex()),
		schema.P("access_ip_v4", schema.NovaQueryRegex()),
		schema.P("access_ip_v6", schema.NovaQueryRegex()),
		schema.P("auto_disk_config", schema.NovaQueryRegex()),
		schema.P("progress", schema.NovaQueryRegex()),
		schema.P("sort_key", schema.Array(schema.Str().Enum("access_ip_v4", "access_ip_v6", "auto_disk_config", "availability_zone", "config_drive", "created_at", "display_description", "display_name", "host", "hostname", "image_ref", "instance_type_id", "kernel_id", "key_name", "launch_index", "launched_at", "locked_by", "node", "power_state", "progress", "project_id", "ramdisk_id", "root_device_name", "task_state", "terminated_at", "updated_at", "user_id", "uuid", "vm_state", "architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted", "deleted_at", "disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on", "locked", "memory_mb", "os_type", "reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus", "vm_mode"))),
		schema.P("sort_dir", schema.NovaQuery()),
		schema.P("all_tenants", schema.NovaQuery()),
		schema.P("soft_deleted", schema.NovaQuery()),
		schema.P("deleted", schema.NovaQuery()),
		schema.P("status", schema.NovaQuery()),
		schema.P("changes-since", schema.Array(schema.Str().Format("date-time"))),
		schema.P("ip", schema.NovaQueryRegex()),
		schema.P("ip6", schema.NovaQueryRegex()),
		schema.P("created_at", schema.NovaQueryRegex()),
		schema.P("block_device_mapping", schema.NovaQuery()),
		schema.P("services", schema.NovaQuery()),
		schema.P("metadata", schema.NovaQuery()),
		schema.P("system_metadata", schema.NovaQuery()),
		schema.P("info_cache", schema.NovaQuery()),
		schema.P("security_groups", schema.NovaQuery()),
		schema.P("pci_devices", schema.NovaQuery()),
		schema.P("limit", schema.Array(schema.NovaNonNegative())),
		schema.P("marker", schema.NovaQuery()),
	).Open().PatternProps(
		schema.P(`^_`, schema.NovaQuery()),
	)
	v226 := v21.Extend(
		schema.P("tags", schema.NovaQueryRegex()),
		schema.P("tags-any", schema.NovaQueryRegex()),
		schema.P("not-tags", schema.NovaQueryRegex()),
		schema.P("not-tags-any", schema.NovaQueryRegex()),
	)
	v266 := v226.Extend(
		schema.P("changes-before", schema.Array(schema.Str().Format("date-time"))),
	)
	v273 := v266.Extend(
		schema.P("sort_key", schema.Array(schema.Str().Enum("locked", "hostname", "uuid", "vm_state", "access_ip_v6", "instance_type_id", "terminated_at", "root_device_name", "project_id", "locked_by", "access_ip_v4", "key_name", "ramdisk_id", "created_at", "task_state", "kernel_id", "display_description", "node", "auto_disk_config", "host", "availability_zone", "launch_index", "power_state", "progress", "updated_at", "display_name", "image_ref", "config_drive", "user_id", "launched_at", "architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted", "deleted_at", "disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on", "memory_mb", "os_type", "reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus", "vm_mode"))),
		schema.P("locked", schema.NovaQuery()),
	)
	v275 := v273.Extend(
		schema.P("sort_key", schema.Array(schema.Str().Enum("hostname", "uuid", "vm_state", "access_ip_v6", "instance_type_id", "terminated_at", "root_device_name", "project_id", "locked_by", "access_ip_v4", "key_name", "ramdisk_id", "created_at", "task_state", "kernel_id", "display_description", "node", "auto_disk_config", "host", "availability_zone", "launch_index", "power_state", "locked", "progress", "updated_at", "display_name", "image_ref", "config_drive", "user_id", "launched_at"))),
	).Closed()
	return []api.VersionedSchema{
		since("2.1-2.25", v21),
		since("2.26-2.65", v226),
		since("2.66-2.72", v266),
		since("2.73-2.74", v273),
		since("2.75-", v275),
	}
}

func serversDetailQuery() []api.VersionedSchema { return serversIndexQuery() }

func serversCreateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("server", schema.Object(
			schema.P("name", schema.NovaName()),
			schema.P("imageRef", schema.NovaImageIDOrEmpty()),
			schema.P("flavorRef", schema.NovaFlavorRef()),
			schema.P("adminPass", schema.Str()),
			schema.P("metadata", schema.NovaMetadata()),
			schema.P("networks", schema.Array(requestedNetwork(schema.Str(), false))),
			schema.P("OS-DCF:diskConfig", schema.NovaDiskConfig()),
			schema.P("accessIPv4", schema.Str().Format("ipv4")),
			schema.P("accessIPv6", schema.Str().Format("ipv6")),
			schema.P("personality", schema.NovaPersonality()),
			schema.P("availability_zone", schema.NovaName()),
			schema.P("block_device_mapping", schema.Array(schema.Object(
				schema.P("virtual_name", schema.Str().MaxLen(255)),
				schema.P("volume_id", schema.UUID()),
				schema.P("snapshot_id", schema.UUID()),
				schema.P("volume_size", schema.NovaVolumeSize()),
				schema.P("device_name", schema.Str().MinLen(1).MaxLen(255).Pattern(`^[a-zA-Z0-9._-r/]*$`)),
				schema.P("delete_on_termination", schema.NovaBool()),
				schema.P("no_device", schema.Any()),
				schema.P("connection_info", schema.Str().MaxLen(16777215)),
			).Closed())),
			schema.P("block_device_mapping_v2", schema.Array(blockDeviceV2(false, false))),
			schema.P("config_drive", schema.NovaBool()),
			schema.P("key_name", schema.NovaName()),
			schema.P("min_count", schema.NovaPositive()),
			schema.P("max_count", schema.NovaPositive()),
			schema.P("return_reservation_id", schema.NovaBool()),
			schema.P("security_groups", schema.Array(schema.Object(
				schema.P("name", schema.NovaName()),
			).Closed())),
			schema.P("user_data", schema.Str().Format("base64").MaxLen(65535)),
		).Required("name", "flavorRef").Closed()),
		schema.P("os:scheduler_hints", schedulerHints()),
		schema.P("OS-SCH-HNT:scheduler_hints", schedulerHints()),
	).Required("server").Closed()
	v219 := v21.Extend(
		schema.P("server", v21.Prop("server").Extend(
			schema.P("description", schema.NovaDescription()),
		)),
	)
	v232 := v219.Extend(
		schema.P("server", v219.Prop("server").Extend(
			schema.P("networks", schema.Array(requestedNetwork(schema.Str(), true))),
			schema.P("block_device_mapping_v2", schema.Array(blockDeviceV2(true, false))),
		)),
	)
	v233 := v232.Extend(
		schema.P("server", v232.Prop("server").Extend(
			schema.P("block_device_mapping_v2", schema.Array(blockDeviceV2(false, false))),
		)),
	)
	v237 := v233.Extend(
		schema.P("server", v233.Prop("server").Extend(
			schema.P("networks", schema.OneOf(schema.Array(requestedNetwork(schema.UUID(), false)), schema.Str().Enum("none", "auto"))),
		).Required("name", "flavorRef", "networks")),
	)
	v242 := v237.Extend(
		schema.P("server", v237.Prop("server").Extend(
			schema.P("networks", schema.OneOf(schema.Array(requestedNetwork(schema.UUID(), true)), schema.Str().Enum("none", "auto"))),
			schema.P("block_device_mapping_v2", schema.Array(blockDeviceV2(true, false))),
		)),
	)
	v252 := v242.Extend(
		schema.P("server", v242.Prop("server").Extend(
			schema.P("tags", schema.Array(schema.NovaTag()).MaxItems(50)),
		)),
	)
	v257 := v252.Extend(
		schema.P("server", v252.Prop("server").Without("personality")),
	)
	v263 := v257.Extend(
		schema.P("server", v257.Prop("server").Extend(
			schema.P("trusted_image_certificates", schema.NovaTrustedCerts()),
		)),
	)
	v267 := v263.Extend(
		schema.P("server", v263.Prop("server").Extend(
			schema.P("block_device_mapping_v2", schema.Array(blockDeviceV2(true, true))),
		)),
	)
	v274 := v267.Extend(
		schema.P("server", v267.Prop("server").Extend(
			schema.P("host", schema.NovaFQDN()),
			schema.P("hypervisor_hostname", schema.NovaFQDN()),
		)),
	)
	v290 := v274.Extend(
		schema.P("server", v274.Prop("server").Extend(
			schema.P("hostname", schema.NovaHostname()),
		)),
	)
	v294 := v290.Extend(
		schema.P("server", v290.Prop("server").Extend(
			schema.P("hostname", schema.NovaFQDN()),
		)),
	)
	return []api.VersionedSchema{
		since("2.1-2.18", v21),
		since("2.19-2.31", v219),
		since("2.32-2.32", v232),
		since("2.33-2.36", v233),
		since("2.37-2.41", v237),
		since("2.42-2.51", v242),
		since("2.52-2.56", v252),
		since("2.57-2.62", v257),
		since("2.63-2.66", v263),
		since("2.67-2.73", v267),
		since("2.74-2.89", v274),
		since("2.90-2.93", v290),
		since("2.94-", v294),
	}
}

func serversUpdateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("server", schema.Object(
			schema.P("name", schema.NovaName()),
			schema.P("OS-DCF:diskConfig", schema.NovaDiskConfig()),
			schema.P("accessIPv4", schema.Str().Format("ipv4")),
			schema.P("accessIPv6", schema.Str().Format("ipv6")),
		).Closed()),
	).Required("server").Closed()
	v219 := v21.Extend(
		schema.P("server", v21.Prop("server").Extend(
			schema.P("description", schema.NovaDescription()),
		)),
	)
	v290 := v219.Extend(
		schema.P("server", v219.Prop("server").Extend(
			schema.P("hostname", schema.NovaHostname()),
		)),
	)
	v294 := v290.Extend(
		schema.P("server", v290.Prop("server").Extend(
			schema.P("hostname", schema.NovaFQDN()),
		)),
	)
	return []api.VersionedSchema{
		since("2.1-2.18", v21),
		since("2.19-2.89", v219),
		since("2.90-2.93", v290),
		since("2.94-", v294),
	}
}

func serversActionRebootBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("reboot", schema.Object(
			schema.P("type", schema.Str().Enum("HARD", "Hard", "hard", "SOFT", "Soft", "soft")),
		).Required("type").Closed()),
	).Required("reboot").Closed())}
}

func serversActionResizeBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("resize", schema.Object(
			schema.P("flavorRef", schema.NovaFlavorRef()),
			schema.P("OS-DCF:diskConfig", schema.NovaDiskConfig()),
		).Required("flavorRef").Closed()),
	).Required("resize").Closed())}
}

func serversActionRebuildBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("rebuild", schema.Object(
			schema.P("name", schema.NovaName()),
			schema.P("imageRef", schema.UUID()),
			schema.P("adminPass", schema.Str()),
			schema.P("metadata", schema.NovaMetadata()),
			schema.P("preserve_ephemeral", schema.NovaBool()),
			schema.P("OS-DCF:diskConfig", schema.NovaDiskConfig()),
			schema.P("accessIPv4", schema.Str().Format("ipv4")),
			schema.P("accessIPv6", schema.Str().Format("ipv6")),
			schema.P("personality", schema.NovaPersonality()),
		).Required("imageRef").Closed()),
	).Required("rebuild").Closed()
	v219 := v21.Extend(
		schema.P("rebuild", v21.Prop("rebuild").Extend(
			schema.P("description", schema.NovaDescription()),
		)),
	)
	v254 := v219.Extend(
		schema.P("rebuild", v219.Prop("rebuild").Extend(
			schema.P("key_name", schema.NovaNameOrNone()),
		)),
	)
	v257 := v254.Extend(
		schema.P("rebuild", v254.Prop("rebuild").Without("personality").Extend(
			schema.P("user_data", schema.OneOf(schema.Str().Format("base64").MaxLen(65535), schema.Null())),
		)),
	)
	v263 := v257.Extend(
		schema.P("rebuild", v257.Prop("rebuild").Extend(
			schema.P("trusted_image_certificates", schema.NovaTrustedCerts()),
		)),
	)
	v290 := v263.Extend(
		schema.P("rebuild", v263.Prop("rebuild").Extend(
			schema.P("hostname", schema.NovaHostname()),
		)),
	)
	v294 := v290.Extend(
		schema.P("rebuild", v290.Prop("rebuild").Extend(
			schema.P("hostname", schema.NovaFQDN()),
		)),
	)
	return []api.VersionedSchema{
		since("2.1-2.18", v21),
		since("2.19-2.53", v219),
		since("2.54-2.56", v254),
		since("2.57-2.62", v257),
		since("2.63-2.89", v263),
		since("2.90-2.93", v290),
		since("2.94-", v294),
	}
}

func serversActionCreateImageBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("createImage", schema.Object(
			schema.P("name", schema.NovaName()),
			schema.P("metadata", schema.NovaMetadata()),
		).Required("name").Closed()),
	).Required("createImage").Closed())}
}

func serversActionTriggerCrashDumpBody() []api.VersionedSchema {
	v217 := schema.Object(
		schema.P("trigger_crash_dump", schema.Null()),
	).Required("trigger_crash_dump").Closed()
	return []api.VersionedSchema{
		since("2.17-", v217),
	}
}

func blockDeviceV2(tag, volumeType bool) *schema.Schema {
	s := schema.Object(
		schema.P("virtual_name", schema.Str().MaxLen(255)),
		schema.P("volume_id", schema.UUID()),
		schema.P("snapshot_id", schema.UUID()),
		schema.P("volume_size", schema.NovaVolumeSize()),
		schema.P("device_name", schema.Str().MinLen(1).MaxLen(255).Pattern(`^[a-zA-Z0-9._-r/]*$`)),
		schema.P("delete_on_termination", schema.NovaBool()),
		schema.P("no_device", schema.Any()),
		schema.P("connection_info", schema.Str().MaxLen(16777215)),
		schema.P("source_type", schema.Str().Enum("volume", "image", "snapshot", "blank")),
		schema.P("uuid", schema.Str().MinLen(1).MaxLen(255).Pattern(`^[a-zA-Z0-9._-]*$`)),
		schema.P("image_id", schema.UUID()),
		schema.P("destination_type", schema.Str().Enum("local", "volume")),
		schema.P("guest_format", schema.Str().MaxLen(255)),
		schema.P("device_type", schema.Str().MaxLen(255)),
		schema.P("disk_bus", schema.Str().MaxLen(255)),
		schema.P("boot_index", schema.Types("integer", "string", "null").Pattern(`^-?[0-9]+$`)),
	).Closed()
	if tag {
		s = s.Extend(schema.P("tag", schema.NovaTag()))
	}
	if volumeType {
		s = s.Extend(schema.P("volume_type", schema.Types("string", "null").MinLen(0).MaxLen(255)))
	}
	return s
}

func schedulerHints() *schema.Schema {
	return schema.Object(
		schema.P("group", schema.UUID()),
		schema.P("different_host", schema.OneOf(schema.UUID(), schema.Array(schema.UUID()))),
		schema.P("same_host", schema.Types("string", "array").Items(schema.UUID())),
		schema.P("query", schema.Types("string", "object")),
		schema.P("target_cell", schema.NovaName()),
		schema.P("different_cell", schema.Types("string", "array").Items(schema.Str())),
		schema.P("build_near_host_ip", schema.NovaIP()),
		schema.P("cidr", schema.Str().Pattern(`^/[0-9a-f.:]+$`)),
	).Open()
}

func requestedNetwork(id *schema.Schema, tag bool) *schema.Schema {
	s := schema.Object(
		schema.P("fixed_ip", schema.NovaIP()),
		schema.P("port", schema.OneOf(schema.UUID(), schema.Null())),
		schema.P("uuid", id),
	).Closed()
	if tag {
		s = s.Extend(schema.P("tag", schema.NovaTag()))
	}
	return s
}
