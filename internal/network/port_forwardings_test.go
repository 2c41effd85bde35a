package network_test

import (
	"fmt"
	"testing"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// forwarded is alice's network behind a router, with a free floating IP and a port.
type forwarded struct {
	router, subnet, network, fip string
	port                         object
}

func (c *cloud) forwarded() forwarded {
	c.t.Helper()
	c.node("node1", "192.0.2.1")
	pub, _ := c.public()
	var f forwarded
	f.network, f.subnet = c.net("alice", "10.0.0.0/24")
	f.router = c.do("alice", "POST", "/routers", `{"router":{"external_gateway_info":{"network_id":"`+pub+`"}}}`, 201).str("id")
	c.do("alice", "PUT", "/routers/"+f.router+"/add_router_interface", `{"subnet_id":"`+f.subnet+`"}`, 200)
	f.fip = c.do("alice", "POST", "/floatingips", `{"floatingip":{"floating_network_id":"`+pub+`"}}`, 201).str("id")
	f.port = c.port("alice", f.network, "")
	return f
}

func forwarding(port object, more string) string {
	return fmt.Sprintf(`{"port_forwarding":{"internal_port_id":"%s","internal_ip_address":"%s"%s}}`, port.str("id"), firstIP(port), more)
}

func TestPortForwardings(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		f := c.forwarded()
		path := "/floatingips/" + f.fip + "/port_forwardings"
		const ssh = `,"internal_port":22,"external_port":2222,"protocol":"tcp"`
		for _, bad := range []struct {
			more, class, text string
		}{
			{`,"internal_port":22,"external_port":333333,"protocol":"tcp"`, "HTTPBadRequest", "'333333' is too large - must be no larger than '65535'"},
			{`,"internal_port":0,"external_port":33,"protocol":"tcp"`, "HTTPBadRequest", "'0' is too small"},
			{`,"internal_port":22,"external_port":2222,"protocol":"icmp"`, "HTTPBadRequest", "Invalid input for protocol"},
			{`,"internal_port":22,"external_port":2222`, "HTTPBadRequest", "Required attribute 'protocol' not specified"},
			{`,"protocol":"tcp"`, "BadRequest", "Both an external and an internal port"},
			{`,"internal_port_range":"1:x","external_port":2222,"protocol":"tcp"`, "HTTPBadRequest", "Invalid port: x"},
			{`,"internal_port_range":"9:1","external_port":2222,"protocol":"tcp"`, "HTTPBadRequest", "First port in a port range must be lower"},
			{`,"internal_port_range":"1:2:3","external_port":2222,"protocol":"tcp"`, "HTTPBadRequest", "Port range must be two integers"},
			{`,"internal_port_range":"1:5","external_port_range":"1:3","protocol":"tcp"`, "BadRequest", "must be N-N or 1-N"},
			{`,"internal_port_range":"1:5","external_port":7,"protocol":"tcp"`, "BadRequest", "must be N-N or 1-N"},
		} {
			c.refuse("alice", "POST", path, forwarding(f.port, bad.more), 400, bad.class, bad.text)
		}
		c.refuse("alice", "POST", path, fmt.Sprintf(`{"port_forwarding":{"internal_port_id":"%s","internal_ip_address":"10.0.0.250"%s}}`, f.port.str("id"), ssh), 400, "BadRequest",
			"Requested internal IP address 10.0.0.250 is not suitable for internal neutron port")
		c.refuse("bob", "POST", path, forwarding(f.port, ssh), 403, "PolicyNotAuthorized", "rule:create_floatingip_port_forwarding is disallowed by policy")
		c.refuse("alice", "POST", "/floatingips/nope/port_forwardings", forwarding(f.port, ssh), 403, "PolicyNotAuthorized", "rule:create_floatingip_port_forwarding")
		c.refuse("admin", "POST", "/floatingips/nope/port_forwardings", forwarding(f.port, ssh), 404, "FloatingIPNotFound", "nope")
		p := c.do("alice", "POST", path, forwarding(f.port, ssh+`,"description":"d"`), 201)
		for k, want := range map[string]any{"internal_port": 22.0, "external_port": 2222.0, "internal_port_range": "22:22", "external_port_range": "2222:2222", "protocol": "tcp",
			"description": "d", "internal_port_id": f.port.str("id"), "internal_ip_address": firstIP(f.port)} {
			if p[k] != want {
				t.Errorf("%s is %v, want %v", k, p[k], want)
			}
		}
		if len(p) != 9 {
			t.Errorf("attributes %v", p)
		}
		fip := c.do("alice", "GET", "/floatingips/"+f.fip, "", 200)
		if l := fip["port_forwardings"].([]any); len(l) != 1 || len(l[0].(map[string]any)) != 6 || fip["router_id"] != f.router || fip["port_id"] != nil {
			t.Errorf("floating IP %v", fip)
		}
		one := path + "/" + p.str("id")
		c.refuse("bob", "GET", one, "", 404, "FloatingIPNotFound", f.fip)
		c.refuse("bob", "GET", path, "", 404, "FloatingIPNotFound", f.fip)
		c.refuse("bob", "DELETE", one, "", 404, "FloatingIPNotFound", f.fip)
		c.refuse("reader", "PUT", one, `{"port_forwarding":{"internal_port":23}}`, 403, "PolicyNotAuthorized", "rule:update_floatingip_port_forwarding")

		second := c.port("alice", f.network, "")
		collides := func(port object, more, text string) {
			t.Helper()
			c.refuse("alice", "POST", path, forwarding(port, more), 400, "BadRequest", text)
		}
		collides(second, `,"internal_port":80,"external_port":2222,"protocol":"tcp"`, "There is a port collision with the external_port_range. The following ranges collides: 2222:2222 and 2222:2222")
		collides(f.port, `,"internal_port":22,"external_port":80,"protocol":"tcp"`, "There is a port collision with the internal_port_range. The following ranges collides: 22:22 and 22:22")
		collides(second, `,"internal_port_range":"1000:1999","external_port_range":"2000:2999","protocol":"tcp"`, "ranges collides: 2222:2222 and 2000:2999")
		udp := c.do("alice", "POST", path, forwarding(f.port, `,"internal_port":22,"external_port":2222,"protocol":"udp"`), 201)
		many := c.do("alice", "POST", path, forwarding(second, `,"internal_port_range":"1000:1009","external_port_range":"3000:3009","protocol":"tcp"`), 201)
		if _, there := many["external_port"]; there || many["external_port_range"] != "3000:3009" {
			t.Errorf("range %v", many)
		}
		c.refuse("alice", "PUT", one, `{"port_forwarding":{"external_port":3005}}`, 400, "BadRequest", "ranges collides: 3000:3009 and 3005:3005")
		c.refuse("alice", "PUT", one, `{"port_forwarding":{"protocol":"udp"}}`, 400, "BadRequest", "collision")
		c.refuse("alice", "PUT", one, `{"port_forwarding":{"external_port":108343}}`, 400, "HTTPBadRequest", "too large")
		if u := c.do("alice", "PUT", one, `{"port_forwarding":{"internal_port":33}}`, 200); u["internal_port"] != 33.0 || u["external_port"] != 2222.0 {
			t.Errorf("updated %v", u)
		}
		if l := c.list("alice", path+"?protocol=tcp&sort_key=external_port&sort_dir=asc", "port_forwardings"); len(l) != 2 {
			t.Errorf("TCP ones %v", l)
		}
		if l := c.list("alice", path+"?external_port=2222&protocol=udp", "port_forwardings"); len(l) != 1 || l[0].str("id") != udp.str("id") {
			t.Errorf("by external port %v", l)
		}
		c.refuse("alice", "GET", path+"?internal_port=33", "", 400, "HTTPBadRequest", "['internal_port'] is invalid attribute for filtering")

		// One floating IP has forwardings or a port, one port a floating IP or forwardings.
		c.refuse("alice", "PUT", "/floatingips/"+f.fip, `{"floatingip":{"port_id":"`+second.str("id")+`"}}`, 409, "FipInUseByPortForwarding", "Floating IP "+f.fip+" in use by Port Forwarding resources.")
		c.refuse("alice", "DELETE", "/floatingips/"+f.fip, "", 409, "FipInUseByPortForwarding", "")
		c.do("alice", "PUT", "/floatingips/"+f.fip, `{"floatingip":{"port_id":null}}`, 200)
		if x := c.do("alice", "GET", "/floatingips/"+f.fip, "", 200); x["router_id"] != f.router {
			t.Errorf("a forwarded floating IP lost its router: %v", x)
		}
		third := c.port("alice", f.network, "")
		other := c.do("alice", "POST", "/floatingips", `{"floatingip":{"floating_network_id":"`+fip.str("floating_network_id")+`","port_id":"`+third.str("id")+`"}}`, 201)
		c.refuse("alice", "POST", path, forwarding(third, `,"internal_port":1,"external_port":1,"protocol":"tcp"`), 409, "PortHasBindingFloatingIP", "as that port already has a binding floating IP.")
		c.refuse("alice", "POST", "/floatingips/"+other.str("id")+"/port_forwardings", forwarding(second, `,"internal_port":1,"external_port":1,"protocol":"tcp"`), 409, "FloatingIPPortAlreadyAssociated", "")
		c.refuse("alice", "GET", "/floatingips/"+other.str("id")+"/port_forwardings/"+p.str("id"), "", 404, "PortForwardingNotFound", p.str("id"))
		lone, _ := c.net("alice", "10.9.0.0/24")
		c.refuse("alice", "POST", path, forwarding(c.port("alice", lone, ""), `,"internal_port":1,"external_port":1,"protocol":"tcp"`), 400, "BadRequest", "is not reachable from subnet")
		c.refuse("alice", "PUT", "/routers/"+f.router, `{"router":{"external_gateway_info":{}}}`, 409, "RouterExternalGatewayInUseByFloatingIp", "")

		// What leads to a port goes with it.
		c.do("alice", "DELETE", "/ports/"+second.str("id"), "", 204)
		c.refuse("alice", "GET", path+"/"+many.str("id"), "", 404, "PortForwardingNotFound", "Port Forwarding "+many.str("id")+" could not be found.")
		c.do("alice", "DELETE", path+"/"+udp.str("id"), "", 204)
		c.do("alice", "PUT", "/ports/"+f.port.str("id"), `{"port":{"fixed_ips":[{"ip_address":"10.0.0.99"}]}}`, 200)
		if x := c.do("alice", "GET", "/floatingips/"+f.fip, "", 200); len(x["port_forwardings"].([]any)) != 0 || x["router_id"] != nil || x["status"] != "DOWN" {
			t.Errorf("after the last forwarding %v", x)
		}
		c.do("alice", "DELETE", "/floatingips/"+f.fip, "", 204)
	})
}

func TestPortForwardingsReachNodes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		f := c.forwarded()
		p := c.do("alice", "POST", "/floatingips/"+f.fip+"/port_forwardings", forwarding(f.port, `,"internal_port":22,"external_port_range":"2222:2230","protocol":"tcp"`), 201)
		fip := c.do("alice", "GET", "/floatingips/"+f.fip, "", 200)
		routers := c.items("node1").Routers
		if len(routers) != 1 || len(routers[0].FloatingIPs) != 0 || len(routers[0].PortForwardings) != 1 {
			t.Fatalf("routers %+v", routers)
		}
		if got, want := routers[0].PortForwardings[0], (nodeapi.PortForwarding{ID: p.str("id"), Floating: fip.str("floating_ip_address"), Fixed: firstIP(f.port), Protocol: "tcp",
			External: nodeapi.PortRange{Min: 2222, Max: 2230}, Internal: nodeapi.PortRange{Min: 22, Max: 22}}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
