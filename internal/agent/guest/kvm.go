package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// KVM that opens is not KVM that works: below another hypervisor QEMU may fail on it, or take a hundred times as long as
// without it. So a machine is booted with it once, before the first guest is started.

const (
	probeExit = 33 // what isa-debug-exit makes of the byte 0x10
	// probeCPUSeconds is far above what booting the probe costs with KVM (0.1 s) or without (0.2 s). Processor time, not time:
	// a machine with much else to do is slow, too.
	probeCPUSeconds = 2
	probeTimeout    = time.Minute
)

// kvmOpens asks the kernel rather than look for the device's file alone.
func kvmOpens() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	const getAPIVersion = 0xae00
	version, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getAPIVersion, 0)
	return errno == 0 && version == 12
}

// findKVM decides whether guests run on the processor itself.
func (d *Driver) findKVM() bool {
	if d.o.NoKVM || !kvmOpens() {
		return false
	}
	if err := d.probe(kvmAccel()); err != nil {
		d.o.Logger.Warn("KVM is there but does not work, so guests are emulated, which is slower", "error", err)
		return false
	}
	return true
}

// probeFile may be there when an earlier agent was killed while it probed.
func (d *Driver) probeFile() string { return filepath.Join(d.o.Dir, "kvm-probe") }

// probe boots a disk whose first sector does nothing but tell that it was reached.
func (d *Driver) probe(accel []string) error {
	sector := make([]byte, 512)
	copy(sector, "\xb0\x10\xe6\xf4\xf4") // mov al, 0x10; out 0xf4, al; hlt
	sector[510], sector[511] = 0x55, 0xaa
	path := d.probeFile()
	defer os.Remove(path)
	// With 0 bytes to the end of a MiB: the firmware does not take a smaller disk for one.
	if err := errors.Join(os.WriteFile(path, sector, 0o644), os.Truncate(path, 1<<20)); err != nil {
		return err
	}
	args := []string{"--cpu=" + strconv.Itoa(probeCPUSeconds), "--core=0", d.o.QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "64M",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4"}
	args = append(args, accel...)
	args = append(args, diskArgs{Node: "probe", Path: path, Format: "raw", ReadOnly: true, Boot: true}.arguments()...)
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.prlimit, args...)
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a := d.account; a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == probeExit:
		return nil
	case err == nil:
		err = errors.New("QEMU ended without having booted")
	case errors.As(err, &exit) && exit.ExitCode() < 0 && len(out) == 0:
		err = fmt.Errorf("a machine did not boot within %d s of processor time (%w)", probeCPUSeconds, err)
	}
	return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
}
