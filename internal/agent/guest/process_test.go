package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// TestConfinement: the process is what a guest that broke out of it would have.
func TestConfinement(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	n.make(g, nil)
	n.boot(g, n.tap(1))
	pid := n.pid(id1)
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	acc := n.d.account
	for _, want := range []string{
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1", "Seccomp:\t2",
		fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", acc.uid), fmt.Sprintf("Gid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", acc.gid),
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %q in the process's status:\n%s", want, raw)
		}
	}
	if acc.uid == 0 {
		t.Error("guests run as root")
	}
	if sid, err := unixGetsid(pid); err != nil || sid != pid {
		t.Errorf("session %d of process %d, %v", sid, pid, err)
	}
	if score, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); strings.TrimSpace(string(score)) != "200" {
		t.Errorf("oom_score_adj %s", score)
	}
	if len(n.d.cgroups.v1) > 0 {
		groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if !strings.Contains(string(groups), ":/hanok/"+id1+"\n") {
			t.Errorf("control groups:\n%s", groups)
		}
	}
	// Another guest's process, which has the same user, reaches neither the monitor nor the serial port.
	if st, err := os.Stat(n.o.RunDir); err != nil || st.Mode().Perm() != 0o700 || st.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	// Its descriptors are its own: nothing of ours was inherited.
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		for _, ours := range []string{".go", "/proc", "pidfd", "test"} {
			if strings.Contains(target, ours) {
				t.Errorf("descriptor %s is %s", fd.Name(), target)
			}
		}
	}
	if err := n.d.Remove(t.Context(), id1); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

func unixGetsid(pid int) (int, error) {
	r, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// nothingLeft checks what a node looks like without guests.
func nothingLeft(t *testing.T, n *node) {
	t.Helper()
	for _, dir := range []string{n.o.Dir, n.o.RunDir} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("left: %s", filepath.Join(dir, e.Name()))
		}
	}
	for _, tree := range n.d.cgroups.v1 {
		entries, _ := os.ReadDir(tree)
		for _, e := range entries {
			if e.Name() == id1 || e.Name() == id2 {
				t.Errorf("left: %s", filepath.Join(tree, e.Name()))
			}
		}
	}
	if pids, err := scan(n.o.Dir); err != nil || len(pids) != 0 {
		t.Errorf("processes left: %v %v", pids, err)
	}
}

// TestAdopt: a new agent finds the process by itself, with its state, and can do everything with it.
func TestAdopt(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	g.Reboot.Seq, g.RebuildSeq = 7, 3
	n.make(g, nil)
	tap := n.tap(1)
	n.boot(g, tap)
	pid := n.pid(id1)
	n.stop()
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the guest went with its agent: %v", err)
	}
	n.start()
	want := agent.GuestState{ID: id1, Power: nodeapi.ObservedRunning, Disks: true, RebuildSeq: 3, RebootSeq: 7, Ports: []string{tap.PortID}}
	if len(n.states) != 1 || fmt.Sprint(n.states[0]) != fmt.Sprint(want) {
		t.Fatalf("adopted %+v", n.states)
	}
	if n.pid(id1) != pid {
		t.Error("another process")
	}
	n.boot(g, tap) // again: nothing happens
	if n.pid(id1) != pid {
		t.Error("started a second time")
	}
	if err := n.d.Pause(t.Context(), id1); err != nil || n.d.Observe(id1).Power != nodeapi.ObservedPaused {
		t.Error(err, n.d.Observe(id1))
	}
	n.stop()
	n.start()
	if n.d.Observe(id1).Power != nodeapi.ObservedPaused {
		t.Error("adopted as", n.d.Observe(id1))
	}
	if err := n.d.Unpause(t.Context(), id1); err != nil || n.d.Observe(id1).Power != nodeapi.ObservedRunning {
		t.Error(err, n.d.Observe(id1))
	}
	// A file that claims something else convinces nobody: the process is gone, its directories are not.
	n.stop()
	syscall.Kill(pid, syscall.SIGKILL)
	waitGone(t, pid)
	os.MkdirAll(filepath.Join(n.o.RunDir, id1), 0o700)
	n.start()
	if st := n.d.Observe(id1); st.Power != nodeapi.ObservedStopped || !st.Disks {
		t.Errorf("after it was killed while nobody looked: %+v", st)
	}
	if err := n.d.Remove(t.Context(), id1); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil && time.Now().Before(limit); {
		var status syscall.WaitStatus
		syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
	}
}

