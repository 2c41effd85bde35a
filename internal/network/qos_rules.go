package network

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// qosRule is one rule of a QoS policy.
type qosRule struct {
	standard
	PolicyID, Kind, Direction string
	Rate, Burst               int64
}

const qosRuleColumns = standardColumns + `, t.policy_id, t.kind, t.direction, t.rate, t.burst`

func scanQoSRule(r db.Row) (*qosRule, error) {
	q := &qosRule{}
	return q, r.Scan(q.scan(&q.PolicyID, &q.Kind, &q.Direction, &q.Rate, &q.Burst)...)
}

func (q *qosRule) columns() []column {
	return []column{{"policy_id", q.PolicyID}, {"kind", q.Kind}, {"direction", q.Direction}, {"rate", q.Rate}, {"burst", q.Burst}}
}

// qosKind is a type of rules: what its figures are called. The node realises all that are listed here (internal/agent/firewall); minimum_bandwidth
// and minimum_packet_rate need a scheduler of packets that guarantees something, which it does not have.
type qosKind struct {
	name, rate, burst string // burst empty: a mark, which has no direction either
}

var qosKinds = []qosKind{{"bandwidth_limit", "max_kbps", "max_burst_kbps"}, {"dscp_marking", "dscp_mark", ""}, {"packet_rate_limit", "max_kpps", "max_burst_kpps"}}

// dscpMarks are neutron_lib/constants.py, VALID_DSCP_MARKS.
var dscpMarks = []any{int64(0), int64(8), int64(10), int64(12), int64(14), int64(16), int64(18), int64(20), int64(22), int64(24), int64(26), int64(28), int64(30), int64(32), int64(34),
	int64(36), int64(38), int64(40), int64(44), int64(46), int64(48), int64(56)}

func (q *qosRule) doc() doc {
	for _, k := range qosKinds {
		if k.name == q.Kind && k.burst == "" {
			return doc{"id": q.ID, k.rate: q.Rate}
		} else if k.name == q.Kind {
			return doc{"id": q.ID, k.rate: q.Rate, k.burst: q.Burst, "direction": q.Direction}
		}
	}
	return doc{"id": q.ID}
}

func qosRuleNotFound(id string) *fault.Error {
	return notFound("QosRuleNotFound", "QoS rule %s for policy  could not be found.", id)
}

// vCount is type:range [0, 2^31-1].
func vCount(v any) (string, error) {
	n, _ := v.(int64)
	switch {
	case n < 0:
		return fmt.Sprintf("'%d' is too small - must be at least '0'", n), nil
	case n > 1<<31-1:
		return fmt.Sprintf("'%d' is too large - must be no larger than '%d'", n, 1<<31-1), nil
	}
	return "", nil
}

func (s *Service) qosRules(k qosKind, policies *resource) *resource {
	rate := attr{name: k.rate, post: true, put: true, required: true, convert: toInt, validate: vCount, column: "t.rate", sort: true, kind: integer}
	attrs := []attr{{name: "id", column: "t.id", sort: true},
		{name: "tenant_id", post: true, def: unset{}, validate: vString(255), hidden: true}, {name: "project_id", post: true, def: unset{}, validate: vString(255), hidden: true}}
	if k.burst == "" {
		rate.validate = vValues(dscpMarks...)
		attrs = append(attrs, rate)
	} else {
		attrs = append(attrs, rate,
			attr{name: k.burst, post: true, put: true, def: int64(0), convert: toInt, validate: vCount, column: "t.burst", sort: true, kind: integer},
			attr{name: "direction", post: true, put: true, def: "egress", validate: vValues("ingress", "egress"), column: "t.direction", sort: true})
	}
	take := func(q *qosRule, v values) {
		if v.has(k.rate) {
			q.Rate = v.int(k.rate)
		}
		if k.burst != "" && v.has(k.burst) {
			q.Burst = v.int(k.burst)
		}
		if k.burst != "" && v.has("direction") {
			q.Direction = v.str("direction")
		}
	}
	return &resource{name: "policy_" + k.name + "_rule", member: k.name + "_rule", collection: k.name + "_rules", notFound: qosRuleNotFound,
		table:  "(SELECT * FROM net_qos_rules WHERE kind = '" + k.name + "')",
		nested: &nested{policies, "policy_id"},
		scope:  func(*db.Where, *call) {}, // who knows the policy
		attrs:  attrs,
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_qos_rules", qosRuleColumns, scanQoSRule)
		},
		create: func(c *call, v values) (object, error) {
			// Upstream's plugin looks for the policy in the caller's name after the rule was asked.
			if _, _, err := c.find(policies, v.str("policy_id")); err != nil {
				return nil, err
			}
			q := &qosRule{standard: newStandard(c.tx, v), PolicyID: v.str("policy_id"), Kind: k.name}
			take(q, v)
			if err := c.onlyRule(q); err != nil {
				return nil, err
			}
			return q, insert(c.tx, q.Kind+"_rule", "net_qos_rules", &q.standard, q.columns()...)
		},
		update: func(c *call, o object, v values) (object, error) {
			q := o.(*qosRule)
			take(q, v)
			if err := c.onlyRule(q); err != nil {
				return nil, err
			}
			return q, save(c.tx, q.Kind+"_rule", "net_qos_rules", &q.standard, q.columns()...)
		},
		remove: func(c *call, o object) error {
			q := o.(*qosRule)
			if err := c.qosChanged(q.PolicyID); err != nil {
				return err
			}
			return erase(c.tx, q.Kind+"_rule", "net_qos_rules", &q.standard)
		}}
}

