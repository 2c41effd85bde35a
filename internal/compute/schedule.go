package compute

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/placement"
)

// hostFact is what the filters know of a host.
type hostFact struct {
	Host       string
	Provider   string
	Up         bool
	Disabled   bool
	ForcedDown bool
	AZ         string
	Aggregates []map[string]string // metadata of the aggregates that it is in
	Arch       string
	Hypervisor string
}

// resources is what a server of a flavor takes of its host; extra specs resources:CLASS replace it (nova/scheduler/utils.py).
func resources(f Flavor) map[string]int64 {
	m := map[string]int64{"VCPU": f.VCPUs, "MEMORY_MB": f.RAM, "DISK_GB": f.Disk + f.Ephemeral + (f.Swap+1023)/1024}
	for k, v := range f.ExtraSpecs {
		if class, ok := strings.CutPrefix(k, "resources:"); ok {
			m[class] = anyInt(v, 0)
		}
	}
	for class, n := range m {
		if n == 0 {
			delete(m, class)
		}
	}
	return m
}

// traits are the required and forbidden traits of flavor and image.
func traits(f Flavor, image map[string]string) (required [][]string, forbidden []string) {
	var need []string
	for _, specs := range []map[string]string{f.ExtraSpecs, image} {
		for k, v := range specs {
			t, ok := strings.CutPrefix(k, "trait:")
			switch {
			case ok && v == "required":
				need = appendNew(need, t)
			case ok && v == "forbidden":
				forbidden = appendNew(forbidden, t)
			}
		}
	}
	slices.Sort(need)
	slices.Sort(forbidden)
	for _, t := range need {
		required = append(required, []string{t})
	}
	return required, forbidden
}

// filterInput is what the filters ask about.
type filterInput struct {
	AZ         string
	Host       string // only this one; empty: any
	Forced     bool   // the filters after the host are passed by
	ExtraSpecs map[string]string
	Image      map[string]string
	Policy     string         // of the server group
	MaxPerHost int            // anti-affinity's rule
	Members    map[string]int // hosts of the group's servers
	Different  []string       // hosts that must not be taken
	Same       []string       // hosts of which one must be taken
	SameAsked  bool
}

// filter is one reason to turn a host down; the words tell what is missing.
type filter struct {
	name string
	pass func(h hostFact, in filterInput) (ok bool, missing string)
}

// filters in nova's order and with its names. A host counts for the first that turns it down.
var filters = []filter{
	{"requested host", func(h hostFact, in filterInput) (bool, string) {
		return in.Host == "" || h.Host == in.Host, "is not " + in.Host
	}},
	{"ComputeFilter", func(h hostFact, _ filterInput) (bool, string) {
		switch {
		case h.Disabled:
			return false, "has its compute service disabled"
		case h.ForcedDown:
			return false, "has its compute service forced down"
		}
		return h.Up, "has not been heard of for a minute"
	}},
	{"AvailabilityZoneFilter", func(h hostFact, in filterInput) (bool, string) {
		return in.AZ == "" || h.AZ == in.AZ, "is in zone " + h.AZ + ", not " + in.AZ
	}},
	{"AggregateInstanceExtraSpecsFilter", aggregateSpecs},
	{"ImagePropertiesFilter", func(h hostFact, in filterInput) (bool, string) {
		want := in.Image["hw_architecture"]
		if want == "" {
			want = in.Image["architecture"]
		}
		return want == "" || h.Arch == "" || strings.EqualFold(want, h.Arch), "has the architecture " + h.Arch + ", not " + want
	}},
	{"DifferentHostFilter", func(h hostFact, in filterInput) (bool, string) {
		return !slices.Contains(in.Different, h.Host), "hosts a server that the hint different_host names"
	}},
	{"SameHostFilter", func(h hostFact, in filterInput) (bool, string) {
		return !in.SameAsked || slices.Contains(in.Same, h.Host), "hosts none of the servers that the hint same_host names"
	}},
	{"ServerGroupAntiAffinityFilter", func(h hostFact, in filterInput) (bool, string) {
		return in.Policy != "anti-affinity" || in.Members[h.Host] < max(1, in.MaxPerHost), "hosts a server of the group already"
	}},
	{"ServerGroupAffinityFilter", func(h hostFact, in filterInput) (bool, string) {
		return in.Policy != "affinity" || len(in.Members) == 0 || in.Members[h.Host] > 0, "hosts no server of the group"
	}},
}

// aggregateSpecs asks that each extra spec aggregate_instance_extra_specs:KEY is met by an aggregate of the host
// (nova/scheduler/filters/aggregate_instance_extra_specs.py).
func aggregateSpecs(h hostFact, in filterInput) (bool, string) {
	for k, want := range in.ExtraSpecs {
		key, ok := strings.CutPrefix(k, "aggregate_instance_extra_specs:")
		if ok && !slices.ContainsFunc(h.Aggregates, func(m map[string]string) bool { return matchSpec(m[key], want) }) {
			return false, "is in no aggregate with " + key + " " + want
		}
	}
	return true, ""
}