// TestEnds: how a process ended decides what is reported.
func TestEnds(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	n.make(g, nil)
	for _, c := range []struct {
		name  string
		end   func()
		power string
	}{
		{"killed", func() { syscall.Kill(n.pid(id1), syscall.SIGKILL) }, nodeapi.ObservedCrashed},
		{"terminated", func() { syscall.Kill(n.pid(id1), syscall.SIGTERM) }, nodeapi.ObservedCrashed},
		{"told to quit by another", func() {
			gs := n.d.guest(id1)
			gs.mon.Do(context.Background(), "quit", nil, nil)
		}, nodeapi.ObservedStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.boot(g)
			c.end()
			n.changed(id1, c.power)
			if entries, _ := os.ReadDir(n.o.RunDir); len(entries) != 0 {
				t.Errorf("left: %v", entries)
			}
		})
	}
	if err := n.d.Stop(t.Context(), id1, 0); err != nil || n.d.Observe(id1).Power != nodeapi.ObservedStopped {
		t.Error("a crashed guest that is stopped:", err, n.d.Observe(id1))
	}
}

// TestHangs: a process that answers nobody is still adopted, stopped and removed.
func TestHangs(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	n.make(g, nil)
	n.boot(g)
	syscall.Kill(n.pid(id1), syscall.SIGSTOP)
	n.stop()
	n.start()
	if st := n.d.Observe(id1); st.Power != nodeapi.ObservedRunning {
		t.Errorf("adopted as %+v", st)
	}
	if err := n.d.Remove(t.Context(), id1); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

// TestPowerCutAfterTimeout: a guest that knows no power button.
func TestPowerCutAfterTimeout(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	n.make(g, nil)
	n.boot(g)
	begun := time.Now()
	if err := n.d.Stop(t.Context(), id1, time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < time.Second || n.d.Observe(id1).Power != nodeapi.ObservedStopped {
		t.Errorf("took %v: %+v", took, n.d.Observe(id1))
	}
	// Whoever waits for a clean shutdown can be called away.
	n.boot(g)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := n.d.Stop(ctx, id1, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if n.d.Observe(id1).Power != nodeapi.ObservedRunning {
		t.Error("ended all the same")
	}
}

// TestStartFails: the message says what is missing, nothing stays.
func TestStartFails(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	n.make(g, nil)
	err := n.d.Start(t.Context(), g, []agent.NICDevice{nic(99, 0)}) // no such tap, and none is made
	if !agent.IsFinal(err) || !strings.Contains(err.Error(), "tap00000099-11") {
		t.Errorf("error %v", err)
	}
	if st := n.d.Observe(id1); st.Power == nodeapi.ObservedRunning {
		t.Errorf("%+v", st)
	}
	g.MemoryMiB = 1 << 30
	if err := n.d.Start(t.Context(), g, nil); !agent.IsFinal(err) || !strings.Contains(err.Error(), "MiB of memory left") {
		t.Errorf("error %v", err)
	}
	g.MemoryMiB = 128
	n.boot(g)
	if err := n.d.Remove(t.Context(), id1); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

// TestBaseComesBack: the cache was emptied under a stopped guest.
func TestBaseComesBack(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	n.make(g, nil)
	if err := os.RemoveAll(n.o.Images); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(n.o.Images, 0o711)
	n.boot(g)
}

func TestConsoleLog(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	if text, err := n.d.ConsoleLog(t.Context(), id1, 0); err != nil || len(text) != 0 {
		t.Errorf("of a guest that is not there: %q %v", text, err)
	}
	n.make(g, nil)
	n.boot(g)
	n.serial(id1) // the port can be opened while it logs
	path := filepath.Join(n.d.dir(id1), consoleFile)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// In one write: the driver itself trims from time to time, and half of this may be little enough to stay.
	io.WriteString(f, strings.Repeat(strings.Repeat("x", 99)+"\n", consoleMax/100+100))
	n.d.trimLogs()
	io.WriteString(f, "one\ntwo\nlogin: ")
	for range 2 { // running and stopped
		text, err := n.d.ConsoleLog(t.Context(), id1, 0)
		if err != nil || len(text) != consoleKept || !strings.HasSuffix(string(text), "xxx\none\ntwo\nlogin: ") {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		if text, _ := n.d.ConsoleLog(t.Context(), id1, 2); string(text) != "two\nlogin: " {
			t.Errorf("two lines: %q", text)
		}
		if st, _ := os.Stat(path); st.Size() > 1000 {
			t.Errorf("the log has %d bytes", st.Size())
		}
		if err := n.d.Stop(t.Context(), id1, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.d.ConsoleLog(t.Context(), "../../etc/passwd", 0); err == nil {
		t.Error("a path was accepted")
	}
}

// TestUnreachableDirectory is told at the start, not by each guest.
func TestUnreachableDirectory(t *testing.T) {
	n := newNode(t, blank(), "raw")
	parent := filepath.Dir(n.o.Dir)
	os.Chmod(parent, 0o700)
	defer os.Chmod(parent, 0o755)
	if _, err := New(n.o); err == nil || !strings.Contains(err.Error(), "chmod o+x "+parent) {
		t.Errorf("error %v", err)
	}
	n.o.RunDir += strings.Repeat("x", 100)
	if _, err := New(n.o); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error %v", err)
	}
}
