package agent_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/sim"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// node is an agent under test with its parts.
type node struct {
	t      *testing.T
	o      agent.Options
	cancel context.CancelFunc
	done   chan error
}

func (n *node) start() {
	n.t.Helper()
	a, err := agent.New(n.o)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.t.Context())
	n.cancel, n.done = cancel, make(chan error, 1)
	go func() { n.done <- a.Run(ctx) }()
}

func (n *node) stop() {
	n.t.Helper()
	n.cancel()
	if err := <-n.done; err != nil {
		n.t.Error(err)
	}
}

func newNode(t *testing.T, c *controller, guests agent.GuestDriver, network agent.NetworkDriver) *node {
	return &node{t: t, o: agent.Options{
		Node:       func() nodeapi.Node { return nodeapi.Node{Name: "n1", BootID: "boot-1"} },
		Controller: c, Guests: guests, Network: network, BootSlots: -1, ReportDelay: time.Millisecond,
	}}
}

func port(id string) nodeapi.Port { return nodeapi.Port{ID: id, NetworkID: "net", AdminUp: true} }

func server(id string, gen int64, power string, ports ...string) nodeapi.Guest {
	g := nodeapi.Guest{ID: id, Generation: gen, RequestID: "req-" + id, Power: power, VCPUs: 1, MemoryMiB: 128, StopTimeout: 60,
		Root: nodeapi.Disk{ImageID: "img", SizeGiB: 1}, Metadata: nodeapi.Metadata{Hostname: id + ".novalocal"}}
	for _, p := range ports {
		g.NICs = append(g.NICs, nodeapi.NIC{PortID: p, MAC: "fa:16:3e:00:00:01", MTU: 1450})
	}
	return g
}

// TestLife walks one guest through everything that a controller may ask.
func TestLife(t *testing.T) {
	c, guests := newController(), sim.New(sim.Options{})
	n := newNode(t, c, guests, sim.Network{})
	n.o.StateDir = t.TempDir()
	n.start()

	c.want(port("p1"), port("p2"))
	c.want(server("s", 1, nodeapi.PowerRunning, "p1"))
	st := c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
	if !slices.Equal(st.AttachedPorts, []string{"p1"}) || st.Fault != nil {
		t.Errorf("created: %+v", st)
	}
	c.wait(t, "port active, delta applied", func() bool { return c.ports["p1"].Active && c.applied == 2 })

	c.want(server("s", 2, nodeapi.PowerRunning, "p1", "p2"))
	if st := c.waitPower(t, "s", nodeapi.ObservedRunning, 2); !slices.Equal(st.AttachedPorts, []string{"p1", "p2"}) {
		t.Errorf("attached: %+v", st)
	}
	c.want(server("s", 3, nodeapi.PowerRunning, "p2"))
	if st := c.waitPower(t, "s", nodeapi.ObservedRunning, 3); !slices.Equal(st.AttachedPorts, []string{"p2"}) {
		t.Errorf("detached: %+v", st)
	}
	g := server("s", 4, nodeapi.PowerRunning, "p2")
	g.Reboot = nodeapi.Reboot{Seq: 1}
	c.want(g)
	if st := c.waitPower(t, "s", nodeapi.ObservedRunning, 4); st.RebootSeq != 1 {
		t.Errorf("rebooted: %+v", st)
	}
	c.want(nodeapi.Call{ID: "c1", Method: nodeapi.MethodConsoleLog, GuestID: "s", Lines: 2}, nodeapi.Call{ID: "c2", Method: "dance"})
	c.wait(t, "console", func() bool { return len(c.results) == 2 })
	if got := string(c.results["c1"].Data); got != "s login: \n" {
		t.Errorf("console's last two lines: %q", got)
	}
	if c.results["c2"].Error == "" {
		t.Error("an unknown call got no error")
	}
	c.want(nodeapi.Call{ID: "c3", Method: nodeapi.MethodPassword, GuestID: "s"}, nodeapi.Call{ID: "c4", Method: nodeapi.MethodClearPassword, GuestID: "s"})
	c.wait(t, "password", func() bool { return len(c.results) == 4 })
	for _, id := range []string{"c3", "c4"} {
		if r := c.results[id]; r.Error != "" || len(r.Data) != 0 {
			t.Errorf("the password of a guest that posted none: %+v", r)
		}
	}
	g.Generation, g.Power = 5, nodeapi.PowerStopped
	c.want(g)
	c.waitPower(t, "s", nodeapi.ObservedStopped, 5)
	c.wait(t, "port down", func() bool { return !c.ports["p2"].Active })
	g.Generation, g.RebuildSeq = 6, 1
	c.want(g)
	if st := c.waitPower(t, "s", nodeapi.ObservedStopped, 6); st.RebuildSeq != 1 {
		t.Errorf("rebuilt: %+v", st)
	}
	g.Generation, g.Power = 7, nodeapi.PowerRunning
	c.want(g)
	c.waitPower(t, "s", nodeapi.ObservedRunning, 7)

	guests.Crash("s", nodeapi.ObservedStopped) // shut down from within
	c.waitPower(t, "s", nodeapi.ObservedStopped, 7)
	g.Generation = 8
	c.want(g)
	c.waitPower(t, "s", nodeapi.ObservedRunning, 8)
	guests.Crash("s", nodeapi.ObservedCrashed)
	c.waitPower(t, "s", nodeapi.ObservedCrashed, 8)

	g.Generation, g.Power = 9, nodeapi.PowerAbsent
	c.want(g)
	c.wait(t, "absent", func() bool { return c.guests["s"].Power == nodeapi.ObservedAbsent })
	if guests.Len() != 0 {
		t.Error("the guest is still there")
	}
	n.stop()
}

