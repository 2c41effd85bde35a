package network

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// agentKind is one of the four agents that upstream runs on a node; here one process is all of them.
type agentKind struct{ typ, binary, topic, zone string }

const (
	agentDHCP = "DHCP agent"
	agentL3   = "L3 agent"
)

var agentKinds = []agentKind{
	{"Metadata agent", "neutron-metadata-agent", "N/A", ""},
	{agentDHCP, "neutron-dhcp-agent", "dhcp_agent", defaultZone},
	{agentL3, "neutron-l3-agent", "l3_agent", defaultZone},
	{"Linux bridge agent", "neutron-linuxbridge-agent", "N/A", ""},
}

// agent is a node in one of its roles.
type agent struct {
	ID, Type, Binary, Topic, Host, Zone string
	Description                         any
	AdminUp, Alive                      bool
	Created, Beat                       time.Time
	Config                              doc
}

func (a *agent) doc() doc {
	const form = "2006-01-02 15:04:05"
	return doc{"id": a.ID, "agent_type": a.Type, "binary": a.Binary, "topic": a.Topic, "host": a.Host, "admin_state_up": a.AdminUp, "created_at": a.Created.Format(form),
		"started_at": a.Created.Format(form), "heartbeat_timestamp": a.Beat.Format(form), "description": a.Description, "resources_synced": nil,
		"availability_zone": orNull(a.Zone), "alive": a.Alive, "configurations": a.Config}
}

func agentNotFound(id string) *fault.Error {
	return notFound("AgentNotFound", "Agent %s could not be found.", id)
}

// ensureAgents gives a node's agents their ids.
func ensureAgents(tx *db.Tx, node string) error {
	for _, k := range agentKinds {
		if _, err := tx.Exec(`INSERT INTO net_agents (id, node, agent_type, admin_state_up, description) VALUES ($1, $2, $3, TRUE, '') ON CONFLICT (node, agent_type) DO NOTHING`,
			uuid.NewString(), node, k.typ); err != nil {
			return err
		}
	}
	return nil
}

// agents are all nodes' agents.
func (c *call) agents() ([]*agent, error) {
	nodes, err := nodehub.Nodes(c.tx)
	if err != nil {
		return nil, err
	}
	byNode := map[string]nodehub.NodeRecord{}
	for _, n := range nodes {
		byNode[n.Name] = n
	}
	count := map[string]map[string]int{}
	for what, query := range map[string]string{
		"devices":  `SELECT host, count(*) FROM net_ports WHERE host <> '' GROUP BY host`,
		"networks": `SELECT host, count(DISTINCT network_id) FROM net_ports WHERE host <> '' GROUP BY host`,
		"routers":  `SELECT node, count(*) FROM net_routers WHERE node <> '' GROUP BY node`,
		"gateways": `SELECT node, count(*) FROM net_routers WHERE node <> '' AND gw_port_id <> '' GROUP BY node`,
		"fips":     `SELECT r.node, count(*) FROM net_floatingips f JOIN net_routers r ON r.id = f.router_id GROUP BY r.node`,
	} {
		m := map[string]int{}
		count[what] = m
		if err := c.tx.Each(func(r db.Row) error {
			var h string
			var n int
			err := r.Scan(&h, &n)
			m[h] = n
			return err
		}, query); err != nil {
			return nil, err
		}
	}
	var out []*agent
	err = c.tx.Each(func(r db.Row) error {
		var id, node, typ, description string
		var up bool
		if err := r.Scan(&id, &node, &typ, &up, &description); err != nil {
			return err
		}
		n, ok := byNode[node]
		for _, k := range agentKinds {
			if k.typ != typ || !ok {
				continue
			}
			a := &agent{ID: id, Type: typ, Binary: k.binary, Topic: k.topic, Host: node, Zone: k.zone, AdminUp: up, Alive: n.Up, Created: n.RegisteredAt, Beat: n.HeartbeatAt,
				Description: orNull(description)}
			a.Config = agentConfig(typ, n, count)
			out = append(out, a)
		}
		return nil
	}, `SELECT id, node, agent_type, admin_state_up, description FROM net_agents ORDER BY id`)
	return out, err
}

func agentConfig(typ string, n nodehub.NodeRecord, count map[string]map[string]int) doc {
	switch typ {
	case agentDHCP:
		return doc{"dhcp_driver": "hanok", "dhcp_lease_duration": 86400, "log_agent_heartbeats": false, "networks": count["networks"][n.Name], "ports": count["devices"][n.Name]}
	case agentL3:
		return doc{"agent_mode": "legacy", "ex_gw_ports": count["gateways"][n.Name], "floating_ips": count["fips"][n.Name], "routers": count["routers"][n.Name],
			"handle_internal_only_routers": true, "interface_driver": "linuxbridge", "log_agent_heartbeats": false, "extensions": []string{}}
	case "Linux bridge agent":
		types := []string{}
		if n.EnableVXLAN {
			types = []string{"vxlan"}
		}
		mappings := n.PhysicalInterfaceMappings
		if mappings == nil {
			mappings = map[string]string{}
		}
		return doc{"bridge_mappings": doc{}, "interface_mappings": mappings, "devices": count["devices"][n.Name], "tunnel_types": types, "tunneling_ip": n.LocalIP,
			"l2_population": n.L2Population, "extensions": []string{}}
	}
	return doc{"log_agent_heartbeats": false}
}

