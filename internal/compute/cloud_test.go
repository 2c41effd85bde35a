package compute_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/compute"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// The tests' cloud: real compute, network and placement on a real database, an image, and nodes played by the test itself, which reads
// their items and reports what it likes.

const (
	imageID   = "7b1f3f0e-3c1a-4b6e-9d0a-0d8f5a3c1b11"
	qcowID    = "7b1f3f0e-3c1a-4b6e-9d0a-0d8f5a3c1b12"
	vmdkID    = "7b1f3f0e-3c1a-4b6e-9d0a-0d8f5a3c1b13"
	queuedID  = "7b1f3f0e-3c1a-4b6e-9d0a-0d8f5a3c1b14"
	project   = "11111111111111111111111111111111"
	other     = "22222222222222222222222222222222"
	admins    = "33333333333333333333333333333333"
	userOf    = "aaaa"
	latestMV  = "2.100"
	oldestMV  = "2.1"
	someUUID  = "00000000-1111-2222-3333-444444444444"
	minFlavor = "1"
)

type tokens map[string]*api.Caller

func (t tokens) Authenticate(_ context.Context, token string) (*api.Caller, error) {
	return t[token], nil
}

type projects struct{}

func (projects) ProjectExists(_ *db.Tx, id string) (bool, error) {
	return id == project || id == other || id == admins, nil
}

func caller(token, project, user string, roles ...string) *api.Caller {
	return &api.Caller{Token: token, UserID: user, ProjectID: project, Roles: roles, Creds: &policy.Creds{UserID: user, ProjectID: project, Roles: roles}}
}

type cloud struct {
	t       testing.TB
	db      *db.DB
	compute *compute.Service
	network *network.Service
	hub     *nodehub.Hub
	http    http.Handler
	netID   string
}

func newCloud(t testing.TB, d *db.DB) *cloud {
	t.Helper()
	c := &cloud{t: t, db: d}
	var err error
	if c.network, err = network.New(network.Options{DB: d, Quotas: map[string]int64{"port": -1, "network": -1, "subnet": -1}}); err != nil {
		t.Fatal(err)
	}
	images := map[string]compute.ImageInfo{
		imageID:  {ID: imageID, Status: "active", Format: "raw", Size: 1 << 20, SHA512: "00"},
		qcowID:   {ID: qcowID, Status: "active", Format: "qcow2", Size: 1 << 20, VirtualSize: 5 << 30, MinRAMMiB: 512},
		vmdkID:   {ID: vmdkID, Status: "active", Format: "vmdk"},
		queuedID: {ID: queuedID, Status: "queued"},
	}
	if c.compute, err = compute.New(compute.Options{DB: d, Projects: projects{}, Network: c.network,
		FindImage: func(_ *db.Tx, _ *api.Caller, id string) (compute.ImageInfo, error) {
			i, ok := images[id]
			if !ok {
				return i, fault.NotFound("No image found with ID %s", id)
			}
			return i, nil
		}}); err != nil {
		t.Fatal(err)
	}
	c.hub = nodehub.New(nodehub.Options{DB: d, Registrars: []nodehub.Registrar{c.network, c.compute}, Sinks: []nodehub.Sink{c.network, c.compute}})
	c.compute.SetNodes(c.hub)
	c.http = api.NewServer(api.Options{Services: []*api.Service{c.compute.API(), c.network.API()}, PublicEndpoint: "http://cloud", Auth: tokens{
		"member": caller("member", project, userOf, "member", "reader"),
		"reader": caller("reader", project, userOf, "reader"),
		"other":  caller("other", other, "bbbb", "member", "reader"),
		"admin":  caller("admin", admins, "cccc", "admin", "manager", "member", "reader"),
	}})
	c.compute.SetLocal(c.http)
	c.flavor(minFlavor, "m1.nano", 64, 1, 1)
	c.flavor("2", "m1.small", 2048, 2, 20)
	net := c.do("member", "", "POST", "/network/v2.0/networks", `{"network":{"name":"net"}}`).must(201)
	c.netID = net.text("network", "id")
	c.do("member", "", "POST", "/network/v2.0/subnets", `{"subnet":{"network_id":"`+c.netID+`","cidr":"10.0.0.0/16","ip_version":4}}`).must(201)
	return c
}

