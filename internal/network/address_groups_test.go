package network_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func TestAddressGroups(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		g := c.do("alice", "POST", "/address-groups", `{"address_group":{"name":"offices","description":"d","addresses":["10.10.10.3/32","192.168.0.10/24","2001:db8::f00/64","192.168.0.0/24"]}}`, 201)
		id := g.str("id")
		if fmt.Sprint(g["addresses"]) != "[10.10.10.3/32 192.168.0.0/24 2001:db8::/64]" || g["project_id"] != "alice" || g["description"] != "d" || g["created_at"] == nil {
			t.Errorf("group %v", g)
		}
		for _, k := range []string{"tags", "shared"} {
			if _, there := g[k]; there {
				t.Errorf("upstream shows no %s", k)
			}
		}
		path := "/address-groups/" + id
		for _, bad := range []string{`["10.20.30.40"]`, `["bad"]`, `"10.0.0.0/8"`, `[7]`, `[null]`} {
			c.refuse("alice", "POST", "/address-groups", `{"address_group":{"addresses":`+bad+`}}`, 400, "HTTPBadRequest", "Invalid input for addresses")
		}
		c.refuse("alice", "PUT", path, `{"address_group":{"addresses":[]}}`, 400, "HTTPBadRequest", "Cannot update read-only attribute addresses")
		u := c.do("alice", "PUT", path+"/add_addresses", `{"addresses":["10.20.30.40"]}`, 200)
		if fmt.Sprint(u["addresses"]) != "[10.10.10.3/32 192.168.0.0/24 2001:db8::/64 10.20.30.40/32]" || u["revision_number"].(float64) <= g["revision_number"].(float64) {
			t.Errorf("after adding %v", u)
		}
		c.refuse("alice", "PUT", path+"/add_addresses", `{"addresses":["10.20.30.40/32","172.16.0.0/12"]}`, 400, "AddressesAlreadyExist", "Addresses ['10.20.30.40/32'] already exist in the address group "+id+".")
		c.refuse("alice", "PUT", path+"/remove_addresses", `{"addresses":["10.200.200.200","10.20.30.40"]}`, 404, "AddressesNotFound", "Addresses ['10.200.200.200/32'] not found in the address group "+id+".")
		for _, action := range []string{"add_addresses", "remove_addresses"} {
			c.refuse("alice", "PUT", path+"/"+action, `{"addresses":["this is bad"]}`, 400, "AddrFormatError", "invalid IPNetwork this is bad")
			c.refuse("alice", "PUT", path+"/"+action, `{"addresses":[{}]}`, 400, "AddrFormatError", "invalid IPNetwork")
			c.refuse("alice", "PUT", path+"/"+action, `{}`, 400, "HTTPBadRequest", "addresses")
			c.refuse("bob", "PUT", path+"/"+action, `{"addresses":["10.9.9.9"]}`, 404, "AddressGroupNotFound", id)
		}
		if u = c.do("alice", "PUT", path+"/remove_addresses", `{"addresses":["192.168.0.77/24"]}`, 200); fmt.Sprint(u["addresses"]) != "[10.10.10.3/32 2001:db8::/64 10.20.30.40/32]" {
			t.Errorf("after removing %v", u)
		}
		if u = c.do("alice", "PUT", path, `{"address_group":{"name":"new"}}`, 200); u["name"] != "new" || len(u["addresses"].([]any)) != 3 {
			t.Errorf("renamed %v", u)
		}
		if l := c.list("alice", "/address-groups?name=new", "address_groups"); len(l) != 1 || l[0].str("id") != id {
			t.Errorf("list %v", l)
		}
		if l := c.list("bob", "/address-groups", "address_groups"); len(l) != 0 {
			t.Errorf("bob sees %v", l)
		}
		c.refuse("bob", "GET", path, "", 404, "AddressGroupNotFound", "Address group "+id+" could not be found.")

		sg := c.do("alice", "POST", "/security-groups", `{"security_group":{"name":"web"}}`, 201).str("id")
		rule := func(more string) string {
			return fmt.Sprintf(`{"security_group_rule":{"security_group_id":"%s","direction":"ingress"%s}}`, sg, more)
		}
		r := c.do("alice", "POST", "/security-group-rules", rule(`,"remote_address_group_id":"`+id+`"`), 201)
		if r["remote_address_group_id"] != id || r["remote_group_id"] != nil {
			t.Errorf("rule %v", r)
		}
		c.refuse("alice", "POST", "/security-group-rules", rule(`,"remote_address_group_id":"`+id+`"`), 409, "SecurityGroupRuleExists", r.str("id"))
		c.do("alice", "POST", "/security-group-rules", rule(``), 201) // another rule, for it names no group
		for _, x := range []string{`,"remote_ip_prefix":"10.0.0.0/8"`, `,"remote_group_id":"` + sg + `"`} {
			c.refuse("alice", "POST", "/security-group-rules", rule(`,"remote_address_group_id":"`+id+`"`+x), 400, "SecurityGroupMultipleRemoteEntites", "Only one of")
		}
		c.refuse("alice", "POST", "/security-group-rules", rule(`,"remote_address_group_id":"nope"`), 404, "AddressGroupNotFound", "Address group nope could not be found.")
		c.refuse("alice", "POST", "/security-group-rules", rule(`,"remote_address_group_id":7`), 404, "AddressGroupNotFound", "Address group 7 could not be found.")
		if l := c.list("alice", "/security-group-rules?remote_address_group_id="+id, "security_group_rules"); len(l) != 1 || l[0].str("id") != r.str("id") {
			t.Errorf("rules of the group %v", l)
		}
		c.refuse("alice", "DELETE", path, "", 409, "AddressGroupInUse", "Address group "+id+" is in use on one or more security group rules.")
		c.do("alice", "DELETE", "/security-group-rules/"+r.str("id"), "", 204)
		c.do("alice", "DELETE", path, "", 204)
		c.refuse("alice", "DELETE", path, "", 404, "AddressGroupNotFound", id)
	})
}

