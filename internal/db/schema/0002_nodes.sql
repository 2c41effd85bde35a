-- Nodes as their agents describe them. facts is nodeapi.Node as JSON.
CREATE TABLE nodes (
    name          TEXT PRIMARY KEY,
    facts         TEXT NOT NULL,
    boot_id       TEXT NOT NULL,
    registered_at BIGINT NOT NULL,
    heartbeat_at  BIGINT NOT NULL
);