// agentFilters are the query parameters of GET /agents.
var agentFilters = map[string]func(a *agent) string{
	"id": func(a *agent) string { return a.ID }, "agent_type": func(a *agent) string { return a.Type }, "binary": func(a *agent) string { return a.Binary },
	"topic": func(a *agent) string { return a.Topic }, "host": func(a *agent) string { return a.Host }, "availability_zone": func(a *agent) string { return a.Zone },
	"description":    func(a *agent) string { s, _ := a.Description.(string); return s },
	"alive":          func(a *agent) string { return str(a.Alive) },
	"admin_state_up": func(a *agent) string { return str(a.AdminUp) },
}

func (s *Service) agentRoutes() []api.Route {
	return []api.Route{
		api.Handle("GET", "/v2.0/agents", api.Object("get_agent"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (map[string]any, error) {
			l, err := s.findAgents(ctx, q, "", true)
			return map[string]any{"agents": l}, err
		}),
		api.Handle("GET", "/v2.0/agents/{id}", api.Object("get_agent"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (map[string]any, error) {
			l, err := s.findAgents(ctx, q, q.Path("id"), false)
			if err == nil && len(l) == 0 {
				err = agentNotFound(q.Path("id"))
			}
			if err != nil {
				return nil, err
			}
			if !q.Can("get_agent", policy.Map{}) {
				q.Denied(policy.Map{}, "get_agent")
				return nil, resourceNotFound()
			}
			return map[string]any{"agent": l[0]}, nil
		}),
		api.Handle("PUT", "/v2.0/agents/{id}", api.Object("update_agent"), http.StatusOK, s.updateAgent),
		api.Handle("DELETE", "/v2.0/agents/{id}", api.Object("delete_agent"), http.StatusNoContent, s.deleteAgent),
		api.Handle("GET", "/v2.0/agents/{id}/dhcp-networks", api.Scoped("get_dhcp-networks"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			return s.hosted(ctx, q, s.res.networks, agentDHCP, hostedNetworks)
		}),
		api.Handle("GET", "/v2.0/agents/{id}/l3-routers", api.Scoped("get_l3-routers"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			return s.hosted(ctx, q, s.res.routers, agentL3, `SELECT id FROM net_routers WHERE node = $1 AND node <> ''`)
		}),
		api.Handle("POST", "/v2.0/agents/{id}/dhcp-networks", api.Scoped("create_dhcp-network"), http.StatusCreated, s.addDHCPNetwork),
		api.Handle("DELETE", "/v2.0/agents/{id}/dhcp-networks/{network}", api.Scoped("delete_dhcp-network"), http.StatusNoContent, s.removeDHCPNetwork),
		api.Handle("POST", "/v2.0/agents/{id}/l3-routers", api.Scoped("create_l3-router"), http.StatusCreated, s.addRouter),
		api.Handle("DELETE", "/v2.0/agents/{id}/l3-routers/{router}", api.Scoped("delete_l3-router"), http.StatusNoContent, s.removeRouterFrom),
		api.Handle("GET", "/v2.0/networks/{id}/dhcp-agents", api.Scoped("get_dhcp-agents"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (map[string]any, error) {
			return s.hosting(ctx, q, s.res.networks, agentDHCP, hostingNodes)
		}),
		api.Handle("GET", "/v2.0/routers/{id}/l3-agents", api.Scoped("get_l3-agents"), http.StatusOK, func(ctx context.Context, q *api.Request, _ api.None) (map[string]any, error) {
			return s.hosting(ctx, q, s.res.routers, agentL3, `SELECT node FROM net_routers WHERE id = $1 AND node <> ''`)
		}),
	}
}

// findAgents returns the agents that match the query, or the one with the id. Who may not see them sees an empty list.
func (s *Service) findAgents(ctx context.Context, q *api.Request, id string, list bool) ([]doc, error) {
	allowed := q.Can("get_agent", policy.Map{})
	out := []doc{}
	for name := range q.Query() {
		if list && agentFilters[name] == nil && !notFilters[name] {
			return nil, httpBadRequest("['%s'] is invalid attribute for filtering", name)
		}
	}
	err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
		all, err := s.call(tx, q, q.Caller).agents()
		for _, a := range all {
			if id != "" && a.ID != id || list && (!allowed || !a.matches(q)) {
				continue
			}
			out = append(out, a.doc())
		}
		return err
	})
	return out, err
}

func (a *agent) matches(q *api.Request) bool {
	for name, f := range agentFilters {
		want, ok := q.Query()[name]
		if !ok {
			continue
		}
		have, found := f(a), false
		for _, w := range want {
			if name == "alive" || name == "admin_state_up" {
				if b, err := toBool(w); err == nil {
					w = str(b)
				}
			}
			found = found || w == have || name == "agent_type" && strings.EqualFold(w, have)
		}
		if !found {
			return false
		}
	}
	return true
}

// hosted lists what an agent runs.
func (s *Service) hosted(ctx context.Context, q *api.Request, r *resource, typ, query string) (api.JSON, error) {
	var out api.JSON
	err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		node, err := db.One(tx, db.Value[string], `SELECT node FROM net_agents WHERE id = $1 AND agent_type = $2`, q.Path("id"), typ)
		if errors.Is(err, db.ErrNotFound) {
			out = api.ListJSON(r.collection, nil, nil)
			return nil
		}
		if err != nil {
			return err
		}
		ids, err := db.All(tx, db.Value[string], query, node)
		if err != nil || len(ids) == 0 {
			out = api.ListJSON(r.collection, nil, nil)
			return err
		}
		os, err := r.load(c, ids)
		if err != nil {
			return err
		}
		var docs [][]byte
		for _, o := range os {
			b, err := encodeJSON(o.doc())
			if err != nil {
				return err
			}
			docs = append(docs, b)
		}
		out = api.ListJSON(r.collection, docs, nil)
		return nil
	})
	return out, err
}

