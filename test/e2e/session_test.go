package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	asAdmin = "hanok-admin"
	asDemo  = "hanok"
)

func TestUpAgainChangesNothingAndPrintsTheSame(t *testing.T) {
	servers := openstack(t, asAdmin, "server", "list", "--all-projects", "-f", "value", "-c", "ID")
	out, err := hanok(3*time.Minute, "up", "--demo", "--image", os.Getenv("HANOK_TEST_IMAGE"))
	if err != nil {
		t.Fatal(err)
	}
	if out != cloud.summary {
		t.Errorf("printed\n%s\nfirst it was\n%s", out, cloud.summary)
	}
	if again := openstack(t, asAdmin, "server", "list", "--all-projects", "-f", "value", "-c", "ID"); again != servers {
		t.Errorf("servers were %q and are %q", servers, again)
	}
}

func TestLoginAsPrinted(t *testing.T) {
	m := regexp.MustCompile(`ssh -i (\S+) hanok@(\S+)`).FindStringSubmatch(cloud.summary)
	if m == nil {
		t.Fatalf("no ssh command in\n%s", cloud.summary)
	}
	out, err := guestSSH(t.Context(), m[1], m[2], "hostname; sudo id -u")
	if err != nil || out != "demo-1\n0\n" {
		t.Errorf("%q %v", out, err)
	}
}

// TestNewPasswords: after a password is made anew the files that were printed let in as before.
func TestNewPasswords(t *testing.T) {
	for user, as := range map[string]string{"demo": asDemo, "admin": asAdmin} {
		if _, err := hanok(time.Minute, "admin", "reset-password", user); err != nil {
			t.Fatal(err)
		}
		openstack(t, as, "token", "issue", "-f", "value", "-c", "user_id")
	}
}

