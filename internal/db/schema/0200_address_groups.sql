-- Address groups: sets of addresses that rules of security groups may name. addresses is a JSON list of CIDRs.
CREATE TABLE net_address_groups (
    id                TEXT PRIMARY KEY,
    project_id        TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT NOT NULL,
    tags              TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision_number   BIGINT NOT NULL,
    rev               BIGINT NOT NULL,
    addresses         TEXT NOT NULL
);
CREATE INDEX net_address_groups_project ON net_address_groups (project_id);

ALTER TABLE net_security_group_rules ADD COLUMN remote_address_group_id TEXT NOT NULL DEFAULT '';
CREATE INDEX net_security_group_rules_address_group ON net_security_group_rules (remote_address_group_id);
