package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Marks in a process's environment. They are set by its start and cannot outlive it, unlike anything in a
// file, and the guest cannot see them.
const (
	markGuest  = "HANOK_GUEST"
	markDir    = "HANOK_GUEST_DIR" // two agents on one machine, as tests have, do not adopt each other's
	markReboot = "HANOK_REBOOT_SEQ"
)

// process is a running QEMU, ours or an earlier agent's.
type process struct {
	pid    int
	pidfd  *os.File
	reboot int64
	done   chan struct{} // closed when it has ended and is reaped, or when pidfd was closed
	exited bool          // it has ended; to be read when done is closed

	released atomic.Bool
}

// account is the user that guests run as; nil: the agent's own.
type account struct {
	uid, gid uint32
	groups   []uint32
}

// accountComment marks an account that lookupAccount has made.
const accountComment = "guests of Hanok"

// RemoveTraces removes what a node leaves outside of its folders once no guest is on it: the guests' account, if it was made here, and the control
// groups' parent. What another node on the same machine uses stays.
func RemoveTraces(account string) error {
	for _, parent := range findCgroups("/sys/fs/cgroup").parents() {
		_ = os.Remove(parent) // not while there is a group in it
	}
	u, err := user.Lookup(account)
	if err != nil || u.Name != accountComment {
		return nil
	}
	const inUse = 8 // userdel(8): the account has processes
	out, err := exec.Command("userdel", account).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == inUse {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove the user %s, which guests ran as: %w: %s", account, err, bytes.TrimSpace(out))
	}
	return nil
}

// lookupAccount finds the user, and makes it when it is missing.
func lookupAccount(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		out, cmdErr := exec.Command("useradd", "--system", "--user-group", "--comment", accountComment, "--home-dir", "/nonexistent", "--no-create-home",
			"--shell", "/usr/sbin/nologin", name).CombinedOutput()
		if u, err = user.Lookup(name); err != nil {
			return nil, fmt.Errorf("the user %s, which guests run as, is missing and cannot be made: %w: %s", name, errors.Join(err, cmdErr), bytes.TrimSpace(out))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the user that guests run as: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("the user %s: %w", name, err)
	}
	if uid == 0 {
		return nil, fmt.Errorf("guests must not run as root: give them a user of their own, not %q", name)
	}
	acc := &account{uid: uint32(uid), gid: uint32(gid)}
	// /dev/kvm belongs to this group on Debian.
	if g, err := user.LookupGroup("kvm"); err == nil {
		if gid, err := strconv.ParseUint(g.Gid, 10, 32); err == nil {
			acc.groups = append(acc.groups, uint32(gid))
		}
	}
	return acc, nil
}

// launch is a program to be started confined.
type launch struct {
	path    string
	args    []string
	env     []string
	files   []*os.File // from descriptor 3 on
	stderr  *os.File
	account *account
	cgroup  *os.File // of version 2, to be born in; nil: none
}

// start starts the program in a session of its own, as the account, with no privileges to regain.
func (l launch) start() (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attr := &os.ProcAttr{
		Dir:   "/",
		Env:   append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, l.env...),
		Files: append([]*os.File{null, l.stderr, l.stderr}, l.files...),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if l.account != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: l.account.uid, Gid: l.account.gid, Groups: l.account.groups}
	}
	if l.cgroup != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(l.cgroup.Fd())
	}
	started := make(chan struct{})
	go func() {
		defer close(started)
		// The child inherits these from the thread that starts it. The thread ends with this goroutine,
		// since it stays locked, so that nothing else is confined by it.
		runtime.LockOSThread()
		if err = confineThread(); err != nil {
			return
		}
		var p *os.Process
		if p, err = os.StartProcess(l.path, append([]string{l.path}, l.args...), attr); err == nil {
			pid = p.Pid
			p.Release() // watched through a pidfd, as adopted ones are
		}
	}()
	<-started
	return pid, err
}

// confineThread makes what the calling thread starts unable to gain privileges.
func confineThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	for c := 0; c <= unix.CAP_LAST_CAP; c++ {
		// A kernel older than our list of capabilities says EINVAL.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	return nil
}

// watchChild watches a child that nobody has waited for yet: its pid cannot be another's.
func watchChild(pid int, reboot int64) (*process, error) {
	f, err := pidfd(pid)
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, pidfd: f, reboot: reboot, done: make(chan struct{})}
	go p.await()
	return p, nil
}

func pidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// watch watches an earlier agent's process; nil when the pid is not, or no longer, what its environment says.
func watch(pid int, guest, dir string) (*process, error) {
	f, err := pidfd(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Read after the descriptor is open: the pid may have been another process's until then.
	env := environ(pid)
	if env[markGuest] != guest || env[markDir] != dir {
		f.Close()
		return nil, nil
	}
	reboot, _ := strconv.ParseInt(env[markReboot], 10, 64)
	p := &process{pid: pid, pidfd: f, reboot: reboot, done: make(chan struct{})}
	go p.await()
	return p, nil
}

// await waits in the runtime's poller, not in a thread: there may be hundreds of guests.
func (p *process) await() {
	defer close(p.done)
	conn, err := p.pidfd.SyscallConn()
	if err == nil {
		err = conn.Read(func(fd uintptr) bool {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			return err == nil && n > 0
		})
	}
	if p.released.Load() {
		return // nobody wants to know any more; the process runs on
	}
	if err != nil { // a kernel that cannot poll it
		for unix.Kill(p.pid, 0) == nil && environ(p.pid)[markGuest] != "" {
			time.Sleep(time.Second)
			if p.released.Load() {
				return
			}
		}
	}
	var status unix.WaitStatus
	_, _ = unix.Wait4(p.pid, &status, unix.WNOHANG, nil) // a child of ours; of an adopted one init takes care
	p.exited = true
	p.pidfd.Close()
}

// release stops watching.
func (p *process) release() {
	p.released.Store(true)
	p.pidfd.Close()
}

// kill ends the process at once. It cannot hit another one.
func (p *process) kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return nil // closed: it has ended
	}
	var sendErr error
	if err := conn.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) }); err != nil {
		return nil
	}
	if sendErr != nil && !errors.Is(sendErr, unix.ESRCH) {
		return fmt.Errorf("ending qemu process %d: %w", p.pid, sendErr)
	}
	return nil
}

// environ is a process's environment as it was started; empty when it has ended or is not ours to read.
func environ(pid int) map[string]string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return nil
	}
	env := map[string]string{}
	for _, v := range strings.Split(string(raw), "\x00") {
		if name, value, ok := strings.Cut(v, "="); ok {
			env[name] = value
		}
	}
	return env
}

// scan finds the guests' processes of this directory: id → pid.
func scan(dir string) (map[string]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if env := environ(pid); env[markGuest] != "" && env[markDir] == dir {
			found[env[markGuest]] = pid
		}
	}
	return found, nil
}

// listen makes a listening socket for a process to inherit. Only root can reach the path.
func listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l.(*net.UnixListener).File()
}

// lastLines is the end of what a program said on stderr, on one line.
func lastLines(f *os.File, from int64) string {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size <= from {
		return ""
	}
	buf := make([]byte, min(size-from, 1024))
	n, _ := f.ReadAt(buf, size-int64(len(buf)))
	return strings.Join(strings.FieldsFunc(strings.TrimSpace(string(buf[:n])), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// waitDone waits for the process's end.
func (p *process) waitDone(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}
