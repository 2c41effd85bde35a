package placement

import (
	"maps"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
)

const stockColumns = `total, reserved, min_unit, max_unit, step_size, allocation_ratio, used`

func scanStock(s *Stock) []any {
	return []any{&s.Total, &s.Reserved, &s.MinUnit, &s.MaxUnit, &s.StepSize, &s.AllocationRatio, &s.Used}
}

// Stocks returns what these providers have and how much of it is allocated, by provider and class.
func Stocks(tx *db.Tx, providerUUIDs ...string) (map[string]map[string]Stock, error) {
	all := map[string]map[string]Stock{}
	var w db.Where
	w.In("provider_uuid", providerUUIDs)
	err := tx.Each(func(r db.Row) error {
		var provider, class string
		var s Stock
		if err := r.Scan(append([]any{&provider, &class}, scanStock(&s)...)...); err != nil {
			return err
		}
		if all[provider] == nil {
			all[provider] = map[string]Stock{}
		}
		all[provider][class] = s
		return nil
	}, `SELECT provider_uuid, resource_class, `+stockColumns+` FROM placement_inventories`+w.SQL(), w.Args()...)
	return all, err
}

func insertInventory(tx *db.Tx, provider, class string, i Inventory) error {
	_, err := tx.Exec(`INSERT INTO placement_inventories (provider_uuid, resource_class, total, reserved, min_unit, max_unit, step_size,
		allocation_ratio, used, created_at, updated_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,0,$9,$9)`,
		provider, class, i.Total, i.Reserved, i.MinUnit, i.MaxUnit, i.StepSize, i.AllocationRatio, tx.NowMicros())
	return err
}

// updateInventory leaves used alone; it tells whether there was such an inventory.
func updateInventory(tx *db.Tx, provider, class string, i Inventory) (bool, error) {
	n, err := tx.Exec(`UPDATE placement_inventories SET total = $3, reserved = $4, min_unit = $5, max_unit = $6, step_size = $7,
		allocation_ratio = $8, updated_at = $9 WHERE provider_uuid = $1 AND resource_class = $2`,
		provider, class, i.Total, i.Reserved, i.MinUnit, i.MaxUnit, i.StepSize, i.AllocationRatio, tx.NowMicros())
	return n > 0, err
}

// deleteInventory deletes an inventory of which nothing is allocated; it tells whether it did.
func deleteInventory(tx *db.Tx, provider, class string) (bool, error) {
	n, err := tx.Exec(`DELETE FROM placement_inventories WHERE provider_uuid = $1 AND resource_class = $2 AND used = 0`, provider, class)
	return n > 0, err
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
