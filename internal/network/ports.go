package network

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

// Device owners with a meaning here.
const (
	ownerDHCP        = "network:dhcp"
	ownerRouterIf    = "network:router_interface"
	ownerGateway     = "network:router_gateway"
	ownerFloatingIP  = "network:floatingip"
	vifUnbound       = "unbound"
	vifBridge        = "bridge"
	vifBindingFailed = "binding_failed"
)

func isRouterOwner(owner string) bool { return owner == ownerRouterIf || owner == ownerGateway }

// fixedIP is an address of a port.
type fixedIP struct {
	SubnetID string `json:"subnet_id"`
	IP       string `json:"ip_address"`
}

// addressPair is an address that a guest may use besides its own.
type addressPair struct {
	MAC string `json:"mac_address"`
	IP  string `json:"ip_address"`
}

// dhcpOpt is an entry of extra_dhcp_opts.
type dhcpOpt struct {
	Name    string `json:"opt_name"`
	Value   string `json:"opt_value"`
	Version int64  `json:"ip_version"`
}

// port is a place on a network.
type port struct {
	standard
	NetworkID      string
	AdminUp        bool
	MAC            string
	DeviceID       string
	DeviceOwner    string
	Status         string
	PortSecurity   bool
	IPAllocation   string
	Host           string
	VNICType       string
	VIFType        string
	Profile        map[string]any
	AddressPairs   []addressPair
	DHCPOpts       []dhcpOpt
	DNSName        string
	NICIndex       int
	NICTag         string
	Made           bool
	FixedIPs       []fixedIP
	SecurityGroups []string
	QoS            string // the policy's id; empty: the network's
}

const portColumns = standardColumns + `, t.network_id, t.admin_state_up, t.mac_address, t.device_id, t.device_owner, t.status, t.port_security, t.ip_allocation, t.host, t.vnic_type, t.vif_type,
	t.binding_profile, t.address_pairs, t.dhcp_opts, t.dns_name, t.nic_index, t.nic_tag, t.made_by_compute, t.fixed_ips, t.security_groups, t.qos_policy_id`

func scanPort(r db.Row) (*port, error) {
	p := &port{}
	return p, r.Scan(p.scan(&p.NetworkID, &p.AdminUp, &p.MAC, &p.DeviceID, &p.DeviceOwner, &p.Status, &p.PortSecurity, &p.IPAllocation, &p.Host, &p.VNICType, &p.VIFType,
		jsonOf(&p.Profile), jsonOf(&p.AddressPairs), jsonOf(&p.DHCPOpts), &p.DNSName, &p.NICIndex, &p.NICTag, &p.Made, jsonOf(&p.FixedIPs), jsonOf(&p.SecurityGroups), &p.QoS)...)
}

func (p *port) columns() []column {
	profile := "{}"
	if len(p.Profile) > 0 {
		profile = jsonArg(p.Profile)
	}
	return []column{{"network_id", p.NetworkID}, {"admin_state_up", p.AdminUp}, {"mac_address", p.MAC}, {"device_id", p.DeviceID}, {"device_owner", p.DeviceOwner},
		{"status", p.Status}, {"port_security", p.PortSecurity}, {"ip_allocation", p.IPAllocation}, {"host", p.Host}, {"vnic_type", p.VNICType}, {"vif_type", p.VIFType},
		{"binding_profile", profile}, {"address_pairs", jsonArg(p.AddressPairs)}, {"dhcp_opts", jsonArg(p.DHCPOpts)}, {"dns_name", p.DNSName}, {"nic_index", p.NICIndex},
		{"nic_tag", p.NICTag}, {"made_by_compute", p.Made}, {"fixed_ips", jsonArg(p.FixedIPs)}, {"security_groups", jsonArg(p.SecurityGroups)}, {"qos_policy_id", p.QoS}}
}

func (p *port) doc() doc {
	details := doc{}
	if p.VIFType == vifBridge {
		details = doc{"connectivity": "l2", "port_filter": true}
	}
	profile := p.Profile
	if profile == nil {
		profile = doc{}
	}
	return p.common(doc{
		"name": p.Name, "network_id": p.NetworkID, "admin_state_up": p.AdminUp, "mac_address": p.MAC, "device_id": p.DeviceID, "device_owner": p.DeviceOwner,
		"status": p.Status, "port_security_enabled": p.PortSecurity, "ip_allocation": p.IPAllocation, "fixed_ips": emptyList(p.FixedIPs),
		"allowed_address_pairs": emptyList(p.AddressPairs), "extra_dhcp_opts": emptyList(p.DHCPOpts), "security_groups": emptyList(p.SecurityGroups),
		"binding:host_id": p.Host, "binding:vif_type": p.VIFType, "binding:vif_details": details, "binding:vnic_type": p.VNICType, "binding:profile": profile,
		"qos_policy_id": orNull(p.QoS),
	})
}

