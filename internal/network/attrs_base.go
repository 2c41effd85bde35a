package network

// Attribute maps of networks, subnets and ports (neutron_lib/api/definitions), one line an attribute.

func networkAttrs() []attr {
	return append(standardAttrs(plainName(), "tags in POST"),
		attr{name: "subnets"},
		attr{name: "admin_state_up", post: true, put: true, def: true, convert: toBool, column: "t.admin_state_up", sort: true, kind: boolean},
		attr{name: "status", column: "'ACTIVE'"},
		attr{name: "shared", post: true, put: true, def: false, convert: toBool, enforce: true},
		attr{name: "ipv4_address_scope"},
		attr{name: "ipv6_address_scope"},
		attr{name: "router:external", post: true, put: true, def: false, convert: toBool, enforce: true, column: "t.external", kind: boolean},
		attr{name: "is_default", post: true, put: true, def: false, convert: toBool, enforce: true, column: "t.is_default", kind: boolean},
		attr{name: "availability_zones"},
		attr{name: "availability_zone_hints", post: true, def: []any{}, validate: vAZHints},
		attr{name: "mtu", post: true, put: true, def: int64(0), convert: toInt, validate: vNonNegative, enforce: true, column: "t.mtu", sort: true, kind: integer},
		attr{name: "port_security_enabled", post: true, put: true, def: true, convert: toBool, enforce: true},
		attr{name: "provider:network_type", post: true, put: true, def: unset{}, validate: vString(32), enforce: true, column: "t.network_type"},
		attr{name: "provider:physical_network", post: true, put: true, def: unset{}, validate: vStringOrNone(64), enforce: true, column: "t.physical_network"},
		attr{name: "qos_policy_id", post: true, put: true, def: nil, validate: vUUIDOrNone, enforce: true},
		attr{name: "provider:segmentation_id", post: true, put: true, def: unset{}, convert: intOrNone, enforce: true, column: "t.segmentation_id", kind: integer},
	)
}

func intOrNone(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	return toInt(v)
}

func subnetAttrs() []attr {
	modes := vValues("dhcpv6-stateful", "dhcpv6-stateless", "slaac")
	return append(standardAttrs(plainName(), "tags in POST"),
		attr{name: "ip_version", post: true, required: true, convert: toInt, validate: vValues(int64(4), int64(6)), column: "t.ip_version", sort: true, kind: integer},
		attr{name: "network_id", post: true, required: true, validate: vUUID, column: "t.network_id", sort: true},
		attr{name: "subnetpool_id", post: true, def: unset{}, validate: vUUIDOrNone, column: "t.subnetpool_id", sort: true, kind: nullable},
		attr{name: "prefixlen", post: true, def: unset{}, convert: toInt, validate: vNonNegative, hidden: true},
		attr{name: "cidr", post: true, def: unset{}, convert: canonicalCIDR, validate: vSubnetOrNone, column: "t.cidr", sort: true},
		attr{name: "gateway_ip", post: true, put: true, def: unset{}, convert: canonicalIP, validate: vIPOrNone, column: "t.gateway_ip", sort: true, kind: nullable},
		attr{name: "allocation_pools", post: true, put: true, def: unset{}, validate: vPools},
		attr{name: "dns_nameservers", post: true, put: true, def: unset{}, convert: noneToList, validate: vNameservers},
		attr{name: "host_routes", post: true, put: true, def: unset{}, convert: noneToList, validate: vHostRoutes},
		attr{name: "enable_dhcp", post: true, put: true, def: true, convert: toBool, column: "t.enable_dhcp", sort: true, kind: boolean},
		attr{name: "ipv6_ra_mode", post: true, def: unset{}, validate: modes, column: "t.ipv6_ra_mode", sort: true, kind: nullable},
		attr{name: "ipv6_address_mode", post: true, def: unset{}, validate: modes, column: "t.ipv6_address_mode", sort: true, kind: nullable},
		attr{name: "shared", hidden: true},
		attr{name: "use_default_subnetpool", post: true, def: false, convert: toBool, hidden: true},
		attr{name: "service_types", post: true, put: true, def: unset{}, validate: vServiceTypes, enforce: true},
	)
}

