package network_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// tokens authenticates by a table.
type tokens map[string]*api.Caller

func (t tokens) Authenticate(_ context.Context, token string) (*api.Caller, error) {
	return t[token], nil
}

func caller(project string, roles ...string) *api.Caller {
	return &api.Caller{UserID: "u-" + project, ProjectID: project, Roles: roles, Creds: &policy.Creds{UserID: "u-" + project, ProjectID: project, Roles: roles}}
}

var callers = tokens{
	"admin":  caller("admin", "admin", "manager", "member", "reader"),
	"alice":  caller("alice", "member", "reader"),
	"bob":    caller("bob", "member", "reader"),
	"reader": caller("alice", "reader"),
}

// cloud is the service over HTTP on a real database, with a hub for nodes.
type cloud struct {
	t   testing.TB
	d   *db.DB
	s   *network.Service
	hub *nodehub.Hub
	srv *httptest.Server
}

func newCloud(t testing.TB, d *db.DB) *cloud {
	t.Helper()
	s, err := network.New(network.Options{DB: d, PhysicalNetworks: map[string]int{"public": 1500, "other": 9000}})
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, d: d, s: s}
	c.hub = nodehub.New(nodehub.Options{DB: d, Sources: map[string]nodehub.Source{nodehub.Networks: s}, Sinks: []nodehub.Sink{s}, Registrars: []nodehub.Registrar{s}})
	c.srv = httptest.NewServer(api.NewServer(api.Options{Services: []*api.Service{s.API()}, Auth: callers, PublicEndpoint: "http://cloud"}))
	t.Cleanup(c.srv.Close)
	return c
}

func (c *cloud) node(name, ip string) {
	c.t.Helper()
	n := nodeapi.Node{Name: name, EnableVXLAN: true, LocalIP: ip, L2Population: true, PhysicalInterfaceMappings: map[string]string{"public": "eth1"}}
	if err := c.hub.Heartbeat(context.Background(), n); err != nil {
		c.t.Fatal(err)
	}
}

// send sends a request and returns status and body.
func (c *cloud) send(token, method, path, body string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.srv.URL+"/network/v2.0"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

type object map[string]any

func (o object) str(k string) string { s, _ := o[k].(string); return s }

// do wants a status and returns what is under the only key.
func (c *cloud) do(token, method, path, body string, status int) object {
	c.t.Helper()
	code, text := c.send(token, method, path, body)
	if code != status {
		c.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, code, text, status)
	}
	if text == "" || text == "null" {
		return nil
	}
	var m map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := dec.Decode(&m); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
	for _, raw := range m {
		var o object
		if json.Unmarshal(raw, &o) == nil {
			return o
		}
	}
	var o object
	_ = json.Unmarshal([]byte(text), &o)
	return o
}

// list returns a collection.
func (c *cloud) list(token, path, key string) []object {
	c.t.Helper()
	code, text := c.send(token, "GET", path, "")
	if code != 200 {
		c.t.Fatalf("GET %s: %d %s", path, code, text)
	}
	var m map[string][]object
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
	return m[key]
}

// refuse wants an error of a status, a type and a text.
func (c *cloud) refuse(token, method, path, body string, status int, class, message string) {
	c.t.Helper()
	code, text := c.send(token, method, path, body)
	var e struct {
		NeutronError struct{ Type, Message, Detail string }
	}
	_ = json.Unmarshal([]byte(text), &e)
	if code != status || e.NeutronError.Type != class || !strings.Contains(e.NeutronError.Message, message) {
		c.t.Errorf("%s %s %s:\n got %d %s\nwant %d %s %q", method, path, body, code, text, status, class, message)
	}
}

// net makes a network with one subnet and returns both ids.
func (c *cloud) net(token, cidr string) (string, string) {
	c.t.Helper()
	n := c.do(token, "POST", "/networks", `{"network":{"name":"n"}}`, 201).str("id")
	s := c.do(token, "POST", "/subnets", fmt.Sprintf(`{"subnet":{"network_id":"%s","ip_version":4,"cidr":"%s"}}`, n, cidr), 201).str("id")
	return n, s
}

