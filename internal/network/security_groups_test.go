package network_test

import (
	"fmt"
	"testing"
)

func TestSecurityGroups(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		l := c.list("alice", "/security-groups", "security_groups")
		if len(l) != 1 || l[0]["name"] != "default" || len(l[0]["security_group_rules"].([]any)) != 4 {
			t.Fatalf("default group %v", l)
		}
		def := l[0].str("id")
		if again := c.list("alice", "/security-groups?name=default", "security_groups"); len(again) != 1 || again[0].str("id") != def {
			t.Errorf("the default group is made once: %v", again)
		}
		c.refuse("alice", "DELETE", "/security-groups/"+def, "", 409, "SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
		c.refuse("alice", "PUT", "/security-groups/"+def, `{"security_group":{"name":"x"}}`, 409, "SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
		c.refuse("alice", "POST", "/security-groups", `{"security_group":{"name":"Default"}}`, 409, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
		g := c.do("alice", "POST", "/security-groups", `{"security_group":{"name":"web"}}`, 201)
		if len(g["security_group_rules"].([]any)) != 2 || g["stateful"] != true {
			t.Errorf("group %v", g)
		}
		rule := func(more string) string {
			return fmt.Sprintf(`{"security_group_rule":{"security_group_id":"%s","direction":"ingress"%s}}`, g.str("id"), more)
		}
		r := c.do("alice", "POST", "/security-group-rules", rule(`,"protocol":"TCP","port_range_min":"22","port_range_max":22,"remote_ip_prefix":"10.0.0.7/8"`), 201)
		if r["protocol"] != "tcp" || r["port_range_min"] != 22.0 || r["remote_ip_prefix"] != "10.0.0.7/8" || r["normalized_cidr"] != "10.0.0.0/8" {
			t.Errorf("rule %v", r)
		}
		if got := c.list("alice", "/security-group-rules?security_group_id="+g.str("id"), "security_group_rules"); len(got) != 3 {
			t.Errorf("rules listed: %d", len(got))
		}
		if got := c.list("bob", "/security-group-rules?security_group_id="+g.str("id"), "security_group_rules"); len(got) != 0 {
			t.Errorf("bob sees %d rules", len(got))
		}
		for _, x := range []struct{ more, class, text string }{
			{`,"port_range_min":1,"port_range_max":2`, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given."},
			{`,"protocol":"tcp","port_range_min":9,"port_range_max":2`, "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max"},
			{`,"protocol":"tcp","port_range_min":0,"port_range_max":2`, "SecurityGroupInvalidPortValue", "Invalid value for port 0"},
			{`,"protocol":"tcp","port_range_min":1,"port_range_max":70000`, "SecurityGroupInvalidPortValue", "Invalid value for port 70000"},
			{`,"protocol":"icmp","port_range_min":300`, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP type (port_range_min) 300. It must be 0 to 255."},
			{`,"protocol":"icmp","port_range_max":3`, "SecurityGroupMissingIcmpType", "ICMP code (port-range-max) 3 is provided but ICMP type (port-range-min) is missing."},
			{`,"protocol":"gre","port_range_min":1,"port_range_max":3`, "SecurityGroupInvalidProtocolForPort", "Ports cannot be specified for protocol 47. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE."},
			{`,"protocol":"ipv6-icmp"`, "SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype IPv4 for protocol ipv6-icmp."},
			{`,"ethertype":"IPv5"`, "SecurityGroupRuleInvalidEtherType", "Security group rule for ethertype 'IPv5' not supported."},
			{`,"protocol":"bogus"`, "SecurityGroupRuleInvalidProtocol", "Security group rule protocol bogus not supported."},
			{`,"remote_ip_prefix":"::/0"`, "SecurityGroupRuleParameterConflict", "Conflicting value ethertype IPv4 for CIDR ::/0"},
			{`,"remote_ip_prefix":"zz"`, "InvalidCIDR", "Invalid CIDR zz given as IP prefix."},
			{`,"remote_ip_prefix":"10.0.0.0/8","remote_group_id":"` + def + `"`, "SecurityGroupMultipleRemoteEntites", "Only one of remote_ip_prefix or remote_group_id"},
		} {
			c.refuse("alice", "POST", "/security-group-rules", rule(x.more), 400, x.class, x.text)
		}
		c.refuse("alice", "POST", "/security-group-rules", rule(`,"protocol":"6","port_range_min":22,"port_range_max":22,"remote_ip_prefix":"10.0.0.7/8"`), 409, "SecurityGroupRuleExists",
			"Security group rule already exists. Rule id is "+r.str("id")+".")
		c.refuse("alice", "POST", "/security-group-rules", rule(`,"remote_group_id":"nope"`), 404, "SecurityGroupNotFound", "Security group nope does not exist")
		c.refuse("bob", "POST", "/security-group-rules", rule(``), 403, "PolicyNotAuthorized", "rule:create_security_group_rule is disallowed by policy")
		c.refuse("alice", "PUT", "/security-group-rules/"+r.str("id"), `{}`, 405, "HTTPMethodNotAllowed", "")
		if x := c.do("alice", "POST", "/security-group-rules", rule(`,"ethertype":"ipv6","protocol":"icmpv6"`), 201); x["protocol"] != "ipv6-icmp" || x["ethertype"] != "IPv6" {
			t.Errorf("canonical %v", x)
		}
		n, _ := c.net("alice", "10.0.0.0/24")
		p := c.port("alice", n, `,"security_groups":["`+g.str("id")+`"]`)
		c.refuse("alice", "DELETE", "/security-groups/"+g.str("id"), "", 409, "SecurityGroupInUse", "Security Group "+g.str("id")+" in use.")
		c.do("alice", "DELETE", "/ports/"+p.str("id"), "", 204)
		c.do("alice", "DELETE", "/security-group-rules/"+r.str("id"), "", 204)
		c.do("alice", "DELETE", "/security-groups/"+g.str("id"), "", 204)
	})
}

func TestRBAC(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n, _ := c.net("alice", "10.0.0.0/24")
		body := fmt.Sprintf(`{"rbac_policy":{"object_type":"network","object_id":"%s","target_tenant":"bob","action":"access_as_shared"}}`, n)
		c.refuse("bob", "POST", "/rbac-policies", body, 404, "NetworkNotFound", n)
		p := c.do("alice", "POST", "/rbac-policies", body, 201)
		c.refuse("alice", "POST", "/rbac-policies", body, 409, "DuplicatePolicy", "An RBAC policy already exists with those values.")
		c.refuse("alice", "POST", "/rbac-policies", fmt.Sprintf(`{"rbac_policy":{"object_type":"network","object_id":"%s","target_tenant":"*","action":"access_as_shared"}}`, n), 403, "PolicyNotAuthorized", "rule:create_rbac_policy:target_tenant")
		port := c.port("bob", n, "")
		c.refuse("alice", "DELETE", "/rbac-policies/"+p.str("id"), "", 409, "RbacPolicyInUse", "cannot be removed because other objects depend on it.")
		c.do("bob", "DELETE", "/ports/"+port.str("id"), "", 204)
		c.do("alice", "DELETE", "/rbac-policies/"+p.str("id"), "", 204)
		c.refuse("bob", "GET", "/networks/"+n, "", 404, "NetworkNotFound", n)
	})
}

func TestListsPageAndFilter(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		for i := range 5 {
			c.do("alice", "POST", "/networks", fmt.Sprintf(`{"network":{"name":"n%d","admin_state_up":%v}}`, i, i%2 == 0), 201)
		}
		var names []string
		marker := ""
		for range 3 {
			page := c.list("alice", "/networks?sort_key=name&sort_dir=desc&limit=2"+marker, "networks")
			for _, n := range page {
				names = append(names, n.str("name"))
				marker = "&marker=" + n.str("id")
			}
		}
		if fmt.Sprint(names) != "[n4 n3 n2 n1 n0]" {
			t.Errorf("pages %v", names)
		}
		back := c.list("alice", "/networks?sort_key=name&sort_dir=desc&limit=2&page_reverse=true"+marker, "networks")
		if len(back) != 2 || back[0]["name"] != "n2" || back[1]["name"] != "n1" {
			t.Errorf("backwards %v", back)
		}
		theirs := c.do("bob", "POST", "/networks", `{"network":{"name":"n2"}}`, 201).str("id")
		if l := c.list("alice", "/networks?sort_key=name&sort_dir=asc&limit=9&marker="+theirs, "networks"); len(l) != 5 {
			t.Errorf("a page behind another tenant's network tells that it exists: %d networks", len(l))
		}
		if l := c.list("alice", "/networks?name=n1&name=n2&admin_state_up=False", "networks"); len(l) != 1 || l[0]["name"] != "n1" {
			t.Errorf("filters %v", l)
		}
		c.refuse("alice", "GET", "/networks?foo=x", "", 400, "HTTPBadRequest", "['foo'] is invalid attribute for filtering")
		c.refuse("alice", "GET", "/networks?limit=x", "", 400, "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not 'x'.")
		id := c.list("alice", "/networks?name=n0", "networks")[0].str("id")
		c.do("alice", "PUT", "/networks/"+id+"/tags", `{"tags":["red","a\"b"]}`, 200)
		c.do("alice", "PUT", "/networks/"+id+"/tags/blue", "", 201)
		for q, want := range map[string]int{"tags=red": 1, "tags=red,blue": 1, "tags=red,green": 0, "tags-any=green,blue": 1, "not-tags=red": 4, "not-tags-any=green": 5, "tags=re": 0, "tags=b": 0} {
			if l := c.list("alice", "/networks?"+q, "networks"); len(l) != want {
				t.Errorf("%s: %d, want %d", q, len(l), want)
			}
		}
		c.refuse("alice", "GET", "/networks/"+id+"/tags/green", "", 404, "TagNotFound", "Tag green could not be found.")
	})
}
