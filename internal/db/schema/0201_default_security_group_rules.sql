-- Templates of the rules that new security groups are made with. remote_group_id PARENT stands for the new group.
CREATE TABLE net_default_security_group_rules (
    id                      TEXT PRIMARY KEY,
    project_id              TEXT NOT NULL,
    name                    TEXT NOT NULL,
    description             TEXT NOT NULL,
    tags                    TEXT NOT NULL,
    created_at              BIGINT NOT NULL,
    updated_at              BIGINT NOT NULL,
    revision_number         BIGINT NOT NULL,
    rev                     BIGINT NOT NULL,
    direction               TEXT NOT NULL,
    ethertype               TEXT NOT NULL,
    protocol                TEXT NOT NULL, -- empty: any
    port_range_min          BIGINT NOT NULL, -- -1: any
    port_range_max          BIGINT NOT NULL,
    remote_ip_prefix        TEXT NOT NULL,
    remote_group_id         TEXT NOT NULL,
    remote_address_group_id TEXT NOT NULL,
    used_in_default_sg      BOOLEAN NOT NULL,
    used_in_non_default_sg  BOOLEAN NOT NULL
);

-- The rules that groups have had so far (neutron's migration c33da356b165).
INSERT INTO net_default_security_group_rules (id, project_id, name, description, tags, created_at, updated_at, revision_number, rev, direction, ethertype, protocol,
    port_range_min, port_range_max, remote_ip_prefix, remote_group_id, remote_address_group_id, used_in_default_sg, used_in_non_default_sg) VALUES
    ('1f0c5b1e-7f0b-4c8e-9a57-5d2f3c1b8a01', '', '', 'Legacy default SG rule for egress traffic', '[]', 0, 0, 0, 0, 'egress', 'IPv4', '', -1, -1, '', '', '', TRUE, TRUE),
    ('1f0c5b1e-7f0b-4c8e-9a57-5d2f3c1b8a02', '', '', 'Legacy default SG rule for egress traffic', '[]', 0, 0, 0, 0, 'egress', 'IPv6', '', -1, -1, '', '', '', TRUE, TRUE),
    ('1f0c5b1e-7f0b-4c8e-9a57-5d2f3c1b8a03', '', '', 'Legacy default SG rule for ingress traffic', '[]', 0, 0, 0, 0, 'ingress', 'IPv4', '', -1, -1, '', 'PARENT', '', TRUE, FALSE),
    ('1f0c5b1e-7f0b-4c8e-9a57-5d2f3c1b8a04', '', '', 'Legacy default SG rule for ingress traffic', '[]', 0, 0, 0, 0, 'ingress', 'IPv6', '', -1, -1, '', 'PARENT', '', TRUE, FALSE);
