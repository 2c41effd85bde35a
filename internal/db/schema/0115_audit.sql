-- The audit log. Requests append to the inbox, in the transaction of what they change and without an index to keep; one job at a time
-- moves rows on into the log, numbered without a gap and chained by hash.

-- only sqlite
CREATE TABLE audit_inbox (seq INTEGER PRIMARY KEY, event TEXT NOT NULL);
CREATE TABLE audit_log (
    n          INTEGER PRIMARY KEY,
-- end
-- only postgres
CREATE TABLE audit_inbox (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event TEXT NOT NULL);
CREATE TABLE audit_log (
    n          BIGINT PRIMARY KEY,
-- end
    event      TEXT NOT NULL, -- the CADF event as JSON; the hash is over its very bytes
    hash       TEXT NOT NULL, -- of the number, the hash of the row before and the event
    -- What searches look at, read out of the event. Verification compares them with it.
    at         BIGINT NOT NULL,
    service    TEXT NOT NULL,
    action     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    project_id TEXT NOT NULL,
    target_id  TEXT NOT NULL,
    request_id TEXT NOT NULL
);
CREATE INDEX audit_log_at ON audit_log (at);
CREATE INDEX audit_log_user ON audit_log (user_id, n) WHERE user_id <> '';
CREATE INDEX audit_log_project ON audit_log (project_id, n) WHERE project_id <> '';
CREATE INDEX audit_log_target ON audit_log (target_id, n) WHERE target_id <> '';
CREATE INDEX audit_log_request ON audit_log (request_id) WHERE request_id <> '';

-- Where the chain ends: its last row, and the last row with a signed head. Whoever chains holds the lock of this row.
CREATE TABLE audit_state (
    id      INTEGER PRIMARY KEY,
    n       BIGINT NOT NULL,
    hash    TEXT NOT NULL,
    head_n  BIGINT NOT NULL,
    head_at BIGINT NOT NULL
);
INSERT INTO audit_state (id, n, hash, head_n, head_at) VALUES (1, 0, '', 0, 0);

-- Ed25519 keys, their private half wrapped with the key-encryption key.
CREATE TABLE audit_keys (
    id         TEXT PRIMARY KEY,
    wrapped    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Signed statements: "head": row n has this hash; "base": rows up to n, whose hash was this, were removed after their retention.
CREATE TABLE audit_heads (
    kind      TEXT NOT NULL,
    n         BIGINT NOT NULL,
    hash      TEXT NOT NULL,
    at        BIGINT NOT NULL,
    key_id    TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (kind, n)
);
