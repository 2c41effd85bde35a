-- Ports of a floating IP that lead to ports behind its router. A range of one port has equal ends.
CREATE TABLE net_port_forwardings (
    id                  TEXT PRIMARY KEY,
    project_id          TEXT NOT NULL,
    name                TEXT NOT NULL,
    description         TEXT NOT NULL,
    tags                TEXT NOT NULL,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,
    revision_number     BIGINT NOT NULL,
    rev                 BIGINT NOT NULL,
    floatingip_id       TEXT NOT NULL REFERENCES net_floatingips (id),
    protocol            TEXT NOT NULL,
    external_port_start BIGINT NOT NULL,
    external_port_end   BIGINT NOT NULL,
    internal_port_id    TEXT NOT NULL REFERENCES net_ports (id),
    internal_ip_address TEXT NOT NULL,
    internal_port_start BIGINT NOT NULL,
    internal_port_end   BIGINT NOT NULL
);
CREATE INDEX net_port_forwardings_floatingip ON net_port_forwardings (floatingip_id);
CREATE INDEX net_port_forwardings_port ON net_port_forwardings (internal_port_id);
