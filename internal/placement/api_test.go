package placement_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/placement"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// tokens are "project:role".
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (*api.Caller, error) {
	project, role, ok := strings.Cut(token, ":")
	if !ok {
		return nil, nil
	}
	return &api.Caller{ProjectID: project, UserID: "u", Roles: []string{role}, Creds: &policy.Creds{ProjectID: project, UserID: "u", Roles: []string{role}}}, nil
}

type client struct {
	t   testing.TB
	url string
	mv  string
}

func serve(t testing.TB, d *db.DB) *client {
	t.Helper()
	s, err := placement.New(placement.Options{DB: d})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.NewServer(api.Options{Services: []*api.Service{s.API()}, PublicEndpoint: "http://cloud", Auth: tokens{}}))
	t.Cleanup(srv.Close)
	return &client{t, srv.URL + "/placement", "1.39"}
}

func (c *client) do(token, method, path, body string) (int, string, http.Header) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", token)
	req.Header.Set("OpenStack-API-Version", "placement "+c.mv)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// admin sends a request that must be answered with this status.
func (c *client) admin(status int, method, path, body string) map[string]any {
	c.t.Helper()
	got, text, _ := c.do("a:admin", method, path, body)
	if got != status {
		c.t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, got, status, text)
	}
	var m map[string]any
	if text != "" {
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			c.t.Fatal(err)
		}
	}
	return m
}

// code is the code of an error.
func code(m map[string]any) string {
	c, _ := m["errors"].([]any)[0].(map[string]any)["code"].(string)
	return c
}

func id(n int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n) }

func TestProvidersAndTrees(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := serve(t, d)
		rp := "/resource_providers"
		c.admin(200, "POST", rp, `{"name":"root","uuid":"`+id(1)+`"}`)
		child := c.admin(200, "POST", rp, `{"name":"child","uuid":"`+id(2)+`","parent_provider_uuid":"`+id(1)+`"}`)
		if child["root_provider_uuid"] != id(1) {
			t.Error(child)
		}
		c.admin(200, "POST", rp, `{"name":"grandchild","uuid":"`+id(3)+`","parent_provider_uuid":"`+id(2)+`"}`)
		if m := c.admin(409, "POST", rp, `{"name":"root"}`); code(m) != "placement.duplicate_name" {
			t.Error(m)
		}
		c.admin(400, "POST", rp, `{"name":"x","parent_provider_uuid":"`+id(9)+`"}`)
		c.admin(400, "PUT", rp+"/"+id(1), `{"name":"root","parent_provider_uuid":"`+id(3)+`"}`) // a loop
		if m := c.admin(409, "DELETE", rp+"/"+id(1), ""); code(m) != "placement.resource_provider.cannot_delete_parent" {
			t.Error(m)
		}
		c.mv = "1.36"
		c.admin(400, "PUT", rp+"/"+id(2), `{"name":"child","parent_provider_uuid":null}`)
		c.mv = "1.37"
		c.admin(200, "PUT", rp+"/"+id(2), `{"name":"child","parent_provider_uuid":null}`)
		if m := c.admin(200, "GET", rp+"/"+id(3), ""); m["root_provider_uuid"] != id(2) {
			t.Errorf("the subtree keeps its old root: %v", m)
		}
		if n := len(c.admin(200, "GET", rp+"?in_tree="+id(3), "")["resource_providers"].([]any)); n != 2 {
			t.Errorf("%d in the tree", n)
		}
		for _, x := range []string{id(3), id(2), id(1)} {
			c.admin(204, "DELETE", rp+"/"+x, "")
		}
		c.admin(404, "GET", rp+"/"+id(1), "")
		c.mv = "1.19"
		if status, body, h := c.do("a:admin", "POST", rp, `{"name":"old"}`); status != 201 || body != "" || !strings.HasPrefix(h.Get("Location"), "http://cloud/placement/resource_providers/") {
			t.Error(status, body, h)
		}
	})
}

