package network_test

import (
	"fmt"
	"testing"
)

func TestRoutersAndFloatingIPs(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.node("node1", "192.0.2.1")
		pub, _ := c.public()
		n, s := c.net("alice", "10.0.0.0/24")
		r := c.do("alice", "POST", "/routers", `{"router":{"name":"r"}}`, 201)
		id := r.str("id")
		path := "/routers/" + id
		c.refuse("alice", "PUT", path, `{"router":{"external_gateway_info":{"network_id":"`+n+`"}}}`, 400, "BadRequest", "Bad router request: Network "+n+" is not an external network.")
		c.refuse("alice", "PUT", path, `{"router":{"external_gateway_info":{"network_id":"`+pub+`","enable_snat":false}}}`, 403, "PolicyNotAuthorized",
			"((rule:update_router and rule:update_router:external_gateway_info) and rule:update_router:external_gateway_info:enable_snat)")
		got := c.do("alice", "PUT", path, `{"router":{"external_gateway_info":{"network_id":"`+pub+`"}}}`, 200)
		gw, _ := got["external_gateway_info"].(map[string]any)
		if gw["enable_snat"] != true || gw["external_fixed_ips"].([]any)[0].(map[string]any)["ip_address"] != "203.0.113.10" {
			t.Errorf("gateway %v", gw)
		}
		p := c.port("alice", n, "")
		fip := fmt.Sprintf(`{"floatingip":{"floating_network_id":"%s","port_id":"%s"}}`, pub, p.str("id"))
		c.refuse("alice", "POST", "/floatingips", fip, 404, "ExternalGatewayForFloatingIPNotFound", "External network "+pub+" is not reachable from subnet "+s)
		leg := c.do("alice", "PUT", path+"/add_router_interface", `{"subnet_id":"`+s+`"}`, 200)
		if leg["subnet_id"] != s || leg["network_id"] != n || leg["id"] != id {
			t.Errorf("leg %v", leg)
		}
		c.refuse("alice", "PUT", path+"/add_router_interface", `{"subnet_id":"`+s+`"}`, 400, "BadRequest", "Bad router request: Router already has a port on subnet "+s+".")
		c.refuse("alice", "PUT", path+"/add_router_interface", `{}`, 400, "BadRequest", "Either subnet_id or port_id must be specified")
		c.refuse("bob", "PUT", path+"/add_router_interface", `{"subnet_id":"`+s+`"}`, 404, "RouterNotFound", "Router "+id+" could not be found")
		c.refuse("alice", "DELETE", "/ports/"+leg.str("port_id"), "", 409, "ServicePortInUse", "cannot be deleted directly via the port API: has device owner network:router_interface.")
		c.refuse("alice", "DELETE", path, "", 409, "RouterInUse", "Router "+id+" still has ports")
		f := c.do("alice", "POST", "/floatingips", fip, 201)
		if f["floating_ip_address"] != "203.0.113.11" || f["fixed_ip_address"] != "10.0.0.2" || f["router_id"] != id {
			t.Errorf("floating IP %v", f)
		}
		if p := c.list("admin", "/ports?device_id="+f.str("id"), "ports"); len(p) != 1 || p[0]["status"] != "N/A" {
			t.Errorf("the floating IP's own port: %v", p)
		}
		c.refuse("alice", "POST", "/floatingips", fip, 409, "FloatingIPPortAlreadyAssociated", "already has a floating IP on external network "+pub)
		c.refuse("alice", "PUT", path, `{"router":{"external_gateway_info":null}}`, 409, "RouterExternalGatewayInUseByFloatingIp", "is required by one or more floating IPs.")
		c.refuse("alice", "PUT", path+"/remove_router_interface", `{"subnet_id":"`+s+`"}`, 409, "RouterInterfaceInUseByFloatingIP", "cannot be deleted, as it is required by one or more floating IPs.")
		c.refuse("alice", "POST", "/floatingips", `{"floatingip":{"floating_network_id":"`+n+`"}}`, 400, "BadRequest", "Network "+n+" is not a valid external network")
		c.refuse("alice", "POST", "/floatingips", `{"floatingip":{"floating_network_id":"`+pub+`","floating_ip_address":"203.0.113.99"}}`, 403, "PolicyNotAuthorized", "rule:create_floatingip:floating_ip_address")
		if x := c.do("admin", "POST", "/floatingips", `{"floatingip":{"floating_network_id":"`+pub+`","floating_ip_address":"203.0.113.99"}}`, 201); x["floating_ip_address"] != "203.0.113.99" {
			t.Errorf("named address %v", x)
		}
		if x := c.do("alice", "PUT", "/floatingips/"+f.str("id"), `{"floatingip":{"port_id":null}}`, 200); x["port_id"] != nil || x["router_id"] != nil || x["status"] != "DOWN" {
			t.Errorf("disassociated %v", x)
		}
		c.do("alice", "PUT", "/floatingips/"+f.str("id"), `{"floatingip":{"port_id":"`+p.str("id")+`"}}`, 200)
		c.do("alice", "DELETE", "/ports/"+p.str("id"), "", 204)
		if x := c.do("alice", "GET", "/floatingips/"+f.str("id"), "", 200); x["port_id"] != nil {
			t.Errorf("floating IP of a deleted port: %v", x)
		}
		c.do("alice", "PUT", path+"/add_extraroutes", `{"router":{"routes":[{"destination":"10.5.0.0/16","nexthop":"10.0.0.7"}]}}`, 200)
		c.refuse("alice", "PUT", path, `{"router":{"routes":[{"destination":"10.5.0.0/16","nexthop":"10.8.0.7"}]}}`, 400, "InvalidRoutes", "the nexthop is not connected with router")
		c.refuse("alice", "PUT", path+"/remove_router_interface", `{"subnet_id":"`+s+`"}`, 409, "RouterInterfaceInUseByRoute", "required by one or more routes")
		c.do("alice", "PUT", path+"/remove_extraroutes", `{"router":{"routes":[{"destination":"10.5.0.0/16","nexthop":"10.0.0.7"}]}}`, 200)
		c.do("alice", "PUT", path+"/remove_router_interface", `{"port_id":"`+leg.str("port_id")+`"}`, 200)
		c.do("alice", "DELETE", path, "", 204)
		c.do("alice", "DELETE", "/floatingips/"+f.str("id"), "", 204)
		c.do("alice", "DELETE", "/networks/"+n, "", 204)
		// An external network goes together with its idle floating IPs.
		c.do("admin", "DELETE", "/networks/"+pub, "", 204)
		for _, table := range []string{"net_ports", "net_ip_allocations", "net_floatingips", "net_subnets", "net_networks", "net_routers", "net_rbac_policies", "net_port_security_groups", "net_dhcp_bindings"} {
			if left := read[int64](t, c.d, `SELECT count(*) FROM `+table); left != 0 {
				t.Errorf("%d rows left in %s", left, table)
			}
		}
	})
}

