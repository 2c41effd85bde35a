package network_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"
)

func TestDefaultSecurityGroupRules(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		const path = "/default-security-group-rules"
		l := c.list("alice", path, "default_security_group_rules")
		var seen []string
		for _, r := range l {
			seen = append(seen, fmt.Sprint(r["direction"], " ", r["ethertype"], " ", r["remote_group_id"], " ", r["used_in_default_sg"], " ", r["used_in_non_default_sg"]))
			for _, k := range []string{"project_id", "tenant_id", "security_group_id", "tags", "revision_number"} {
				if _, there := r[k]; there {
					t.Errorf("upstream shows no %s", k)
				}
			}
		}
		sort.Strings(seen)
		if fmt.Sprint(seen) != "[egress IPv4 <nil> true true egress IPv6 <nil> true true ingress IPv4 PARENT true false ingress IPv6 PARENT true false]" {
			t.Fatalf("templates at first %v", seen)
		}
		body := func(more string) string {
			return `{"default_security_group_rule":{"direction":"ingress"` + more + `}}`
		}
		const both = `,"used_in_default_sg":true,"used_in_non_default_sg":true`
		c.refuse("alice", "POST", path, body(both), 403, "PolicyNotAuthorized", "rule:create_default_security_group_rule is disallowed by policy")
		c.refuse("alice", "DELETE", path+"/"+l[0].str("id"), "", 403, "PolicyNotAuthorized", "rule:delete_default_security_group_rule is disallowed by policy")
		for _, bad := range []struct{ more, class, text string }{
			{``, "HTTPBadRequest", "Required attribute 'used_in_default_sg' not specified"},
			{both + `,"port_range_min":1,"port_range_max":2`, "SecurityGroupProtocolRequiredWithPorts", ""},
			{both + `,"protocol":"icmp","port_range_min":300`, "SecurityGroupInvalidIcmpValue", ""},
			{both + `,"remote_group_id":"PARENT","remote_ip_prefix":"10.0.0.0/8"`, "SecurityGroupMultipleRemoteEntites", ""},
			{both + `,"remote_group_id":7`, "InvalidInput", "'7' is not a valid string"},
			{both + `,"security_group_id":"x"`, "HTTPBadRequest", "Unrecognized attribute(s) 'security_group_id'"},
		} {
			c.refuse("admin", "POST", path, body(bad.more), 400, bad.class, bad.text)
		}
		web := c.do("admin", "POST", path, body(`,"description":"web","protocol":"tcp","port_range_min":80,"port_range_max":80,"used_in_default_sg":false,"used_in_non_default_sg":true`), 201)
		c.refuse("admin", "POST", path, body(`,"protocol":"6","port_range_min":80,"port_range_max":80`+both), 409, "DefaultSecurityGroupRuleExists", "Default Security Group rule already exists. Rule id is "+web.str("id")+".")
		c.refuse("admin", "POST", path, fmt.Sprintf(`{"default_security_group_rules":[%[1]s,%[1]s]}`, `{"direction":"egress","protocol":"tcp"`+both+`}`), 409, "DuplicateDefaultSgRuleInPost", "Duplicate Default Security Group Rule in POST.")
		c.do("admin", "POST", path, body(`,"protocol":"tcp","port_range_min":80,"port_range_max":80,"used_in_default_sg":true,"used_in_non_default_sg":false`), 201)
		all := c.do("admin", "POST", path, body(`,"remote_group_id":"PARENT","used_in_default_sg":false,"used_in_non_default_sg":true`), 201)
		c.do("admin", "DELETE", path+"/"+l[0].str("id"), "", 204) // egress IPv4 for both
		c.refuse("alice", "GET", path+"/"+l[0].str("id"), "", 404, "DefaultSecurityGroupRuleNotFound", "Default Security Group rule "+l[0].str("id")+" does not exist")
		if r := c.do("alice", "GET", path+"/"+web.str("id"), "", 200); r["description"] != "web" || r["port_range_min"] != 80.0 {
			t.Errorf("template %v", r)
		}
		if f := c.list("alice", path+"?used_in_default_sg=false", "default_security_group_rules"); len(f) != 2 {
			t.Errorf("templates of other groups only: %v", f)
		}
		rules := func(g object) string {
			var out []string
			for _, x := range g["security_group_rules"].([]any) {
				r := object(x.(map[string]any))
				remote := r.str("remote_group_id")
				if remote == g.str("id") {
					remote = "itself"
				}
				out = append(out, strings.TrimSpace(fmt.Sprint(r["direction"], " ", r["ethertype"], " ", r["protocol"], " ", remote)))
				if r["description"] != "" || r["project_id"] != "alice" || r["security_group_id"] != g.str("id") {
					t.Errorf("rule %v", r)
				}
			}
			sort.Strings(out)
			return strings.Join(out, ", ")
		}
		g := c.do("alice", "POST", "/security-groups", `{"security_group":{"name":"web"}}`, 201)
		if got := rules(g); got != "egress IPv6 <nil>, ingress IPv4 <nil> itself, ingress IPv4 tcp" {
			t.Errorf("a new group has %s", got)
		}
		def := c.list("alice", "/security-groups?name=default", "security_groups")[0]
		if got := rules(def); got != "egress IPv6 <nil>, ingress IPv4 <nil> itself, ingress IPv4 tcp, ingress IPv6 <nil> itself" {
			t.Errorf("the default group has %s", got)
		}
		// What the templates make counts.
		c.do("admin", "PUT", "/quotas/alice", `{"quota":{"security_group_rule":9}}`, 200)
		c.refuse("alice", "POST", "/security-groups", `{"security_group":{"name":"more"}}`, 409, "OverQuota", "Quota exceeded for resources: ['security_group_rule'].")
		c.do("admin", "DELETE", path+"/"+all.str("id"), "", 204)
		if got := rules(c.do("alice", "POST", "/security-groups", `{"security_group":{"name":"more"}}`, 201)); got != "egress IPv6 <nil>, ingress IPv4 tcp" {
			t.Errorf("a group after that has %s", got)
		}
	})
}
