package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
)

// Request is what the scheduler wants of one provider.
type Request struct {
	Resources map[string]int64 // resource class → amount; must not be empty
	Required  [][]string       // of each inner list the provider must have one trait
	Forbidden []string         // traits that it must not have
	MemberOf  [][]string       // of each inner list it must be in one aggregate
	NotIn     []string         // aggregates that it must not be in
	Providers []string         // when not empty only these (uuids) are looked at
	Limit     int              // at most so many candidates; 0: all
}

// Candidate is a provider that can give all that was asked for.
type Candidate struct {
	ProviderUUID string
	Name         string
	// Stock holds the requested classes as they are before the allocation.
	Stock map[string]Stock
}

// Amounts is the allocation that the request would make on this candidate.
func (c Candidate) Amounts(r Request) Amounts { return Amounts{c.ProviderUUID: r.Resources} }

// Rejections tells why there are no candidates. It is filled in only then.
type Rejections struct {
	// Hosts is how many providers were looked at: those with an inventory of any requested class, or Request.Providers.
	Hosts int
	// By counts the providers that do not meet a requirement. One that misses several counts for each.
	By []Rejection
	// Nearest is the provider that misses least, in words: "node-2 has 512 of 2048 MEMORY_MB free".
	Nearest string
}

// Rejection is one requirement and how many providers do not meet it.
type Rejection struct {
	Requirement string // "MEMORY_MB: 2048", "trait HW_CPU_X86_AVX2"
	Hosts       int
}

func (r Rejections) String() string {
	if r.Hosts == 0 {
		return "no host has registered its resources"
	}
	var parts []string
	for _, b := range r.By {
		parts = append(parts, fmt.Sprintf("%s turned down %d", b.Requirement, b.Hosts))
	}
	s := fmt.Sprintf("of %d hosts, %s", r.Hosts, strings.Join(parts, ", "))
	if r.Hosts == 1 {
		s = fmt.Sprintf("of 1 host, %s", strings.Join(parts, ", "))
	}
	if r.Nearest != "" {
		s += "; nearest: " + r.Nearest
	}
	return s
}

// Candidates returns the providers that meet the request, those with most left of the scarcest class first: memory when it is
// asked for. One query finds them; only when there is none a second one finds out why.
func Candidates(tx *db.Tx, req Request) ([]Candidate, Rejections, error) {
	classes := orderedClasses(req.Resources)
	q := hostQuery(req, classes, true)
	found, err := db.All(tx, scanCandidate(classes), q.text, q.args...)
	if err != nil || len(found) > 0 {
		return found, Rejections{}, err
	}
	rej, err := explain(tx, req, classes)
	return nil, rej, err
}

// orderedClasses sorts memory, processors and disk to the front: the first one decides the order of the candidates.
func orderedClasses(m map[string]int64) []string {
	weight := map[string]int{"MEMORY_MB": -3, "VCPU": -2, "DISK_GB": -1}
	classes := sorted(m)
	slices.SortStableFunc(classes, func(a, b string) int { return cmp.Compare(weight[a], weight[b]) })
	return classes
}

type query struct {
	text string
	args []any
}

// hostQuery joins a provider with the inventory of each class. strict leaves only those that meet the request.
func hostQuery(req Request, classes []string, strict bool) query {
	var w db.Where
	var from, cols strings.Builder
	join := " LEFT JOIN"
	if strict {
		join = " JOIN"
	}
	for i, class := range classes {
		t := "i" + strconv.Itoa(i)
		fmt.Fprintf(&from, "%s placement_inventories %s ON %s.provider_uuid = p.uuid AND %s.resource_class = %s", join, t, t, t, w.Arg(class))
		for _, c := range strings.Split(stockColumns, ", ") {
			fmt.Fprintf(&cols, ", coalesce(%s.%s, 0)", t, c)
		}
	}
	if len(req.Providers) > 0 {
		w.In("p.uuid", req.Providers)
	}
	if !strict {
		if len(req.Providers) == 0 {
			var has []string
			for i := range classes {
				has = append(has, "i"+strconv.Itoa(i)+".total IS NOT NULL")
			}
			w.Add(db.Join(has, " OR "))
		}
		return query{`SELECT p.uuid, p.name` + cols.String() + ` FROM placement_providers p` + from.String() + w.SQL() + ` ORDER BY p.name`, w.Args()}
	}
	for i, class := range classes {
		t, amount := "i"+strconv.Itoa(i), req.Resources[class]
		w.Add(fmt.Sprintf("(%[1]s.total - %[1]s.reserved) * %[1]s.allocation_ratio >= %[1]s.used + ? AND %[1]s.min_unit <= ? AND %[1]s.max_unit >= ? AND ? %% %[1]s.step_size = 0", t),
			amount, amount, amount, amount)
	}
	for _, s := range sets(req) {
		cond, args := s.condition()
		w.Add(cond, args...)
	}
	text := `SELECT p.uuid, p.name` + cols.String() + ` FROM placement_providers p` + from.String() + w.SQL() +
		` ORDER BY (i0.total - i0.reserved) * i0.allocation_ratio - i0.used DESC, p.name`
	if req.Limit > 0 {
		text += ` LIMIT ` + w.Arg(req.Limit)
	}
	return query{text, w.Args()}
}

func scanCandidate(classes []string) func(db.Row) (Candidate, error) {
	return func(r db.Row) (Candidate, error) {
		c := Candidate{Stock: make(map[string]Stock, len(classes))}
		stocks := make([]Stock, len(classes))
		dest := []any{&c.ProviderUUID, &c.Name}
		for i := range stocks {
			dest = append(dest, scanStock(&stocks[i])...)
		}
		err := r.Scan(dest...)
		for i, class := range classes {
			c.Stock[class] = stocks[i]
		}
		return c, err
	}
}

// membership is a requirement on traits or aggregates: one of values must be there, or none.
type membership struct {
	table, column string
	values        []string
	not           bool
	words         string
}

func sets(req Request) []membership {
	var out []membership
	trait := membership{table: "placement_provider_traits", column: "trait"}
	agg := membership{table: "placement_provider_aggregates", column: "aggregate_uuid"}
	add := func(m membership, values []string, not bool, words string) {
		m.values, m.not, m.words = values, not, words
		out = append(out, m)
	}
	for _, any := range req.Required {
		add(trait, any, false, "trait "+strings.Join(any, " or "))
	}
	for _, t := range req.Forbidden {
		add(trait, []string{t}, true, "forbidden trait "+t)
	}
	for _, any := range req.MemberOf {
		add(agg, any, false, "aggregate "+strings.Join(any, " or "))
	}
	if len(req.NotIn) > 0 {
		add(agg, req.NotIn, true, "forbidden aggregate "+strings.Join(req.NotIn, " or "))
	}
	return out
}

func (m membership) condition() (string, []any) {
	args := make([]any, len(m.values))
	for i, v := range m.values {
		args[i] = v
	}
	cond := "EXISTS (SELECT 1 FROM " + m.table + " m WHERE m.provider_uuid = p.uuid AND m." + m.column + " IN (?" + strings.Repeat(", ?", max(0, len(args)-1)) + "))"
	if len(args) == 0 {
		cond = "1 = 0"
	}
	if m.not {
		cond = "NOT " + cond
	}
	return cond, args
}

// holders returns the providers that have one of the values.
func (m membership) holders(tx *db.Tx) (map[string]bool, error) {
	var w db.Where
	w.In(m.column, m.values)
	uuids, err := db.All(tx, db.Value[string], `SELECT DISTINCT provider_uuid FROM `+m.table+w.SQL(), w.Args()...)
	return set(uuids), err
}
