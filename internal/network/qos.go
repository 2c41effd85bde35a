package network

import (
	"errors"
	"net/http"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// qosPolicy is a set of limits and marks for ports, or for all guests' ports of a network.
type qosPolicy struct {
	standard
	Default bool
	Rules   []*qosRule
}

const qosPolicyColumns = standardColumns + `, t.is_default`

func scanQoSPolicy(r db.Row) (*qosPolicy, error) {
	p := &qosPolicy{}
	return p, r.Scan(p.scan(&p.Default)...)
}

func (p *qosPolicy) doc() doc {
	rules := make([]doc, len(p.Rules))
	for i, r := range p.Rules {
		rules[i] = r.doc()
		rules[i]["type"], rules[i]["qos_policy_id"] = r.Kind, p.ID
	}
	return p.common(doc{"name": p.Name, "shared": false, "is_default": p.Default, "rules": rules})
}

func qosPolicyNotFound(id string) *fault.Error {
	return notFound("QosPolicyNotFound", "QoS policy %s could not be found.", id)
}

func (s *Service) qosPolicies() *resource {
	return &resource{name: "policy", collection: "policies", path: "qos/policies", table: "net_qos_policies", notFound: qosPolicyNotFound,
		shareable: "qos_policy", guarded: true, scope: sharedScope("qos_policy"),
		filters: map[string]func(w *db.Where, c *call, values []string) error{"shared": sharedFilter("qos_policy")},
		attrs: append(standardAttrs(plainName(), "tags in POST"),
			attr{name: "shared", post: true, put: true, def: false, convert: toBool},
			attr{name: "is_default", post: true, put: true, def: false, convert: toBool, column: "t.is_default", kind: boolean},
			attr{name: "rules"}),
		load: loadQoSPolicies, create: createQoSPolicy, update: updateQoSPolicy, remove: removeQoSPolicy}
}

func loadQoSPolicies(c *call, ids []string) ([]object, error) {
	out, err := loadAll(c, ids, "net_qos_policies", qosPolicyColumns, scanQoSPolicy)
	if err != nil || len(out) == 0 {
		return out, err
	}
	byID := map[string]*qosPolicy{}
	for _, o := range out {
		byID[o.std().ID] = o.(*qosPolicy)
	}
	w := &db.Where{}
	w.In("t.policy_id", ids)
	rules, err := db.All(c.tx, scanQoSRule, `SELECT `+qosRuleColumns+` FROM net_qos_rules t`+w.SQL()+` ORDER BY t.created_at, t.id`, w.Args()...)
	for _, r := range rules {
		byID[r.PolicyID].Rules = append(byID[r.PolicyID].Rules, r)
	}
	return out, err
}

func createQoSPolicy(c *call, v values) (object, error) {
	p := &qosPolicy{standard: newStandard(c.tx, v), Default: v.bool("is_default")}
	if err := c.onlyDefault(p); err != nil {
		return nil, err
	}
	if err := insert(c.tx, "policy", "net_qos_policies", &p.standard, column{"is_default", p.Default}); err != nil {
		return nil, err
	}
	if v.bool("shared") {
		return p, c.share("qos_policy", p.ID, p.ProjectID, "*", "access_as_shared")
	}
	return p, nil
}

// onlyDefault refuses a project's second default policy.
func (c *call) onlyDefault(p *qosPolicy) error {
	if !p.Default {
		return nil
	}
	if err := c.tx.LockQuota(p.ProjectID, "default_qos_policy"); err != nil {
		return err
	}
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_qos_policies WHERE project_id = $1 AND is_default AND id <> $2`, p.ProjectID, p.ID)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return conflict("QoSPolicyDefaultAlreadyExists", "A default QoS policy exists for project %s.", p.ProjectID)
}

func updateQoSPolicy(c *call, o object, v values) (object, error) {
	p := o.(*qosPolicy)
	p.take(v)
	if v.has("is_default") {
		p.Default = v.bool("is_default")
		if err := c.onlyDefault(p); err != nil {
			return nil, err
		}
	}
	if v.has("shared") {
		if err := c.shareQoS(p, v.bool("shared")); err != nil {
			return nil, err
		}
	}
	return p, save(c.tx, "policy", "net_qos_policies", &p.standard, column{"is_default", p.Default})
}

// shareQoS opens a policy to all projects or closes it again, unless one of them uses it.
func (c *call) shareQoS(p *qosPolicy, shared bool) error {
	if shared {
		return c.share("qos_policy", p.ID, p.ProjectID, "*", "access_as_shared")
	}
	all, err := db.All(c.tx, scanRBAC, `SELECT `+rbacColumns+` FROM net_rbac_policies t WHERE t.object_type = 'qos_policy' AND t.object_id = $1 AND t.target_project = '*'`, p.ID)
	for _, x := range all {
		if err == nil {
			err = c.mayUnshare(x)
		}
		if err == nil {
			err = erase(c.tx, "rbac_policy", "net_rbac_policies", &x.standard)
		}
	}
	return err
}

// qosRBACInUse tells whether a project that a policy opens the QoS policy to has it on something and no other entry of its own. The end of sharing with
// all is refused for the owner's use, too (neutron/objects/rbac_db.py, _validate_rbac_policy_delete).
func (c *call) qosRBACInUse(p *rbac) (bool, error) {
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM (SELECT project_id FROM net_ports WHERE qos_policy_id = $1 UNION SELECT project_id FROM net_networks WHERE qos_policy_id = $1) u
		WHERE ($2 = '*' OR u.project_id = $2 AND u.project_id <> (SELECT project_id FROM net_qos_policies WHERE id = $1)) AND NOT EXISTS (SELECT 1 FROM net_rbac_policies o
			WHERE o.object_type = 'qos_policy' AND o.object_id = $1 AND o.id <> $3 AND o.target_project IN ('*', u.project_id)) LIMIT 1`, p.ObjectID, p.Target, p.ID)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func removeQoSPolicy(c *call, o object) error {
	p := o.(*qosPolicy)
	if err := c.lockQoSPolicy(p.ID); err != nil {
		return err
	}
	for _, used := range [][2]string{{"port", "net_ports"}, {"network", "net_networks"}} {
		id, err := db.One(c.tx, db.Value[string], `SELECT id FROM `+used[1]+` WHERE qos_policy_id = $1 ORDER BY id LIMIT 1`, p.ID)
		if err == nil {
			return conflict("QosPolicyInUse", "QoS Policy %s is used by %s %s.", p.ID, used[0], id)
		}
		if !errors.Is(err, db.ErrNotFound) {
			return err
		}
	}
	for _, query := range []string{`DELETE FROM net_qos_rules WHERE policy_id = $1`, `DELETE FROM net_rbac_policies WHERE object_type = 'qos_policy' AND object_id = $1`} {
		if _, err := c.tx.Exec(query, p.ID); err != nil {
			return err
		}
	}
	return erase(c.tx, "policy", "net_qos_policies", &p.standard)
}

func (c *call) lockQoSPolicy(id string) error {
	_, err := c.tx.Exec(`UPDATE net_qos_policies SET rev = rev WHERE id = $1`, id)
	return err
}

// giveQoS sets an object's policy as a request asks: one that the caller knows, in place of one that it may take away.
func (c *call) giveQoS(was *string, v values) error {
	if !v.has("qos_policy_id") || v.str("qos_policy_id") == *was {
		return nil
	}
	if *was != "" {
		if _, _, err := c.find(c.s.res.qosPolicies, *was); fault.Is(err, http.StatusNotFound) {
			return fault.New(http.StatusForbidden, "PolicyRemoveAuthorizationError", "Failed to remove provided policy %s because you are not authorized.", *was)
		} else if err != nil {
			return err
		}
	}
	*was = v.str("qos_policy_id")
	if *was == "" {
		return nil
	}
	if err := c.lockQoSPolicy(*was); err != nil {
		return err
	}
	_, _, err := c.find(c.s.res.qosPolicies, *was)
	return err
}

// defaultQoS is the policy of a project's new networks.
func (c *call) defaultQoS(project string) (string, error) {
	id, err := db.One(c.tx, db.Value[string], `SELECT id FROM net_qos_policies WHERE project_id = $1 AND is_default`, project)
	if errors.Is(err, db.ErrNotFound) {
		return "", nil
	}
	return id, err
}

// wakeQoS wakes the nodes that have ports under a policy.
func (c *call) wakeQoS(id string) error {
	hosts, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT host FROM net_ports WHERE host <> '' AND (qos_policy_id = $1 OR qos_policy_id = '' AND network_id IN
		(SELECT id FROM net_networks WHERE qos_policy_id = $1))`, id)
	c.wake(hosts)
	return err
}

// loadQoS loads the policies of the node's ports: a port's own goes before its network's (neutron/objects/qos/policy.py).
func (r *renderer) loadQoS() (map[string]*nodeapi.QoS, error) {
	ids := map[string]bool{}
	for _, p := range r.ports {
		if id := r.qosOf(p); id != "" {
			ids[id] = true
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	os, err := loadQoSPolicies(r.c, sortedKeys(ids))
	out := map[string]*nodeapi.QoS{}
	for _, o := range os {
		out[o.std().ID] = o.(*qosPolicy).item()
	}
	return out, err
}

func (r *renderer) qosOf(p *port) string {
	switch n := r.networks[p.NetworkID]; {
	case !r.here(p):
		return ""
	case p.QoS != "" || n == nil:
		return p.QoS
	default:
		return n.QoS
	}
}

func (p *qosPolicy) item() *nodeapi.QoS {
	var q nodeapi.QoS
	for _, r := range p.Rules {
		side := &q.Egress
		if r.Direction == "ingress" {
			side = &q.Ingress
		}
		switch r.Kind {
		case "bandwidth_limit":
			side.KBits, side.BurstKBits = r.Rate, r.Burst
		case "packet_rate_limit":
			side.KPackets, side.BurstKPackets = r.Rate, r.Burst
		case "dscp_marking":
			mark := int(r.Rate)
			q.DSCP = &mark
		}
	}
	if q == (nodeapi.QoS{}) {
		return nil
	}
	return &q
}
