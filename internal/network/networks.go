package network

import (
	"errors"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// network is a layer-2 network.
type network struct {
	standard
	AdminUp         bool
	MTU             int64
	PortSecurity    bool
	External        bool
	Default         bool
	AZHints         []string
	DNSDomain       string
	Type            string
	PhysicalNetwork string
	SegmentationID  int64

	QoS             string // the policy's id
	Subnets         []string
	ScopeV4, Scope6 string
}

const networkColumns = standardColumns + `, t.admin_state_up, t.mtu, t.port_security, t.external, t.is_default, t.az_hints, t.dns_domain, t.network_type, t.physical_network, t.segmentation_id,
	t.qos_policy_id`

func scanNetwork(r db.Row) (*network, error) {
	n := &network{}
	return n, r.Scan(n.scan(&n.AdminUp, &n.MTU, &n.PortSecurity, &n.External, &n.Default, jsonOf(&n.AZHints), &n.DNSDomain, &n.Type, &n.PhysicalNetwork, &n.SegmentationID, &n.QoS)...)
}

func (n *network) columns() []column {
	return []column{{"admin_state_up", n.AdminUp}, {"mtu", n.MTU}, {"port_security", n.PortSecurity}, {"external", n.External}, {"is_default", n.Default},
		{"az_hints", jsonArg(n.AZHints)}, {"dns_domain", n.DNSDomain}, {"network_type", n.Type}, {"physical_network", n.PhysicalNetwork}, {"segmentation_id", n.SegmentationID}, {"qos_policy_id", n.QoS}}
}

func (n *network) doc() doc {
	zones := []string{}
	if len(n.Subnets) > 0 {
		zones = []string{defaultZone}
	}
	var segment any
	if n.SegmentationID != 0 {
		segment = n.SegmentationID
	}
	return n.common(doc{
		"name": n.Name, "admin_state_up": n.AdminUp, "mtu": n.MTU, "status": "ACTIVE", "subnets": emptyList(n.Subnets), "shared": false,
		"availability_zone_hints": emptyList(n.AZHints), "availability_zones": zones,
		"ipv4_address_scope": orNull(n.ScopeV4), "ipv6_address_scope": orNull(n.Scope6),
		"router:external": n.External, "is_default": n.Default, "port_security_enabled": n.PortSecurity,
		"provider:network_type": n.Type, "provider:physical_network": orNull(n.PhysicalNetwork), "provider:segmentation_id": segment,
		"qos_policy_id": orNull(n.QoS),
	})
}

// defaultZone is the availability zone of every agent (neutron's default of the option availability_zone).
const defaultZone = "nova"

func (s *Service) networks() *resource {
	return &resource{name: "network", collection: "networks", table: "net_networks", notFound: networkNotFound, attrs: networkAttrs(), shareable: "network", quota: "network",
		scope:   sharedScope("network"),
		filters: map[string]func(w *db.Where, c *call, values []string) error{"shared": sharedFilter("network")},
		load:    loadNetworks, create: createNetwork, update: updateNetwork, remove: removeNetwork}
}

// sharedFilter is the filter on the computed attribute.
func sharedFilter(objectType string) func(w *db.Where, c *call, values []string) error {
	return func(w *db.Where, c *call, values []string) error {
		b, err := toBool(values[0])
		if err != nil {
			return err
		}
		not := ""
		if b == false {
			not = "NOT "
		}
		w.Add(not+`EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = '`+objectType+`' AND p.object_id = t.id AND p.action = 'access_as_shared' AND p.target_project IN ('*', ?))`, c.projectID)
		return nil
	}
}

func loadNetworks(c *call, ids []string) ([]object, error) {
	w := &db.Where{}
	w.In("t.id", ids)
	ns, err := db.All(c.tx, scanNetwork, `SELECT `+networkColumns+` FROM net_networks t`+w.SQL(), w.Args()...)
	if err != nil {
		return nil, err
	}
	byID := map[string]*network{}
	out := make([]object, len(ns))
	for i, n := range ns {
		byID[n.ID], out[i] = n, n
	}
	w = &db.Where{}
	w.In("s.network_id", ids)
	err = c.tx.Each(func(r db.Row) error {
		var network, id, scope string
		var version int
		if err := r.Scan(&network, &id, &version, &scope); err != nil {
			return err
		}
		n := byID[network]
		n.Subnets = append(n.Subnets, id)
		if scope != "" && version == 4 {
			n.ScopeV4 = scope
		} else if scope != "" {
			n.Scope6 = scope
		}
		return nil
	}, `SELECT s.network_id, s.id, s.ip_version, COALESCE(p.address_scope_id, '') FROM net_subnets s LEFT JOIN net_subnetpools p ON p.id = s.subnetpool_id`+w.SQL()+` ORDER BY s.created_at, s.id`, w.Args()...)
	return out, err
}

// network loads a network whoever owns it.
func (c *call) network(id string) (*network, error) {
	n, err := db.One(c.tx, scanNetwork, `SELECT `+networkColumns+` FROM net_networks t WHERE t.id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return nil, networkNotFound(id)
	}
	return n, err
}

// visibleNetwork loads a network that the caller may know of.
func (c *call) visibleNetwork(id string) (*network, bool, error) {
	o, shared, err := c.find(c.s.res.networks, id)
	if err != nil {
		return nil, false, err
	}
	return o.(*network), shared, nil
}

// parentNetwork is visibleNetwork for what is made in a network, which asks for it more than once: its owner, then its making, and that of
// the next one in a list. Those who change a network must not use it.
func (c *call) parentNetwork(id string) (*network, bool, error) {
	if p, ok := c.parents[id]; ok {
		return p.n, p.shared, nil
	}
	n, shared, err := c.visibleNetwork(id)
	if err == nil {
		if c.parents == nil {
			c.parents = map[string]parent{}
		}
		c.parents[id] = parent{n, shared}
	}
	return n, shared, err
}

// parent is a network and whether it is shared with the caller.
type parent struct {
	n      *network
	shared bool
}

func createNetwork(c *call, v values) (object, error) {
	n := &network{standard: newStandard(c.tx, v), AdminUp: v.bool("admin_state_up"), PortSecurity: v.bool("port_security_enabled"), External: v.bool("router:external"),
		AZHints: v.strings("availability_zone_hints"), MTU: v.int("mtu")}
	n.Revision = 1
	if err := c.zonesKnown(n.AZHints); err != nil {
		return nil, err
	}
	n.Default = n.External && v.bool("is_default")
	if n.Default {
		if err := c.noOtherDefault(n.ID); err != nil {
			return nil, err
		}
	}
	if err := c.segment(n, v); err != nil {
		return nil, err
	}
	if err := c.s.fitMTU(n); err != nil {
		return nil, err
	}
	if err := c.giveQoS(&n.QoS, v); err != nil {
		return nil, err
	}
	if n.QoS == "" {
		var err error
		if n.QoS, err = c.defaultQoS(n.ProjectID); err != nil {
			return nil, err
		}
	}
	if err := insert(c.tx, "network", "net_networks", &n.standard, n.columns()...); err != nil {
		return nil, err
	}
	if v.bool("shared") {
		if err := c.share("network", n.ID, n.ProjectID, "*", "access_as_shared"); err != nil {
			return nil, err
		}
	}
	if n.External {
		if err := c.share("network", n.ID, n.ProjectID, "*", "access_as_external"); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// segment chooses the network's type and segment (neutron/plugins/ml2/managers.py).
func (c *call) segment(n *network, v values) error {
	typ, physical := v.str("provider:network_type"), v.str("provider:physical_network")
	if !v.isSet("provider:network_type") {
		if v.isSet("provider:physical_network") || v.isSet("provider:segmentation_id") {
			return invalidInput("network_type required")
		}
		typ = nodeapi.NetworkVXLAN
	}
	switch typ {
	case nodeapi.NetworkFlat:
		if v.isSet("provider:segmentation_id") {
			return invalidInput("provider:segmentation_id specified for flat network")
		}
		if physical == "" {
			return invalidInput("physical_network required for flat provider network")
		}
		if _, ok := c.s.o.PhysicalNetworks[physical]; !ok {
			return invalidInput("physical_network '%s' unknown for flat provider network", physical)
		}
		if err := c.tx.LockQuota("", "segments"); err != nil {
			return err
		}
		_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_networks WHERE network_type = 'flat' AND physical_network = $1`, physical)
		if err == nil {
			return conflict("FlatNetworkInUse", "Unable to create the flat network. Physical network %s is in use.", physical)
		}
		if !errors.Is(err, db.ErrNotFound) {
			return err
		}
		n.Type, n.PhysicalNetwork = typ, physical
		return nil
	case nodeapi.NetworkVXLAN:
		if physical != "" {
			return invalidInput("provider:physical_network specified for vxlan network")
		}
		return c.vni(n, v)
	}
	return invalidInput("network_type value '%s' not supported", typ)
}

