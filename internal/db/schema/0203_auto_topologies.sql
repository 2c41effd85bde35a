-- Networks and routers that were made for projects that asked for "a network", one each.
CREATE TABLE net_auto_topologies (
    project_id TEXT PRIMARY KEY,
    network_id TEXT NOT NULL,
    router_id  TEXT NOT NULL -- empty: deleted since
);
CREATE INDEX net_auto_topologies_network ON net_auto_topologies (network_id);
CREATE INDEX net_auto_topologies_router ON net_auto_topologies (router_id);