func TestInventoriesAndAllocations(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := serve(t, d)
		rp, inv, al := "/resource_providers/"+id(1), "/resource_providers/"+id(1)+"/inventories", "/allocations/"+id(5)
		c.admin(200, "POST", "/resource_providers", `{"name":"n","uuid":"`+id(1)+`"}`)
		c.admin(200, "PUT", inv, `{"resource_provider_generation":0,"inventories":{"VCPU":{"total":8},"MEMORY_MB":{"total":1024}}}`)
		if m := c.admin(409, "PUT", inv, `{"resource_provider_generation":0,"inventories":{}}`); code(m) != "placement.concurrent_update" {
			t.Error(m)
		}
		want := func(vcpus int, generation string) string {
			return fmt.Sprintf(`{"allocations":{"%s":{"resources":{"VCPU":%d}}},"project_id":"p","user_id":"u","consumer_generation":%s,"consumer_type":"INSTANCE"}`, id(1), vcpus, generation)
		}
		c.admin(204, "PUT", al, want(2, "null"))
		if m := c.admin(409, "PUT", al, want(3, "null")); code(m) != "placement.concurrent_update" {
			t.Error(m)
		}
		c.admin(204, "PUT", al, want(8, "1"))
		if m := c.admin(409, "PUT", "/allocations/"+id(6), want(1, "null")); code(m) != "placement.undefined_code" || !strings.Contains(fmt.Sprint(m), "would exceed the capacity") {
			t.Error(m)
		}
		if m := c.admin(200, "GET", "/allocations/"+id(6), ""); len(m["allocations"].(map[string]any)) != 0 {
			t.Error("half made:", m)
		}
		if m := c.admin(409, "DELETE", inv+"/VCPU", ""); code(m) != "placement.concurrent_update" {
			t.Error(m)
		}
		if m := c.admin(409, "DELETE", inv, ""); code(m) != "placement.inventory.inuse" {
			t.Error(m)
		}
		if m := c.admin(409, "DELETE", rp, ""); code(m) != "placement.resource_provider.inuse" {
			t.Error(m)
		}
		usage := c.admin(200, "GET", "/usages?project_id=p", "")
		if diff := cmp.Diff(map[string]any{"usages": map[string]any{"INSTANCE": map[string]any{"VCPU": 8.0, "consumer_count": 1.0}}}, usage); diff != "" {
			t.Error(diff)
		}
		// A move between two consumers in one request succeeds although both together would not fit.
		c.admin(204, "POST", "/allocations", `{"`+id(5)+`":{"allocations":{},"project_id":"p","user_id":"u","consumer_generation":2,"consumer_type":"INSTANCE"},"`+id(6)+`":`+want(8, "null")+`}`)
		checkUsed(t, d)
		c.admin(404, "DELETE", al, "")
		// Only services may reshape.
		reshape := `{"inventories":{"` + id(1) + `":{"resource_provider_generation":4,"inventories":{"MEMORY_MB":{"total":1024}}}},"allocations":{"` + id(6) + `":{"allocations":{"` + id(1) + `":{"resources":{"MEMORY_MB":8}}},"project_id":"p","user_id":"u","consumer_generation":1,"consumer_type":"INSTANCE"}}}`
		c.admin(403, "POST", "/reshaper", reshape)
		generation := int(c.admin(200, "GET", rp, "")["generation"].(float64))
		reshape = strings.Replace(reshape, `"resource_provider_generation":4`, fmt.Sprintf(`"resource_provider_generation":%d`, generation), 1)
		if status, body, _ := c.do("s:service", "POST", "/reshaper", reshape); status != 204 {
			t.Fatal(status, body)
		}
		if m := c.admin(200, "GET", inv, "")["inventories"].(map[string]any); len(m) != 1 || m["MEMORY_MB"] == nil {
			t.Error(m)
		}
		checkUsed(t, d)
		c.admin(204, "DELETE", "/allocations/"+id(6), "")
		c.admin(204, "DELETE", rp, "")
		for _, x := range []struct {
			token  string
			status int
		}{{"a:admin", 200}, {"s:service", 200}, {"p:reader", 200}, {"q:reader", 403}, {"", 401}} {
			if status, body, _ := c.do(x.token, "GET", "/usages?project_id=p", ""); status != x.status {
				t.Errorf("usages for %q: %d %s", x.token, status, body)
			}
		}
		if status, _, _ := c.do("p:member", "GET", "/resource_providers", ""); status != 403 {
			t.Error("members may not see providers:", status)
		}
	})
}

// world: node-a with two NUMA cells below it, node-b alone, and storage that node-b shares through an aggregate.
func buildWorld(c *client) {
	c.admin(201, "PUT", "/traits/CUSTOM_FAST", "")
	for _, x := range []struct {
		n         int
		parent    int
		inventory string
		traits    string
		aggregate bool
	}{
		{1, 0, `"DISK_GB":{"total":100}`, "", false},
		{2, 1, `"VCPU":{"total":4},"MEMORY_MB":{"total":1024}`, `"CUSTOM_FAST"`, false},
		{3, 1, `"VCPU":{"total":4},"MEMORY_MB":{"total":1024}`, "", false},
		{4, 0, `"VCPU":{"total":8},"MEMORY_MB":{"total":2048}`, `"HW_CPU_X86_AVX2"`, true},
		{5, 0, `"DISK_GB":{"total":1000}`, `"MISC_SHARES_VIA_AGGREGATE"`, true},
	} {
		parent := "null"
		if x.parent > 0 {
			parent = `"` + id(x.parent) + `"`
		}
		rp := "/resource_providers/" + id(x.n)
		c.admin(200, "POST", "/resource_providers", fmt.Sprintf(`{"name":"rp%d","uuid":%q,"parent_provider_uuid":%s}`, x.n, id(x.n), parent))
		c.admin(200, "PUT", rp+"/inventories", `{"resource_provider_generation":0,"inventories":{`+x.inventory+`}}`)
		c.admin(200, "PUT", rp+"/traits", `{"resource_provider_generation":1,"traits":[`+x.traits+`]}`)
		if x.aggregate {
			c.admin(200, "PUT", rp+"/aggregates", fmt.Sprintf(`{"resource_provider_generation":%d,"aggregates":[%q]}`, 2, id(77)))
		}
	}
}

