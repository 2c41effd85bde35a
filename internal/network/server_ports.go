package network

import (
	"github.com/hanok-cloud/hanok/internal/db"
)

// ServerPorts returns the ports of servers in interface order, by server id.
func (s *Service) ServerPorts(tx *db.Tx, serverIDs []string) (map[string][]Port, error) {
	out := map[string][]Port{}
	if len(serverIDs) == 0 {
		return out, nil
	}
	w := &db.Where{}
	w.In("t.device_id", serverIDs).Add("t.device_owner LIKE 'compute:%'")
	var all []*Port
	var ports, groups []string
	groupIDs := map[string][]string{}
	err := tx.Each(func(r db.Row) error {
		var p Port
		var ips []fixedIP
		var sgs []string
		if err := r.Scan(&p.ID, &p.ProjectID, &p.NetworkID, &p.NetworkName, &p.MTU, &p.ServerID, &p.MAC, &p.Status, &p.AdminUp, &p.VIFType, &p.Host, &p.Index, &p.Tag, &p.Made,
			jsonOf(&ips), jsonOf(&sgs)); err != nil {
			return err
		}
		for _, f := range ips {
			p.FixedIPs = append(p.FixedIPs, PortIP{SubnetID: f.SubnetID, IP: f.IP})
		}
		all = append(all, &p)
		ports = append(ports, p.ID)
		groupIDs[p.ID] = sgs
		groups = append(groups, sgs...)
		return nil
	}, `SELECT t.id, t.project_id, t.network_id, n.name, n.mtu, t.device_id, t.mac_address, t.status, t.admin_state_up, t.vif_type, t.host, t.nic_index, t.nic_tag, t.made_by_compute,
		t.fixed_ips, t.security_groups FROM net_ports t JOIN net_networks n ON n.id = t.network_id`+w.SQL()+` ORDER BY t.device_id, t.nic_index, t.id`, w.Args()...)
	if err != nil || len(all) == 0 {
		return out, err
	}
	if err := fillSubnets(tx, all); err != nil {
		return nil, err
	}
	if err := fillFloating(tx, all, ports); err != nil {
		return nil, err
	}
	names, err := groupNames(tx, groups)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		for _, g := range groupIDs[p.ID] {
			p.SecurityGroups = append(p.SecurityGroups, names[g])
		}
		out[p.ServerID] = append(out[p.ServerID], *p)
	}
	return out, nil
}

func fillSubnets(tx *db.Tx, ports []*Port) error {
	seen := map[string]bool{}
	var ids []string
	for _, p := range ports {
		for _, ip := range p.FixedIPs {
			if !seen[ip.SubnetID] {
				seen[ip.SubnetID] = true
				ids = append(ids, ip.SubnetID)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	w := &db.Where{}
	w.In("t.id", ids)
	subnets, err := db.All(tx, scanSubnet, `SELECT `+subnetColumns+` FROM net_subnets t`+w.SQL(), w.Args()...)
	if err != nil {
		return err
	}
	byID := map[string]*subnet{}
	for _, s := range subnets {
		byID[s.ID] = s
	}
	for _, p := range ports {
		for i := range p.FixedIPs {
			if s := byID[p.FixedIPs[i].SubnetID]; s != nil {
				ip := &p.FixedIPs[i]
				ip.CIDR, ip.GatewayIP, ip.Version, ip.DNS, ip.EnableDHCP = s.CIDR.String(), s.GatewayIP, int(s.IPVersion), s.DNS, s.EnableDHCP
			}
		}
	}
	return nil
}

func fillFloating(tx *db.Tx, all []*Port, ports []string) error {
	w := &db.Where{}
	w.In("port_id", ports)
	byPort := map[string]*Port{}
	for _, p := range all {
		byPort[p.ID] = p
	}
	return tx.Each(func(r db.Row) error {
		var port, fixed, floating string
		if err := r.Scan(&port, &fixed, &floating); err != nil {
			return err
		}
		p := byPort[port]
		for i := range p.FixedIPs {
			if p.FixedIPs[i].IP == fixed {
				p.FixedIPs[i].Floating = append(p.FixedIPs[i].Floating, floating)
			}
		}
		return nil
	}, `SELECT port_id, fixed_ip_address, floating_ip_address FROM net_floatingips`+w.SQL()+` ORDER BY created_at, id`, w.Args()...)
}

func groupNames(tx *db.Tx, ids []string) (map[string]string, error) {
	names := map[string]string{}
	if len(ids) == 0 {
		return names, nil
	}
	w := &db.Where{}
	w.In("id", ids)
	err := tx.Each(func(r db.Row) error {
		var id, name string
		err := r.Scan(&id, &name)
		names[id] = name
		return err
	}, `SELECT id, name FROM net_security_groups`+w.SQL(), w.Args()...)
	return names, err
}
