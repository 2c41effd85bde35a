package compute

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/placement"
)

// computeHost is a compute service with its node as it describes itself.
type computeHost struct {
	UUID           string
	Num            int64
	Host           string
	Provider       string
	Disabled       bool
	DisabledReason *string
	ForcedDown     bool
	CreatedAt      int64
	HeartbeatAt    int64
	Facts          nodeapi.Node
	AZ             string
	aggregates     []aggregate
	heard          bool
}

// Up tells whether guests can be placed as far as the node's heartbeat and the operator go.
func (h computeHost) Up() bool { return h.heard && !h.ForcedDown }

// computeHosts reads the services with their nodes and zones, by host.
func (s *Service) computeHosts(tx *db.Tx) ([]computeHost, error) {
	hosts, err := db.All(tx, func(r db.Row) (computeHost, error) {
		var h computeHost
		var facts string
		err := r.Scan(&h.UUID, &h.Num, &h.Host, &h.Provider, &h.Disabled, &h.DisabledReason, &h.ForcedDown, &h.CreatedAt, &h.HeartbeatAt, &facts)
		if err == nil && facts != "" {
			err = json.Unmarshal([]byte(facts), &h.Facts)
		}
		h.heard = tx.NowMicros()-h.HeartbeatAt < nodehub.DownAfter.Microseconds()
		return h, err
	}, `SELECT s.uuid, s.num, s.host, s.provider_uuid, s.disabled, s.disabled_reason, s.forced_down, s.created_at, coalesce(n.heartbeat_at, 0), coalesce(n.facts, '')
		FROM compute_services s LEFT JOIN nodes n ON n.name = s.host ORDER BY s.num`)
	if err != nil {
		return nil, err
	}
	aggs, err := allAggregates(tx)
	if err != nil {
		return nil, err
	}
	for i := range hosts {
		hosts[i].AZ = s.defaultAZ()
		for _, a := range aggs {
			if slices.Contains(a.Hosts, hosts[i].Host) {
				hosts[i].aggregates = append(hosts[i].aggregates, a)
				if z := a.Metadata["availability_zone"]; z != "" {
					hosts[i].AZ = z
				}
			}
		}
	}
	return hosts, nil
}

// hostFacts is the same for the filters.
func (s *Service) hostFacts(tx *db.Tx) ([]hostFact, error) {
	hosts, err := s.computeHosts(tx)
	out := make([]hostFact, len(hosts))
	for i, h := range hosts {
		out[i] = hostFact{Host: h.Host, Provider: h.Provider, Up: h.heard, Disabled: h.Disabled, ForcedDown: h.ForcedDown, AZ: h.AZ,
			Arch: h.Facts.Arch, Hypervisor: h.Facts.HypervisorType}
		for _, a := range h.aggregates {
			out[i].Aggregates = append(out[i].Aggregates, a.Metadata)
		}
	}
	return out, err
}

func zoneExists(hosts []hostFact, zone string) bool {
	return slices.ContainsFunc(hosts, func(h hostFact) bool { return h.AZ == zone })
}

func (s *Service) defaultAZ() string {
	if s.o.DefaultAZ != "" {
		return s.o.DefaultAZ
	}
	return "nova"
}

func (s *Service) zoneName(asked string) string {
	if asked != "" {
		return asked
	}
	return s.defaultAZ()
}

// NodeSeen keeps the node's service record and its placement provider (nodehub.Registrar), and after a reboot of the node asks its
// guests back.
func (s *Service) NodeSeen(tx *db.Tx, n nodeapi.Node) error {
	provider, err := placement.EnsureProvider(tx, n.Name, map[string]placement.Inventory{
		"VCPU":      {Total: int64(n.VCPUs), AllocationRatio: s.o.CPURatio},
		"MEMORY_MB": {Total: n.MemoryMiB, Reserved: min(s.o.ReservedMemoryMiB, n.MemoryMiB), AllocationRatio: s.o.RAMRatio},
		"DISK_GB":   {Total: n.DiskGiB, Reserved: min(s.o.ReservedDiskGiB, n.DiskGiB), AllocationRatio: s.o.DiskRatio},
	}, n.Traits)
	if err != nil {
		return err
	}
	boot, err := db.One(tx, db.Value[string], `SELECT boot_id FROM compute_services WHERE host = $1`, n.Name)
	if errors.Is(err, db.ErrNotFound) {
		num, err := tx.NextRevision()
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO compute_services (uuid, num, host, provider_uuid, disabled, disabled_reason, forced_down, boot_id, created_at)
			VALUES ($1,$2,$3,$4,FALSE,NULL,FALSE,$5,$6)`, uuid.NewString(), num, n.Name, provider, n.BootID, tx.NowMicros())
		return err
	}
	if err != nil || boot == n.BootID {
		return err
	}
	if _, err := tx.Exec(`UPDATE compute_services SET boot_id = $2, provider_uuid = $3 WHERE host = $1`, n.Name, n.BootID, provider); err != nil {
		return err
	}
	return s.nodeRebooted(tx, n.Name)
}

// nodeRebooted starts the guests that ran when their node went away, or leaves them off (resume_guests_state_on_host_boot).
func (s *Service) nodeRebooted(tx *db.Tx, host string) error {
	if !s.o.ResumeGuests {
		return nil
	}
	running, err := db.All(tx, scanServer, `SELECT `+serverColumns+` FROM servers WHERE host = $1 AND NOT gone AND NOT deleted AND power = $2`+lockRows(tx), host, nodeapi.PowerRunning)
	if err != nil {
		return err
	}
	for _, v := range running {
		if v.LaunchedAt == 0 {
			continue
		}
		v.want(intentStart, v.RequestID)
		if err := s.save(tx, v); err != nil {
			return err
		}
	}
	return nil
}