// found renders the requests as "provider:CLASS=n,…" sorted.
func found(m map[string]any) []string {
	out := []string{}
	for _, r := range m["allocation_requests"].([]any) {
		var parts []string
		for n := 1; n <= 5; n++ {
			p, ok := r.(map[string]any)["allocations"].(map[string]any)[id(n)].(map[string]any)
			if !ok {
				continue
			}
			for _, class := range []string{"VCPU", "MEMORY_MB", "DISK_GB"} {
				if v, ok := p["resources"].(map[string]any)[class]; ok {
					parts = append(parts, fmt.Sprintf("%d:%s=%v", n, class, v))
				}
			}
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

func TestAllocationCandidates(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := serve(t, d)
		buildWorld(c)
		for _, x := range []struct {
			mv, query string
			want      []string
		}{
			{"1.39", "resources=VCPU:1,DISK_GB:10", []string{"1:DISK_GB=10 2:VCPU=1", "1:DISK_GB=10 3:VCPU=1", "4:VCPU=1 5:DISK_GB=10"}},
			{"1.28", "resources=VCPU:1,DISK_GB:10", []string{"4:VCPU=1 5:DISK_GB=10"}}, // before nested providers
			{"1.39", "resources=VCPU:1&required=CUSTOM_FAST", []string{"2:VCPU=1"}},
			{"1.39", "resources=VCPU:1&required=!CUSTOM_FAST", []string{"3:VCPU=1", "4:VCPU=1"}},
			{"1.39", "resources=VCPU:1&required=in:CUSTOM_FAST,HW_CPU_X86_AVX2", []string{"2:VCPU=1", "4:VCPU=1"}},
			{"1.39", "resources=VCPU:1&member_of=" + id(77), []string{"4:VCPU=1"}},
			{"1.39", "resources=VCPU:1&member_of=!" + id(77) + "&limit=1", []string{"2:VCPU=1"}},
			{"1.39", "resources=VCPU:1&in_tree=" + id(3), []string{"2:VCPU=1", "3:VCPU=1"}},
			{"1.39", "resources=VCPU:5", []string{"4:VCPU=5"}},
			{"1.39", "resources=VCPU:9", []string{}},
			{"1.39", "resources1=VCPU:2,MEMORY_MB:512&resources2=VCPU:2&group_policy=isolate", []string{"2:VCPU=2 2:MEMORY_MB=512 3:VCPU=2", "2:VCPU=2 3:VCPU=2 3:MEMORY_MB=512"}},
			{"1.39", "resources1=VCPU:4&resources2=VCPU:4&group_policy=none&in_tree1=" + id(4) + "&in_tree2=" + id(4), []string{"4:VCPU=8"}},
			{"1.39", "resources1=VCPU:4&resources2=VCPU:5&group_policy=none&in_tree1=" + id(4) + "&in_tree2=" + id(4), []string{}},
			{"1.39", "resources_A=VCPU:1&required_B=CUSTOM_FAST&same_subtree=_A,_B&group_policy=none", []string{"2:VCPU=1"}},
			{"1.39", "resources=VCPU:1&root_required=HW_CPU_X86_AVX2", []string{"4:VCPU=1"}},
			{"1.39", "resources=VCPU:1&root_required=!HW_CPU_X86_AVX2", []string{"2:VCPU=1", "3:VCPU=1"}},
		} {
			c.mv = x.mv
			if diff := cmp.Diff(x.want, found(c.admin(200, "GET", "/allocation_candidates?"+x.query, ""))); diff != "" {
				t.Errorf("%s %s: %s", x.mv, x.query, diff)
			}
		}
		c.mv = "1.39"
		m := c.admin(200, "GET", "/allocation_candidates?resources=VCPU:1&required=CUSTOM_FAST", "")
		sums := m["provider_summaries"].(map[string]any)
		if len(sums) != 3 || sums[id(2)].(map[string]any)["parent_provider_uuid"] != id(1) {
			t.Errorf("summaries: %v", sums)
		}
		for _, q := range []string{"", "foo=1", "resources=", "resources=VCPU", "resources=VCPU:0", "resources=NOPE:1", "resources=VCPU:1&required=NOPE", "resources1=VCPU:1&resources2=VCPU:1",
			"resources=VCPU:1&limit=0", "resources=VCPU:1&member_of=x", "resources=VCPU:1&required=CUSTOM_FAST,!CUSTOM_FAST", "resources=VCPU:1&same_subtree=_X", "required_A=CUSTOM_FAST&resources=VCPU:1",
			"resources=VCPU:%00", "resources=VCPU:1&in_tree=%ff", "limit=99999999999999999999999&resources=VCPU:x"} {
			c.admin(400, "GET", "/allocation_candidates?"+q, "")
		}
		c.admin(200, "GET", "/allocation_candidates?limit=99999999999999999999999&resources=VCPU:1", "")
		c.admin(200, "GET", "/allocation_candidates?resources=VCPU:99999999999999999999999", "")
	})
}

// TestBadInput sends what nobody should to every route: never a 500.
func TestBadInput(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := serve(t, d)
		c.admin(200, "POST", "/resource_providers", `{"name":"n","uuid":"`+id(1)+`"}`)
		paths := []string{"/", "/resource_providers", "/resource_providers/" + id(1), "/resource_providers/%00", "/resource_providers/x/inventories/%ff", "/traits", "/traits/%00", "/traits/CUSTOM_" + strings.Repeat("X", 300),
			"/resource_classes", "/resource_classes/" + strings.Repeat("X", 300), "/allocations", "/allocations/x", "/allocations/" + id(5), "/allocation_candidates", "/usages", "/usages?project_id=%00", "/reshaper", "/none", "/traits/"}
		for _, s := range []string{"inventories", "inventories/VCPU", "traits", "aggregates", "usages", "allocations"} {
			paths = append(paths, "/resource_providers/"+id(1)+"/"+s, "/resource_providers/"+id(9)+"/"+s)
		}
		bodies := []string{"", "{", "[]", "{}", "3", "null", `{"name":"\u0000"}`, `{"name":3}`, `{"name":"x","parent_provider_uuid":"x"}`, `{"resource_class":"VCPU","total":1e400}`,
			`{"resource_class":"VCPU","total":2,"allocation_ratio":1e999}`, `{"resource_class":"VCPU","total":2147483647,"allocation_ratio":3e38}`,
			`{"resource_class":"VCPU","total":9999999999999999999999}`, `{"resource_provider_generation":1e300,"inventories":{"x":3}}`, `{"resource_provider_generation":0,"inventories":{"x":3}}`,
			`{"resource_provider_generation":0,"inventories":{"VCPU":3}}`, `{"traits":[3],"resource_provider_generation":0}`, `{"traits":["CUSTOM_\u0000"],"resource_provider_generation":0}`,
			`{"aggregates":["x"],"resource_provider_generation":0}`, `{"allocations":{"` + id(1) + `":{"resources":{"VCPU":1e300}}},"project_id":"p","user_id":"u","consumer_generation":null,"consumer_type":"A"}`,
			`{"allocations":{"` + strings.Repeat("-", 36) + `":{"resources":{"VCPU":1}}},"project_id":"\u0000","user_id":"u","consumer_generation":null,"consumer_type":"A"}`,
			`{"` + strings.Repeat("-", 36) + `":{"allocations":{},"project_id":"p","user_id":"u","consumer_generation":null,"consumer_type":"A"}}`, strings.Repeat("[", 5000)}
		for _, path := range paths {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
				for _, body := range bodies {
					if method == "DELETE" && path == "/resource_providers/"+id(1) || method == "GET" && body != "" {
						continue
					}
					for _, c.mv = range []string{"1.39", "1.11", "1.0"} {
						for _, token := range []string{"a:admin", "s:service", "p:reader"} {
							if status, text, _ := c.do(token, method, path, body); status >= 500 {
								t.Fatalf("%s %s %s %.80q: %d %s", c.mv, method, path, body, status, text)
							}
						}
					}
				}
			}
		}
		checkUsed(t, d)
	})
}

func BenchmarkAllocationCandidates1000(b *testing.B) {
	d := dbtest.Memory(b)
	c := serve(b, d)
	write(b, d, func(tx *db.Tx) error {
		for i := range 1000 {
			if _, err := placement.EnsureProvider(tx, fmt.Sprintf("node-%04d", i), node(8, int64(8192+i)), []string{"HW_CPU_X86_AVX2"}); err != nil {
				return err
			}
		}
		return nil
	})
	for b.Loop() {
		c.admin(200, "GET", "/allocation_candidates?resources=VCPU:1,MEMORY_MB:512,DISK_GB:1&limit=1000", "")
	}
}
