package compute

import (
	"github.com/hanok-cloud/hanok/internal/db"
)

const flavorColumns = `id, name, ram, vcpus, disk, ephemeral, swap, rxtx_factor, is_public, disabled, description, extra_specs, num, updated_at`

func scanFlavor(r db.Row) (Flavor, error) {
	var f Flavor
	var specs db.JSON[map[string]string]
	err := r.Scan(&f.ID, &f.Name, &f.RAM, &f.VCPUs, &f.Disk, &f.Ephemeral, &f.Swap, &f.RXTX, &f.Public, &f.Disabled, &f.Description, &specs, &f.num, &f.updatedAt)
	f.ExtraSpecs = specs.V
	return f, err
}

func flavorByID(tx *db.Tx, id string) (Flavor, error) {
	return db.One(tx, scanFlavor, `SELECT `+flavorColumns+` FROM flavors WHERE id = $1`, id)
}

func allFlavors(tx *db.Tx) ([]Flavor, error) {
	return db.All(tx, scanFlavor, `SELECT `+flavorColumns+` FROM flavors ORDER BY num`)
}

func insertFlavor(tx *db.Tx, f Flavor) error {
	num, err := tx.NextRevision()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO flavors (`+flavorColumns+`, created_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,0,$14)`,
		f.ID, f.Name, f.RAM, f.VCPUs, f.Disk, f.Ephemeral, f.Swap, f.RXTX, f.Public, f.Disabled, f.Description,
		db.JSON[map[string]string]{V: f.ExtraSpecs}, num, tx.NowMicros())
	return err
}

func saveFlavorSpecs(tx *db.Tx, f Flavor) error {
	_, err := tx.Exec(`UPDATE flavors SET extra_specs = $2, updated_at = $3 WHERE id = $1`, f.ID, db.JSON[map[string]string]{V: f.ExtraSpecs}, tx.NowMicros())
	return err
}

func saveFlavorDescription(tx *db.Tx, id string, description *string) (bool, error) {
	n, err := tx.Exec(`UPDATE flavors SET description = $2, updated_at = $3 WHERE id = $1`, id, description, tx.NowMicros())
	return n == 1, err
}

func deleteFlavor(tx *db.Tx, id string) (bool, error) {
	if _, err := tx.Exec(`DELETE FROM flavor_access WHERE flavor_id = $1`, id); err != nil {
		return false, err
	}
	n, err := tx.Exec(`DELETE FROM flavors WHERE id = $1`, id)
	return n == 1, err
}

func flavorAccess(tx *db.Tx, id string) ([]string, error) {
	return db.All(tx, db.Value[string], `SELECT project_id FROM flavor_access WHERE flavor_id = $1 ORDER BY project_id`, id)
}

func hasFlavorAccess(tx *db.Tx, id, project string) (bool, error) {
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM flavor_access WHERE flavor_id = $1 AND project_id = $2`, id, project)
	return n > 0, err
}

func flavorsOfProject(tx *db.Tx, project string) (map[string]bool, error) {
	ids, err := db.All(tx, db.Value[string], `SELECT flavor_id FROM flavor_access WHERE project_id = $1`, project)
	m := make(map[string]bool, len(ids))
	for _, id := range ids {
		m[id] = true
	}
	return m, err
}

func addFlavorAccess(tx *db.Tx, id, project string) (bool, error) {
	n, err := tx.Exec(`INSERT INTO flavor_access (flavor_id, project_id) VALUES ($1,$2) ON CONFLICT (flavor_id, project_id) DO NOTHING`, id, project)
	return n == 1, err
}

func removeFlavorAccess(tx *db.Tx, id, project string) (bool, error) {
	n, err := tx.Exec(`DELETE FROM flavor_access WHERE flavor_id = $1 AND project_id = $2`, id, project)
	return n == 1, err
}
