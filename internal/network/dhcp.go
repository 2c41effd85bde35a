package network

import (
	"strings"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// What a node has of networks: those of its ports (guests, router legs, the DHCP port) and those that it was told to serve DHCP for.
const (
	hostedNetworks = `SELECT network_id FROM net_ports WHERE host = $1 AND host <> '' AND vif_type = 'bridge' UNION SELECT network_id FROM net_dhcp_bindings WHERE node = $1`
	// From node to node along the index: a network may have ten thousand ports.
	hostingNodes = `WITH RECURSIVE h (host) AS (
		SELECT min(host) FROM net_ports WHERE network_id = $1 AND host > ''
		UNION ALL SELECT (SELECT min(p.host) FROM net_ports p WHERE p.network_id = $1 AND p.host > h.host) FROM h WHERE h.host IS NOT NULL
	) SELECT host FROM h WHERE host IS NOT NULL UNION SELECT node FROM net_dhcp_bindings WHERE network_id = $1`
)

// scheduleDHCP gives a network that gets its first port to a node, as upstream's scheduler gives it to a DHCP agent.
func (c *call) scheduleDHCP(n *network, subnets []*subnet) error {
	dhcp := false
	for _, s := range subnets {
		dhcp = dhcp || s.EnableDHCP
	}
	if !dhcp {
		return nil
	}
	have, err := db.All(c.tx, db.Value[string], `SELECT node FROM net_dhcp_bindings WHERE network_id = $1 LIMIT 1`, n.ID)
	if err != nil || len(have) > 0 {
		return err
	}
	nodes, err := nodehub.Nodes(c.tx)
	if err != nil || len(nodes) == 0 {
		return err
	}
	load := map[string]int{}
	if err := c.tx.Each(func(row db.Row) error {
		var node string
		var count int
		err := row.Scan(&node, &count)
		load[node] = count
		return err
	}, `SELECT node, count(*) FROM net_dhcp_bindings GROUP BY node`); err != nil {
		return err
	}
	node := chooseNode(nodes, []*network{n}, "", load)
	if node == "" {
		return nil
	}
	return c.bindDHCP(n, node)
}

// bindDHCP makes a node serve DHCP for a network.
func (c *call) bindDHCP(n *network, node string) error {
	if _, err := c.tx.Exec(`INSERT INTO net_dhcp_bindings (network_id, node) VALUES ($1, $2) ON CONFLICT (network_id, node) DO NOTHING`, n.ID, node); err != nil {
		return err
	}
	if err := c.ensureDHCP(n, node); err != nil {
		return err
	}
	return c.wakeNetwork(n.ID)
}

// dhcpDevice is upstream's device_id of a DHCP port (neutron_lib/utils, get_dhcp_agent_device_id).
func dhcpDevice(networkID, host string) string {
	short, _, _ := strings.Cut(host, ".")
	return "dhcp" + uuid.NewSHA1(uuid.NameSpaceDNS, []byte(short)).String() + "-" + networkID
}

// ensureDHCP makes the network's DHCP port when it gets its first bound port on a node, as the DHCP agent does.
func (c *call) ensureDHCP(n *network, host string) error {
	has, err := db.All(c.tx, db.Value[string], `SELECT id FROM net_ports WHERE network_id = $1 AND device_owner = $2 LIMIT 1`, n.ID, ownerDHCP)
	if err != nil || len(has) > 0 {
		return err
	}
	if err := c.tx.LockQuota("", "dhcp/"+n.ID); err != nil {
		return err
	}
	if has, err = db.All(c.tx, db.Value[string], `SELECT id FROM net_ports WHERE network_id = $1 AND device_owner = $2 LIMIT 1`, n.ID, ownerDHCP); err != nil || len(has) > 0 {
		return err
	}
	subnets, err := c.subnetsOf(n.ID)
	if err != nil {
		return err
	}
	p := &port{standard: newStandard(c.tx, values{"tenant_id": n.ProjectID}), NetworkID: n.ID, AdminUp: true, DeviceOwner: ownerDHCP, DeviceID: dhcpDevice(n.ID, host),
		Status: "ACTIVE", IPAllocation: "immediate", Host: host, VNICType: "normal", VIFType: vifBridge}
	p.Revision = 1
	if p.MAC, err = c.newMAC(n.ID); err != nil {
		return err
	}
	full := true
	for _, s := range subnets {
		if !s.EnableDHCP {
			continue
		}
		ok, err := c.dhcpAddress(p, s)
		if err != nil {
			return err
		}
		full = full && !ok
	}
	if full {
		return nil // no subnet asks for DHCP, or none has an address left for it
	}
	return insert(c.tx, "port", "net_ports", &p.standard, p.columns()...)
}

// dhcpAddress gives the DHCP port an address of a subnet; a full subnet goes without DHCP rather than without its last guest.
func (c *call) dhcpAddress(p *port, s *subnet) (bool, error) {
	if s.IPVersion == 6 && s.autoAddress() {
		return true, c.giveAutoIPs(p, []*subnet{s})
	}
	ip, err := c.allocateLowest(s, p.ID)
	if err != nil || ip == "" {
		return false, err
	}
	p.FixedIPs = append(p.FixedIPs, fixedIP{s.ID, ip})
	return true, nil
}

// refreshDHCP gives the network's DHCP port an address in each subnet with DHCP and takes those of the others back.
func (c *call) refreshDHCP(networkID string) error {
	ports, err := db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.network_id = $1 AND t.device_owner = $2`, networkID, ownerDHCP)
	if err != nil {
		return err
	}
	subnets, err := c.subnetsOf(networkID)
	if err != nil {
		return err
	}
	if len(ports) == 0 {
		return c.firstDHCP(networkID)
	}
	byID := map[string]*subnet{}
	for _, s := range subnets {
		byID[s.ID] = s
	}
	p := ports[0]
	var kept, gone []fixedIP
	has := map[string]bool{}
	for _, f := range p.FixedIPs {
		if s := byID[f.SubnetID]; s != nil && s.EnableDHCP {
			kept, has[f.SubnetID] = append(kept, f), true
		} else {
			gone = append(gone, f)
		}
	}
	if err := c.releaseIPs(p.ID, gone); err != nil {
		return err
	}
	p.FixedIPs = kept
	changed := len(gone) > 0
	for _, s := range subnets {
		if !s.EnableDHCP || has[s.ID] {
			continue
		}
		ok, err := c.dhcpAddress(p, s)
		if err != nil {
			return err
		}
		changed = changed || ok
	}
	switch {
	case len(p.FixedIPs) == 0:
		return c.dropPort(p)
	case changed:
		return c.savePort(p)
	}
	return nil
}

// firstDHCP makes the DHCP port when a network that has guests gets its first subnet with DHCP.
func (c *call) firstDHCP(networkID string) error {
	hosts, err := db.All(c.tx, db.Value[string], `SELECT host FROM net_ports WHERE network_id = $1 AND vif_type = 'bridge' AND host <> '' ORDER BY created_at LIMIT 1`, networkID)
	if err != nil || len(hosts) == 0 {
		return err
	}
	n, err := c.network(networkID)
	if err != nil {
		return err
	}
	return c.ensureDHCP(n, hosts[0])
}
