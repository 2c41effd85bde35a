// Package demo makes the first cloud of `make up` through the public APIs: the guest image, flavors, the provider network
// `public`, a demo project with a self-service network and router, and a first guest with a floating IP. Every step looks
// first and makes only what is missing, so it may be repeated. It must not know anything but the public APIs.
package demo

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hanok-cloud/hanok/internal/client"
	"github.com/hanok-cloud/hanok/internal/pki"
)

// Options for Setup.
type Options struct {
	Admin *client.Client
	// Demo opens a client for the demo user, whose password is DemoPassword.
	Demo         func() (*client.Client, error)
	DemoPassword string
	ImageFile    string // qcow2 of the guest image
	KeyFile      string // private ssh key of the demo user; made when missing
	Progress     func(string)
}

// Result is what Setup made or found.
type Result struct {
	FloatingIP string
	Server     string
}

// Names of what Setup makes.
const (
	ImageName   = "hanok-guest"
	PublicNet   = "public"
	Project     = "demo"
	User        = "demo"
	ServerName  = "demo-1"
	KeyName     = "demo"
	LoginUser   = "hanok"
	demoNet     = "demo-net"
	demoSubnet  = "demo-subnet"
	demoRouter  = "demo-router"
	demoCIDR    = "10.10.0.0/24"
	publicCIDR  = "203.0.113.0/24"
	publicGW    = "203.0.113.1"
	publicStart = "203.0.113.101"
	publicEnd   = "203.0.113.250"
	physicalNet = "provider"
	guestFlavor = "m1.nano"
)

type obj map[string]any

// named is what lists of named things have in common.
type named struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status string `json:"status"`
}

type setup struct {
	Options
	admin, demo *client.Client
}

// Setup makes what is missing and waits until the guest answers.
func Setup(ctx context.Context, o Options) (*Result, error) {
	s := &setup{Options: o, admin: o.Admin}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"demo project and user", s.project},
		{"flavors", s.flavors},
		{"guest image", s.image},
		{"provider network " + PublicNet + " (" + publicCIDR + ")", s.publicNetwork},
		{"self-service network and router", s.selfService},
		{"security group rules for ping and ssh", s.securityGroup},
		{"key pair", s.keyPair},
	} {
		o.Progress(step.what)
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	o.Progress("first guest " + ServerName)
	ip, err := s.server(ctx)
	if err != nil {
		return nil, fmt.Errorf("first guest: %w", err)
	}
	o.Progress("waiting for ssh at " + ip)
	if err := waitSSH(ctx, ip); err != nil {
		return nil, err
	}
	return &Result{FloatingIP: ip, Server: ServerName}, nil
}

// find gets the one thing of a list with that name; "" when there is none.
func find(ctx context.Context, c *client.Client, service, path, key, name string) (string, error) {
	var out map[string]json.RawMessage // beside the list there are links
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	if err := c.Do(ctx, "GET", service, path+sep+"name="+url.QueryEscape(name), nil, &out); err != nil {
		return "", err
	}
	var list []named
	if err := json.Unmarshal(out[key], &list); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	for _, n := range list {
		if n.Name == name {
			return n.ID, nil
		}
	}
	return "", nil
}

// ensure finds the thing or makes it.
func ensure(ctx context.Context, c *client.Client, service, path, plural, singular, name string, body obj) (id string, made bool, err error) {
	if id, err = find(ctx, c, service, path, plural, name); err != nil || id != "" {
		return id, false, err
	}
	body["name"] = name
	var out map[string]named
	err = c.Do(ctx, "POST", service, path, obj{singular: body}, &out)
	return out[singular].ID, true, err
}

func (s *setup) project(ctx context.Context) error {
	const v3 = "/v3"
	project, _, err := ensure(ctx, s.admin, "identity", v3+"/projects", "projects", "project", Project, obj{"domain_id": "default"})
	if err != nil {
		return err
	}
	user, made, err := ensure(ctx, s.admin, "identity", v3+"/users", "users", "user", User, obj{"domain_id": "default", "password": s.DemoPassword, "default_project_id": project})
	if err != nil {
		return err
	}
	if !made {
		// The password file may be newer than the user: a first run that was cut off, or files that were removed.
		if err := s.admin.Do(ctx, "PATCH", "identity", v3+"/users/"+user, obj{"user": obj{"password": s.DemoPassword}}, nil); err != nil {
			return err
		}
	}
	role, err := find(ctx, s.admin, "identity", v3+"/roles", "roles", "member")
	if err != nil {
		return err
	}
	if err := s.admin.Do(ctx, "PUT", "identity", v3+"/projects/"+project+"/users/"+user+"/roles/"+role, nil, nil); err != nil {
		return err
	}
	s.demo, err = s.Demo()
	return err
}

