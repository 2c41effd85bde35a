package image

import (
	"maps"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
)

const imageColumns = `i.id, i.revision, i.name, i.status, i.visibility, i.owner, i.disk_format, i.container_format, i.size, i.virtual_size,
	i.checksum, i.os_hash_algo, i.os_hash_value, i.min_ram, i.min_disk, i.protected, i.os_hidden, i.upload, i.store, i.created_at, i.updated_at`

func scanImage(r db.Row) (Image, error) {
	var i Image
	err := r.Scan(&i.ID, &i.Revision, &i.Name, &i.Status, &i.Visibility, &i.Owner, &i.DiskFormat, &i.ContainerFormat, &i.Size, &i.VirtualSize,
		&i.Checksum, &i.HashAlgo, &i.HashValue, &i.MinRAM, &i.MinDisk, &i.Protected, &i.Hidden, &i.upload, &i.store, &i.CreatedAt, &i.UpdatedAt)
	return i, err
}

func imageByID(tx *db.Tx, id string) (Image, error) {
	i, err := db.One(tx, scanImage, `SELECT `+imageColumns+` FROM images i WHERE i.id = $1`, id)
	if err != nil {
		return i, err
	}
	one := []Image{i}
	err = addParts(tx, one)
	return one[0], err
}

// addParts fills in properties and tags.
func addParts(tx *db.Tx, images []Image) error {
	at := map[string]int{}
	ids := make([]string, len(images))
	for n := range images {
		ids[n] = images[n].ID
		at[images[n].ID] = n
		images[n].Properties, images[n].Tags = map[string]string{}, []string{}
	}
	if len(ids) == 0 {
		return nil
	}
	var w db.Where
	w.In("image_id", ids)
	if err := tx.Each(func(r db.Row) error {
		var id, name, value string
		err := r.Scan(&id, &name, &value)
		images[at[id]].Properties[name] = value
		return err
	}, `SELECT image_id, name, value FROM image_properties`+w.SQL(), w.Args()...); err != nil {
		return err
	}
	return tx.Each(func(r db.Row) error {
		var id, tag string
		err := r.Scan(&id, &tag)
		images[at[id]].Tags = append(images[at[id]].Tags, tag)
		return err
	}, `SELECT image_id, tag FROM image_tags`+w.SQL()+` ORDER BY tag`, w.Args()...)
}

func insertImage(tx *db.Tx, i Image) error {
	_, err := tx.Exec(`INSERT INTO images (id, revision, name, status, visibility, owner, disk_format, container_format, size, virtual_size,
		checksum, os_hash_algo, os_hash_value, min_ram, min_disk, protected, os_hidden, upload, store, created_at, updated_at)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21)`,
		i.ID, i.Revision, i.Name, i.Status, i.Visibility, i.Owner, i.DiskFormat, i.ContainerFormat, i.Size, i.VirtualSize, i.Checksum,
		i.HashAlgo, i.HashValue, i.MinRAM, i.MinDisk, i.Protected, i.Hidden, i.upload, i.store, i.CreatedAt, i.UpdatedAt)
	if err != nil {
		return err
	}
	return insertParts(tx, i)
}

func insertParts(tx *db.Tx, i Image) error {
	for _, name := range slices.Sorted(maps.Keys(i.Properties)) {
		if _, err := tx.Exec(`INSERT INTO image_properties (image_id, name, value) VALUES ($1,$2,$3)`, i.ID, name, i.Properties[name]); err != nil {
			return err
		}
	}
	for _, tag := range i.Tags {
		if _, err := tx.Exec(`INSERT INTO image_tags (image_id, tag) VALUES ($1,$2)`, i.ID, tag); err != nil {
			return err
		}
	}
	return nil
}

// lockImage holds the row until the transaction ends, so that two changes of an image follow one another.
func lockImage(tx *db.Tx, id string) error {
	_, err := tx.Exec(`UPDATE images SET id = id WHERE id = $1`, id)
	return err
}

