package network

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// Items renders what a node is to realise (nodehub.Source): its guests' ports, its routers, the networks of both, and the security groups that its ports have
// or that rules of these name. All of it each time; the hub sends on what differs.
func (s *Service) Items(tx *db.Tx, node string, _ int64) (nodehub.Changes, error) {
	r := &renderer{c: s.service(tx), node: node, networks: map[string]*network{}}
	if err := r.load(); err != nil {
		return nodehub.Changes{}, err
	}
	qos, err := r.loadQoS()
	if err != nil {
		return nodehub.Changes{}, err
	}
	items := nodeapi.Items{Ports: r.portItems(qos), Networks: r.networkItems()}
	if items.SecurityGroups, err = r.groupItems(); err != nil {
		return nodehub.Changes{}, err
	}
	if items.Routers, err = r.routerItems(); err != nil {
		return nodehub.Changes{}, err
	}
	return nodehub.Changes{Items: items, Full: true}, nil
}

// renderer holds the rows that a node's items are made of.
type renderer struct {
	c        *call
	node     string
	nodes    map[string]nodehub.NodeRecord
	networks map[string]*network
	ids      []string             // of networks
	subnets  map[string][]*subnet // by network
	byID     map[string]*subnet
	ports    []*port // of those networks, on any node
	routers  []*router
}

func (r *renderer) load() error {
	tx := r.c.tx
	nodes, err := nodehub.Nodes(tx)
	if err != nil {
		return err
	}
	r.nodes = map[string]nodehub.NodeRecord{}
	for _, n := range nodes {
		r.nodes[n.Name] = n
	}
	ids, err := db.All(tx, db.Value[string], `SELECT id FROM net_routers WHERE node = $1`, r.node)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		os, err := loadRouters(r.c, ids)
		if err != nil {
			return err
		}
		for _, o := range os {
			r.routers = append(r.routers, o.(*router))
		}
		slices.SortFunc(r.routers, func(a, b *router) int { return strings.Compare(a.ID, b.ID) })
	}
	if r.ids, err = db.All(tx, db.Value[string], hostedNetworks, r.node); err != nil || len(r.ids) == 0 {
		return err
	}
	slices.Sort(r.ids)
	w := &db.Where{}
	w.In("t.id", r.ids)
	nets, err := db.All(tx, scanNetwork, `SELECT `+networkColumns+` FROM net_networks t`+w.SQL(), w.Args()...)
	if err != nil {
		return err
	}
	for _, n := range nets {
		r.networks[n.ID] = n
	}
	w = &db.Where{}
	w.In("t.network_id", r.ids)
	subnets, err := db.All(tx, scanSubnet, `SELECT `+subnetColumns+` FROM net_subnets t`+w.SQL()+` ORDER BY t.created_at, t.id`, w.Args()...)
	if err != nil {
		return err
	}
	r.subnets, r.byID = map[string][]*subnet{}, map[string]*subnet{}
	for _, s := range subnets {
		r.subnets[s.NetworkID] = append(r.subnets[s.NetworkID], s)
		r.byID[s.ID] = s
	}
	r.ports, err = db.All(tx, scanPort, `SELECT `+portColumns+` FROM net_ports t`+w.SQL()+` ORDER BY t.id`, w.Args()...)
	return err
}

// here tells whether a port is a guest's on this node.
func (r *renderer) here(p *port) bool {
	return p.Host == r.node && p.VIFType == vifBridge && !strings.HasPrefix(p.DeviceOwner, "network:")
}

func (r *renderer) portItems(qos map[string]*nodeapi.QoS) []nodeapi.Port {
	var out []nodeapi.Port
	for _, p := range r.ports {
		if !r.here(p) {
			continue
		}
		x := nodeapi.Port{ID: p.ID, NetworkID: p.NetworkID, GuestID: p.DeviceID, MAC: p.MAC, FixedIPs: toNodeIPs(p.FixedIPs), AdminUp: p.AdminUp, PortSecurity: p.PortSecurity,
			SecurityGroups: slices.Sorted(slices.Values(p.SecurityGroups)), QoS: qos[r.qosOf(p)]}
		for _, a := range p.AddressPairs {
			x.AllowedAddressPairs = append(x.AllowedAddressPairs, nodeapi.AddressPair{MAC: a.MAC, IP: a.IP})
		}
		out = append(out, x)
	}
	return out
}

func toNodeIPs(l []fixedIP) []nodeapi.FixedIP {
	out := make([]nodeapi.FixedIP, len(l))
	for i, f := range l {
		out[i] = nodeapi.FixedIP{SubnetID: f.SubnetID, IP: f.IP}
	}
	return out
}

