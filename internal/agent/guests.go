package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// guest is what the agent has in memory of one guest. Agent.mu guards it; its worker alone writes done,
// is and plugged.
type guest struct {
	id      string
	want    *nodeapi.Guest // nil: no controller told us of it
	done    progress
	is      GuestState
	plugged []string // sorted

	working  bool
	again    bool                    // look again when the worker is through
	cancel   context.CancelCauseFunc // of the step at work
	starting bool                    // on its way up: report pending
	step     stepKind                // at work, or the one that failed
	fault    *nodeapi.Fault          // of the last attempt, which is to be repeated
	failures int
	unretry  func() bool // stops the timer of the next attempt

	gone bool // removed and forgotten; the controller is to be told
	sent *nodeapi.GuestStatus
}

var errSuperseded = errors.New("superseded by a newer item")

// adopt asks the driver what is there.
func (a *Agent) adopt(ctx context.Context) error {
	states, err := a.o.Guests.Adopt(ctx, a.changed)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, is := range states {
		g := a.guests[is.ID]
		if g == nil {
			a.o.Logger.Warn("a guest is here that no controller told of; it is left as it is", "guest", is.ID, "power", is.Power)
			g = &guest{id: is.ID}
			a.guests[is.ID] = g
		}
		g.is = is
		// Taps of running guests are there; whether those of the others are, the network driver knows.
		g.plugged = slices.Sorted(slices.Values(is.Ports))
	}
	return nil
}

// changed is called by the driver when a guest changed by itself.
func (a *Agent) changed(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.guests[id]
	if g == nil {
		return
	}
	a.kick(g)
}

// setGuest takes a newer item. a.mu is held.
func (a *Agent) setGuest(item *nodeapi.Guest) {
	g := a.guests[item.ID]
	if g == nil {
		g = &guest{id: item.ID}
		a.guests[item.ID] = g
	}
	old := g.want
	g.want, g.gone = item, false
	g.fault, g.failures = nil, 0
	if g.unretry != nil {
		g.unretry()
	}
	if g.cancel != nil && old != nil && supersedes(old, item) {
		g.cancel(errSuperseded)
	}
	a.kick(g)
}

// supersedes: the newer item makes it pointless to finish the step at work.
func supersedes(old, item *nodeapi.Guest) bool {
	if item.Power == nodeapi.PowerAbsent {
		return old.Power != nodeapi.PowerAbsent
	}
	return item.Reboot.Hard && item.Reboot.Seq > old.Reboot.Seq
}

// kick makes a worker look at the guest. a.mu is held.
func (a *Agent) kick(g *guest) {
	g.again = true
	if g.working || a.ctx == nil || a.ctx.Err() != nil {
		return
	}
	g.working = true
	a.workers.Go(func() { a.work(a.ctx, g) })
}

func (a *Agent) kickAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.guests {
		a.kick(g)
	}
}

// retryNow repeats failed steps at once: the controller is back. a.mu is held.
func (a *Agent) retryNow() {
	for _, g := range a.guests {
		if g.fault != nil {
			g.failures = 0
			a.kick(g)
		}
	}
}

func (a *Agent) stopRetries() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.guests {
		if g.unretry != nil {
			g.unretry()
		}
	}
}

// work plans and does, until nothing is left to do, something is to be waited for, or ctx ends.
func (a *Agent) work(ctx context.Context, g *guest) {
	for {
		a.mu.Lock()
		if ctx.Err() != nil {
			g.working = false
			a.mu.Unlock()
			return
		}
		g.again = false
		g.is = a.o.Guests.Observe(g.id)
		s := situation{want: g.want, done: g.done, is: g.is, plugged: slices.Clone(g.plugged), bootID: a.bootID, resume: !a.o.NoResume}
		steps := plan(s)
		if len(steps) == 0 {
			g.working, g.starting, g.step, g.fault, g.failures = false, false, "", nil, 0
			a.reports.guest(g)
			if g.gone && g.sent != nil && g.sent.Power == nodeapi.ObservedAbsent {
				delete(a.guests, g.id)
			}
			a.mu.Unlock()
			return
		}
		stepCtx, cancel := context.WithCancelCause(ctx)
		g.cancel, g.starting = cancel, starts(steps)
		a.mu.Unlock()

		err := a.do(stepCtx, g, s.want, steps)
		superseded := errors.Is(context.Cause(stepCtx), errSuperseded)
		cancel(nil)
		if a.after(ctx, g, s.want, err, superseded) {
			return
		}
	}
}

