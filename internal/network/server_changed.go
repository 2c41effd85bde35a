package network

import (
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

// SetServerChanged makes the service tell fn, in the same transaction, when what a server shows of the network has changed: its ports,
// their addresses and floating IPs, the names of their networks and security groups. It is not told of what compute itself asks for.
func (s *Service) SetServerChanged(fn func(tx *db.Tx, serverID string) error) { s.serverChanged = fn }

// tellServer tells of a port's server, if it has one.
func (c *call) tellServer(p *port) error {
	if c.s.serverChanged == nil || p == nil || p.DeviceID == "" || !strings.HasPrefix(p.DeviceOwner, "compute:") {
		return nil
	}
	return c.s.serverChanged(c.tx, p.DeviceID)
}

// tellServers tells of all servers that a query names.
func (c *call) tellServers(query string, args ...any) error {
	if c.s.serverChanged == nil {
		return nil
	}
	ids, err := db.All(c.tx, db.Value[string], query, args...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := c.s.serverChanged(c.tx, id); err != nil {
			return err
		}
	}
	return nil
}

const (
	serversOfPort    = `SELECT device_id FROM net_ports WHERE id = $1 AND device_owner LIKE 'compute:%'`
	serversOfGroup   = `SELECT DISTINCT p.device_id FROM net_port_security_groups b JOIN net_ports p ON p.id = b.port_id WHERE b.security_group_id = $1 AND p.device_owner LIKE 'compute:%'`
	serversOfNetwork = `SELECT DISTINCT device_id FROM net_ports WHERE network_id = $1 AND device_owner LIKE 'compute:%'`
)