// TestSession is the article's session: flavor, image, provider network, self-service network, router, security group, key pair, server, floating IP.
func TestSession(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "id")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	userData := filepath.Join(dir, "user-data")
	if err := os.WriteFile(userData, []byte("#!/bin/sh\necho user data ran as $(id -un) > /var/tmp/user-data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := leftovers(t)

	openstack(t, asAdmin, "flavor", "create", "--vcpus", "1", "--ram", "128", "--disk", "1", "s.nano")
	openstack(t, asAdmin, "image", "create", "--disk-format", "qcow2", "--container-format", "bare", "--file", os.Getenv("HANOK_TEST_IMAGE"), "--public", "s-image")
	openstack(t, asDemo, "network", "create", "s-net")
	openstack(t, asDemo, "subnet", "create", "--network", "s-net", "--subnet-range", "172.16.1.0/24", "--gateway", "172.16.1.1", "--dns-nameserver", "203.0.113.53", "s-subnet")
	openstack(t, asDemo, "router", "create", "s-router")
	openstack(t, asDemo, "router", "add", "subnet", "s-router", "s-subnet")
	openstack(t, asDemo, "router", "set", "s-router", "--external-gateway", "public")
	openstack(t, asDemo, "security", "group", "create", "s-sg")
	openstack(t, asDemo, "security", "group", "rule", "create", "--proto", "icmp", "s-sg")
	openstack(t, asDemo, "security", "group", "rule", "create", "--proto", "tcp", "--dst-port", "22", "s-sg")
	openstack(t, asDemo, "keypair", "create", "--public-key", key+".pub", "s-key")
	openstack(t, asDemo, "server", "create", "--flavor", "s.nano", "--image", "s-image", "--network", "s-net", "--security-group", "s-sg", "--key-name", "s-key",
		"--user-data", userData, "--property", "colour=blue", "--wait", "s-server")
	ip := openstack(t, asDemo, "floating", "ip", "create", "public", "-f", "value", "-c", "floating_ip_address")
	openstack(t, asDemo, "server", "add", "floating", "ip", "s-server", ip)

	inGuest := func(command string) string {
		t.Helper()
		var out string
		eventually(t, 5*time.Minute, func(ctx context.Context) (err error) {
			out, err = guestSSH(ctx, key, ip, command)
			return err
		})
		return strings.TrimSpace(out)
	}
	if got := inGuest("hostname"); got != "s-server" {
		t.Errorf("host name %q", got)
	}
	if out, err := exec.Command("ping", "-c", "3", "-W", "5", ip).CombinedOutput(); err != nil {
		t.Errorf("ping: %v\n%s", err, out)
	}
	eventually(t, 6*time.Minute, func(ctx context.Context) error {
		out, err := guestSSH(ctx, key, ip, "cat /var/tmp/user-data")
		if err == nil && strings.TrimSpace(out) != "user data ran as root" {
			err = fmt.Errorf("user data wrote %q", out)
		}
		return err
	})
	var meta struct {
		Name       string
		Meta       map[string]string
		PublicKeys map[string]string `json:"public_keys"`
	}
	text := inGuest("wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json")
	if err := json.Unmarshal([]byte(text), &meta); err != nil || meta.Name != "s-server" || meta.Meta["colour"] != "blue" || !strings.HasPrefix(meta.PublicKeys["s-key"], "ssh-ed25519 ") {
		t.Errorf("metadata: %v\n%s", err, text)
	}
	// From inside to outside by SNAT of the floating IP: the gateway sees it.
	inGuest("ping -c 1 -W 5 203.0.113.1")

	if log := openstack(t, asDemo, "console", "log", "show", "s-server"); !strings.Contains(log, "login:") {
		t.Errorf("console log ends with %q", tail(log, 5))
	}
	boot := inGuest("cat /proc/sys/kernel/random/boot_id")
	openstack(t, asDemo, "server", "reboot", "--wait", "s-server")
	eventually(t, 6*time.Minute, func(ctx context.Context) error {
		out, err := guestSSH(ctx, key, ip, "cat /proc/sys/kernel/random/boot_id")
		if err == nil && strings.TrimSpace(out) == boot {
			err = errors.New("it has not rebooted")
		}
		return err
	})
	openstack(t, asDemo, "server", "stop", "s-server")
	waitStatus(t, "s-server", "SHUTOFF")
	openstack(t, asDemo, "server", "start", "s-server")
	waitStatus(t, "s-server", "ACTIVE")
	if got := inGuest("cat /var/tmp/user-data"); got != "user data ran as root" {
		t.Errorf("after stop and start the disk has %q", got)
	}

	openstack(t, asDemo, "server", "delete", "--wait", "s-server")
	openstack(t, asDemo, "floating", "ip", "delete", ip)
	openstack(t, asDemo, "router", "unset", "--external-gateway", "s-router")
	openstack(t, asDemo, "router", "remove", "subnet", "s-router", "s-subnet")
	openstack(t, asDemo, "router", "delete", "s-router")
	openstack(t, asDemo, "network", "delete", "s-net")
	openstack(t, asDemo, "security", "group", "delete", "s-sg")
	openstack(t, asDemo, "keypair", "delete", "s-key")
	openstack(t, asAdmin, "image", "delete", "s-image")
	openstack(t, asAdmin, "flavor", "delete", "s.nano")
	eventually(t, 6*time.Minute, func(context.Context) error {
		if after := leftovers(t); after != before {
			return fmt.Errorf("left behind; before:\n%s\nafter:\n%s", before, after)
		}
		return nil
	})
}

func waitStatus(t *testing.T, server, status string) {
	t.Helper()
	eventually(t, 6*time.Minute, func(ctx context.Context) error {
		out, err := tryOpenstack(ctx, asDemo, "server", "show", server, "-f", "value", "-c", "status")
		if err == nil && strings.TrimSpace(out) != status {
			err = fmt.Errorf("server is %s", out)
		}
		return err
	})
}

// leftovers lists what guests and networks are made of on this node: processes, interfaces, namespaces, nft elements, disk files.
func leftovers(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, c := range []string{
		"pgrep -f '[q]emu-system.*" + cloud.dir + "' | wc -l", // of this cloud: the machine may have others
		"ip -br link | awk '{print $1}' | cut -d@ -f1 | sort",
		"ip netns list | awk '{print $1}' | sort",
		"nft list ruleset | grep -vE 'counter|^\\s*$' | grep -oE 'tap[0-9a-f-]+|brq[0-9a-f-]+|mark [0-9a-fx]+' | sort -u",
		"find " + cloud.dir + " -path '*guests*' -type f -not -name '*.log' | sed 's/[0-9]*$//' | sort",
		"find " + cloud.dir + "/images -type f | wc -l",
	} {
		out, err := exec.Command("sh", "-c", c).CombinedOutput()
		if err != nil {
			t.Logf("%s: %v", c, err)
		}
		fmt.Fprintf(&b, "$ %s\n%s", c, out)
	}
	return b.String()
}