// after judges how a plan went. True: the worker is through.
func (a *Agent) after(ctx context.Context, g *guest, want *nodeapi.Guest, err error, superseded bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	g.cancel = nil
	g.is = a.o.Guests.Observe(g.id)
	switch {
	case ctx.Err() != nil:
		g.working = false
		return true
	case err == nil:
		g.fault, g.failures = nil, 0
		if g.gone && g.want == nil {
			g.working = false
			a.reports.guest(g)
			return true
		}
		return false
	case superseded || g.want != want:
		return false
	case errors.Is(err, errWaits):
		if g.again {
			return false
		}
		g.working = false
		a.reports.guest(g)
		return true
	}
	fault := stepFault(string(g.step), err)
	fault.Generation = want.Generation
	log := a.guestLog(g, want).With("step", g.step, "error", err)
	if IsFinal(err) && want.Power != nodeapi.PowerAbsent {
		log.Error("the guest's step failed for good", "hint", fault.Hint)
		done := g.done
		done.Fault, done.Running, done.BootID = fault, g.is.Power == nodeapi.ObservedRunning, a.bootID
		// Not on disk, the fault is found again after a restart.
		_ = a.keepProgress(g.id, done)
		g.done = done
		return false // what it had plugged is to be removed
	}
	fault.Retryable = true
	// Not at once even if the guest changed meanwhile: a guest that dies at its start would keep us busy.
	wait := backoff(g.failures, time.Second, time.Minute)
	log.Warn("the guest's step failed, trying again", "in", wait)
	g.fault = fault
	g.failures++
	g.working = false
	g.unretry = a.o.Clock.AfterFunc(wait, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.kick(g)
	})
	a.reports.guest(g)
	return true
}

func (a *Agent) guestLog(g *guest, want *nodeapi.Guest) *slog.Logger {
	if want == nil {
		return a.o.Logger.With("guest", g.id)
	}
	return a.o.Logger.With("request_id", want.RequestID, "guest", g.id, "generation", want.Generation)
}

// do does the steps until one fails or a newer item arrives.
func (a *Agent) do(ctx context.Context, g *guest, want *nodeapi.Guest, steps []step) error {
	var nics []NICDevice
	for _, st := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.mu.Lock()
		if g.want != want {
			a.mu.Unlock()
			return nil
		}
		g.step = st.kind
		if g.starting {
			a.reports.guest(g)
		}
		a.mu.Unlock()
		begun := a.o.Clock.Now()
		if err := a.perform(ctx, g, want, st, &nics); err != nil {
			return err
		}
		if log := a.o.Logger; log.Enabled(ctx, slog.LevelDebug) {
			a.guestLog(g, want).Debug("step done", "step", st.kind, "port", st.port, "took", a.o.Clock.Now().Sub(begun))
		}
	}
	return nil
}

func (a *Agent) perform(ctx context.Context, g *guest, want *nodeapi.Guest, st step, nics *[]NICDevice) error {
	drv := a.o.Guests
	switch st.kind {
	case stepImage:
		return drv.EnsureImage(ctx, want)
	case stepDisk:
		return a.inSlot(ctx, func() error { return a.ensureDisks(ctx, want) })
	case stepNetwork:
		*nics = nil
		for _, nic := range want.NICs {
			dev, err := a.plug(ctx, g, nic)
			if err != nil {
				return err
			}
			*nics = append(*nics, dev)
		}
		return nil
	case stepStart:
		return a.inSlot(ctx, func() error { return drv.Start(ctx, want, *nics) })
	case stepStop:
		return drv.Stop(ctx, g.id, st.timeout)
	case stepPause:
		return drv.Pause(ctx, g.id)
	case stepUnpause:
		return drv.Unpause(ctx, g.id)
	case stepAttach:
		i := slices.IndexFunc(want.NICs, func(n nodeapi.NIC) bool { return n.PortID == st.port })
		dev, err := a.plug(ctx, g, want.NICs[i])
		if err != nil {
			return err
		}
		return drv.AttachNIC(ctx, want, dev)
	case stepDetach:
		return drv.DetachNIC(ctx, g.id, st.port)
	case stepUnplug:
		return a.unplugPort(ctx, g, st.port)
	case stepRemove:
		return drv.Remove(ctx, g.id)
	case stepForget:
		return a.forget(g, want)
	case stepSettle:
		a.mu.Lock()
		done := settle(want, drv.Observe(g.id), a.bootID)
		a.mu.Unlock()
		return a.setProgress(g, want, done)
	case stepNote:
		a.mu.Lock()
		done, power := g.done, g.is.Power
		a.mu.Unlock()
		done.Running = power == nodeapi.ObservedRunning || power == nodeapi.ObservedPaused
		done.BootID = a.bootID
		a.guestLog(g, want).Info("the guest changed by itself", "power", power)
		return a.setProgress(g, want, done)
	case stepRefuse:
		return st.reason
	}
	return fmt.Errorf("unknown step %q", st.kind)
}

// inSlot bounds how many guests do heavy work at a time.
func (a *Agent) inSlot(ctx context.Context, f func() error) error {
	if a.slots == nil {
		return f()
	}
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.slots }()
	return f()
}

