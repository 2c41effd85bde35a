package daemon

import (
	"bytes"
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

	"github.com/hanok-cloud/hanok/internal/pki"
)

// Paths are the files of one cloud on this machine.
type Paths struct {
	Data string
	// KeystoneConf is the file of identity's options, which may be missing.
	KeystoneConf string
}

// PIDFile names the daemon's process: pid and start time.
func (p Paths) PIDFile() string { return filepath.Join(p.Data, "run", "hanok.pid") }

// LogFile is where a daemon in the background writes.
func (p Paths) LogFile() string { return filepath.Join(p.Data, "log", "hanok.log") }

// Control is the daemon's socket for the commands of this machine's root.
func (p Paths) Control() string { return filepath.Join(p.Data, "run", "control.sock") }

// OpenRC is the shell file with the admin's environment; CloudsYAML the same and the demo user's for clients that read clouds.yaml.
func (p Paths) OpenRC() string     { return filepath.Join(p.Data, "openrc") }
func (p Paths) CloudsYAML() string { return filepath.Join(p.Data, "clouds.yaml") }

// DemoKey is the private ssh key of the demo user; DemoPassword its password's file.
func (p Paths) DemoKey() string      { return filepath.Join(p.Data, "demo_ed25519") }
func (p Paths) DemoPassword() string { return filepath.Join(p.Data, "demo_password") }

// PKI is the folder of the cloud's CA.
func (p Paths) PKI() string { return filepath.Join(p.Data, "pki") }

// KEKFile holds the key-encryption key, the one secret that is not in the database.
func (p Paths) KEKFile() string { return filepath.Join(p.Data, "kek") }

// process is a pid with its start time, so that a reused pid is not taken for ours.
type process struct {
	pid   int
	start string
}

// startTime is field 22 of /proc/PID/stat; empty when there is no such process.
func startTime(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses and may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// Running finds the daemon's pid, or 0.
func (p Paths) Running() int {
	proc, err := p.readPID()
	if err != nil || startTime(proc.pid) != proc.start {
		return 0
	}
	return proc.pid
}

func (p Paths) readPID() (process, error) {
	b, err := os.ReadFile(p.PIDFile())
	if err != nil {
		return process{}, err
	}
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return process{}, fmt.Errorf("%s is not a pid file", p.PIDFile())
	}
	pid, err := strconv.Atoi(f[0])
	return process{pid, f[1]}, err
}

// claim writes the pid file of this process; another daemon that runs is an error.
func (p Paths) claim() error {
	if err := os.MkdirAll(filepath.Dir(p.PIDFile()), 0o755); err != nil {
		return err
	}
	if pid := p.Running(); pid != 0 && pid != os.Getpid() {
		return fmt.Errorf("the cloud in %s runs already, as process %d; `hanok down` stops it", p.Data, pid)
	}
	self := os.Getpid()
	return pki.WriteFile(p.PIDFile(), fmt.Appendf(nil, "%d %s\n", self, startTime(self)), 0o644)
}

// Spawn starts this program again in the background with other arguments; it stays when the caller ends.
func (p Paths) Spawn(args ...string) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// The user that guests run as passes through the data folder, though not into its logs.
	if err := os.MkdirAll(p.Data, 0o755); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(p.LogFile()), 0o750); err != nil {
		return 0, err
	}
	logFile, err := os.OpenFile(p.LogFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return 0, err
	}
	defer func() { _ = logFile.Close() }()
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, cmd.Process.Release()
}

// ErrNotRunning: there is no daemon.
var ErrNotRunning = errors.New("the cloud does not run")

// Terminate ends the daemon and waits until its process is gone.
func (p Paths) Terminate(ctx context.Context) error {
	proc, err := p.readPID()
	if err != nil || startTime(proc.pid) != proc.start {
		return ErrNotRunning
	}
	if err := syscall.Kill(proc.pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", proc.pid, err)
	}
	for startTime(proc.pid) == proc.start {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", proc.pid, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// LogTail is the end of the log, for the message of a start that failed.
func (p Paths) LogTail() string {
	b, err := os.ReadFile(p.LogFile())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
