package daemon

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/hanok-cloud/hanok/internal/agent"
	agentnet "github.com/hanok-cloud/hanok/internal/agent/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// nodeNetwork joins the kernel's network driver to the agent: the agent speaks of ports by id and of changes, the driver of whole
// ports and states, and the metadata service asks for guests that only the agent's items hold.
type nodeNetwork struct {
	driver *agentnet.Driver

	mu     sync.Mutex
	guests map[string]*nodeapi.Guest
	ports  map[string]*nodeapi.Port
}

var _ agent.NetworkDriver = (*nodeNetwork)(nil)

// guest finds a guest of this node for the metadata service.
func (n *nodeNetwork) guest(id string) (nodeapi.Guest, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return deref(n.guests[id])
}

func (n *nodeNetwork) Apply(ctx context.Context, c agent.NetworkChange) (agent.NetworkStatus, error) {
	n.mu.Lock()
	n.guests, n.ports = maps.Clone(c.Items.Guests), maps.Clone(c.Items.Ports)
	n.mu.Unlock()
	if c.Full {
		n.driver.Resync()
	}
	r, err := n.driver.Apply(ctx, agentnet.State{
		Networks: c.Items.Networks, Ports: c.Items.Ports, SecurityGroups: c.Items.SecurityGroups, Routers: c.Items.Routers,
	})
	return agent.NetworkStatus{Ports: r.Ports, Routers: r.Routers}, err
}

func (n *nodeNetwork) EnsurePort(ctx context.Context, id string) (agent.PortDevice, error) {
	n.mu.Lock()
	port := n.ports[id]
	n.mu.Unlock()
	if port == nil {
		return agent.PortDevice{}, fmt.Errorf("port %s has not arrived on this node yet", id)
	}
	tap, err := n.driver.EnsurePort(ctx, port)
	return agent.PortDevice{Tap: tap}, err
}

func (n *nodeNetwork) RemovePort(ctx context.Context, id string) error {
	return n.driver.RemovePort(ctx, id)
}

func (n *nodeNetwork) Password(guestID string) ([]byte, error) { return n.driver.Password(guestID) }

func (n *nodeNetwork) ClearPassword(guestID string) error { return n.driver.ClearPassword(guestID) }
