// Package doctor looks at what a machine lacks to run the cloud and says what to do about it. It changes nothing and must not know
// any service.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/config"
)

// Level of a finding.
type Level int

// Levels: OK is fine, Note works with a limit, Problem keeps the cloud from working.
const (
	OK Level = iota
	Note
	Problem
)

func (l Level) String() string { return [...]string{"ok", "note", "problem"}[l] }

// Finding is the result of one check.
type Finding struct {
	Check  string
	Level  Level
	Saw    string
	Advice string
}

// Options for Run.
type Options struct {
	Config *config.Config
	// Running: the cloud runs, so that its ports are its own.
	Running bool
	// Root is where /proc, /sys, /dev are; empty: /. For tests.
	Root string
	// LookPath finds programs; nil: exec.LookPath.
	LookPath func(string) (string, error)
}

// Program is a program needed at run time and the Debian package that has it.
type Program struct{ Name, Package string }

// Programs that a node runs.
func Programs() []Program {
	return []Program{
		{"qemu-system-x86_64", "qemu-system-x86"},
		{"qemu-img", "qemu-utils"},
		{"nft", "nftables"},
		{"ip", "iproute2"},
	}
}

// Run makes all checks.
func Run(ctx context.Context, o Options) []Finding {
	if o.LookPath == nil {
		o.LookPath = exec.LookPath
	}
	if o.Root == "" {
		o.Root = "/"
	}
	var out []Finding
	for _, check := range []func(context.Context, Options) []Finding{root, programs, kvm, kernel, ports, disk, memory, clock} {
		out = append(out, check(ctx, o)...)
	}
	return out
}

// Worst is the highest level among findings.
func Worst(fs []Finding) Level {
	worst := OK
	for _, f := range fs {
		worst = max(worst, f.Level)
	}
	return worst
}

// Print writes the findings as a table for people.
func Print(w io.Writer, fs []Finding) {
	for _, f := range fs {
		_, _ = fmt.Fprintf(w, "%-8s %-22s %s\n", f.Level, f.Check, f.Saw)
		if f.Advice != "" {
			_, _ = fmt.Fprintf(w, "%31s → %s\n", "", f.Advice)
		}
	}
}

func root(context.Context, Options) []Finding {
	if os.Geteuid() == 0 {
		return []Finding{{"user", OK, "root", ""}}
	}
	return []Finding{{"user", Problem, fmt.Sprintf("user id %d", os.Geteuid()), "run as root, or use `hanok dev`, which needs none"}}
}

func programs(_ context.Context, o Options) []Finding {
	var out []Finding
	for _, p := range Programs() {
		if path, err := o.LookPath(p.Name); err == nil {
			out = append(out, Finding{p.Name, OK, path, ""})
		} else {
			out = append(out, Finding{p.Name, Problem, "not found", "apt-get install " + p.Package})
		}
	}
	return out
}

func kvm(_ context.Context, o Options) []Finding {
	f, err := os.OpenFile(o.Root+"dev/kvm", os.O_RDWR, 0)
	if err == nil {
		_ = f.Close()
		// Below another hypervisor it may open and not work; finding that out takes a machine, which only a node boots.
		return []Finding{{"KVM", OK, "/dev/kvm opens; a node tries it before its first guest, and emulates if it does not work", ""}}
	}
	advice := "turn on virtualisation in the firmware (or nested virtualisation, in a virtual machine) and load kvm_intel or kvm_amd"
	return []Finding{{"KVM", Note, "not available: guests are emulated, about ten times slower", advice}}
}

// kernel looks for what guests' networks need. Features that are built in show in /proc or /sys only.
func kernel(_ context.Context, o Options) []Finding {
	var out []Finding
	for _, k := range []struct{ name, path, module string }{
		{"bridge netfilter", "proc/sys/net/bridge/bridge-nf-call-iptables", "br_netfilter"},
		{"tap devices", "dev/net/tun", "tun"},
		{"network namespaces", "proc/self/ns/net", ""},
		{"connection tracking", "proc/sys/net/netfilter/nf_conntrack_max", "nf_conntrack"},
	} {
		if _, err := os.Stat(o.Root + k.path); err == nil {
			out = append(out, Finding{k.name, OK, "/" + k.path, ""})
		} else if k.module == "" {
			out = append(out, Finding{k.name, Problem, "the kernel has none", "use a kernel with CONFIG_NET_NS"})
		} else if _, err := os.Stat(o.Root + "sys/module/" + k.module); err == nil {
			out = append(out, Finding{k.name, OK, k.module, ""})
		} else {
			out = append(out, Finding{k.name, Note, "not loaded; loaded at start if the kernel has it", "modprobe " + k.module})
		}
	}
	return out
}

func ports(ctx context.Context, o Options) []Finding {
	var out []Finding
	for _, l := range o.Config.API.Listen {
		if o.Running {
			out = append(out, Finding{"port " + l, OK, "in use by this cloud", ""})
			continue
		}
		s, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l)
		if err == nil {
			_ = s.Close()
			out = append(out, Finding{"port " + l, OK, "free", ""})
			continue
		}
		advice := "set api.listen to another address"
		if errors.Is(err, syscall.EADDRINUSE) {
			advice = "another program listens there: stop it (`ss -ltnp` names it), or set api.listen"
		}
		out = append(out, Finding{"port " + l, Problem, err.Error(), advice})
	}
	return out
}

func disk(_ context.Context, o Options) []Finding {
	folder := o.Config.Data.Folder
	var st unix.Statfs_t
	for unix.Statfs(folder, &st) != nil {
		up := folder[:strings.LastIndexByte(folder, '/')]
		if up == "" {
			up = "/"
		}
		if up == folder {
			return []Finding{{"disk", Problem, "cannot look at " + o.Config.Data.Folder, ""}}
		}
		folder = up
	}
	free := int64(st.Bavail) * st.Bsize >> 30
	saw := fmt.Sprintf("%d GiB free for %s", free, o.Config.Data.Folder)
	switch {
	case free < 2:
		return []Finding{{"disk", Problem, saw, "free some space, or set data.folder to a larger disk"}}
	case free < 10:
		return []Finding{{"disk", Note, saw, "enough for a few small guests"}}
	}
	return []Finding{{"disk", OK, saw, ""}}
}

func memory(_ context.Context, o Options) []Finding {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return []Finding{{"memory", Problem, err.Error(), ""}}
	}
	total := int64(si.Totalram) * int64(si.Unit) >> 20
	left := total - o.Config.Compute.ReservedMemory
	saw := fmt.Sprintf("%d MiB, %d for guests", total, max(left, 0))
	if left < 256 {
		return []Finding{{"memory", Problem, saw, "add memory, or lower compute.reserved_host_memory_mb"}}
	}
	return []Finding{{"memory", OK, saw, ""}}
}

// clock: tokens and certificates need a time that is about right. The kernel knows whether somebody keeps it.
func clock(context.Context, Options) []Finding {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	now := time.Now().UTC()
	saw := now.Format(time.RFC3339)
	if now.Year() < 2026 {
		return []Finding{{"time", Problem, saw, "the clock is wrong: set it, and run chrony or systemd-timesyncd"}}
	}
	if err != nil || state == unix.TIME_ERROR {
		return []Finding{{"time", Note, saw + ", not synchronised", "run chrony or systemd-timesyncd; with several nodes it is needed"}}
	}
	return []Finding{{"time", OK, saw + ", synchronised", ""}}
}
