package compute

import (
	"errors"
	"strconv"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// Server is one row of servers: see the schema for who writes what.
type Server struct {
	ID               string
	Num              int64
	ProjectID        string
	UserID           string
	Name             string
	Description      *string
	Hostname         string
	ImageID          string
	Image            db.JSON[serverImage]
	FlavorID         string
	Flavor           db.JSON[Flavor]
	VCPUs            int64
	MemoryMB         int64
	RootGB           int64
	EphemeralGB      int64
	KeyName          string
	KeyData          db.JSON[keyData]
	Metadata         db.JSON[map[string]string]
	UserData         string
	ConfigDrive      bool
	AccessIPv4       string
	AccessIPv6       string
	AutoDiskConfig   bool
	RequestedAZ      string
	AvailabilityZone string
	ReservationID    string
	LaunchIndex      int64
	Tags             db.JSON[[]string]
	GroupID          string
	Hints            db.JSON[map[string]any]
	TrustedCerts     db.JSON[[]string]
	LockedBy         string
	LockedReason     *string
	SecurityGroups   db.JSON[[]string]
	CreatedAt        int64
	UpdatedAt        int64
	Revision         int64

	Host        string
	Power       string
	Generation  int64
	Intent      string
	RequestID   string
	RebootSeq   int64
	RebootHard  bool
	RebuildSeq  int64
	AdminPass   string
	RandomSeed  string
	ForcedState string
	Unplaced    bool
	Deleted     bool
	DeletedAt   int64

	SeenGeneration  int64
	SeenPower       string
	SeenStable      string
	SeenStep        string
	SeenRebootSeq   int64
	SeenRebuildSeq  int64
	FaultGeneration int64
	Gone            bool
	LaunchedAt      int64
	TerminatedAt    int64
	FaultCode       int64
	FaultMessage    string
	FaultDetails    string
	FaultAt         int64

	VMState    string
	TaskState  string
	PowerState int64
}

// serverImage is what a server keeps of its image: the node needs it after the image is gone from the catalogue too.
type serverImage struct {
	Format     string            `json:"format"`
	Size       int64             `json:"size"`
	SHA512     string            `json:"sha512"`
	Properties map[string]string `json:"properties,omitempty"`
}

// keyData is the key pair as it was when the server was made.
type keyData struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

// state gathers what the derived columns follow from.
func (v *Server) state() state {
	return state{
		Deleted: v.Deleted, Unplaced: v.Unplaced, Power: v.Power, Generation: v.Generation, Intent: v.Intent, RebootSeq: v.RebootSeq, RebootHard: v.RebootHard,
		RebuildSeq: v.RebuildSeq, Forced: v.ForcedState, HasHost: v.Host != "", Launched: v.LaunchedAt != 0, SeenGeneration: v.SeenGeneration,
		SeenPower: v.SeenPower, SeenStable: v.SeenStable, SeenStep: v.SeenStep, SeenRebootSeq: v.SeenRebootSeq, SeenRebuildSeq: v.SeenRebuildSeq,
		FaultGeneration: v.FaultGeneration,
	}
}

// Status is the status on the wire.
func (v *Server) Status() string { return statusOf(v.VMState, v.TaskState) }

// instanceName is OS-EXT-SRV-ATTR:instance_name.
func (v *Server) instanceName() string {
	n := strconv.FormatInt(v.Num, 16)
	for len(n) < 8 {
		n = "0" + n
	}
	return "instance-" + n
}

// want asks the node for something new: another generation for a reason.
func (v *Server) want(intent, requestID string) {
	v.Generation++
	v.Intent, v.RequestID, v.ForcedState = intent, requestID, ""
}

// save stores what the API writes, with the states that follow, and wakes the server's node.
func (s *Service) save(tx *db.Tx, v *Server) error {
	if err := storeServer(tx, v, apiColumns, tx.NowMicros()); err != nil {
		return err
	}
	nodehub.Wake(tx, v.Host, nodehub.Guests)
	return nil
}

// emit tells the outbox.
func emit(tx *db.Tx, v *Server, action, requestID string) error {
	return tx.Emit(db.Change{Kind: "server", ID: v.ID, ProjectID: v.ProjectID, Action: action, RequestID: requestID})
}

// serverFor reads a server for a caller that may see it: of its project, or any when all is set. Another one is not found.
func serverFor(tx *db.Tx, r *api.Request, id string, all, deletedToo, lock bool) (*Server, error) {
	v, err := serverByID(tx, id, lock)
	if errors.Is(err, db.ErrNotFound) || err == nil && v.Deleted && !deletedToo {
		return nil, instanceNotFound(id)
	}
	if err == nil && !all && v.ProjectID != r.ProjectID() {
		r.Denied(v.target(), pServers+"show")
		return nil, instanceNotFound(id)
	}
	return v, err
}

// CountByState counts the servers by vm state, for the operator's overview.
func (s *Service) CountByState(tx *db.Tx) (map[string]int64, error) {
	out := map[string]int64{}
	return out, tx.Each(func(r db.Row) error {
		var state string
		var n int64
		err := r.Scan(&state, &n)
		out[state] = n
		return err
	}, `SELECT vm_state, count(*) FROM servers WHERE NOT deleted GROUP BY vm_state`)
}