// maxVNI is the largest 24-bit number.
const maxVNI = 1<<24 - 1

// vni takes the wished VNI or the lowest free one.
func (c *call) vni(n *network, v values) error {
	if err := c.tx.LockQuota("", "segments"); err != nil {
		return err
	}
	n.Type = nodeapi.NetworkVXLAN
	taken := func(id int64) (bool, error) {
		_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_networks WHERE network_type = 'vxlan' AND segmentation_id = $1`, id)
		if errors.Is(err, db.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	if v.isSet("provider:segmentation_id") {
		n.SegmentationID = v.int("provider:segmentation_id")
		if n.SegmentationID < 1 || n.SegmentationID > maxVNI {
			return invalidInput("segmentation_id out of range (1 through %d)", maxVNI)
		}
		used, err := taken(n.SegmentationID)
		if used {
			return conflict("TunnelIdInUse", "Unable to create the network. The tunnel ID %d is in use.", n.SegmentationID)
		}
		return err
	}
	used, err := taken(1)
	if err != nil || !used {
		n.SegmentationID = 1
		return err
	}
	n.SegmentationID, err = db.One(c.tx, db.Value[int64], `SELECT a.segmentation_id + 1 FROM net_networks a WHERE a.network_type = 'vxlan' AND NOT EXISTS
		(SELECT 1 FROM net_networks b WHERE b.network_type = 'vxlan' AND b.segmentation_id = a.segmentation_id + 1) ORDER BY a.segmentation_id LIMIT 1`)
	if err == nil && n.SegmentationID > maxVNI {
		return conflict("NoNetworkAvailable", "Unable to create the network. No tenant network is available for allocation.")
	}
	return err
}

// fitMTU gives the network the largest MTU that its segment carries, or checks the wished one.
func (s *Service) fitMTU(n *network) error {
	most := int64(s.o.PhysicalNetworks[n.PhysicalNetwork])
	if n.Type == nodeapi.NetworkVXLAN {
		most = int64(s.o.OverlayMTU) - vxlanOverhead
	}
	if n.MTU > most {
		return invalidInput("Requested MTU is too big, maximum is %d", most)
	}
	if n.MTU == 0 {
		n.MTU = most
	}
	return nil
}

// vxlanOverhead is what IPv4, UDP, VXLAN and the inner Ethernet header take.
const vxlanOverhead = 50

func (c *call) noOtherDefault(id string) error {
	other, err := db.One(c.tx, db.Value[string], `SELECT id FROM net_networks WHERE is_default AND id <> $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return conflict("DefaultExternalNetworkExists", "A default external network already exists: %s.", other)
}

func updateNetwork(c *call, o object, v values) (object, error) {
	n := o.(*network)
	for _, a := range []string{"provider:network_type", "provider:physical_network", "provider:segmentation_id"} {
		if v.isSet(a) {
			return nil, invalidInput("Plugin does not support updating provider attributes")
		}
	}
	if err := c.giveQoS(&n.QoS, v); err != nil {
		return nil, err
	}
	renamed := n.Name
	n.take(v)
	if v.has("admin_state_up") {
		n.AdminUp = v.bool("admin_state_up")
	}
	if v.has("port_security_enabled") {
		n.PortSecurity = v.bool("port_security_enabled")
	}
	if v.has("mtu") {
		n.MTU = v.int("mtu")
		if err := c.s.fitMTU(n); err != nil {
			return nil, err
		}
	}
	if v.has("shared") {
		if err := c.reshare(n, v.bool("shared")); err != nil {
			return nil, err
		}
	}
	if v.has("router:external") && v.bool("router:external") != n.External {
		if err := c.setExternal(n, v.bool("router:external")); err != nil {
			return nil, err
		}
	}
	if v.has("is_default") && n.External {
		n.Default = v.bool("is_default")
		if n.Default {
			if err := c.noOtherDefault(n.ID); err != nil {
				return nil, err
			}
		}
	}
	if err := save(c.tx, "network", "net_networks", &n.standard, n.columns()...); err != nil {
		return nil, err
	}
	if renamed != n.Name || v.has("mtu") {
		if err := c.tellServers(serversOfNetwork, n.ID); err != nil {
			return nil, err
		}
	}
	return n, c.wakeNetwork(n.ID)
}

// take writes what every update may change.
func (s *standard) take(v values) {
	if v.has("name") {
		s.Name = v.str("name")
	}
	if v.has("description") {
		s.Description = v.str("description")
	}
}

// reshare makes a network shared with everybody or no longer; the latter only when nobody else uses it.
func (c *call) reshare(n *network, shared bool) error {
	if shared {
		return c.share("network", n.ID, n.ProjectID, "*", "access_as_shared")
	}
	if err := c.othersUse(n, "*"); err != nil {
		return err
	}
	_, err := c.tx.Exec(`DELETE FROM net_rbac_policies WHERE object_type = 'network' AND object_id = $1 AND target_project = '*' AND action = 'access_as_shared'`, n.ID)
	return err
}

// othersUse refuses to end sharing with a project that has ports or subnets there and no other right to be there.
func (c *call) othersUse(n *network, target string) error {
	w := &db.Where{}
	w.Add("x.network_id = ?", n.ID).Add("x.project_id <> ?", n.ProjectID).Add("x.project_id <> ''")
	if target != "*" {
		w.Add("x.project_id = ?", target)
		w.Add(`NOT EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'network' AND p.object_id = ? AND p.action = 'access_as_shared' AND p.target_project = '*')`, n.ID)
	} else {
		w.Add(`NOT EXISTS (SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'network' AND p.object_id = ? AND p.action = 'access_as_shared' AND p.target_project = x.project_id)`, n.ID)
	}
	for _, table := range []string{"net_ports", "net_subnets"} {
		_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM `+table+` x`+w.SQL()+` LIMIT 1`, w.Args()...)
		if err == nil {
			return conflict("InvalidSharedSetting", "Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", n.Name)
		}
		if !errors.Is(err, db.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (c *call) setExternal(n *network, external bool) error {
	n.External = external
	if external {
		return c.share("network", n.ID, n.ProjectID, "*", "access_as_external")
	}
	n.Default = false
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_ports WHERE network_id = $1 AND device_owner = 'network:router_gateway' LIMIT 1`, n.ID)
	if err == nil {
		return conflict("ExternalNetworkInUse", "External network %s cannot be updated to be made non-external, since it has existing gateway ports.", n.ID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	_, err = c.tx.Exec(`DELETE FROM net_rbac_policies WHERE object_type = 'network' AND object_id = $1 AND action = 'access_as_external'`, n.ID)
	return err
}

func removeNetwork(c *call, o object) error {
	n := o.(*network)
	if err := c.dropIdleFloatingIPs(n.ID); err != nil {
		return err
	}
	ids, err := db.All(c.tx, db.Value[string], `SELECT id FROM net_ports WHERE network_id = $1 AND device_owner <> $2 ORDER BY id`, n.ID, ownerDHCP)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		return conflict("NetworkInUse", "Unable to complete operation on network %s. There are one or more ports still in use on the network, id for these ports is: %s.",
			n.ID, strings.Join(ids, ","))
	}
	if err := c.wakeNetwork(n.ID); err != nil {
		return err
	}
	dhcp, err := db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.network_id = $1`, n.ID)
	if err != nil {
		return err
	}
	for _, p := range dhcp {
		if err := c.dropPort(p); err != nil {
			return err
		}
	}
	subnets, err := c.subnetsOf(n.ID)
	if err != nil {
		return err
	}
	for _, s := range subnets {
		if err := erase(c.tx, "subnet", "net_subnets", &s.standard); err != nil {
			return err
		}
	}
	for _, query := range []string{`DELETE FROM net_rbac_policies WHERE object_type = 'network' AND object_id = $1`, `DELETE FROM net_dhcp_bindings WHERE network_id = $1`} {
		if _, err := c.tx.Exec(query, n.ID); err != nil {
			return err
		}
	}
	if err := c.topologyLoses(n.ID, ""); err != nil {
		return err
	}
	return erase(c.tx, "network", "net_networks", &n.standard)
}

// zonesKnown checks availability zone hints.
func (c *call) zonesKnown(hints []string) error {
	for _, h := range hints {
		if !slices.Contains([]string{defaultZone}, h) {
			return notFound("AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", h)
		}
	}
	return nil
}
