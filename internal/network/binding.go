package network

import (
	"strings"

	"github.com/google/uuid"

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
		p.Status = "DOWN"
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
	hosts, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT host FROM net_ports WHERE network_id = $1 AND host <> ''
		UNION SELECT DISTINCT r.node FROM net_routers r JOIN net_ports p ON p.device_id = r.id WHERE p.network_id = $1 AND r.node <> ''`, networkID)
	c.wake(hosts)
	return err
}

func (c *call) wake(hosts []string) {
	for _, h := range hosts {
		nodehub.Wake(c.tx, h, nodehub.Networks)
	}
}

// wakeGroup wakes the nodes with ports of a group.
func (c *call) wakeGroup(id string) error {
	hosts, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT p.host FROM net_port_security_groups b JOIN net_ports p ON p.id = b.port_id WHERE b.security_group_id = $1 AND p.host <> ''`, id)
	c.wake(hosts)
	return err
}

// wakeReferrers wakes the nodes with ports of groups whose rules name one of these as remote group.
func (c *call) wakeReferrers(groups []string) error {
	if len(groups) == 0 {
		return nil
	}
	w := &db.Where{}
	w.In("r.remote_group_id", groups).Add("p.host <> ''")
	hosts, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT p.host FROM net_security_group_rules r JOIN net_port_security_groups b ON b.security_group_id = r.security_group_id
		JOIN net_ports p ON p.id = b.port_id`+w.SQL(), w.Args()...)
	c.wake(hosts)
	return err
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