// matchSpec is nova/scheduler/filters/extra_specs_ops.py without its arithmetic: equality, <in>, <or>.
func matchSpec(have, want string) bool {
	switch f := strings.Fields(want); {
	case have == "":
		return false
	case len(f) == 2 && f[0] == "<in>":
		return strings.Contains(have, f[1])
	case len(f) > 1 && f[0] == "<or>":
		return slices.Contains(f, have)
	case len(f) == 2 && (f[0] == "s==" || f[0] == "="):
		return have == f[1]
	}
	return have == want
}

// verdict is how the filters went.
type verdict struct {
	passed  []hostFact
	counts  []filterCount
	nearest string // the host that went furthest and what it lacked
}

type filterCount struct {
	name  string
	hosts int
}

func (v verdict) String() string {
	var parts []string
	for _, c := range v.counts {
		parts = append(parts, fmt.Sprintf("%s turned down %d", c.name, c.hosts))
	}
	s := strings.Join(parts, ", ")
	if v.nearest != "" {
		s += "; nearest: " + v.nearest
	}
	return s
}

// filterHosts asks every filter in turn.
func filterHosts(hosts []hostFact, in filterInput) verdict {
	v := verdict{}
	counts := make([]int, len(filters))
	furthest := -1
	for _, h := range hosts {
		turned := false
		for i, f := range filters {
			if in.Forced && i > 0 {
				break
			}
			ok, missing := f.pass(h, in)
			if ok {
				continue
			}
			turned = true
			counts[i]++
			if i > furthest {
				furthest, v.nearest = i, h.Host+" "+missing
			}
			break
		}
		if !turned {
			v.passed = append(v.passed, h)
		}
	}
	for i, n := range counts {
		if n > 0 {
			v.counts = append(v.counts, filterCount{filters[i].name, n})
		}
	}
	return v
}

// schedule picks the host of a server. nil without an error: there is none, and the text says how many hosts each filter turned down.
func (s *Service) schedule(tx *db.Tx, v *Server, spec *createSpec, p *placing) (*hostFact, string, error) {
	required, forbidden := traits(v.Flavor.V, p.image.Properties)
	candidates, rejected, err := placement.Candidates(tx, placement.Request{Resources: resources(v.Flavor.V), Required: required, Forbidden: forbidden})
	if err != nil {
		return nil, "", err
	}
	if len(candidates) == 0 {
		return nil, rejected.String(), nil
	}
	byProvider := make(map[string]hostFact, len(p.hosts))
	for _, h := range p.hosts {
		byProvider[h.Provider] = h
	}
	var hosts []hostFact
	for _, c := range candidates {
		if h, ok := byProvider[c.ProviderUUID]; ok {
			hosts = append(hosts, h)
		}
	}
	in := filterInput{AZ: spec.az, Host: spec.host, Forced: spec.forced, ExtraSpecs: v.Flavor.V.ExtraSpecs, Image: p.image.Properties}
	if in.Host == "" {
		in.Host = spec.node
	}
	if err := s.hintedHosts(tx, v, spec, p, &in); err != nil {
		return nil, "", err
	}
	out := filterHosts(hosts, in)
	if len(out.passed) == 0 {
		return nil, fmt.Sprintf("Of %d hosts with enough free resources, %s.", len(hosts), out), nil
	}
	best := weigh(out.passed, in)
	return &best, "", nil
}

// weigh takes the first host, which has the most memory left, unless a soft policy prefers another.
func weigh(hosts []hostFact, in filterInput) hostFact {
	best := hosts[0]
	for _, h := range hosts[1:] {
		a, b := in.Members[h.Host], in.Members[best.Host]
		if in.Policy == "soft-affinity" && a > b || in.Policy == "soft-anti-affinity" && a < b {
			best = h
		}
	}
	return best
}

// hintedHosts looks up the hosts of the servers that hints and the group name.
func (s *Service) hintedHosts(tx *db.Tx, v *Server, spec *createSpec, p *placing, in *filterInput) error {
	hostsOf := func(ids []string) ([]string, error) {
		var w db.Where
		w.In("id", ids).Add("project_id = ?", v.ProjectID).Add("NOT deleted")
		return db.All(tx, db.Value[string], `SELECT host FROM servers`+w.SQL(), w.Args()...)
	}
	var err error
	if ids := hintIDs(spec.hints["different_host"]); len(ids) > 0 {
		if in.Different, err = hostsOf(ids); err != nil {
			return err
		}
	}
	if ids := hintIDs(spec.hints["same_host"]); len(ids) > 0 {
		in.SameAsked = true
		if in.Same, err = hostsOf(ids); err != nil {
			return err
		}
	}
	if p.group == nil {
		return nil
	}
	in.Policy, in.MaxPerHost = p.group.Policy, int(anyInt(p.group.Rules["max_server_per_host"], 1))
	members, err := db.All(tx, db.Value[string], `SELECT host FROM servers WHERE group_id = $1 AND NOT deleted AND host <> ''`, p.group.ID)
	in.Members = map[string]int{}
	for _, h := range members {
		in.Members[h]++
	}
	return err
}

func hintIDs(v any) []string {
	switch x := v.(type) {
	case string:
		return []string{x}
	case []any:
		var out []string
		for _, e := range x {
			if t, ok := e.(string); ok {
				out = append(out, t)
			}
		}
		return out
	}
	return nil
}
