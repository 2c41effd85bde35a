package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/facts"
	"github.com/hanok-cloud/hanok/internal/agent/guest"
	agentnet "github.com/hanok-cloud/hanok/internal/agent/network"
	"github.com/hanok-cloud/hanok/internal/agent/sim"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/pki"
)

// simulatedNode makes a node without a machine; the result runs it until its context ends.
func simulatedNode(c nodeapi.Controller, name string, o DevOptions, log *slog.Logger) (func(context.Context), error) {
	facts := nodeapi.Node{
		Name: name, HypervisorType: "fake", HypervisorVersion: 7002022, HostIP: "127.0.0.1", Arch: "x86_64", CPUModel: "simulated", CPUVendor: "Hanok",
		VCPUs: 1000, MemoryMiB: 512 << 10, DiskGiB: 100 << 10, DiskFreeGiB: 100 << 10, BootID: name,
		Traits:                    []string{"COMPUTE_NODE", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NET_ATTACH_INTERFACE"},
		PhysicalInterfaceMappings: map[string]string{"provider": "sim0", "public": "sim1"}, EnableVXLAN: true, LocalIP: "127.0.0.1", L2Population: true,
	}
	booted := time.Now()
	a, err := agent.New(agent.Options{
		Node: func() nodeapi.Node {
			n := facts
			n.UptimeSeconds = 1 + int64(time.Since(booted).Seconds())
			return n
		},
		Controller: c, Guests: sim.New(sim.Options{BootTime: o.BootTime, FailRate: o.FailRate}), Network: sim.Network{},
		ConfigDrive: configDrive, BootSlots: -1, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		if err := a.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("simulated node ended", "node", name, "error", err)
		}
	}, nil
}

// nodeName is the configured name or the host's.
func nodeName(c *config.Config) (string, error) {
	if c.Node.Name != "" {
		return c.Node.Name, nil
	}
	h, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("node.name is not set and the host has no name: %w", err)
	}
	return h, nil
}

// nodeParts are a real node's drivers.
type nodeParts struct {
	guests  *guest.Driver
	network *nodeNetwork
	machine facts.Machine
	state   string
}

// openNode prepares the drivers; nothing on the machine is changed yet but files in the data folder. Fetch opens an image's bytes; nil
// where no guest is going to be made.
func openNode(c *config.Config, paths Paths, fetch func(ctx context.Context, imageID string) (io.ReadCloser, error), log *slog.Logger) (p *nodeParts, err error) {
	p = &nodeParts{state: filepath.Join(paths.Data, "node"), network: &nodeNetwork{}}
	if p.machine, err = facts.Read(); err != nil {
		return nil, err
	}
	if p.guests, err = guest.New(guest.Options{
		Dir: filepath.Join(p.state, "guests"), RunDir: filepath.Join(paths.Data, "run", "guests"), Images: filepath.Join(p.state, "images"),
		OpenImage: fetch, User: c.Node.QEMUUser, Logger: log,
	}); err != nil {
		return nil, err
	}
	p.network.driver, err = agentnet.New(p.networkOptions(c, log))
	return p, err
}

// localIP is local_ip. Without one the node's self-service networks end at itself: a tunnel from loopback has no other side.
func localIP(c *config.Config) string {
	if c.VXLAN.LocalIP == "" {
		return "127.0.0.1"
	}
	return c.VXLAN.LocalIP
}

func (p *nodeParts) networkOptions(c *config.Config, log *slog.Logger) agentnet.Options {
	uid, gid := p.guests.User()
	return agentnet.Options{
		PhysicalInterfaceMappings: c.Mappings(), EnableVXLAN: c.VXLAN.EnableVXLAN, LocalIP: localIP(c), L2Population: c.VXLAN.L2Population,
		TapUser: uid, TapGroup: gid, StateDir: p.state, Guests: p.network.guest, Logger: log,
	}
}

// shutdownTime is how long guests may take to shut down cleanly when the cloud is stopped.
const shutdownTime = 30 * time.Second

// shutDownGuests stops every guest of this node, whose agent does not run. They are to start again with the next agent, as after a
// reboot of the node, so the node counts as booted anew.
func (p *nodeParts) shutDownGuests(ctx context.Context) error {
	found, err := p.guests.Adopt(ctx, func(string) {})
	if err != nil {
		return err
	}
	if err := p.countDown(); err != nil {
		return err
	}
	errs := make([]error, len(found))
	var wg sync.WaitGroup
	for i, g := range found {
		if g.Power == nodeapi.ObservedRunning || g.Power == nodeapi.ObservedPaused {
			wg.Go(func() { errs[i] = p.guests.Stop(ctx, g.ID, shutdownTime) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// downsFile counts how often the cloud was stopped on this node.
func (p *nodeParts) downsFile() string { return filepath.Join(p.state, "downs") }

func (p *nodeParts) countDown() error {
	return pki.WriteFile(p.downsFile(), []byte(strconv.Itoa(p.downs()+1)), 0o600)
}

func (p *nodeParts) downs() int {
	b, err := os.ReadFile(p.downsFile())
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// describe is the node as it is now.
func (p *nodeParts) describe(c *config.Config, name string) nodeapi.Node {
	n := nodeapi.Node{
		Name: name, HostIP: localIP(c), PhysicalInterfaceMappings: c.Mappings(),
		EnableVXLAN: c.VXLAN.EnableVXLAN, LocalIP: localIP(c), L2Population: c.VXLAN.L2Population,
	}
	p.machine.Fill(&n, p.state)
	n.BootID += "/" + strconv.Itoa(p.downs())
	return n
}

// runNode runs a real node until ctx ends.
func runNode(ctx context.Context, c *config.Config, paths Paths, name string, ctl nodeapi.Controller, log *slog.Logger) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	if err := ensureProvider(c); err != nil {
		return err
	}
	fetch := func(ctx context.Context, imageID string) (io.ReadCloser, error) {
		return ctl.ImageData(ctx, name, imageID)
	}
	p, err := openNode(c, paths, fetch, log)
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Options{
		Node: func() nodeapi.Node { return p.describe(c, name) }, Controller: ctl, Guests: p.guests, Network: p.network,
		ConfigDrive: configDrive, StateDir: p.state, NoResume: !c.Node.ResumeBoot, Logger: log,
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
