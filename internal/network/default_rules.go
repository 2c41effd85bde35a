package network

import (
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// parentGroup stands in a template for the group that the rule is made for (neutron/extensions/security_groups_default_rules.py, PARENT_SG).
const parentGroup = "PARENT"

// defaultRule is the template of a rule that new security groups are made with. It belongs to nobody.
type defaultRule struct {
	rule
	UsedInDefault, UsedInOthers bool
}

const defaultRuleColumns = standardColumns + `, t.direction, t.ethertype, t.protocol, t.port_range_min, t.port_range_max, t.remote_ip_prefix, t.remote_group_id,
	t.remote_address_group_id, t.used_in_default_sg, t.used_in_non_default_sg`

func scanDefaultRule(row db.Row) (*defaultRule, error) {
	r := &defaultRule{}
	return r, row.Scan(r.scan(&r.Direction, &r.EtherType, &r.Protocol, &r.PortMin, &r.PortMax, &r.RemotePrefix, &r.RemoteGroupID, &r.AddressGroupID,
		&r.UsedInDefault, &r.UsedInOthers)...)
}

func (r *defaultRule) columns() []column {
	return append(r.rule.columns()[1:], column{"used_in_default_sg", r.UsedInDefault}, column{"used_in_non_default_sg", r.UsedInOthers})
}

// doc shows neither a project nor times: upstream's attribute map has none of them (same file).
func (r *defaultRule) doc() doc {
	d := r.rule.doc()
	for _, k := range []string{"security_group_id", "normalized_cidr", "tenant_id", "project_id", "created_at", "updated_at", "revision_number"} {
		delete(d, k)
	}
	d["used_in_default_sg"], d["used_in_non_default_sg"] = r.UsedInDefault, r.UsedInOthers
	return d
}

func defaultRuleNotFound(id string) *fault.Error {
	return notFound("DefaultSecurityGroupRuleNotFound", "Default Security Group rule %s does not exist", id)
}

func (s *Service) defaultRules() *resource {
	any := func(name string, k kind, convert func(v any) (any, error)) attr {
		return attr{name: name, post: true, def: nil, convert: convert, column: "t." + name, sort: true, kind: k}
	}
	used := func(name string) attr {
		return attr{name: name, post: true, required: true, convert: toBool, column: "t." + name, kind: boolean}
	}
	return &resource{name: "default_security_group_rule", collection: "default_security_group_rules", path: "default-security-group-rules",
		table: "net_default_security_group_rules", notFound: defaultRuleNotFound,
		scope: func(*db.Where, *call) {}, // everybody may know what new groups will have
		attrs: []attr{
			{name: "id", column: "t.id", sort: true},
			{name: "tenant_id", post: true, def: unset{}, validate: vString(255), hidden: true},
			{name: "project_id", post: true, def: unset{}, validate: vString(255), hidden: true},
			{name: "description", post: true, def: "", validate: vString(255), column: "t.description"},
			any("remote_group_id", nullable, nil),
			any("remote_address_group_id", nullable, nil),
			{name: "direction", post: true, required: true, validate: vValues("ingress", "egress"), column: "t.direction", sort: true},
			any("protocol", nullable, toProtocol),
			any("port_range_min", integer, toPortValue),
			any("port_range_max", integer, toPortValue),
			{name: "ethertype", post: true, def: "IPv4", convert: toEtherType, column: "t.ethertype", sort: true},
			any("remote_ip_prefix", nullable, toIPPrefix),
			used("used_in_default_sg"), used("used_in_non_default_sg"),
		},
		bulk: checkDefaultRuleBulk,
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_default_security_group_rules", defaultRuleColumns, scanDefaultRule)
		},
		create: createDefaultRule, remove: removeDefaultRule}
}

func newDefaultRule(v values) *defaultRule {
	return &defaultRule{rule: *newRule(v), UsedInDefault: v.bool("used_in_default_sg"), UsedInOthers: v.bool("used_in_non_default_sg")}
}

// clashes tells whether a kind of group would get the same rule from both.
func (r *defaultRule) clashes(o *defaultRule) bool {
	return r.key() == o.key() && (r.UsedInDefault && o.UsedInDefault || r.UsedInOthers && o.UsedInOthers)
}

func checkDefaultRuleBulk(_ *call, all []values) error {
	for i, v := range all {
		for _, w := range all[:i] {
			if newDefaultRule(v).clashes(newDefaultRule(w)) {
				return conflict("DuplicateDefaultSgRuleInPost", "Duplicate Default Security Group Rule in POST.")
			}
		}
	}
	return nil
}

func createDefaultRule(c *call, v values) (object, error) {
	r := newDefaultRule(v)
	r.standard = newStandard(c.tx, v)
	r.ProjectID = ""
	for _, name := range []string{"remote_group_id", "remote_address_group_id"} {
		if _, isText := v[name].(string); v.isSet(name) && !isText {
			return nil, invalidInput("'%s' is not a valid string", str(v[name]))
		}
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := c.tx.LockQuota("", "default_security_group_rules"); err != nil {
		return nil, err
	}
	others, err := db.All(c.tx, scanDefaultRule, `SELECT `+defaultRuleColumns+` FROM net_default_security_group_rules t`)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if r.clashes(o) {
			return nil, conflict("DefaultSecurityGroupRuleExists", "Default Security Group rule already exists. Rule id is %s.", o.ID)
		}
	}
	return r, insert(c.tx, "default_security_group_rule", "net_default_security_group_rules", &r.standard, r.columns()...)
}

func removeDefaultRule(c *call, o object) error {
	return erase(c.tx, "default_security_group_rule", "net_default_security_group_rules", o.std())
}

// rulesFromTemplates gives a new group its rules, which count against its project's quota as any others do.
func (c *call) rulesFromTemplates(g *securityGroup) error {
	column := "used_in_non_default_sg"
	if g.Default {
		column = "used_in_default_sg"
	}
	templates, err := db.All(c.tx, scanDefaultRule, `SELECT `+defaultRuleColumns+` FROM net_default_security_group_rules t WHERE t.`+column+` ORDER BY t.created_at, t.id`)
	if err != nil {
		return err
	}
	if k, ok := quotaKindOf("security_group_rule"); ok && !c.internal {
		if err := c.quotaHolds(g.ProjectID, k, int64(len(templates))); err != nil {
			return err
		}
	}
	for _, t := range templates {
		r := t.rule
		if r.RemoteGroupID == parentGroup {
			r.RemoteGroupID = g.ID
		}
		if err := c.insertRule(g, &r); err != nil {
			return err
		}
	}
	return nil
}