func portAttrs() []attr {
	return append(standardAttrs(plainName(), "tags in POST"),
		attr{name: "network_id", post: true, required: true, validate: vUUID, column: "t.network_id", sort: true},
		attr{name: "admin_state_up", post: true, put: true, def: true, convert: toBool, column: "t.admin_state_up", sort: true, kind: boolean},
		attr{name: "mac_address", post: true, put: true, def: unset{}, convert: chain(macIfNone, sanitizedMAC), validate: vMACOrRandom, enforce: true, column: "t.mac_address", sort: true},
		attr{name: "fixed_ips", post: true, put: true, def: unset{}, validate: vFixedIPs, enforce: true},
		attr{name: "device_id", post: true, put: true, def: "", validate: vString(255), column: "t.device_id", sort: true},
		attr{name: "device_owner", post: true, put: true, def: "", validate: vString(255), enforce: true, column: "t.device_owner", sort: true},
		attr{name: "status", column: "t.status", sort: true},
		attr{name: "allowed_address_pairs", post: true, put: true, def: unset{}, convert: noneToList, validate: vAddressPairs, enforce: true},
		attr{name: "extra_dhcp_opts", post: true, put: true, def: nil, validate: vExtraDHCPOpts},
		attr{name: "ip_allocation", column: "t.ip_allocation", sort: true},
		attr{name: "port_security_enabled", post: true, put: true, def: unset{}, convert: toBool, enforce: true},
		attr{name: "binding:vif_type", enforce: true},
		attr{name: "binding:vif_details", enforce: true},
		attr{name: "binding:vnic_type", post: true, put: true, def: "normal", enforce: true, validate: vValues("normal", "direct", "macvtap", "baremetal",
			"direct-physical", "virtio-forwarder", "smart-nic", "vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed")},
		attr{name: "binding:host_id", post: true, put: true, def: unset{}, validate: vStringOrNone(255), enforce: true, column: "t.host"},
		attr{name: "binding:profile", post: true, put: true, def: unset{}, validate: vDictOrNone, enforce: true},
		attr{name: "qos_policy_id", post: true, put: true, def: nil, validate: vUUIDOrNone, enforce: true},
		attr{name: "security_groups", post: true, put: true, def: unset{}, convert: noneToList, validate: vUUIDList},
	)
}

// randomMAC marks a MAC that the client left to us by sending null.
type randomMAC struct{}

func macIfNone(v any) (any, error) {
	if v == nil {
		return randomMAC{}, nil
	}
	return v, nil
}

func vMACOrRandom(v any) (string, error) {
	if v == (randomMAC{}) {
		return "", nil
	}
	return vMAC(v)
}

// vServiceTypes accepts device owners (neutron_lib/api/validators, validate_subnet_service_types).
func vServiceTypes(v any) (string, error) {
	l, ok := v.([]any)
	if !ok {
		return "Subnet service types must be a list", nil
	}
	for _, e := range l {
		s, ok := e.(string)
		if !ok {
			return "", badRequest("InvalidInputSubnetServiceType", "Subnet service type %s is not a string.", str(e))
		}
		if !deviceOwnerPrefix(s) {
			return "", badRequest("InvalidSubnetServiceType", "Subnet service type %s does not correspond to a valid device owner.", s)
		}
	}
	return listProblem(v, func(any) string { return "" }), nil
}

func deviceOwnerPrefix(s string) bool {
	for _, p := range []string{"network:", "neutron:", "compute:", "baremetal:", "trunk:"} {
		if len(s) >= len(p) && s[:len(p)] == p {
			return true
		}
	}
	return false
}
