package identity

import (
	"context"
	"fmt"
	"math"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// limitModel is how limits of projects and their domains hang together ([unified_limit] enforcement_model).
type limitModel struct {
	name, description string
	depth             int // of the tree of projects with its domain; 0: as deep as it may be
}

// strictTwoLevel: a project's limit is never above its domain's.
const strictTwoLevel = "strict_two_level"

func findLimitModel(name string) (limitModel, error) {
	switch name {
	case "", "flat":
		return limitModel{name: "flat", description: "Limit enforcement and validation does not take project hierarchy into consideration."}, nil
	case strictTwoLevel:
		return limitModel{name: strictTwoLevel, description: "This model requires project hierarchy never exceeds a depth of two", depth: 2}, nil
	}
	return limitModel{}, fmt.Errorf("unified_limit: there is no enforcement_model %q; use flat or %s", name, strictTwoLevel)
}

func (s *Service) limitModel(_ context.Context, r *api.Request, _ api.None) (doc, error) {
	return doc{"model": doc{"name": s.model.name, "description": s.model.description}}, r.Enforce("identity:get_limit_model", policy.Map{})
}

// treeDepth is how many levels a tree of projects may have, its domain among them. Upstream lets one level more be made than it then starts with
// (keystone/resource/core.py, _assert_max_hierarchy_depth and check_project_depth).
func (s *Service) treeDepth() int {
	if s.model.depth > 0 {
		return s.model.depth
	}
	return maxTreeDepth + 1
}

// checkTrees refuses to start with trees of projects that are deeper than the model of limits allows.
func (s *Service) checkTrees(tx *db.Tx) error {
	if s.model.depth == 0 {
		return nil
	}
	deep, err := db.All(tx, db.Value[string], `SELECT p.id FROM identity_projects p JOIN identity_projects up ON up.id = p.parent_id WHERE up.is_domain = FALSE ORDER BY p.id LIMIT 5`)
	if err == nil && len(deep) > 0 {
		err = fmt.Errorf("unified_limit: the enforcement_model %s allows projects right below their domain only, and there are deeper ones (%v): use flat, or delete them", s.model.name, deep)
	}
	return err
}

// amount is a limit's value; -1 is no limit. Upstream compares the bare numbers, so that nothing fits below an unlimited domain.
func amount(d doc, member string) int64 {
	n, err := column{"", number}.write(d[member])
	if v, ok := n.(int64); ok && err == nil && v >= 0 {
		return v
	}
	return math.MaxInt64
}

// fitModel checks new or changed limits against each other and against those that are there (keystone/limit/models/strict_two_level.py).
func (s *Service) fitModel(tx *db.Tx, limits []doc) error {
	if s.model.name != strictTwoLevel {
		return nil
	}
	for _, d := range limits {
		fits, err := s.fits(tx, d, limits)
		if err != nil {
			return err
		}
		if !fits {
			level := "project_id"
			if str(d, level) == "" {
				level = "domain_id"
			}
			region := str(d, "region_id")
			if region == "" {
				region = "None"
			}
			return fault.Forbidden("Invalid resource limit: The resource limit (%s: %s, resource_name: %s, resource_limit: %v, service_id: %s, region_id: %s) doesn't satisfy current hierarchy model..",
				level, str(d, level), str(d, "resource_name"), d["resource_limit"], str(d, "service_id"), region)
		}
	}
	return nil
}

func (s *Service) fits(tx *db.Tx, d doc, batch []doc) (bool, error) {
	want := amount(d, "resource_limit")
	if id := str(d, "project_id"); id != "" {
		p, err := s.project.get(tx, id)
		if err != nil {
			return false, err
		}
		above, err := s.domainLimit(tx, d, str(p, "parent_id"), batch)
		return want <= above, err
	}
	below, err := s.limit.all(tx, (&db.Where{}).Add(`service_id = ? AND region_id = ? AND resource_name = ? AND project_id IN (SELECT id FROM identity_projects WHERE domain_id = ?)`,
		str(d, "service_id"), str(d, "region_id"), str(d, "resource_name"), str(d, "domain_id")))
	for _, b := range below {
		if amount(b, "resource_limit") > want {
			return false, err
		}
	}
	return true, err
}

// domainLimit is what a domain has of the resource that a limit is about: by the request itself, by its own limit, or by the registered default.
func (s *Service) domainLimit(tx *db.Tx, of doc, domain string, batch []doc) (int64, error) {
	for _, d := range batch {
		if str(d, "domain_id") == domain && str(d, "service_id") == str(of, "service_id") && str(d, "region_id") == str(of, "region_id") && str(d, "resource_name") == str(of, "resource_name") {
			return amount(d, "resource_limit"), nil
		}
	}
	same := func() *db.Where {
		return (&db.Where{}).Add("service_id = ? AND region_id = ? AND resource_name = ?", str(of, "service_id"), str(of, "region_id"), str(of, "resource_name"))
	}
	own, err := s.limit.all(tx, same().Add("domain_id = ?", domain))
	if err != nil {
		return 0, err
	}
	for _, d := range own {
		return amount(d, "resource_limit"), nil
	}
	registered, err := s.registeredLimit.all(tx, same())
	for _, d := range registered {
		return amount(d, "default_limit"), err
	}
	return math.MaxInt64, err
}
