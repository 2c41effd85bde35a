-- Users and groups of directories (LDAP). What a directory said last stands in identity_users, identity_groups and identity_members; this table tells
-- which of their rows are such, and outlives them: an id that was given out belongs to the same entry for ever. It is upstream's id_mapping.
CREATE TABLE identity_id_mappings (
    public_id   TEXT PRIMARY KEY,
    domain_id   TEXT NOT NULL,
    entity_type TEXT NOT NULL,
    local_id    TEXT NOT NULL,
    CONSTRAINT identity_id_mappings_entity UNIQUE (domain_id, entity_type, local_id)
);

-- The name that a directory's group shows. Its column name holds its id, since names in a directory need not be unique; users have federated_name for that.
ALTER TABLE identity_groups ADD COLUMN directory_name TEXT NOT NULL DEFAULT '';
