-- Identity: what logins leave behind, apart from the users' own rows, whose revision and epoch a login must not move.

-- created_at is the user's, 0 for those made before this table. last_active_at is the day of the last login with a password. The row with
-- an empty user_id takes the writes for users that are not there: a login that fails costs the same for them.
CREATE TABLE identity_logins (
    user_id        TEXT PRIMARY KEY,
    created_at     BIGINT NOT NULL DEFAULT 0,
    last_active_at BIGINT NOT NULL DEFAULT 0,
    failed_count   BIGINT NOT NULL DEFAULT 0,
    failed_at      BIGINT NOT NULL DEFAULT 0
);

-- A user's passwords, the present one among them; the highest n is the newest. self_service: chosen by the user.
CREATE TABLE identity_passwords (
    user_id      TEXT NOT NULL,
    n            BIGINT NOT NULL,
    hash         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    self_service BOOLEAN NOT NULL,
    PRIMARY KEY (user_id, n)
);

-- The 30-second step of the last passcode that was accepted of a totp credential: none is accepted twice.
CREATE TABLE identity_totp_steps (
    credential_id TEXT PRIMARY KEY,
    step          BIGINT NOT NULL
);
