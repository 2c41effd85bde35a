package image

import (
	"github.com/hanok-cloud/hanok/internal/db"
)

// namespace is a row of metadef_namespaces.
type namespace struct {
	Name                     string
	DisplayName, Description *string
	Visibility               string
	Protected                bool
	Owner                    string
	CreatedAt, UpdatedAt     int64
}

const namespaceColumns = `n.namespace, n.display_name, n.description, n.visibility, n.protected, n.owner, n.created_at, n.updated_at`

func scanNamespace(r db.Row) (namespace, error) {
	var n namespace
	err := r.Scan(&n.Name, &n.DisplayName, &n.Description, &n.Visibility, &n.Protected, &n.Owner, &n.CreatedAt, &n.UpdatedAt)
	return n, err
}

func namespaceByName(tx *db.Tx, name string) (namespace, error) {
	return db.One(tx, scanNamespace, `SELECT `+namespaceColumns+` FROM metadef_namespaces n WHERE n.namespace = $1`, name)
}

func insertNamespace(tx *db.Tx, n namespace) error {
	_, err := tx.Exec(`INSERT INTO metadef_namespaces (namespace, display_name, description, visibility, protected, owner, created_at, updated_at)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$7)`, n.Name, n.DisplayName, n.Description, n.Visibility, n.Protected, n.Owner, tx.NowMicros())
	return err
}

func updateNamespace(tx *db.Tx, old string, n namespace) error {
	_, err := tx.Exec(`UPDATE metadef_namespaces SET namespace = $2, display_name = $3, description = $4, visibility = $5, protected = $6, owner = $7,
		updated_at = $8 WHERE namespace = $1`, old, n.Name, n.DisplayName, n.Description, n.Visibility, n.Protected, n.Owner, tx.NowMicros())
	return err
}

// part is a row of metadef_parts. Body is the maker's JSON without the name.
type part struct {
	Namespace, Kind, Name, Body string
	CreatedAt, UpdatedAt        int64
}

func scanPart(r db.Row) (part, error) {
	var p part
	err := r.Scan(&p.Namespace, &p.Kind, &p.Name, &p.Body, &p.CreatedAt, &p.UpdatedAt)
	return p, err
}

const partColumns = `namespace, kind, name, body, created_at, updated_at`

func partsOf(tx *db.Tx, namespaces []string, kind string) ([]part, error) {
	var w db.Where
	w.In("namespace", namespaces)
	if kind != "" {
		w.Add("kind = ?", kind)
	}
	return db.All(tx, scanPart, `SELECT `+partColumns+` FROM metadef_parts`+w.SQL()+` ORDER BY created_at, name`, w.Args()...)
}

func partOf(tx *db.Tx, namespace, kind, name string) (part, error) {
	return db.One(tx, scanPart, `SELECT `+partColumns+` FROM metadef_parts WHERE namespace = $1 AND kind = $2 AND name = $3`, namespace, kind, name)
}

func insertPart(tx *db.Tx, p part) error {
	_, err := tx.Exec(`INSERT INTO metadef_parts (`+partColumns+`) VALUES ($1,$2,$3,$4,$5,$5)`, p.Namespace, p.Kind, p.Name, p.Body, tx.NowMicros())
	return err
}

func deletePart(tx *db.Tx, namespace, kind, name string) (bool, error) {
	n, err := tx.Exec(`DELETE FROM metadef_parts WHERE namespace = $1 AND kind = $2 AND name = $3`, namespace, kind, name)
	return n > 0, err
}
