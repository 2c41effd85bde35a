package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/client"
)

// tenant is a project with a network 10.0.0.0/24, a router and one guest at a floating IP.
type tenant struct {
	t        *testing.T
	api      *client.Client
	name     string
	key      string
	group    string // its security group
	server   string
	fixed    string
	floating string
}

// admin is a client of the shared cloud's administrator.
func admin(t *testing.T) *client.Client {
	t.Helper()
	b, err := os.ReadFile(cloud.dir + "/openrc")
	check(t, err)
	v := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, val, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		v[k] = val
	}
	c, err := client.New(client.Options{AuthURL: v["OS_AUTH_URL"], User: v["OS_USERNAME"], Password: v["OS_PASSWORD"], Project: v["OS_PROJECT_NAME"]})
	check(t, err)
	return c
}

func (n *tenant) do(method, service, path string, in, out any) {
	n.t.Helper()
	if err := n.api.Do(n.t.Context(), method, service, path, in, out); err != nil {
		n.t.Fatalf("tenant %s: %v", n.name, err)
	}
}

// id is the id in an answer such as {"network": {"id": …}}.
type answer map[string]struct {
	ID      string `json:"id"`
	Address string `json:"floating_ip_address"`
}

// newTenant makes the project and everything in it but the guest; what it makes goes away with the test.
func newTenant(t *testing.T, root *client.Client, name, fixed, key string) *tenant {
	t.Helper()
	n := &tenant{t: t, name: name, key: key, fixed: fixed}
	ctx := t.Context()
	var project, user answer
	check(t, root.Do(ctx, "POST", "identity", "/v3/projects", obj{"project": obj{"name": name, "domain_id": "default"}}, &project))
	check(t, root.Do(ctx, "POST", "identity", "/v3/users", obj{"user": obj{"name": name, "domain_id": "default", "password": name}}, &user))
	var roles struct{ Roles []struct{ ID string } }
	check(t, root.Do(ctx, "GET", "identity", "/v3/roles?name=member", nil, &roles))
	check(t, root.Do(ctx, "PUT", "identity", fmt.Sprintf("/v3/projects/%s/users/%s/roles/%s", project["project"].ID, user["user"].ID, roles.Roles[0].ID), nil, nil))
	check(t, root.Login(ctx))
	var err error
	n.api, err = client.New(client.Options{AuthURL: root.AuthURL(), User: name, Password: name, Project: name})
	check(t, err)

	var public struct{ Networks []struct{ ID string } }
	n.do("GET", "network", "/v2.0/networks?name=public", nil, &public)
	var network, subnet, router, group, server, port answer
	n.do("POST", "network", "/v2.0/networks", obj{"network": obj{"name": "net"}}, &network)
	n.do("POST", "network", "/v2.0/subnets", obj{"subnet": obj{"network_id": network["network"].ID, "ip_version": 4, "cidr": "10.0.0.0/24"}}, &subnet)
	n.do("POST", "network", "/v2.0/routers", obj{"router": obj{"name": "r", "external_gateway_info": obj{"network_id": public.Networks[0].ID}}}, &router)
	n.do("PUT", "network", "/v2.0/routers/"+router["router"].ID+"/add_router_interface", obj{"subnet_id": subnet["subnet"].ID}, nil)
	n.do("POST", "network", "/v2.0/security-groups", obj{"security_group": obj{"name": "sg"}}, &group)
	n.group = group["security_group"].ID
	n.open(22)
	n.do("POST", "network", "/v2.0/security-group-rules", obj{"security_group_rule": obj{
		"security_group_id": n.group, "direction": "ingress", "ethertype": "IPv4", "protocol": "icmp"}}, nil)
	public64, err := os.ReadFile(key + ".pub")
	check(t, err)
	n.do("POST", "compute", "/os-keypairs", obj{"keypair": obj{"name": "key", "public_key": strings.TrimSpace(string(public64))}}, nil)
	n.do("POST", "network", "/v2.0/ports", obj{"port": obj{"network_id": network["network"].ID, "security_groups": []string{n.group},
		"fixed_ips": []obj{{"subnet_id": subnet["subnet"].ID, "ip_address": fixed}}}}, &port)
	var flavors struct{ Flavors []struct{ ID, Name string } }
	n.do("GET", "compute", "/flavors", nil, &flavors)
	flavor := ""
	for _, f := range flavors.Flavors {
		if f.Name == "m1.nano" {
			flavor = f.ID
		}
	}
	var images struct{ Images []struct{ ID string } }
	n.do("GET", "image", "/v2/images?name=hanok-guest", nil, &images)
	n.do("POST", "compute", "/servers", obj{"server": obj{"name": name, "flavorRef": flavor, "imageRef": images.Images[0].ID, "key_name": "key",
		"networks": []obj{{"port": port["port"].ID}}}}, &server)
	n.server = server["server"].ID
	var fip answer
	n.do("POST", "network", "/v2.0/floatingips", obj{"floatingip": obj{"floating_network_id": public.Networks[0].ID, "port_id": port["port"].ID}}, &fip)
	n.floating = fip["floatingip"].Address
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		bye := func(service, path string) {
			if err := n.api.Do(ctx, "DELETE", service, path, nil, nil); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
		bye("network", "/v2.0/floatingips/"+fip["floatingip"].ID)
		bye("compute", "/servers/"+n.server)
		for { // the port stays in use until the node has let go of it
			err := n.api.Do(ctx, "GET", "compute", "/servers/"+n.server, nil, nil)
			var e *client.Error
			if errors.As(err, &e) && e.Status == 404 || ctx.Err() != nil {
				break
			}
		}
		if err := n.api.Do(ctx, "PUT", "network", "/v2.0/routers/"+router["router"].ID+"/remove_router_interface", obj{"subnet_id": subnet["subnet"].ID}, nil); err != nil {
			t.Errorf("clean up: %v", err)
		}
		bye("network", "/v2.0/routers/"+router["router"].ID)
		bye("network", "/v2.0/ports/"+port["port"].ID)
		bye("network", "/v2.0/networks/"+network["network"].ID)
		bye("network", "/v2.0/security-groups/"+n.group)
		check(t, root.Do(ctx, "DELETE", "identity", "/v3/users/"+user["user"].ID, nil, nil))
		check(t, root.Do(ctx, "DELETE", "identity", "/v3/projects/"+project["project"].ID, nil, nil))
	})
	return n
}

