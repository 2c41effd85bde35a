// Package sim simulates a node: guests that have no process and a network that has no kernel, behind the
// agent's driver interfaces. Everything above the drivers is real, so a guest walks through the same states
// as on a real node, and fails as it would there. It must not know the controller, and nothing in it may
// touch the machine.
package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Options configure the simulated guests of one node.
type Options struct {
	// BootTime is how long a guest takes from its start until it runs; 0: the next event.
	BootTime time.Duration
	// FailRate is the part of new guests, 0 to 1, of which a step fails for good.
	FailRate float64
	// Random is between 0 and 1; nil: the usual generator.
	Random func() float64
	Clock  agent.Clock
}

// Guests simulates guests. It implements agent.GuestDriver.
type Guests struct {
	o  Options
	mu sync.Mutex
	m  map[string]*guest
	// changed is the agent's; tests and Crash use it.
	changed func(id string)
}

var _ agent.GuestDriver = (*Guests)(nil)

// guest is small: a node may have thousands.
type guest struct {
	want    *nodeapi.Guest // as of the last start
	power   string
	disks   bool
	rebuild int64
	reboot  int64
	ports   []string
	boots   int
	started time.Time
	failsAt step
}

// step is the step at which a guest fails, if any.
type step uint8

const (
	undecided step = iota
	never
	atImage
	atDisk
	atStart
)

// New makes a node without guests.
func New(o Options) *Guests {
	if o.Clock == nil {
		o.Clock = agent.SystemClock{}
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return &Guests{o: o, m: map[string]*guest{}, changed: func(string) {}}
}

// Adopt finds the guests that were there before: the driver, like a node, survives its agent.
func (d *Guests) Adopt(_ context.Context, changed func(id string)) ([]agent.GuestState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = changed
	states := make([]agent.GuestState, 0, len(d.m))
	for id, g := range d.m {
		states = append(states, g.state(id))
	}
	return states, nil
}

func (g *guest) state(id string) agent.GuestState {
	return agent.GuestState{ID: id, Power: g.power, Disks: g.disks, RebuildSeq: g.rebuild, RebootSeq: g.reboot, Ports: slices.Clone(g.ports)}
}

// Observe returns a guest's state.
func (d *Guests) Observe(id string) agent.GuestState {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.m[id]; g != nil {
		return g.state(id)
	}
	return agent.GuestState{ID: id}
}

// guest finds or makes one. d.mu is held.
func (d *Guests) guest(id string) *guest {
	g := d.m[id]
	if g == nil {
		g = &guest{}
		d.m[id] = g
	}
	if g.failsAt == undecided {
		g.failsAt = never
		if r := d.o.Random(); r < d.o.FailRate {
			// Where it fails follows from the same draw, so that one number decides a guest's fate.
			g.failsAt = atImage + step(min(2, int(3*r/d.o.FailRate)))
		}
	}
	return g
}

// EnsureImage pretends to download the image.
func (d *Guests) EnsureImage(_ context.Context, g *nodeapi.Guest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.guest(g.ID).failsAt == atImage {
		return agent.Final("Upload the image again, then rebuild or delete the server.",
			"image %s: the downloaded data does not have the SHA-512 that the image service recorded", g.Root.ImageID)
	}
	return nil
}

// EnsureDisks pretends to make the guest's disks.
func (d *Guests) EnsureDisks(_ context.Context, g *nodeapi.Guest, _ map[string][]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.guest(g.ID)
	if s.failsAt == atDisk {
		return agent.Final("Free space in the node's data directory, or delete servers there.",
			"guest %s: no space left on the node for its %d GiB root disk", g.ID, g.Root.SizeGiB)
	}
	s.disks, s.rebuild = true, g.RebuildSeq
	if s.power == "" {
		s.power = nodeapi.ObservedStopped
	}
	return nil
}

// Start boots the guest: that takes BootTime.
func (d *Guests) Start(ctx context.Context, g *nodeapi.Guest, nics []agent.NICDevice) error {
	if err := agent.Sleep(ctx, d.o.Clock, d.o.BootTime); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.guest(g.ID)
	if s.failsAt == atStart {
		// Only the first attempt: a rebuild or a hard reboot helps, as it often does.
		s.failsAt = never
		return agent.Final("Free memory on the node, or start the server elsewhere.",
			"guest %s: QEMU ended at its start: cannot set up guest memory 'pc.ram': Cannot allocate memory", g.ID)
	}
	s.want, s.power, s.reboot, s.boots, s.started = g, nodeapi.ObservedRunning, g.Reboot.Seq, s.boots+1, d.o.Clock.Now()
	s.ports = make([]string, len(nics))
	for i, n := range nics {
		s.ports[i] = n.PortID
	}
	return nil
}

// Stop shuts the guest down at once: a simulated guest always listens.
func (d *Guests) Stop(_ context.Context, id string, _ time.Duration) error {
	d.halt(id, nodeapi.ObservedStopped)
	return nil
}

func (d *Guests) halt(id, power string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.m[id]; s != nil {
		s.power, s.ports, s.reboot = power, nil, 0
	}
}

// Crash ends a guest as a failing machine would; power is ObservedStopped for a shutdown from within, or
// ObservedCrashed.
func (d *Guests) Crash(id, power string) {
	d.halt(id, power)
	d.mu.Lock()
	changed := d.changed
	d.mu.Unlock()
	changed(id)
}

// Pause stops the processors.
func (d *Guests) Pause(_ context.Context, id string) error {
	return d.switchPower(id, nodeapi.ObservedRunning, nodeapi.ObservedPaused)
}

// Unpause continues.
func (d *Guests) Unpause(_ context.Context, id string) error {
	return d.switchPower(id, nodeapi.ObservedPaused, nodeapi.ObservedRunning)
}

func (d *Guests) switchPower(id, from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.m[id]
	if s == nil || s.power != from && s.power != to {
		return fmt.Errorf("guest %s does not run", id)
	}
	s.power = to
	return nil
}

// AttachNIC plugs a NIC into a running guest.
func (d *Guests) AttachNIC(_ context.Context, g *nodeapi.Guest, nic agent.NICDevice) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.m[g.ID]
	if s == nil || s.want == nil {
		return fmt.Errorf("guest %s does not run", g.ID)
	}
	if !slices.Contains(s.ports, nic.PortID) {
		s.ports = append(s.ports, nic.PortID)
	}
	return nil
}

