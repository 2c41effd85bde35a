package network

import (
	"cmp"
	"maps"
	"slices"

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
	groupIDs := map[string][]string{} // by port
	decoded := map[string][]string{}  // by text: most ports have the same groups
	groups := map[string]string{}     // names by id
	byID := map[string]*Port{}
	var floats []floating
	err := tx.Each(func(r db.Row) error {
		p := &Port{}
		var ips []fixedIP
		var sgs string
		var f floating
		if err := r.Scan(&p.ID, &p.ProjectID, &p.NetworkID, &p.NetworkName, &p.MTU, &p.ServerID, &p.MAC, &p.Status, &p.AdminUp, &p.VIFType, &p.Host, &p.Index, &p.Tag, &p.Made,
			jsonOf(&ips), &sgs, &f.id, &f.created, &f.fixed, &f.ip); err != nil {
			return err
		}
		if f.id != "" {
			f.port = p.ID
			floats = append(floats, f)
		}
		if byID[p.ID] != nil { // it comes once for each of its floating addresses
			return nil
		}
		byID[p.ID] = p
		all = append(all, p)
		p.FixedIPs = make([]PortIP, len(ips))
		for i, f := range ips {
			p.FixedIPs[i] = PortIP{SubnetID: f.SubnetID, IP: f.IP}
		}
		ids, ok := decoded[sgs]
		if !ok {
			if err := jsonOf(&ids).Scan(sgs); err != nil {
				return err
			}
			decoded[sgs] = ids
			for _, id := range ids {
				groups[id] = ""
			}
		}
		groupIDs[p.ID] = ids
		return nil
	}, `SELECT t.id, t.project_id, t.network_id, n.name, n.mtu, t.device_id, t.mac_address, t.status, t.admin_state_up, t.vif_type, t.host, t.nic_index, t.nic_tag, t.made_by_compute,
		t.fixed_ips, t.security_groups, COALESCE(f.id, ''), COALESCE(f.created_at, 0), COALESCE(f.fixed_ip_address, ''), COALESCE(f.floating_ip_address, '')
		FROM net_ports t JOIN net_networks n ON n.id = t.network_id LEFT JOIN net_floatingips f ON f.port_id = t.id`+w.SQL(), w.Args()...)
	if err != nil || len(all) == 0 {
		return out, err
	}
	// Sorted here: SQLite would copy every row once more to sort it.
	slices.SortFunc(all, func(a, b *Port) int {
		return cmp.Or(cmp.Compare(a.ServerID, b.ServerID), cmp.Compare(a.Index, b.Index), cmp.Compare(a.ID, b.ID))
	})
	fillFloating(byID, floats)
	if err := fillSubnets(tx, all); err != nil {
		return nil, err
	}
	if err := nameGroups(tx, groups); err != nil {
		return nil, err
	}
	for _, p := range all {
		for _, g := range groupIDs[p.ID] {
			p.SecurityGroups = append(p.SecurityGroups, groups[g])
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

// floating is a floating address of a port.
type floating struct {
	id, port, fixed, ip string
	created             int64
}

func fillFloating(ports map[string]*Port, floats []floating) {
	slices.SortFunc(floats, func(a, b floating) int { return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.id, b.id)) })
	for _, f := range floats {
		for i := range ports[f.port].FixedIPs {
			if ip := &ports[f.port].FixedIPs[i]; ip.IP == f.fixed {
				ip.Floating = append(ip.Floating, f.ip)
			}
		}
	}
}

// nameGroups fills in the names of security groups by id.
func nameGroups(tx *db.Tx, names map[string]string) error {
	if len(names) == 0 {
		return nil
	}
	w := &db.Where{}
	w.In("id", slices.Sorted(maps.Keys(names)))
	return tx.Each(func(r db.Row) error {
		var id, name string
		err := r.Scan(&id, &name)
		names[id] = name
		return err
	}, `SELECT id, name FROM net_security_groups`+w.SQL(), w.Args()...)
}