// open lets TCP to a port in and returns the rule's id.
func (n *tenant) open(port int) string {
	n.t.Helper()
	var rule answer
	n.do("POST", "network", "/v2.0/security-group-rules", obj{"security_group_rule": obj{"security_group_id": n.group, "direction": "ingress",
		"ethertype": "IPv4", "protocol": "tcp", "port_range_min": port, "port_range_max": port}}, &rule)
	return rule["security_group_rule"].ID
}

func (n *tenant) waitLogin() {
	n.t.Helper()
	eventually(n.t, 5*time.Minute, func(ctx context.Context) error {
		_, err := guestSSH(ctx, n.key, n.floating, "true")
		return err
	})
}

func (n *tenant) run(command string) (string, error) {
	return guestSSH(n.t.Context(), n.key, n.floating, command)
}

// TestTwoTenantsWithTheSameRange: tenants that both use 10.0.0.0/24 do not reach each other, each reaches its own; rules take effect at
// once, also on connections that exist.
func TestTwoTenantsWithTheSameRange(t *testing.T) {
	key := filepath.Join(t.TempDir(), "id")
	must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	root := admin(t)
	a := newTenant(t, root, "tenant-a", "10.0.0.10", key)
	a.waitLogin() // one boot at a time
	b := newTenant(t, root, "tenant-b", "10.0.0.20", key)
	b.waitLogin()

	for _, n := range []*tenant{a, b} {
		if out, err := n.run("ping -c 1 -W 5 10.0.0.1 >/dev/null && ip -4 -o addr show"); err != nil || !strings.Contains(out, n.fixed) {
			t.Errorf("tenant %s does not reach its own gateway: %v %s", n.name, err, out)
		}
	}
	if out, err := a.run("ping -c 2 -W 2 10.0.0.20"); err == nil {
		t.Errorf("tenant a reaches tenant b's 10.0.0.20:\n%s", out)
	}
	if out, err := b.run("ping -c 2 -W 2 10.0.0.10"); err == nil {
		t.Errorf("tenant b reaches tenant a's 10.0.0.10:\n%s", out)
	}
	rulesTakeEffect(t, a)
	spoofingIsNotHeard(t, a)
}

