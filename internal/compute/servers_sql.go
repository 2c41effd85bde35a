package compute

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

// column is a column of servers and where its value lives.
type column struct {
	name string
	at   func(*Server) any
}

// apiColumns are what the API writes, seenColumns what reports write, derivedColumns what follows from both.
var (
	apiColumns = writes([]column{
		{"id", func(v *Server) any { return &v.ID }},
		{"num", func(v *Server) any { return &v.Num }},
		{"project_id", func(v *Server) any { return &v.ProjectID }},
		{"user_id", func(v *Server) any { return &v.UserID }},
		{"name", func(v *Server) any { return &v.Name }},
		{"description", func(v *Server) any { return &v.Description }},
		{"hostname", func(v *Server) any { return &v.Hostname }},
		{"image_id", func(v *Server) any { return &v.ImageID }},
		{"image", func(v *Server) any { return &v.Image }},
		{"flavor_id", func(v *Server) any { return &v.FlavorID }},
		{"flavor", func(v *Server) any { return &v.Flavor }},
		{"vcpus", func(v *Server) any { return &v.VCPUs }},
		{"memory_mb", func(v *Server) any { return &v.MemoryMB }},
		{"root_gb", func(v *Server) any { return &v.RootGB }},
		{"ephemeral_gb", func(v *Server) any { return &v.EphemeralGB }},
		{"key_name", func(v *Server) any { return &v.KeyName }},
		{"key_data", func(v *Server) any { return &v.KeyData }},
		{"metadata", func(v *Server) any { return &v.Metadata }},
		{"user_data", func(v *Server) any { return &v.UserData }},
		{"config_drive", func(v *Server) any { return &v.ConfigDrive }},
		{"access_ip_v4", func(v *Server) any { return &v.AccessIPv4 }},
		{"access_ip_v6", func(v *Server) any { return &v.AccessIPv6 }},
		{"auto_disk_config", func(v *Server) any { return &v.AutoDiskConfig }},
		{"requested_az", func(v *Server) any { return &v.RequestedAZ }},
		{"availability_zone", func(v *Server) any { return &v.AvailabilityZone }},
		{"reservation_id", func(v *Server) any { return &v.ReservationID }},
		{"launch_index", func(v *Server) any { return &v.LaunchIndex }},
		{"tags", func(v *Server) any { return &v.Tags }},
		{"group_id", func(v *Server) any { return &v.GroupID }},
		{"hints", func(v *Server) any { return &v.Hints }},
		{"trusted_certs", func(v *Server) any { return &v.TrustedCerts }},
		{"locked_by", func(v *Server) any { return &v.LockedBy }},
		{"locked_reason", func(v *Server) any { return &v.LockedReason }},
		{"security_groups", func(v *Server) any { return &v.SecurityGroups }},
		{"created_at", func(v *Server) any { return &v.CreatedAt }},
		{"updated_at", func(v *Server) any { return &v.UpdatedAt }},
		{"revision", func(v *Server) any { return &v.Revision }},
		{"host", func(v *Server) any { return &v.Host }},
		{"power", func(v *Server) any { return &v.Power }},
		{"generation", func(v *Server) any { return &v.Generation }},
		{"intent", func(v *Server) any { return &v.Intent }},
		{"request_id", func(v *Server) any { return &v.RequestID }},
		{"reboot_seq", func(v *Server) any { return &v.RebootSeq }},
		{"reboot_hard", func(v *Server) any { return &v.RebootHard }},
		{"rebuild_seq", func(v *Server) any { return &v.RebuildSeq }},
		{"admin_pass", func(v *Server) any { return &v.AdminPass }},
		{"random_seed", func(v *Server) any { return &v.RandomSeed }},
		{"forced_state", func(v *Server) any { return &v.ForcedState }},
		{"unplaced", func(v *Server) any { return &v.Unplaced }},
		{"deleted", func(v *Server) any { return &v.Deleted }},
		{"deleted_at", func(v *Server) any { return &v.DeletedAt }},
	})
	seenColumns = writes([]column{
		{"updated_at", func(v *Server) any { return &v.UpdatedAt }},
		{"revision", func(v *Server) any { return &v.Revision }},
		{"seen_generation", func(v *Server) any { return &v.SeenGeneration }},
		{"seen_power", func(v *Server) any { return &v.SeenPower }},
		{"seen_stable", func(v *Server) any { return &v.SeenStable }},
		{"seen_step", func(v *Server) any { return &v.SeenStep }},
		{"seen_reboot_seq", func(v *Server) any { return &v.SeenRebootSeq }},
		{"seen_rebuild_seq", func(v *Server) any { return &v.SeenRebuildSeq }},
		{"seen_fault_generation", func(v *Server) any { return &v.FaultGeneration }},
		{"gone", func(v *Server) any { return &v.Gone }},
		{"launched_at", func(v *Server) any { return &v.LaunchedAt }},
		{"terminated_at", func(v *Server) any { return &v.TerminatedAt }},
		{"fault_code", func(v *Server) any { return &v.FaultCode }},
		{"fault_message", func(v *Server) any { return &v.FaultMessage }},
		{"fault_details", func(v *Server) any { return &v.FaultDetails }},
		{"fault_at", func(v *Server) any { return &v.FaultAt }},
	})
	derivedColumns = []column{
		{"vm_state", func(v *Server) any { return &v.VMState }},
		{"task_state", func(v *Server) any { return &v.TaskState }},
		{"power_state", func(v *Server) any { return &v.PowerState }},
	}
	allColumns    = slices.Concat(apiColumns.cols, seenColumns.cols[2:], derivedColumns)
	serverColumns = names(allColumns)
	insertServer  = `INSERT INTO servers (` + serverColumns + `) VALUES (` + placeholders(1, len(allColumns)) + `)`
)

