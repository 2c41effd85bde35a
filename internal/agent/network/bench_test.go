package network

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// cpu is the processor time of this process and the programs it ran, the kernel's part included.
func cpu() time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}

func measured(b *testing.B, op func()) {
	b.ResetTimer()
	before := cpu()
	for b.Loop() {
		op()
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N)/1000, "cpu-ms/op")
}

// crowd is a node with n ports of one network in one group that names itself as remote group.
func crowd(b *testing.B, n int) *cloud {
	c := newCloud(b, nil)
	network := c.tenant(tenantA, 100, "10.0.0")
	network.Subnets[0].CIDR = "10.0.0.0/16"
	g := c.group("default", tcp(22), nodeapi.SecurityGroupRule{ID: "self", Direction: "ingress", EtherType: "IPv4", RemoteGroupID: "default"})
	for i := range n {
		id := fmt.Sprintf("%08x-ab00-4000-8000-000000000000", i)
		ip := fmt.Sprintf("10.0.%d.%d", i/250+1, i%250+1)
		p := &nodeapi.Port{ID: id, NetworkID: tenantA, MAC: fmt.Sprintf("fa:16:3e:01:%02x:%02x", i>>8, i&255), AdminUp: true, PortSecurity: true, SecurityGroups: []string{"default"},
			FixedIPs: []nodeapi.FixedIP{{SubnetID: network.Subnets[0].ID, IP: ip}}}
		c.state.Ports[id] = p
		g.Members = append(g.Members, ip)
		network.Hosts = append(network.Hosts, nodeapi.NetworkHost{PortID: id, MAC: p.MAC, FixedIPs: p.FixedIPs, Hostname: "host-" + id[:8]})
	}
	c.apply()
	for id := range c.state.Ports {
		c.ensure(id)
	}
	return c
}

// BenchmarkPort is what a new guest's port costs the agent, and what its removal costs: the network's host
// list, the group's members and the port all change.
func BenchmarkPort(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("add+remove/%d", n), func(b *testing.B) {
			c := crowd(b, n)
			without := State{Networks: c.state.Networks, Ports: c.state.Ports, SecurityGroups: map[string]*nodeapi.SecurityGroup{"default": c.state.SecurityGroups["default"]}}
			bare := *c.state.Networks[tenantA]
			p := c.port(uid("9999", "01"), &bare, "10.0.200.1", "fa:16:3e:99:00:01", "default")
			delete(c.state.Ports, p.ID)
			with := *c.state.SecurityGroups["default"]
			with.Members = append(slices.Clone(with.Members), "10.0.200.1")
			full, grown := c.state.Networks[tenantA], &with
			measured(b, func() {
				c.state = without
				c.state.Networks = map[string]*nodeapi.Network{tenantA: full}
				c.state.SecurityGroups = map[string]*nodeapi.SecurityGroup{"default": grown}
				c.state.Ports[p.ID] = p
				c.apply()
				c.ensure(p.ID)
				delete(c.state.Ports, p.ID)
				c.state.Networks = map[string]*nodeapi.Network{tenantA: &bare}
				c.state.SecurityGroups = without.SecurityGroups
				c.apply()
			})
		})
	}
}

// BenchmarkRule is one rule of a group that all ports have.
func BenchmarkRule(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := crowd(b, n)
			i := 0
			base := c.state.SecurityGroups["default"]
			measured(b, func() {
				g := *base
				i++
				g.Rules = append([]nodeapi.SecurityGroupRule{tcp(1000 + i%1000)}, base.Rules...)
				c.state.SecurityGroups["default"] = &g
				c.apply()
			})
		})
	}
}

// BenchmarkResync compares everything with the kernel.
func BenchmarkResync(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := crowd(b, n)
			measured(b, func() {
				c.driver.Resync()
				c.apply()
			})
		})
	}
}

// BenchmarkNothing is an Apply that finds nothing to do.
func BenchmarkNothing(b *testing.B) {
	c := crowd(b, 1000)
	measured(b, func() { c.apply() })
}
