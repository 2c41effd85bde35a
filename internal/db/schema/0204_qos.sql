-- QoS policies, their rules, and who has them.
CREATE TABLE net_qos_policies (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    is_default        BOOLEAN NOT NULL
);
CREATE INDEX net_qos_policies_project ON net_qos_policies (project_id);
CREATE UNIQUE INDEX net_qos_policies_default ON net_qos_policies (project_id) WHERE is_default;

CREATE TABLE net_qos_rules (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    policy_id         TEXT NOT NULL REFERENCES net_qos_policies (id),
    kind              TEXT NOT NULL, -- bandwidth_limit, packet_rate_limit, dscp_marking
    direction         TEXT NOT NULL, -- empty for marks
    rate              BIGINT NOT NULL, -- kbps, kpps, or the mark
    burst             BIGINT NOT NULL
);
CREATE UNIQUE INDEX net_qos_rules_kind ON net_qos_rules (policy_id, kind, direction);

ALTER TABLE net_networks ADD COLUMN qos_policy_id TEXT NOT NULL DEFAULT '';
ALTER TABLE net_ports ADD COLUMN qos_policy_id TEXT NOT NULL DEFAULT '';
CREATE INDEX net_networks_qos ON net_networks (qos_policy_id);
CREATE INDEX net_ports_qos ON net_ports (qos_policy_id);
