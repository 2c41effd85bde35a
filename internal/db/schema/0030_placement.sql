-- Placement: who has what (providers, inventories), what it is like (traits, aggregates), and who holds how much of it.
-- An empty parent_uuid is a root; root_uuid is then the provider itself.
CREATE TABLE placement_providers (
    uuid        TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    generation  BIGINT NOT NULL,
    parent_uuid TEXT NOT NULL,
    root_uuid   TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX placement_providers_root ON placement_providers (root_uuid);
CREATE INDEX placement_providers_parent ON placement_providers (parent_uuid);

-- used is the sum of the allocations of that provider and class, changed by the statement that guards the capacity and in
-- the transaction that writes the allocation: the guard needs one row to lock, and a sum would not be one.
CREATE TABLE placement_inventories (
    provider_uuid    TEXT NOT NULL REFERENCES placement_providers (uuid),
    resource_class   TEXT NOT NULL,
    total            BIGINT NOT NULL,
    reserved         BIGINT NOT NULL,
    min_unit         BIGINT NOT NULL,
    max_unit         BIGINT NOT NULL,
    step_size        BIGINT NOT NULL,
    allocation_ratio DOUBLE PRECISION NOT NULL,
    used             BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    PRIMARY KEY (provider_uuid, resource_class)
);
CREATE INDEX placement_inventories_class ON placement_inventories (resource_class);

-- An empty consumer_type is upstream's null, shown as "unknown".
CREATE TABLE placement_consumers (
    uuid          TEXT PRIMARY KEY,
    project_id    TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    consumer_type TEXT NOT NULL,
    generation    BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX placement_consumers_project ON placement_consumers (project_id, user_id);

CREATE TABLE placement_allocations (
    consumer_uuid  TEXT NOT NULL REFERENCES placement_consumers (uuid),
    provider_uuid  TEXT NOT NULL,
    resource_class TEXT NOT NULL,
    used           BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (consumer_uuid, provider_uuid, resource_class),
    FOREIGN KEY (provider_uuid, resource_class) REFERENCES placement_inventories (provider_uuid, resource_class)
);
CREATE INDEX placement_allocations_provider ON placement_allocations (provider_uuid, resource_class);

-- The standard names are part of the program; only custom ones are rows.
CREATE TABLE placement_resource_classes (
    name       TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);
CREATE TABLE placement_traits (
    name       TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);
CREATE TABLE placement_provider_traits (
    provider_uuid TEXT NOT NULL REFERENCES placement_providers (uuid),
    trait         TEXT NOT NULL,
    PRIMARY KEY (provider_uuid, trait)
);
CREATE INDEX placement_provider_traits_trait ON placement_provider_traits (trait, provider_uuid);
CREATE TABLE placement_provider_aggregates (
    provider_uuid  TEXT NOT NULL REFERENCES placement_providers (uuid),
    aggregate_uuid TEXT NOT NULL,
    PRIMARY KEY (provider_uuid, aggregate_uuid)
);
CREATE INDEX placement_provider_aggregates_aggregate ON placement_provider_aggregates (aggregate_uuid, provider_uuid);
