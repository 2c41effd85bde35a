package network

import (
	"errors"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// Report stores what a node observed of its ports and routers (nodehub.Sink).
func (s *Service) Report(tx *db.Tx, r *nodeapi.Report) error {
	c := s.service(tx)
	for _, p := range r.Ports {
		if err := c.portReported(r.Node, p); err != nil {
			return err
		}
	}
	for _, x := range r.Routers {
		if err := c.routerReported(r.Node, x); err != nil {
			return err
		}
	}
	return nil
}

// portReported sets the status of a port that is bound to the node that speaks; others' words do not count.
func (c *call) portReported(node string, p nodeapi.PortStatus) error {
	status := "DOWN"
	if p.Active {
		status = "ACTIVE"
	}
	n, err := c.tx.Exec(`UPDATE net_ports SET status = $1 WHERE id = $2 AND host = $3 AND vif_type = 'bridge' AND admin_state_up AND status <> $1`, status, p.ID, node)
	if err != nil || n == 0 {
		return err
	}
	return c.statusChanged(p.ID)
}

// statusChanged makes a port's document new, and those of the floating IPs that show it.
func (c *call) statusChanged(portID string) error {
	if err := bump(c.tx, "net_ports", portID, false); err != nil {
		return err
	}
	p, err := c.port(portID)
	if err != nil {
		return err
	}
	if err := emit(c.tx, "port", &p.standard, "update"); err != nil {
		return err
	}
	fips, err := db.All(c.tx, db.Value[string], `SELECT id FROM net_floatingips WHERE port_id = $1`, portID)
	for _, f := range fips {
		if err == nil {
			err = bump(c.tx, "net_floatingips", f, false)
		}
	}
	return err
}

// routerReported sets the status of the router's legs and floating IPs. A leg is down when the node could not make what is wanted of it; the legs of a router
// that is switched off are as wanted: Tempest's router tests, which pass on the real service, wait for them to be active.
func (c *call) routerReported(node string, x nodeapi.RouterStatus) error {
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_routers WHERE id = $1 AND node = $2`, x.ID, node)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	status, legs := "DOWN", "DOWN"
	if x.Active {
		status = "ACTIVE"
	}
	if x.Error == "" {
		legs = "ACTIVE"
	}
	ports, err := db.All(c.tx, db.Value[string], `UPDATE net_ports SET status = $1 WHERE device_id = $2 AND device_owner IN ('network:router_interface', 'network:router_gateway') AND status <> $1 RETURNING id`,
		legs, x.ID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if err := c.statusChanged(p); err != nil {
			return err
		}
	}
	return c.floatingStatus(x.ID, status)
}

// floatingStatus sets the status of the floating IPs that a router carries.
func (c *call) floatingStatus(routerID, status string) error {
	fips, err := db.All(c.tx, db.Value[string], `UPDATE net_floatingips SET status = $1 WHERE router_id = $2 AND status <> $1 RETURNING id`, status, routerID)
	for _, f := range fips {
		if err == nil {
			err = bump(c.tx, "net_floatingips", f, false)
		}
	}
	return err
}

// NodeSeen learns a node's facts (nodehub.Registrar): it has agents now, and routers that waited for a node may get it. Nodes that share networks with it must
// learn a changed tunnel address.
func (s *Service) NodeSeen(tx *db.Tx, n nodeapi.Node) error {
	c := s.service(tx)
	if err := ensureAgents(tx, n.Name); err != nil {
		return err
	}
	routers, err := db.All(tx, db.Value[string], `SELECT id FROM net_routers WHERE node = ''`)
	if err != nil {
		return err
	}
	for _, id := range routers {
		r, err := c.router(id)
		if err != nil {
			return err
		}
		if err := c.schedule(r); err != nil {
			return err
		}
		if r.Node == "" {
			continue
		}
		if err := set(tx, "net_routers", id, column{"node", r.Node}); err != nil {
			return err
		}
		if err := bump(tx, "net_routers", id, false); err != nil {
			return err
		}
		nodehub.Wake(tx, r.Node, nodehub.Networks)
	}
	hosts, err := db.All(tx, db.Value[string], `SELECT DISTINCT o.host FROM net_ports p JOIN net_ports o ON o.network_id = p.network_id WHERE p.host = $1 AND o.host <> ''`, n.Name)
	c.wake(hosts)
	return err
}
