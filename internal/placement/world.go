package placement

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

// sharesTrait marks a provider whose inventories serve all trees that are in an aggregate with it.
const sharesTrait = "MISC_SHARES_VIA_AGGREGATE"

// world is what a search for candidates looks at: all providers as trees, who has what of the requested classes, and
// who has the traits and aggregates that the request names.
type world struct {
	byID   map[string]provider
	trees  map[string][]provider // by root, the root first
	roots  []string
	stocks map[string]map[string]Stock // by provider and class, requested classes only
	traits map[string]map[string]bool  // by trait: the providers that have it
	aggs   map[string]map[string]bool  // by provider: its own aggregates
	shared map[string]bool             // sharing providers
}

// loadWorld reads in one snapshot; it also checks the names in the request.
func loadWorld(tx *db.Tx, groups []group, p wide) (*world, error) {
	var classes, traits []string
	for _, g := range groups {
		classes = append(classes, sorted(g.resources)...)
		traits = append(traits, g.traitNames()...)
	}
	traits = append(traits, slices.Concat(p.rootRequired, p.rootNot)...)
	if missing, err := unknownClasses(tx, classes); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return nil, badRequest("Invalid resource class in resources parameter: No such resource class %s.", missing[0])
	}
	if missing, err := unknownTraits(tx, traits); err != nil {
		return nil, err
	} else if len(missing) > 0 {
		return nil, badRequest("No such trait(s): %s.", join(missing))
	}
	w := &world{byID: map[string]provider{}, trees: map[string][]provider{}, stocks: map[string]map[string]Stock{},
		traits: map[string]map[string]bool{}, aggs: map[string]map[string]bool{}}
	all, err := db.All(tx, scanProvider, `SELECT `+providerColumns+` FROM placement_providers p ORDER BY p.created_at, p.uuid`)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		w.byID[p.UUID] = p
		if p.Parent == "" {
			w.roots = append(w.roots, p.UUID)
			w.trees[p.Root] = append([]provider{p}, w.trees[p.Root]...)
		} else {
			w.trees[p.Root] = append(w.trees[p.Root], p)
		}
	}
	if err := w.loadStocks(tx, classes); err != nil {
		return nil, err
	}
	if err := w.loadTraits(tx, append(traits, sharesTrait)); err != nil {
		return nil, err
	}
	w.shared = w.traits[sharesTrait]
	return w, tx.Each(func(r db.Row) error {
		var id, agg string
		err := r.Scan(&id, &agg)
		if w.aggs[id] == nil {
			w.aggs[id] = map[string]bool{}
		}
		w.aggs[id][agg] = true
		return err
	}, `SELECT provider_uuid, aggregate_uuid FROM placement_provider_aggregates`)
}

func (w *world) loadStocks(tx *db.Tx, classes []string) error {
	var where db.Where
	where.In("resource_class", slices.Compact(slices.Sorted(slices.Values(classes))))
	return tx.Each(func(r db.Row) error {
		var id, class string
		var s Stock
		if err := r.Scan(append([]any{&id, &class}, scanStock(&s)...)...); err != nil {
			return err
		}
		if w.stocks[id] == nil {
			w.stocks[id] = map[string]Stock{}
		}
		w.stocks[id][class] = s
		return nil
	}, `SELECT provider_uuid, resource_class, `+stockColumns+` FROM placement_inventories`+where.SQL(), where.Args()...)
}

func (w *world) loadTraits(tx *db.Tx, names []string) error {
	for _, t := range names {
		w.traits[t] = map[string]bool{}
	}
	var where db.Where
	where.In("trait", sorted(w.traits))
	return tx.Each(func(r db.Row) error {
		var id, trait string
		err := r.Scan(&id, &trait)
		w.traits[trait][id] = true
		return err
	}, `SELECT provider_uuid, trait FROM placement_provider_traits`+where.SQL(), where.Args()...)
}

// part is one provider's share of a group.
type part struct {
	provider string
	amounts  map[string]int64
}

// option is one way to satisfy a group.
type option struct {
	suffix string
	parts  []part
}

