package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hanok-cloud/hanok/internal/agent"
)

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

func TestDisks(t *testing.T) {
	n := newNode(t, blank(), "raw")
	g := n.spec(id1)
	g.Root.SizeGiB, g.EphemeralGiB, g.SwapMiB, g.ConfigDrive = 2, 1, 16, true
	n.make(g, map[string][]byte{"openstack/latest/meta_data.json": []byte(`{"uuid": "x"}`)})
	dir := n.d.dir(id1)
	if got := list(t, dir); got != "config-0.iso disks.json ephemeral0-0.raw root-0.qcow2 swap-0.raw" {
		t.Errorf("files: %s", got)
	}
	if out := run(t, "qemu-img", "info", "-U", dir+"/root-0.qcow2"); !strings.Contains(out, "virtual size: 2 GiB") || !strings.Contains(out, "backing file format: raw") {
		t.Error(out)
	}
	if out := run(t, "blkid", "-p", "-o", "export", dir+"/swap-0.raw"); !strings.Contains(out, "TYPE=swap") {
		t.Error(out)
	}
	if out := run(t, "blkid", "-p", "-o", "export", dir+"/ephemeral0-0.raw"); !strings.Contains(out, "TYPE=ext4") || !strings.Contains(out, "LABEL=ephemeral0") {
		t.Error(out)
	}
	if out := run(t, "blkid", "-p", "-o", "export", dir+"/config-0.iso"); !strings.Contains(out, "LABEL=config-2") || !strings.Contains(out, "TYPE=iso9660") {
		t.Error(out)
	}
	for _, f := range []string{"root-0.qcow2", "ephemeral0-0.raw", "swap-0.raw", "config-0.iso"} {
		st, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if owner := st.Sys().(*syscall.Stat_t); owner.Uid != n.d.account.uid || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: user %d, mode %v", f, owner.Uid, st.Mode())
		}
	}
	before := run(t, "stat", "-c", "%i %Y", dir+"/root-0.qcow2")
	n.make(g, nil)
	if run(t, "stat", "-c", "%i %Y", dir+"/root-0.qcow2") != before {
		t.Error("the disk was made a second time")
	}
	g.RebuildSeq, g.SwapMiB, g.ConfigDrive = 1, 0, false
	n.make(g, nil)
	if got := list(t, dir); got != "disks.json ephemeral0-1.raw root-1.qcow2" {
		t.Errorf("after the rebuild: %s", got)
	}
	n.stop()
	n.start()
	if st := n.d.Observe(id1); !st.Disks || st.RebuildSeq != 1 {
		t.Errorf("after a restart: %+v", st)
	}
	// Disks that somebody removed are not complete any more.
	os.Remove(dir + "/root-1.qcow2")
	n.stop()
	n.start()
	if st := n.d.Observe(id1); st.Disks {
		t.Errorf("with a disk removed: %+v", st)
	}
	if err := n.d.Remove(t.Context(), id1); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, n)
}

func TestTooSmall(t *testing.T) {
	image := make([]byte, 3<<30>>10) // 3 MiB, pretended to be larger below
	n := newNode(t, image, "raw")
	g := n.spec(id1)
	if err := n.d.EnsureImage(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	base, err := n.d.cache.Lookup(g.Root)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(base.Path, 0o600)
	os.Truncate(base.Path, 2<<30)
	g.Root.SizeGiB = 1
	err = n.d.EnsureDisks(t.Context(), g, nil)
	if !agent.IsFinal(err) || err.Error() != "Flavor's disk is too small for requested image. Flavor disk is 1073741824 bytes, image is 2147483648 bytes." {
		t.Errorf("error %v", err)
	}
	nothingLeft(t, n)
}

// TestFullDisk: whichever file is the last straw, the fault is clear and nothing is left.
func TestFullDisk(t *testing.T) {
	need(t)
	for kib := 64; kib <= 512; kib += 64 {
		t.Run(fmt.Sprint(kib), func(t *testing.T) {
			n := newNode(t, blank(), "raw")
			if err := n.d.EnsureImage(t.Context(), n.spec(id1)); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", n.o.Dir, "tmpfs", 0, fmt.Sprintf("size=%dk,mode=711", kib)); err != nil {
				t.Skip("mounting is not allowed here: ", err)
			}
			defer syscall.Unmount(n.o.Dir, syscall.MNT_DETACH)
			g := n.spec(id1)
			g.SwapMiB, g.ConfigDrive = 1, true
			err := n.d.EnsureDisks(t.Context(), g, map[string][]byte{"openstack/latest/user_data": make([]byte, 64<<10)})
			if err == nil {
				return // it fits
			}
			if !agent.IsFinal(err) || !strings.Contains(err.Error(), "full") {
				t.Errorf("error %v", err)
			}
			if got := list(t, n.o.Dir); got != "" {
				t.Errorf("left: %s", got)
			}
			if st := n.d.Observe(id1); st.Power != "" || st.Disks {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestHalfMade: what a kill in the middle left is not taken for disks.
func TestHalfMade(t *testing.T) {
	n := newNode(t, blank(), "raw")
	dir := n.d.dir(id1)
	os.Mkdir(dir, 0o710)
	os.WriteFile(dir+"/root-0.qcow2", []byte("half"), 0o600)
	os.WriteFile(dir+"/disks.json.new", []byte("{"), 0o600)
	n.stop()
	n.start()
	if st := n.d.Observe(id1); st.Disks {
		t.Fatalf("%+v", st)
	}
	g := n.spec(id1)
	n.make(g, nil)
	n.boot(g)
	if got := list(t, dir); got != "console.log disks.json qemu.log root-0.qcow2" {
		t.Errorf("files: %s", got)
	}
}

func TestConfinedIsInterrupted(t *testing.T) {
	n := newNode(t, blank(), "raw")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.d.confined(ctx, "/bin/sleep", "60"); err != context.Canceled {
		t.Error(err)
	}
	if err := n.d.confined(t.Context(), "/bin/sh", "-c", "echo gone wrong >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3: gone wrong") {
		t.Error(err)
	}
	if err := n.d.confined(t.Context(), "/bin/sh", "-c", "test $(id -u) != 0 && test $(ulimit -n) -le 1024"); err != nil {
		t.Error(err)
	}
}