func (s *Service) ports() *resource {
	return &resource{name: "port", collection: "ports", table: "net_ports", notFound: portNotFound, attrs: portAttrs(), quota: "port", parent: "network_id",
		scope: func(w *db.Where, c *call) {
			w.Add(`t.project_id = ? OR EXISTS (SELECT 1 FROM net_networks n WHERE n.id = t.network_id AND n.project_id = ?)`, c.projectID, c.projectID)
		},
		filters:     map[string]func(w *db.Where, c *call, values []string) error{"fixed_ips": filterFixedIPs, "security_groups": filterSecurityGroups},
		checkCreate: ownNetwork("port"),
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_ports", portColumns, scanPort)
		},
		create: createPort, update: updatePort, remove: removePort}
}

// filterFixedIPs reads ip_address=A, subnet_id=S and ip_address_substr=T; kinds are and-ed, values of a kind or-ed.
func filterFixedIPs(w *db.Where, _ *call, values []string) error {
	kinds := map[string][]any{}
	for _, v := range values {
		k, x, ok := strings.Cut(v, "=")
		if !ok || strings.TrimSpace(k) == "" {
			return invalidInput("'%s' is not of the form <key>=[value]", v)
		}
		x = strings.TrimSpace(x)
		switch strings.TrimSpace(k) {
		case "ip_address":
			if a, err := parseIP(x); err == nil {
				x = ipString(a)
			}
			kinds["a.ip = ?"] = append(kinds["a.ip = ?"], x)
		case "subnet_id":
			kinds["a.subnet_id = ?"] = append(kinds["a.subnet_id = ?"], x)
		case "ip_address_substr":
			kinds["a.ip LIKE ? ESCAPE '!'"] = append(kinds["a.ip LIKE ? ESCAPE '!'"], "%"+likeEscape(x)+"%")
		default:
			return httpBadRequest("['%s'] is invalid attribute for filtering", k)
		}
	}
	cond, args := "SELECT a.port_id FROM net_ip_allocations a WHERE 1 = 1", []any{}
	for _, k := range sortedKeys(kinds) {
		cond += " AND (" + db.Join(slices.Repeat([]string{k}, len(kinds[k])), " OR ") + ")"
		args = append(args, kinds[k]...)
	}
	w.Add("t.id IN ("+cond+")", args...)
	return nil
}

func filterSecurityGroups(w *db.Where, _ *call, values []string) error {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	w.Add("t.id IN (SELECT port_id FROM net_port_security_groups WHERE security_group_id IN (?"+strings.Repeat(", ?", len(values)-1)+"))", args...)
	return nil
}

func (c *call) port(id string) (*port, error) {
	p, err := db.One(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return nil, portNotFound(id)
	}
	return p, err
}

func createPort(c *call, v values) (object, error) {
	n, _, err := c.parentNetwork(v.str("network_id"))
	if err != nil {
		return nil, err
	}
	subnets, err := c.subnetsOf(n.ID)
	if err != nil {
		return nil, err
	}
	p := &port{standard: newStandard(c.tx, v), NetworkID: n.ID, AdminUp: v.bool("admin_state_up"), DeviceID: v.str("device_id"), DeviceOwner: v.str("device_owner"),
		Status: "DOWN", PortSecurity: n.PortSecurity, IPAllocation: "immediate", Host: v.str("binding:host_id"), VNICType: v.str("binding:vnic_type"), VIFType: vifUnbound,
		NICIndex: int(v.int("nic_index")), NICTag: v.str("nic_tag"), Made: v.bool("made_by_compute"), DNSName: v.str("dns_name"), DHCPOpts: toDHCPOpts(v.list("extra_dhcp_opts"))}
	p.Revision = 1
	if p.DeviceOwner == ownerFloatingIP {
		p.Status = "N/A" // no node wires it (neutron/db/l3_db.py)
	}
	if p.VNICType == "" {
		p.VNICType = "normal"
	}
	if m, ok := v["binding:profile"].(map[string]any); ok {
		p.Profile = m
	}
	if v.has("port_security_enabled") {
		p.PortSecurity = v.bool("port_security_enabled")
	}
	if strings.HasPrefix(p.DeviceOwner, "network:") && !v.has("port_security_enabled") {
		p.PortSecurity = false // trusted ports (neutron/plugins/ml2/extensions/port_security.py)
	}
	if err := c.routerOwned(p.DeviceOwner, p.DeviceID, p.ProjectID); err != nil {
		return nil, err
	}
	if s, ok := v["mac_address"].(string); ok {
		p.MAC = s
		if err := c.macFree(p); err != nil {
			return nil, err
		}
	} else if p.MAC, err = c.newMAC(n.ID); err != nil {
		return nil, err
	}
	if err := c.giveIPs(p, v, subnets); err != nil {
		return nil, err
	}
	if err := c.giveAddressPairs(p, v); err != nil {
		return nil, err
	}
	if err := c.giveSecurityGroups(p, v, true); err != nil {
		return nil, err
	}
	if err := c.giveQoS(&p.QoS, v); err != nil {
		return nil, err
	}
	if err := c.bind(p, n); err != nil {
		return nil, err
	}
	if err := insert(c.tx, "port", "net_ports", &p.standard, p.columns()...); err != nil {
		return nil, err
	}
	if err := c.linkGroups(p); err != nil {
		return nil, err
	}
	if !c.internal {
		if err := c.scheduleDHCP(n, subnets); err != nil {
			return nil, err
		}
	}
	return p, c.portChanged(p, nil)
}

