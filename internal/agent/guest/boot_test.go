package guest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/metadata"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// drive is a config drive that gives the guest a static address on its first interface, and a key.
func drive(g *nodeapi.Guest, key string, nics ...agent.NICDevice) map[string][]byte {
	network := nodeapi.Network{ID: "net", MTU: 1450, Subnets: []nodeapi.Subnet{{ID: "sub", CIDR: "10.9.0.0/24", GatewayIP: "10.9.0.1"}}}
	g.ConfigDrive = true
	g.Metadata.Keys = []nodeapi.MetadataKey{{Name: "k", Type: "ssh", Data: key}}
	in := metadata.Instance{Guest: *g}
	for i, n := range nics {
		in.Interfaces = append(in.Interfaces, metadata.Interface{Network: network, Port: nodeapi.Port{ID: n.PortID, NetworkID: "net", MAC: n.MAC,
			FixedIPs: []nodeapi.FixedIP{{SubnetID: "sub", IP: fmt.Sprintf("10.9.0.%d", 10+i)}}}})
	}
	return metadata.Render(in)
}

// gateway gives the host's end of a tap the address that the guest talks to.
func gateway(t *testing.T, tap string) {
	t.Helper()
	l, err := netlink.LinkByName(tap)
	if err == nil {
		err = netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 0, 1), Mask: net.CIDRMask(24, 32)}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ssh waits until the guest lets us log in.
func ssh(t *testing.T, key, command string) string {
	t.Helper()
	var last []byte
	for limit := time.Now().Add(5 * time.Minute); time.Now().Before(limit); {
		// nobody tells when the first login is possible: each attempt waits on the network
		out, err := exec.Command("ssh", "-i", key, "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR",
			"-oConnectTimeout=2", "-oBatchMode=yes", "hanok@10.9.0.10", command).CombinedOutput()
		if err == nil {
			return string(out)
		}
		last = out
	}
	t.Fatalf("no login: %s", last)
	return ""
}

// logged waits until the console log holds a text. QEMU writes to the log after it has written to the socket, so what was read there may
// be missing here for a moment.
func (n *node) logged(id, want string) {
	n.t.Helper()
	var text []byte
	tick := time.NewTicker(20 * time.Millisecond) // nothing tells when QEMU has written
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); <-tick.C {
		var err error
		if text, err = n.d.ConsoleLog(n.t.Context(), id, 0); err != nil {
			n.t.Fatalf("console log: %v", err)
		}
		if bytes.Contains(text, []byte(want)) {
			return
		}
	}
	n.t.Errorf("no %q in the console log:\n%s", want, text)
}

// later runs a command after the login that asks for it has ended well.
func later(command string) string {
	return "sudo sh -c '(sleep 1; " + command + ") >/dev/null 2>&1 </dev/null &'"
}

// cpuSeconds is the processor time that a process has used.
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+2:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return float64(user+system) / 100
}

// TestRealGuest boots the small guest and does to it all that users do.
func TestRealGuest(t *testing.T) {
	n := newNode(t, realImage(t), "qcow2")
	key := shortDir(t) + "/key"
	run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	g := n.spec(id1)
	g.Root.SizeGiB, g.EphemeralGiB, g.SwapMiB = 1, 1, 8
	first, second := n.tap(1), n.tap(2)
	gateway(t, first.Tap)
	n.make(g, drive(g, strings.TrimSpace(string(public)), first))

	begun := time.Now()
	n.boot(g, first)
	t.Logf("started in %v", time.Since(begun).Round(time.Millisecond))
	port := n.serial(id1)
	out := ssh(t, key, "sudo dmidecode -s system-product-name 2>/dev/null || cat /sys/class/dmi/id/product_name; cat /sys/class/dmi/id/product_uuid; lsblk -nbdo NAME,SIZE; cat /sys/class/net/eth0/mtu")
	t.Logf("ssh answers after %v, %.1f s of processor time", time.Since(begun).Round(time.Millisecond), cpuSeconds(t, n.pid(id1)))
	for _, want := range []string{"OpenStack Nova\n", "vda 1073741824\n", "vdb 1073741824\n", "vdc    8388608\n", "1450\n"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " ")+" ", strings.Join(strings.Fields(want), " ")+" ") {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	port.until("login:")
	n.logged(id1, "login:")

	t.Run("attach and detach", func(t *testing.T) {
		if err := n.d.AttachNIC(t.Context(), g, second); err != nil {
			t.Fatal(err)
		}
		if err := n.d.AttachNIC(t.Context(), g, second); err != nil { // repeated
			t.Fatal(err)
		}
		out := ssh(t, key, "i=0; while [ $i -lt 100 ] && ! grep -q "+second.MAC+" /sys/class/net/*/address; do i=$((i+1)); sleep 0.1; done; cat /sys/class/net/*/address")
		if !strings.Contains(out, second.MAC) {
			t.Errorf("the guest does not see it: %s", out)
		}
		n.stop() // the agent restarts in between
		n.start()
		if got := n.d.Observe(id1).Ports; len(got) != 2 {
			t.Errorf("ports %v", got)
		}
		begun := time.Now()
		if err := n.d.DetachNIC(t.Context(), id1, second.PortID); err != nil {
			t.Fatal(err)
		}
		t.Logf("detached in %v", time.Since(begun).Round(time.Millisecond))
		if err := n.d.DetachNIC(t.Context(), id1, second.PortID); err != nil { // repeated
			t.Error(err)
		}
		if got := n.d.Observe(id1).Ports; len(got) != 1 || got[0] != first.PortID {
			t.Errorf("ports %v", got)
		}
		if out := ssh(t, key, "cat /sys/class/net/*/address"); strings.Contains(out, second.MAC) {
			t.Errorf("the guest still sees it: %s", out)
		}
		if err := n.d.AttachNIC(t.Context(), g, second); err != nil { // the slot and the tap are free again
			t.Fatal(err)
		}
	})

	t.Run("pause", func(t *testing.T) {
		if err := n.d.Pause(t.Context(), id1); err != nil {
			t.Fatal(err)
		}
		if err := n.d.Unpause(t.Context(), id1); err != nil {
			t.Fatal(err)
		}
		ssh(t, key, "true")
	})

	t.Run("clean stop", func(t *testing.T) {
		ssh(t, key, "echo kept > kept; sync")
		begun := time.Now()
		const cut = 5 * time.Minute // when its power would be cut
		if err := n.d.Stop(t.Context(), id1, cut); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > cut {
			t.Errorf("did not shut down within %v", cut)
		} else {
			t.Logf("took %v", took.Round(time.Millisecond))
		}
	})

	t.Run("shutdown from within", func(t *testing.T) {
		n.boot(g, first)
		if out := ssh(t, key, "cat kept; "+later("poweroff")); !strings.HasPrefix(out, "kept") {
			t.Errorf("the disk lost what was on it: %s", out)
		}
		n.changed(id1, nodeapi.ObservedStopped)
	})

	t.Run("reboot from within", func(t *testing.T) {
		n.boot(g, first)
		port := n.serial(id1)
		port.until("login:")
		pid := n.pid(id1)
		ssh(t, key, later("reboot"))
		port.until("login:")
		if n.pid(id1) != pid {
			t.Error("another process")
		}
		syscall.Kill(pid, syscall.SIGKILL)
		n.changed(id1, nodeapi.ObservedCrashed)
	})
	if err := n.d.Remove(t.Context(), id1); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}
