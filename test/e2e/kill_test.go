package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/hanok-cloud/hanok/internal/client"
)

// apart is a cloud of separate processes, a controller and a node, in a network namespace of its own inside the test's. The
// controller's address 10.0.0.11 is on that namespace's loopback interface. A node takes every namespace named in /run/netns that nothing
// asks for as a leftover of its own, so this one has a /run/netns of its own, as another machine would.
type apart struct {
	t                *testing.T
	dir              string
	place            *exec.Cmd // keeps the namespaces
	controller, node *exec.Cmd
	api              *client.Client
}

func startApart(t *testing.T) *apart {
	t.Helper()
	a := &apart{t: t}
	var err error
	if a.dir, err = os.MkdirTemp("/tmp", "hanok-apart-"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a.place = exec.Command("sh", "-ec", "mount -t tmpfs tmpfs /run/netns; mount -t sysfs sysfs /sys; ip link set lo up; ip addr add 10.0.0.11/32 dev lo; echo ready; exec cat")
	a.place.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	hold, err := a.place.StdinPipe() // until it is closed
	check(t, err)
	ready, err := a.place.StdoutPipe()
	check(t, err)
	check(t, a.place.Start())
	t.Cleanup(func() { hold.Close(); _ = a.place.Wait() })
	if line, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		t.Fatalf("the namespaces: %q, %v", line, err)
	}
	for name, text := range map[string]string{
		"controller.toml": "[api]\nlisten = [\"127.0.0.1:8780\", \"10.0.0.11:8443\"]\n[data]\nfolder = \"" + a.dir + "/controller\"\n[quota]\ninstances = -1\ncores = -1\nram = -1\n[compute]\ncpu_allocation_ratio = 100.0\n",
		"node.toml":       "[data]\nfolder = \"" + a.dir + "/node\"\n[node]\nname = \"compute1\"\n[vxlan]\nlocal_ip = \"10.0.0.11\"\n",
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(a.stop)
	a.startController()
	bundle := must(t, cloud.bin, "--config", a.dir+"/controller.toml", "admin", "node-bundle", "compute1")
	if err := os.WriteFile(a.dir+"/bundle.pem", []byte(bundle), 0o600); err != nil {
		t.Fatal(err)
	}
	a.startNode()
	password := ""
	openrc, err := os.ReadFile(a.dir + "/controller/openrc")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(openrc)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "export OS_PASSWORD="); ok {
			password = p
		}
	}
	a.api, err = client.New(client.Options{AuthURL: "http://127.0.0.1:8780/identity/v3", User: "admin", Password: password, Project: "admin", Dial: a.dial})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(exec.Command(name, args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// dial opens a connection from within the namespace.
func (a *apart) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := netns.GetFromPid(a.place.Process.Pid)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return nil, err
	}
	defer func() { _ = netns.Set(home) }()
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// command runs there.
func (a *apart) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", fmt.Sprint(a.place.Process.Pid), "-n", "-m", "--"}, args...)...)
}

