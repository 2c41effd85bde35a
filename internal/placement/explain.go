package placement

import (
	"fmt"

	"github.com/hanok-cloud/hanok/internal/db"
)

// explain reads all providers in question and asks each requirement on its own.
func explain(tx *db.Tx, req Request, classes []string) (Rejections, error) {
	q := hostQuery(req, classes, false)
	hosts, err := db.All(tx, scanCandidate(classes), q.text, q.args...)
	if err != nil {
		return Rejections{}, err
	}
	members := sets(req)
	holders := make([]map[string]bool, len(members))
	for i, m := range members {
		if holders[i], err = m.holders(tx); err != nil {
			return Rejections{}, err
		}
	}
	return reject(req, classes, hosts, members, holders), nil
}

// miss is how far a provider is from what was asked: how many requirements it does not meet, and by what part of the
// amount it falls short in the worst of them.
type miss struct {
	count int
	short float64
	words string
}

func (m miss) nearerThan(o miss) bool {
	return m.count < o.count || m.count == o.count && m.short < o.short
}

// reject counts per requirement and finds the nearest miss.
func reject(req Request, classes []string, hosts []Candidate, members []membership, holders []map[string]bool) Rejections {
	r := Rejections{Hosts: len(hosts)}
	counts := map[string]int{}
	var nearest *miss
	for _, h := range hosts {
		var m miss
		no := func(requirement string, short float64, words string) {
			counts[requirement]++
			m.count++
			m.short = max(m.short, short)
			if m.words != "" {
				m.words += ", "
			}
			m.words += words
		}
		for _, class := range classes {
			want, s := req.Resources[class], h.Stock[class]
			if s.fits(want) {
				continue
			}
			requirement := fmt.Sprintf("%s: %d", class, want)
			switch {
			case s.Total == 0:
				no(requirement, 1, "has no "+class)
			case !s.takes(want):
				no(requirement, 1, fmt.Sprintf("gives %s only in amounts of %d to %d in steps of %d", class, s.MinUnit, s.MaxUnit, s.StepSize))
			default:
				no(requirement, float64(want-s.Free())/float64(want), fmt.Sprintf("has %d of %d %s free", max(0, s.Free()), want, class))
			}
		}
		for i, mem := range members {
			if holders[i][h.ProviderUUID] == mem.not {
				words := "lacks " + mem.words
				if mem.not {
					words = "has " + mem.words
				}
				no(mem.words, 1, words)
			}
		}
		if nearest == nil || m.nearerThan(*nearest) {
			m.words = h.Name + " " + m.words
			nearest = &m
		}
	}
	for _, class := range classes {
		r.add(fmt.Sprintf("%s: %d", class, req.Resources[class]), counts)
	}
	for _, mem := range members {
		r.add(mem.words, counts)
	}
	if nearest != nil && nearest.count > 0 {
		r.Nearest = nearest.words
	}
	return r
}

func (r *Rejections) add(requirement string, counts map[string]int) {
	if n := counts[requirement]; n > 0 {
		r.By = append(r.By, Rejection{requirement, n})
	}
}
