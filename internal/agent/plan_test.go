package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func show(steps []step) string {
	var words []string
	for _, s := range steps {
		w := string(s.kind)
		if s.port != "" {
			w += " " + s.port
		}
		if s.timeout != 0 {
			w += " " + s.timeout.String()
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

func TestPlan(t *testing.T) {
	const boot = "boot-2"
	guest := func(change func(g *nodeapi.Guest)) *nodeapi.Guest {
		g := &nodeapi.Guest{ID: "g", Generation: 5, Power: nodeapi.PowerRunning, StopTimeout: 60,
			NICs: []nodeapi.NIC{{PortID: "p1"}}}
		if change != nil {
			change(g)
		}
		return g
	}
	running := GuestState{ID: "g", Power: nodeapi.ObservedRunning, Disks: true, Ports: []string{"p1"}}
	stopped := GuestState{ID: "g", Power: nodeapi.ObservedStopped, Disks: true}
	settled := progress{Applied: 5, Running: true, BootID: boot}
	older := progress{Applied: 4, Running: true, BootID: boot}
	olderStopped := progress{Applied: 4, BootID: boot}
	power := func(p string) func(*nodeapi.Guest) { return func(g *nodeapi.Guest) { g.Power = p } }
	nics := func(ids ...string) func(*nodeapi.Guest) {
		return func(g *nodeapi.Guest) {
			g.NICs = nil
			for _, id := range ids {
				g.NICs = append(g.NICs, nodeapi.NIC{PortID: id})
			}
		}
	}
	const create = "image, disk, network, start, settle"
	for _, c := range []struct {
		name    string
		want    *nodeapi.Guest
		done    progress
		is      GuestState
		plugged []string
		noBoot  bool // resume off
		steps   string
	}{
		{name: "nothing known", is: running},
		{name: "create", want: guest(nil), is: GuestState{ID: "g"}, steps: create},
		{name: "create, disks made before a crash", want: guest(nil), is: stopped, steps: "network, start, settle"},
		{name: "create, started before a crash", want: guest(nil), is: running, steps: "settle"},
		{name: "create, final fault", want: guest(nil), done: progress{Fault: &nodeapi.Fault{Generation: 5}, BootID: boot}, is: GuestState{ID: "g"}},
		{name: "create, final fault leaves no tap", want: guest(nil), done: progress{Fault: &nodeapi.Fault{Generation: 5}, BootID: boot}, is: GuestState{ID: "g"}, plugged: []string{"p1"}, steps: "unplug p1"},
		{name: "fault of an older generation", want: guest(nil), done: progress{Fault: &nodeapi.Fault{Generation: 4}}, is: GuestState{ID: "g"}, steps: create},
		{name: "settled", want: guest(nil), done: settled, is: running},
		{name: "new generation, nothing to do", want: guest(nil), done: older, is: running, steps: "settle"},
		{name: "generation of a restored database", want: guest(nil), done: progress{Applied: 9, Running: true, BootID: boot}, is: running, steps: "settle"},
		{name: "shut down by itself", want: guest(nil), done: settled, is: stopped, plugged: []string{"p1"}, steps: "unplug p1, note"},
		{name: "crashed", want: guest(nil), done: settled, is: GuestState{ID: "g", Power: nodeapi.ObservedCrashed, Disks: true}, steps: "note"},
		{name: "start", want: guest(nil), done: olderStopped, is: stopped, steps: "network, start, settle"},
		{name: "stop", want: guest(power("stopped")), done: older, is: running, plugged: []string{"p1"}, steps: "stop 1m0s, unplug p1, settle"},
		{name: "stop of a stopped one", want: guest(power("stopped")), done: older, is: stopped, steps: "settle"},
		{name: "stopped and made", want: guest(power("stopped")), is: GuestState{ID: "g"}, steps: "image, disk, settle"},

		{name: "node rebooted", want: guest(nil), done: progress{Applied: 5, Running: true, BootID: "boot-1"}, is: stopped, steps: "network, start, settle"},
		{name: "node rebooted, resume off", noBoot: true, want: guest(nil), done: progress{Applied: 5, Running: true, BootID: "boot-1"}, is: stopped, steps: "note"},
		{name: "node rebooted, guest was down", want: guest(nil), done: progress{Applied: 5, BootID: "boot-1"}, is: stopped, steps: "note"},
		{name: "node rebooted, to be stopped", want: guest(power("stopped")), done: progress{Applied: 5, Running: true, BootID: "boot-1"}, is: stopped, steps: "note"},
		{name: "node rebooted, fault of an attach before", want: guest(nil), done: progress{Applied: 4, Running: true, BootID: "boot-1", Fault: &nodeapi.Fault{Generation: 5}}, is: stopped, steps: "network, start, settle"},

		{name: "soft reboot", want: guest(func(g *nodeapi.Guest) { g.Reboot.Seq = 1 }), done: older, is: running, plugged: []string{"p1"}, steps: "stop 1m0s, network, start, settle"},
		{name: "hard reboot", want: guest(func(g *nodeapi.Guest) { g.Reboot = nodeapi.Reboot{Seq: 1, Hard: true} }), done: older, is: running, steps: "stop, network, start, settle"},
		{name: "reboot without a new generation", want: guest(func(g *nodeapi.Guest) { g.Reboot.Seq = 1 }), done: settled, is: running, steps: "stop 1m0s, network, start, settle"},
		{name: "reboot done, agent killed before it wrote so", want: guest(func(g *nodeapi.Guest) { g.Reboot.Seq = 1 }), done: older, is: GuestState{ID: "g", Power: "running", Disks: true, RebootSeq: 1, Ports: []string{"p1"}}, steps: "settle"},
		{name: "reboot half done", want: guest(func(g *nodeapi.Guest) { g.Reboot.Seq = 1 }), done: older, is: stopped, steps: "network, start, settle"},
		{name: "reboot of a stopped one", want: guest(func(g *nodeapi.Guest) { g.Reboot.Seq = 1; g.Power = "stopped" }), done: olderStopped, is: stopped, steps: "settle"},
		{name: "reboot drops a NIC", want: guest(func(g *nodeapi.Guest) { g.Reboot.Seq = 1; g.NICs = nil }), done: older, is: running, plugged: []string{"p1"}, steps: "stop 1m0s, unplug p1, network, start, settle"},

		{name: "rebuild", want: guest(func(g *nodeapi.Guest) { g.RebuildSeq = 1 }), done: older, is: running, steps: "stop 1m0s, image, disk, network, start, settle"},
		{name: "rebuild, disk made before a crash", want: guest(func(g *nodeapi.Guest) { g.RebuildSeq = 1 }), done: older, is: GuestState{ID: "g", Power: "stopped", Disks: true, RebuildSeq: 1}, steps: "network, start, settle"},
		{name: "rebuild of a stopped one", want: guest(func(g *nodeapi.Guest) { g.RebuildSeq = 1; g.Power = "stopped" }), done: olderStopped, is: stopped, steps: "image, disk, settle"},
		{name: "disks are gone", want: guest(nil), done: olderStopped, is: GuestState{ID: "g"}, steps: "refuse"},

		{name: "attach", want: guest(nics("p1", "p2")), done: older, is: running, plugged: []string{"p1"}, steps: "attach-interface p2, settle"},
		{name: "detach", want: guest(nics()), done: older, is: running, plugged: []string{"p1"}, steps: "detach-interface p1, unplug p1, settle"},
		{name: "replace", want: guest(nics("p2")), done: older, is: running, plugged: []string{"p1"}, steps: "detach-interface p1, unplug p1, attach-interface p2, settle"},
		{name: "detached before a crash", want: guest(nics()), done: older, is: GuestState{ID: "g", Power: "running", Disks: true}, plugged: []string{"p1"}, steps: "unplug p1, settle"},
		{name: "attach to a stopped one", want: guest(func(g *nodeapi.Guest) { nics("p1", "p2")(g); g.Power = "stopped" }), done: olderStopped, is: stopped, steps: "settle"},

		{name: "pause", want: guest(power("paused")), done: older, is: running, steps: "pause, settle"},
		{name: "unpause", want: guest(nil), done: older, is: GuestState{ID: "g", Power: "paused", Disks: true, Ports: []string{"p1"}}, steps: "unpause, settle"},
		{name: "disks are gone under a running one", want: guest(nil), done: older, is: GuestState{ID: "g", Power: "running", Ports: []string{"p1"}}, steps: "settle"},
		{name: "journal lost", want: guest(func(g *nodeapi.Guest) { g.RebuildSeq = 2; g.Reboot.Seq = 3 }), is: GuestState{ID: "g", Power: "running", Disks: true, RebuildSeq: 2, RebootSeq: 3, Ports: []string{"p1"}}, steps: "settle"},
		{name: "stop of a crashed one", want: guest(power("stopped")), done: olderStopped, is: GuestState{ID: "g", Power: "crashed", Disks: true}, steps: "stop 1m0s, settle"},
		{name: "suspend", want: guest(power("suspended")), done: older, is: running, steps: "refuse"},

		{name: "delete", want: guest(power("absent")), done: settled, is: running, plugged: []string{"p1"}, steps: "remove, unplug p1, forget"},
		{name: "delete what failed", want: guest(power("absent")), done: progress{Fault: &nodeapi.Fault{Generation: 5}}, is: GuestState{ID: "g"}, steps: "remove, unplug p1, forget"},
		{name: "delete, half done", want: guest(power("absent")), is: GuestState{ID: "g"}, steps: "remove, unplug p1, forget"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation{want: c.want, done: c.done, is: c.is, plugged: c.plugged, bootID: boot, resume: !c.noBoot}
			if got := show(plan(s)); got != c.steps {
				t.Errorf("plan: %s\nwant: %s", got, c.steps)
			}
		})
	}
}

// TestPlanConverges applies plans to a model, stops at each step as a crash does, plans again and demands that
// everything ends where it should, from every start.
func TestPlanConverges(t *testing.T) {
	states := []GuestState{
		{ID: "g"},
		{ID: "g", Power: "stopped", Disks: true},
		{ID: "g", Power: "crashed", Disks: true},
		{ID: "g", Power: "running", Disks: true, Ports: []string{"p1", "p3"}},
		{ID: "g", Power: "paused", Disks: true, Ports: []string{"p1"}},
	}
	for _, power := range []string{"running", "stopped", "paused", "absent"} {
		for _, seq := range []int64{0, 1} {
			for i, is := range states {
				for crash := range 12 {
					name := fmt.Sprintf("%s seq %d from %d crash %d", power, seq, i, crash)
					want := &nodeapi.Guest{ID: "g", Generation: 7, Power: power, NICs: []nodeapi.NIC{{PortID: "p1"}, {PortID: "p2"}}}
					want.Reboot.Seq, want.RebuildSeq = seq, seq
					s := situation{want: want, is: is, bootID: "b", resume: true}
					if is.Disks {
						s.done = progress{Applied: 6, Running: true, BootID: "b"}
					}
					s.plugged = append(s.plugged, is.Ports...)
					done := false
					for pass := 0; !done && pass < 10; pass++ {
						steps := plan(s)
						done = len(steps) == 0
						for n, st := range steps {
							if pass == 0 && n == crash {
								break // a crash: the rest of this plan never happens
							}
							done = model(&s, st)
						}
					}
					if !done {
						t.Errorf("%s: no end: %s", name, show(plan(s)))
						continue
					}
					if power == "absent" {
						if s.is.Power != "" || len(s.plugged) != 0 {
							t.Errorf("%s: left %+v %v", name, s.is, s.plugged)
						}
						continue
					}
					if s.is.Power != power || s.is.RebuildSeq != seq || !s.is.Disks || s.done.Applied != 7 || s.done.RebuildSeq != seq {
						t.Errorf("%s: ended as %+v %+v", name, s.is, s.done)
					}
					if s.up() && (strings.Join(s.is.Ports, " ") != "p1 p2" || s.done.RebootSeq < seq && power == "running") {
						t.Errorf("%s: ended as %+v %+v", name, s.is, s.done)
					}
				}
			}
		}
	}
}

// model does one step to a situation; true: the guest is gone for good.
func model(s *situation, st step) bool {
	drop := func(list []string, id string) []string {
		var kept []string
		for _, p := range list {
			if p != id {
				kept = append(kept, p)
			}
		}
		return kept
	}
	switch st.kind {
	case stepDisk:
		s.is.Disks, s.is.RebuildSeq = true, s.want.RebuildSeq
		if s.is.Power == "" {
			s.is.Power = "stopped"
		}
	case stepNetwork:
		s.plugged = nil
		for _, n := range s.want.NICs {
			s.plugged = append(s.plugged, n.PortID)
		}
	case stepStart:
		s.is.Power, s.is.Ports, s.is.RebootSeq = "running", s.plugged, s.want.Reboot.Seq
	case stepStop:
		s.is.Power, s.is.Ports, s.is.RebootSeq = "stopped", nil, 0
	case stepPause:
		s.is.Power = "paused"
	case stepUnpause:
		s.is.Power = "running"
	case stepAttach:
		s.is.Ports = append(drop(s.is.Ports, st.port), st.port)
		s.plugged = append(drop(s.plugged, st.port), st.port)
	case stepDetach:
		s.is.Ports = drop(s.is.Ports, st.port)
	case stepUnplug:
		s.plugged = drop(s.plugged, st.port)
	case stepRemove:
		s.is = GuestState{ID: s.is.ID}
	case stepForget:
		s.want = nil
		return true
	case stepSettle:
		s.done = settle(s.want, s.is, s.bootID)
	case stepNote:
		s.done.Running, s.done.BootID = s.up(), s.bootID
	}
	return false
}
