package network_test

import (
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/network"
)

func TestAutoAllocatedTopology(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.node("node1", "192.0.2.1")
		const path = "/auto-allocated-topology/alice"
		c.refuse("alice", "GET", path+"?fields=dry-run", "", 409, "AutoAllocationFailure", "Deployment error: No default router:external network.")
		c.refuse("alice", "GET", path, "", 409, "AutoAllocationFailure", "Deployment error: No default router:external network.")
		pub, _ := c.public()
		c.do("admin", "PUT", "/networks/"+pub, `{"network":{"is_default":true}}`, 200)
		c.refuse("alice", "GET", path+"?fields=dry-run", "", 409, "AutoAllocationFailure", "Deployment error: No default subnetpools defined.")
		c.refuse("alice", "GET", path, "", 409, "AutoAllocationFailure", "Deployment error: Unable to provide tenant private network.")
		if l := c.list("alice", "/networks?name=auto_allocated_network", "networks"); len(l) != 0 {
			t.Errorf("left %v", l)
		}
		for _, pool := range []string{`"prefixes":["10.99.0.0/16"],"default_prefixlen":26`, `"prefixes":["2001:db8:9::/48"],"default_prefixlen":64`} {
			c.do("admin", "POST", "/subnetpools", `{"subnetpool":{"name":"x","is_default":true,"shared":true,`+pool+`}}`, 201)
		}
		if x := c.do("alice", "GET", path+"?fields=dry-run", "", 200); x["id"] != "dry-run=pass" || x["tenant_id"] != "alice" {
			t.Errorf("dry run %v", x)
		}
		c.refuse("alice", "GET", path+"?fields=id", "", 400, "BadRequest", "Unrecognized field")
		c.refuse("bob", "GET", path, "", 403, "PolicyNotAuthorized", "rule:get_auto_allocated_topology")
		c.refuse("bob", "DELETE", path, "", 403, "PolicyNotAuthorized", "rule:delete_auto_allocated_topology")
		c.refuse("reader", "DELETE", path, "", 403, "PolicyNotAuthorized", "rule:delete_auto_allocated_topology")
		first := c.do("alice", "GET", path, "", 200)
		for _, who := range []string{"alice", "reader"} {
			if again := c.do(who, "GET", "/auto-allocated-topology/None", "", 200); again["id"] != first["id"] {
				t.Errorf("%s gets another one: %v", who, again)
			}
		}
		n := c.do("alice", "GET", "/networks/"+first.str("id"), "", 200)
		if n["name"] != "auto_allocated_network" || n["admin_state_up"] != true || len(n["subnets"].([]any)) != 2 || n["project_id"] != "alice" {
			t.Errorf("network %v", n)
		}
		routers := c.list("alice", "/routers", "routers")
		if len(routers) != 1 || routers[0]["name"] != "auto_allocated_router" || routers[0]["external_gateway_info"] == nil {
			t.Fatalf("routers %v", routers)
		}
		if legs := c.list("alice", "/ports?device_owner=network:router_interface", "ports"); len(legs) != 2 {
			t.Errorf("legs %v", legs)
		}
		p := c.port("alice", first.str("id"), "")
		c.refuse("alice", "DELETE", path, "", 409, "NetworkInUse", p.str("id"))
		if l := c.list("alice", "/routers", "routers"); len(l) != 1 {
			t.Error("a refused deletion took the router")
		}
		c.do("alice", "DELETE", "/ports/"+p.str("id"), "", 204)
		c.do("alice", "DELETE", path, "", 204)
		c.do("alice", "DELETE", path, "", 204)
		for path, key := range map[string]string{"/networks?router:external=false": "networks", "/routers": "routers", "/subnets?name=auto_allocated_subnet_v4": "subnets"} {
			if l := c.list("alice", path, key); len(l) != 0 {
				t.Errorf("left: %v", l)
			}
		}
		// A router deleted by hand does not keep the rest.
		third := c.do("admin", "GET", path, "", 200)
		r := c.list("alice", "/routers", "routers")[0].str("id")
		for _, leg := range c.list("alice", "/ports?device_owner=network:router_interface", "ports") {
			c.do("alice", "PUT", "/routers/"+r+"/remove_router_interface", `{"port_id":"`+leg.str("id")+`"}`, 200)
		}
		c.do("alice", "DELETE", "/routers/"+r, "", 204)
		c.do("alice", "DELETE", path, "", 204)
		c.refuse("alice", "GET", "/networks/"+third.str("id"), "", 404, "NetworkNotFound", "")
	})
}

// A server that asks for "auto" in a project without a network gets the topology's.
func TestServersGetATopology(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.node("node1", "192.0.2.1")
		prepare := func() (ports []network.Port, err error) {
			err = c.write(func(tx *db.Tx) (err error) {
				ports, err = c.s.PrepareServerPorts(tx, callers["alice"], network.ServerPortsRequest{ServerID: "s", ServerName: "s", Auto: true, Allocate: true})
				return err
			})
			return ports, err
		}
		if _, err := prepare(); err == nil || !strings.Contains(err.Error(), "Unable to automatically allocate a network for project alice") {
			t.Errorf("without pools: %v", err)
		}
		pub, _ := c.public()
		c.do("admin", "PUT", "/networks/"+pub, `{"network":{"is_default":true}}`, 200)
		c.do("admin", "POST", "/subnetpools", `{"subnetpool":{"name":"x","is_default":true,"shared":true,"prefixes":["10.99.0.0/16"],"default_prefixlen":26}}`, 201)
		ports, err := prepare()
		if err != nil || len(ports) != 1 || ports[0].NetworkName != "auto_allocated_network" {
			t.Errorf("ports %+v, %v", ports, err)
		}
	})
}
