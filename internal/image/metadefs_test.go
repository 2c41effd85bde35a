package image_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/image"
)

func TestMetadataDefinitions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := start(t, d, t.TempDir(), image.Options{})
		const (
			all = "/v2/metadefs/namespaces"
			ns  = all + "/NS"
		)
		c.want(403, c.do("p:member", "POST", all, `{"namespace":"NS"}`))
		c.want(201, c.do("a:admin", "POST", all, `{"namespace":"NS","objects":[{"name":"o"}],"properties":{"p":{"title":"t","type":"string"}},"tags":[{"name":"t"}],"resource_type_associations":[{"name":"OS::Nova::Flavor"}]}`))
		c.want(409, c.do("a:admin", "POST", all, `{"namespace":"NS"}`))
		c.want(404, c.do("p:member", "GET", ns, ""))
		c.want(404, c.do("p:member", "DELETE", ns, ""))
		c.want(200, c.do("a:admin", "PUT", ns, `{"namespace":"NS","visibility":"public","protected":true}`))
		c.want(200, c.do("p:reader", "GET", ns, ""))
		c.want(403, c.do("p:member", "DELETE", ns, ""))
		c.want(403, c.do("a:admin", "DELETE", ns, ""))
		c.want(403, c.do("a:admin", "DELETE", ns+"/tags/t", ""))
		c.want(200, c.do("a:admin", "PUT", ns, `{"namespace":"NS2"}`))
		c.want(404, c.do("a:admin", "GET", ns, ""))
		full := c.want(200, c.do("a:admin", "GET", ns+"2", "")).json(t)
		if diff := cmp.Diff(map[string]any{"p": map[string]any{"title": "t", "type": "string"}}, full["properties"]); diff != "" {
			t.Error(diff)
		}
		for _, x := range []struct {
			method, path, body string
			status             int
		}{
			{"POST", "/objects", `{"name":"o2","required":["a"]}`, 201},
			{"POST", "/objects", `{"name":"o2"}`, 409},
			{"POST", "/objects", `{"name":3}`, 400},
			{"PUT", "/objects/o2", `{"name":"o3"}`, 200},
			{"GET", "/objects/o2", "", 404},
			{"GET", "/objects/o3", "", 200},
			{"DELETE", "/objects/o3", "", 204},
			{"DELETE", "/objects/o3", "", 404},
			{"POST", "/properties", `{"name":"q","title":"t","type":"integer"}`, 201},
			{"POST", "/properties", `{"name":"r"}`, 400},
			{"GET", "/properties/q", "", 200},
			{"POST", "/tags/new", "", 201},
			{"POST", "/tags/new", "", 409},
			{"POST", "/tags", `{"tags":[{"name":"x"},{"name":"y"}]}`, 201},
			{"GET", "/tags/new", "", 404},
			{"PUT", "/tags/x", `{"name":"z"}`, 200},
			{"POST", "/resource_types", `{"name":"OS::Custom"}`, 201},
			{"DELETE", "/resource_types/OS::Custom", "", 204},
			{"DELETE", "/resource_types/OS::Custom", "", 404},
			{"DELETE", "/objects", "", 204},
			{"PATCH", "/objects", "", 405},
		} {
			if a := c.do("a:admin", x.method, ns+"2"+x.path, x.body); a.status != x.status {
				t.Errorf("%s %s %s: %d, want %d: %s", x.method, x.path, x.body, a.status, x.status, a.body)
			}
		}
		for _, name := range []string{"A", "B", "C"} {
			c.want(201, c.do("a:admin", "POST", all, `{"namespace":"`+name+`","visibility":"public"}`))
		}
		var seen []any
		for next := all + "?limit=2&visibility=public&sort_key=namespace&sort_dir=asc"; next != ""; {
			page := c.want(200, c.do("p:reader", "GET", next, "")).json(t)
			for _, n := range page["namespaces"].([]any) {
				seen = append(seen, n.(map[string]any)["namespace"])
			}
			next, _ = page["next"].(string)
		}
		if diff := cmp.Diff([]any{"A", "B", "C"}, seen); diff != "" {
			t.Error(diff)
		}
		c.want(204, c.do("a:admin", "DELETE", ns+"2", ""))
		types := c.want(200, c.do("p:reader", "GET", "/v2/metadefs/resource_types", "")).json(t)["resource_types"].([]any)
		if len(types) != 7 || types[0].(map[string]any)["name"] != "OS::Glance::Image" {
			t.Error(types)
		}
	})
}