func (a *apart) start(config string, args ...string) *exec.Cmd {
	a.t.Helper()
	cmd := a.command(append([]string{cloud.bin, "--config", a.dir + "/" + config}, args...)...)
	log, err := os.OpenFile(a.dir+"/"+config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	return cmd
}

func (a *apart) startController() {
	a.t.Helper()
	a.controller = a.start("controller.toml", "controller")
	eventually(a.t, 6*time.Minute, func(ctx context.Context) error {
		c := &http.Client{Transport: &http.Transport{DialContext: a.dial, DisableKeepAlives: true}}
		resp, err := c.Get("http://127.0.0.1:8780/healthz")
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return errors.Join(err, resp.Body.Close())
	})
}

func (a *apart) startNode() {
	a.node = a.start("node.toml", "node", "--controller", "10.0.0.11:8443", "--bundle", a.dir+"/bundle.pem")
}

// kill ends a process as a power cut would: no handler of its runs. nsenter has become the program itself.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

func (a *apart) stop() {
	if a.t.Failed() {
		for _, f := range []string{"controller.toml.log", "node.toml.log"} {
			b, _ := os.ReadFile(a.dir + "/" + f)
			a.t.Logf("end of %s:\n%s", f, tail(string(b), 40))
		}
	}
	for _, c := range []*exec.Cmd{a.controller, a.node} {
		if c != nil {
			kill(c)
		}
	}
	for _, f := range []string{"node.toml", "controller.toml"} {
		if out, err := output(a.command(cloud.bin, "--config", a.dir+"/"+f, "purge", "--yes")); err != nil {
			a.t.Errorf("purge: %v %s", err, out)
		}
	}
	if err := os.RemoveAll(a.dir); err != nil {
		a.t.Error(err)
	}
}

type obj = map[string]any

// TestKilledAtAnyInstant kills the controller, the node or both fifty times while servers are made and deleted. Every request that was
// acknowledged reaches its goal; what was deleted is gone; nothing is left over.
func TestKilledAtAnyInstant(t *testing.T) {
	a := startApart(t)
	ctx := t.Context()
	do := func(method, service, path string, in, out any) error {
		return a.api.Do(ctx, method, service, path, in, out)
	}
	var flavor struct{ Flavor struct{ ID string } }
	check(t, do("POST", "compute", "/flavors", obj{"flavor": obj{"name": "k", "ram": 64, "vcpus": 1, "disk": 0}}, &flavor))
	var image struct{ ID string }
	check(t, do("POST", "image", "/v2/images", obj{"name": "k", "disk_format": "raw", "container_format": "bare"}, &image))
	// Bytes that no firmware boots: the guest idles and costs next to nothing.
	check(t, do("PUT", "image", "/v2/images/"+image.ID+"/file", strings.NewReader(strings.Repeat("\x00", 1<<20)), nil))
	var network struct{ Network struct{ ID string } }
	check(t, do("POST", "network", "/v2.0/networks", obj{"network": obj{"name": "k"}}, &network))
	check(t, do("POST", "network", "/v2.0/subnets", obj{"subnet": obj{"network_id": network.Network.ID, "ip_version": 4, "cidr": "10.9.0.0/16"}}, nil))
	eventually(t, 6*time.Minute, func(context.Context) error {
		var out struct{ Services []struct{ State string } }
		if err := do("GET", "compute", "/os-services?binary=nova-compute", nil, &out); err != nil {
			return err
		}
		if len(out.Services) != 1 || out.Services[0].State != "up" {
			return fmt.Errorf("services: %v", out.Services)
		}
		return nil
	})

	// One goroutine makes and deletes; it keeps what was acknowledged. A request that broke off may have happened or not.
	var mu sync.Mutex
	alive, deleted := map[string]bool{}, map[string]bool{}
	work, stop := context.WithCancel(ctx)
	var worker sync.WaitGroup
	worker.Go(func() {
		for n := 0; work.Err() == nil; n++ {
			mu.Lock()
			var victim string
			if len(alive) > 6 {
				for id := range alive {
					victim = id
					break
				}
			}
			mu.Unlock()
			if victim != "" {
				// Without an answer it may be gone or not: from here on nobody was promised that it stays.
				mu.Lock()
				delete(alive, victim)
				mu.Unlock()
				if a.api.Do(work, "DELETE", "compute", "/servers/"+victim, nil, nil) == nil {
					mu.Lock()
					deleted[victim] = true
					mu.Unlock()
				}
				continue
			}
			// While the node is down what was deleted still takes its place there; a full node would turn servers down for good reason.
			var all struct{ Servers []struct{ ID string } }
			if a.api.Do(work, "GET", "compute", "/servers", nil, &all) != nil || len(all.Servers) > 60 {
				select {
				case <-time.After(20 * time.Millisecond):
				case <-work.Done():
				}
				continue
			}
			var out struct{ Server struct{ ID string } }
			body := obj{"server": obj{"name": fmt.Sprintf("k-%d", n), "flavorRef": flavor.Flavor.ID, "imageRef": image.ID, "networks": []obj{{"uuid": network.Network.ID}}}}
			if a.api.Do(work, "POST", "compute", "/servers", body, &out) == nil {
				mu.Lock()
				alive[out.Server.ID] = true
				mu.Unlock()
			}
		}
	})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		// The instant is the point of the test: nothing is waited for.
		select {
		case <-time.After(time.Duration(random.IntN(600)) * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		what := random.IntN(3)
		if what != 0 {
			kill(a.node)
		}
		if what != 1 {
			kill(a.controller)
			a.startController()
		}
		if what != 0 {
			a.startNode()
		}
	}
	stop()
	worker.Wait()
	t.Logf("%d servers are acknowledged, %d deletions", len(alive), len(deleted))
	if len(alive) == 0 || len(deleted) == 0 {
		t.Error("nothing was made or nothing deleted: the test proved nothing")
	}
	type server struct {
		ID, Status string
		Fault      struct{ Message, Details string }
	}
	list := func() (map[string]server, error) {
		var out struct{ Servers []server }
		err := do("GET", "compute", "/servers/detail", nil, &out)
		m := map[string]server{}
		for _, s := range out.Servers {
			m[s.ID] = s
		}
		return m, err
	}
	eventually(t, 5*time.Minute, func(context.Context) error {
		have, err := list()
		if err != nil {
			return err
		}
		for id := range alive {
			if s := have[id]; s.Status == "ERROR" {
				t.Fatalf("server %s is in ERROR: %s\n%s", id, s.Fault.Message, s.Fault.Details)
			} else if s.Status != "ACTIVE" {
				return fmt.Errorf("server %s is %q", id, s.Status)
			}
		}
		for id := range deleted {
			if s, there := have[id]; there {
				return fmt.Errorf("server %s was deleted and is %s", id, s.Status)
			}
		}
		for id, s := range have { // acknowledged by nobody, made all the same
			if !alive[id] && s.Status != "ACTIVE" {
				return fmt.Errorf("server %s is %q", id, s.Status)
			}
		}
		return nil
	})
	have, err := list()
	check(t, err)
	for id := range have {
		check(t, do("DELETE", "compute", "/servers/"+id, nil, nil))
	}
	eventually(t, 5*time.Minute, func(context.Context) error {
		have, err := list()
		if err == nil && len(have) > 0 {
			err = fmt.Errorf("%d servers are left", len(have))
		}
		return err
	})
	// With the last network its DHCP service goes, too.
	check(t, do("DELETE", "network", "/v2.0/networks/"+network.Network.ID, nil, nil))
	eventually(t, 6*time.Minute, func(context.Context) error { return a.nothingLeft(do) })
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nothingLeft looks for what deleted servers and networks may have left: processes, interfaces, namespaces, disks, ports, allocations.
func (a *apart) nothingLeft(do func(method, service, path string, in, out any) error) error {
	for _, c := range []string{
		"pgrep -f '[q]emu-system.*" + a.dir + "'",
		"ip -br link | grep -oE '^(tap|brq|vxlan)[^ ]*'",
		"ip netns list",
		"find " + a.dir + "/node -path '*guests/*' -type f",
	} {
		if out, _ := a.command("sh", "-c", c).Output(); len(out) > 0 {
			return fmt.Errorf("%s: %s", c, out)
		}
	}
	var ports struct {
		Ports []struct {
			DeviceOwner string `json:"device_owner"`
		}
	}
	if err := do("GET", "network", "/v2.0/ports", nil, &ports); err != nil {
		return err
	}
	for _, p := range ports.Ports {
		if strings.HasPrefix(p.DeviceOwner, "compute:") {
			return fmt.Errorf("a port of a deleted server is left")
		}
	}
	var providers struct {
		Providers []struct{ UUID string } `json:"resource_providers"`
	}
	if err := do("GET", "placement", "/resource_providers", nil, &providers); err != nil {
		return err
	}
	for _, p := range providers.Providers {
		var out struct{ Allocations map[string]any }
		if err := do("GET", "placement", "/resource_providers/"+p.UUID+"/allocations", nil, &out); err != nil {
			return err
		}
		if len(out.Allocations) > 0 {
			return fmt.Errorf("%d allocations are left", len(out.Allocations))
		}
	}
	return nil
}
