package network_test

import (
	"fmt"
	"testing"

	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func TestQoSPolicies(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.refuse("alice", "POST", "/qos/policies", `{"policy":{"name":"x"}}`, 403, "PolicyNotAuthorized", "rule:create_policy is disallowed by policy")
		p := c.do("admin", "POST", "/qos/policies", `{"policy":{"name":"slow","description":"d","project_id":"alice","tags":["a"]}}`, 201)
		id, path := p.str("id"), "/qos/policies/"+p.str("id")
		if p["shared"] != false || p["is_default"] != false || fmt.Sprint(p["rules"], p["tags"]) != "[] [a]" || p["project_id"] != "alice" {
			t.Errorf("policy %v", p)
		}
		c.refuse("bob", "GET", path, "", 404, "QosPolicyNotFound", "QoS policy "+id+" could not be found.")
		bw := path + "/bandwidth_limit_rules"
		for _, bad := range []struct{ more, text string }{
			{``, "Required attribute 'max_kbps' not specified"},
			{`"max_kbps":-1`, "'-1' is too small - must be at least '0'"},
			{`"max_kbps":2147483648`, "too large"},
			{`"max_kbps":1,"max_burst_kbps":"x"`, "'x' is not an integer"},
			{`"max_kbps":1,"direction":"up"`, "Invalid input for direction"},
			{`"max_kbps":1,"dscp_mark":8`, "Unrecognized attribute(s) 'dscp_mark'"},
		} {
			code, text := c.send("admin", "POST", bw, `{"bandwidth_limit_rule":{`+bad.more+`}}`)
			if code != 400 {
				t.Errorf("%s: %d %s", bad.more, code, text)
			}
		}
		c.refuse("alice", "POST", bw, `{"bandwidth_limit_rule":{"max_kbps":1}}`, 403, "PolicyNotAuthorized", "rule:create_policy_bandwidth_limit_rule")
		r := c.do("admin", "POST", bw, `{"bandwidth_limit_rule":{"max_kbps":"8000","max_burst_kbps":800}}`, 201)
		if len(r) != 4 || r["max_kbps"] != 8000.0 || r["max_burst_kbps"] != 800.0 || r["direction"] != "egress" {
			t.Errorf("rule %v", r)
		}
		c.refuse("admin", "POST", bw, `{"bandwidth_limit_rule":{"max_kbps":1}}`, 409, "QoSRulesConflict", "Rule bandwidth_limit conflicts with rule "+r.str("id")+" which already exists in QoS Policy "+id+".")
		in := c.do("admin", "POST", bw, `{"bandwidth_limit_rule":{"max_kbps":5,"direction":"ingress"}}`, 201)
		c.refuse("admin", "PUT", bw+"/"+in.str("id"), `{"bandwidth_limit_rule":{"direction":"egress"}}`, 409, "QoSRulesConflict", r.str("id"))
		if u := c.do("admin", "PUT", bw+"/"+in.str("id"), `{"bandwidth_limit_rule":{"max_kbps":6}}`, 200); u["max_kbps"] != 6.0 || u["direction"] != "ingress" {
			t.Errorf("updated %v", u)
		}
		pps := c.do("admin", "POST", path+"/packet_rate_limit_rules", `{"packet_rate_limit_rule":{"max_kpps":3,"max_burst_kpps":4,"direction":"ingress"}}`, 201)
		if pps["max_kpps"] != 3.0 || pps["max_burst_kpps"] != 4.0 {
			t.Errorf("rule %v", pps)
		}
		dscp := path + "/dscp_marking_rules"
		c.refuse("admin", "POST", dscp, `{"dscp_marking_rule":{"dscp_mark":9}}`, 400, "HTTPBadRequest", "Invalid input for dscp_mark")
		mark := c.do("admin", "POST", dscp, `{"dscp_marking_rule":{"dscp_mark":26}}`, 201)
		c.refuse("admin", "POST", dscp, `{"dscp_marking_rule":{"dscp_mark":8}}`, 409, "QoSRulesConflict", mark.str("id"))
		c.refuse("admin", "GET", dscp+"/"+r.str("id"), "", 404, "QosRuleNotFound", r.str("id"))
		if l := c.list("alice", bw+"?direction=egress", "bandwidth_limit_rules"); len(l) != 1 || l[0].str("id") != r.str("id") {
			t.Errorf("egress rules %v", l)
		}
		full := c.do("alice", "GET", path, "", 200)
		if l := full["rules"].([]any); len(l) != 4 || l[0].(map[string]any)["type"] != "bandwidth_limit" || l[0].(map[string]any)["qos_policy_id"] != id || full["revision_number"].(float64) < 4 {
			t.Errorf("policy with rules %v", full)
		}

		// The same rules without their policy in the path.
		alias := "/qos/alias-bandwidth-limit-rules/" + in.str("id")
		if x := c.do("alice", "GET", alias, "", 200); x["max_kbps"] != 6.0 || x["direction"] != "ingress" {
			t.Errorf("alias %v", x)
		}
		c.refuse("bob", "GET", alias, "", 404, "QosRuleNotFound", in.str("id"))
		c.refuse("alice", "PUT", alias, `{"alias_bandwidth_limit_rule":{"max_kbps":7}}`, 403, "PolicyNotAuthorized", "rule:update_alias_bandwidth_limit_rule")
		if x := c.do("admin", "PUT", alias, `{"alias_bandwidth_limit_rule":{"max_kbps":7}}`, 200); x["max_kbps"] != 7.0 {
			t.Errorf("alias %v", x)
		}
		c.do("admin", "PUT", alias, `{"alias_bandwidth_limit_rule":{"max_kbps":6}}`, 200)
		c.refuse("admin", "GET", "/qos/alias-dscp-marking-rules/"+in.str("id"), "", 404, "QosRuleNotFound", in.str("id"))

		// Who has it, and who gets it.
		c.node("node1", "192.0.2.1")
		n, _ := c.net("alice", "10.0.0.0/24")
		c.refuse("bob", "POST", "/networks", `{"network":{"qos_policy_id":"`+id+`"}}`, 404, "QosPolicyNotFound", id)
		c.boot("alice", "server", "node1", network.ServerPortsRequest{Requests: []network.PortRequest{{NetworkID: n}}})
		qos := func() string {
			t.Helper()
			q := c.items("node1").Ports[0].QoS
			if q == nil {
				return "none"
			}
			if q.DSCP != nil {
				return fmt.Sprint(q.Ingress, q.Egress, *q.DSCP)
			}
			return fmt.Sprint(q.Ingress, q.Egress)
		}
		want := fmt.Sprint(nodeapi.Limit{KBits: 6, KPackets: 3, BurstKPackets: 4}, nodeapi.Limit{KBits: 8000, BurstKBits: 800}, 26)
		if got := qos(); got != "none" {
			t.Errorf("before %s", got)
		}
		if x := c.do("alice", "PUT", "/networks/"+n, `{"network":{"qos_policy_id":"`+id+`"}}`, 200); x["qos_policy_id"] != id {
			t.Errorf("network %v", x)
		}
		if got := qos(); got != want {
			t.Errorf("of the network: %s, want %s", got, want)
		}
		other := c.do("admin", "POST", "/qos/policies", `{"policy":{"name":"other","project_id":"alice","is_default":true}}`, 201).str("id")
		c.do("admin", "POST", "/qos/policies/"+other+"/bandwidth_limit_rules", `{"bandwidth_limit_rule":{"max_kbps":77}}`, 201)
		port := c.list("alice", "/ports?device_id=server", "ports")[0].str("id")
		c.do("alice", "PUT", "/ports/"+port, `{"port":{"qos_policy_id":"`+other+`"}}`, 200)
		if got := qos(); got != fmt.Sprint(nodeapi.Limit{}, nodeapi.Limit{KBits: 77}) {
			t.Errorf("of the port: %s", got)
		}
		c.refuse("admin", "DELETE", "/qos/policies/"+other, "", 409, "QosPolicyInUse", "QoS Policy "+other+" is used by port "+port+".")
		c.refuse("admin", "DELETE", path, "", 409, "QosPolicyInUse", "QoS Policy "+id+" is used by network "+n+".")
		c.do("alice", "PUT", "/ports/"+port, `{"port":{"qos_policy_id":null}}`, 200)
		c.do("admin", "DELETE", bw+"/"+r.str("id"), "", 204)
		c.do("admin", "DELETE", "/qos/alias-dscp-marking-rules/"+mark.str("id"), "", 204)
		if got := qos(); got != fmt.Sprint(nodeapi.Limit{KBits: 6, KPackets: 3, BurstKPackets: 4}, nodeapi.Limit{}) {
			t.Errorf("with two rules: %s", got)
		}

		// The default is for new networks.
		c.refuse("admin", "POST", "/qos/policies", `{"policy":{"name":"x","project_id":"alice","is_default":true}}`, 409, "QoSPolicyDefaultAlreadyExists", "A default QoS policy exists for project alice.")
		if x := c.do("alice", "POST", "/networks", `{"network":{}}`, 201); x["qos_policy_id"] != other {
			t.Errorf("new network %v", x)
		}
		c.do("admin", "PUT", "/qos/policies/"+other, `{"policy":{"is_default":false}}`, 200)
		if x := c.do("alice", "POST", "/networks", `{"network":{}}`, 201); x["qos_policy_id"] != nil {
			t.Errorf("network without default %v", x)
		}
	})
}

