package network

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// rule allows traffic.
type rule struct {
	standard
	GroupID          string
	Direction        string
	EtherType        string
	Protocol         string
	PortMin, PortMax int64 // -1: any
	RemotePrefix     string
	RemoteGroupID    string
	AddressGroupID   string
}

const ruleColumns = standardColumns + `, t.security_group_id, t.direction, t.ethertype, t.protocol, t.port_range_min, t.port_range_max, t.remote_ip_prefix, t.remote_group_id,
	t.remote_address_group_id`

func scanRule(row db.Row) (*rule, error) {
	r := &rule{}
	return r, row.Scan(r.scan(&r.GroupID, &r.Direction, &r.EtherType, &r.Protocol, &r.PortMin, &r.PortMax, &r.RemotePrefix, &r.RemoteGroupID, &r.AddressGroupID)...)
}

func (r *rule) columns() []column {
	return []column{{"security_group_id", r.GroupID}, {"direction", r.Direction}, {"ethertype", r.EtherType}, {"protocol", r.Protocol}, {"port_range_min", r.PortMin},
		{"port_range_max", r.PortMax}, {"remote_ip_prefix", r.RemotePrefix}, {"remote_group_id", r.RemoteGroupID}, {"remote_address_group_id", r.AddressGroupID}}
}

func (r *rule) doc() doc {
	orAny := func(n int64) any {
		if n < 0 {
			return nil
		}
		return n
	}
	var normalized any
	if p, err := netip.ParsePrefix(r.RemotePrefix); err == nil {
		normalized = p.Masked().String()
	}
	d := r.common(doc{"security_group_id": r.GroupID, "direction": r.Direction, "ethertype": r.EtherType, "protocol": orNull(r.Protocol), "port_range_min": orAny(r.PortMin),
		"port_range_max": orAny(r.PortMax), "remote_ip_prefix": orNull(r.RemotePrefix), "remote_group_id": orNull(r.RemoteGroupID),
		"remote_address_group_id": orNull(r.AddressGroupID), "normalized_cidr": normalized})
	delete(d, "tags")
	return d
}

func ruleNotFound(id string) *fault.Error {
	return notFound("SecurityGroupRuleNotFound", "Security group rule %s does not exist", id)
}

func (s *Service) securityGroupRules() *resource {
	any := func(name, column string, k kind, convert func(v any) (any, error)) attr {
		return attr{name: name, post: true, def: nil, convert: convert, column: column, sort: true, kind: k}
	}
	return &resource{name: "security_group_rule", collection: "security_group_rules", path: "security-group-rules", table: "net_security_group_rules", notFound: ruleNotFound,
		quota: "security_group_rule", parent: "security_group_id",
		scope: func(w *db.Where, c *call) {
			w.Add(`t.project_id = ? OR EXISTS (SELECT 1 FROM net_security_groups g WHERE g.id = t.security_group_id AND g.project_id = ?)`, c.projectID, c.projectID)
		},
		attrs: append(standardAttrs(attr{}, "no tags", "fixed description"),
			attr{name: "security_group_id", post: true, required: true, validate: vString(36), column: "t.security_group_id", sort: true},
			any("remote_group_id", "t.remote_group_id", nullable, nil),
			any("remote_address_group_id", "t.remote_address_group_id", nullable, nil),
			attr{name: "direction", post: true, required: true, validate: vValues("ingress", "egress"), column: "t.direction", sort: true},
			any("protocol", "t.protocol", nullable, toProtocol),
			any("port_range_min", "t.port_range_min", integer, toPortValue),
			any("port_range_max", "t.port_range_max", integer, toPortValue),
			attr{name: "ethertype", post: true, def: "IPv4", convert: toEtherType, column: "t.ethertype", sort: true},
			any("remote_ip_prefix", "t.remote_ip_prefix", nullable, toIPPrefix),
			attr{name: "normalized_cidr"}),
		beforeList: ensureDefaultGroup,
		bulk:       checkRuleBulk,
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_security_group_rules", ruleColumns, scanRule)
		},
		checkCreate: ruleGroup,
		create:      createRule, remove: removeRule}
}

// ruleGroup finds the group before policy asks whose it is.
func ruleGroup(c *call, v values) error {
	_, _, err := c.findAny(c.s.res.securityGroups, v.str("security_group_id")) // the rule is asked about the group's owner
	return err
}

func checkRuleBulk(_ *call, all []values) error {
	for _, v := range all {
		if v.str("security_group_id") != all[0].str("security_group_id") {
			return badRequest("SecurityGroupNotSingleGroupRules", "Only allowed to update rules for one security profile at a time")
		}
		if v.str("tenant_id") != all[0].str("tenant_id") {
			return badRequest("SecurityGroupRulesNotSingleTenant", "Multiple tenant_ids in bulk security group rule create not allowed")
		}
	}
	seen := map[string]bool{}
	for _, v := range all {
		k := newRule(v).key()
		if seen[k] {
			return conflict("DuplicateSecurityGroupRuleInPost", "Duplicate Security Group Rule in POST.")
		}
		seen[k] = true
	}
	return nil
}

func newRule(v values) *rule {
	number := func(name string) int64 {
		if n, ok := v[name].(int64); ok {
			return n
		}
		return -1
	}
	r := &rule{GroupID: v.str("security_group_id"), Direction: v.str("direction"), EtherType: v.str("ethertype"), Protocol: v.str("protocol"),
		PortMin: number("port_range_min"), PortMax: number("port_range_max"), RemotePrefix: v.str("remote_ip_prefix"), RemoteGroupID: v.str("remote_group_id"),
		AddressGroupID: v.str("remote_address_group_id")}
	if r.EtherType == "IPv6" { // canonical names of ICMPv6
		switch r.Protocol {
		case "icmp", "icmpv6":
			r.Protocol = "ipv6-icmp"
		case "1":
			r.Protocol = "58"
		}
	}
	if r.PortMin == 1 && r.PortMax == 65535 {
		r.PortMin, r.PortMax = -1, -1
	}
	return r
}