// qosAlias is the same rules under a path without their policy: shown, changed and deleted, not made or listed (neutron_lib/api/definitions/qos_rules_alias.py).
func qosAlias(k qosKind, of *resource) *resource {
	a := *of
	a.name, a.member, a.collection = "alias_"+k.name+"_rule", "", "alias_"+k.name+"_rules"
	a.path = "qos/alias-" + strings.ReplaceAll(k.name, "_", "-") + "-rules"
	a.nested, a.create = nil, nil
	a.scope = func(w *db.Where, c *call) {
		w.Add(`EXISTS (SELECT 1 FROM net_qos_policies q WHERE q.id = t.policy_id AND (q.project_id = ? OR EXISTS (SELECT 1 FROM net_rbac_policies p
			WHERE p.object_type = 'qos_policy' AND p.object_id = q.id AND p.target_project IN ('*', ?))))`, c.projectID, c.projectID)
	}
	return &a
}

func (s *Service) qosAliasRoutes() []api.Route {
	var out []api.Route
	for _, r := range s.res.qosAliases {
		out = append(out, s.resourceRoutes(r)[1:]...)
	}
	return out
}

// onlyRule locks the policy by its new revision and refuses a second rule of a kind and direction (neutron/objects/qos/qos_policy_validator.py).
func (c *call) onlyRule(q *qosRule) error {
	if err := c.qosChanged(q.PolicyID); err != nil {
		return err
	}
	others, err := db.All(c.tx, db.Value[string], `SELECT id FROM net_qos_rules WHERE policy_id = $1 AND kind = $2 AND direction = $3 AND id <> $4`, q.PolicyID, q.Kind, q.Direction, q.ID)
	if err == nil && len(others) > 0 {
		return conflict("QoSRulesConflict", "Rule %s conflicts with rule %s which already exists in QoS Policy %s.", q.Kind, others[0], q.PolicyID)
	}
	return err
}

func (c *call) qosChanged(policyID string) error {
	if err := bump(c.tx, "net_qos_policies", policyID, true); err != nil {
		return err
	}
	return c.wakeQoS(policyID)
}

// qosTypeRoutes are /qos/rule-types.
func (s *Service) qosTypeRoutes() []api.Route {
	const path, get = "/v2.0/qos/rule-types", "get_rule_type"
	type driverParameter struct {
		Name   string `json:"parameter_name"`
		Type   string `json:"parameter_type"`
		Values any    `json:"parameter_values"`
	}
	return []api.Route{
		api.Handle("GET", path, api.Object(get), http.StatusOK, func(_ context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			types := []doc{}
			if q.Can(get, nil) { // a list leaves out what the rule refuses
				for _, k := range qosKinds {
					types = append(types, doc{"type": k.name})
				}
			}
			return encodeJSON(doc{"rule_types": types})
		}),
		api.Handle("GET", path+"/{type}", api.Object(get), http.StatusOK, func(_ context.Context, q *api.Request, _ api.None) (api.JSON, error) {
			if err := q.Enforce(get, nil); err != nil {
				return nil, err
			}
			if c := s.call(nil, q, q.Caller); !c.admin { // neutron/services/qos/qos_plugin.py, get_rule_type
				c.denied(nil, "context_is_admin")
				return nil, fault.New(http.StatusForbidden, "NotAuthorized", "Not authorized.")
			}
			i := slices.IndexFunc(qosKinds, func(k qosKind) bool { return k.name == q.Path("type") })
			if i < 0 {
				return nil, resourceNotFound()
			}
			k := qosKinds[i]
			limits := []any{0, 1<<31 - 1}
			parameters := []driverParameter{{k.rate, "range", doc{"start": limits[0], "end": limits[1]}}}
			if k.burst == "" {
				parameters = []driverParameter{{k.rate, "choices", dscpMarks}}
			} else {
				parameters = append(parameters, driverParameter{k.burst, "range", doc{"start": limits[0], "end": limits[1]}},
					driverParameter{"direction", "choices", []string{"ingress", "egress"}})
			}
			return encodeJSON(doc{"rule_type": doc{"type": k.name, "drivers": []doc{{"name": "linuxbridge", "supported_parameters": parameters}}}})
		}),
	}
}
