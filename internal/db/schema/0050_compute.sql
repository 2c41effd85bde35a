-- The compute service. Times are microseconds, 0 where they have not come.

CREATE TABLE flavors (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    ram         BIGINT NOT NULL,
    vcpus       BIGINT NOT NULL,
    disk        BIGINT NOT NULL,
    ephemeral   BIGINT NOT NULL,
    swap        BIGINT NOT NULL,
    rxtx_factor DOUBLE PRECISION NOT NULL,
    is_public   BOOLEAN NOT NULL,
    disabled    BOOLEAN NOT NULL,
    description TEXT,
    extra_specs TEXT NOT NULL,
    num         BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE TABLE flavor_access (
    flavor_id  TEXT NOT NULL REFERENCES flavors (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
);

CREATE TABLE keypairs (
    user_id     TEXT NOT NULL,
    name        TEXT NOT NULL,
    type        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    public_key  TEXT NOT NULL,
    num         BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, name)
);

-- What the API wants of a server and what its node observed. The columns after "desired" are written by the API alone, those after
-- "observed" by reports alone; those after "derived" follow from both and are stored because lists filter by them.
CREATE TABLE servers (
    id                TEXT PRIMARY KEY,
    num               BIGINT NOT NULL UNIQUE,
    project_id        TEXT NOT NULL,
    user_id           TEXT NOT NULL,
    name              TEXT NOT NULL,
    description       TEXT,
    hostname          TEXT NOT NULL,
    image_id          TEXT NOT NULL,
    image             TEXT NOT NULL,
    flavor_id         TEXT NOT NULL,
    flavor            TEXT NOT NULL,
    vcpus             BIGINT NOT NULL,
    memory_mb         BIGINT NOT NULL,
    root_gb           BIGINT NOT NULL,
    ephemeral_gb      BIGINT NOT NULL,
    key_name          TEXT NOT NULL,
    key_data          TEXT NOT NULL,
    metadata          TEXT NOT NULL,
    user_data         TEXT NOT NULL,
    config_drive      BOOLEAN NOT NULL,
    access_ip_v4      TEXT NOT NULL,
    access_ip_v6      TEXT NOT NULL,
    auto_disk_config  BOOLEAN NOT NULL,
    requested_az      TEXT NOT NULL,
    availability_zone TEXT NOT NULL,
    reservation_id    TEXT NOT NULL,
    launch_index      BIGINT NOT NULL,
    tags              TEXT NOT NULL,
    group_id          TEXT NOT NULL,
    hints             TEXT NOT NULL,
    trusted_certs     TEXT NOT NULL,
    locked_by         TEXT NOT NULL,
    locked_reason     TEXT,
    security_groups   TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    revision          BIGINT NOT NULL,
    -- desired
    host              TEXT NOT NULL,
    power             TEXT NOT NULL,
    generation        BIGINT NOT NULL,
    intent            TEXT NOT NULL,
    request_id        TEXT NOT NULL,
    reboot_seq        BIGINT NOT NULL,
    reboot_hard       BOOLEAN NOT NULL,
    rebuild_seq       BIGINT NOT NULL,
    admin_pass        TEXT NOT NULL,
    random_seed       TEXT NOT NULL,
    forced_state      TEXT NOT NULL,
    unplaced          BOOLEAN NOT NULL,
    deleted           BOOLEAN NOT NULL,
    deleted_at        BIGINT NOT NULL,
    -- observed
    seen_generation   BIGINT NOT NULL,
    seen_power        TEXT NOT NULL,
    seen_stable       TEXT NOT NULL,
    seen_step         TEXT NOT NULL,
    seen_reboot_seq   BIGINT NOT NULL,
    seen_rebuild_seq  BIGINT NOT NULL,
    seen_fault_generation BIGINT NOT NULL,
    gone              BOOLEAN NOT NULL,
    launched_at       BIGINT NOT NULL,
    terminated_at     BIGINT NOT NULL,
    fault_code        BIGINT NOT NULL,
    fault_message     TEXT NOT NULL,
    fault_details     TEXT NOT NULL,
    fault_at          BIGINT NOT NULL,
    -- derived
    vm_state          TEXT NOT NULL,
    task_state        TEXT NOT NULL,
    power_state       BIGINT NOT NULL
);
CREATE INDEX servers_project ON servers (project_id, deleted, created_at, num);
CREATE INDEX servers_created ON servers (deleted, created_at, num);
CREATE INDEX servers_host ON servers (host, gone);
CREATE INDEX servers_updated ON servers (project_id, updated_at);
CREATE INDEX servers_reservation ON servers (reservation_id);
CREATE INDEX servers_group ON servers (group_id);

CREATE TABLE server_actions (
    server_id  TEXT NOT NULL,
    request_id TEXT NOT NULL,
    action     TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    project_id TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    message    TEXT NOT NULL,
    num        BIGINT NOT NULL,
    -- the one event of the action: what the node does for it
    event       TEXT NOT NULL,
    host        TEXT NOT NULL,
    generation  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    result      TEXT NOT NULL,
    details     TEXT NOT NULL,
    PRIMARY KEY (server_id, request_id)
);
CREATE INDEX server_actions_open ON server_actions (server_id, finished_at);

CREATE TABLE server_groups (
    id         TEXT PRIMARY KEY,
    num        BIGINT NOT NULL,
    project_id TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    name       TEXT NOT NULL,
    policy     TEXT NOT NULL,
    rules      TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX server_groups_project ON server_groups (project_id, num);

CREATE TABLE compute_services (
    uuid            TEXT PRIMARY KEY,
    num             BIGINT NOT NULL UNIQUE,
    host            TEXT NOT NULL UNIQUE,
    provider_uuid   TEXT NOT NULL,
    disabled        BOOLEAN NOT NULL,
    disabled_reason TEXT,
    forced_down     BOOLEAN NOT NULL,
    boot_id         TEXT NOT NULL,
    created_at      BIGINT NOT NULL
);

CREATE TABLE aggregates (
    num        BIGINT PRIMARY KEY,
    uuid       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    metadata   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE aggregate_hosts (
    aggregate_num BIGINT NOT NULL REFERENCES aggregates (num) ON DELETE CASCADE,
    host          TEXT NOT NULL,
    added_at      BIGINT NOT NULL,
    PRIMARY KEY (aggregate_num, host)
);

-- user_id is empty for the whole project; class rows have project_id empty.
CREATE TABLE compute_quotas (
    class      TEXT NOT NULL,
    project_id TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    resource   TEXT NOT NULL,
    value      BIGINT NOT NULL,
    PRIMARY KEY (class, project_id, user_id, resource)
);
