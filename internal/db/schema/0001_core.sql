-- What no service owns: counters, the outbox of changes, quota locks.

-- only sqlite
CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO counters (name, value) VALUES ('revision', 0);
-- end
-- only postgres
CREATE SEQUENCE revision;
CREATE TABLE quota_locks (project_id TEXT NOT NULL, resource TEXT NOT NULL, PRIMARY KEY (project_id, resource));
-- end

-- The outbox: every commit that changes a resource appends here, numbered over all services.
CREATE TABLE events (
    seq         BIGINT PRIMARY KEY,
    kind        TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    project_id  TEXT NOT NULL,
    action      TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    at          BIGINT NOT NULL
    -- only postgres
    , xid       BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)
    -- end
);
CREATE INDEX events_at ON events (at);

-- Settings that the cloud makes once and keeps (keys are wrapped with the key-encryption key).
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