// rulesTakeEffect opens a port under a listening program and closes it under a connection.
func rulesTakeEffect(t *testing.T, n *tenant) {
	if _, err := n.run("(while :; do nc -l -p 8080 -e cat; done) >/dev/null 2>&1 &"); err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort(n.floating, "8080")
	connect := func() (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) }
	if c, err := connect(); err == nil {
		_ = c.Close()
		t.Fatal("a port without a rule is open")
	}
	rule := n.open(8080)
	var conn net.Conn
	eventually(t, 6*time.Minute, func(context.Context) (err error) {
		conn, err = connect()
		return err
	})
	defer conn.Close()
	echo := func(line string, limit time.Duration) error {
		if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(conn, line); err != nil {
			return err
		}
		got, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && got != line+"\n" {
			err = fmt.Errorf("echo %q", got)
		}
		return err
	}
	if err := echo("one", time.Minute); err != nil {
		t.Fatalf("the connection does not work: %v", err)
	}
	n.do("DELETE", "network", "/v2.0/security-group-rules/"+rule, nil, nil)
	eventually(t, 6*time.Minute, func(context.Context) error {
		if err := echo("two", 3*time.Second); err == nil {
			return errors.New("the connection outlives its rule")
		}
		return nil
	})
	if c, err := connect(); err == nil {
		_ = c.Close()
		t.Error("a new connection came through after the rule was removed")
	}
}

// spoofingIsNotHeard: on the way out of the guest's port only its own addresses pass. The bridge of the network shows what passed.
func spoofingIsNotHeard(t *testing.T, n *tenant) {
	var ports struct {
		Ports []struct {
			NetworkID string `json:"network_id"`
		}
	}
	n.do("GET", "network", "/v2.0/ports?device_id="+n.server, nil, &ports)
	bridge := "brq" + ports.Ports[0].NetworkID[:11]
	sniff := exec.CommandContext(t.Context(), "tcpdump", "-l", "-n", "-e", "-i", bridge, "host 10.0.0.77 or ether host 02:00:00:00:00:77")
	out, err := sniff.StdoutPipe()
	check(t, err)
	errOut, err := sniff.StderrPipe()
	check(t, err)
	check(t, sniff.Start())
	defer func() { _ = sniff.Process.Kill(); _ = sniff.Wait() }()
	ready := bufio.NewScanner(errOut)
	for ready.Scan() && !strings.Contains(ready.Text(), "listening on") {
	}
	heard := make(chan string, 100)
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			heard <- s.Text()
		}
		close(heard)
	}()
	// The guest takes a foreign address: both its pings and its ARP requests carry it.
	if _, err := n.run("sudo ip addr add 10.0.0.77/24 dev eth0; ping -c 3 -W 1 -I 10.0.0.77 10.0.0.1; arping -c 2 -w 2 -s 10.0.0.77 -I eth0 10.0.0.1; sudo ip addr del 10.0.0.77/24 dev eth0; true"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.run("ping -c 1 -W 5 10.0.0.1"); err != nil {
		t.Errorf("the guest's own address must still work: %v", err)
	}
	_ = sniff.Process.Kill()
	for line := range heard {
		// What a router asks of its own accord does not count; what comes from the guest does.
		if strings.Contains(line, "fa:16:3e") && (strings.Contains(line, "10.0.0.77 >") || strings.Contains(line, "tell 10.0.0.77")) {
			t.Errorf("heard from a foreign address: %s", line)
		}
	}
}
