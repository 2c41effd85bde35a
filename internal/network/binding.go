package network

import (
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// carries tells whether a node can wire a network, as the Linux bridge mechanism driver asks its agent.
func carries(n nodeapi.Node, net *network) bool {
	if net.Type == nodeapi.NetworkVXLAN {
		return n.EnableVXLAN
	}
	_, ok := n.PhysicalInterfaceMappings[net.PhysicalNetwork]
	return ok
}

// bind sets what follows from binding:host_id: the kind of interface and the status.
func (c *call) bind(p *port, n *network) error {
	if p.Host == "" {
		p.VIFType = vifUnbound
		if p.DeviceOwner != ownerFloatingIP {
			p.Status = "DOWN"
		}
		return nil
	}
	if isRouterOwner(p.DeviceOwner) || p.DeviceOwner == ownerDHCP {
		p.VIFType = vifBridge
		return nil
	}
	was := p.VIFType
	p.VIFType = vifBindingFailed
	nodes, err := nodehub.Nodes(c.tx)
	if err != nil {
		return err
	}
	for _, x := range nodes {
		if x.Name == p.Host && carries(x.Node, n) {
			p.VIFType = vifBridge
		}
	}
	if p.VIFType != was {
		p.Status = "DOWN"
		if p.VIFType == vifBridge {
			return c.ensureDHCP(n, p.Host)
		}
	}
	return nil
}

// portChanged wakes the nodes that a port concerns: its own, those with other ports of the network (they answer DHCP for it and know its VTEP), and those
// with rules that name its groups. before is nil for a new port, and the same port for a deleted one.
func (c *call) portChanged(p, before *port) error {
	if before != nil && before != p {
		if err := c.relinkGroups(p, before); err != nil {
			return err
		}
	}
	hosts := map[string]bool{}
	add := func(q *port) {
		if q != nil && q.VIFType == vifBridge {
			hosts[q.Host] = true
		}
	}
	add(p)
	add(before)
	groups := append([]string{}, p.SecurityGroups...)
	if before != nil {
		groups = append(groups, before.SecurityGroups...)
	}
	if len(hosts) > 0 || strings.HasPrefix(p.DeviceOwner, "network:") {
		if err := c.wakeNetwork(p.NetworkID); err != nil {
			return err
		}
	}
	for h := range hosts {
		nodehub.Wake(c.tx, h, nodehub.Networks)
	}
	return c.wakeReferrers(groups)
}

// wakeNetwork wakes the nodes that have the network.
func (c *call) wakeNetwork(networkID string) error {
	hosts, err := db.All(c.tx, db.Value[string], hostingNodes, networkID)
	c.wake(hosts)
	return err
}

func (c *call) wake(hosts []string) {
	for _, h := range hosts {
		nodehub.Wake(c.tx, h, nodehub.Networks)
	}
}

// groupHosts jumps from node to node along the index instead of reading every port of a group.
const groupHosts = `WITH RECURSIVE h (host) AS (
	SELECT min(host) FROM net_port_security_groups WHERE security_group_id = $1 AND host > ''
	UNION ALL SELECT (SELECT min(b.host) FROM net_port_security_groups b WHERE b.security_group_id = $1 AND b.host > h.host) FROM h WHERE h.host IS NOT NULL
) SELECT host FROM h WHERE host IS NOT NULL`

// wakeGroup wakes the nodes with ports of a group.
func (c *call) wakeGroup(id string) error {
	hosts, err := db.All(c.tx, db.Value[string], groupHosts, id)
	c.wake(hosts)
	return err
}

// wakeReferrers wakes the nodes with ports of groups whose rules name one of these as remote group.
func (c *call) wakeReferrers(groups []string) error {
	if len(groups) == 0 {
		return nil
	}
	w := &db.Where{}
	w.In("remote_group_id", groups)
	referrers, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT security_group_id FROM net_security_group_rules`+w.SQL(), w.Args()...)
	for _, g := range referrers {
		if err == nil {
			err = c.wakeGroup(g)
		}
	}
	return err
}
