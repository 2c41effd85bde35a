package compute

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) aggregateRoutes() []api.Route {
	all, one := "/v2.1/os-aggregates", "/v2.1/os-aggregates/{id}"
	return []api.Route{
		api.Handle("GET", all, api.Scoped(pAggregates+"index"), 200, s.indexAggregates),
		api.Handle("POST", all, api.Scoped(pAggregates+"create"), 200, s.createAggregate, body(aggregatesCreateBody())),
		api.Handle("GET", one, api.Scoped(pAggregates+"show"), 200, s.showAggregate),
		api.Handle("PUT", one, api.Scoped(pAggregates+"update"), 200, s.updateAggregate, body(aggregatesUpdateBody())),
		api.Handle("DELETE", one, api.Scoped(pAggregates+"delete"), 200, s.deleteAggregate),
		api.Handle("POST", one+"/action", api.Object(pAggregates+"update"), 200, s.actOnAggregate),
		api.Handle("POST", one+"/images", api.Scoped("compute:aggregates:images"), 202, s.cacheImages, body(aggregatesImagesBody()), api.MV("2.81-")),
	}
}

func aggregateView(r *api.Request, a aggregate, short bool) map[string]any {
	m := map[string]any{"id": a.Num, "name": a.Name, "created_at": isoMicros(a.CreatedAt), "updated_at": isoOrNull(a.UpdatedAt), "deleted_at": nil, "deleted": false,
		"availability_zone": orNull(a.Metadata["availability_zone"])}
	if r.Since("2.41") {
		m["uuid"] = a.UUID
	}
	if !short {
		m["hosts"], m["metadata"] = a.Hosts, a.Metadata
	}
	return map[string]any{"aggregate": m}
}

func (s *Service) indexAggregates(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	docs := []any{}
	err := s.read(ctx, func(tx *db.Tx) error {
		list, err := allAggregates(tx)
		for _, a := range list {
			docs = append(docs, aggregateView(r, a, false)["aggregate"])
		}
		return err
	})
	return map[string]any{"aggregates": docs}, err
}

func (s *Service) createAggregate(ctx context.Context, r *api.Request, in map[string]any) (out map[string]any, err error) {
	v := in["aggregate"].(map[string]any)
	name, _ := v["name"].(string)
	zone, _ := v["availability_zone"].(string)
	err = s.write(ctx, func(tx *db.Tx) error {
		a, err := createAggregate(tx, strings.TrimSpace(name), strings.TrimSpace(zone))
		out = aggregateView(r, a, true)
		return err
	})
	return out, err
}

// aggregateID reads the number in the path (nova/utils.py, validate_integer).
func aggregateID(r *api.Request) (int64, error) {
	n, err := strconv.ParseInt(r.Path("id"), 10, 64)
	if err != nil {
		return 0, fault.BadRequest("Invalid input received: id must be an integer")
	}
	return n, nil
}

func (s *Service) withAggregate(ctx context.Context, r *api.Request, fn func(tx *db.Tx, a *aggregate) error) (out map[string]any, err error) {
	num, err := aggregateID(r)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, func(tx *db.Tx) error {
		a, err := aggregateByNum(tx, num)
		if err != nil {
			return err
		}
		if err := fn(tx, &a); err != nil {
			return err
		}
		out = aggregateView(r, a, false)
		return nil
	})
	return out, err
}

func (s *Service) showAggregate(ctx context.Context, r *api.Request, _ api.None) (out map[string]any, err error) {
	num, err := aggregateID(r)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		a, err := aggregateByNum(tx, num)
		out = aggregateView(r, a, false)
		return err
	})
	return out, err
}

func (s *Service) updateAggregate(ctx context.Context, r *api.Request, in map[string]any) (map[string]any, error) {
	v := in["aggregate"].(map[string]any)
	return s.withAggregate(ctx, r, func(tx *db.Tx, a *aggregate) error {
		if n, ok := v["name"].(string); ok {
			a.Name = strings.TrimSpace(n)
			if err := aggregateNameFree(tx, a.Name, a.Num); err != nil {
				return err
			}
		}
		if z, ok := v["availability_zone"]; ok {
			zone, _ := z.(string)
			if err := s.changeZone(tx, *a, zone, a.Hosts, "update"); err != nil {
				return badZone(err)
			}
			setMeta(a.Metadata, "availability_zone", z)
		}
		return saveAggregate(tx, a)
	})
}

// badZone: for update and set_metadata upstream answers 400 where adding a host gets 409.
func badZone(err error) error {
	if fault.Is(err, 409) {
		return fault.BadRequest("%s", fault.As(err).Message)
	}
	return err
}

