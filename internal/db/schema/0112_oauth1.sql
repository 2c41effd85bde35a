-- OS-OAUTH1: what a consumer asks for, and what it got. user_id, verifier and roles of a request are empty until somebody authorises it.
CREATE TABLE identity_request_tokens (
    id          TEXT PRIMARY KEY,
    secret      TEXT NOT NULL,
    verifier    TEXT NOT NULL DEFAULT '',
    user_id     TEXT NOT NULL DEFAULT '',
    project_id  TEXT NOT NULL,
    roles       TEXT NOT NULL DEFAULT '[]',
    consumer_id TEXT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX identity_request_tokens_consumer ON identity_request_tokens (consumer_id);
CREATE INDEX identity_request_tokens_end ON identity_request_tokens (expires_at);

CREATE TABLE identity_access_tokens (
    id          TEXT PRIMARY KEY,
    secret      TEXT NOT NULL,
    user_id     TEXT NOT NULL,
    project_id  TEXT NOT NULL,
    roles       TEXT NOT NULL,
    consumer_id TEXT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX identity_access_tokens_consumer ON identity_access_tokens (consumer_id);
CREATE INDEX identity_access_tokens_user ON identity_access_tokens (user_id);