func (s *setup) flavors(ctx context.Context) error {
	var have struct{ Flavors []named }
	if err := s.admin.Do(ctx, "GET", "compute", "/flavors", nil, &have); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, f := range have.Flavors {
		names[f.Name] = true
	}
	for _, f := range []struct {
		name             string
		ram, disk, vcpus int
	}{{guestFlavor, 128, 1, 1}, {"m1.micro", 192, 1, 1}, {"m1.tiny", 512, 1, 1}, {"m1.small", 2048, 20, 1}, {"m1.medium", 4096, 40, 2}, {"m1.large", 8192, 80, 4}} {
		if names[f.name] {
			continue
		}
		if err := s.admin.Do(ctx, "POST", "compute", "/flavors", obj{"flavor": obj{"name": f.name, "ram": f.ram, "disk": f.disk, "vcpus": f.vcpus}}, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) image(ctx context.Context) error {
	f, err := os.Open(s.ImageFile)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return ensureImage(ctx, s.admin, obj{"name": ImageName, "disk_format": "qcow2", "container_format": "bare", "visibility": "public", "min_ram": 96}, f)
}

// ensureImage makes a public image with these bytes unless there is an active one of its name.
func ensureImage(ctx context.Context, admin *client.Client, image obj, data io.Reader) error {
	var list struct{ Images []named }
	if err := admin.Do(ctx, "GET", "image", fmt.Sprintf("/v2/images?name=%v", image["name"]), nil, &list); err != nil {
		return err
	}
	id := ""
	for _, i := range list.Images {
		switch i.Status {
		case "active":
			return nil
		case "queued":
			id = i.ID // an upload that broke off
		}
	}
	if id == "" {
		var out named
		if err := admin.Do(ctx, "POST", "image", "/v2/images", image, &out); err != nil {
			return err
		}
		id = out.ID
	}
	return admin.Do(ctx, "PUT", "image", "/v2/images/"+id+"/file", data, nil)
}

func (s *setup) publicNetwork(ctx context.Context) error {
	net, _, err := ensure(ctx, s.admin, "network", "/v2.0/networks", "networks", "network", PublicNet, obj{
		"router:external": true, "provider:network_type": "flat", "provider:physical_network": physicalNet})
	if err != nil {
		return err
	}
	_, _, err = ensure(ctx, s.admin, "network", "/v2.0/subnets", "subnets", "subnet", "public-subnet", obj{
		"network_id": net, "ip_version": 4, "cidr": publicCIDR, "gateway_ip": publicGW, "enable_dhcp": false,
		"allocation_pools": []obj{{"start": publicStart, "end": publicEnd}}})
	return err
}

func (s *setup) selfService(ctx context.Context) error {
	public, err := find(ctx, s.demo, "network", "/v2.0/networks", "networks", PublicNet)
	if err != nil {
		return err
	}
	net, _, err := ensure(ctx, s.demo, "network", "/v2.0/networks", "networks", "network", demoNet, obj{})
	if err != nil {
		return err
	}
	subnet, _, err := ensure(ctx, s.demo, "network", "/v2.0/subnets", "subnets", "subnet", demoSubnet, obj{"network_id": net, "ip_version": 4, "cidr": demoCIDR})
	if err != nil {
		return err
	}
	router, _, err := ensure(ctx, s.demo, "network", "/v2.0/routers", "routers", "router", demoRouter, obj{"external_gateway_info": obj{"network_id": public}})
	if err != nil {
		return err
	}
	var ports struct{ Ports []named }
	if err := s.demo.Do(ctx, "GET", "network", "/v2.0/ports?device_id="+router+"&network_id="+net, nil, &ports); err != nil || len(ports.Ports) > 0 {
		return err
	}
	return s.demo.Do(ctx, "PUT", "network", "/v2.0/routers/"+router+"/add_router_interface", obj{"subnet_id": subnet}, nil)
}

func (s *setup) securityGroup(ctx context.Context) error {
	group, err := find(ctx, s.demo, "network", "/v2.0/security-groups", "security_groups", "default")
	if err != nil {
		return err
	}
	for _, rule := range []obj{
		{"protocol": "icmp"},
		{"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
	} {
		rule["security_group_id"], rule["direction"], rule["ethertype"] = group, "ingress", "IPv4"
		err := s.demo.Do(ctx, "POST", "network", "/v2.0/security-group-rules", obj{"security_group_rule": rule}, nil)
		var e *client.Error
		if errors.As(err, &e) && e.Status == 409 { // it is there
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) keyPair(ctx context.Context) error {
	public, err := ensureKey(s.KeyFile)
	if err != nil {
		return err
	}
	var out struct {
		KeyPair struct {
			PublicKey string `json:"public_key"`
		} `json:"keypair"`
	}
	err = s.demo.Do(ctx, "GET", "compute", "/os-keypairs/"+KeyName, nil, &out)
	var e *client.Error
	switch {
	case err == nil && strings.TrimSpace(out.KeyPair.PublicKey) == public:
		return nil
	case err == nil:
		if err := s.demo.Do(ctx, "DELETE", "compute", "/os-keypairs/"+KeyName, nil, nil); err != nil {
			return err
		}
	case !errors.As(err, &e) || e.Status != 404:
		return err
	}
	return s.demo.Do(ctx, "POST", "compute", "/os-keypairs", obj{"keypair": obj{"name": KeyName, "public_key": public}}, nil)
}

// ensureKey makes the private key file when it is missing and returns the public key's line.
func ensureKey(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return "", err
		}
		block, err := ssh.MarshalPrivateKey(private, "hanok demo")
		if err != nil {
			return "", err
		}
		b = pem.EncodeToMemory(block)
		if err := pki.WriteFile(path, b, 0o600); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), nil
}

type server struct {
	named
	Fault *struct {
		Message string `json:"message"`
		Details string `json:"details"`
	} `json:"fault"`
}

// server boots the guest, gives it a floating IP and returns that.
func (s *setup) server(ctx context.Context) (string, error) {
	id, err := find(ctx, s.demo, "compute", "/servers", "servers", ServerName)
	if err != nil {
		return "", err
	}
	if id == "" {
		flavor, image, net, err := s.parts(ctx)
		if err != nil {
			return "", err
		}
		var out struct{ Server named }
		body := obj{"name": ServerName, "flavorRef": flavor, "imageRef": image, "key_name": KeyName, "networks": []obj{{"uuid": net}}}
		if err := s.demo.Do(ctx, "POST", "compute", "/servers", obj{"server": body}, &out); err != nil {
			return "", err
		}
		id = out.Server.ID
	}
	if err := s.active(ctx, id); err != nil {
		return "", err
	}
	return s.floatingIP(ctx, id)
}

func (s *setup) parts(ctx context.Context) (flavor, image, net string, err error) {
	var flavors struct{ Flavors []named }
	if err = s.demo.Do(ctx, "GET", "compute", "/flavors", nil, &flavors); err != nil {
		return
	}
	for _, f := range flavors.Flavors {
		if f.Name == guestFlavor {
			flavor = f.ID
		}
	}
	if image, err = find(ctx, s.demo, "image", "/v2/images", "images", ImageName); err != nil {
		return
	}
	net, err = find(ctx, s.demo, "network", "/v2.0/networks", "networks", demoNet)
	return
}

// active waits until the server runs; one that is stopped is started.
func (s *setup) active(ctx context.Context, id string) error {
	started := false
	for {
		var out struct{ Server server }
		if err := s.demo.Do(ctx, "GET", "compute", "/servers/"+id, nil, &out); err != nil {
			return err
		}
		switch out.Server.Status {
		case "ACTIVE":
			return nil
		case "ERROR":
			if f := out.Server.Fault; f != nil {
				return fmt.Errorf("server %s is in ERROR: %s\n%s", ServerName, f.Message, f.Details)
			}
			return fmt.Errorf("server %s is in ERROR", ServerName)
		case "SHUTOFF":
			if !started {
				started = true
				if err := s.demo.Do(ctx, "POST", "compute", "/servers/"+id+"/action", obj{"os-start": nil}, nil); err != nil {
					return err
				}
			}
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("server %s is still %s: %w", ServerName, out.Server.Status, err)
		}
	}
}

func (s *setup) floatingIP(ctx context.Context, serverID string) (string, error) {
	var ports struct{ Ports []named }
	if err := s.demo.Do(ctx, "GET", "network", "/v2.0/ports?device_id="+serverID, nil, &ports); err != nil {
		return "", err
	}
	if len(ports.Ports) == 0 {
		return "", errors.New("the guest has no port")
	}
	type fip struct {
		FloatingIP struct {
			Address string `json:"floating_ip_address"`
		} `json:"floatingip"`
	}
	var have struct {
		FloatingIPs []struct {
			Address string `json:"floating_ip_address"`
		} `json:"floatingips"`
	}
	if err := s.demo.Do(ctx, "GET", "network", "/v2.0/floatingips?port_id="+ports.Ports[0].ID, nil, &have); err != nil {
		return "", err
	}
	if len(have.FloatingIPs) > 0 {
		return have.FloatingIPs[0].Address, nil
	}
	public, err := find(ctx, s.demo, "network", "/v2.0/networks", "networks", PublicNet)
	if err != nil {
		return "", err
	}
	var out fip
	err = s.demo.Do(ctx, "POST", "network", "/v2.0/floatingips", obj{"floatingip": obj{"floating_network_id": public, "port_id": ports.Ports[0].ID}}, &out)
	return out.FloatingIP.Address, err
}

// waitSSH returns when a server at ip sends its ssh banner.
func waitSSH(ctx context.Context, ip string) error {
	d := net.Dialer{Timeout: 2 * time.Second}
	for {
		banner, err := sshBanner(ctx, &d, ip)
		if err == nil {
			return nil
		}
		if e := pause(ctx, 200*time.Millisecond); e != nil {
			return fmt.Errorf("no ssh at %s (last: %v, banner %q); `openstack console log show %s` shows how far the guest came", ip, err, banner, ServerName)
		}
	}
}

func sshBanner(ctx context.Context, d *net.Dialer, ip string) (string, error) {
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip, "22"))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "SSH-2.0") {
		err = errors.New("not an ssh server")
	}
	return line, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// RandomPassword is a new password of 128 bits.
func RandomPassword() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