func TestSharedQoSPolicies(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		p := c.do("admin", "POST", "/qos/policies", `{"policy":{"name":"gold","shared":true}}`, 201)
		path := "/qos/policies/" + p.str("id")
		if x := c.do("bob", "GET", path, "", 200); x["shared"] != true {
			t.Errorf("shared %v", x)
		}
		c.refuse("bob", "PUT", path, `{"policy":{"name":"x"}}`, 404, "HTTPNotFound", "The resource could not be found.")
		n := c.do("bob", "POST", "/networks", `{"network":{"qos_policy_id":"`+p.str("id")+`"}}`, 201)
		c.refuse("admin", "PUT", path, `{"policy":{"shared":false}}`, 409, "RbacPolicyInUse", "")
		c.refuse("bob", "POST", "/qos/policies/nope/bandwidth_limit_rules", `{"bandwidth_limit_rule":{"max_kbps":1}}`, 403, "PolicyNotAuthorized", "")
		c.refuse("admin", "POST", "/qos/policies/nope/bandwidth_limit_rules", `{"bandwidth_limit_rule":{"max_kbps":1}}`, 404, "QosPolicyNotFound", "")
		// What an administrator put there stays.
		own := c.do("admin", "POST", "/qos/policies", `{"policy":{"name":"own"}}`, 201).str("id")
		c.do("admin", "PUT", "/networks/"+n.str("id"), `{"network":{"qos_policy_id":"`+own+`"}}`, 200)
		c.refuse("bob", "PUT", "/networks/"+n.str("id"), `{"network":{"qos_policy_id":null}}`, 403, "PolicyRemoveAuthorizationError", "Failed to remove provided policy "+own+" because you are not authorized.")
		c.do("admin", "PUT", path, `{"policy":{"shared":false}}`, 200)
		c.refuse("bob", "GET", path, "", 404, "QosPolicyNotFound", p.str("id"))
		c.do("admin", "DELETE", path, "", 204)
	})
}

func TestQoSRuleTypes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		var types []any
		for _, x := range c.list("alice", "/qos/rule-types", "rule_types") {
			types = append(types, x["type"])
		}
		if fmt.Sprint(types) != "[bandwidth_limit dscp_marking packet_rate_limit]" {
			t.Errorf("types %v", types)
		}
		c.refuse("alice", "GET", "/qos/rule-types/bandwidth_limit", "", 403, "NotAuthorized", "Not authorized.")
		x := c.do("admin", "GET", "/qos/rule-types/dscp_marking", "", 200)
		if d := x["drivers"].([]any); x["type"] != "dscp_marking" || len(d) != 1 || len(d[0].(map[string]any)["supported_parameters"].([]any)) != 1 {
			t.Errorf("details %v", x)
		}
		c.refuse("admin", "GET", "/qos/rule-types/minimum_bandwidth", "", 404, "HTTPNotFound", "")
	})
}