func (c *cloud) port(token, network, more string) object {
	c.t.Helper()
	return c.do(token, "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s"%s}}`, network, more), 201)
}

// public makes the external network.
func (c *cloud) public() (string, string) {
	c.t.Helper()
	n := c.do("admin", "POST", "/networks", `{"network":{"name":"public","router:external":true,"provider:network_type":"flat","provider:physical_network":"public"}}`, 201).str("id")
	s := c.do("admin", "POST", "/subnets", fmt.Sprintf(`{"subnet":{"network_id":"%s","ip_version":4,"cidr":"203.0.113.0/24","enable_dhcp":false,"allocation_pools":[{"start":"203.0.113.10","end":"203.0.113.14"}]}}`, n), 201).str("id")
	return n, s
}

func firstIP(p object) string {
	l, _ := p["fixed_ips"].([]any)
	if len(l) == 0 {
		return ""
	}
	m, _ := l[0].(map[string]any)
	s, _ := m["ip_address"].(string)
	return s
}

func each(t *testing.T, fn func(t *testing.T, c *cloud)) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) { fn(t, newCloud(t, d)) })
}

func TestVersions(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	resp, err := http.Get(c.srv.URL + "/network/")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if want := `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"http://cloud/network/v2.0/"}]}]}`; string(b) != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
	if code, _ := c.send("", "GET", "/networks", ""); code != 401 {
		t.Errorf("without a token: %d", code)
	}
	if code, _ := c.send("alice", "GET", "/networks.json", ""); code != 200 {
		t.Errorf("with .json: %d", code)
	}
}

func TestNetworks(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n := c.do("alice", "POST", "/networks", `{"network":{"name":"one","description":"d"}}`, 201)
		for k, want := range map[string]any{"name": "one", "mtu": 1450.0, "status": "ACTIVE", "shared": false, "router:external": false, "tenant_id": "alice",
			"project_id": "alice", "admin_state_up": true, "port_security_enabled": true, "revision_number": 1.0} {
			if n[k] != want {
				t.Errorf("%s is %v, want %v", k, n[k], want)
			}
		}
		if _, ok := n["provider:network_type"]; ok {
			t.Error("a member sees provider attributes")
		}
		id := n.str("id")
		seen := c.do("admin", "GET", "/networks/"+id, "", 200)
		if seen["provider:network_type"] != "vxlan" || seen["provider:segmentation_id"] != 1.0 {
			t.Errorf("admin sees %v", seen)
		}
		two := c.do("admin", "POST", "/networks", `{"network":{}}`, 201)
		if two["provider:segmentation_id"] != 2.0 {
			t.Errorf("second VNI %v", two["provider:segmentation_id"])
		}
		c.refuse("bob", "GET", "/networks/"+id, "", 404, "NetworkNotFound", "Network "+id+" could not be found.")
		c.refuse("bob", "DELETE", "/networks/"+id, "", 404, "NetworkNotFound", id)
		c.refuse("alice", "POST", "/networks", `{"network":{"shared":true}}`, 403, "PolicyNotAuthorized", "(rule:create_network and rule:create_network:shared) is disallowed by policy")
		c.refuse("reader", "POST", "/networks", `{"network":{}}`, 403, "PolicyNotAuthorized", "rule:create_network is disallowed by policy")
		c.do("admin", "PUT", "/networks/"+id, `{"network":{"shared":true}}`, 200)
		if got := c.do("bob", "GET", "/networks/"+id, "", 200); got["shared"] != true {
			t.Errorf("bob sees shared=%v", got["shared"])
		}
		c.refuse("bob", "PUT", "/networks/"+id, `{"network":{"name":"x"}}`, 403, "PolicyNotAuthorized", "rule:update_network is disallowed by policy")
		if l := c.list("bob", "/networks?shared=true", "networks"); len(l) != 1 {
			t.Errorf("bob's shared networks: %v", l)
		}
		c.do("alice", "DELETE", "/networks/"+id, "", 204)
		if again := c.do("admin", "POST", "/networks", `{"network":{}}`, 201); again["provider:segmentation_id"] != 1.0 {
			t.Errorf("a freed VNI is not used again: %v", again["provider:segmentation_id"])
		}
	})
}

func TestProviderNetworks(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	c.public()
	for _, x := range []struct {
		body   string
		status int
		class  string
		text   string
	}{
		{`"provider:network_type":"flat","provider:physical_network":"public"`, 409, "FlatNetworkInUse", "Unable to create the flat network. Physical network public is in use."},
		{`"provider:network_type":"flat"`, 400, "InvalidInput", "physical_network required for flat provider network."},
		{`"provider:network_type":"flat","provider:physical_network":"nope"`, 400, "InvalidInput", "physical_network 'nope' unknown for flat provider network."},
		{`"provider:network_type":"vxlan","provider:physical_network":"public"`, 400, "InvalidInput", "provider:physical_network specified for vxlan network."},
		{`"provider:network_type":"gre"`, 400, "InvalidInput", "network_type value 'gre' not supported."},
		{`"provider:segmentation_id":5`, 400, "InvalidInput", "network_type required."},
		{`"mtu":9000`, 400, "InvalidInput", "Requested MTU is too big, maximum is 1450."},
		{`"router:external":true,"is_default":true,"provider:network_type":"flat","provider:physical_network":"other","mtu":8000`, 201, "", ""},
		{`"router:external":true,"is_default":true`, 409, "DefaultExternalNetworkExists", "A default external network already exists"},
	} {
		if x.status == 201 {
			c.do("admin", "POST", "/networks", `{"network":{`+x.body+`}}`, 201)
			continue
		}
		c.refuse("admin", "POST", "/networks", `{"network":{`+x.body+`}}`, x.status, x.class, x.text)
	}
}
