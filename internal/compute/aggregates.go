package compute

import (
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// aggregate is a set of hosts; the metadata availability_zone makes it a zone.
type aggregate struct {
	Num                  int64
	UUID, Name           string
	Metadata             map[string]string
	CreatedAt, UpdatedAt int64
	Hosts                []string
}

func scanAggregate(r db.Row) (aggregate, error) {
	var a aggregate
	var m db.JSON[map[string]string]
	err := r.Scan(&a.Num, &a.UUID, &a.Name, &m, &a.CreatedAt, &a.UpdatedAt)
	a.Metadata, a.Hosts = m.V, []string{}
	return a, err
}

const aggregateColumns = `num, uuid, name, metadata, created_at, updated_at`

func allAggregates(tx *db.Tx) ([]aggregate, error) {
	list, err := db.All(tx, scanAggregate, `SELECT `+aggregateColumns+` FROM aggregates ORDER BY num`)
	if err != nil || len(list) == 0 {
		return list, err
	}
	return list, tx.Each(func(r db.Row) error {
		var num int64
		var host string
		err := r.Scan(&num, &host)
		if i := slices.IndexFunc(list, func(a aggregate) bool { return a.Num == num }); i >= 0 {
			list[i].Hosts = append(list[i].Hosts, host)
		}
		return err
	}, `SELECT aggregate_num, host FROM aggregate_hosts ORDER BY added_at, host`)
}

func aggregateByNum(tx *db.Tx, num int64) (aggregate, error) {
	all, err := allAggregates(tx)
	if err != nil {
		return aggregate{}, err
	}
	i := slices.IndexFunc(all, func(a aggregate) bool { return a.Num == num })
	if i < 0 {
		return aggregate{}, fault.NotFound("Aggregate %d could not be found.", num)
	}
	return all[i], nil
}

func aggregateNameFree(tx *db.Tx, name string, num int64) error {
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM aggregates WHERE name = $1 AND num <> $2`, name, num)
	if err == nil && n > 0 {
		err = fault.Conflict("Aggregate %s already exists.", name)
	}
	return err
}

func createAggregate(tx *db.Tx, name, zone string) (aggregate, error) {
	a := aggregate{UUID: uuid.NewString(), Name: name, Metadata: map[string]string{}, CreatedAt: tx.NowMicros(), Hosts: []string{}}
	if zone != "" {
		a.Metadata["availability_zone"] = zone
	}
	if err := aggregateNameFree(tx, name, 0); err != nil {
		return a, err
	}
	var err error
	if a.Num, err = tx.NextRevision(); err != nil {
		return a, err
	}
	_, err = tx.Exec(`INSERT INTO aggregates (`+aggregateColumns+`) VALUES ($1,$2,$3,$4,$5,0)`, a.Num, a.UUID, a.Name, db.JSON[map[string]string]{V: a.Metadata}, a.CreatedAt)
	return a, err
}

func saveAggregate(tx *db.Tx, a *aggregate) error {
	a.UpdatedAt = tx.NowMicros()
	_, err := tx.Exec(`UPDATE aggregates SET name = $2, metadata = $3, updated_at = $4 WHERE num = $1`, a.Num, a.Name, db.JSON[map[string]string]{V: a.Metadata}, a.UpdatedAt)
	return err
}

// changeZone refuses to move hosts with servers to another zone, and hosts that are in a zone already
// (nova/compute/api.py, is_safe_to_update_az).
func (s *Service) changeZone(tx *db.Tx, a aggregate, zone string, hosts []string, verb string) error {
	if zone == "" || len(hosts) == 0 {
		return nil
	}
	all, err := allAggregates(tx)
	if err != nil {
		return err
	}
	for _, other := range all {
		z := other.Metadata["availability_zone"]
		if other.Num == a.Num || z == "" || z == zone {
			continue
		}
		for _, h := range hosts {
			if slices.Contains(other.Hosts, h) {
				return fault.Conflict("Cannot %s aggregate %d. Reason: Host %s already in availability zone %s.", verb, a.Num, h, z)
			}
		}
	}
	if a.Metadata["availability_zone"] == zone && verb == "update" {
		return nil
	}
	for _, h := range hosts {
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM servers WHERE host = $1 AND NOT deleted AND availability_zone <> $2`, h, zone)
		if err != nil {
			return err
		}
		if n > 0 {
			return fault.Conflict("Cannot %s aggregate %d. Reason: One or more hosts contain instances in this zone.", verb, a.Num)
		}
	}
	return nil
}

func hostKnown(tx *db.Tx, host string) error {
	_, err := db.One(tx, db.Value[string], `SELECT host FROM compute_services WHERE host = $1`, host)
	if errors.Is(err, db.ErrNotFound) {
		return fault.NotFound("Compute host %s could not be found.", host)
	}
	return err
}
