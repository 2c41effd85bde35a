package network_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func TestPorts(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n, s := c.net("alice", "10.0.0.0/29")
		a := c.port("alice", n, "")
		if firstIP(a) != "10.0.0.2" || !strings.HasPrefix(a.str("mac_address"), "fa:16:3e:") || a["status"] != "DOWN" || len(a["security_groups"].([]any)) != 1 {
			t.Errorf("port %v", a)
		}
		if _, ok := a["binding:host_id"]; ok {
			t.Error("a member sees the binding")
		}
		b := c.port("alice", n, `,"fixed_ips":[{"ip_address":"10.0.0.4"}],"mac_address":"AA-BB-CC-DD-EE-0F"`)
		if firstIP(b) != "10.0.0.4" || b["mac_address"] != "aa:bb:cc:dd:ee:0f" {
			t.Errorf("port %v", b)
		}
		c.refuse("alice", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s","fixed_ips":[{"ip_address":"10.0.0.4"}]}}`, n), 409, "IpAddressAlreadyAllocated",
			"IP address 10.0.0.4 already allocated in subnet "+s)
		c.refuse("alice", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s","fixed_ips":[{"ip_address":"10.1.0.4"}]}}`, n), 400, "InvalidIpForNetwork", "IP address 10.1.0.4 is not a valid IP")
		c.refuse("alice", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s","mac_address":"aa:bb:cc:dd:ee:0f"}}`, n), 409, "MacAddressInUse", "The mac address aa:bb:cc:dd:ee:0f is in use.")
		// The freed lowest address is taken again, around the one that is in use.
		if p := c.port("alice", n, ""); firstIP(p) != "10.0.0.3" {
			t.Errorf("third port %v", firstIP(p))
		}
		c.do("alice", "DELETE", "/ports/"+a.str("id"), "", 204)
		if p := c.port("alice", n, ""); firstIP(p) != "10.0.0.2" {
			t.Errorf("after release %v", firstIP(p))
		}
		c.port("alice", n, "")
		c.port("alice", n, "")
		c.refuse("alice", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s"}}`, n), 409, "IpAddressGenerationFailure", "No more IP addresses available on network "+n)
		if got := c.list("alice", "/ports?fixed_ips=ip_address=10.0.0.4", "ports"); len(got) != 1 || got[0].str("id") != b.str("id") {
			t.Errorf("filter by address: %v", got)
		}
		if got := c.list("alice", "/ports?fixed_ips=ip_address_substr=0.0.&fields=id", "ports"); len(got) != 5 || len(got[0]) != 1 {
			t.Errorf("filter by part: %v", got)
		}
		c.refuse("alice", "DELETE", "/networks/"+n, "", 409, "NetworkInUse", "There are one or more ports still in use on the network")
		c.refuse("alice", "DELETE", "/subnets/"+s, "", 409, "SubnetInUse", "One or more ports have an IP allocation from this subnet.")
		c.refuse("bob", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s"}}`, n), 404, "NetworkNotFound", n)
		c.do("admin", "PUT", "/networks/"+n, `{"network":{"router:external":true}}`, 200)
		c.refuse("bob", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s"}}`, n), 403, "HTTPForbidden", "Tenant bob not allowed to create port on this network")
	})
}

func TestPortUpdate(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n, s := c.net("alice", "10.0.0.0/24")
		p := c.port("alice", n, "")
		path := "/ports/" + p.str("id")
		got := c.do("alice", "PUT", path, fmt.Sprintf(`{"port":{"name":"x","fixed_ips":[{"subnet_id":"%s","ip_address":"10.0.0.2"},{"subnet_id":"%s","ip_address":"10.0.0.9"}]}}`, s, s), 200)
		if l := got["fixed_ips"].([]any); len(l) != 2 || got["name"] != "x" || got["revision_number"] != 2.0 {
			t.Errorf("two addresses: %v", got)
		}
		got = c.do("alice", "PUT", path, `{"port":{"security_groups":[],"allowed_address_pairs":[{"ip_address":"10.9.0.0/24"}],"extra_dhcp_opts":[{"opt_name":"mtu","opt_value":"1400"}]}}`, 200)
		if len(got["security_groups"].([]any)) != 0 || len(got["allowed_address_pairs"].([]any)) != 1 || len(got["extra_dhcp_opts"].([]any)) != 1 {
			t.Errorf("lists: %v", got)
		}
		c.refuse("alice", "PUT", path, `{"port":{"port_security_enabled":false}}`, 409, "AddressPairAndPortSecurityRequired", "Port Security must be enabled")
		c.refuse("alice", "PUT", path, `{"port":{"network_id":"`+n+`"}}`, 400, "HTTPBadRequest", "Cannot update read-only attribute network_id")
		c.refuse("alice", "PUT", path, `{"port":{"security_groups":["00000000-0000-0000-0000-000000000001"]}}`, 404, "SecurityGroupNotFound", "does not exist")
		c.refuse("alice", "PUT", path, `{"port":{"binding:host_id":"x"}}`, 403, "PolicyNotAuthorized", "(rule:update_port and rule:update_port:binding:host_id) is disallowed by policy")
		c.refuse("bob", "PUT", path, `{"port":{"name":"x"}}`, 404, "PortNotFound", "could not be found")
		c.do("alice", "PUT", path, `{"port":{"fixed_ips":[]}}`, 200)
		if u := c.list("admin", "/network-ip-availabilities?network_id="+n, "network_ip_availabilities"); u[0]["used_ips"] != 0.0 || u[0]["total_ips"] != 253.0 {
			t.Errorf("availability %v", u)
		}
	})
}

// Two hundred ports at once get two hundred addresses.
func TestConcurrentPortsNeverShareAnAddress(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n, _ := c.net("alice", "10.0.0.0/24")
		const ports = 200
		ips := make([]string, ports)
		macs := make([]string, ports)
		var wg sync.WaitGroup
		for i := range ports {
			wg.Go(func() {
				code, text := c.send("alice", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s"}}`, n))
				if code != 201 {
					t.Errorf("%d %s", code, text)
					return
				}
				_, rest, _ := strings.Cut(text, `"ip_address":"`)
				ips[i], _, _ = strings.Cut(rest, `"`)
				_, rest, _ = strings.Cut(text, `"mac_address":"`)
				macs[i], _, _ = strings.Cut(rest, `"`)
			})
		}
		wg.Wait()
		seen := map[string]bool{}
		for i := range ports {
			if ips[i] == "" || seen[ips[i]] || seen[macs[i]] {
				t.Errorf("address %q or MAC %q twice", ips[i], macs[i])
			}
			seen[ips[i]], seen[macs[i]] = true, true
		}
		if seen["10.0.0.1"] || !seen["10.0.0.201"] {
			t.Error("the lowest addresses were not taken")
		}
	})
}