// TestWaitsForPort: guests and ports come by different streams.
func TestWaitsForPort(t *testing.T) {
	c := newController()
	n := newNode(t, c, sim.New(sim.Options{}), sim.Network{})
	n.start()
	c.want(server("s", 1, nodeapi.PowerRunning, "p1"))
	c.wait(t, "pending", func() bool { return c.guests["s"].Step == "network" })
	if st := c.guests["s"]; st.Fault != nil || st.Power != nodeapi.ObservedPending {
		t.Errorf("while waiting: %+v", st)
	}
	c.want(port("p1"))
	c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
	n.stop()
}

// TestRestart kills the agent: guests go on, are adopted, and nothing is started twice.
func TestRestart(t *testing.T) {
	c, guests := newController(), sim.New(sim.Options{})
	n := newNode(t, c, guests, sim.Network{})
	n.o.StateDir = t.TempDir()
	n.start()
	c.want(port("p1"), server("s", 1, nodeapi.PowerRunning, "p1"), server("down", 1, nodeapi.PowerStopped))
	c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
	c.waitPower(t, "down", nodeapi.ObservedStopped, 1)
	n.stop()
	guests.Crash("s", nodeapi.ObservedStopped) // while no agent looked

	c.disconnect()
	n.start()
	c.want(server("s2", 1, nodeapi.PowerRunning))
	c.connect()
	c.waitPower(t, "s2", nodeapi.ObservedRunning, 1)
	c.waitPower(t, "s", nodeapi.ObservedStopped, 1)
	n.stop()

	// The node itself goes down: what ran comes back without any controller, what was off stays off.
	c.disconnect()
	guests.Crash("s2", nodeapi.ObservedStopped)
	n.o.Node = func() nodeapi.Node { return nodeapi.Node{Name: "n1", BootID: "boot-2"} }
	n.start()
	for guests.Observe("s2").Power != nodeapi.ObservedRunning {
		runtime.Gosched()
	}
	if p := guests.Observe("s").Power; p != nodeapi.ObservedStopped {
		t.Errorf("the guest that was off is %s", p)
	}
	c.connect()
	c.waitPower(t, "s2", nodeapi.ObservedRunning, 1)
	n.stop()

	guests.Crash("s2", nodeapi.ObservedStopped)
	n.o.Node = func() nodeapi.Node { return nodeapi.Node{Name: "n1", BootID: "boot-3"} }
	n.o.NoResume = true
	n.start()
	c.waitPower(t, "s2", nodeapi.ObservedStopped, 1)
	n.stop()
}

