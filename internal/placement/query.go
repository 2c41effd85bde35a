package placement

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
)

// group is one request group of a query string: what must come together (placement/lib.py, RequestGroup).
type group struct {
	suffix    string // empty: the group whose resources may be spread over a tree
	resources map[string]int64
	required  [][]string // each a set of traits of which one is needed
	forbidden []string
	memberOf  [][]string
	notIn     []string
	inTree    string
}

func (g group) traitNames() []string {
	return append(slices.Concat(g.required...), g.forbidden...)
}

func join(s []string) string { return strings.Join(s, ", ") }

// parseGroup reads the parameters resources, required, member_of and in_tree with a suffix.
func parseGroup(r *api.Request, suffix string) (group, error) {
	g := group{suffix: suffix}
	q := r.Query()
	var err error
	if v := q["resources"+suffix]; len(v) > 0 {
		if g.resources, err = parseResources(v[len(v)-1]); err != nil {
			return g, err
		}
	}
	if g.required, g.forbidden, err = parseRequired(q["required"+suffix], r.Since("1.22"), r.Since("1.39")); err != nil {
		return g, err
	}
	if g.memberOf, g.notIn, err = parseMemberOf(q["member_of"+suffix], suffix, r.Since("1.24"), r.Since("1.32")); err != nil {
		return g, err
	}
	if v := q["in_tree"+suffix]; len(v) > 0 && r.Since("1.14") {
		id, ok := normalUUID(strings.TrimSpace(v[len(v)-1]))
		if !ok {
			return g, badRequest("Invalid query string parameters: Expected 'in_tree' parameter to be a format of uuid. Got: %s", v[len(v)-1])
		}
		g.inTree = id
	}
	return g, nil
}

// parseResources reads "VCPU:2,MEMORY_MB:1024".
func parseResources(v string) (map[string]int64, error) {
	const form = "Badly formed resources parameter. Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024. Got: "
	if strings.TrimSpace(v) == "" {
		return nil, badRequest("%sempty string.", form)
	}
	out := map[string]int64{}
	for part := range strings.SplitSeq(v, ",") {
		name, amount, ok := strings.Cut(part, ":")
		if !ok || strings.Contains(amount, ":") {
			return nil, badRequest("%s%s.", form, part)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(amount), 10, 64)
		switch {
		case err != nil && !allDigits(amount):
			return nil, badRequest("Requested resource %s expected positive integer amount. Got: %s.", name, amount)
		case n < 1:
			return nil, badRequest("Requested resource %s requires amount >= 1. Got: %d.", name, n)
		}
		out[name] = min(n, 1<<53) // nobody has more
	}
	return out, nil
}

func allDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// parseRequired reads "A,!B" and "in:A,B". Before 1.39 only the last of several counts.
func parseRequired(values []string, forbidden, anyOf bool) (required [][]string, not []string, err error) {
	if !anyOf && len(values) > 1 {
		values = values[len(values)-1:]
	}
	for _, v := range values {
		if list, ok := strings.CutPrefix(v, "in:"); ok {
			set, err := parseAnyTrait(v, list, anyOf)
			if err != nil {
				return nil, nil, err
			}
			required = append(required, set)
			continue
		}
		form := "HW_CPU_X86_VMX,CUSTOM_MAGIC"
		if forbidden {
			form = "HW_CPU_X86_VMX,!CUSTOM_MAGIC"
		}
		for name := range strings.SplitSeq(v, ",") {
			name = strings.TrimSpace(name)
			bare := strings.TrimLeft(name, "!") // any number of them, as upstream reads it
			if bare == "" {
				return nil, nil, badRequest("Invalid query string parameters: Expected 'required' parameter value of the form: %s. Got an empty trait in: %s", form, v)
			}
			if bare == name {
				required = append(required, []string{name})
			} else {
				not = append(not, bare)
			}
		}
		if len(not) > 0 && !forbidden {
			return nil, nil, badRequest("Invalid query string parameters: Expected 'required' parameter value of the form: HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: %s", v)
		}
	}
	return required, not, nil
}

func parseAnyTrait(v, list string, allowed bool) ([]string, error) {
	if !allowed {
		return nil, badRequest("Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' only supported since microversion 1.39. Got: %s", v)
	}
	var set []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			return nil, badRequest("Invalid query string parameters: Expected 'required' parameter value of the form: in:HW_CPU_X86_VMX,CUSTOM_MAGIC. Got an empty trait in: %s", v)
		}
		if strings.HasPrefix(name, "!") {
			return nil, badRequest("Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support forbidden traits. Got: %s", v)
		}
		set = append(set, name)
	}
	return set, nil
}

// parseMemberOf reads "AGG", "in:AGG,AGG", "!AGG" and "!in:AGG,AGG".
func parseMemberOf(values []string, suffix string, several, forbidden bool) (in [][]string, not []string, err error) {
	if !several && len(values) > 1 {
		return nil, nil, badRequest("Multiple member_of%s parameters are not supported", suffix)
	}
	for _, v := range values {
		list, negated := strings.CutPrefix(v, "!")
		list, prefixed := strings.CutPrefix(list, "in:")
		if strings.Contains(v, ",") && !prefixed {
			return nil, nil, badRequest("Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid microversion. Got: %s", v)
		}
		aggs := strings.Split(list, ",")
		for i, a := range aggs {
			id, ok := normalUUID(a)
			if !ok {
				return nil, nil, badRequest("Invalid query string parameters: Expected 'member_of' parameter to contain valid UUID(s). Got: %s", a)
			}
			aggs[i] = id
		}
		if !negated {
			in = append(in, aggs)
			continue
		}
		if !forbidden {
			return nil, nil, badRequest("Forbidden member_of%s parameters are not supported in the specified microversion", suffix)
		}
		not = append(not, aggs...)
	}
	return in, not, nil
}