func setMeta(m map[string]string, key string, v any) {
	if t, ok := v.(string); ok {
		m[key] = t
		return
	}
	delete(m, key)
}

func (s *Service) deleteAggregate(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	_, err := s.withAggregate(ctx, r, func(tx *db.Tx, a *aggregate) error {
		if len(a.Hosts) > 0 {
			return fault.BadRequest("Cannot remove host from aggregate %d. Reason: Host aggregate is not empty.", a.Num)
		}
		_, err := tx.Exec(`DELETE FROM aggregates WHERE num = $1`, a.Num)
		return err
	})
	return api.None{}, err
}

// aggregateActions are the actions with their rules and schemas.
var aggregateActions = map[string]func() []api.VersionedSchema{
	"add_host": aggregatesAddHostBody, "remove_host": aggregatesRemoveHostBody, "set_metadata": aggregatesSetMetadataBody,
}

func (s *Service) actOnAggregate(ctx context.Context, r *api.Request, raw json.RawMessage) (map[string]any, error) {
	name, arg, err := actionOf(raw)
	if err != nil {
		return nil, err
	}
	schemas := aggregateActions[name]
	if schemas == nil {
		return nil, fault.BadRequest("There is no such action: %s", name)
	}
	if err := validate(r, schemas(), raw); err != nil {
		return nil, err
	}
	if err := r.Enforce(pAggregates+name, nil); err != nil {
		return nil, err
	}
	in := arg.(map[string]any)
	host, _ := in["host"].(string)
	return s.withAggregate(ctx, r, func(tx *db.Tx, a *aggregate) error {
		switch name {
		case "add_host":
			return s.addHost(tx, a, host)
		case "remove_host":
			return s.removeHost(tx, r, a, host)
		}
		m, _ := in["metadata"].(map[string]any)
		if z, ok := m["availability_zone"].(string); ok {
			if err := s.changeZone(tx, *a, z, a.Hosts, "update"); err != nil {
				return badZone(err)
			}
		}
		for k, v := range m {
			setMeta(a.Metadata, k, v)
		}
		return saveAggregate(tx, a)
	})
}

func (s *Service) addHost(tx *db.Tx, a *aggregate, host string) error {
	if err := hostKnown(tx, host); err != nil {
		return err
	}
	if slices.Contains(a.Hosts, host) {
		return fault.Conflict("Aggregate %d already has host %s.", a.Num, host)
	}
	if err := s.changeZone(tx, *a, a.Metadata["availability_zone"], []string{host}, "add host to"); err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO aggregate_hosts (aggregate_num, host, added_at) VALUES ($1,$2,$3)`, a.Num, host, tx.NowMicros()); err != nil {
		return err
	}
	a.Hosts = append(a.Hosts, host)
	return saveAggregate(tx, a)
}

func (s *Service) removeHost(tx *db.Tx, r *api.Request, a *aggregate, host string) error {
	i := slices.Index(a.Hosts, host)
	if i < 0 || hostKnown(tx, host) != nil {
		return fault.NotFound("Cannot remove host %s in aggregate %s", host, r.Path("id"))
	}
	if a.Metadata["availability_zone"] != "" {
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM servers WHERE host = $1 AND NOT deleted AND requested_az = $2`, host, a.Metadata["availability_zone"])
		if err != nil {
			return err
		}
		if n > 0 {
			return fault.Conflict("Cannot remove host %s in aggregate %s", host, r.Path("id"))
		}
	}
	if _, err := tx.Exec(`DELETE FROM aggregate_hosts WHERE aggregate_num = $1 AND host = $2`, a.Num, host); err != nil {
		return err
	}
	a.Hosts = slices.Delete(a.Hosts, i, i+1)
	return saveAggregate(tx, a)
}

// cacheImages would fetch images ahead of time; nodes fetch them when they need them, and that is allowed for a hint.
func (s *Service) cacheImages(ctx context.Context, r *api.Request, in struct {
	Cache []struct {
		ID string `json:"id"`
	} `json:"cache"`
}) (api.None, error) {
	seen := map[string]bool{}
	for _, c := range in.Cache {
		if seen[c.ID] {
			return api.None{}, fault.BadRequest("Duplicate images in request")
		}
		seen[c.ID] = true
	}
	num, err := aggregateID(r)
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, s.read(ctx, func(tx *db.Tx) error {
		if _, err := aggregateByNum(tx, num); err != nil {
			return err
		}
		return notSupported()
	})
}
