-- Federation: identity providers, how they may be used, what their users become here.
-- A provider's and a protocol's epoch are drawn from the revisions when they are made, and again when tokens that came by them must end: a token
-- carries their sum, which never comes back.

CREATE TABLE identity_providers (
    id                TEXT PRIMARY KEY,
    domain_id         TEXT NOT NULL,
    enabled           BOOLEAN NOT NULL DEFAULT FALSE,
    description       TEXT NOT NULL DEFAULT '', -- JSON; '' is null
    authorization_ttl BIGINT NOT NULL DEFAULT -1, -- minutes; -1 is null
    remote_ids        TEXT NOT NULL DEFAULT '[]',
    epoch             BIGINT NOT NULL DEFAULT 0,
    revision          BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX identity_providers_domain ON identity_providers (domain_id);

-- The same ids once more, so that none is two providers'.
CREATE TABLE identity_provider_remote_ids (
    remote_id TEXT PRIMARY KEY,
    idp_id    TEXT NOT NULL
);
CREATE INDEX identity_provider_remote_ids_idp ON identity_provider_remote_ids (idp_id);

CREATE TABLE identity_mappings (
    id             TEXT PRIMARY KEY,
    rules          TEXT NOT NULL,
    schema_version TEXT NOT NULL DEFAULT '1.0',
    revision       BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE identity_protocols (
    idp_id              TEXT NOT NULL,
    id                  TEXT NOT NULL,
    mapping_id          TEXT NOT NULL,
    remote_id_attribute TEXT NOT NULL DEFAULT '', -- JSON; '' is null
    epoch               BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (idp_id, id)
);
CREATE INDEX identity_protocols_mapping ON identity_protocols (mapping_id);

CREATE TABLE identity_service_providers (
    id                 TEXT PRIMARY KEY,
    enabled            BOOLEAN NOT NULL DEFAULT FALSE,
    description        TEXT NOT NULL DEFAULT '', -- JSON; '' is null
    auth_url           TEXT NOT NULL,
    sp_url             TEXT NOT NULL,
    relay_state_prefix TEXT NOT NULL DEFAULT '""', -- JSON
    revision           BIGINT NOT NULL DEFAULT 0
);

-- Whom a provider's user is here. unique_id is the user's at the provider.
CREATE TABLE identity_federated_users (
    idp_id       TEXT NOT NULL,
    protocol_id  TEXT NOT NULL,
    unique_id    TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    display_name TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (idp_id, protocol_id, unique_id)
);
CREATE INDEX identity_federated_users_user ON identity_federated_users (user_id);

-- The name of a user who exists through federation alone; its name is its id, since such names need not be unique.
ALTER TABLE identity_users ADD COLUMN federated_name TEXT NOT NULL DEFAULT '';

-- Memberships that a mapping has given, for as long as the provider's authorization_ttl says.
CREATE TABLE identity_expiring_members (
    user_id       TEXT NOT NULL,
    group_id      TEXT NOT NULL,
    idp_id        TEXT NOT NULL,
    last_verified BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_id, idp_id)
);
CREATE INDEX identity_expiring_members_group ON identity_expiring_members (group_id);

-- Web logins that have ended well: each may do so once.
CREATE TABLE identity_finished_logins (
    state   TEXT PRIMARY KEY, -- hashed
    used_at BIGINT NOT NULL
);