// TestGuestsAreNeverRemovedByOmission: a restored database must not delete disks.
func TestGuestsAreNeverRemovedByOmission(t *testing.T) {
	c, guests := newController(), sim.New(sim.Options{})
	n := newNode(t, c, guests, sim.Network{})
	n.start()
	c.want(server("s", 1, nodeapi.PowerRunning))
	c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
	c.want(nodeapi.ItemRef{Kind: nodeapi.KindGuest, ID: "s"})
	c.disconnect()
	c.connect()
	before := c.reports
	c.wait(t, "a new full report", func() bool { return c.reports > before && c.guests["s"].Power == nodeapi.ObservedRunning })
	n.stop()
	if guests.Observe("s").Power != nodeapi.ObservedRunning {
		t.Error("the guest is gone")
	}
	// A node whose journal is lost reports what it finds and touches nothing.
	n.start()
	c.wait(t, "orphan reported", func() bool {
		st, ok := c.guests["s"]
		return ok && st.Generation == 0 && st.Power == nodeapi.ObservedRunning
	})
	n.stop()
}

func TestFailRate(t *testing.T) {
	c := newController()
	draws := []float64{0.1, 0.25, 0.45, 0.9}
	guests := sim.New(sim.Options{FailRate: 0.5, Random: func() float64 { d := draws[0]; draws = draws[1:]; return d }})
	n := newNode(t, c, guests, sim.Network{})
	n.start()
	for i, step := range []string{"image", "disk", "start", ""} {
		id := fmt.Sprint("s", i)
		c.want(server(id, 1, nodeapi.PowerRunning))
		c.wait(t, id, func() bool { st := c.guests[id]; return st.Fault != nil || st.Power == nodeapi.ObservedRunning })
		st := c.guests[id]
		if step == "" {
			if st.Fault != nil {
				t.Errorf("%s: %+v", id, st)
			}
			continue
		}
		if st.Fault == nil || st.Fault.Step != step || st.Fault.Retryable || st.Fault.Generation != 1 || st.Fault.Message == "" || st.Fault.Hint == "" {
			t.Errorf("%s: %+v %+v", id, st, st.Fault)
		}
		c.want(server(id, 2, nodeapi.PowerAbsent))
		c.wait(t, "removed", func() bool { return c.guests[id].Power == nodeapi.ObservedAbsent })
	}
	n.stop()
}

// TestBootTime: the states of a boot are reported while it lasts.
func TestBootTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController()
		n := newNode(t, c, sim.New(sim.Options{BootTime: 3 * time.Second}), sim.Network{})
		n.start()
		begun := time.Now()
		c.want(port("p1"), server("s", 1, nodeapi.PowerRunning, "p1"))
		c.wait(t, "pending", func() bool { return c.guests["s"].Step == "start" })
		c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
		if took := time.Since(begun); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("the boot took %v", took)
		}
		n.stop()
	})
}

// flaky fails some calls.
type flaky struct {
	*sim.Guests
	mu     sync.Mutex
	images int  // EnsureImage calls to fail
	hang   bool // Stop waits for ctx
	stops  int
}

func (f *flaky) EnsureImage(ctx context.Context, g *nodeapi.Guest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.images--; f.images >= 0 {
		return errors.New("the controller went away in the middle of the download")
	}
	return f.Guests.EnsureImage(ctx, g)
}

func (f *flaky) Stop(ctx context.Context, id string, d time.Duration) error {
	f.mu.Lock()
	hang := f.hang && d > 0
	f.stops++
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.Guests.Stop(ctx, id, d)
}

type flakyNetwork struct {
	sim.Network
	applies int // Apply calls to fail
}

func (f *flakyNetwork) Apply(ctx context.Context, c agent.NetworkChange) (agent.NetworkStatus, error) {
	if f.applies--; f.applies >= 0 {
		return agent.NetworkStatus{}, errors.New("netlink: device busy")
	}
	return f.Network.Apply(ctx, c)
}

