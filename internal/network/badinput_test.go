package network_test

import (
	"fmt"
	"strings"
	"testing"
)

// Nothing that a client sends may be answered with a 500, and nothing may be half-made.
func TestBadInputOnEveryRoute(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		n, s := c.net("alice", "10.0.0.0/24")
		ids := []string{n, s, c.port("alice", n, "").str("id"), "nope", "%00", "%ff", strings.Repeat("x", 300), "00000000-0000-0000-0000-000000000000", "..", "'; DROP TABLE net_ports"}
		values := []string{`null`, `1`, `-1`, `1e400`, `99999999999999999999999`, `1.5`, `true`, `"x"`, `""`, `"\u0000"`, `"\ud800"`, `[]`, `{}`, `[null]`, `[1]`, `["x"]`, `[[]]`, `[{}]`,
			`{"a":1}`, `[{"ip_address":1}]`, `[{"subnet_id":1}]`, `[{"start":"1","end":"2"}]`, `[{"start":"10.0.0.9","end":"10.0.0.2"}]`, `[{"destination":"x","nexthop":"y"}]`,
			`[{"destination":"::/0","nexthop":"10.0.0.1"}]`, `[{"mac_address":null,"ip_address":null}]`, `[{"opt_name":"","opt_value":1}]`, `{"network_id":null}`, `{"network_id":"` + n + `","external_fixed_ips":1}`,
			`"10.0.0.1/99"`, `"::1"`, `"` + strings.Repeat("y", 70000) + `"`, `"` + n + `"`, `"` + s + `"`, `"300.1.1.1"`, `"fe80::1%eth0"`}
		check := func(method, path, body string) {
			t.Helper()
			if code, text := c.send("admin", method, path, body); code >= 500 {
				t.Errorf("%s %.200s %.200s: %d %.300s", method, path, body, code, text)
			}
		}
		for _, r := range c.s.API().Routes {
			path := strings.TrimPrefix(r.Path, "/v2.0")
			if r.Path == "" || path == "" {
				continue
			}
			for i, id := range ids {
				p := path
				for _, name := range []string{"{id}", "{tag}", "{alias}", "{project}", "{network}", "{router}"} {
					p = strings.ReplaceAll(p, name, strings.NewReplacer(" ", "%20", "'", "%27", ";", "%3B").Replace(id))
				}
				if i > 0 && p == path {
					break
				}
				if r.Method == "GET" {
					check("GET", p, "")
				}
				if r.Method == "DELETE" && i >= 3 {
					check("DELETE", p, "")
				}
				if r.Method == "POST" || r.Method == "PUT" {
					for _, body := range []string{``, `{`, `[]`, `null`, `1`, `{}`, `{"x":1}`, `{"network":null}`, `{"port":{"id":1}}`} {
						check(r.Method, p, body)
					}
				}
			}
			if r.Method != "GET" {
				continue
			}
			for _, q := range []string{"limit=-1", "limit=x", "limit=99999999999999999999", "limit=2&marker=%00", "limit=2&marker=nope", "sort_key=id", "sort_key=x&sort_dir=asc", "sort_key=id&sort_dir=up", "fields=%00",
				"fields=id,name", "id=%00", "id=%ff", "name=%27", "tags=%22", "tags=%25", "not-tags-any=a,b", "fixed_ips=x", "fixed_ips=ip_address=%00", "fixed_ips=ip_address_substr=%25", "security_groups=x",
				"mtu=x", "mtu=99999999999999999999", "shared=maybe", "admin_state_up=2", "page_reverse=x", "changed_since=x", "tenant_id=a&project_id=b", "ip_version=9", "port_range_min=x", "protocol=zzz",
				"revision_number=x", "provider:segmentation_id=x", "limit=1&sort_key=id&sort_dir=desc&marker=" + n, "nonsense=1", "%00=1", "ethertype=x", "remote_ip_prefix=zz"} {
				check("GET", strings.ReplaceAll(path, "{id}", n)+"?"+q, "")
			}
		}
		// Every attribute of every kind with every value.
		for _, kind := range [][2]string{{"network", "networks"}, {"subnet", "subnets"}, {"port", "ports"}, {"security_group", "security-groups"}, {"security_group_rule", "security-group-rules"},
			{"router", "routers"}, {"floatingip", "floatingips"}, {"subnetpool", "subnetpools"}, {"address_scope", "address-scopes"}, {"rbac_policy", "rbac-policies"}} {
			for _, a := range []string{"name", "description", "tenant_id", "tags", "network_id", "admin_state_up", "shared", "mtu", "router:external", "provider:network_type", "provider:segmentation_id",
				"provider:physical_network", "availability_zone_hints", "port_security_enabled", "is_default", "ip_version", "cidr", "gateway_ip", "allocation_pools", "dns_nameservers", "host_routes",
				"enable_dhcp", "ipv6_ra_mode", "ipv6_address_mode", "subnetpool_id", "prefixlen", "use_default_subnetpool", "service_types", "mac_address", "fixed_ips", "device_id", "device_owner",
				"allowed_address_pairs", "extra_dhcp_opts", "binding:vnic_type", "binding:host_id", "binding:profile", "security_groups", "stateful", "security_group_id", "direction", "protocol",
				"port_range_min", "port_range_max", "ethertype", "remote_ip_prefix", "remote_group_id", "external_gateway_info", "routes", "floating_network_id", "floating_ip_address", "port_id",
				"fixed_ip_address", "subnet_id", "prefixes", "default_quota", "default_prefixlen", "min_prefixlen", "max_prefixlen", "address_scope_id", "object_type", "object_id", "target_tenant", "action"} {
				for _, v := range values {
					base := map[string]string{"subnet": `"network_id":"` + n + `","ip_version":4,"cidr":"10.9.0.0/24",`, "port": `"network_id":"` + n + `",`}[kind[0]]
					check("POST", "/"+kind[1], fmt.Sprintf(`{"%s":{%s"%s":%s}}`, kind[0], base, a, v))
				}
			}
		}
		for _, v := range values {
			for _, a := range []string{"subnet_id", "port_id", "x"} {
				check("PUT", "/routers/"+n+"/add_router_interface", fmt.Sprintf(`{"%s":%s}`, a, v))
			}
			check("PUT", "/quotas/p", fmt.Sprintf(`{"quota":{"port":%s}}`, v))
			check("PUT", "/networks/"+n+"/tags", fmt.Sprintf(`{"tags":%s}`, v))
			check("PUT", "/ports/"+ids[2], fmt.Sprintf(`{"port":{"fixed_ips":%s}}`, v))
			check("PUT", "/subnets/"+s, fmt.Sprintf(`{"subnet":{"allocation_pools":%s}}`, v))
			check("PUT", "/subnets/"+s, fmt.Sprintf(`{"subnet":{"gateway_ip":%s}}`, v))
		}
		// Whatever was refused left no address behind.
		if stray := read[int64](t, c.d, `SELECT count(*) FROM net_ip_allocations a WHERE NOT EXISTS (SELECT 1 FROM net_ports p WHERE p.id = a.port_id)`); stray != 0 {
			t.Errorf("%d allocations without a port", stray)
		}
	})
}
