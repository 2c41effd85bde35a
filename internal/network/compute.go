package network

import (
	"errors"
	"net/http"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// PortRequest is one network interface as a server's create request or an interface attachment asks for it. With
// PortID an existing port is claimed; with NetworkID a port is made there, with the address FixedIP if one is given.
type PortRequest struct {
	PortID    string
	NetworkID string
	FixedIP   string
	Tag       string
}

// ServerPortsRequest is what compute wants for a server.
type ServerPortsRequest struct {
	ServerID   string
	ServerName string // the ports' DNS name
	ProjectID  string // owner of the ports; empty: the caller's project
	// Requests in the order in which the guest sees the interfaces.
	Requests []PortRequest
	// Auto: nothing was asked for, so a network is picked: the project's only one. None: no interface at all.
	Auto, None bool
	// Allocate: when the project has no network, it is given one that leads outside (networks=auto).
	Allocate bool
	// SecurityGroups are names or ids for the ports made here; empty: the project's default group.
	SecurityGroups []string
	// AvailabilityZone goes into device_owner: compute:nova.
	AvailabilityZone string
}

// Port is a port as compute needs it: for a guest's NICs, its addresses and the os-interface API.
type Port struct {
	ID          string
	NetworkID   string
	NetworkName string
	ServerID    string
	ProjectID   string
	MAC         string
	MTU         int
	Status      string // ACTIVE, DOWN, BUILD
	AdminUp     bool
	VIFType     string // unbound, bridge, binding_failed
	Host        string // binding:host_id
	// Index is the place among the server's interfaces.
	Index int
	Tag   string
	// Made tells that compute made the port and deletes it with the server.
	Made           bool
	FixedIPs       []PortIP
	SecurityGroups []string // names
}

// PortIP is a fixed address of a port and the floating ones on it.
type PortIP struct {
	SubnetID   string
	CIDR       string
	GatewayIP  string
	IP         string
	Version    int
	Floating   []string
	DNS        []string
	EnableDHCP bool
}

// ErrBinding: the node cannot wire one of the server's networks.
var ErrBinding = errors.New("binding failed")

// PrepareServerPorts makes or claims a server's ports, unbound. Its errors carry compute's status and text (nova/exception.py).
func (s *Service) PrepareServerPorts(tx *db.Tx, caller *api.Caller, req ServerPortsRequest) ([]Port, error) {
	if req.None {
		return nil, nil
	}
	c := s.call(tx, nil, caller)
	if req.ProjectID == "" {
		req.ProjectID = c.projectID
	}
	if len(req.Requests) == 0 {
		pick, err := c.pickNetwork(req.ProjectID)
		if err == nil && pick == "" && req.Allocate {
			if pick, err = c.topology(req.ProjectID); err != nil && fault.As(err).Status < http.StatusInternalServerError {
				return nil, fault.BadRequest("Unable to automatically allocate a network for project %s", req.ProjectID)
			}
		}
		if err != nil || pick == "" {
			return nil, err
		}
		req.Requests = []PortRequest{{NetworkID: pick}}
	}
	groups, err := c.serverGroups(req)
	if err != nil {
		return nil, err
	}
	first, err := db.One(tx, db.Value[int], `SELECT COALESCE(MAX(nic_index) + 1, 0) FROM net_ports WHERE device_id = $1`, req.ServerID)
	if err != nil {
		return nil, err
	}
	for i, r := range req.Requests {
		if r.PortID != "" {
			err = c.claimPort(req, r, first+i)
		} else {
			err = c.makePort(req, r, groups, first+i)
		}
		if err != nil {
			return nil, err
		}
	}
	all, err := s.ServerPorts(tx, []string{req.ServerID})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all[req.ServerID], func(p Port) bool { return p.Index < first }), nil
}