// savePort writes a port and its revision.
func (c *call) savePort(p *port) error {
	return save(c.tx, "port", "net_ports", &p.standard, p.columns()...)
}

// routerOwned refuses a router's id as device of a port that could then act for the router (neutron/db/db_base_plugin_v2.py, _enforce_device_owner_not_router_intf_or_device_id).
func (c *call) routerOwned(owner, device, projectID string) error {
	if !isRouterOwner(owner) || c.admin || c.internal || device == "" {
		return nil
	}
	project, err := db.One(c.tx, db.Value[string], `SELECT project_id FROM net_routers WHERE id = $1`, device)
	if errors.Is(err, db.ErrNotFound) || err == nil && project == projectID {
		return nil
	}
	if err != nil {
		return err
	}
	return conflict("DeviceIDNotOwnedByTenant", "The following device_id %s is not owned by your tenant or matches another tenants router.", device)
}

func (c *call) macFree(p *port) error {
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_ports WHERE network_id = $1 AND mac_address = $2 AND id <> $3`, p.NetworkID, p.MAC, p.ID)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return conflict("MacAddressInUse", "Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
}

// newMAC draws addresses fa:16:3e:xx:xx:xx until one is free on the network.
func (c *call) newMAC(networkID string) (string, error) {
	for range 16 {
		var b [3]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		h := hex.EncodeToString(b[:])
		mac := "fa:16:3e:" + h[0:2] + ":" + h[2:4] + ":" + h[4:6]
		_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_ports WHERE network_id = $1 AND mac_address = $2`, networkID, mac)
		if errors.Is(err, db.ErrNotFound) {
			return mac, nil
		}
		if err != nil {
			return "", err
		}
	}
	e := conflict("NetworkMacAddressGenerationFailure", "Unable to generate unique mac on network %s.", networkID)
	e.Status = 503
	return "", e
}

func toDHCPOpts(l []any) []dhcpOpt {
	var out []dhcpOpt
	for _, e := range l {
		m, _ := e.(map[string]any)
		o := dhcpOpt{Name: str(m["opt_name"]), Version: 4}
		if m["opt_value"] == nil {
			continue // null takes an option away; on a new port there is none
		}
		o.Value = str(m["opt_value"])
		if n, ok := m["ip_version"].(int64); ok {
			o.Version = n
		}
		out = append(out, o)
	}
	return out
}

// mergeDHCPOpts changes options by name and version; a null value removes.
func mergeDHCPOpts(old []dhcpOpt, l []any) []dhcpOpt {
	out := slices.Clone(old)
	for _, e := range l {
		m, _ := e.(map[string]any)
		name, version := str(m["opt_name"]), int64(4)
		if n, ok := m["ip_version"].(int64); ok {
			version = n
		}
		i := slices.IndexFunc(out, func(o dhcpOpt) bool { return o.Name == name && o.Version == version })
		switch {
		case m["opt_value"] == nil && i >= 0:
			out = slices.Delete(out, i, i+1)
		case m["opt_value"] == nil:
		case i >= 0:
			out[i].Value = str(m["opt_value"])
		default:
			out = append(out, dhcpOpt{name, str(m["opt_value"]), version})
		}
	}
	return out
}
