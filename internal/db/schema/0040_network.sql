-- The network service. Every resource has the same first columns (upstream's standardattributes; a few have no use for all of them):
-- revision_number is the wire's,
-- rev is the internal revision that documents are cached under (it also grows when a child or an observed column changes).
-- Lists of plain values (pools, routes, tags) are JSON text; what rules look up or what is locked has its own table.

CREATE TABLE net_networks (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    admin_state_up    BOOLEAN NOT NULL,
    mtu               BIGINT NOT NULL,
    port_security     BOOLEAN NOT NULL,
    external          BOOLEAN NOT NULL,
    is_default        BOOLEAN NOT NULL,
    az_hints          TEXT NOT NULL,
    dns_domain        TEXT NOT NULL,
    network_type      TEXT NOT NULL,
    physical_network  TEXT NOT NULL,
    segmentation_id   BIGINT NOT NULL
);
CREATE INDEX net_networks_project ON net_networks (project_id);
CREATE INDEX net_networks_segment ON net_networks (network_type, segmentation_id);
-- A flat network has its physical network to itself, and a VNI belongs to one network.
CREATE UNIQUE INDEX net_networks_flat ON net_networks (physical_network) WHERE network_type = 'flat';
CREATE UNIQUE INDEX net_networks_vxlan ON net_networks (segmentation_id) WHERE network_type = 'vxlan';

CREATE TABLE net_address_scopes (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    ip_version        BIGINT NOT NULL
);
CREATE INDEX net_address_scopes_project ON net_address_scopes (project_id);

CREATE TABLE net_subnetpools (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    ip_version        BIGINT NOT NULL,
    prefixes          TEXT NOT NULL,
    default_prefixlen BIGINT NOT NULL,
    min_prefixlen     BIGINT NOT NULL,
    max_prefixlen     BIGINT NOT NULL,
    default_quota     BIGINT NOT NULL, -- -1: none
    is_default        BOOLEAN NOT NULL,
    address_scope_id  TEXT NOT NULL
);
CREATE INDEX net_subnetpools_project ON net_subnetpools (project_id);
CREATE INDEX net_subnetpools_scope ON net_subnetpools (address_scope_id);

CREATE TABLE net_subnets (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    network_id        TEXT NOT NULL REFERENCES net_networks (id),
    ip_version        BIGINT NOT NULL,
    cidr              TEXT NOT NULL,
    gateway_ip        TEXT NOT NULL,
    enable_dhcp       BOOLEAN NOT NULL,
    ipv6_ra_mode      TEXT NOT NULL,
    ipv6_address_mode TEXT NOT NULL,
    subnetpool_id     TEXT NOT NULL,
    pools             TEXT NOT NULL,
    dns_nameservers   TEXT NOT NULL,
    host_routes       TEXT NOT NULL,
    service_types     TEXT NOT NULL,
    -- Every address of the pools below this one is in use, so that the search for the lowest free one starts here.
    ip_cursor         TEXT NOT NULL
);
CREATE INDEX net_subnets_project ON net_subnets (project_id);
CREATE INDEX net_subnets_network ON net_subnets (network_id);
CREATE INDEX net_subnets_pool ON net_subnets (subnetpool_id);

CREATE TABLE net_ports (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    network_id        TEXT NOT NULL REFERENCES net_networks (id),
    admin_state_up    BOOLEAN NOT NULL,
    mac_address       TEXT NOT NULL,
    device_id         TEXT NOT NULL,
    device_owner      TEXT NOT NULL,
    status            TEXT NOT NULL,
    port_security     BOOLEAN NOT NULL,
    ip_allocation     TEXT NOT NULL,
    host              TEXT NOT NULL,
    vnic_type         TEXT NOT NULL,
    vif_type          TEXT NOT NULL,
    binding_profile   TEXT NOT NULL,
    address_pairs     TEXT NOT NULL,
    dhcp_opts         TEXT NOT NULL,
    dns_name          TEXT NOT NULL,
    -- Compute's part: the place among the server's interfaces, its tag, and whether compute made the port.
    nic_index         BIGINT NOT NULL,
    nic_tag           TEXT NOT NULL,
    made_by_compute   BOOLEAN NOT NULL,
    -- fixed_ips as JSON, so that a port's document needs one row; net_ip_allocations is what keeps addresses unique.
    fixed_ips         TEXT NOT NULL,
    security_groups   TEXT NOT NULL
);
CREATE UNIQUE INDEX net_ports_mac ON net_ports (network_id, mac_address);
CREATE INDEX net_ports_project ON net_ports (project_id);
CREATE INDEX net_ports_device ON net_ports (device_id);
CREATE INDEX net_ports_host ON net_ports (host, network_id);
CREATE INDEX net_ports_network_host ON net_ports (network_id, host);

-- Nodes that serve DHCP for a network besides those that have its guests.
CREATE TABLE net_dhcp_bindings (
    network_id        TEXT NOT NULL,
    node              TEXT NOT NULL,
    PRIMARY KEY (network_id, node)
);
CREATE INDEX net_dhcp_bindings_node ON net_dhcp_bindings (node);

CREATE TABLE net_ip_allocations (
    subnet_id         TEXT NOT NULL,
    ip_key            TEXT NOT NULL, -- 8 or 32 hexadecimal digits: sorts like the address
    ip                TEXT NOT NULL,
    network_id        TEXT NOT NULL,
    port_id           TEXT NOT NULL,
    PRIMARY KEY (subnet_id, ip_key)
);
CREATE INDEX net_ip_allocations_port ON net_ip_allocations (port_id);
CREATE INDEX net_ip_allocations_ip ON net_ip_allocations (network_id, ip);

CREATE TABLE net_security_groups (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    stateful          BOOLEAN NOT NULL,
    is_default        BOOLEAN NOT NULL
);
CREATE INDEX net_security_groups_project ON net_security_groups (project_id);
CREATE UNIQUE INDEX net_security_groups_default ON net_security_groups (project_id) WHERE is_default;

CREATE TABLE net_security_group_rules (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    security_group_id TEXT NOT NULL REFERENCES net_security_groups (id),
    direction         TEXT NOT NULL,
    ethertype         TEXT NOT NULL,
    protocol          TEXT NOT NULL, -- empty: any
    port_range_min    BIGINT NOT NULL, -- -1: any
    port_range_max    BIGINT NOT NULL,
    remote_ip_prefix  TEXT NOT NULL,
    remote_group_id   TEXT NOT NULL
);
CREATE INDEX net_security_group_rules_group ON net_security_group_rules (security_group_id);
CREATE INDEX net_security_group_rules_remote ON net_security_group_rules (remote_group_id);

CREATE TABLE net_port_security_groups (
    port_id           TEXT NOT NULL,
    security_group_id TEXT NOT NULL REFERENCES net_security_groups (id),
    host              TEXT NOT NULL, -- the port's, so that a group's nodes are found by index
    PRIMARY KEY (port_id, security_group_id)
);
CREATE INDEX net_port_security_groups_group ON net_port_security_groups (security_group_id, host);

CREATE TABLE net_routers (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    admin_state_up    BOOLEAN NOT NULL,
    status            TEXT NOT NULL,
    gw_port_id        TEXT NOT NULL,
    enable_snat       BOOLEAN NOT NULL,
    routes            TEXT NOT NULL,
    az_hints          TEXT NOT NULL,
    node              TEXT NOT NULL -- the owner: the one node that realises the router
);
CREATE INDEX net_routers_project ON net_routers (project_id);
CREATE INDEX net_routers_node ON net_routers (node);

CREATE TABLE net_floatingips (
    id                  TEXT PRIMARY KEY,
    project_id          TEXT NOT NULL,
    name                TEXT NOT NULL,
    description         TEXT NOT NULL,
    tags                TEXT NOT NULL,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,
    revision_number     BIGINT NOT NULL,
    rev                 BIGINT NOT NULL,
    floating_network_id TEXT NOT NULL,
    floating_ip_address TEXT NOT NULL,
    floating_port_id    TEXT NOT NULL,
    fixed_ip_address    TEXT NOT NULL,
    port_id             TEXT NOT NULL,
    router_id           TEXT NOT NULL,
    status              TEXT NOT NULL
);
CREATE INDEX net_floatingips_project ON net_floatingips (project_id);
CREATE INDEX net_floatingips_port ON net_floatingips (port_id);
CREATE INDEX net_floatingips_router ON net_floatingips (router_id);
CREATE INDEX net_floatingips_floating_port ON net_floatingips (floating_port_id);

CREATE TABLE net_rbac_policies (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    object_type       TEXT NOT NULL,
    object_id         TEXT NOT NULL,
    target_project    TEXT NOT NULL,
    action            TEXT NOT NULL
);
CREATE UNIQUE INDEX net_rbac_policies_entry ON net_rbac_policies (object_type, object_id, target_project, action);

CREATE TABLE net_quotas (
    project_id        TEXT NOT NULL,
    resource          TEXT NOT NULL,
    quota_limit       BIGINT NOT NULL,
    PRIMARY KEY (project_id, resource)
);

-- What upstream calls agents is derived from nodes; only what an operator may change is kept.
CREATE TABLE net_agents (
    id                TEXT PRIMARY KEY,
    node              TEXT NOT NULL,
    agent_type        TEXT NOT NULL,
    admin_state_up    BOOLEAN NOT NULL,
    description       TEXT NOT NULL
);
CREATE UNIQUE INDEX net_agents_node ON net_agents (node, agent_type);
