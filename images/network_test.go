package images

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"golang.org/x/crypto/ssh"
)

// inOwnNamespace runs the calling test again in a child process that has a network namespace to itself, so that
// its taps, addresses and DHCP servers touch nothing of the machine. It returns true in the child.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("HANOK_IN_NETNS") == t.Name() {
		return true
	}
	image(t) // built outside, where apt has a network
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), "HANOK_IN_NETNS="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("in a namespace of its own:\n%s", out)
	if err != nil {
		t.Fatalf("the test failed in its namespace: %v", err)
	}
	return false
}

// tap makes a tap device with addresses, the host's end of a guest's cable.
func tap(t *testing.T, name string, addresses ...string) {
	t.Helper()
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("add tap %s: %v", name, err)
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatalf("add %s to %s: %v", a, name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
}

// dhcpServer answers on one tap with one address; its name server can be changed between renewals.
type dhcpServer struct {
	gateway, lease net.IP
	routes         bool // send option 121, with the way to the metadata service, as Neutron does
	dns            atomic.Value
}

func (s *dhcpServer) serve(t *testing.T, device string) {
	t.Helper()
	srv, err := server4.NewServer(device, &net.UDPAddr{Port: 67}, func(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		r, err := dhcpv4.NewReplyFromRequest(m,
			dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(s.lease), dhcpv4.WithServerIP(s.gateway),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.gateway)), dhcpv4.WithOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32))),
			dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(time.Hour)), dhcpv4.WithOption(dhcpv4.OptDNS(net.ParseIP(s.dns.Load().(string)))),
			dhcpv4.WithOption(dhcpv4.OptDomainName("house.example")), dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{0x05, 0x78}))
		if err != nil {
			t.Errorf("DHCP reply: %v", err)
			return
		}
		r.UpdateOption(dhcpv4.OptRouter(s.gateway))
		if s.routes {
			_, all, _ := net.ParseCIDR("0.0.0.0/0")
			_, md, _ := net.ParseCIDR("169.254.169.254/32")
			r.UpdateOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: md, Router: s.gateway}, &dhcpv4.Route{Dest: all, Router: s.gateway}))
		}
		to := peer.(*net.UDPAddr)
		if to.IP.Equal(net.IPv4zero) {
			to = &net.UDPAddr{IP: net.IPv4bcast, Port: 68}
		}
		if _, err := conn.WriteTo(r.ToBytes(), to); err != nil {
			t.Errorf("DHCP reply: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve() }()
	t.Cleanup(func() { srv.Close() })
}

// metadataService serves the documents at the address of the metadata service and counts what was asked for.
type metadataService struct {
	mu    sync.Mutex
	files map[string]string
	asked map[string]int
}

func (m *metadataService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[r.URL.Path]++
	text, ok := m.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, text)
}

func (m *metadataService) serve(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
}

// login opens an ssh connection to the guest of TestNetwork.
func (g *guest) login(t *testing.T, user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	t.Helper()
	return ssh.Dial("tcp", "10.9.0.5:22", &ssh.ClientConfig{
		User: user, Auth: auth, Timeout: bootTimeout,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			// What the console shows is what a user compares with.
			if line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))); !strings.Contains(g.text(), line+" root@gate\n") {
				return fmt.Errorf("the host key %s is not the one on the console", line)
			}
			return nil
		},
	})
}

// run gives a command's standard output, with its error output in the error.
func run(c *ssh.Client, command string) (string, error) {
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	var out, errOut bytes.Buffer
	s.Stdout, s.Stderr = &out, &errOut
	if err := s.Run(command); err != nil {
		return out.String(), fmt.Errorf("%q: %w: %s", command, err, errOut.String())
	}
	return out.String(), nil
}

// until repeats a command until its output matches: for effects in the guest that nothing announces.
func until(t *testing.T, c *ssh.Client, command, expr string) {
	t.Helper()
	re := regexp.MustCompile(expr)
	var out string
	var err error
	for deadline := time.Now().Add(bootTimeout); time.Now().Before(deadline); {
		if out, err = run(c, command+"; sleep 0.2"); err == nil && re.MatchString(out) {
			return
		}
	}
	t.Fatalf("%q did not come to match %q within %v; last: %v %q", command, expr, bootTimeout, err, out)
}

// prologue stands before each command that Tempest runs in a guest (validation.ssh_shell_prologue).
const prologue = "set -eu -o pipefail; PATH=$PATH:/sbin:/usr/sbin; "

