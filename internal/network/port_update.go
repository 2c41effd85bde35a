package network

import (
	"errors"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

func (c *call) portsOf(networkID string) ([]*port, error) {
	return db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.network_id = $1 ORDER BY t.id`, networkID)
}

func updatePort(c *call, o object, v values) (object, error) {
	p := o.(*port)
	before := *p
	before.FixedIPs, before.SecurityGroups = slices.Clone(p.FixedIPs), slices.Clone(p.SecurityGroups)
	p.take(v)
	if v.has("admin_state_up") {
		p.AdminUp = v.bool("admin_state_up")
	}
	if v.has("device_id") {
		p.DeviceID = v.str("device_id")
	}
	if v.has("device_owner") {
		p.DeviceOwner = v.str("device_owner")
	}
	if p.DeviceID != before.DeviceID || p.DeviceOwner != before.DeviceOwner {
		if err := c.routerOwned(p.DeviceOwner, p.DeviceID, p.ProjectID); err != nil {
			return nil, err
		}
	}
	if err := c.updateMAC(p, v); err != nil {
		return nil, err
	}
	if v.isSet("fixed_ips") {
		if err := c.changeIPs(p, toWanted(v.list("fixed_ips"))); err != nil {
			return nil, err
		}
	}
	if v.isSet("extra_dhcp_opts") {
		p.DHCPOpts = mergeDHCPOpts(p.DHCPOpts, v.list("extra_dhcp_opts"))
	}
	if v.has("port_security_enabled") {
		p.PortSecurity = v.bool("port_security_enabled")
	}
	if err := c.giveAddressPairs(p, v); err != nil {
		return nil, err
	}
	if err := c.giveSecurityGroups(p, v, false); err != nil {
		return nil, err
	}
	if err := c.giveQoS(&p.QoS, v); err != nil {
		return nil, err
	}
	if v.has("binding:vnic_type") {
		p.VNICType = v.str("binding:vnic_type")
	}
	if v.has("binding:profile") {
		p.Profile, _ = v["binding:profile"].(map[string]any)
	}
	if v.has("binding:host_id") {
		p.Host = v.str("binding:host_id")
	}
	n, err := c.network(p.NetworkID)
	if err != nil {
		return nil, err
	}
	if err := c.bind(p, n); err != nil {
		return nil, err
	}
	if err := c.savePort(p); err != nil {
		return nil, err
	}
	if err := c.fixedIPsLeft(p, before.FixedIPs); err != nil {
		return nil, err
	}
	for _, q := range []*port{p, &before} {
		if err := c.tellServer(q); err != nil {
			return nil, err
		}
	}
	return p, c.portChanged(p, &before)
}

func (c *call) updateMAC(p *port, v values) error {
	mac, ok := v["mac_address"].(string)
	if v["mac_address"] == (randomMAC{}) {
		var err error
		if mac, err = c.newMAC(p.NetworkID); err != nil {
			return err
		}
		ok = true
	}
	if !ok || mac == p.MAC {
		return nil
	}
	if isRouterOwner(p.DeviceOwner) || p.DeviceOwner == ownerDHCP || p.DeviceOwner == ownerFloatingIP {
		return conflict("UnsupportedPortDeviceOwner", "Operation mac address update is not supported for device_owner %s on port %s.", p.DeviceOwner, p.ID)
	}
	if p.VIFType == vifBridge && p.Host != "" && !v.has("binding:host_id") {
		return conflict("PortBound", "Unable to complete operation on port %s, port is already bound, port type: %s, old_mac %s, new_mac %s.", p.ID, p.VIFType, p.MAC, mac)
	}
	p.MAC = mac
	return c.macFree(p)
}

// fixedIPsLeft takes floating addresses off fixed ones that the port no longer has.
func (c *call) fixedIPsLeft(p *port, before []fixedIP) error {
	for _, f := range before {
		if slices.Contains(p.FixedIPs, f) {
			continue
		}
		if err := c.disassociate(p.ID, f.IP); err != nil {
			return err
		}
		if err := c.dropForwardings(p.ID, f.IP); err != nil {
			return err
		}
	}
	return nil
}

func removePort(c *call, o object) error {
	p := o.(*port)
	if err := c.notRouters(p); err != nil {
		return err
	}
	return c.deletePort(p)
}

// notRouters refuses to delete ports that a router or a floating IP owns (neutron/db/l3_db.py, prevent_l3_port_deletion).
func (c *call) notRouters(p *port) error {
	if !isRouterOwner(p.DeviceOwner) && p.DeviceOwner != ownerFloatingIP {
		return nil
	}
	table := "net_routers"
	query := `SELECT 1 FROM ` + table + ` WHERE id = $1`
	if p.DeviceOwner == ownerFloatingIP {
		query = `SELECT 1 FROM net_floatingips WHERE id = $1`
	} else if len(p.FixedIPs) == 0 && p.DeviceOwner == ownerGateway {
		return nil
	}
	_, err := db.One(c.tx, db.Value[int], query, p.DeviceID)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return conflict("ServicePortInUse", "Port %s cannot be deleted directly via the port API: has device owner %s.", p.ID, p.DeviceOwner)
}

// deletePort deletes a port with what hangs on it.
func (c *call) deletePort(p *port) error {
	if err := c.disassociate(p.ID, ""); err != nil {
		return err
	}
	if err := c.dropForwardings(p.ID, ""); err != nil {
		return err
	}
	if err := c.dropPort(p); err != nil {
		return err
	}
	if err := c.tellServer(p); err != nil {
		return err
	}
	return c.portChanged(p, p)
}

// dropPort deletes a port's rows.
func (c *call) dropPort(p *port) error {
	if err := c.releaseIPs(p.ID, p.FixedIPs); err != nil {
		return err
	}
	if len(p.SecurityGroups) > 0 {
		if _, err := c.tx.Exec(`DELETE FROM net_port_security_groups WHERE port_id = $1`, p.ID); err != nil {
			return err
		}
	}
	return erase(c.tx, "port", "net_ports", &p.standard)
}

// giveAddressPairs checks and stores allowed_address_pairs.
func (c *call) giveAddressPairs(p *port, v values) error {
	if v.has("allowed_address_pairs") {
		p.AddressPairs = nil
		for _, e := range v.list("allowed_address_pairs") {
			m, _ := e.(map[string]any)
			pair := addressPair{MAC: p.MAC, IP: str(m["ip_address"])}
			if mac, ok := m["mac_address"].(string); ok {
				pair.MAC, _ = parseMAC(mac)
			}
			p.AddressPairs = append(p.AddressPairs, pair)
		}
	}
	if len(p.AddressPairs) > 0 && !p.PortSecurity {
		return conflict("AddressPairAndPortSecurityRequired", "Port Security must be enabled in order to have allowed address pairs on a port.")
	}
	return nil
}

// giveSecurityGroups sets the port's groups: those asked for, on a new port else the project's default.
func (c *call) giveSecurityGroups(p *port, v values, isNew bool) error {
	asked := v.has("security_groups")
	groups := v.strings("security_groups")
	switch {
	case asked && len(groups) > 0 && !p.PortSecurity:
		return badRequest("PortSecurityAndIPRequiredForSecurityGroups", "Port security must be enabled and port must have an IP address in order to use security groups.")
	case !asked && !isNew:
		if !p.PortSecurity && len(p.SecurityGroups) > 0 {
			return conflict("PortSecurityPortHasSecurityGroup", "Port has security group associated. Cannot disable port security or IP address until security group is removed.")
		}
		return nil
	case !asked && (!p.PortSecurity || strings.HasPrefix(p.DeviceOwner, "network:")):
		groups = nil
	case !asked:
		id, err := c.defaultGroup(p.ProjectID)
		if err != nil {
			return err
		}
		groups = []string{id}
	}
	if asked && len(groups) > 0 {
		if err := c.groupsUsable(groups, p.ProjectID); err != nil {
			return err
		}
	}
	p.SecurityGroups = groups
	return nil
}

// linkGroups writes which groups a port is in, for the questions that start from the group.
func (c *call) linkGroups(p *port) error {
	for _, g := range p.SecurityGroups {
		if _, err := c.tx.Exec(`INSERT INTO net_port_security_groups (port_id, security_group_id, host) VALUES ($1, $2, $3) ON CONFLICT (port_id, security_group_id) DO UPDATE SET host = excluded.host`,
			p.ID, g, p.Host); err != nil {
			return err
		}
	}
	return nil
}

// relinkGroups does the same for a port whose groups or node have changed.
func (c *call) relinkGroups(p, before *port) error {
	if p.Host == before.Host && slices.Equal(p.SecurityGroups, before.SecurityGroups) {
		return nil
	}
	if _, err := c.tx.Exec(`DELETE FROM net_port_security_groups WHERE port_id = $1`, p.ID); err != nil {
		return err
	}
	return c.linkGroups(p)
}

// groupsUsable checks that the groups exist for the port's owner and agree on being stateful.
func (c *call) groupsUsable(ids []string, projectID string) error {
	stateful := map[bool]bool{}
	for _, id := range ids {
		w := &db.Where{}
		w.Add("t.id = ?", id)
		if !c.internal {
			w.Add(`t.project_id = ? OR t.project_id = ? OR EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'security_group' AND p.object_id = t.id AND p.target_project IN ('*', ?, ?))`,
				projectID, c.projectID, projectID, c.projectID)
		}
		s, err := db.One(c.tx, db.Value[bool], `SELECT t.stateful FROM net_security_groups t`+w.SQL(), w.Args()...)
		if errors.Is(err, db.ErrNotFound) {
			return securityGroupNotFound(id)
		}
		if err != nil {
			return err
		}
		stateful[s] = true
	}
	if len(stateful) > 1 {
		return conflict("SecurityGroupConflict", "Error Cannot apply both stateful and stateless security groups on the same port at the same time while attempting the operation.")
	}
	return nil
}
