package compute

import (
	"encoding/base64"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// Items is the guests of a node (nodehub.Source). Guests that were removed stay in it, with the power "absent", until the node has
// said that nothing of them is left.
func (s *Service) Items(tx *db.Tx, node string, since int64) (nodehub.Changes, error) {
	// On PostgreSQL revisions become visible out of the order in which they were drawn: all guests are rendered, and the stream sends
	// what differs.
	c := nodehub.Changes{Full: since == 0 || tx.Engine() == db.Postgres, Next: since}
	q := `SELECT ` + serverColumns + ` FROM servers WHERE host = $1 AND NOT gone ORDER BY num`
	args := []any{node}
	if !c.Full {
		q = `SELECT ` + serverColumns + ` FROM servers WHERE host = $1 AND revision > $2 ORDER BY num`
		args = append(args, since)
	}
	rows, err := db.All(tx, scanServer, q, args...)
	if err != nil {
		return c, err
	}
	ids := make([]string, 0, len(rows))
	for _, v := range rows {
		c.Next = max(c.Next, v.Revision)
		if v.Gone {
			c.Removed = append(c.Removed, nodeapi.ItemRef{Kind: nodeapi.KindGuest, ID: v.ID})
			continue
		}
		ids = append(ids, v.ID)
	}
	if c.Next == 0 {
		c.Next = 1 // a new stream has 0; nothing has a revision this low
	}
	ports, err := s.portsOf(tx, ids)
	if err != nil {
		return c, err
	}
	for _, v := range rows {
		if !v.Gone {
			c.Items.Guests = append(c.Items.Guests, s.guest(v, ports[v.ID]))
		}
	}
	return c, nil
}

func (s *Service) portsOf(tx *db.Tx, ids []string) (map[string][]network.Port, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return s.o.Network.ServerPorts(tx, ids)
}

// guest renders a server for its node.
func (s *Service) guest(v *Server, ports []network.Port) nodeapi.Guest {
	g := nodeapi.Guest{
		ID: v.ID, Generation: v.Generation, RequestID: v.RequestID, Name: v.instanceName(), ProjectID: v.ProjectID, UserID: v.UserID,
		VCPUs: int(v.VCPUs), MemoryMiB: v.MemoryMB, EphemeralGiB: v.EphemeralGB, SwapMiB: v.Flavor.V.Swap, ConfigDrive: v.ConfigDrive,
		Root:  nodeapi.Disk{ImageID: v.ImageID, ImageFormat: v.Image.V.Format, ImageSize: v.Image.V.Size, ImageSHA512: v.Image.V.SHA512, SizeGiB: v.RootGB},
		Power: v.Power, Reboot: nodeapi.Reboot{Seq: v.RebootSeq, Hard: v.RebootHard}, RebuildSeq: v.RebuildSeq, StopTimeout: s.o.StopTimeout,
		NICs: []nodeapi.NIC{}, Metadata: s.metadata(v, ports),
	}
	if g.Power == nodeapi.PowerSuspended {
		g.Power = nodeapi.PowerPaused // the node stops the processors and keeps the memory; it cannot write the memory to disk
	}
	for _, p := range ports {
		g.NICs = append(g.NICs, nodeapi.NIC{PortID: p.ID, MAC: p.MAC, MTU: p.MTU, Tag: p.Tag})
	}
	return g
}

// metadata is what the guest may ask for.
func (s *Service) metadata(v *Server, ports []network.Port) nodeapi.Metadata {
	m := nodeapi.Metadata{
		Hostname: v.Hostname, DisplayName: v.Name, AvailabilityZone: v.AvailabilityZone, ProjectID: v.ProjectID, LaunchIndex: int(v.LaunchIndex),
		Meta: v.Metadata.V, AdminPass: v.AdminPass, ReservationID: v.ReservationID, InstanceType: v.Flavor.V.Name, ImageID: v.ImageID,
		CreatedAt: v.CreatedAt / 1e6,
	}
	if s.o.Domain != "" && !strings.Contains(v.Hostname, ".") {
		m.Hostname += "." + s.o.Domain
	}
	if v.KeyName != "" {
		m.Keys = []nodeapi.MetadataKey{{Name: v.KeyData.V.Name, Type: v.KeyData.V.Type, Data: v.KeyData.V.Data}}
	}
	// Both were checked when they were stored.
	m.UserData, _ = base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(v.UserData))
	m.RandomSeed, _ = base64.StdEncoding.DecodeString(v.RandomSeed)
	m.SecurityGroups = groupNames(ports)
	for _, p := range ports {
		for _, ip := range p.FixedIPs {
			if len(ip.Floating) > 0 && m.PublicIPv4 == "" {
				m.PublicIPv4 = ip.Floating[0]
			}
		}
	}
	return m
}

// groupNames are the names of the ports' security groups, each once.
func groupNames(ports []network.Port) []string {
	var out []string
	for _, p := range ports {
		for _, g := range p.SecurityGroups {
			out = appendNew(out, g)
		}
	}
	return out
}

// ServerChanged is told that something of a server that others keep has changed: its ports, their addresses, the names of their security
// groups. The server's document and the node's guest are then made anew.
func (s *Service) ServerChanged(tx *db.Tx, serverID string) error {
	rev, err := tx.NextRevision()
	if err != nil {
		return err
	}
	hosts, err := db.All(tx, db.Value[string], `UPDATE servers SET revision = $2 WHERE id = $1 AND NOT deleted RETURNING host`, serverID, rev)
	for _, h := range hosts {
		nodehub.Wake(tx, h, nodehub.Guests)
	}
	return err
}
