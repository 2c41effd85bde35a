package placement

import (
	"github.com/hanok-cloud/hanok/internal/db"
)

// provider is a row of placement_providers.
type provider struct {
	UUID, Name           string
	Generation           int64
	Parent, Root         string // Parent is empty for a root, Root then the provider itself
	CreatedAt, UpdatedAt int64
}

const providerColumns = `p.uuid, p.name, p.generation, p.parent_uuid, p.root_uuid, p.created_at, p.updated_at`

func scanProvider(r db.Row) (provider, error) {
	var p provider
	err := r.Scan(&p.UUID, &p.Name, &p.Generation, &p.Parent, &p.Root, &p.CreatedAt, &p.UpdatedAt)
	return p, err
}

func providerByUUID(tx *db.Tx, uuid string) (provider, error) {
	return db.One(tx, scanProvider, `SELECT `+providerColumns+` FROM placement_providers p WHERE p.uuid = $1`, uuid)
}

func insertProvider(tx *db.Tx, p provider) error {
	_, err := tx.Exec(`INSERT INTO placement_providers (uuid, name, generation, parent_uuid, root_uuid, created_at, updated_at)
		VALUES ($1,$2,0,$3,$4,$5,$5)`, p.UUID, p.Name, p.Parent, p.Root, tx.NowMicros())
	return err
}

// bump raises the generation whatever it is.
func bump(tx *db.Tx, uuid string) error {
	_, err := tx.Exec(`UPDATE placement_providers SET generation = generation + 1, updated_at = $2 WHERE uuid = $1`, uuid, tx.NowMicros())
	return err
}

func providerTraits(tx *db.Tx, uuid string) ([]string, error) {
	return db.All(tx, db.Value[string], `SELECT trait FROM placement_provider_traits WHERE provider_uuid = $1 ORDER BY trait`, uuid)
}

func addTrait(tx *db.Tx, uuid, trait string) error {
	_, err := tx.Exec(`INSERT INTO placement_provider_traits (provider_uuid, trait) VALUES ($1,$2) ON CONFLICT (provider_uuid, trait) DO NOTHING`, uuid, trait)
	return err
}

func removeTrait(tx *db.Tx, uuid, trait string) error {
	_, err := tx.Exec(`DELETE FROM placement_provider_traits WHERE provider_uuid = $1 AND trait = $2`, uuid, trait)
	return err
}
