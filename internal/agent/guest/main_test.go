package guest

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// TestMain runs the tests in a network namespace of their own, with no way to the machine's network, and where /dev/net/tun is root's alone.
func TestMain(m *testing.M) {
	const inside = "HANOK_TEST_IN_NAMESPACE"
	if os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) != "" {
		if err := hideTun(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hideTun puts a device file that only root can open over /dev/net/tun, as it is on machines without udev.
func hideTun() error {
	dir, err := os.MkdirTemp("", "hg")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	own := filepath.Join(dir, "tun")
	if err := syscall.Mknod(own, syscall.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil {
		return err
	}
	return syscall.Mount(own, "/dev/net/tun", "", syscall.MS_BIND, "")
}

// need skips a test on machines that cannot run it, unless they are said to be able to.
func need(t *testing.T) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "root"
	}
	for _, p := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(p); err != nil {
			missing = p
		}
	}
	if missing == "" {
		return
	}
	if os.Getenv("HANOK_TEST_REQUIRE") != "" {
		t.Fatalf("%s is missing and HANOK_TEST_REQUIRE is set", missing)
	}
	t.Skipf("needs %s", missing)
}

// node is a driver under test with its directories.
type node struct {
	t       *testing.T
	o       Options
	image   []byte
	format  string
	d       *Driver
	cancel  context.CancelFunc
	states  []agent.GuestState
	changes chan string
}

// shortDir makes a directory that guests' user can enter and whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newNode(t *testing.T, image []byte, format string) *node {
	t.Helper()
	need(t)
	dir := shortDir(t)
	n := &node{t: t, image: image, format: format, changes: make(chan string, 100)}
	n.o = Options{Dir: dir + "/guests", RunDir: dir + "/run", Images: dir + "/images", User: "hanok-qemu", NoKVM: os.Getenv("HANOK_TEST_KVM") == "",
		ReservedMemoryMiB: 1,
		OpenImage:         func(context.Context, string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(image)), nil },
		Logger:            slog.New(slog.NewTextHandler(testLog{t}, nil))}
	t.Cleanup(func() {
		n.stop()
		// Whatever a failed test left running.
		pids, _ := scan(n.o.Dir)
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	n.start()
	return n
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (n *node) start() {
	n.t.Helper()
	d, err := New(n.o)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.d, n.cancel = d, cancel
	n.states, err = d.Adopt(ctx, func(id string) { n.changes <- id })
	if err != nil {
		n.t.Fatal(err)
	}
}

// stop lets go of the guests, as an agent's end does.
func (n *node) stop() {
	n.cancel()
	n.d.Wait()
}

func (n *node) spec(id string) *nodeapi.Guest {
	sum := sha512.Sum512(n.image)
	return &nodeapi.Guest{ID: id, Generation: 1, Name: "instance-00000001", VCPUs: 1, MemoryMiB: 128, Power: nodeapi.PowerRunning, StopTimeout: 60,
		Root: nodeapi.Disk{ImageID: "11111111-2222-4333-8444-555555555555", ImageFormat: n.format, ImageSize: int64(len(n.image)),
			ImageSHA512: hex.EncodeToString(sum[:])},
		Metadata: nodeapi.Metadata{Hostname: "g.novalocal"}}
}

func (n *node) make(g *nodeapi.Guest, files map[string][]byte) {
	n.t.Helper()
	if err := n.d.EnsureImage(n.t.Context(), g); err != nil {
		n.t.Fatal(err)
	}
	if err := n.d.EnsureDisks(n.t.Context(), g, files); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) boot(g *nodeapi.Guest, nics ...agent.NICDevice) {
	n.t.Helper()
	if err := n.d.Start(n.t.Context(), g, nics); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) pid(id string) int {
	n.t.Helper()
	g := n.d.guest(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.proc == nil {
		n.t.Fatalf("guest %s does not run", id)
	}
	return g.proc.pid
}

// changed waits until the guest says that it changed by itself.
func (n *node) changed(id, power string) {
	n.t.Helper()
	limit := time.After(3 * time.Minute)
	for {
		select {
		case got := <-n.changes:
			if st := n.d.Observe(id); got == id && st.Power == power {
				return
			}
		case <-limit:
			n.t.Fatalf("guest %s never became %s: %+v", id, power, n.d.Observe(id))
		}
	}
}

// tap makes a tap interface for the guests' user.
func (n *node) tap(i int) agent.NICDevice {
	n.t.Helper()
	dev := nic(i, 1450)
	l := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: dev.Tap}, Mode: netlink.TUNTAP_MODE_TAP, Owner: n.d.account.uid, Group: n.d.account.gid,
		Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR}
	if err := netlink.LinkAdd(l); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { netlink.LinkDel(l) })
	if err := netlink.LinkSetUp(l); err != nil {
		n.t.Fatal(err)
	}
	return dev
}

// serial is a connection to the guest's serial port.
type serial struct {
	t *testing.T
	net.Conn
}

func (n *node) serial(id string) *serial {
	n.t.Helper()
	c, err := net.Dial("unix", filepath.Join(n.o.RunDir, id, serialSocket))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return &serial{t: n.t, Conn: c}
}

// until reads until the guest printed a text.
func (s *serial) until(text string) {
	s.t.Helper()
	s.SetReadDeadline(time.Now().Add(5 * time.Minute))
	buf := make([]byte, 4096)
	var seen []byte
	for !bytes.Contains(seen, []byte(text)) {
		k, err := s.Read(buf)
		if err != nil {
			s.t.Fatalf("waiting for %q: %v; the guest printed:\n%s", text, err, seen)
		}
		seen = append(seen, buf[:k]...)
	}
}

var guestImage = sync.OnceValues(func() (string, error) {
	dir := os.Getenv("HANOK_GUEST_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "hanok", "guest")
	}
	path := filepath.Join(dir, "hanok-guest-test.qcow2")
	// The builder may need the network, which this process's namespace has not.
	cmd := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", os.Getppid()), "../../../images/build.sh", "--out", path, "--cache", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("images/build.sh: %w\n%s", err, out)
	}
	return path, nil
})

// realImage is the small guest.
func realImage(t *testing.T) []byte {
	t.Helper()
	need(t)
	path, err := guestImage()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// blank is an image that boots nothing: the firmware looks for a system for ever, at no cost.
func blank() []byte { return make([]byte, 1<<20) }

const (
	id1 = "0b5d4c6e-1111-4222-8333-444455556666"
	id2 = "0b5d4c6e-1111-4222-8333-777788889999"
)
