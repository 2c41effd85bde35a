package network_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func (c *cloud) write(fn func(tx *db.Tx) error) error {
	return c.d.Write(context.Background(), fn)
}

// boot makes a server's ports and binds them.
func (c *cloud) boot(token, server, host string, req network.ServerPortsRequest) []network.Port {
	c.t.Helper()
	var ports []network.Port
	req.ServerID, req.ServerName = server, server
	if err := c.write(func(tx *db.Tx) (err error) {
		if ports, err = c.s.PrepareServerPorts(tx, callers[token], req); err != nil {
			return err
		}
		return c.s.BindServerPorts(tx, server, host)
	}); err != nil {
		c.t.Fatal(err)
	}
	return ports
}

func (c *cloud) items(node string) nodeapi.Items {
	c.t.Helper()
	var items nodeapi.Items
	if err := c.d.Read(context.Background(), func(tx *db.Tx) error {
		ch, err := c.s.Items(tx, node, 0)
		items = ch.Items
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return items
}

func TestServerPortsReachNodes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.node("node1", "192.0.2.1")
		c.node("node2", "192.0.2.2")
		pub, _ := c.public()
		n, s := c.net("alice", "10.0.0.0/24")
		r := c.do("alice", "POST", "/routers", `{"router":{"external_gateway_info":{"network_id":"`+pub+`"}}}`, 201).str("id")
		c.do("alice", "PUT", "/routers/"+r+"/add_router_interface", `{"subnet_id":"`+s+`"}`, 200)
		a := c.boot("alice", "server-a", "node1", network.ServerPortsRequest{Auto: true})
		b := c.boot("alice", "server-b", "node2", network.ServerPortsRequest{Requests: []network.PortRequest{{NetworkID: n, FixedIP: "10.0.0.50"}}, SecurityGroups: []string{"default"}})
		if len(a) != 1 || a[0].NetworkName != "n" || a[0].FixedIPs[0].IP != "10.0.0.2" || a[0].MTU != 1450 || !a[0].Made || a[0].SecurityGroups[0] != "default" || b[0].FixedIPs[0].IP != "10.0.0.50" {
			t.Fatalf("ports %+v %+v", a, b)
		}
		fip := c.do("alice", "POST", "/floatingips", `{"floatingip":{"floating_network_id":"`+pub+`","port_id":"`+a[0].ID+`"}}`, 201)
		one, two := c.items("node1"), c.items("node2")
		if len(one.Ports) != 1 || one.Ports[0].ID != a[0].ID || one.Ports[0].GuestID != "server-a" || !one.Ports[0].PortSecurity {
			t.Errorf("ports of node1: %+v", one.Ports)
		}
		routers := append(one.Routers, two.Routers...)
		if len(routers) != 1 || routers[0].Gateway == nil || routers[0].Gateway.NextHops[0] != "203.0.113.1" || routers[0].Interfaces[0].Addresses[0] != "10.0.0.1/24" ||
			len(routers[0].FloatingIPs) != 1 || routers[0].FloatingIPs[0].Floating != fip["floating_ip_address"] || routers[0].FloatingIPs[0].Fixed != "10.0.0.2" {
			t.Errorf("routers %+v", routers)
		}
		net := find(t, two.Networks, n)
		if net.SegmentationID != 1 || net.DHCPPort == nil || len(net.VTEPs) != 1 || net.VTEPs[0] != "192.0.2.1" || net.Subnets[0].RouterIP != "10.0.0.1" {
			t.Errorf("network on node2: %+v", net)
		}
		for _, h := range net.Hosts {
			if h.PortID == a[0].ID && (h.VTEP != "192.0.2.1" || h.GuestID != "server-a" || h.Hostname != "server-a") || h.PortID == b[0].ID && h.VTEP != "" {
				t.Errorf("host %+v", h)
			}
		}
		if g := one.SecurityGroups; len(g) != 1 || len(g[0].Rules) != 4 || len(g[0].Members) != 2 {
			t.Errorf("groups %+v", g)
		}
		// The node's word makes ports active, another's does not.
		report := func(node string) {
			if err := c.hub.Report(context.Background(), nodeapi.Report{Node: node, Ports: []nodeapi.PortStatus{{ID: a[0].ID, Active: true}}, Routers: []nodeapi.RouterStatus{{ID: r, Active: true}}}); err != nil {
				t.Fatal(err)
			}
		}
		report("node2")
		if p := c.do("alice", "GET", "/ports/"+a[0].ID, "", 200); p["status"] != "DOWN" {
			t.Errorf("status after a foreign report: %v", p["status"])
		}
		report("node1")
		if p := c.list("admin", "/ports?status=ACTIVE&device_id=server-a", "ports"); len(p) != 1 || p[0]["binding:vif_type"] != "bridge" || p[0]["binding:host_id"] != "node1" || p[0]["device_owner"] != "compute:nova" {
			t.Errorf("active ports %v", p)
		}
		if err := c.write(func(tx *db.Tx) error { return c.s.ReleaseServerPorts(tx, "server-a") }); err != nil {
			t.Fatal(err)
		}
		c.refuse("alice", "GET", "/ports/"+a[0].ID, "", 404, "PortNotFound", a[0].ID)
		if left := c.items("node1").Ports; len(left) != 0 {
			t.Errorf("ports left on node1: %v", left)
		}
	})
}