// number is the rule's protocol as a number; -1: any.
func (r *rule) number() int {
	if n, ok := protocolNumber[r.Protocol]; ok {
		return n
	}
	if n, err := strconv.Atoi(r.Protocol); err == nil {
		return n
	}
	return -1
}

// portProtocols carry port numbers, in upstream's order of the message.
var portProtocols = []string{"dccp", "sctp", "tcp", "udp", "udplite"}

// check is upstream's _validate_security_group_rule.
func (r *rule) check() error {
	if err := r.checkPorts(); err != nil {
		return err
	}
	if r.RemotePrefix != "" {
		p, err := netip.ParsePrefix(r.RemotePrefix)
		if err != nil {
			return badRequest("InvalidCIDR", "Invalid CIDR %s given as IP prefix.", r.RemotePrefix)
		}
		if p.Addr().Is4() != (r.EtherType == "IPv4") {
			return badRequest("SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.EtherType, r.RemotePrefix)
		}
	}
	if r.EtherType == "IPv4" && slices.Contains([]string{"ipv6-encap", "ipv6-frag", "ipv6-icmp", "icmpv6", "ipv6-nonxt", "ipv6-opts", "ipv6-route", "41", "44", "58", "59", "60", "43"}, r.Protocol) {
		return badRequest("SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype %s for protocol %s.", r.EtherType, r.Protocol)
	}
	if r.RemotePrefix != "" && r.RemoteGroupID+r.AddressGroupID != "" || r.RemoteGroupID != "" && r.AddressGroupID != "" {
		return badRequest("SecurityGroupMultipleRemoteEntites", "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
	}
	return nil
}

func (r *rule) checkPorts() error {
	n := r.number()
	switch {
	case r.PortMin < 0 && r.PortMax < 0:
		return nil
	case r.Protocol == "":
		return badRequest("SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	case slices.ContainsFunc(portProtocols, func(p string) bool { return protocolNumber[p] == n }):
		if r.PortMin == 0 || r.PortMax == 0 {
			return badRequest("SecurityGroupInvalidPortValue", "Invalid value for port 0")
		}
		if r.PortMin < 0 || r.PortMax < 0 || r.PortMin > r.PortMax {
			return badRequest("SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max")
		}
	case n == 1 || n == 58:
		for _, f := range []struct {
			field, attr string
			v           int64
		}{{"type", "port_range_min", r.PortMin}, {"code", "port_range_max", r.PortMax}} {
			if f.v > 255 {
				return badRequest("SecurityGroupInvalidIcmpValue", "Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", f.field, f.attr, f.v)
			}
		}
		if r.PortMin < 0 {
			return badRequest("SecurityGroupMissingIcmpType", "ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", r.PortMax)
		}
	default:
		return badRequest("SecurityGroupInvalidProtocolForPort", "Ports cannot be specified for protocol %d. Ports are only supported for %s.", n, strings.ToUpper(strings.Join(portProtocols, ", ")))
	}
	return nil
}

// key is equal for rules that allow the same.
func (r *rule) key() string {
	prefix := r.RemotePrefix
	if prefix == "0.0.0.0/0" || prefix == "::/0" {
		prefix = ""
	}
	return strings.Join([]string{r.GroupID, r.Direction, r.EtherType, strconv.Itoa(r.number()), strconv.FormatInt(r.PortMin, 10), strconv.FormatInt(r.PortMax, 10), prefix, r.RemoteGroupID, r.AddressGroupID}, "_")
}

func createRule(c *call, v values) (object, error) {
	r := newRule(v)
	r.standard = newStandard(c.tx, v)
	if id, ok := v["remote_group_id"]; ok && id != nil {
		if _, isText := id.(string); !isText {
			return nil, securityGroupNotFound(str(id))
		}
	}
	if id, ok := v["remote_address_group_id"]; ok && id != nil {
		if _, isText := id.(string); !isText {
			return nil, addressGroupNotFound(str(id))
		}
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := c.addressGroupOf(r); err != nil {
		return nil, err
	}
	if r.RemoteGroupID != "" {
		if _, _, err := c.find(c.s.res.securityGroups, r.RemoteGroupID); err != nil {
			return nil, err
		}
	}
	// The group's row is locked by its new revision before its rules are compared.
	if err := bump(c.tx, "net_security_groups", r.GroupID, true); err != nil {
		return nil, err
	}
	others, err := db.All(c.tx, scanRule, `SELECT `+ruleColumns+` FROM net_security_group_rules t WHERE t.security_group_id = $1`, r.GroupID)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.key() == r.key() {
			return nil, conflict("SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", o.ID)
		}
	}
	if err := insert(c.tx, "security_group_rule", "net_security_group_rules", &r.standard, r.columns()...); err != nil {
		return nil, err
	}
	return r, c.wakeGroup(r.GroupID)
}

func removeRule(c *call, o object) error {
	r := o.(*rule)
	n, err := c.tx.Exec(`DELETE FROM net_security_group_rules WHERE id = $1`, r.ID)
	if err == nil && n == 0 {
		return ruleNotFound(r.ID)
	}
	if err != nil {
		return err
	}
	if err := emit(c.tx, "security_group_rule", &r.standard, "delete"); err != nil {
		return err
	}
	if err := bump(c.tx, "net_security_groups", r.GroupID, true); err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	return c.wakeGroup(r.GroupID)
}