// TestTransient: what may heal is tried again, with its fault to be seen meanwhile; lost reports are repeated.
func TestTransient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController()
		c.refusals = 3
		n := newNode(t, c, &flaky{Guests: sim.New(sim.Options{}), images: 4}, &flakyNetwork{applies: 3})
		n.start()
		c.want(port("p1"), server("s", 1, nodeapi.PowerRunning, "p1"))
		c.wait(t, "fault", func() bool { return c.guests["s"].Fault != nil })
		st := c.guests["s"]
		if !st.Fault.Retryable || st.Fault.Step != "image" || st.Power != nodeapi.ObservedPending {
			t.Errorf("while it is retried: %+v %+v", st, st.Fault)
		}
		if st := c.waitPower(t, "s", nodeapi.ObservedRunning, 1); st.Fault != nil {
			t.Errorf("healed: %+v", st)
		}
		n.stop()
	})
}

// TestReconnectRetriesAtOnce: a step that failed for want of the controller does not sit out its pause.
func TestReconnectRetriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController()
		f := &flaky{Guests: sim.New(sim.Options{}), images: 1 << 30}
		n := newNode(t, c, f, sim.Network{})
		n.start()
		c.want(server("s", 1, nodeapi.PowerRunning))
		time.Sleep(time.Hour) // in the bubble: until the pauses are at their longest
		c.disconnect()
		f.mu.Lock()
		f.images = 0
		f.mu.Unlock()
		c.connect()
		begun := time.Now()
		c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
		if c.beats < 300 {
			t.Errorf("%d heartbeats in an hour", c.beats)
		}
		n.stop()
	})
}

// TestDeleteCutsShutdown: who deletes a server does not wait for its clean shutdown.
func TestDeleteCutsShutdown(t *testing.T) {
	c := newController()
	f := &flaky{Guests: sim.New(sim.Options{}), hang: true}
	n := newNode(t, c, f, sim.Network{})
	n.start()
	c.want(server("s", 1, nodeapi.PowerRunning))
	c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
	c.want(server("s", 2, nodeapi.PowerStopped))
	for stops := 0; stops == 0; runtime.Gosched() {
		f.mu.Lock()
		stops = f.stops
		f.mu.Unlock()
	}
	c.want(server("s", 3, nodeapi.PowerAbsent))
	c.wait(t, "absent", func() bool { return c.guests["s"].Power == nodeapi.ObservedAbsent })
	n.stop()
}

// TestRestartAnywhere stops the agent after each number of driver calls during a create and a delete, and
// starts another one: it always ends well.
func TestRestartAnywhere(t *testing.T) {
	for calls := range 12 {
		t.Run(fmt.Sprint(calls), func(t *testing.T) {
			c := newController()
			guests := &counting{Guests: sim.New(sim.Options{}), limit: calls, reached: make(chan struct{})}
			n := newNode(t, c, guests, sim.Network{})
			n.o.StateDir = t.TempDir()
			n.start()
			c.want(port("p1"), server("s", 1, nodeapi.PowerRunning, "p1"))
			restart := func() {
				select {
				case <-guests.reached:
				case <-time.After(20 * time.Millisecond): // fewer calls are made than that
				}
				n.stop()
				guests.limit = 1 << 30
				n.start()
			}
			restart()
			c.waitPower(t, "s", nodeapi.ObservedRunning, 1)
			if guests.begun > 1 && calls < 3 {
				t.Errorf("started %d times", guests.begun)
			}
			guests.limit, guests.reached = calls%2, make(chan struct{})
			c.want(server("s", 2, nodeapi.PowerAbsent))
			restart()
			c.wait(t, "absent", func() bool { return c.guests["s"].Power == nodeapi.ObservedAbsent })
			n.stop()
			if guests.Len() != 0 {
				t.Error("something is left")
			}
		})
	}
}

// counting lets so many calls through and then blocks until its agent is stopped.
type counting struct {
	*sim.Guests
	mu      sync.Mutex
	limit   int
	begun   int
	reached chan struct{}
}

