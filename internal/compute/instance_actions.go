package compute

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// instanceAction is one entry of a server's history, with the one event that stands for what its node did.
type instanceAction struct {
	ServerID, RequestID, Action, UserID, ProjectID string
	StartedAt, UpdatedAt                           int64
	Message                                        string
	Num                                            int64
	Event, Host                                    string
	Generation, FinishedAt                         int64
	Result, Details                                string
}

// addAction notes what a request does to a server. With a result it is over; without one a report will end it.
func addAction(tx *db.Tx, v *Server, r *api.Request, action, event, result, details string) error {
	num, err := tx.NextRevision()
	if err != nil {
		return err
	}
	now, finished, message := tx.NowMicros(), int64(0), ""
	if result != "" {
		finished = now
	}
	if result == "Error" {
		message = "Error"
	}
	_, err = tx.Exec(`INSERT INTO server_actions (`+actionColumns+`) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)
		ON CONFLICT (server_id, request_id) DO NOTHING`,
		v.ID, r.ID, action, r.UserID(), r.ProjectID(), now, now, message, num, event, v.Host, v.Generation, finished, result, details)
	return err
}

// finishActions ends the server's open actions that the node has come to.
func finishActions(tx *db.Tx, v *Server, result, details string) error {
	message := ""
	if result == "Error" {
		message = "Error"
	}
	_, err := tx.Exec(`UPDATE server_actions SET finished_at = $2, updated_at = $2, result = $3, details = $4, message = $5
		WHERE server_id = $1 AND finished_at = 0 AND generation <= $6`, v.ID, tx.NowMicros(), result, details, message, v.Generation)
	return err
}

const actionColumns = `server_id, request_id, action, user_id, project_id, started_at, updated_at, message, num, event, host, generation, finished_at, result, details`

func scanAction(r db.Row) (instanceAction, error) {
	var a instanceAction
	err := r.Scan(&a.ServerID, &a.RequestID, &a.Action, &a.UserID, &a.ProjectID, &a.StartedAt, &a.UpdatedAt, &a.Message, &a.Num, &a.Event, &a.Host,
		&a.Generation, &a.FinishedAt, &a.Result, &a.Details)
	return a, err
}