var (
	groupKeyOld = regexp.MustCompile(`^(resources|required|member_of|in_tree)(` + groupOld + `)?$`)
	groupKeyNew = regexp.MustCompile(`^(resources|required|member_of|in_tree)(` + groupNew + `)?$`)
)

// wide are the parameters of a candidates request as a whole (placement/lib.py, RequestWideParams).
type wide struct {
	limit        int
	isolate      bool
	policyGiven  bool
	rootRequired []string
	rootNot      []string
	sameSubtree  [][]string
}

func parseWide(r *api.Request) (wide, error) {
	q := r.Query()
	var p wide
	if v := q["limit"]; len(v) > 0 {
		n, err := strconv.Atoi(v[0])
		if err != nil {
			n = maxCandidates // more digits than an int has
		}
		p.limit = n
	}
	if v := q["group_policy"]; len(v) > 0 {
		p.policyGiven, p.isolate = true, v[0] == "isolate"
	}
	if v := q["root_required"]; len(v) > 0 {
		if len(v) > 1 {
			e := badRequest("Query parameter 'root_required' may be specified only once.")
			e.Code = codeDuplicateKey
			return p, e
		}
		required, not, err := parseRequired(v, true, false)
		if err != nil {
			return p, err
		}
		p.rootRequired, p.rootNot = slices.Concat(required...), not
		var both []string
		for _, t := range p.rootRequired {
			if slices.Contains(not, t) {
				both = append(both, t)
			}
		}
		if len(both) > 0 {
			e := badRequest("Conflicting required and forbidden traits found in root_required: %s", join(both))
			e.Code = codeBadValue
			return p, e
		}
	}
	for _, v := range q["same_subtree"] {
		var set []string
		for suffix := range strings.SplitSeq(v, ",") {
			if suffix = strings.TrimSpace(suffix); suffix == "" {
				e := badRequest("Empty string (unsuffixed group) can not be specified in `same_subtree` ")
				e.Code = codeBadValue
				return p, e
			}
			set = append(set, suffix)
		}
		p.sameSubtree = append(p.sameSubtree, set)
	}
	return p, nil
}

// parseGroups reads all request groups, in the order of their suffixes, and checks them against one another.
func parseGroups(r *api.Request, p wide) ([]group, error) {
	pattern := groupKeyOld
	if r.Since("1.33") {
		pattern = groupKeyNew
	}
	var suffixes []string
	for key := range r.Query() {
		if m := pattern.FindStringSubmatch(key); m != nil && !slices.Contains(suffixes, m[2]) {
			suffixes = append(suffixes, m[2])
		}
	}
	slices.Sort(suffixes)
	groups := make([]group, 0, len(suffixes))
	for _, s := range suffixes {
		g, err := parseGroup(r, s)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	check := checkOrphans
	if r.Since("1.36") {
		check = func(g []group) error { return checkResourceless(g, p) }
	}
	if err := check(groups); err != nil {
		return nil, err
	}
	if r.Since("1.22") {
		return groups, checkConflicts(groups)
	}
	return groups, nil
}

func checkOrphans(groups []group) error {
	var traits, aggs []string
	empty := false
	for _, g := range groups {
		if len(g.resources) > 0 {
			continue
		}
		empty = true
		if len(g.required) > 0 {
			traits = append(traits, "required"+g.suffix)
		}
		if len(g.memberOf)+len(g.notIn) > 0 {
			aggs = append(aggs, "member_of"+g.suffix)
		}
	}
	switch {
	case len(traits) > 0:
		return badRequest("All traits parameters must be associated with resources.  Found the following orphaned traits keys: %s", join(traits))
	case len(aggs) > 0:
		return badRequest("All member_of parameters must be associated with resources. Found the following orphaned member_of keys: %s", join(aggs))
	case empty:
		return badRequest("All request groups must specify resources.")
	case len(groups) == 0:
		return badRequest("At least one request group (`resources` or `resources{$S}`) is required.")
	}
	return nil
}

func checkResourceless(groups []group, p wide) error {
	named := slices.Concat(p.sameSubtree...)
	var all, without, bad []string
	for _, g := range groups {
		all = append(all, g.suffix)
		if len(g.resources) == 0 {
			without = append(without, g.suffix)
			if !slices.Contains(named, g.suffix) {
				bad = append(bad, g.suffix)
			}
		}
	}
	if len(without) == len(all) {
		e := badRequest("There must be at least one resources or resources[$S] parameter.")
		e.Code = codeMissingValue
		return e
	}
	if len(bad) > 0 {
		e := badRequest("Resourceless suffixed group request should be specified in `same_subtree` query param: bad group(s) - %s.", pyList(bad))
		e.Code = codeBadValue
		return e
	}
	for _, s := range named {
		if !slices.Contains(all, s) {
			bad = append(bad, s)
		}
	}
	if len(bad) > 0 {
		e := badRequest("Real suffixes should be specified in `same_subtree`: %s not found in %s.", pyList(bad), pyList(all))
		e.Code = codeBadValue
		return e
	}
	return nil
}

func pyList(s []string) string { return "['" + strings.Join(s, "', '") + "']" }

func checkConflicts(groups []group) error {
	var bad []string
	for _, g := range groups {
		for _, any := range g.required {
			if !slices.ContainsFunc(any, func(t string) bool { return !slices.Contains(g.forbidden, t) }) {
				names := slices.Sorted(slices.Values(any))
				bad = append(bad, "required"+g.suffix+": ("+join(names)+")")
			}
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return badRequest("Conflicting required and forbidden traits found in the following traits keys: %s", join(bad))
	}
	return nil
}