func (k *counting) enter(ctx context.Context) error {
	k.mu.Lock()
	k.limit--
	stuck := k.limit < 0
	k.mu.Unlock()
	if stuck {
		select {
		case <-k.reached:
		default:
			close(k.reached)
		}
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (k *counting) EnsureImage(ctx context.Context, g *nodeapi.Guest) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	return k.Guests.EnsureImage(ctx, g)
}

func (k *counting) EnsureDisks(ctx context.Context, g *nodeapi.Guest, f map[string][]byte) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	return k.Guests.EnsureDisks(ctx, g, f)
}

func (k *counting) Start(ctx context.Context, g *nodeapi.Guest, nics []agent.NICDevice) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	k.begun++
	return k.Guests.Start(ctx, g, nics)
}

func (k *counting) Remove(ctx context.Context, id string) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	return k.Guests.Remove(ctx, id)
}

// TestThousands measures what a simulated server costs; the limits are far above what is seen.
func TestThousands(t *testing.T) {
	const servers = 3000
	c := newController()
	n := newNode(t, c, sim.New(sim.Options{}), sim.Network{})
	n.start()
	defer n.stop()
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, used := heap(), cpu()
	for i := range servers {
		id := fmt.Sprintf("%08d-0000-4000-8000-000000000000", i)
		c.want(port("p"+id), server(id, 1, nodeapi.PowerRunning, "p"+id))
	}
	c.wait(t, "all run", func() bool {
		if len(c.guests) < servers {
			return false
		}
		for _, g := range c.guests {
			if g.Power != nodeapi.ObservedRunning {
				return false
			}
		}
		return true
	})
	perServer := (cpu() - used) / servers
	c.mu.Lock()
	c.queue, c.seen = nil, nil
	c.mu.Unlock()
	size := (heap() - before) / servers
	t.Logf("CPU %v, memory %d bytes per server, both ends together; %d reports", perServer, size, c.reports)
	if size > 16<<10 {
		t.Errorf("memory %d bytes per server", size)
	}
}

// unlucky has a router that fails a few times.
type unlucky struct {
	sim.Network
	left int
}

func (u *unlucky) Apply(_ context.Context, c agent.NetworkChange) (agent.NetworkStatus, error) {
	var st agent.NetworkStatus
	for id := range c.Items.Routers {
		r := nodeapi.RouterStatus{ID: id, Active: true}
		if u.left--; u.left >= 0 {
			r = nodeapi.RouterStatus{ID: id, Error: "the gateway's network has not arrived"}
		}
		st.Routers = append(st.Routers, r)
	}
	return st, nil
}

// TestItemThatFails: one router in error is tried again though no controller sends anything.
func TestItemThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController()
		n := newNode(t, c, sim.New(sim.Options{}), &unlucky{left: 4})
		n.start()
		c.want(nodeapi.Router{ID: "r", AdminUp: true})
		c.wait(t, "error", func() bool { return c.routers["r"].Error != "" })
		c.wait(t, "active", func() bool { return c.routers["r"].Active })
		reports := c.reports
		time.Sleep(time.Hour) // in the bubble: a router that works is left alone
		if c.reports != reports {
			t.Error("still being applied")
		}
		n.stop()
	})
}

// TestChangedRouterIsReported: a router that stays active has news for the controller when its item changed.
func TestChangedRouterIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newController()
		n := newNode(t, c, sim.New(sim.Options{}), sim.Network{})
		n.start()
		c.want(nodeapi.Router{ID: "r", AdminUp: true})
		c.wait(t, "active", func() bool { return c.routers["r"].Active })
		c.mu.Lock()
		delete(c.routers, "r")
		c.mu.Unlock()
		c.want(nodeapi.Router{ID: "r", AdminUp: true, Interfaces: []nodeapi.ServicePort{{PortID: "leg"}}})
		c.wait(t, "reported with its new leg", func() bool { return c.routers["r"].Active })
		n.stop()
	})
}
