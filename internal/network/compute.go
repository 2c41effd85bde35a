package network

import (
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
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

var errNotYet = errors.New("network: not there yet")

// PrepareServerPorts makes or claims a server's ports, unbound. Its errors carry compute's status and text.
func (s *Service) PrepareServerPorts(tx *db.Tx, caller *api.Caller, req ServerPortsRequest) ([]Port, error) {
	return nil, errNotYet
}

// BindServerPorts binds the server's ports to the node that the scheduler chose and wakes it.
func (s *Service) BindServerPorts(tx *db.Tx, serverID, host string) error { return errNotYet }

// ServerPorts returns the ports of servers in interface order, by server id.
func (s *Service) ServerPorts(tx *db.Tx, serverIDs []string) (map[string][]Port, error) {
	return nil, errNotYet
}

// DetachPort takes one port from a server: deleted when compute made it, else unbound.
func (s *Service) DetachPort(tx *db.Tx, serverID, portID string) error { return errNotYet }

// ReleaseServerPorts deletes what compute made for the server and unbinds what the user made.
func (s *Service) ReleaseServerPorts(tx *db.Tx, serverID string) error { return errNotYet }

// Items renders what a node is to realise (nodehub.Source).
func (s *Service) Items(tx *db.Tx, node string, since int64) (nodehub.Changes, error) {
	return nodehub.Changes{Full: true}, nil
}

// Report stores what a node observed of its ports and routers (nodehub.Sink).
func (s *Service) Report(tx *db.Tx, r *nodeapi.Report) error { return nil }

// NodeSeen learns a node's facts (nodehub.Registrar).
func (s *Service) NodeSeen(tx *db.Tx, n nodeapi.Node) error { return nil }