// updateImage stores what PATCH and the actions change, with a new revision, and the properties and tags.
func updateImage(tx *db.Tx, i Image) error {
	if _, err := tx.Exec(`UPDATE images SET name = $2, visibility = $3, owner = $4, disk_format = $5, container_format = $6, min_ram = $7,
		min_disk = $8, protected = $9, os_hidden = $10 WHERE id = $1`,
		i.ID, i.Name, i.Visibility, i.Owner, i.DiskFormat, i.ContainerFormat, i.MinRAM, i.MinDisk, i.Protected, i.Hidden); err != nil {
		return err
	}
	for _, table := range []string{"image_properties", "image_tags"} {
		if _, err := tx.Exec(`DELETE FROM `+table+` WHERE image_id = $1`, i.ID); err != nil {
			return err
		}
	}
	if err := insertParts(tx, i); err != nil {
		return err
	}
	return touch(tx, i.ID)
}

// touch gives the image a new revision and time of change.
func touch(tx *db.Tx, id string) error {
	rev, err := tx.NextRevision()
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE images SET revision = $2, updated_at = $3 WHERE id = $1`, id, rev, tx.NowMicros())
	return err
}

// setStatus moves the image from one status to another; false: it is in a third one by now.
func setStatus(tx *db.Tx, id, from, to string) (bool, error) {
	n, err := tx.Exec(`UPDATE images SET status = $3 WHERE id = $1 AND status = $2`, id, from, to)
	if err != nil || n == 0 {
		return false, err
	}
	return true, touch(tx, id)
}

func beginUpload(tx *db.Tx, id, upload, store string) (bool, error) {
	n, err := tx.Exec(`UPDATE images SET status = 'saving', upload = $2, store = $3 WHERE id = $1 AND status = 'queued'`, id, upload, store)
	if err != nil || n == 0 {
		return false, err
	}
	return true, touch(tx, id)
}

// finishUpload makes the image active if the upload is still its own.
func finishUpload(tx *db.Tx, id, upload string, d digest, virtual *int64) (bool, error) {
	n, err := tx.Exec(`UPDATE images SET status = 'active', size = $3, checksum = $4, os_hash_algo = $5, os_hash_value = $6, virtual_size = $7
		WHERE id = $1 AND upload = $2 AND status = 'saving'`, id, upload, d.size, d.md5, hashAlgo, d.sha512, virtual)
	if err != nil || n == 0 {
		return false, err
	}
	return true, touch(tx, id)
}

// abortUpload returns the image to the queue. It tells whether the image is active with this very upload instead.
func abortUpload(tx *db.Tx, id, upload string) (active bool, err error) {
	n, err := tx.Exec(`UPDATE images SET status = 'queued', size = NULL, virtual_size = NULL, upload = '', store = ''
		WHERE id = $1 AND upload = $2 AND status = 'saving'`, id, upload)
	if err != nil {
		return false, err
	}
	if n > 0 {
		return false, touch(tx, id)
	}
	n, err = db.One(tx, db.Value[int64], `SELECT count(*) FROM images WHERE id = $1 AND upload = $2`, id, upload)
	return n > 0, err
}

// deleteImage deletes the record with all its parts.
func deleteImage(tx *db.Tx, id string) error {
	_, err := tx.Exec(`DELETE FROM images WHERE id = $1`, id)
	return err
}

// member is a project that an image is shared with.
type member struct {
	ImageID, MemberID, Status string
	CreatedAt, UpdatedAt      int64
}

func scanMember(r db.Row) (member, error) {
	var m member
	err := r.Scan(&m.ImageID, &m.MemberID, &m.Status, &m.CreatedAt, &m.UpdatedAt)
	return m, err
}

const memberColumns = `image_id, member_id, status, created_at, updated_at`

func membersOf(tx *db.Tx, imageID string) ([]member, error) {
	return db.All(tx, scanMember, `SELECT `+memberColumns+` FROM image_members WHERE image_id = $1 ORDER BY created_at, member_id`, imageID)
}

func memberOf(tx *db.Tx, imageID, memberID string) (member, error) {
	return db.One(tx, scanMember, `SELECT `+memberColumns+` FROM image_members WHERE image_id = $1 AND member_id = $2`, imageID, memberID)
}
