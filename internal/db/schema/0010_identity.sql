-- Identity: domains and projects, users, groups, roles, the catalog, delegation, tokens' keys and revocations.
-- Columns named revision are drawn after each change; columns named epoch count what makes earlier tokens void.

CREATE TABLE identity_state (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO identity_state (name, value) VALUES ('epoch', 1);

-- Token and credential keys, wrapped with the key-encryption key. The newest of a purpose is the one that encrypts.
CREATE TABLE identity_keys (
    id         TEXT PRIMARY KEY,
    purpose    TEXT NOT NULL,
    wrapped    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- A domain is a project with is_domain, and neither domain nor parent.
CREATE TABLE identity_projects (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    domain_id   TEXT NOT NULL DEFAULT '',
    parent_id   TEXT NOT NULL DEFAULT '',
    is_domain   BOOLEAN NOT NULL DEFAULT FALSE,
    enabled     BOOLEAN NOT NULL DEFAULT TRUE,
    description TEXT NOT NULL DEFAULT '""', -- JSON: upstream tells null from empty
    tags        TEXT NOT NULL DEFAULT '[]',
    options     TEXT NOT NULL DEFAULT '{}',
    extra       TEXT NOT NULL DEFAULT '{}',
    epoch       BIGINT NOT NULL DEFAULT 0,
    revision    BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_projects_name UNIQUE (domain_id, name)
);
CREATE INDEX identity_projects_parent ON identity_projects (parent_id);

CREATE TABLE identity_users (
    id                  TEXT PRIMARY KEY,
    name                TEXT NOT NULL,
    domain_id           TEXT NOT NULL,
    enabled             BOOLEAN NOT NULL DEFAULT TRUE,
    default_project_id  TEXT NOT NULL DEFAULT '',
    password_expires_at BIGINT NOT NULL DEFAULT 0,
    options             TEXT NOT NULL DEFAULT '{}',
    extra               TEXT NOT NULL DEFAULT '{}',
    password_hash       TEXT NOT NULL DEFAULT '',
    epoch               BIGINT NOT NULL DEFAULT 0,
    revision            BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_users_name UNIQUE (domain_id, name)
);

CREATE TABLE identity_groups (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    domain_id   TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    extra       TEXT NOT NULL DEFAULT '{}',
    revision    BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_groups_name UNIQUE (domain_id, name)
);

CREATE TABLE identity_members (
    group_id TEXT NOT NULL,
    user_id  TEXT NOT NULL,
    PRIMARY KEY (user_id, group_id)
);
CREATE INDEX identity_members_group ON identity_members (group_id);

CREATE TABLE identity_roles (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    domain_id   TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    options     TEXT NOT NULL DEFAULT '{}',
    extra       TEXT NOT NULL DEFAULT '{}',
    revision    BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_roles_name UNIQUE (domain_id, name)
);

CREATE TABLE identity_implied_roles (
    prior_role_id   TEXT NOT NULL,
    implied_role_id TEXT NOT NULL,
    PRIMARY KEY (prior_role_id, implied_role_id)
);

-- actor is a user or a group; target_type is project, domain or system (target_id 'system').
CREATE TABLE identity_assignments (
    actor_id    TEXT NOT NULL,
    target_type TEXT NOT NULL,
    target_id   TEXT NOT NULL,
    role_id     TEXT NOT NULL,
    inherited   BOOLEAN NOT NULL,
    is_group    BOOLEAN NOT NULL,
    PRIMARY KEY (actor_id, target_type, target_id, role_id, inherited)
);
CREATE INDEX identity_assignments_target ON identity_assignments (target_id);
CREATE INDEX identity_assignments_role ON identity_assignments (role_id);

CREATE TABLE identity_regions (
    id               TEXT PRIMARY KEY,
    description      TEXT NOT NULL DEFAULT '',
    parent_region_id TEXT NOT NULL DEFAULT '',
    extra            TEXT NOT NULL DEFAULT '{}',
    revision         BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE identity_services (
    id       TEXT PRIMARY KEY,
    type     TEXT NOT NULL,
    name     TEXT NOT NULL DEFAULT '',
    enabled  BOOLEAN NOT NULL DEFAULT TRUE,
    extra    TEXT NOT NULL DEFAULT '{}',
    revision BIGINT NOT NULL DEFAULT 0
);

-- A url may begin with %(public)s, which stands for the cloud's public endpoint.
CREATE TABLE identity_endpoints (
    id         TEXT PRIMARY KEY,
    interface  TEXT NOT NULL,
    region_id  TEXT NOT NULL DEFAULT '',
    service_id TEXT NOT NULL,
    url        TEXT NOT NULL,
    enabled    BOOLEAN NOT NULL DEFAULT TRUE,
    extra      TEXT NOT NULL DEFAULT '{}',
    revision   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX identity_endpoints_service ON identity_endpoints (service_id);

CREATE TABLE identity_endpoint_groups (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    filters     TEXT NOT NULL DEFAULT '{}',
    revision    BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE identity_project_endpoints (
    project_id  TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    PRIMARY KEY (project_id, endpoint_id)
);
CREATE TABLE identity_project_endpoint_groups (
    project_id        TEXT NOT NULL,
    endpoint_group_id TEXT NOT NULL,
    PRIMARY KEY (project_id, endpoint_group_id)
);

CREATE TABLE identity_policies (
    id       TEXT PRIMARY KEY,
    type     TEXT NOT NULL,
    blob     TEXT NOT NULL,
    extra    TEXT NOT NULL DEFAULT '{}',
    revision BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE identity_policy_associations (
    policy_id   TEXT NOT NULL,
    endpoint_id TEXT NOT NULL DEFAULT '',
    service_id  TEXT NOT NULL DEFAULT '',
    region_id   TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (endpoint_id, service_id, region_id)
);

-- blob is encrypted with the newest credential key.
CREATE TABLE identity_credentials (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL,
    project_id TEXT NOT NULL DEFAULT '',
    type       TEXT NOT NULL,
    blob       TEXT NOT NULL,
    extra      TEXT NOT NULL DEFAULT '{}',
    revision   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX identity_credentials_user ON identity_credentials (user_id);

-- remaining_uses -1: without end.
CREATE TABLE identity_trusts (
    id                   TEXT PRIMARY KEY,
    trustor_user_id      TEXT NOT NULL,
    trustee_user_id      TEXT NOT NULL,
    project_id           TEXT NOT NULL DEFAULT '',
    impersonation        BOOLEAN NOT NULL,
    deleted_at           BIGINT NOT NULL DEFAULT 0,
    expires_at           BIGINT NOT NULL DEFAULT 0,
    remaining_uses       BIGINT NOT NULL DEFAULT -1,
    redelegated_trust_id TEXT NOT NULL DEFAULT '',
    redelegation_count   BIGINT NOT NULL DEFAULT 0,
    roles                TEXT NOT NULL DEFAULT '[]',
    extra                TEXT NOT NULL DEFAULT '{}',
    revision             BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX identity_trusts_trustor ON identity_trusts (trustor_user_id);
CREATE INDEX identity_trusts_trustee ON identity_trusts (trustee_user_id);

CREATE TABLE identity_application_credentials (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    description  TEXT NOT NULL DEFAULT '',
    user_id      TEXT NOT NULL,
    project_id   TEXT NOT NULL DEFAULT '',
    expires_at   BIGINT NOT NULL DEFAULT 0,
    unrestricted TEXT NOT NULL DEFAULT '',
    roles        TEXT NOT NULL DEFAULT '[]',
    access_rules TEXT NOT NULL DEFAULT '',
    secret_hash  TEXT NOT NULL DEFAULT '',
    revision     BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_application_credentials_name UNIQUE (user_id, name)
);
CREATE TABLE identity_access_rules (
    id       TEXT PRIMARY KEY,
    user_id  TEXT NOT NULL,
    service  TEXT NOT NULL DEFAULT '',
    path     TEXT NOT NULL DEFAULT '',
    method   TEXT NOT NULL DEFAULT '',
    revision BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_access_rules_same UNIQUE (user_id, service, path, method)
);

CREATE TABLE identity_registered_limits (
    id            TEXT PRIMARY KEY,
    service_id    TEXT NOT NULL,
    region_id     TEXT NOT NULL DEFAULT '',
    resource_name TEXT NOT NULL,
    default_limit BIGINT NOT NULL,
    description   TEXT NOT NULL DEFAULT '',
    revision      BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_registered_limits_same UNIQUE (service_id, region_id, resource_name)
);
CREATE TABLE identity_limits (
    id             TEXT PRIMARY KEY,
    project_id     TEXT NOT NULL DEFAULT '',
    domain_id      TEXT NOT NULL DEFAULT '',
    service_id     TEXT NOT NULL,
    region_id      TEXT NOT NULL DEFAULT '',
    resource_name  TEXT NOT NULL,
    resource_limit BIGINT NOT NULL,
    description    TEXT NOT NULL DEFAULT '',
    revision       BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT identity_limits_same UNIQUE (project_id, domain_id, service_id, region_id, resource_name)
);

-- What was revoked, for OS-REVOKE; a token whose audit id stands here is void.
CREATE TABLE identity_revocations (
    id         TEXT PRIMARY KEY,
    audit_id   TEXT NOT NULL DEFAULT '',
    user_id    TEXT NOT NULL DEFAULT '',
    project_id TEXT NOT NULL DEFAULT '',
    domain_id  TEXT NOT NULL DEFAULT '',
    revoked_at BIGINT NOT NULL
);
CREATE INDEX identity_revocations_audit ON identity_revocations (audit_id);
CREATE INDEX identity_revocations_at ON identity_revocations (revoked_at);

CREATE TABLE identity_domain_config (
    domain_id TEXT NOT NULL,
    grp       TEXT NOT NULL,
    option    TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (domain_id, grp, option)
);

CREATE TABLE identity_consumers (
    id          TEXT PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    secret      TEXT NOT NULL,
    extra       TEXT NOT NULL DEFAULT '{}',
    revision    BIGINT NOT NULL DEFAULT 0
);