func TestAddressGroupsReachNodes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.node("node1", "192.0.2.1")
		n, _ := c.net("alice", "10.0.0.0/24")
		id := c.do("alice", "POST", "/address-groups", `{"address_group":{"addresses":["192.0.2.0/24","2001:db8::/64"]}}`, 201).str("id")
		sg := c.do("alice", "POST", "/security-groups", `{"security_group":{"name":"web"}}`, 201).str("id")
		c.do("alice", "POST", "/security-group-rules", `{"security_group_rule":{"security_group_id":"`+sg+`","direction":"ingress","remote_address_group_id":"`+id+`"}}`, 201)
		c.boot("alice", "server", "node1", network.ServerPortsRequest{Requests: []network.PortRequest{{NetworkID: n}}, SecurityGroups: []string{"web"}})
		members := func() string {
			t.Helper()
			groups := c.items("node1").SecurityGroups
			i := slices.IndexFunc(groups, func(g nodeapi.SecurityGroup) bool { return g.ID == id })
			j := slices.IndexFunc(groups, func(g nodeapi.SecurityGroup) bool { return g.ID == sg })
			if i < 0 || j < 0 || len(groups[i].Rules) != 0 || !slices.ContainsFunc(groups[j].Rules, func(r nodeapi.SecurityGroupRule) bool { return r.RemoteGroupID == id }) {
				t.Fatalf("groups %+v", groups)
			}
			return fmt.Sprint(groups[i].Members)
		}
		if got := members(); got != "[192.0.2.0/24 2001:db8::/64]" {
			t.Errorf("members %s", got)
		}
		c.do("alice", "PUT", "/address-groups/"+id+"/remove_addresses", `{"addresses":["192.0.2.0/24"]}`, 200)
		if got := members(); got != "[2001:db8::/64]" {
			t.Errorf("members after the removal %s", got)
		}
	})
}

func TestSharedAddressGroups(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.do("alice", "POST", "/address-groups", `{"address_group":{"addresses":["192.0.2.0/24"]}}`, 201).str("id")
		policy := func(target string) string {
			return fmt.Sprintf(`{"rbac_policy":{"object_type":"address_group","object_id":"%s","target_tenant":"%s","action":"access_as_shared"}}`, id, target)
		}
		c.refuse("bob", "POST", "/rbac-policies", policy("bob"), 404, "AddressGroupNotFound", id)
		p := c.do("alice", "POST", "/rbac-policies", policy("bob"), 201)
		if g := c.do("bob", "GET", "/address-groups/"+id, "", 200); g.str("id") != id {
			t.Errorf("shared group %v", g)
		}
		c.refuse("bob", "POST", "/rbac-policies", policy("admin"), 400, "InvalidInput", "Only admins can manipulate policies on objects they do not own")
		c.refuse("bob", "PUT", "/address-groups/"+id, `{"address_group":{"name":"x"}}`, 404, "HTTPNotFound", "The resource could not be found.")
		c.refuse("bob", "PUT", "/address-groups/"+id+"/add_addresses", `{"addresses":["10.0.0.0/8"]}`, 404, "HTTPNotFound", "The resource could not be found.")
		c.refuse("bob", "DELETE", "/address-groups/"+id, "", 404, "HTTPNotFound", "The resource could not be found.")
		sg := c.do("bob", "POST", "/security-groups", `{"security_group":{"name":"web"}}`, 201).str("id")
		r := c.do("bob", "POST", "/security-group-rules", `{"security_group_rule":{"security_group_id":"`+sg+`","direction":"ingress","remote_address_group_id":"`+id+`"}}`, 201)
		c.refuse("alice", "DELETE", "/rbac-policies/"+p.str("id"), "", 409, "RbacPolicyInUse", "cannot be removed because other objects depend on it.")
		all := c.do("admin", "POST", "/rbac-policies", policy("*"), 201)
		c.do("alice", "DELETE", "/rbac-policies/"+p.str("id"), "", 204) // the other one keeps it shared
		c.refuse("admin", "DELETE", "/rbac-policies/"+all.str("id"), "", 409, "RbacPolicyInUse", "")
		c.do("bob", "DELETE", "/security-group-rules/"+r.str("id"), "", 204)
		c.do("admin", "DELETE", "/rbac-policies/"+all.str("id"), "", 204)
		c.refuse("bob", "GET", "/address-groups/"+id, "", 404, "AddressGroupNotFound", id)
	})
}
