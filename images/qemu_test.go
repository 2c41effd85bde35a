package images

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// bootTimeout is generous, for whatever is waited for: on two busy cores without KVM four guests at once need 40 s each, and others test at the same time.
const bootTimeout = 180 * time.Second

var (
	imageOnce sync.Once
	imagePath string
	imageErr  error
)

// image builds the image once for all tests of the process, or skips when the machine has no QEMU.
func image(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("HANOK_TEST_REQUIRE") != "" {
				t.Fatalf("%s is missing and HANOK_TEST_REQUIRE is set; install the packages listed in images/packages", p)
			}
			t.Skipf("%s is missing; install the packages listed in images/packages", p)
		}
	}
	imageOnce.Do(func() {
		dir := os.Getenv("HANOK_GUEST_DIR")
		if dir == "" {
			cache, err := os.UserCacheDir()
			if err != nil {
				imageErr = err
				return
			}
			dir = filepath.Join(cache, "hanok", "guest")
		}
		imagePath = filepath.Join(dir, "hanok-guest-test.qcow2")
		out, err := exec.Command("./build.sh", "--out", imagePath, "--cache", dir).CombinedOutput()
		if err != nil {
			imageErr = fmt.Errorf("build.sh: %w\n%s", err, out)
		}
	})
	if imageErr != nil {
		t.Fatal(imageErr)
	}
	return imagePath
}

// guest is one QEMU process, with what its serial port has printed so far.
type guest struct {
	cmd  *exec.Cmd
	dir  string
	qmp  *qmpConn
	gone chan struct{}

	mu      sync.Mutex
	console bytes.Buffer
	grown   chan struct{} // closed and replaced whenever the console grows
}

// boot starts a guest on an overlay of the image, of the given size, with further QEMU arguments.
func boot(t *testing.T, memory int, diskSize string, args ...string) *guest {
	t.Helper()
	base := image(t)
	g := &guest{dir: t.TempDir(), gone: make(chan struct{}), grown: make(chan struct{})}
	disk := filepath.Join(g.dir, "disk.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", disk, diskSize).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img create: %v\n%s", err, out)
	}
	socket := filepath.Join(g.dir, "qmp")
	all := append([]string{
		"-M", "q35", "-accel", "tcg,thread=multi,tb-size=64", "-cpu", "qemu64", "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
		"-qmp", "unix:" + socket + ",server=on,wait=off",
		"-device", "virtio-rng-pci",
		"-device", "pcie-root-port,id=hot1,chassis=1", "-device", "pcie-root-port,id=hot2,chassis=2",
		"-drive", "file=" + disk + ",if=none,id=root,format=qcow2,cache=unsafe", "-device", "virtio-blk-pci,drive=root,bootindex=1",
	}, args...)
	g.cmd = exec.Command("qemu-system-x86_64", all...)
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	g.cmd.Stderr = &stderr
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			g.mu.Lock()
			g.console.Write(buf[:n])
			close(g.grown)
			g.grown = make(chan struct{})
			g.mu.Unlock()
			if err != nil {
				break
			}
		}
		_ = g.cmd.Wait()
		close(g.gone)
	}()
	t.Cleanup(func() {
		_ = g.cmd.Process.Kill()
		<-g.gone
		if t.Failed() {
			t.Logf("console:\n%s\nqemu: %s", g.text(), stderr.String())
		}
	})
	g.qmp = dialQMP(t, socket, g.gone)
	return g
}

func (g *guest) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.ReplaceAll(g.console.String(), "\r", "")
}

// waitConsole returns what matches the expression, as soon as it stands on the console after the given offset.
func (g *guest) waitConsole(t *testing.T, expr string, from int) []string {
	t.Helper()
	re := regexp.MustCompile(expr)
	deadline := time.After(bootTimeout)
	for {
		g.mu.Lock()
		grown := g.grown
		g.mu.Unlock()
		if text := g.text(); len(text) > from {
			if m := re.FindStringSubmatch(text[from:]); m != nil {
				return m
			}
		}
		select {
		case <-grown:
		case <-g.gone:
			t.Fatalf("QEMU ended before the console showed %q", expr)
		case <-deadline:
			t.Fatalf("the console did not show %q within %v", expr, bootTimeout)
		}
	}
}

// cpu is what the QEMU process has used so far, the figure that other load on the machine does not change much.
func (g *guest) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// qmpConn speaks QEMU's monitor protocol: one command at a time, events kept in order.
type qmpConn struct {
	t       *testing.T
	enc     *json.Encoder
	replies chan json.RawMessage
	events  chan string
}

func dialQMP(t *testing.T, socket string, gone <-chan struct{}) *qmpConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond) // the socket appears without any sign of it
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", socket)
		if err == nil {
			q := &qmpConn{t: t, enc: json.NewEncoder(c), replies: make(chan json.RawMessage, 1), events: make(chan string, 256)}
			go q.read(c)
			t.Cleanup(func() { c.Close() })
			q.do("qmp_capabilities", nil)
			return q
		}
		select {
		case <-tick.C:
		case <-gone:
			t.Fatal("QEMU ended at its start")
		case <-ctx.Done():
			t.Fatalf("QEMU's monitor did not answer: %v", err)
		}
	}
}

func (q *qmpConn) read(c net.Conn) {
	defer close(q.events)
	r := bufio.NewScanner(c)
	r.Buffer(nil, 1<<20)
	for r.Scan() {
		var m struct {
			Event  string
			Data   struct{ Device string }
			Return json.RawMessage
			Error  json.RawMessage
		}
		if json.Unmarshal(r.Bytes(), &m) != nil {
			continue
		}
		switch {
		case m.Event != "":
			q.events <- strings.TrimSpace(m.Event + " " + m.Data.Device)
		case m.Return != nil || m.Error != nil:
			q.replies <- append(json.RawMessage(nil), r.Bytes()...)
		}
	}
}

func (q *qmpConn) do(command string, arguments map[string]any) {
	q.t.Helper()
	m := map[string]any{"execute": command}
	if arguments != nil {
		m["arguments"] = arguments
	}
	if err := q.enc.Encode(m); err != nil {
		q.t.Fatalf("QMP %s: %v", command, err)
	}
	select {
	case r := <-q.replies:
		if bytes.Contains(r, []byte(`"error"`)) {
			q.t.Fatalf("QMP %s %v: %s", command, arguments, r)
		}
	case <-time.After(bootTimeout):
		q.t.Fatalf("QMP %s: no answer", command)
	}
}

func (q *qmpConn) waitEvent(event string) error {
	deadline := time.After(bootTimeout)
	for {
		select {
		case e, ok := <-q.events:
			if !ok {
				return errors.New("QEMU ended before the event " + event)
			}
			if e == event {
				return nil
			}
		case <-deadline:
			return errors.New("no event " + event + " within " + bootTimeout.String())
		}
	}
}