func (r *renderer) networkItems() []nodeapi.Network {
	var out []nodeapi.Network
	for _, id := range r.ids {
		n := r.networks[id]
		if n == nil {
			continue
		}
		x := nodeapi.Network{ID: n.ID, Type: n.Type, PhysicalNetwork: n.PhysicalNetwork, SegmentationID: int(n.SegmentationID), MTU: int(n.MTU), AdminUp: n.AdminUp, DNSDomain: n.DNSDomain}
		if x.DNSDomain == "" {
			x.DNSDomain = r.c.s.o.DNSDomain
		}
		vteps := map[string]bool{}
		for _, p := range r.ports {
			if p.NetworkID == id {
				r.addHost(&x, p, vteps)
			}
		}
		x.VTEPs = sortedKeys(vteps)
		x.Subnets = r.subnetItems(id)
		out = append(out, x)
	}
	return out
}

// addHost adds a port to what the node knows of the network.
func (r *renderer) addHost(x *nodeapi.Network, p *port, vteps map[string]bool) {
	if p.DeviceOwner == ownerDHCP {
		s := r.service(p)
		x.DHCPPort = &s
		return
	}
	vtep := ""
	if p.Host != "" && p.Host != r.node && p.VIFType == vifBridge {
		vtep = r.nodes[p.Host].LocalIP
		if vtep != "" && x.Type == nodeapi.NetworkVXLAN {
			vteps[vtep] = true
		}
	}
	h := nodeapi.NetworkHost{PortID: p.ID, MAC: p.MAC, FixedIPs: toNodeIPs(p.FixedIPs), Hostname: p.DNSName, VTEP: vtep}
	if strings.HasPrefix(p.DeviceOwner, "compute:") {
		h.GuestID = p.DeviceID
	}
	if h.Hostname == "" && len(p.FixedIPs) > 0 {
		h.Hostname = "host-" + strings.NewReplacer(".", "-", ":", "-").Replace(p.FixedIPs[0].IP)
	}
	for _, o := range p.DHCPOpts {
		h.Options = append(h.Options, nodeapi.DHCPOption{Name: o.Name, Value: o.Value, Version: int(o.Version)})
	}
	x.Hosts = append(x.Hosts, h)
}

func (r *renderer) subnetItems(networkID string) []nodeapi.Subnet {
	var out []nodeapi.Subnet
	for _, s := range r.subnets[networkID] {
		x := nodeapi.Subnet{ID: s.ID, CIDR: s.CIDR.String(), GatewayIP: s.GatewayIP, EnableDHCP: s.EnableDHCP, DNS: s.DNS, HostRoutes: s.HostRoutes,
			IPv6AddressMode: s.AddressMode, IPv6RAMode: s.RAMode}
		for _, p := range r.ports {
			for _, f := range p.FixedIPs {
				if p.DeviceOwner == ownerRouterIf && f.SubnetID == s.ID && (x.RouterIP == "" || f.IP == s.GatewayIP) {
					x.RouterIP = f.IP
				}
			}
		}
		out = append(out, x)
	}
	return out
}

// service is a port with its addresses and their prefix lengths.
func (r *renderer) service(p *port) nodeapi.ServicePort {
	x := nodeapi.ServicePort{PortID: p.ID, NetworkID: p.NetworkID, MAC: p.MAC}
	for _, f := range p.FixedIPs {
		if s := r.byID[f.SubnetID]; s != nil {
			x.Addresses = append(x.Addresses, f.IP+"/"+strconv.Itoa(s.CIDR.Bits()))
		}
	}
	return x
}

func (r *renderer) routerItems() ([]nodeapi.Router, error) {
	var out []nodeapi.Router
	for _, x := range r.routers {
		item := nodeapi.Router{ID: x.ID, AdminUp: x.AdminUp, Routes: x.Routes}
		for _, p := range r.ports {
			switch {
			case p.DeviceID != x.ID || len(p.FixedIPs) == 0:
			case p.DeviceOwner == ownerRouterIf:
				item.Interfaces = append(item.Interfaces, r.service(p))
			case p.DeviceOwner == ownerGateway:
				g := &nodeapi.Gateway{ServicePort: r.service(p), EnableSNAT: x.SNAT}
				for _, f := range p.FixedIPs {
					if s := r.byID[f.SubnetID]; s != nil && s.GatewayIP != "" && !slices.Contains(g.NextHops, s.GatewayIP) {
						g.NextHops = append(g.NextHops, s.GatewayIP)
					}
				}
				item.Gateway = g
			}
		}
		fips, err := db.All(r.c.tx, scanFloatingIP, `SELECT `+floatingIPColumns+` FROM net_floatingips t WHERE t.router_id = $1 ORDER BY t.id`, x.ID)
		if err != nil {
			return nil, err
		}
		if err := r.c.loadForwardings(fips, fipIDs(fips)); err != nil {
			return nil, err
		}
		for _, f := range fips {
			for _, p := range f.Forwardings {
				item.PortForwardings = append(item.PortForwardings, p.item(f.Address))
			}
			if f.PortID == "" {
				continue
			}
			item.FloatingIPs = append(item.FloatingIPs, nodeapi.FloatingIP{ID: f.ID, Floating: f.Address, Fixed: f.FixedIP, PortID: f.PortID})
		}
		out = append(out, item)
	}
	return out, nil
}