// pickNetwork is the only network that the project could mean (nova/network/neutron.py, _get_available_networks).
func (c *call) pickNetwork(project string) (string, error) {
	ids, err := db.All(c.tx, db.Value[string], `SELECT t.id FROM net_networks t WHERE t.admin_state_up AND (t.project_id = $1 OR EXISTS
		(SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'network' AND p.object_id = t.id AND p.action = 'access_as_shared' AND p.target_project IN ('*', $1))) LIMIT 2`, project)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	if len(ids) > 1 {
		return "", conflict("NetworkAmbiguous", "Multiple possible networks found, use a Network ID to be more specific.")
	}
	return ids[0], nil
}

// serverGroups turns names and ids of security groups into ids.
func (c *call) serverGroups(req ServerPortsRequest) ([]string, error) {
	var ids []string
	for _, g := range req.SecurityGroups {
		found, err := db.All(c.tx, db.Value[string], `SELECT t.id FROM net_security_groups t WHERE (t.id = $1 OR t.name = $1) AND (t.project_id = $2 OR EXISTS
			(SELECT 1 FROM net_rbac_policies p WHERE p.object_type = 'security_group' AND p.object_id = t.id AND p.target_project IN ('*', $2))) ORDER BY CASE WHEN t.id = $1 THEN 0 ELSE 1 END LIMIT 2`,
			g, req.ProjectID)
		if err != nil {
			return nil, err
		}
		switch {
		case len(found) == 0 && g == "default":
			id, err := c.defaultGroup(req.ProjectID)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		case len(found) == 0:
			return nil, fault.BadRequest("Security group %s not found.", g)
		case len(found) > 1 && found[0] != g:
			return nil, fault.Conflict("Multiple security groups found matching '%s'. Use an ID to be more specific.", g)
		case !slices.Contains(ids, found[0]):
			ids = append(ids, found[0])
		}
	}
	return ids, nil
}

func (c *call) owner(req ServerPortsRequest) string {
	zone := req.AvailabilityZone
	if zone == "" {
		zone = defaultZone
	}
	return "compute:" + zone
}

func (c *call) claimPort(req ServerPortsRequest, r PortRequest, index int) error {
	o, _, err := c.find(c.s.res.ports, r.PortID)
	if fault.Is(err, http.StatusNotFound) {
		return fault.BadRequest("Port id %s could not be found.", r.PortID)
	}
	if err != nil {
		return err
	}
	p := o.(*port)
	switch {
	case p.ProjectID != req.ProjectID && !c.admin:
		return fault.BadRequest("Port %s not usable for instance %s.", p.ID, req.ServerID)
	case p.DeviceID != "":
		return fault.Conflict("Port %s is still in use.", p.ID)
	case len(p.FixedIPs) == 0 && p.IPAllocation != "none":
		return fault.BadRequest("Port %s requires a FixedIP in order to be used.", p.ID)
	}
	before := *p
	p.DeviceID, p.DeviceOwner, p.NICIndex, p.NICTag, p.Made = req.ServerID, c.owner(req), index, r.Tag, false
	p.DNSName = req.ServerName
	if err := c.savePort(p); err != nil {
		return err
	}
	return c.portChanged(p, &before)
}

