package placement

import (
	"github.com/hanok-cloud/hanok/internal/db"
)

// take adds to what is allocated of an inventory, if it fits. The statement is the guard: on PostgreSQL a second
// transaction waits for the row and then sees what the first has left.
func take(tx *db.Tx, provider, class string, amount int64) error {
	n, err := tx.Exec(`UPDATE placement_inventories SET used = used + $3 WHERE provider_uuid = $1 AND resource_class = $2
		AND used + $3 <= (total - reserved) * allocation_ratio AND $3 >= min_unit AND $3 <= max_unit AND $3 % step_size = 0`, provider, class, amount)
	if err != nil || n == 1 {
		return err
	}
	stocks, err := Stocks(tx, provider)
	if err != nil {
		return err
	}
	e := &CapacityError{Reason: NoInventory, ResourceClass: class, ProviderUUID: provider, Wanted: amount}
	if s, ok := stocks[provider][class]; ok {
		e.Free, e.Reason = s.Free(), Exceeded
		if !s.takes(amount) {
			e.Reason = OutOfLimits
		}
	}
	return e
}

type allocation struct {
	Consumer, Provider, Class string
	Used                      int64
	CreatedAt                 int64
}

func scanAllocation(r db.Row) (allocation, error) {
	var a allocation
	err := r.Scan(&a.Consumer, &a.Provider, &a.Class, &a.Used, &a.CreatedAt)
	return a, err
}

const allocationColumns = `consumer_uuid, provider_uuid, resource_class, used, created_at`

func allocationsOf(tx *db.Tx, consumer string) ([]allocation, error) {
	return db.All(tx, scanAllocation, `SELECT `+allocationColumns+` FROM placement_allocations WHERE consumer_uuid = $1
		ORDER BY provider_uuid, resource_class`, consumer)
}

// release gives back all that a consumer holds, in the order in which take locks, and returns what it was.
func release(tx *db.Tx, consumer string) ([]allocation, error) {
	held, err := allocationsOf(tx, consumer)
	if err != nil || len(held) == 0 {
		return nil, err
	}
	for _, a := range held {
		if _, err := tx.Exec(`UPDATE placement_inventories SET used = used - $3 WHERE provider_uuid = $1 AND resource_class = $2`,
			a.Provider, a.Class, a.Used); err != nil {
			return nil, err
		}
	}
	_, err = tx.Exec(`DELETE FROM placement_allocations WHERE consumer_uuid = $1`, consumer)
	return held, err
}

func insertAllocation(tx *db.Tx, a allocation) error {
	_, err := tx.Exec(`INSERT INTO placement_allocations (`+allocationColumns+`) VALUES ($1,$2,$3,$4,$5)`,
		a.Consumer, a.Provider, a.Class, a.Used, tx.NowMicros())
	return err
}

// consumer is a row of placement_consumers.
type consumer struct {
	UUID, ProjectID, UserID, Type string
	Generation                    int64
}

func scanConsumer(r db.Row) (consumer, error) {
	var c consumer
	err := r.Scan(&c.UUID, &c.ProjectID, &c.UserID, &c.Type, &c.Generation)
	return c, err
}

func consumerByUUID(tx *db.Tx, uuid string) (consumer, error) {
	return db.One(tx, scanConsumer, `SELECT uuid, project_id, user_id, consumer_type, generation FROM placement_consumers WHERE uuid = $1`, uuid)
}

func insertConsumer(tx *db.Tx, c consumer) error {
	_, err := tx.Exec(`INSERT INTO placement_consumers (uuid, project_id, user_id, consumer_type, generation, created_at, updated_at)
		VALUES ($1,$2,$3,$4,$5,$6,$6)`, c.UUID, c.ProjectID, c.UserID, c.Type, c.Generation, tx.NowMicros())
	return err
}

// updateConsumer stores all of c if its generation is still the one before.
func updateConsumer(tx *db.Tx, c consumer) (bool, error) {
	n, err := tx.Exec(`UPDATE placement_consumers SET project_id = $2, user_id = $3, consumer_type = $4, generation = $5, updated_at = $6
		WHERE uuid = $1 AND generation = $7`, c.UUID, c.ProjectID, c.UserID, c.Type, c.Generation, tx.NowMicros(), c.Generation-1)
	return n == 1, err
}

func deleteConsumer(tx *db.Tx, uuid string) error {
	_, err := tx.Exec(`DELETE FROM placement_consumers WHERE uuid = $1`, uuid)
	return err
}