func fipIDs(fs []*floatingIP) []string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = f.ID
	}
	return out
}

// groupItems are the groups of the node's ports, and those that their rules name, with members.
func (r *renderer) groupItems() ([]nodeapi.SecurityGroup, error) {
	want := map[string]bool{}
	for _, p := range r.ports {
		if r.here(p) && p.PortSecurity {
			for _, g := range p.SecurityGroups {
				want[g] = true
			}
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	groups, err := loadSecurityGroups(r.c, sortedKeys(want))
	if err != nil {
		return nil, err
	}
	remote, addresses := map[string]bool{}, map[string]bool{}
	items := map[string]*nodeapi.SecurityGroup{}
	for _, o := range groups {
		g := o.(*securityGroup)
		x := &nodeapi.SecurityGroup{ID: g.ID, Stateful: g.Stateful}
		for _, ru := range g.Rules {
			x.Rules = append(x.Rules, ru.item())
			if ru.RemoteGroupID != "" {
				remote[ru.RemoteGroupID] = true
			}
			if ru.AddressGroupID != "" {
				addresses[ru.AddressGroupID] = true
			}
		}
		items[g.ID] = x
	}
	if len(remote) > 0 {
		if err := r.members(sortedKeys(remote), items); err != nil {
			return nil, err
		}
	}
	if len(addresses) > 0 {
		if err := r.addressGroups(sortedKeys(addresses), items); err != nil {
			return nil, err
		}
	}
	out := make([]nodeapi.SecurityGroup, 0, len(items))
	for _, id := range sortedKeys(items) {
		out = append(out, *items[id])
	}
	return out, nil
}

// members adds the addresses of all ports in the remote groups; a group that no port here has comes without rules.
func (r *renderer) members(ids []string, items map[string]*nodeapi.SecurityGroup) error {
	found := map[string]map[string]bool{}
	for _, id := range ids {
		found[id] = map[string]bool{}
		if items[id] == nil {
			items[id] = &nodeapi.SecurityGroup{ID: id, Stateful: true}
		}
	}
	w := &db.Where{}
	w.In("b.security_group_id", ids)
	err := r.c.tx.Each(func(row db.Row) error {
		var id string
		var ips []fixedIP
		var pairs []addressPair
		if err := row.Scan(&id, jsonOf(&ips), jsonOf(&pairs)); err != nil {
			return err
		}
		for _, f := range ips {
			found[id][f.IP] = true
		}
		for _, a := range pairs {
			found[id][a.IP] = true
		}
		return nil
	}, `SELECT b.security_group_id, p.fixed_ips, p.address_pairs FROM net_port_security_groups b JOIN net_ports p ON p.id = b.port_id`+w.SQL(), w.Args()...)
	for id, m := range found {
		items[id].Members = sortedKeys(m)
	}
	return err
}

// addressGroups adds the address groups that rules name: to a node they are groups with members and without rules.
func (r *renderer) addressGroups(ids []string, items map[string]*nodeapi.SecurityGroup) error {
	os, err := loadAddressGroups(r.c, ids)
	for _, o := range os {
		g := o.(*addressGroup)
		items[g.ID] = &nodeapi.SecurityGroup{ID: g.ID, Stateful: true, Members: slices.Sorted(slices.Values(g.Addresses))}
	}
	return err
}

func (ru *rule) item() nodeapi.SecurityGroupRule {
	orNil := func(n int64) *int {
		if n < 0 {
			return nil
		}
		i := int(n)
		return &i
	}
	return nodeapi.SecurityGroupRule{ID: ru.ID, Direction: ru.Direction, EtherType: ru.EtherType, Protocol: ru.Protocol, PortMin: orNil(ru.PortMin), PortMax: orNil(ru.PortMax),
		RemoteCIDR: ru.RemotePrefix, RemoteGroupID: cmp.Or(ru.RemoteGroupID, ru.AddressGroupID)}
}