// TestRouterLegStatus: a leg is what the node made of it, also while its router is switched off; a floating IP needs one that is on.
func TestRouterLegStatus(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.node("node1", "192.0.2.1")
		pub, _ := c.public()
		n, s := c.net("alice", "10.0.0.0/24")
		port := c.port("alice", n, "").str("id")
		r := c.do("alice", "POST", "/routers", `{"router":{"admin_state_up":false,"external_gateway_info":{"network_id":"`+pub+`"}}}`, 201).str("id")
		leg := c.do("alice", "PUT", "/routers/"+r+"/add_router_interface", `{"subnet_id":"`+s+`"}`, 200).str("port_id")
		for _, step := range []struct {
			name       string
			status     nodeapi.RouterStatus
			leg, float string
		}{
			{"switched off", nodeapi.RouterStatus{ID: r}, "ACTIVE", "DOWN"},
			{"in error", nodeapi.RouterStatus{ID: r, Error: "no such bridge"}, "DOWN", "DOWN"},
			{"switched on", nodeapi.RouterStatus{ID: r, Active: true}, "ACTIVE", "ACTIVE"},
		} {
			if step.status.Active {
				c.do("alice", "PUT", "/routers/"+r, `{"router":{"admin_state_up":true}}`, 200)
			}
			if err := c.hub.Report(context.Background(), nodeapi.Report{Node: "node1", Routers: []nodeapi.RouterStatus{step.status}}); err != nil {
				t.Fatal(err)
			}
			if p := c.do("alice", "GET", "/ports/"+leg, "", 200); p["status"] != step.leg {
				t.Errorf("%s: the leg is %v, want %s", step.name, p["status"], step.leg)
			}
			f := c.do("alice", "POST", "/floatingips", `{"floatingip":{"floating_network_id":"`+pub+`","port_id":"`+port+`"}}`, 201)
			if f["status"] != step.float {
				t.Errorf("%s: the floating IP is %v, want %s", step.name, f["status"], step.float)
			}
			c.do("alice", "DELETE", "/floatingips/"+f.str("id"), "", 204)
		}
	})
}

func find(t *testing.T, nets []nodeapi.Network, id string) nodeapi.Network {
	t.Helper()
	for _, n := range nets {
		if n.ID == id {
			return n
		}
	}
	t.Fatalf("network %s is not on the node", id)
	return nodeapi.Network{}
}

func TestServerPortRefusals(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.node("node1", "192.0.2.1")
		n, _ := c.net("alice", "10.0.0.0/24")
		own := c.port("alice", n, "")
		try := func(req network.ServerPortsRequest) *fault.Error {
			req.ServerID = "x"
			err := c.write(func(tx *db.Tx) error {
				_, err := c.s.PrepareServerPorts(tx, callers["alice"], req)
				return err
			})
			if err == nil {
				return &fault.Error{}
			}
			return fault.As(err)
		}
		for _, x := range []struct {
			req    network.ServerPortsRequest
			status int
			text   string
		}{
			{network.ServerPortsRequest{Requests: []network.PortRequest{{NetworkID: "nope"}}}, 400, "Network nope could not be found."},
			{network.ServerPortsRequest{Requests: []network.PortRequest{{PortID: "nope"}}}, 400, "Port id nope could not be found."},
			{network.ServerPortsRequest{Auto: true, SecurityGroups: []string{"nope"}}, 400, "Security group nope not found."},
			{network.ServerPortsRequest{Requests: []network.PortRequest{{NetworkID: n, FixedIP: "10.0.0.2"}}}, 400, "Fixed IP address 10.0.0.2 is already in use on instance None."},
			{network.ServerPortsRequest{Requests: []network.PortRequest{{NetworkID: n, FixedIP: "10.7.0.2"}}}, 400, "Fixed IP 10.7.0.2 is not a valid ip address for network " + n + "."},
		} {
			if e := try(x.req); e.Status != x.status || e.Message != x.text {
				t.Errorf("%+v: %d %s", x.req, e.Status, e.Message)
			}
		}
		c.boot("alice", "s1", "node1", network.ServerPortsRequest{Requests: []network.PortRequest{{PortID: own.str("id"), Tag: "eth"}}})
		if e := try(network.ServerPortsRequest{Requests: []network.PortRequest{{PortID: own.str("id")}}}); e.Status != 409 || e.Message != "Port "+own.str("id")+" is still in use." {
			t.Errorf("port in use: %v", e)
		}
		// What the user made is given back.
		if err := c.write(func(tx *db.Tx) error { return c.s.DetachPort(tx, "s1", own.str("id")) }); err != nil {
			t.Fatal(err)
		}
		if p := c.do("admin", "GET", "/ports/"+own.str("id"), "", 200); p["device_id"] != "" || p["binding:vif_type"] != "unbound" || p["status"] != "DOWN" {
			t.Errorf("released port %v", p)
		}
		c.net("alice", "10.1.0.0/24")
		if e := try(network.ServerPortsRequest{Auto: true}); e.Status != 409 || e.Message != "Multiple possible networks found, use a Network ID to be more specific." {
			t.Errorf("ambiguous: %v", e)
		}
		flat := c.do("admin", "POST", "/networks", `{"network":{"shared":true,"provider:network_type":"flat","provider:physical_network":"other"}}`, 201).str("id")
		c.do("admin", "POST", "/subnets", `{"subnet":{"network_id":"`+flat+`","ip_version":4,"cidr":"10.3.0.0/24"}}`, 201)
		err := c.write(func(tx *db.Tx) error {
			if _, err := c.s.PrepareServerPorts(tx, callers["alice"], network.ServerPortsRequest{ServerID: "s2", Requests: []network.PortRequest{{NetworkID: flat}}}); err != nil {
				return err
			}
			return c.s.BindServerPorts(tx, "s2", "node1")
		})
		if !errors.Is(err, network.ErrBinding) {
			t.Errorf("a node without the physical network: %v", err)
		}
	})
}