// combination is one way to satisfy all groups: an allocation request.
type combination struct {
	anchor   string
	amounts  Amounts
	mappings map[string][]string
}

// search returns the ways to satisfy all groups, tree by tree, without doubles. nested is false for clients before 1.29,
// who do not know that several providers may be one host.
func (w *world) search(groups []group, p wide, nested bool) []combination {
	limit := maxCandidates
	if p.limit > 0 {
		limit = min(limit, p.limit)
	}
	var out []combination
	seen := map[string]bool{}
	for _, root := range w.roots {
		if !w.rootFits(root, p) {
			continue
		}
		options := make([][]option, len(groups))
		possible := true
		for i, g := range groups {
			if options[i] = w.options(root, g); len(options[i]) == 0 {
				possible = false
				break
			}
		}
		if !possible {
			continue
		}
		w.combine(options, nil, func(chosen []option) bool {
			c, ok := w.merge(root, chosen, p)
			if !ok || !nested && w.severalOfOneTree(c) {
				return true
			}
			if k := c.key(); !seen[k] {
				seen[k] = true
				out = append(out, c)
			}
			return len(out) < limit
		})
		if len(out) >= limit {
			break
		}
	}
	return out
}

// combine calls fn with one option of each group, in every combination, until fn returns false.
func (w *world) combine(options [][]option, chosen []option, fn func([]option) bool) bool {
	if len(chosen) == len(options) {
		return fn(chosen)
	}
	for _, o := range options[len(chosen)] {
		if !w.combine(options, append(chosen, o), fn) {
			return false
		}
	}
	return true
}

func (w *world) rootFits(root string, p wide) bool {
	for _, t := range p.rootRequired {
		if !w.traits[t][root] {
			return false
		}
	}
	return !slices.ContainsFunc(p.rootNot, func(t string) bool { return w.traits[t][root] })
}

// reach lists the providers that can serve a tree: its own, and those that share with it through an aggregate.
func (w *world) reach(root string) []provider {
	tree := w.trees[root]
	out := slices.Clone(tree)
	for _, id := range sorted(w.shared) {
		s := w.byID[id]
		if s.Root == root {
			continue
		}
		for _, p := range tree {
			if intersects(w.aggs[p.UUID], w.aggs[id]) {
				out = append(out, s)
				break
			}
		}
	}
	return out
}