func TestNetwork(t *testing.T) {
	t.Parallel()
	if !inOwnNamespace(t) {
		return
	}
	tap(t, "tap0", "10.9.0.1/24", "169.254.169.254/32")
	tap(t, "tap1", "10.9.1.1/24")
	first := &dhcpServer{gateway: net.IPv4(10, 9, 0, 1), lease: net.IPv4(10, 9, 0, 5), routes: true}
	second := &dhcpServer{gateway: net.IPv4(10, 9, 1, 1), lease: net.IPv4(10, 9, 1, 5)}
	first.dns.Store("10.9.0.2")
	second.dns.Store("10.9.1.2")
	first.serve(t, "tap0")
	second.serve(t, "tap1")

	key, line := newKey(t)
	rsaPrivate, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := ssh.NewSignerFromKey(rsaPrivate)
	if err != nil {
		t.Fatal(err)
	}
	uuid := "5f0c1e1e-aaaa-4bbb-8ccc-ddddeeeeffff"
	md := &metadataService{asked: map[string]int{}, files: map[string]string{
		"/latest/meta-data/public-ipv4": "10.9.0.5",
		"/openstack/latest/user_data":   "#!/bin/sh\necho run >> /root/runs\n",
		"/openstack/latest/meta_data.json": toJSON(t, map[string]any{"uuid": uuid, "hostname": "gate.novalocal", "name": "gate", "meta": map[string]string{"a": "b"},
			"public_keys": map[string]string{"one": line, "two": string(ssh.MarshalAuthorizedKey(rsaKey.PublicKey()))}}),
	}}
	md.serve(t, "169.254.169.254:80")

	extra := t.TempDir() + "/extra.raw"
	if err := os.WriteFile(extra, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(extra, 64<<20); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	g := boot(t, 128, "1G",
		"-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,mac=fa:16:3e:00:00:02,romfile=")
	g.waitConsole(t, `hanok-guest: ready`, 0)
	c, err := g.login(t, "cirros", ssh.PublicKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(c, "true"); err != nil {
		t.Fatal(err)
	}
	t.Logf("first ssh command after %.1f s and %v of CPU time", time.Since(start).Seconds(), g.cpu())
	g.waitConsole(t, `gate login: `, 0)
	g.waitConsole(t, `user data 000 ended with status 0`, 0)

	t.Run("logins", func(t *testing.T) { testLogins(t, g, key, rsaKey) })
	t.Run("console", func(t *testing.T) {
		for _, want := range []string{
			"hanok-guest: eth0: address 10.9.0.5/24 by DHCP from 10.9.0.1, MTU 1400, routes 169.254.169.254/32 10.9.0.1 0.0.0.0/0 10.9.0.1\n",
			"hanok-guest: metadata from the metadata service: instance " + uuid + ", host name gate, 2 key(s)\n",
		} {
			if !strings.Contains(g.text(), want) {
				t.Errorf("the console does not show %q", want)
			}
		}
	})
	t.Run("programs", func(t *testing.T) { testPrograms(t, c) })
	t.Run("renewal", func(t *testing.T) {
		first.dns.Store("10.9.0.3")
		if _, err := run(c, prologue+"sudo /bin/kill -USR1 $(cat /var/run/udhcpc.eth0.pid)"); err != nil {
			t.Fatal(err)
		}
		until(t, c, "cat /etc/resolv.conf", `nameserver 10\.9\.0\.3\n$`)
	})
	t.Run("hot-plug interface", func(t *testing.T) {
		g.qmp.do("netdev_add", map[string]any{"type": "tap", "id": "n1", "ifname": "tap1", "script": "no", "downscript": "no"})
		g.qmp.do("device_add", map[string]any{"driver": "virtio-net-pci", "id": "nic1", "netdev": "n1", "mac": "fa:16:3e:00:00:03", "romfile": "", "bus": "hot1"})
		until(t, c, "ip -o addr", `eth1 +inet 10\.9\.1\.5/24`)
		// The first interface keeps the way out: a later one has the larger metric.
		until(t, c, "ip route show default", `^default via 10\.9\.0\.1 dev eth0 metric 10\d \ndefault via 10\.9\.1\.1 dev eth1 metric 10\d`)
		until(t, c, "cat /etc/resolv.conf", `10\.9\.0\.3\n(.*\n)*nameserver 10\.9\.1\.2`)
		g.qmp.do("device_del", map[string]any{"id": "nic1"})
		if err := g.qmp.waitEvent("DEVICE_DELETED nic1"); err != nil {
			t.Fatal(err)
		}
		until(t, c, "ls /sys/class/net | xargs; grep -c 10.9.1 /etc/resolv.conf; ls /var/run/udhcpc.*", `^eth0 lo\n0\n/var/run/udhcpc.eth0.pid\n$`)
	})
	t.Run("hot-plug disk", func(t *testing.T) { testDisk(t, g, c, extra) })
	t.Run("reboot", func(t *testing.T) {
		from := len(g.text())
		_, _ = run(c, "sudo reboot") // the connection may end before the status comes
		g.waitConsole(t, `hanok-guest: going down`, from)
		g.waitConsole(t, `gate login: `, from)
		c, err = g.login(t, "hanok", ssh.PublicKeys(key))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := run(c, "sudo cat /root/runs"); err != nil || out != "run\n" {
			t.Errorf("user data must run once for each instance: %q %v", out, err)
		}
	})
	t.Run("power button", func(t *testing.T) {
		pressed := time.Now()
		g.qmp.do("system_powerdown", nil)
		if err := g.qmp.waitEvent("SHUTDOWN"); err != nil {
			t.Fatal(err)
		}
		<-g.gone
		t.Logf("off %.1f s after the button", time.Since(pressed).Seconds())
	})
}

func testLogins(t *testing.T, g *guest, key, rsaKey ssh.Signer) {
	for user, want := range map[string]string{"hanok": "1000 /home/hanok", "cirros": "1000 /home/hanok", "root": "0 /root"} {
		c, err := g.login(t, user, ssh.PublicKeys(rsaKey))
		if err != nil {
			t.Errorf("login as %s with the RSA key: %v", user, err)
			continue
		}
		if out, err := run(c, `echo $(id -u) $HOME`); err != nil || out != want+"\n" {
			t.Errorf("%s is %q, %v; want %q", user, out, err, want)
		}
		c.Close()
	}
	stranger, _ := newKey(t)
	for name, auth := range map[string]ssh.AuthMethod{"the console password": ssh.Password("hanok-guest"), "an unknown key": ssh.PublicKeys(stranger)} {
		if c, err := g.login(t, "hanok", auth); err == nil {
			c.Close()
			t.Errorf("ssh accepts %s", name)
		}
	}
	c, err := g.login(t, "hanok", ssh.PublicKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// SFTP's first packet, INIT with version 3, is answered by VERSION (2).
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, _ := s.StdinPipe()
	out, _ := s.StdoutPipe()
	if err := s.RequestSubsystem("sftp"); err != nil {
		t.Fatalf("sftp: %v", err)
	}
	if _, err := in.Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(out, head); err != nil || head[4] != 2 {
		t.Errorf("sftp answered % x, %v", head, err)
	}
}

// ask repeats a client until the server, which needs its time to start, answers it.
func ask(client string) string {
	return `i=0; out=; while [ -z "$out" ] && [ $i -lt 60 ]; do sleep 1; i=$((i+1)); out=$(echo bar | ` + client + ` || true); done; echo "$out"`
}

// testPrograms runs what Tempest and its plugins run in guests: tempest/common/utils/linux/remote_client.py,
// tempest/lib/common/utils/linux/remote_client.py, tempest/scenario/manager.py and their users.
func testPrograms(t *testing.T, c *ssh.Client) {
	for _, p := range []struct{ command, want string }{
		{"hostname", `^gate\n$`},
		{"lsblk -lb --nodeps", `^NAME +MAJ:MIN +RM +SIZE +RO +TYPE +MOUNTPOINTS?\nvda +\S+ +0 +1073741824 +0 +disk *\n$`},
		{"sudo lsblk --fs --ascii", `vda1 .*/\n`},
		{"sudo blkid /dev/vda1", `LABEL="hanok-root".*TYPE="ext4"`},
		{"cut -f1 -d. /proc/uptime", `^\d+\n$`},
		{"grep -c ^processor /proc/cpuinfo", `^1\n$`},
		{"ip addr show eth0 | awk '/ether/ {print $2}'", `^fa:16:3e:00:00:02\n$`},
		{"ip -o link | awk '/fa:16:3e:00:00:02/ {print $2}'", `^eth0:\n$`},
		{"ip -o addr | awk '/10.9.0.5/ {print $2}'", `^eth0\n$`},
		{"ip a", `mtu 1400`},
		{"ip -j link", `"ifname":"eth0"`},
		{"ip address", `(?m)^\d+: eth0: <`},
		{"ip route get 169.254.169.254", `via 10\.9\.0\.1`},
		{"cat /etc/resolv.conf", `^search house\.example\nnameserver 10\.9\.0\.2\n$`},
		{"curl -s http://169.254.169.254/latest/meta-data/public-ipv4", `^10\.9\.0\.5$`},
		{"curl -V", `OpenSSL`},
		{"timeout 60 wget -q -O - http://169.254.169.254/latest/meta-data/public-ipv4", `^10\.9\.0\.5$`},
		{"ping -c1 -w20 -s56 10.9.0.1", `1 received`},
		{"sudo ping -I eth0 -c1 -w20 -s56 10.9.0.1", `1 received`},
		{"ping -c1 -w20 -M do -s 1372 10.9.0.1", `1 received`},
		{"! ping -c1 -w1 -M do -s 1373 10.9.0.1 2>&1", `message too long|Message too long`},
		{"ping6 -c1 -w20 ::1", `1 received`},
		{"ps -ef", `dropbear`},
		{"ps", `udhcpc`},
		{`sudo su -c "id -u"`, `^0\n$`},
		{`sudo -n -u nobody id -un`, `^nobody\n$`},
		{`sudo sh -c "echo \"marker on the console\" >/dev/console"`, `^$`},
		{`sudo sh -c "date > /tmp/timestamp; sync"; sudo cat /tmp/timestamp`, `20\d\d\n$`},
		{"sudo nc -p 81 -lk -e echo foolish & " + ask("nc -w 2 127.0.0.1 81"), `^foolish\n$`},
		{"sudo nc -u -p 82 -lk -e echo foolish & " + ask("nc -w 2 -u 127.0.0.1 82"), `^foolish\n$`},
		{"dd if=/dev/zero of=/tmp/zeros bs=1M count=3 2>/dev/null; md5sum /tmp/zeros", `^d1dd210d6b1312cb342b56d02bd5e651 `},
		{"cat /proc/sys/kernel/random/boot_id | wc -c", `^37\n$`},
		{"which mkfs.ext4 mkfs mke2fs mount umount udhcpc sync blkid scp vi tar gzip base64 sha256sum", `(?s)/mke2fs\n.*/sha256sum\n$`},
		{"ls /sbin/udhcpc /bin/kill /usr/sbin/ip /sbin/mkfs.ext4 /usr/bin/sudo", `(?s)udhcpc`},
		{"df -m / | awk 'NR == 2 { print ($2 > 900) }'", `^1\n$`},
		{"test -w /tmp && cat /proc/sys/kernel/hostname", `^gate\n$`},
		{"cat /sys/class/misc/hw_random/rng_current", `^virtio_rng`},
	} {
		out, err := run(c, prologue+p.command)
		if err != nil || !regexp.MustCompile(p.want).MatchString(out) {
			t.Errorf("%s: %v, output %q, want %s", p.command, err, out, p.want)
		}
	}
}

// testDisk plugs a disk with a serial number, as a volume has, uses it as Tempest does, and takes it out again.
func testDisk(t *testing.T, g *guest, c *ssh.Client, file string) {
	g.qmp.do("blockdev-add", map[string]any{"driver": "raw", "node-name": "vol1", "file": map[string]any{"driver": "file", "filename": file}})
	g.qmp.do("device_add", map[string]any{"driver": "virtio-blk-pci", "id": "disk1", "drive": "vol1", "serial": "0123456789abcdef0123", "bus": "hot2"})
	until(t, c, prologue+"lsblk -lb --nodeps", `vdb +\S+ +0 +67108864 +0 +disk`)
	until(t, c, "readlink -f /dev/disk/by-id/virtio-0123456789abcdef0123", `^/dev/vdb\n`)
	out, err := run(c, prologue+`sudo mke2fs -t ext4 /dev/vdb >/dev/null 2>&1; sudo mount /dev/vdb /mnt; sudo sh -c "date > /mnt/timestamp; sync"; `+
		`sudo cat /mnt/timestamp; sudo umount /mnt; sudo mkfs.ext4 -q -F -L again /dev/vdb; sudo blkid -L again; sudo mkfs -t ext4 -q -F /dev/vdb`)
	if err != nil || !strings.HasSuffix(out, "/dev/vdb\n") {
		t.Errorf("file system on the new disk: %v, output %q", err, out)
	}
	g.qmp.do("device_del", map[string]any{"id": "disk1"})
	if err := g.qmp.waitEvent("DEVICE_DELETED disk1"); err != nil {
		t.Fatal(err)
	}
	until(t, c, prologue+"lsblk -ln --nodeps -o NAME; ls /dev/disk/by-id", `^vda\n$`)
}