func TestIPv6Router(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n := c.do("alice", "POST", "/networks", `{"network":{}}`, 201).str("id")
		p := c.port("alice", n, `,"mac_address":"fa:16:3e:00:00:01"`)
		slaac := c.do("alice", "POST", "/subnets", `{"subnet":{"network_id":"`+n+`","ip_version":6,"cidr":"2001:DB8::/64","ipv6_ra_mode":"slaac","ipv6_address_mode":"slaac"}}`, 201)
		if slaac["cidr"] != "2001:db8::/64" || slaac["gateway_ip"] != "2001:db8::" {
			t.Errorf("subnet %v", slaac)
		}
		if x := c.do("alice", "GET", "/ports/"+p.str("id"), "", 200); firstIP(x) != "2001:db8::f816:3eff:fe00:1" {
			t.Errorf("a port that was there first has %s", firstIP(x))
		}
		c.refuse("alice", "POST", "/ports", `{"port":{"network_id":"`+n+`","fixed_ips":[{"ip_address":"2001:db8::5"}]}}`, 400, "AllocationOnAutoAddressSubnet", "cannot be directly assigned to a port on subnet")
		s2 := c.do("alice", "POST", "/subnets", `{"subnet":{"network_id":"`+n+`","ip_version":6,"cidr":"2001:db8:1::/64"}}`, 201).str("id")
		r := "/routers/" + c.do("alice", "POST", "/routers", `{"router":{}}`, 201).str("id")
		one := c.do("alice", "PUT", r+"/add_router_interface", `{"subnet_id":"`+slaac.str("id")+`"}`, 200)
		two := c.do("alice", "PUT", r+"/add_router_interface", `{"subnet_id":"`+s2+`"}`, 200)
		if one["port_id"] != two["port_id"] {
			t.Error("IPv6 subnets of one network must share the router's leg")
		}
		c.do("alice", "PUT", r+"/remove_router_interface", `{"subnet_id":"`+s2+`"}`, 200)
		if x := c.do("alice", "GET", "/ports/"+one.str("port_id"), "", 200); len(x["fixed_ips"].([]any)) != 1 {
			t.Errorf("leg %v", x)
		}
		for _, x := range [][2]string{
			{`"cidr":"2001:db8:2::/65","ipv6_address_mode":"slaac"`, "requires the prefix to be /64"},
			{`"cidr":"2001:db8:2::/64","ipv6_address_mode":"slaac","ipv6_ra_mode":"dhcpv6-stateful"`, "If both attributes are set, they must be the same value"},
			{`"cidr":"2001:db8:2::/64","ipv6_address_mode":"slaac","enable_dhcp":false`, "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"},
			{`"cidr":"2001:db8:1::/80"`, "overlaps with another subnet"},
			{`"cidr":"10.0.0.0/24"`, "cidr '10.0.0.0/24' does not match the ip_version '6'"},
		} {
			c.refuse("alice", "POST", "/subnets", `{"subnet":{"network_id":"`+n+`","ip_version":6,`+x[0]+`}}`, 400, "InvalidInput", x[1])
		}
	})
}