func TestQuotaHoldsUnderConcurrency(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n, _ := c.net("alice", "10.0.0.0/24")
		c.do("admin", "PUT", "/quotas/alice", `{"quota":{"port":5}}`, 200)
		var wg sync.WaitGroup
		codes := make([]int, 20)
		for i := range codes {
			wg.Go(func() {
				codes[i], _ = c.send("alice", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s"}}`, n))
			})
		}
		wg.Wait()
		made := 0
		for _, code := range codes {
			switch code {
			case 201:
				made++
			case 409:
			default:
				t.Errorf("status %d", code)
			}
		}
		if made != 5 {
			t.Errorf("%d ports made, the quota is 5", made)
		}
		c.refuse("alice", "POST", "/ports", fmt.Sprintf(`{"port":{"network_id":"%s"}}`, n), 409, "OverQuota", "Quota exceeded for resources: ['port'].")
		c.refuse("bob", "GET", "/quotas/alice/details.json", "", 403, "AdminRequired", "User does not have admin privileges: Only admin is authorized to access quotas for another project.")
		c.do("alice", "GET", "/quotas/alice/details.json", "", 200)
		d := c.do("admin", "GET", "/quotas/alice/details.json", "", 200)
		if x := d["port"].(map[string]any); x["used"] != 5.0 || x["limit"] != 5.0 {
			t.Errorf("details %v", x)
		}
		c.do("admin", "DELETE", "/quotas/alice", "", 204)
		c.refuse("admin", "DELETE", "/quotas/alice", "", 404, "TenantQuotaNotFound", "Quota for tenant alice could not be found.")
	})
}

func TestBulk(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n, _ := c.net("alice", "10.0.0.0/29")
		body := fmt.Sprintf(`{"ports":[{"network_id":"%[1]s"},{"network_id":"%[1]s","name":"b","tags":["x"]}]}`, n)
		code, text := c.send("alice", "POST", "/ports", body)
		if code != 201 || strings.Count(text, `"mac_address"`) != 2 {
			t.Fatalf("%d %s", code, text)
		}
		// All or nothing: the fifth has no address left.
		body = fmt.Sprintf(`{"ports":[{"network_id":"%[1]s"},{"network_id":"%[1]s"},{"network_id":"%[1]s"},{"network_id":"%[1]s"}]}`, n)
		c.refuse("alice", "POST", "/ports", body, 409, "IpAddressGenerationFailure", "No more IP addresses")
		if l := c.list("alice", "/ports", "ports"); len(l) != 2 {
			t.Errorf("%d ports left behind", len(l))
		}
		if l := c.list("alice", "/ports?tags=x", "ports"); len(l) != 1 || l[0]["name"] != "b" {
			t.Errorf("by tag: %v", l)
		}
		c.refuse("alice", "POST", "/networks", `{"networks":[]}`, 400, "HTTPBadRequest", "Resources required")
	})
}

func BenchmarkPortCreate(b *testing.B) {
	c := newCloud(b, dbtest.Memory(b))
	c.do("admin", "PUT", "/quotas/alice", `{"quota":{"port":-1}}`, 200)
	n, _ := c.net("alice", "10.0.0.0/12")
	body := fmt.Sprintf(`{"port":{"network_id":"%s"}}`, n)
	b.ResetTimer()
	for b.Loop() {
		if code, text := c.send("alice", "POST", "/ports", body); code != 201 {
			b.Fatal(code, text)
		}
	}
}

func BenchmarkPortList100(b *testing.B) {
	c := newCloud(b, dbtest.Memory(b))
	n, _ := c.net("alice", "10.0.0.0/16")
	for range 100 {
		c.port("alice", n, "")
	}
	b.ResetTimer()
	for b.Loop() {
		if code, _ := c.send("alice", "GET", "/ports", ""); code != 200 {
			b.Fatal(code)
		}
	}
}

func read[T any](t *testing.T, d *db.DB, query string, args ...any) T {
	t.Helper()
	var v T
	if err := d.Read(context.Background(), func(tx *db.Tx) (err error) {
		v, err = db.One(tx, db.Value[T], query, args...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return v
}