// DetachNIC unplugs it.
func (d *Guests) DetachNIC(_ context.Context, id, portID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.m[id]; s != nil {
		s.ports = slices.DeleteFunc(s.ports, func(p string) bool { return p == portID })
	}
	return nil
}

// Remove forgets the guest.
func (d *Guests) Remove(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, id)
	return nil
}

// Len is how many guests there are.
func (d *Guests) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.m)
}

// ConsoleLog is what a small Linux prints while it boots, once per boot, up to the login prompt.
func (d *Guests) ConsoleLog(_ context.Context, id string, lines int) ([]byte, error) {
	d.mu.Lock()
	var want *nodeapi.Guest
	boots := 0
	if s := d.m[id]; s != nil {
		want, boots = s.want, s.boots
	}
	d.mu.Unlock()
	if want == nil {
		return nil, nil
	}
	return agent.TailLines(consoleText(want, boots), lines), nil
}

// Network simulates the node's network: all ports and routers are there at once. It implements
// agent.NetworkDriver.
type Network struct{}

var _ agent.NetworkDriver = Network{}

// Apply says that everything is active.
func (Network) Apply(_ context.Context, c agent.NetworkChange) (agent.NetworkStatus, error) {
	var st agent.NetworkStatus
	port := func(p *nodeapi.Port) {
		if p != nil {
			st.Ports = append(st.Ports, nodeapi.PortStatus{ID: p.ID, Active: p.AdminUp})
		}
	}
	router := func(r *nodeapi.Router) {
		if r == nil {
			return
		}
		st.Routers = append(st.Routers, nodeapi.RouterStatus{ID: r.ID, Active: r.AdminUp})
	}
	network := func(n *nodeapi.Network) {
		if n != nil && n.DHCPPort != nil {
			st.Ports = append(st.Ports, nodeapi.PortStatus{ID: n.DHCPPort.PortID, Active: true})
		}
	}
	if c.Full {
		for _, p := range c.Items.Ports {
			port(p)
		}
		for _, r := range c.Items.Routers {
			router(r)
		}
		for _, n := range c.Items.Networks {
			network(n)
		}
		return st, nil
	}
	for _, ref := range c.Changed {
		switch ref.Kind {
		case nodeapi.KindPort:
			port(c.Items.Ports[ref.ID])
		case nodeapi.KindRouter:
			router(c.Items.Routers[ref.ID])
		case nodeapi.KindNetwork:
			network(c.Items.Networks[ref.ID])
		}
	}
	return st, nil
}

// EnsurePort names a device that nobody opens.
func (Network) EnsurePort(_ context.Context, portID string) (agent.PortDevice, error) {
	return agent.PortDevice{Tap: "tap" + portID[:min(11, len(portID))]}, nil
}

// RemovePort does nothing.
func (Network) RemovePort(context.Context, string) error { return nil }

// Password is none: a simulated guest posts nothing.
func (Network) Password(string) ([]byte, error) { return nil, nil }

// ClearPassword has nothing to forget.
func (Network) ClearPassword(string) error { return nil }
