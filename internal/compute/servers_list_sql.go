package compute

import (
	"encoding/json"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
)

// listedColumns are the columns that a document in a list is made of: half of a server. Those that hold JSON are read by listScan itself.
var (
	listedNames = []string{"id", "num", "project_id", "user_id", "name", "description", "hostname", "image_id", "flavor_id", "key_name", "user_data",
		"config_drive", "access_ip_v4", "access_ip_v6", "auto_disk_config", "requested_az", "availability_zone", "reservation_id", "launch_index",
		"locked_by", "locked_reason", "created_at", "updated_at", "host", "launched_at", "terminated_at", "fault_code", "fault_message",
		"fault_details", "fault_at", "vm_state", "task_state", "power_state"}
	listedColumns = func() (out []column) {
		for _, n := range listedNames {
			i := slices.IndexFunc(allColumns, func(c column) bool { return c.name == n })
			out = append(out, allColumns[i])
		}
		return out
	}()
	listedSQL = names(listedColumns) + `, image, flavor, metadata, tags, hints, trusted_certs`
)

// listScan reads servers of one list. Most of them share a few flavors and images, so each text is decoded once.
type listScan struct {
	flavors map[string]db.JSON[Flavor]
	images  map[string]db.JSON[serverImage]
	dest    []any
	texts   [6]string
}

func (l *listScan) scan(r db.Row) (*Server, error) {
	v := &Server{}
	l.dest = l.dest[:0]
	for _, c := range listedColumns {
		l.dest = append(l.dest, c.at(v))
	}
	for i := range l.texts {
		l.dest = append(l.dest, &l.texts[i])
	}
	if err := r.Scan(l.dest...); err != nil {
		return nil, err
	}
	var err error
	if v.Image, err = decoded(l.images, l.texts[0]); err != nil {
		return nil, err
	}
	if v.Flavor, err = decoded(l.flavors, l.texts[1]); err != nil {
		return nil, err
	}
	return v, firstError(unlessEmpty(l.texts[2], &v.Metadata.V), unlessEmpty(l.texts[3], &v.Tags.V), unlessEmpty(l.texts[4], &v.Hints.V), unlessEmpty(l.texts[5], &v.TrustedCerts.V))
}

// decoded is the value of a JSON text, which all rows with that text share.
func decoded[T any](known map[string]db.JSON[T], text string) (v db.JSON[T], err error) {
	v, ok := known[text]
	if !ok {
		if err = v.Scan(text); err == nil {
			known[text] = v
		}
	}
	return v, err
}

// unlessEmpty decodes a text that is mostly an empty list or object.
func unlessEmpty[T any](text string, v *T) error {
	switch text {
	case "", "{}", "[]", "null":
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// listedServers reads what documents in a list need of several servers, in any order.
func listedServers(tx *db.Tx, ids []string) ([]*Server, error) {
	l := listScan{flavors: map[string]db.JSON[Flavor]{}, images: map[string]db.JSON[serverImage]{}}
	out := make([]*Server, 0, len(ids))
	for part := range slices.Chunk(ids, 1000) {
		var w db.Where
		w.In("id", part)
		if err := tx.Each(func(r db.Row) error {
			v, err := l.scan(r)
			out = append(out, v)
			return err
		}, `SELECT `+listedSQL+` FROM servers`+w.SQL(), w.Args()...); err != nil {
			return nil, err
		}
	}
	return out, nil
}
