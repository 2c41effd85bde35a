package placement

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/policy"
)

type providerUsageView struct {
	Generation int64            `json:"resource_provider_generation"`
	Usages     map[string]int64 `json:"usages"`
}

func (s *Service) providerUsages(ctx context.Context, r *api.Request, _ api.None) (providerUsageView, error) {
	var out providerUsageView
	if err := jsonOnly(r); err != nil {
		return out, err
	}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		p, err := load(tx, r.Path("uuid"))
		if err != nil {
			return noProvider(r, err, "No resource provider with uuid %s found: %s")
		}
		stocks, err := Stocks(tx, p.UUID)
		out = providerUsageView{p.Generation, map[string]int64{}}
		for class, st := range stocks[p.UUID] {
			out.Usages[class] = st.Used
		}
		return err
	})
	s.stampNow(r)
	return out, err
}

// usages sums what a project, or one user in it, holds; since 1.38 by type of consumer.
func (s *Service) usages(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	project := r.Query().Get("project_id")
	if err := r.Enforce("placement:usages", policy.Owned{ProjectID: project, UserID: r.UserID()}); err != nil {
		return nil, err
	}
	if err := jsonOnly(r); err != nil {
		return nil, err
	}
	args, err := queryArgs(r, usagesSchema(r.Since))
	if err != nil {
		return nil, err
	}
	var w db.Where
	w.Add("c.project_id = ?", args["project_id"])
	if u := args["user_id"]; u != "" {
		w.Add("c.user_id = ?", u)
	}
	kind := args["consumer_type"]
	switch kind {
	case "", "all":
	case unknownType:
		w.Add("c.consumer_type = ''")
	default:
		w.Add("c.consumer_type = ?", kind)
	}
	sums, byType := map[string]int64{}, map[string]map[string]int64{}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		clear(sums)
		clear(byType)
		typed := func(t string) map[string]int64 {
			switch {
			case kind == "all":
				t = "all"
			case t == "":
				t = unknownType
			}
			if byType[t] == nil {
				byType[t] = map[string]int64{}
			}
			return byType[t]
		}
		if err := tx.Each(func(row db.Row) error {
			var class, t string
			var used int64
			err := row.Scan(&class, &t, &used)
			sums[class] += used
			typed(t)[class] += used
			return err
		}, `SELECT a.resource_class, c.consumer_type, CAST(sum(a.used) AS BIGINT) FROM placement_allocations a
			JOIN placement_consumers c ON c.uuid = a.consumer_uuid`+w.SQL()+` GROUP BY a.resource_class, c.consumer_type`, w.Args()...); err != nil {
			return err
		}
		return tx.Each(func(row db.Row) error {
			var t string
			var n int64
			err := row.Scan(&t, &n)
			if m := typed(t); len(m) > 0 {
				m["consumer_count"] += n
			}
			return err
		}, `SELECT c.consumer_type, count(*) FROM placement_consumers c`+w.SQL()+` GROUP BY c.consumer_type`, w.Args()...)
	})
	s.stampNow(r)
	if r.Since("1.38") {
		for t, m := range byType {
			if len(m) == 0 {
				delete(byType, t)
			}
		}
		return map[string]any{"usages": byType}, err
	}
	return map[string]any{"usages": sums}, err
}

// unknownType is how a consumer without a type is shown.
const unknownType = "unknown"
