package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/qmp"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

const (
	qmpSocket    = "qmp"
	serialSocket = "serial"
	consoleFile  = "console.log"
	qemuLog      = "qemu.log"

	startTimeout = 60 * time.Second
	quitTimeout  = 5 * time.Second
	// powerdownEvery repeats the shutdown request: a guest that boots misses the first (libvirt's driver in
	// nova asks every 10 s, too).
	powerdownEvery = 10 * time.Second
	// signalDelay is how long the news of a process that was ended by a signal is held back. When the whole
	// node goes down everybody gets one, we too, and the guest is to come back with the node.
	signalDelay = 3 * time.Second
)

// Start starts the guest's process.
func (d *Driver) Start(ctx context.Context, want *nodeapi.Guest, nics []agent.NICDevice) error {
	if err := checkID(want.ID); err != nil {
		return err
	}
	g := d.guest(want.ID)
	g.mu.Lock()
	running, set := g.proc != nil, g.disks
	g.mu.Unlock()
	if running {
		return nil
	}
	if set == nil {
		return fmt.Errorf("guest %s has no disks", want.ID)
	}
	if len(nics) > maxSlots {
		return agent.Final("Detach some interfaces.", "guest %s: a guest can have %d interfaces, not %d", want.ID, maxSlots, len(nics))
	}
	if err := d.checkMemory(want); err != nil {
		return err
	}
	if !fileExists(filepath.Join(d.o.Images, set.Base)) {
		// Somebody emptied the cache; the overlay is nothing without its image.
		if _, err := d.cache.Ensure(ctx, want.Root); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, log, err := d.spawn(want, set, nics)
	if err != nil {
		return err
	}
	defer log.Close()
	g.mu.Lock()
	g.proc, g.paused, g.crashed, g.stopping, g.shutdown, g.deleted = p, false, false, true, "", nil
	g.ports = nil
	for _, n := range nics {
		g.ports = append(g.ports, n.PortID)
	}
	g.mu.Unlock()
	mon, err := d.connect(ctx, g, p)
	if err == nil {
		_, err = queryPaused(ctx, mon)
	}
	d.follow(g, p)
	if err != nil {
		p.kill()
		<-g.watchDone
		if ctx.Err() != nil {
			return fmt.Errorf("guest %s: its process did not answer: %w", g.id, ctx.Err())
		}
		return startFault(g.id, lastLines(log, 0), err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopping = false
	return nil
}

// startFault judges what QEMU said before it ended.
func startFault(id, said string, err error) error {
	if said == "" {
		said = err.Error()
	}
	// The process before this one has not let go yet.
	if strings.Contains(said, "Device or resource busy") || strings.Contains(said, `Failed to get "write" lock`) {
		return fmt.Errorf("guest %s: QEMU ended at its start: %s", id, said)
	}
	if strings.Contains(said, "Cannot allocate memory") {
		return agent.Final("Free memory on the node, or start the server elsewhere.", "guest %s: QEMU ended at its start: %s", id, said)
	}
	return agent.Final("The message is QEMU's; its log is in the guest's directory on the node.", "guest %s: QEMU ended at its start: %s", id, said)
}

// spawn starts the process. It returns the log with its stderr.
func (d *Driver) spawn(want *nodeapi.Guest, set *diskSet, nics []agent.NICDevice) (_ *process, _ *os.File, err error) {
	run, dir := filepath.Join(d.o.RunDir, want.ID), d.dir(want.ID)
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
		if err != nil {
			os.RemoveAll(run)
			d.cgroups.remove(want.ID)
			err = fullDisk(want.ID, err)
		}
	}()
	if err := os.MkdirAll(run, 0o700); err != nil {
		return nil, nil, fmt.Errorf("guest %s: %w", want.ID, err)
	}
	for _, name := range []string{qmpSocket, serialSocket} {
		f, err := listen(filepath.Join(run, name))
		if err != nil {
			return nil, nil, fmt.Errorf("guest %s: socket: %w", want.ID, err)
		}
		open = append(open, f)
	}
	for _, n := range nics {
		f, err := openTap(n.Tap)
		if err != nil { // busy while the process before this one has not let go yet
			return nil, nil, fmt.Errorf("guest %s: port %s: %w", want.ID, n.PortID, err)
		}
		open = append(open, f)
	}
	inherited := open[:len(open):len(open)]
	console := filepath.Join(dir, consoleFile)
	f, err := os.OpenFile(console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("guest %s: %w", want.ID, err)
	}
	open = append(open, f)
	if err := d.own(console, true); err != nil {
		return nil, nil, fmt.Errorf("guest %s: %w", want.ID, err)
	}
	log, err := os.OpenFile(filepath.Join(dir, qemuLog), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("guest %s: %w", want.ID, err)
	}
	m := machine{ID: want.ID, Name: safeName(want.Name), VCPUs: max(1, want.VCPUs), MemoryMiB: want.MemoryMiB, KVM: d.kvm(), TBSizeMiB: d.o.TBSizeMiB,
		Disks: set.arguments(dir, d.o.Images), NICs: nics, Console: console, QMPFD: 3, SerialFD: 4, TapFD: 5}
	l := launch{path: d.o.QEMU, args: m.arguments(), files: inherited, stderr: log, account: d.account,
		env: []string{markGuest + "=" + want.ID, markDir + "=" + d.o.Dir, fmt.Sprint(markReboot, "=", want.Reboot.Seq)}}
	if l.cgroup = d.cgroups.prepare(want, d.o.TBSizeMiB); l.cgroup != nil {
		open = append(open, l.cgroup)
	}
	pid, err := l.start()
	if err != nil {
		log.Close()
		return nil, nil, fmt.Errorf("guest %s: starting %s: %w", want.ID, d.o.QEMU, err)
	}
	d.cgroups.enter(want.ID, pid)
	// A machine short of memory shall lose a guest rather than the agent.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("200"), 0o644)
	p, err := watchChild(pid, want.Reboot.Seq)
	if err != nil {
		unix.Kill(pid, unix.SIGKILL)
		log.Close()
		return nil, nil, err
	}
	return p, log, nil
}

// safeName keeps what may stand in an option of QEMU and helps people who read process lists.
func safeName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// connect opens the monitor of a process. It gives up when the process ends.
func (d *Driver) connect(ctx context.Context, g *guest, p *process) (*qmp.Client, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	mon, err := qmp.Dial(ctx, filepath.Join(d.o.RunDir, g.id, qmpSocket), func(e qmp.Event) { d.event(g, e) })
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.id, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		mon.Close()
		return nil, fmt.Errorf("guest %s: %w", g.id, qmp.ErrClosed)
	}
	g.mon = mon
	return mon, nil
}

// monitor is the connection to a running guest, made anew when it broke.
func (d *Driver) monitor(ctx context.Context, g *guest) (*qmp.Client, error) {
	g.mu.Lock()
	mon, p := g.mon, g.proc
	g.mu.Unlock()
	if p == nil {
		return nil, fmt.Errorf("guest %s does not run", g.id)
	}
	if mon != nil && mon.Err() == nil {
		return mon, nil
	}
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	mon, err := d.connect(ctx, g, p)
	if err != nil {
		return nil, err
	}
	return mon, d.look(ctx, g, mon)
}

func queryPaused(ctx context.Context, mon *qmp.Client) (bool, error) {
	var st struct{ Status string }
	if err := mon.Do(ctx, "query-status", nil, &st); err != nil {
		return false, err
	}
	switch st.Status {
	case "paused", "io-error", "internal-error", "prelaunch", "postmigrate":
		return true, nil
	}
	return false, nil
}

// event takes QEMU's news. It is called in order and must not block.
func (d *Driver) event(g *guest, e qmp.Event) {
	g.mu.Lock()
	notify := false
	switch e.Name {
	case "SHUTDOWN":
		var data struct{ Reason string }
		_ = json.Unmarshal(e.Data, &data)
		g.shutdown = data.Reason
		if g.shutdown == "" {
			g.shutdown = "unknown"
		}
	case "STOP":
		notify, g.paused = !g.paused, true
	case "RESUME":
		notify, g.paused = g.paused, false
	case "DEVICE_DELETED":
		// It comes twice, first for a part of the device without this name.
		var data struct{ Device string }
		_ = json.Unmarshal(e.Data, &data)
		if done := g.deleted[data.Device]; done != nil {
			close(done)
			delete(g.deleted, data.Device)
		}
	}
	g.mu.Unlock()
	if notify {
		go d.changed(g.id)
	}
}

// follow waits for the process's end in the background.
func (d *Driver) follow(g *guest, p *process) {
	g.mu.Lock()
	done := make(chan struct{})
	g.watchDone = done
	g.mu.Unlock()
	d.loops.Go(func() {
		<-p.done
		d.ended(g, p)
		close(done)
	})
}

// ended cleans up after a process and judges how it ended.
func (d *Driver) ended(g *guest, p *process) {
	g.mu.Lock()
	mon := g.mon
	g.mu.Unlock()
	if !p.exited {
		return // the driver is released, and the process runs on without us
	}
	if mon != nil {
		// The last events may still be on their way.
		t := time.AfterFunc(time.Second, func() { mon.Close() })
		<-mon.Done()
		t.Stop()
	}
	os.RemoveAll(filepath.Join(d.o.RunDir, g.id))
	d.cgroups.remove(g.id)
	g.mu.Lock()
	unasked := !g.stopping
	g.proc, g.mon, g.paused, g.ports = nil, nil, false, nil
	for id, done := range g.deleted {
		close(done)
		delete(g.deleted, id)
	}
	reason := g.shutdown
	g.crashed = unasked && reason != "guest-shutdown" && !strings.HasPrefix(reason, "host-qmp")
	g.mu.Unlock()
	if !unasked {
		return
	}
	d.o.Logger.Warn("a guest ended by itself", "guest", g.id, "pid", p.pid, "reason", reason)
	if reason == "host-signal" {
		time.AfterFunc(signalDelay, func() { d.changed(g.id) })
		return
	}
	d.changed(g.id)
}

// Stop shuts the guest down.
func (d *Driver) Stop(ctx context.Context, id string, timeout time.Duration) error {
	d.mu.Lock()
	g := d.m[id]
	d.mu.Unlock()
	if g == nil {
		return nil
	}
	g.mu.Lock()
	p, paused := g.proc, g.paused
	g.crashed = false
	g.mu.Unlock()
	if p == nil {
		return nil
	}
	if timeout > 0 && !paused {
		if ended, err := d.askToShutDown(ctx, g, p, timeout); ended || err != nil {
			return err
		}
	}
	return d.cutPower(g, p)
}

// askToShutDown presses the power button until the guest has gone or the time is up.
func (d *Driver) askToShutDown(ctx context.Context, g *guest, p *process, timeout time.Duration) (ended bool, err error) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	again := time.NewTicker(powerdownEvery)
	defer again.Stop()
	g.mu.Lock()
	g.stopping = true
	done := g.watchDone
	g.mu.Unlock()
	for {
		mon, err := d.monitor(ctx, g)
		if err == nil {
			err = mon.Do(ctx, "system_powerdown", nil, nil)
		}
		if err != nil && ctx.Err() == nil {
			d.o.Logger.Warn("a guest could not be asked to shut down", "guest", g.id, "error", err)
		}
		select {
		case <-done:
			if !p.exited {
				return false, errReleased
			}
			return true, nil
		case <-again.C:
		case <-deadline.C:
			d.o.Logger.Info("a guest did not shut down in time; its power is cut", "guest", g.id, "timeout", timeout)
			return false, nil
		case <-ctx.Done():
			// Somebody wants something else of the guest; if it still ends because of us, so be it.
			return false, ctx.Err()
		}
	}
}