func TestSubnetPools(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		scope := c.do("alice", "POST", "/address-scopes", `{"address_scope":{"name":"s","ip_version":4}}`, 201).str("id")
		p := c.do("alice", "POST", "/subnetpools", `{"subnetpool":{"name":"p","prefixes":["10.0.0.0/24","10.0.1.0/24"],"default_prefixlen":26,"address_scope_id":"`+scope+`"}}`, 201)
		if l := p["prefixes"].([]any); len(l) != 1 || l[0] != "10.0.0.0/23" || p["default_prefixlen"] != "26" || p["min_prefixlen"] != "8" {
			t.Errorf("pool %v", p)
		}
		n := c.do("alice", "POST", "/networks", `{"network":{}}`, 201).str("id")
		sub := func(more string) string {
			return fmt.Sprintf(`{"subnet":{"network_id":"%s","ip_version":4,"subnetpool_id":"%s"%s}}`, n, p.str("id"), more)
		}
		if s := c.do("alice", "POST", "/subnets", sub(""), 201); s["cidr"] != "10.0.0.0/26" || s["gateway_ip"] != "10.0.0.1" {
			t.Errorf("first %v", s)
		}
		if s := c.do("alice", "POST", "/subnets", sub(`,"prefixlen":24`), 201); s["cidr"] != "10.0.1.0/24" {
			t.Errorf("second %v", s)
		}
		if s := c.do("alice", "POST", "/subnets", sub(`,"prefixlen":25`), 201); s["cidr"] != "10.0.0.128/25" {
			t.Errorf("third %v", s)
		}
		c.refuse("alice", "POST", "/subnets", sub(`,"prefixlen":25`), 409, "SubnetAllocationError", "Insufficient prefix space to allocate subnet size /25.")
		c.refuse("alice", "POST", "/subnets", sub(`,"cidr":"10.0.0.0/27"`), 409, "SubnetAllocationError", "Cannot allocate requested subnet")
		c.refuse("alice", "POST", "/subnets", sub(`,"prefixlen":4`), 400, "MinPrefixSubnetAllocationError", "minimum allowed prefix is 8.")
		if x := c.do("alice", "GET", "/networks/"+n, "", 200); x["ipv4_address_scope"] != scope {
			t.Errorf("network's scope %v", x["ipv4_address_scope"])
		}
		c.refuse("alice", "POST", "/subnets", fmt.Sprintf(`{"subnet":{"network_id":"%s","ip_version":4,"cidr":"10.9.0.0/24"}}`, n), 400, "NetworkSubnetPoolAffinityError", "same subnet pool")
		c.refuse("alice", "DELETE", "/subnetpools/"+p.str("id"), "", 400, "SubnetPoolDeleteError", "Subnet pool has existing allocations")
		c.refuse("alice", "DELETE", "/address-scopes/"+scope, "", 409, "AddressScopeInUse", "one or more subnet pools in use")
		c.refuse("alice", "POST", "/subnetpools", `{"subnetpool":{"name":"q","prefixes":["10.0.0.0/25"],"address_scope_id":"`+scope+`"}}`, 409, "AddressScopePrefixConflict", "unique prefixes")
	})
}
