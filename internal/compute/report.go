package compute

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/placement"
)

// Report stores what a node observed of its guests (nodehub.Sink). What even a full report does not name proves nothing: the report may
// have been written before the node heard of the guest. A guest's end is always told in so many words, since the stream has every guest that
// shall be absent until then.
func (s *Service) Report(tx *db.Tx, r *nodeapi.Report) error {
	for _, g := range r.Guests {
		v, err := serverByID(tx, g.ID, true)
		if errors.Is(err, db.ErrNotFound) || err == nil && (v.Host != r.Node || v.Gone) {
			continue // not ours to judge: another node's, or one that we have let go
		}
		if err == nil {
			err = s.observe(tx, v, g)
		}
		if err != nil {
			return fmt.Errorf("guest %s: %w", g.ID, err)
		}
	}
	return nil
}

// observe takes one guest's status into its server.
func (s *Service) observe(tx *db.Tx, v *Server, g nodeapi.GuestStatus) error {
	if g.Power == nodeapi.ObservedAbsent && v.Power == nodeapi.PowerAbsent {
		return s.removed(tx, v)
	}
	before := *v
	see(v, g, tx.NowMicros())
	if *seenOf(&before) == *seenOf(v) {
		return nil
	}
	if err := storeServer(tx, v, seenColumns, tx.NowMicros()); err != nil {
		return err
	}
	st := v.state()
	if st.faulty() {
		return finishActions(tx, v, "Error", v.FaultMessage)
	}
	if st.settled() && v.LaunchedAt != 0 {
		if err := finishActions(tx, v, "Success", ""); err != nil {
			return err
		}
	}
	if before.VMState != v.VMState || before.TaskState != v.TaskState {
		return emit(tx, v, "update", v.RequestID)
	}
	return nil
}

// seen are the observed columns that a report can change.
type seen struct {
	generation, reboot, rebuild, faultGeneration, launched int64
	power, stable, step, message, details                  string
}

func seenOf(v *Server) *seen {
	return &seen{v.SeenGeneration, v.SeenRebootSeq, v.SeenRebuildSeq, v.FaultGeneration, v.LaunchedAt, v.SeenPower, v.SeenStable, v.SeenStep, v.FaultMessage, v.FaultDetails}
}

// see changes the observed columns.
func see(v *Server, g nodeapi.GuestStatus, now int64) {
	v.SeenGeneration, v.SeenPower, v.SeenStep = g.Generation, g.Power, g.Step
	v.SeenRebootSeq, v.SeenRebuildSeq = g.RebootSeq, g.RebuildSeq
	if g.Power != nodeapi.ObservedPending {
		v.SeenStable = g.Power
		if v.LaunchedAt == 0 && g.Generation > 0 && g.Power != nodeapi.ObservedAbsent {
			v.LaunchedAt = now
		}
	}
	switch {
	case g.Fault == nil || g.Fault.Retryable:
		v.FaultGeneration = 0
	default:
		v.FaultGeneration = v.Generation
		v.FaultCode, v.FaultAt = 500, now
		v.FaultMessage, v.FaultDetails = faultText(g.Fault)
	}
}

// faultText is the fault's message and details on the wire.
func faultText(f *nodeapi.Fault) (message, details string) {
	message = f.Message
	if len(message) > 255 {
		message = message[:255]
	}
	parts := []string{"step: " + f.Step, "cause: " + f.Message}
	if f.Hint != "" {
		parts = append(parts, "hint: "+f.Hint)
	}
	return message, strings.Join(parts, "\n")
}

// removed ends a server whose guest is not there any more.
func (s *Service) removed(tx *db.Tx, v *Server) error {
	v.Gone = true
	if v.Deleted { // the API has ended it already, while its node was down
		return storeServer(tx, v, seenColumns, v.UpdatedAt)
	}
	return s.end(tx, v)
}

// end makes a server deleted: its ports go, its allocation is given back, its row stays for those who ask for deleted servers.
func (s *Service) end(tx *db.Tx, v *Server) error {
	if err := s.o.Network.ReleaseServerPorts(tx, v.ID); err != nil {
		return err
	}
	if err := placement.Deallocate(tx, v.ID); err != nil {
		return err
	}
	now := tx.NowMicros()
	v.Deleted, v.DeletedAt, v.TerminatedAt, v.AdminPass = true, now, now, ""
	if err := storeServer(tx, v, apiColumns, now); err != nil {
		return err
	}
	if err := storeServer(tx, v, seenColumns, now); err != nil {
		return err
	}
	if err := finishActions(tx, v, "Success", ""); err != nil {
		return err
	}
	return emit(tx, v, "delete", v.RequestID)
}
