-- Service identities: the user that owns a project's machine credentials. It is a row of identity_users like any other; what it is stands here alone,
-- so that no name and no member of a user can make one.
CREATE TABLE identity_service_users (
    project_id TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL,
    CONSTRAINT identity_service_users_user UNIQUE (user_id)
);
