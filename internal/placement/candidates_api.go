package placement

import (
	"context"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// maxCandidates bounds the answer: with several groups the combinations multiply.
const maxCandidates = 20_000

type requestResources struct {
	Resources map[string]int64 `json:"resources"`
}

// requestView is an allocation request in the form that PUT /allocations takes since 1.12.
type requestView struct {
	Allocations map[string]requestResources `json:"allocations"`
	Mappings    map[string][]string         `json:"mappings" mv:"1.34-"`
}

type providerRef struct {
	UUID string `json:"uuid"`
}

type oldAllocation struct {
	Provider  providerRef      `json:"resource_provider"`
	Resources map[string]int64 `json:"resources"`
}

// oldRequestView is the form before 1.12.
type oldRequestView struct {
	Allocations []oldAllocation `json:"allocations"`
}

type capacityView struct {
	Capacity int64 `json:"capacity"`
	Used     int64 `json:"used"`
}

type summaryView struct {
	Resources map[string]capacityView `json:"resources"`
	Traits    []string                `json:"traits" mv:"1.17-"`
	Parent    *string                 `json:"parent_provider_uuid" mv:"1.29-"`
	Root      string                  `json:"root_provider_uuid" mv:"1.29-"`
}

type candidatesView struct {
	Requests  any                    `json:"allocation_requests"`
	Summaries map[string]summaryView `json:"provider_summaries"`
}

func (s *Service) listCandidates(ctx context.Context, r *api.Request, _ api.None) (candidatesView, error) {
	out := candidatesView{}
	if err := jsonOnly(r); err != nil {
		return out, err
	}
	if _, err := queryArgs(r, candidatesSchema(r.Since)); err != nil {
		return out, err
	}
	p, err := parseWide(r)
	if err != nil {
		return out, err
	}
	groups, err := parseGroups(r, p)
	if err != nil {
		return out, err
	}
	suffixed := slices.DeleteFunc(slices.Clone(groups), func(g group) bool { return g.suffix == "" })
	if !p.policyGiven && len(suffixed) > 1 {
		return out, badRequest(`The "group_policy" parameter is required when specifying more than one "resources{N}" parameter.`)
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		w, err := loadWorld(tx, groups, p)
		if err != nil {
			return err
		}
		found := w.search(groups, p, r.Since("1.29"))
		out.Requests = viewRequests(r, found)
		out.Summaries, err = w.summaries(tx, r, groups, found)
		return err
	})
	s.stampNow(r)
	return out, err
}

func viewRequests(r *api.Request, found []combination) any {
	if !r.Since("1.12") {
		old := make([]oldRequestView, 0, len(found))
		for _, c := range found {
			v := oldRequestView{Allocations: []oldAllocation{}}
			for _, id := range sorted(c.amounts) {
				v.Allocations = append(v.Allocations, oldAllocation{providerRef{id}, c.amounts[id]})
			}
			old = append(old, v)
		}
		return old
	}
	views := make([]requestView, 0, len(found))
	for _, c := range found {
		v := requestView{Allocations: map[string]requestResources{}, Mappings: c.mappings}
		for id, resources := range c.amounts {
			v.Allocations[id] = requestResources{resources}
		}
		views = append(views, v)
	}
	return views
}

// summaries describes the providers of the requests, and since 1.29 all of their trees.
func (w *world) summaries(tx *db.Tx, r *api.Request, groups []group, found []combination) (map[string]summaryView, error) {
	wanted := map[string]bool{}
	for _, c := range found {
		for id := range c.amounts {
			if !r.Since("1.29") {
				wanted[id] = true
				continue
			}
			for _, p := range w.trees[w.byID[id].Root] {
				wanted[p.UUID] = true
			}
		}
		if r.Since("1.29") {
			for _, p := range w.trees[c.anchor] {
				wanted[p.UUID] = true
			}
		}
	}
	ids := sorted(wanted)
	asked := map[string]bool{}
	for _, g := range groups {
		for class := range g.resources {
			asked[class] = true
		}
	}
	out := make(map[string]summaryView, len(ids))
	for chunk := range slices.Chunk(ids, 500) { // an IN list has a limit
		stocks, err := Stocks(tx, chunk...)
		if err != nil {
			return nil, err
		}
		traits, err := traitsOf(tx, r.Since("1.17"), chunk)
		if err != nil {
			return nil, err
		}
		for _, id := range chunk {
			p := w.byID[id]
			v := summaryView{Resources: map[string]capacityView{}, Traits: append([]string{}, traits[id]...), Parent: orNull(p.Parent), Root: p.Root}
			for class, st := range stocks[id] {
				if r.Since("1.27") || asked[class] {
					v.Resources[class] = capacityView{st.whole(), st.Used}
				}
			}
			out[id] = v
		}
	}
	return out, nil
}

func traitsOf(tx *db.Tx, shown bool, ids []string) (map[string][]string, error) {
	out := map[string][]string{}
	if !shown {
		return out, nil
	}
	var w db.Where
	w.In("provider_uuid", ids)
	err := tx.Each(func(row db.Row) error {
		var id, trait string
		err := row.Scan(&id, &trait)
		out[id] = append(out[id], trait)
		return err
	}, `SELECT provider_uuid, trait FROM placement_provider_traits`+w.SQL()+` ORDER BY trait`, w.Args()...)
	return out, err
}