func (c *call) makePort(req ServerPortsRequest, r PortRequest, groups []string, index int) error {
	n, _, err := c.parentNetwork(r.NetworkID)
	if fault.Is(err, http.StatusNotFound) {
		return fault.BadRequest("Network %s could not be found.", r.NetworkID)
	}
	if err != nil {
		return err
	}
	if n.External && !c.admin {
		shared, err := c.sharedWith("network", n.ID, c.projectID)
		if err != nil {
			return err
		}
		if !shared {
			return fault.Forbidden("It is not allowed to create an interface on external network %s", n.ID)
		}
	}
	if len(n.Subnets) == 0 {
		return fault.BadRequest("Network %s requires a subnet in order to boot instances on.", n.ID)
	}
	v := values{"tenant_id": req.ProjectID, "network_id": n.ID, "admin_state_up": true, "device_id": req.ServerID, "device_owner": c.owner(req),
		"nic_index": int64(index), "nic_tag": r.Tag, "made_by_compute": true, "dns_name": req.ServerName}
	if r.FixedIP != "" {
		v["fixed_ips"] = []any{map[string]any{"ip_address": r.FixedIP}}
	}
	if len(groups) > 0 && n.PortSecurity {
		l := make([]any, len(groups))
		for i, g := range groups {
			l[i] = g
		}
		v["security_groups"] = l
	}
	if err := c.checkQuota(c.s.res.ports, []values{v}); err != nil {
		if fault.Is(err, http.StatusConflict) {
			return fault.Forbidden("Maximum number of ports exceeded")
		}
		return err
	}
	_, err = createPort(c, v)
	e := fault.As(err)
	switch {
	case err == nil || e.Status >= http.StatusInternalServerError:
		return err
	case e.Code == "IpAddressAlreadyAllocated":
		return fault.BadRequest("Fixed IP address %s is already in use on instance None.", r.FixedIP)
	case e.Code == "IpAddressGenerationFailure":
		return fault.BadRequest("No fixed IP addresses available for network: %s", n.ID)
	case e.Code == "InvalidIpForNetwork" || e.Code == "InvalidIpForSubnet":
		return fault.BadRequest("Fixed IP %s is not a valid ip address for network %s.", r.FixedIP, n.ID)
	}
	return &fault.Error{Status: e.Status, Message: e.Message}
}

// serverPorts are a server's ports in interface order.
func (c *call) serverPorts(serverID string) ([]*port, error) {
	return db.All(c.tx, scanPort, `SELECT `+portColumns+` FROM net_ports t WHERE t.device_id = $1 AND t.device_owner LIKE 'compute:%' ORDER BY t.nic_index, t.id`, serverID)
}

// service acts without a caller.
func (s *Service) service(tx *db.Tx) *call { return s.call(tx, nil, nil).asService() }

// BindServerPorts binds the server's ports to the node that the scheduler chose and wakes it. A network that the node cannot wire
// is ErrBinding.
func (s *Service) BindServerPorts(tx *db.Tx, serverID, host string) error {
	c := s.service(tx)
	ports, err := c.serverPorts(serverID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if p.Host == host && p.VIFType == vifBridge {
			continue
		}
		before := *p
		p.Host = host
		n, err := c.network(p.NetworkID)
		if err != nil {
			return err
		}
		if err := c.bind(p, n); err != nil {
			return err
		}
		if p.VIFType == vifBindingFailed {
			return &bindingError{port: p.ID, network: n.ID, host: host}
		}
		if err := c.savePort(p); err != nil {
			return err
		}
		if err := c.portChanged(p, &before); err != nil {
			return err
		}
	}
	return nil
}

type bindingError struct{ port, network, host string }

func (e *bindingError) Error() string {
	return "Binding failed for port " + e.port + ": node " + e.host + " cannot reach network " + e.network + "; check the node's physical_interface_mappings."
}

// Unwrap is the answer for a client, should the caller have none of its own.
func (e *bindingError) Unwrap() error { return fault.Conflict("%s", e.Error()) }

// Is makes errors.Is(err, ErrBinding) true.
func (e *bindingError) Is(target error) bool { return target == ErrBinding }

// DetachPort takes one port from a server: deleted when compute made it, else unbound.
func (s *Service) DetachPort(tx *db.Tx, serverID, portID string) error {
	c := s.service(tx)
	p, err := c.port(portID)
	if err != nil {
		return err
	}
	if p.DeviceID != serverID {
		return portNotFound(portID)
	}
	return c.release(p)
}

// ReleaseServerPorts deletes what compute made for the server and unbinds what the user made.
func (s *Service) ReleaseServerPorts(tx *db.Tx, serverID string) error {
	c := s.service(tx)
	ports, err := c.serverPorts(serverID)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if err := c.release(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) release(p *port) error {
	if p.Made {
		return c.deletePort(p)
	}
	before := *p
	p.DeviceID, p.DeviceOwner, p.Host, p.NICIndex, p.NICTag, p.DNSName = "", "", "", 0, "", ""
	p.VIFType, p.Status = vifUnbound, "DOWN"
	if err := c.savePort(p); err != nil {
		return err
	}
	return c.portChanged(p, &before)
}
