package identity

import (
	"context"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// policyRoutes are the stored policies of OS-ENDPOINT-POLICY; what they say is for others to read.
func (s *Service) policyRoutes() []api.Route {
	c := simple{s: s, k: s.kinds.policy, rule: "policy", list: "policies", create: s.schemas.policyCreate, update: s.schemas.policyUpdate, filters: []string{"type"},
		deleting: func(tx *db.Tx, _ *api.Request, old doc) error {
			_, err := tx.Exec(`DELETE FROM identity_policy_associations WHERE policy_id = $1`, old["id"])
			return err
		}}
	routes := c.routes("/v3/policies", "policy_id")
	for _, a := range []struct{ path, rule string }{
		{"endpoints/{endpoint_id}", "endpoint"},
		{"services/{service_id}", "service"},
		{"services/{service_id}/regions/{region_id}", "region_and_service"},
	} {
		path := "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY/" + a.path
		rule := func(verb string) string { return "identity:" + verb + "_policy_association_for_" + a.rule }
		for _, v := range []struct{ method, verb string }{{"GET", "check"}, {"PUT", "create"}, {"DELETE", "delete"}} {
			routes = append(routes, api.Handle(v.method, path, api.Object(rule(v.verb)), 204, func(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
				return api.None{}, s.associate(ctx, r, rule(v.verb), v.verb)
			}))
		}
	}
	return append(routes,
		api.Handle("GET", "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints", api.Object("identity:list_endpoints_for_policy"), 200, s.policyEndpoints),
		api.Handle("GET", "/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy", api.Object("identity:get_policy_for_endpoint"), 200, s.endpointPolicy))
}

func (s *Service) associate(ctx context.Context, r *api.Request, rule, verb string) error {
	if err := r.Enforce(rule, policy.Map{}); err != nil {
		return err
	}
	return s.write(ctx, func(tx *db.Tx) error {
		id, endpoint, service, region := r.Path("policy_id"), r.Path("endpoint_id"), r.Path("service_id"), r.Path("region_id")
		for _, p := range []struct {
			k  *kind
			id string
		}{{s.kinds.policy, id}, {s.endpoint, endpoint}, {s.service, service}, {s.region, region}} {
			if p.id != "" {
				if _, err := p.k.get(tx, p.id); err != nil {
					return err
				}
			}
		}
		args := []any{endpoint, service, region}
		if verb == "create" {
			_, err := tx.Exec(`INSERT INTO identity_policy_associations (endpoint_id, service_id, region_id, policy_id) VALUES ($1,$2,$3,$4)
				ON CONFLICT (endpoint_id, service_id, region_id) DO UPDATE SET policy_id = excluded.policy_id`, append(args, id)...)
			return err
		}
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_policy_associations WHERE endpoint_id = $1 AND service_id = $2 AND region_id = $3 AND policy_id = $4`, append(args, id)...)
		if err != nil {
			return err
		}
		if verb == "check" {
			if n == 0 {
				return fault.NotFound("Could not find policy association.")
			}
			return nil
		}
		_, err = tx.Exec(`DELETE FROM identity_policy_associations WHERE endpoint_id = $1 AND service_id = $2 AND region_id = $3 AND policy_id = $4`, append(args, id)...)
		return err
	})
}

// policyOf is the policy of an endpoint: its own, else its service's in its region or a region above, else its service's.
func (s *Service) policyOf(tx *db.Tx, e doc) (string, error) {
	find := func(endpoint, service, region string) (string, error) {
		id, err := db.One(tx, db.Value[string], `SELECT policy_id FROM identity_policy_associations WHERE endpoint_id = $1 AND service_id = $2 AND region_id = $3`, endpoint, service, region)
		if errors.Is(err, db.ErrNotFound) {
			return "", nil
		}
		return id, err
	}
	if id, err := find(str(e, "id"), "", ""); id != "" || err != nil {
		return id, err
	}
	for region, n := str(e, "region_id"), 0; region != "" && n < 100; n++ {
		if id, err := find("", str(e, "service_id"), region); id != "" || err != nil {
			return id, err
		}
		d, err := s.region.find(tx, region)
		if err != nil {
			return "", err
		}
		region = str(d, "parent_region_id")
	}
	return find("", str(e, "service_id"), "")
}

func (s *Service) policyEndpoints(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_endpoints_for_policy", policy.Map{}); err != nil {
		return nil, err
	}
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		if _, err := s.kinds.policy.get(tx, r.Path("policy_id")); err != nil {
			return nil, err
		}
		all, err := s.endpoint.all(tx, &db.Where{})
		if err != nil {
			return nil, err
		}
		var out []doc
		for _, e := range all {
			id, err := s.policyOf(tx, e)
			if err != nil {
				return nil, err
			}
			if id == r.Path("policy_id") {
				e = s.endpoint.linked(s, base(r), e)
				delete(e, "region") // only the other lists have the older name
				out = append(out, e)
			}
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "endpoints", list)
}

func (s *Service) endpointPolicy(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_policy_for_endpoint", policy.Map{}); err != nil {
		return nil, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		e, err := s.endpoint.get(tx, r.Path("endpoint_id"))
		if err != nil {
			return nil, err
		}
		id, err := s.policyOf(tx, e)
		if err != nil {
			return nil, err
		}
		if id == "" {
			return nil, fault.NotFound("No policy is associated with endpoint %s.", e["id"])
		}
		d, err := s.kinds.policy.get(tx, id)
		if err != nil {
			return nil, err
		}
		return s.kinds.policy.member(s, r, d), nil
	})
}