// writer is the columns of one writer and the statement that stores them with the derived ones.
type writer struct {
	cols   []column
	update string
}

func writes(cols []column) writer { return writer{cols, updateText(cols)} }

func names(cols []column) string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = c.name
	}
	return strings.Join(out, ", ")
}

func placeholders(from, n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = "$" + strconv.Itoa(from+i)
	}
	return strings.Join(out, ",")
}

func updateText(cols []column) string {
	var sets []string
	for _, c := range slices.Concat(cols, derivedColumns) {
		if c.name == "id" {
			continue
		}
		sets = append(sets, c.name+" = $"+strconv.Itoa(len(sets)+2))
	}
	return `UPDATE servers SET ` + strings.Join(sets, ", ") + ` WHERE id = $1`
}

func scanServer(r db.Row) (*Server, error) {
	v := &Server{}
	dest := make([]any, len(allColumns))
	for i, c := range allColumns {
		dest[i] = c.at(v)
	}
	return v, r.Scan(dest...)
}

// lockRows makes PostgreSQL hold the rows until the commit, so that a report and a request take turns. SQLite has one writer.
func lockRows(tx *db.Tx) string {
	if tx.Engine() == db.Postgres {
		return " FOR UPDATE"
	}
	return ""
}

func serverByID(tx *db.Tx, id string, lock bool) (*Server, error) {
	q := `SELECT ` + serverColumns + ` FROM servers WHERE id = $1`
	if lock {
		q += lockRows(tx)
	}
	return db.One(tx, scanServer, q, id)
}

// addServer inserts a new server.
func addServer(tx *db.Tx, v *Server) error {
	v.VMState, v.TaskState, v.PowerState = v.state().derive()
	args := make([]any, len(allColumns))
	for i, c := range allColumns {
		args[i] = c.at(v)
	}
	_, err := tx.Exec(insertServer, args...)
	return err
}

// storeServer updates the columns of one writer and the derived ones. The row must have been read with its lock.
func storeServer(tx *db.Tx, v *Server, by writer, now int64) (err error) {
	v.UpdatedAt = now
	v.VMState, v.TaskState, v.PowerState = v.state().derive()
	if v.Revision, err = tx.NextRevision(); err != nil {
		return err
	}
	args := []any{v.ID}
	for _, c := range slices.Concat(by.cols, derivedColumns) {
		if c.name != "id" {
			args = append(args, c.at(v))
		}
	}
	_, err = tx.Exec(by.update, args...)
	return err
}