func (a *Agent) ensureDisks(ctx context.Context, want *nodeapi.Guest) error {
	var files map[string][]byte
	if want.ConfigDrive {
		if a.o.ConfigDrive == nil {
			return Final("Create the server without a config drive.", "guest %s wants a config drive, which this node cannot make", want.ID)
		}
		var err error
		if files, err = a.configDrive(want); err != nil {
			return err
		}
	}
	return a.o.Guests.EnsureDisks(ctx, want, files)
}

// configDrive renders the drive once the ports it tells of are known.
func (a *Agent) configDrive(want *nodeapi.Guest) (map[string][]byte, error) {
	for _, nic := range want.NICs {
		if !a.network.knows(want.ID, nic.PortID) {
			return nil, errWaits
		}
	}
	a.itemsMu.RLock()
	defer a.itemsMu.RUnlock()
	return a.o.ConfigDrive(want, a.items.NetworkItems), nil
}

// plug makes the host's end of a NIC. It counts as plugged even when it failed: half of it may be there.
func (a *Agent) plug(ctx context.Context, g *guest, nic nodeapi.NIC) (NICDevice, error) {
	a.mu.Lock()
	if i, found := slices.BinarySearch(g.plugged, nic.PortID); !found {
		g.plugged = slices.Insert(g.plugged, i, nic.PortID)
	}
	a.mu.Unlock()
	dev, err := a.network.ensurePort(ctx, g.id, nic.PortID)
	return NICDevice{NIC: nic, PortDevice: dev}, err
}

func (a *Agent) unplugPort(ctx context.Context, g *guest, port string) error {
	if err := a.network.removePort(ctx, port); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if i, found := slices.BinarySearch(g.plugged, port); found {
		g.plugged = slices.Delete(g.plugged, i, i+1)
	}
	return nil
}

func (a *Agent) keepProgress(id string, done progress) error {
	if a.journal == nil {
		return nil
	}
	e, err := put(progressKey+"/"+id, done)
	if err != nil {
		return err
	}
	return a.journal.append(e)
}

func (a *Agent) setProgress(g *guest, want *nodeapi.Guest, done progress) error {
	if err := a.keepProgress(g.id, done); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if done.Applied == want.Generation && g.done.Applied != done.Applied {
		a.guestLog(g, want).Info("applied", "power", a.o.Guests.Observe(g.id).Power)
	}
	g.done = done
	return nil
}

// forget removes the guest from the journal; what is left is to tell the controller.
func (a *Agent) forget(g *guest, want *nodeapi.Guest) error {
	err := a.journal.append(entry{Key: itemKey(nodeapi.ItemRef{Kind: nodeapi.KindGuest, ID: g.id})}, entry{Key: progressKey + "/" + g.id})
	if err != nil {
		return err
	}
	a.itemsMu.Lock()
	delete(a.items.absent, g.id)
	a.itemsMu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.want != want {
		return nil
	}
	a.guestLog(g, want).Info("removed")
	g.want, g.done, g.gone = nil, progress{Applied: want.Generation, RebootSeq: want.Reboot.Seq, RebuildSeq: want.RebuildSeq}, true
	return nil
}

// status is what the controller is told of a guest.
func (g *guest) status() nodeapi.GuestStatus {
	st := nodeapi.GuestStatus{
		ID: g.id, Generation: g.done.Applied, RebootSeq: g.done.RebootSeq, RebuildSeq: g.done.RebuildSeq,
		Power: g.is.Power, Fault: g.fault,
	}
	if f := g.done.Fault; f != nil && g.fault == nil && g.want != nil && f.Generation == g.want.Generation {
		st.Fault = f
	}
	switch {
	case g.gone:
		st.Power = nodeapi.ObservedAbsent
	case g.starting || st.Power == "" && g.done.Applied == 0:
		st.Power, st.Step = nodeapi.ObservedPending, reportedStep(g.step, st.Fault)
	case st.Power == "":
		st.Power = nodeapi.ObservedStopped // its disks are gone
	}
	switch st.Power {
	case nodeapi.ObservedRunning, nodeapi.ObservedPaused:
		st.AttachedPorts = g.is.Ports
	case nodeapi.ObservedStopped, nodeapi.ObservedCrashed:
		// The NICs that the next start gives it.
		if g.want != nil {
			for _, nic := range g.want.NICs {
				st.AttachedPorts = append(st.AttachedPorts, nic.PortID)
			}
		}
	}
	return st
}

// reportedStep is the step by the names that the controller knows.
func reportedStep(s stepKind, f *nodeapi.Fault) string {
	if s == "" && f != nil {
		return f.Step
	}
	switch s {
	case stepUnplug:
		return string(stepNetwork)
	case stepSettle, stepPause, stepUnpause:
		return string(stepStart)
	}
	return string(s)
}
