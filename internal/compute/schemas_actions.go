package compute

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// What nova/api/openstack/compute/schemas says of admin_actions.

func adminActionsResetStateBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("os-resetState", schema.Object(
			schema.P("state", schema.Str().Enum("active", "error")),
		).Required("state").Closed()),
	).Required("os-resetState").Closed())}
}

// What nova/api/openstack/compute/schemas says of admin_password.

func adminPasswordChangePasswordBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("changePassword", schema.Object(
			schema.P("adminPass", schema.Str()),
		).Required("adminPass").Closed()),
	).Required("changePassword").Closed())}
}

// What nova/api/openstack/compute/schemas says of console_output.

func consoleOutputGetConsoleOutputBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("os-getConsoleOutput", schema.Object(
			schema.P("length", schema.Types("integer", "string", "null").Pattern(`^-?[0-9]+$`).Min(-1)),
		).Closed()),
	).Required("os-getConsoleOutput").Closed())}
}

// What nova/api/openstack/compute/schemas says of create_backup.

func createBackupCreateBackupBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("createBackup", schema.Object(
			schema.P("name", schema.NovaName()),
			schema.P("backup_type", schema.Str()),
			schema.P("rotation", schema.NovaNonNegative()),
			schema.P("metadata", schema.NovaMetadata()),
		).Required("name", "backup_type", "rotation").Closed()),
	).Required("createBackup").Closed())}
}

// What nova/api/openstack/compute/schemas says of evacuate.

func evacuateEvacuateBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("evacuate", schema.Object(
			schema.P("host", schema.NovaFQDN()),
			schema.P("onSharedStorage", schema.NovaBool()),
			schema.P("adminPass", schema.Str()),
		).Required("onSharedStorage").Closed()),
	).Required("evacuate").Closed()
	v214 := v21.Extend(
		schema.P("evacuate", schema.Object(
			schema.P("host", schema.NovaFQDN()),
			schema.P("adminPass", schema.Str()),
		).Closed()),
	)
	v229 := v214.Extend(
		schema.P("evacuate", v214.Prop("evacuate").Extend(
			schema.P("force", schema.NovaBool()),
		)),
	)
	v268 := v229.Extend(
		schema.P("evacuate", schema.Object(
			schema.P("host", schema.NovaFQDN()),
			schema.P("adminPass", schema.Str()),
		).Closed()),
	)
	return []api.VersionedSchema{
		since("2.1-2.13", v21),
		since("2.14-2.28", v214),
		since("2.29-2.67", v229),
		since("2.68-", v268),
	}
}

// What nova/api/openstack/compute/schemas says of lock_server.

func lockServerLockBody() []api.VersionedSchema {
	v273 := schema.Object(
		schema.P("lock", schema.Types("object", "null").Props(
			schema.P("locked_reason", schema.Str().MinLen(1).MaxLen(255)),
		).Closed()),
	).Required("lock").Closed()
	return []api.VersionedSchema{
		since("2.73-", v273),
	}
}

// What nova/api/openstack/compute/schemas says of migrate_server.

func migrateServerMigrateBody() []api.VersionedSchema {
	v256 := schema.Object(
		schema.P("migrate", schema.Types("object", "null").Props(
			schema.P("host", schema.Types("string", "null").MinLen(1).MaxLen(255).Pattern(`^[a-zA-Z0-9-._]*$`)),
		).Closed()),
	).Required("migrate").Closed()
	return []api.VersionedSchema{
		since("2.56-", v256),
	}
}

func migrateServerMigrateLiveBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("os-migrateLive", schema.Object(
			schema.P("block_migration", schema.NovaBool()),
			schema.P("disk_over_commit", schema.NovaBool()),
			schema.P("host", schema.Types("string", "null").MinLen(1).MaxLen(255).Pattern(`^[a-zA-Z0-9-._]*$`)),
		).Required("block_migration", "disk_over_commit", "host").Closed()),
	).Required("os-migrateLive").Closed()
	v225 := v21.Extend(
		schema.P("os-migrateLive", v21.Prop("os-migrateLive").Without("disk_over_commit").Extend(
			schema.P("block_migration", schema.Types("boolean", "string").Enum(true, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", false, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "auto")),
		).Required("block_migration", "host")),
	)
	v230 := v225.Extend(
		schema.P("os-migrateLive", v225.Prop("os-migrateLive").Extend(
			schema.P("force", schema.NovaBool()),
		)),
	)
	v268 := v230.Extend(
		schema.P("os-migrateLive", v230.Prop("os-migrateLive").Without("force")),
	)
	return []api.VersionedSchema{
		since("2.1-2.24", v21),
		since("2.25-2.29", v225),
		since("2.30-2.67", v230),
		since("2.68-", v268),
	}
}

// What nova/api/openstack/compute/schemas says of multinic.

func multinicAddFixedIpBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("addFixedIp", schema.Object(
			schema.P("networkId", schema.Types("string", "number").MinLen(1).MaxLen(36)),
		).Required("networkId").Closed()),
	).Required("addFixedIp").Closed()
	return []api.VersionedSchema{
		since("2.1-2.43", v21),
	}
}

func multinicRemoveFixedIpBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("removeFixedIp", schema.Object(
			schema.P("address", schema.NovaIP()),
		).Required("address").Closed()),
	).Required("removeFixedIp").Closed()
	return []api.VersionedSchema{
		since("2.1-2.43", v21),
	}
}

// What nova/api/openstack/compute/schemas says of remote_consoles.

func remoteConsolesGetVncConsoleBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("os-getVNCConsole", schema.Object(
			schema.P("type", schema.Str().Enum("novnc", "xvpvnc")),
		).Required("type").Closed()),
	).Required("os-getVNCConsole").Closed()
	return []api.VersionedSchema{
		since("2.1-2.5", v21),
	}
}

func remoteConsolesGetSpiceConsoleBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("os-getSPICEConsole", schema.Object(
			schema.P("type", schema.Str().Enum("spice-html5")),
		).Required("type").Closed()),
	).Required("os-getSPICEConsole").Closed()
	return []api.VersionedSchema{
		since("2.1-2.5", v21),
	}
}

func remoteConsolesGetRdpConsoleBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("os-getRDPConsole", schema.Object(
			schema.P("type", schema.Str().Enum("rdp-html5")),
		).Required("type").Closed()),
	).Required("os-getRDPConsole").Closed()
	return []api.VersionedSchema{
		since("2.1-2.5", v21),
	}
}

func remoteConsolesGetSerialConsoleBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("os-getSerialConsole", schema.Object(
			schema.P("type", schema.Str().Enum("serial")),
		).Required("type").Closed()),
	).Required("os-getSerialConsole").Closed()
	return []api.VersionedSchema{
		since("2.1-2.5", v21),
	}
}

func remoteConsolesCreateBody() []api.VersionedSchema {
	v26 := schema.Object(
		schema.P("remote_console", schema.Object(
			schema.P("protocol", schema.Str().Enum("vnc", "spice", "rdp", "serial")),
			schema.P("type", schema.Str().Enum("novnc", "xvpvnc", "rdp-html5", "spice-html5", "serial")),
		).Required("protocol", "type").Closed()),
	).Required("remote_console").Closed()
	v28 := v26.Extend(
		schema.P("remote_console", v26.Prop("remote_console").Extend(
			schema.P("protocol", schema.Str().Enum("vnc", "spice", "rdp", "serial", "mks")),
			schema.P("type", schema.Str().Enum("novnc", "xvpvnc", "rdp-html5", "spice-html5", "serial", "webmks")),
		)),
	)
	v299 := v28.Extend(
		schema.P("remote_console", v28.Prop("remote_console").Extend(
			schema.P("type", schema.Str().Enum("novnc", "xvpvnc", "spice-html5", "spice-direct", "serial", "webmks")),
		)),
	)
	return []api.VersionedSchema{
		since("2.6-2.7", v26),
		since("2.8-2.98", v28),
		since("2.99-", v299),
	}
}

// What nova/api/openstack/compute/schemas says of rescue.

func rescueRescueBody() []api.VersionedSchema {
	return []api.VersionedSchema{always(schema.Object(
		schema.P("rescue", schema.Types("object", "null").Props(
			schema.P("adminPass", schema.Str()),
			schema.P("rescue_image_ref", schema.UUID()),
		).Closed()),
	).Required("rescue").Closed())}
}

// What nova/api/openstack/compute/schemas says of shelve.

func shelveUnshelveBody() []api.VersionedSchema {
	v277 := schema.Object(
		schema.P("unshelve", schema.Types("object", "null").Props(
			schema.P("availability_zone", schema.NovaName()),
		).Required("availability_zone").Closed()),
	).Required("unshelve").Closed()
	v291 := v277.Extend(
		schema.P("unshelve", schema.OneOf(schema.Types("object").Props(
			schema.P("availability_zone", schema.OneOf(schema.Types("null"), schema.Str())),
			schema.P("host", schema.Str()),
		).Closed(), schema.Types("null"))),
	)
	return []api.VersionedSchema{
		since("2.77-2.90", v277),
		since("2.91-", v291),
	}
}

// What nova/api/openstack/compute/schemas says of floating_ips.

func floatingIpsAddFloatingIpBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("addFloatingIp", schema.Object(
			schema.P("address", schema.NovaIP()),
			schema.P("fixed_address", schema.NovaIP()),
		).Required("address").Closed()),
	).Required("addFloatingIp").Closed()
	return []api.VersionedSchema{
		since("2.1-2.43", v21),
	}
}

func floatingIpsRemoveFloatingIpBody() []api.VersionedSchema {
	v21 := schema.Object(
		schema.P("removeFloatingIp", schema.Object(
			schema.P("address", schema.NovaIP()),
		).Required("address").Closed()),
	).Required("removeFloatingIp").Closed()
	return []api.VersionedSchema{
		since("2.1-2.43", v21),
	}
}