func intersects(a, b map[string]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

// eligible tells whether a provider may serve a group in the tree of root, apart from resources and required traits.
func (w *world) eligible(p provider, root string, g group) bool {
	if g.inTree != "" && (w.byID[g.inTree].UUID == "" || w.byID[g.inTree].Root != p.Root) {
		return false
	}
	// An aggregate of the root counts for its whole tree, in the group without suffix.
	in := func(agg string) bool { return w.aggs[p.UUID][agg] || g.suffix == "" && w.aggs[root][agg] }
	for _, any := range g.memberOf {
		if !slices.ContainsFunc(any, in) {
			return false
		}
	}
	return !slices.ContainsFunc(g.notIn, in) && !slices.ContainsFunc(g.forbidden, func(t string) bool { return w.traits[t][p.UUID] })
}

// hasTraits tells whether the providers together have one trait of each required set.
func (w *world) hasTraits(required [][]string, providers ...string) bool {
	for _, any := range required {
		if !slices.ContainsFunc(any, func(t string) bool {
			return slices.ContainsFunc(providers, func(id string) bool { return w.traits[t][id] })
		}) {
			return false
		}
	}
	return true
}

// options lists the ways in which a tree satisfies a group.
func (w *world) options(root string, g group) []option {
	var able []provider
	for _, p := range w.reach(root) {
		if w.eligible(p, root, g) {
			able = append(able, p)
		}
	}
	if g.suffix != "" {
		return w.sameProvider(g, able)
	}
	return w.spread(g, able)
}

// sameProvider: all resources of a suffixed group come from one provider with all its traits.
func (w *world) sameProvider(g group, able []provider) []option {
	var out []option
next:
	for _, p := range able {
		for class, n := range g.resources {
			if s, ok := w.stocks[p.UUID][class]; !ok || !s.fits(n) {
				continue next
			}
		}
		if w.hasTraits(g.required, p.UUID) {
			out = append(out, option{g.suffix, []part{{p.UUID, g.resources}}})
		}
	}
	return out
}

// spread: each resource of the group without suffix may come from another provider; those that take part have the traits together.
func (w *world) spread(g group, able []provider) []option {
	classes := sorted(g.resources)
	sources := make([][]string, len(classes))
	for i, class := range classes {
		for _, p := range able {
			if s, ok := w.stocks[p.UUID][class]; ok && s.fits(g.resources[class]) {
				sources[i] = append(sources[i], p.UUID)
			}
		}
		if len(sources[i]) == 0 {
			return nil
		}
	}
	var out []option
	var walk func(chosen []string)
	walk = func(chosen []string) {
		if len(out) >= maxCandidates {
			return
		}
		if n := len(chosen); n < len(classes) {
			for _, id := range sources[n] {
				walk(append(slices.Clone(chosen), id))
			}
			return
		}
		if !w.hasTraits(g.required, chosen...) {
			return
		}
		by := map[string]map[string]int64{}
		for i, id := range chosen {
			if by[id] == nil {
				by[id] = map[string]int64{}
			}
			by[id][classes[i]] = g.resources[classes[i]]
		}
		o := option{suffix: g.suffix}
		for _, id := range sorted(by) {
			o.parts = append(o.parts, part{id, by[id]})
		}
		out = append(out, o)
	}
	walk(nil)
	return out
}

// merge adds up the chosen options; not ok when together they ask too much, or break isolation or a subtree.
func (w *world) merge(root string, chosen []option, p wide) (combination, bool) {
	c := combination{anchor: root, amounts: Amounts{}, mappings: map[string][]string{}}
	alone := map[string]bool{}
	for _, o := range chosen {
		for _, part := range o.parts {
			if p.isolate && o.suffix != "" && len(part.amounts) > 0 {
				if alone[part.provider] {
					return c, false
				}
				alone[part.provider] = true
			}
			c.mappings[o.suffix] = append(c.mappings[o.suffix], part.provider)
			for class, n := range part.amounts {
				if c.amounts[part.provider] == nil {
					c.amounts[part.provider] = map[string]int64{}
				}
				c.amounts[part.provider][class] += n
			}
		}
	}
	for id, resources := range c.amounts {
		for class, n := range resources {
			s := w.stocks[id][class]
			if float64(s.Used+n) > s.Capacity() || n > s.MaxUnit {
				return c, false
			}
		}
	}
	for _, suffixes := range p.sameSubtree {
		if !w.inOneSubtree(c, suffixes) {
			return c, false
		}
	}
	return c, true
}

// inOneSubtree: one of the providers of these groups is an ancestor of all the others, or the same.
func (w *world) inOneSubtree(c combination, suffixes []string) bool {
	var ids []string
	for _, s := range suffixes {
		ids = append(ids, c.mappings[s]...)
	}
	return slices.ContainsFunc(ids, func(top string) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !w.below(id, top) })
	})
}

// below tells whether id is top or lies below it.
func (w *world) below(id, top string) bool {
	for ; id != ""; id = w.byID[id].Parent {
		if id == top {
			return true
		}
	}
	return false
}

func (w *world) severalOfOneTree(c combination) bool {
	roots := map[string]bool{}
	for id := range c.amounts {
		root := w.byID[id].Root
		if roots[root] {
			return true
		}
		roots[root] = true
	}
	return false
}

// key is equal for equal allocation requests, whatever tree they were found from.
func (c combination) key() string {
	var b strings.Builder
	for _, suffix := range slices.SortedFunc(maps.Keys(c.mappings), cmp.Compare) {
		b.WriteString(suffix + "=" + strings.Join(c.mappings[suffix], ",") + ";")
	}
	for _, id := range sorted(c.amounts) {
		for _, class := range sorted(c.amounts[id]) {
			b.WriteString(id + ":" + class + ":" + jsonInt(c.amounts[id][class]) + ";")
		}
	}
	return b.String()
}