// hosting lists the agents that run an object.
func (s *Service) hosting(ctx context.Context, q *api.Request, r *resource, typ, query string) (map[string]any, error) {
	out := []doc{}
	err := s.o.DB.Read(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		if _, _, err := c.find(r, q.Path("id")); err != nil {
			return err
		}
		nodes, err := db.All(tx, db.Value[string], query, q.Path("id"))
		if err != nil {
			return err
		}
		all, err := c.agents()
		for _, a := range all {
			if a.Type == typ && contains(nodes, a.Host) {
				out = append(out, a.doc())
			}
		}
		return err
	})
	return map[string]any{"agents": out}, err
}

// mayAgent asks a rule about an agent. Who may not even see it gets a 404.
func mayAgent(q *api.Request, rule string) error {
	err := q.Enforce(rule, policy.Map{})
	if err != nil && !q.Can("get_agent", policy.Map{}) {
		return resourceNotFound()
	}
	return err
}

func (s *Service) updateAgent(ctx context.Context, q *api.Request, in map[string]any) (map[string]any, error) {
	if err := mayAgent(q, "update_agent"); err != nil {
		return nil, err
	}
	m, ok := in["agent"].(map[string]any)
	if !ok || hasNUL(m) {
		return nil, httpBadRequest("Unable to find 'agent' in request body")
	}
	var cols []column
	for _, k := range sortedKeys(m) {
		switch k {
		case "admin_state_up":
			b, err := toBool(m[k])
			if err != nil {
				return nil, err
			}
			cols = append(cols, column{"admin_state_up", b})
		case "description":
			if p, _ := vStringOrNone(255)(m[k]); p != "" {
				return nil, httpBadRequest("Invalid input for description. Reason: %s.", p)
			}
			d, _ := m[k].(string)
			cols = append(cols, column{"description", d})
		case "agent_type", "binary", "topic", "host", "id", "alive", "configurations", "created_at", "started_at", "heartbeat_timestamp", "availability_zone":
			return nil, httpBadRequest("Cannot update read-only attribute %s", k)
		default:
			return nil, httpBadRequest("Unrecognized attribute(s) '%s'", k)
		}
	}
	if err := s.o.DB.Write(ctx, func(tx *db.Tx) error {
		if len(cols) == 0 {
			return nil
		}
		return set(tx, "net_agents", q.Path("id"), cols...)
	}); err != nil {
		return nil, err
	}
	l, err := s.findAgents(ctx, q, q.Path("id"), false)
	if err == nil && len(l) == 0 {
		err = agentNotFound(q.Path("id"))
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"agent": l[0]}, nil
}

// deleteAgent forgets an agent; a node that is alive gets it back with its next heartbeat's facts.
func (s *Service) deleteAgent(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
	if err := mayAgent(q, "delete_agent"); err != nil {
		return api.None{}, err
	}
	return api.None{}, s.o.DB.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(`DELETE FROM net_agents WHERE id = $1`, q.Path("id"))
		if err == nil && n == 0 {
			return agentNotFound(q.Path("id"))
		}
		return err
	})
}
