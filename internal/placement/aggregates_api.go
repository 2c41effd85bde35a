package placement

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
)

type aggregatesView struct {
	Aggregates []string `json:"aggregates"`
	Generation int64    `json:"resource_provider_generation" mv:"1.19-"`
}

func aggregatesOf(tx *db.Tx, provider string) ([]string, error) {
	list, err := db.All(tx, db.Value[string], `SELECT aggregate_uuid FROM placement_provider_aggregates WHERE provider_uuid = $1 ORDER BY aggregate_uuid`, provider)
	return append([]string{}, list...), err
}

func (s *Service) listAggregates(ctx context.Context, r *api.Request, _ api.None) (aggregatesView, error) {
	var out aggregatesView
	if err := jsonOnly(r); err != nil {
		return out, err
	}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		p, err := load(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		out.Generation = p.Generation
		out.Aggregates, err = aggregatesOf(tx, p.UUID)
		return err
	})
	s.stampNow(r)
	return out, err
}

func (s *Service) setAggregates(ctx context.Context, r *api.Request, in *api.Stream) (aggregatesView, error) {
	var out aggregatesView
	doc, err := body(r, in, aggregatesSchema(r.Since))
	if err != nil {
		return out, err
	}
	guarded := r.Since("1.19")
	list, generation := doc, int64(0)
	if guarded {
		list, _ = doc.(*schema.Dict).Get("aggregates")
		generation, _ = num(doc, "resource_provider_generation")
	}
	out.Aggregates = strs(list)
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		p, err := loadLocked(tx, r.Path("uuid"))
		if err != nil {
			return err
		}
		if guarded && p.Generation != generation {
			return conflict(codeConcurrentUpdate, "Resource provider's generation already changed. Please update the generation and try again.")
		}
		if _, err := tx.Exec(`DELETE FROM placement_provider_aggregates WHERE provider_uuid = $1`, p.UUID); err != nil {
			return err
		}
		var done []string
		for _, a := range out.Aggregates {
			id, _ := normalUUID(a)
			if slices.Contains(done, id) {
				continue
			}
			done = append(done, id)
			if _, err := tx.Exec(`INSERT INTO placement_provider_aggregates (provider_uuid, aggregate_uuid) VALUES ($1,$2)`, p.UUID, id); err != nil {
				return err
			}
		}
		out.Generation = p.Generation
		if guarded {
			out.Generation++
			return bump(tx, p.UUID)
		}
		return nil
	})
	s.stampNow(r)
	return out, err
}
