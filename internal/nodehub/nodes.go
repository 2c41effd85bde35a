package nodehub

import (
	"encoding/json"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// NodeRecord is a registered node.
type NodeRecord struct {
	nodeapi.Node
	RegisteredAt time.Time
	HeartbeatAt  time.Time
	Up           bool
}

// Nodes lists the registered nodes by name.
func Nodes(tx *db.Tx) ([]NodeRecord, error) {
	return db.All(tx, func(r db.Row) (NodeRecord, error) {
		var n NodeRecord
		var facts string
		var reg, beat int64
		if err := r.Scan(&facts, &reg, &beat); err != nil {
			return n, err
		}
		n.RegisteredAt, n.HeartbeatAt = db.Time(reg), db.Time(beat)
		n.Up = tx.Now().Sub(n.HeartbeatAt) < DownAfter
		return n, json.Unmarshal([]byte(facts), &n.Node)
	}, `SELECT facts, registered_at, heartbeat_at FROM nodes ORDER BY name`)
}
