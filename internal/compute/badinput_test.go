package compute_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// TestBadInputIsNeverA500 sends to every route what it does not expect, with the least and the greatest microversion, as a member and as an
// admin: the answer may be anything but a failure of ours (501 is an honest refusal), and nothing is half-made.
func TestBadInputIsNeverA500(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 4096)
		id := c.boot("victim")
		c.realise("n1")
		bodies := []string{``, `{`, `[]`, `null`, `{}`, `{"x":1}`, `{"server":null}`, `{"server":[]}`, `{"server":{"name":1}}`, `{"flavor":{"id":{}}}`, `{"a":{},"b":{}}`,
			`{"keypair":{"name":"` + strings.Repeat("x", 300) + `"}}`, `{"metadata":{"k":1}}`, `{"meta":{}}`, `{"tags":[1]}`, `{"quota_set":{"cores":"x"}}`,
			`{"quota_class_set":{"cores":99999999999999999999}}`, `{"os-start":{}}`, `{"reboot":null}`, `{"reboot":{"type":"WARM"}}`, `{"rebuild":{}}`, `{"resize":{"flavorRef":""}}`,
			`{"addSecurityGroup":null}`, `{"addSecurityGroup":{}}`, `{"addSecurityGroup":{"name":7}}`, `{"lock":7}`, `{"os-getConsoleOutput":{"length":"x"}}`, `{"createImage":{}}`,
			`{"os-resetState":{"state":"gone"}}`, `{"add_host":{}}`, `{"add_host":{"host":"nope"}}`, `{"set_metadata":{"metadata":{"a":null}}}`, `{"addTenantAccess":{"tenant":"nope"}}`,
			`{"interfaceAttachment":{"port_id":"` + someUUID + `"}}`, `{"interfaceAttachment":{"net_id":"` + someUUID + `","fixed_ips":[{"ip_address":"1.2.3.4"}]}}`,
			`{"events":[{"name":"network-changed","server_uuid":"` + someUUID + `"}]}`, `{"security_group":{"name":7}}`, `{"security_group_rule":{}}`, `{"security_group_rule":{"parent_group_id":"x"}}`,
			`{"pool":7}`, `{"server_group":{"name":"g","policies":[]}}`, `{"host":7,"binary":"nova-compute"}`, `{"status":"broken"}`, `{"forced_down":"perhaps"}`,
			`{"addFloatingIp":{"address":"1.2.3.4"}}`, `{"remote_console":{"protocol":"vnc","type":"novnc"}}`, `{"extra_specs":{"a b":[]}}`, `{"volumeAttachment":{"volumeId":"` + someUUID + `"}}`}
		queries := []string{"", "?limit=-1", "?limit=99999999999999999999", "?limit=x", "?marker=nope", "?marker=%00", "?sort_key=nope", "?sort_dir=up", "?changes-since=soon", "?name=%5B",
			"?status=none", "?deleted=perhaps", "?all_tenants=perhaps", "?locked=perhaps", "?tags=%25,%5C", "?is_public=perhaps", "?minRam=x", "?start=x", "?start=2001-01-01T00:00:00&end=2000-01-01T00:00:00",
			"?user_id=" + strings.Repeat("x", 300), "?with_servers=perhaps", "?hypervisor_hostname_pattern=%25", "?_=1", "?security_groups=x", "?ip=%28", "?power_state=x", "?launched_at=x", "?offset=-1", "?%ff=%ff"}
		ids := []string{someUUID, id, "nope", "%00", "-1", strings.Repeat("9", 30), "%2e%2e", strings.Repeat("x", 500), "%ff", "default"}
		for _, rt := range c.compute.API().Routes {
			for _, token := range []string{"member", "admin"} {
				for _, mv := range []string{oldestMV, "2.35", "2.60", latestMV} {
					try := func(path, body string) {
						if strings.Contains(rt.Path, "/servers/{id}") && rt.Method == "DELETE" && strings.Contains(path, id) && rt.Path == "/v2.1/servers/{id}" {
							return
						}
						r := c.do(token, mv, rt.Method, "/compute"+path, body)
						if r.status >= 500 && r.status != 501 {
							t.Errorf("%s %s %s %q: %d %s", token, mv, rt.Method+" "+path, body, r.status, r.body)
						}
					}
					sample := strings.NewReplacer("{id}", id, "{key}", "k", "{tag}", "t", "{port}", someUUID, "{request}", "req-1", "{name}", "n", "{alias}", "a", "{network}", "net",
						"{volume}", someUUID, "{migration}", "1", "{date}", "x", "{token}", "x").Replace(rt.Path)
					switch rt.Method {
					case "GET":
						for _, q := range queries {
							try(sample+q, "")
						}
					case "DELETE":
						try(sample, "")
					default:
						if token == "admin" && mv == "2.60" {
							continue
						}
						for _, b := range bodies {
							try(sample, b)
						}
					}
					if strings.Contains(rt.Path, "{") && mv == latestMV {
						for _, i := range ids {
							try(replaceParams(rt.Path, i), `{"x":1}`)
						}
					}
				}
			}
		}
		if err := d.Read(context.Background(), func(tx *db.Tx) error {
			n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM servers`)
			if n != 1 {
				t.Errorf("%d servers", n)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func replaceParams(path, with string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = with
		}
	}
	return strings.Join(parts, "/")
}
