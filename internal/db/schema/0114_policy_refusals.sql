-- Requests that policy refused, for `hanok policy explain`. refusal is api.Refusal as JSON. The newest are kept, so many per user and so many
-- altogether (internal/policylog).
CREATE TABLE policy_refusals (
    request_id TEXT PRIMARY KEY,
    at         BIGINT NOT NULL,
    user_id    TEXT NOT NULL,
    refusal    TEXT NOT NULL
);
CREATE INDEX policy_refusals_at ON policy_refusals (at);
CREATE INDEX policy_refusals_user ON policy_refusals (user_id, at);