func (c *cloud) flavor(id, name string, ram, vcpus, disk int) {
	c.do("admin", "", "POST", "/compute/v2.1/flavors", fmt.Sprintf(`{"flavor":{"id":%q,"name":%q,"ram":%d,"vcpus":%d,"disk":%d}}`, id, name, ram, vcpus, disk)).must(200)
}

// node registers a node, or says that it is alive.
func (c *cloud) node(name string, memory int64) {
	c.t.Helper()
	if err := c.hub.Heartbeat(context.Background(), nodeapi.Node{Name: name, HypervisorType: "QEMU", VCPUs: 64, MemoryMiB: memory, DiskGiB: 1000, Arch: "x86_64", BootID: name,
		EnableVXLAN: true, LocalIP: "192.0.2.1", Traits: []string{"COMPUTE_NODE"}, PhysicalInterfaceMappings: map[string]string{"public": "eth1"}}); err != nil {
		c.t.Fatal(err)
	}
}

// guests are the node's items.
func (c *cloud) guests(node string) map[string]nodeapi.Guest {
	c.t.Helper()
	out := map[string]nodeapi.Guest{}
	if err := c.db.Read(context.Background(), func(tx *db.Tx) error {
		ch, err := c.compute.Items(tx, node, 0)
		for _, g := range ch.Items.Guests {
			out[g.ID] = g
		}
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cloud) report(node string, guests ...nodeapi.GuestStatus) {
	c.t.Helper()
	if err := c.hub.Report(context.Background(), nodeapi.Report{Node: node, Guests: guests}); err != nil {
		c.t.Fatal(err)
	}
}

// realise does at once what a node is asked for.
func (c *cloud) realise(node string) {
	c.t.Helper()
	for _, g := range c.guests(node) {
		c.report(node, nodeapi.GuestStatus{ID: g.ID, Generation: g.Generation, Power: g.Power, RebootSeq: g.Reboot.Seq, RebuildSeq: g.RebuildSeq})
	}
}

type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   string
}

// do sends a request; mv is a compute microversion or empty.
func (c *cloud) do(token, mv, method, path, body string) *reply {
	c.t.Helper()
	req := httptest.NewRequest(method, "http://cloud"+path, strings.NewReader(body))
	req.Header.Set("X-Auth-Token", token)
	req.Header.Set("Content-Type", "application/json")
	if mv != "" {
		req.Header.Set("OpenStack-API-Version", "compute "+mv)
	}
	w := httptest.NewRecorder()
	c.http.ServeHTTP(w, req)
	b, _ := io.ReadAll(w.Result().Body)
	return &reply{c.t, method + " " + path, w.Code, w.Header(), string(b)}
}

func (r *reply) must(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d, want %d: %s", r.what, r.status, status, r.body)
	}
	return r
}

// says checks that the body holds a text.
func (r *reply) says(text string) *reply {
	r.t.Helper()
	if !strings.Contains(r.body, text) {
		r.t.Errorf("%s: %s\nshould say: %s", r.what, r.body, text)
	}
	return r
}

func (r *reply) get(path ...string) any {
	r.t.Helper()
	var v any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		r.t.Fatalf("%s: %v: %s", r.what, err, r.body)
	}
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (r *reply) text(path ...string) string {
	r.t.Helper()
	s, _ := r.get(path...).(string)
	return s
}

// boot makes a server and returns its id.
func (c *cloud) boot(name string, more ...string) string {
	c.t.Helper()
	return c.do("member", latestMV, "POST", "/compute/v2.1/servers", serverBody(name, c.netID, more...)).must(202).text("server", "id")
}

func serverBody(name, net string, more ...string) string {
	return fmt.Sprintf(`{"server":{"name":%q,"imageRef":%q,"flavorRef":"1","networks":[{"uuid":%q}]%s}}`, name, imageID, net, strings.Join(more, ""))
}

func (c *cloud) server(id string) *reply {
	c.t.Helper()
	return c.do("member", latestMV, "GET", "/compute/v2.1/servers/"+id, "").must(200)
}

func (c *cloud) act(id, body string) *reply {
	c.t.Helper()
	return c.do("member", latestMV, "POST", "/compute/v2.1/servers/"+id+"/action", body)
}
