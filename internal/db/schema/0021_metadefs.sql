-- Metadata definitions: what properties mean that images, flavors and the like may have. The parts of a namespace keep the JSON that
-- their makers sent; nobody but clients reads it.
CREATE TABLE metadef_namespaces (
    namespace    TEXT PRIMARY KEY,
    display_name TEXT,
    description  TEXT,
    visibility   TEXT NOT NULL,
    protected    BOOLEAN NOT NULL,
    owner        TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE INDEX metadef_namespaces_created ON metadef_namespaces (created_at, namespace);
-- kind is object, property, tag or resource_type (an association).
CREATE TABLE metadef_parts (
    namespace  TEXT NOT NULL REFERENCES metadef_namespaces (namespace) ON UPDATE CASCADE ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, kind, name)
);
CREATE TABLE metadef_resource_types (
    name       TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);
