package network

import (
	"context"
	"errors"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// agentNode is the node behind an agent's id, which must be of that type.
func (c *call) agentNode(id, typ string) (string, error) {
	have, err := db.One(c.tx, func(r db.Row) ([2]string, error) {
		var v [2]string
		return v, r.Scan(&v[0], &v[1])
	}, `SELECT node, agent_type FROM net_agents WHERE id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return "", agentNotFound(id)
	}
	if err != nil {
		return "", err
	}
	if have[1] != typ {
		if typ == agentL3 {
			return "", conflict("InvalidL3Agent", "Agent %s is not a L3 Agent or has been disabled", id)
		}
		return "", conflict("InvalidDHCPAgent", "Agent %s is not a valid DHCP Agent or has been disabled", id)
	}
	return have[0], nil
}

// member reads the one id of a scheduler's body.
func member(in map[string]any, name string) (string, error) {
	id, ok := in[name].(string)
	if !ok || !isUUID(id) {
		return "", httpBadRequest("Invalid input for %s. Reason: '%s' is not a valid UUID.", name, str(in[name]))
	}
	return id, nil
}

func (s *Service) addDHCPNetwork(ctx context.Context, q *api.Request, in map[string]any) (api.JSON, error) {
	id, err := member(in, "network_id")
	if err != nil {
		return nil, err
	}
	return api.JSON("null"), s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		n, _, err := c.visibleNetwork(id)
		if err != nil {
			return err
		}
		node, err := c.agentNode(q.Path("id"), agentDHCP)
		if err != nil {
			return err
		}
		have, err := db.All(tx, db.Value[string], hostingNodes, id)
		if err != nil {
			return err
		}
		if slices.Contains(have, node) {
			return conflict("NetworkHostedByDHCPAgent", "The network %s has been already hosted by the DHCP Agent %s.", id, q.Path("id"))
		}
		return c.bindDHCP(n, node)
	})
}

// removeDHCPNetwork takes a network from a node. Guests there still get DHCP from their own node.
func (s *Service) removeDHCPNetwork(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		id := q.Path("network")
		if _, err := c.network(id); err != nil {
			return err
		}
		node, err := c.agentNode(q.Path("id"), agentDHCP)
		if err != nil {
			return err
		}
		n, err := tx.Exec(`DELETE FROM net_dhcp_bindings WHERE network_id = $1 AND node = $2`, id, node)
		if err != nil {
			return err
		}
		if n == 0 {
			return conflict("NetworkNotHostedByDhcpAgent", "The network %s is not hosted by the DHCP agent %s.", id, q.Path("id"))
		}
		nodehub.Wake(tx, node, nodehub.Networks)
		// The DHCP port goes with the last node that serves the network.
		left, err := db.All(tx, db.Value[string], `SELECT node FROM net_dhcp_bindings WHERE network_id = $1 UNION SELECT host FROM net_ports WHERE network_id = $1 AND host <> '' AND device_owner <> $2`, id, ownerDHCP)
		if err != nil {
			return err
		}
		ports, err := db.All(tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.network_id = $1 AND t.device_owner = $2`, id, ownerDHCP)
		for _, p := range ports {
			switch {
			case err != nil:
			case len(left) == 0:
				err = c.dropPort(p)
			case p.Host == node:
				p.Host = left[0]
				err = c.savePort(p)
			}
		}
		return err
	})
}

func (s *Service) addRouter(ctx context.Context, q *api.Request, in map[string]any) (api.JSON, error) {
	id, err := member(in, "router_id")
	if err != nil {
		return nil, err
	}
	return api.JSON("null"), s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		r, err := c.router(id)
		if err != nil {
			return err
		}
		node, err := c.agentNode(q.Path("id"), agentL3)
		if err != nil {
			return err
		}
		if r.Node != "" {
			// A router has one owner: it is taken from one node before it is given to another.
			return conflict("RouterHostedByL3Agent", "The router %s has been already hosted by the L3 Agent %s.", id, q.Path("id"))
		}
		r.Node = node
		return c.saveRouter(r)
	})
}

func (s *Service) removeRouterFrom(ctx context.Context, q *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		r, err := c.router(q.Path("router"))
		if err != nil {
			return err
		}
		node, err := c.agentNode(q.Path("id"), agentL3)
		if err != nil {
			return err
		}
		if r.Node != node {
			return conflict("RouterNotHostedByL3Agent", "The router %s is not hosted by L3 agent %s.", r.ID, q.Path("id"))
		}
		legs, err := c.routerPorts(r.ID)
		if err != nil {
			return err
		}
		for _, p := range legs {
			p.Host, p.VIFType, p.Status = "", vifUnbound, "DOWN"
			if err := c.savePort(p); err != nil {
				return err
			}
			if err := c.wakeNetwork(p.NetworkID); err != nil {
				return err
			}
		}
		if err := c.floatingStatus(r.ID, "DOWN"); err != nil {
			return err
		}
		nodehub.Wake(tx, node, nodehub.Networks)
		if err := set(tx, "net_routers", r.ID, column{"node", ""}); err != nil {
			return err
		}
		return bump(tx, "net_routers", r.ID, false)
	})
}