// cutPower ends the process: quit lets it write what it holds, and what does not obey is killed. It is not
// interrupted, for it takes seconds at most.
func (d *Driver) cutPower(g *guest, p *process) error {
	g.mu.Lock()
	g.stopping = true
	mon, done := g.mon, g.watchDone
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), quitTimeout)
	defer cancel()
	if mon != nil && mon.Do(ctx, "quit", nil, nil) == nil && p.waitDone(quitTimeout) {
		<-done
		if !p.exited {
			return errReleased
		}
		return nil
	}
	if err := p.kill(); err != nil {
		return fmt.Errorf("guest %s: %w", g.id, err)
	}
	if !p.waitDone(4 * quitTimeout) {
		return fmt.Errorf("guest %s: its process %d does not end, even killed: the kernel holds it, probably in I/O", g.id, p.pid)
	}
	<-done
	if !p.exited {
		return errReleased
	}
	return nil
}

// errReleased: the driver was closed meanwhile, so that the process's end will not be seen.
var errReleased = errors.New("the driver is closed")

// Pause stops the processors.
func (d *Driver) Pause(ctx context.Context, id string) error { return d.simple(ctx, id, "stop") }

// Unpause continues.
func (d *Driver) Unpause(ctx context.Context, id string) error { return d.simple(ctx, id, "cont") }

func (d *Driver) simple(ctx context.Context, id, command string) error {
	g := d.guest(id)
	mon, err := d.monitor(ctx, g)
	if err != nil {
		return err
	}
	if err := mon.Do(ctx, command, nil, nil); err != nil {
		return fmt.Errorf("guest %s: %w", id, err)
	}
	paused, err := queryPaused(ctx, mon)
	if err != nil {
		return fmt.Errorf("guest %s: %w", id, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = paused
	return nil
}
