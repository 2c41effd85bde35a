package image_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/image"
)

// names lists images by a query string.
func (c *cloud) names(token, query string) []string {
	c.t.Helper()
	out := []string{}
	for _, i := range c.want(200, c.do(token, "GET", "/v2/images"+query, "")).json(c.t)["images"].([]any) {
		name, _ := i.(map[string]any)["name"].(string)
		out = append(out, name)
	}
	return out
}

func TestWhoSeesWhat(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := start(t, d, t.TempDir(), image.Options{})
		ids := map[string]string{}
		for _, v := range []string{"private", "shared", "community"} {
			ids[v] = c.create("p:member", fmt.Sprintf(`{"name":%q,"visibility":%q}`, v, v))
		}
		c.want(403, c.do("p:member", "POST", "/v2/images", `{"visibility":"public"}`))
		c.want(403, c.do("p:member", "POST", "/v2/images", `{"owner":"q"}`))
		c.want(403, c.do("p:member", "POST", "/v2/images", `{"owner":null}`))
		c.want(403, c.do("p:reader", "POST", "/v2/images", `{}`))
		ids["public"] = c.create("a:admin", `{"name":"public","visibility":"public","owner":"p"}`)
		member := "/v2/images/" + ids["shared"] + "/members"

		for _, x := range []struct {
			token, id string
			status    int
		}{
			{"p:member", "private", 200}, {"p:reader", "private", 200}, {"q:member", "private", 404}, {"a:admin", "private", 200}, {"p:service", "private", 404},
			{"q:member", "shared", 404}, {"q:member", "community", 200}, {"q:reader", "public", 200},
		} {
			if a := c.do(x.token, "GET", "/v2/images/"+ids[x.id], ""); a.status != x.status {
				t.Errorf("%s shows %s: %d", x.token, x.id, a.status)
			}
		}
		// Who sees an image but may not change it gets 403, who does not see it 404.
		for _, x := range []struct {
			token, id string
			status    int
		}{{"q:member", "private", 404}, {"q:member", "public", 403}, {"p:reader", "private", 403}, {"p:member", "public", 403}} {
			if a := c.do(x.token, "PATCH", "/v2/images/"+ids[x.id], `[{"op":"replace","path":"/visibility","value":"public"}]`, patch); a.status != x.status {
				t.Errorf("%s publishes %s: %d %s", x.token, x.id, a.status, a.body)
			}
			if x.token == "p:member" {
				continue
			}
			for _, rq := range [][2]string{{"DELETE", ""}, {"PUT", "/tags/x"}, {"POST", "/actions/deactivate"}} {
				if a := c.do(x.token, rq[0], "/v2/images/"+ids[x.id]+rq[1], ""); a.status != x.status {
					t.Errorf("%s %s%s on %s: %d", x.token, rq[0], rq[1], x.id, a.status)
				}
			}
			if a := c.do(x.token, "PUT", "/v2/images/"+ids[x.id]+"/file", "x", octets); a.status != x.status {
				t.Errorf("%s uploads to %s: %d", x.token, x.id, a.status)
			}
		}

		c.want(403, c.do("p:member", "POST", "/v2/images/"+ids["private"]+"/members", `{"member":"q"}`))
		c.want(404, c.do("q:member", "POST", member, `{"member":"q"}`))
		c.want(200, c.do("p:member", "POST", member, `{"member":"q"}`))
		c.want(409, c.do("p:member", "POST", member, `{"member":"q"}`))
		c.want(200, c.do("p:member", "POST", member, `{"member":"r"}`))
		c.want(200, c.do("q:member", "GET", "/v2/images/"+ids["shared"], ""))
		if diff := cmp.Diff([]string{"public"}, c.names("q:member", "")); diff != "" {
			t.Error("pending:", diff)
		}
		if diff := cmp.Diff([]string{"shared"}, c.names("q:member", "?member_status=pending&visibility=shared")); diff != "" {
			t.Error(diff)
		}
		c.want(403, c.do("p:member", "PUT", member+"/q", `{"status":"accepted"}`))
		c.want(403, c.do("q:reader", "PUT", member+"/q", `{"status":"accepted"}`))
		c.want(404, c.do("r:member", "PUT", member+"/q", `{"status":"accepted"}`))
		c.want(400, c.do("q:member", "PUT", member+"/q", `{"status":"maybe"}`))
		c.want(200, c.do("q:member", "PUT", member+"/q", `{"status":"accepted"}`))
		if diff := cmp.Diff([]string{"public", "shared"}, c.names("q:member", "")); diff != "" {
			t.Error("accepted:", diff)
		}
		if diff := cmp.Diff([]string{"public", "community", "shared", "private"}, c.names("p:member", "")); diff != "" {
			t.Error("the owner:", diff)
		}
		if diff := cmp.Diff([]string{"public", "shared", "private"}, c.names("a:admin", "")); diff != "" {
			t.Error("the administrator:", diff)
		}
		if diff := cmp.Diff([]string{"community"}, c.names("q:member", "?visibility=community")); diff != "" {
			t.Error(diff)
		}
		if n := len(c.want(200, c.do("p:member", "GET", member, "")).json(t)["members"].([]any)); n != 2 {
			t.Errorf("the owner sees %d members", n)
		}
		if n := len(c.want(200, c.do("q:member", "GET", member, "")).json(t)["members"].([]any)); n != 1 {
			t.Errorf("a member sees %d members", n)
		}
		c.want(404, c.do("q:member", "GET", member+"/r", ""))
		c.want(403, c.do("q:member", "DELETE", member+"/q", ""))
		c.want(204, c.do("p:member", "DELETE", member+"/q", ""))
		c.want(404, c.do("q:member", "GET", "/v2/images/"+ids["shared"], ""))
		// A reader with a share may not download, a member may.
		c.want(200, c.do("p:member", "PATCH", "/v2/images/"+ids["shared"], `[{"op":"replace","path":"/disk_format","value":"raw"},{"op":"replace","path":"/container_format","value":"bare"}]`, patch))
		c.want(204, c.do("p:member", "PUT", "/v2/images/"+ids["shared"]+"/file", "x", octets))
		c.want(403, c.do("r:reader", "GET", "/v2/images/"+ids["shared"]+"/file", ""))
		c.want(200, c.do("r:member", "GET", "/v2/images/"+ids["shared"]+"/file", ""))
	})
}

func TestListFilters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := start(t, d, t.TempDir(), image.Options{})
		a := c.raw("p:member", "a", "1")
		c.raw("p:member", "b", strings.Repeat("x", 100))
		c.create("p:member", `{"name":"c","os_distro":"debian","tags":["t1","t2"],"min_ram":512}`)
		c.create("p:member", `{"name":"d","os_hidden":true}`)
		c.create("p:member", `{"os_distro":"debian","tags":["t1"],"protected":true}`)
		for query, want := range map[string][]string{
			"":                                {"", "c", "b", "a"},
			"?sort=name:asc":                  {"", "a", "b", "c"},
			"?sort_key=size&sort_dir=desc":    {"b", "a", "", "c"},
			"?sort_key=status&sort_key=name":  {"c", "", "b", "a"},
			"?name=a":                         {"a"},
			"?name=in:a,b":                    {"b", "a"},
			"?name=in:%22a%22,b":              {"b", "a"},
			"?status=active":                  {"b", "a"},
			"?disk_format=raw&size_min=50":    {"b"},
			"?size_max=1":                     {"a"},
			"?size=100":                       {"b"},
			"?size=many":                      {},
			"?min_ram=512":                    {"c"},
			"?os_distro=debian":               {"", "c"},
			"?tag=t1":                         {"", "c"},
			"?tag=t1&tag=t2":                  {"c"},
			"?os_hidden=true":                 {"d"},
			"?protected=true":                 {""},
			"?owner=p&limit=2":                {"", "c"},
			"?owner=q":                        {},
			"?id=" + a:                        {"a"},
			"?limit=0":                        {},
			"?marker=" + a:                    {},
			"?marker=" + a + "&sort=name:asc": {"b", "c"},
			"?created_at=gt:2000-01-01T00:00:00Z&name=a": {"a"},
			"?created_at=lt:2000-01-01":                  {},
			"?visibility=shared&name=a":                  {"a"},
		} {
			if diff := cmp.Diff(want, c.names("p:member", query)); diff != "" {
				t.Errorf("%s: %s", query, diff)
			}
		}
		var seen []string
		pages := 0
		for next := "/v2/images?limit=1&sort=size:asc&tag=&name=in:a,b,c"; next != ""; pages++ {
			next = strings.Replace(next, "&tag=", "", 1)
			page := c.want(200, c.do("p:member", "GET", next, "")).json(t)
			for _, i := range page["images"].([]any) {
				seen = append(seen, i.(map[string]any)["name"].(string))
			}
			next, _ = page["next"].(string)
		}
		if diff := cmp.Diff([]string{"c", "a", "b"}, seen); diff != "" || pages != 4 {
			t.Errorf("%d pages: %s", pages, diff)
		}
	})
}

// TestBadInput sends what nobody should to every route: never a 500, and nothing half made.
func TestBadInput(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := start(t, d, t.TempDir(), image.Options{})
		id := c.create("p:member", `{"name":"kept"}`)
		before := c.do("a:admin", "GET", "/v2/images/"+id, "").body
		paths := []string{"/v2/images", "/v2/images/" + id, "/v2/images/nope", "/v2/images/%00", "/v2/images/%ff", "/v2/images/" + url.PathEscape(strings.Repeat("é", 300)), "/v2/images/",
			"/v2/images/" + id + "/file", "/v2/images/" + id + "/members", "/v2/images/" + id + "/members/x", "/v2/images/" + id + "/members/%00", "/v2/images/" + id + "/tags/%00",
			"/v2/images/" + id + "/tags/%ff", "/v2/images/" + id + "/actions/deactivate", "/v2/images/" + id + "/actions/none", "/v2/images/" + id + "/tasks", "/v2/tasks", "/v2/tasks/x",
			"/v2/info/stores", "/v2/schemas/image", "/v2/schemas/none", "/v2/none", "/v2/metadefs/namespaces", "/v2/metadefs/namespaces/%00", "/v2/metadefs/namespaces/none",
			"/v2/metadefs/namespaces/none/objects", "/v2/metadefs/namespaces/none/tags/x", "/v2/metadefs/resource_types"}
		bodies := []string{"", "{", "[]", "{}", `"x"`, "3", "null", `[3]`, `[{}]`, `[{"op":"add","path":"/x","value":"\u0000"}]`, `[{"op":"replace","path":"/min_ram","value":1e400}]`,
			`[{"op":"replace","path":"/min_ram","value":99999999999999999999}]`, "{\"name\":\"\xff\"}", `{"min_disk":1e999}`, `{"id":null}`, `{"tags":[null]}`, `{"tags":{}}`,
			`{"member":{}}`, `{"status":[]}`, `{"name":"x","name":3}`, strings.Repeat("[", 5000), `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, `{"namespace":"n","objects":[{}]}`, `{"namespace":"n","tags":[{"name":"\u0000"}]}`}
		for _, path := range paths {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
				if method == "DELETE" && path == "/v2/images/"+id {
					continue
				}
				for _, token := range []string{"p:member", "a:admin", "q:reader"} {
					for _, body := range bodies {
						if method == "GET" && body != "" || token == "q:reader" && len(body) > 100 {
							continue
						}
						for _, h := range []string{patch, "Content-Type: application/json"} {
							a := c.do(token, method, path, body, h)
							if a.status >= 500 || a.status >= 200 && a.status < 300 && method == "POST" && strings.HasPrefix(path, "/v2/images") && body != "{}" {
								t.Fatalf("%s %s %s %.60q: %d %.200s", token, method, path, body, a.status, a.body)
							}
							if method == "GET" {
								break
							}
						}
					}
				}
			}
		}
		for _, q := range []string{"%00=x", "name=%ff", "limit=%00", "marker=%00", "tag=%00", "created_at=%00", "size_min=1e3", "size_max=99999999999999999999999", "sort=", "sort=,", "sort_key=", "a%00b=c", "name=in:", "id=in:%22"} {
			if a := c.do("p:member", "GET", "/v2/images?"+q, ""); a.status >= 500 {
				t.Errorf("?%s: %d %s", q, a.status, a.body)
			}
			if a := c.do("p:member", "GET", "/v2/metadefs/namespaces?"+q, ""); a.status >= 500 {
				t.Errorf("namespaces?%s: %d %s", q, a.status, a.body)
			}
		}
		if after := c.do("a:admin", "GET", "/v2/images/"+id, "").body; after != before {
			t.Errorf("the image changed:\n%s\n%s", before, after)
		}
	})
}

func TestQuotas(t *testing.T) {
	c := start(t, dbtest.Memory(t), t.TempDir(), image.Options{})
	var props, tags []string
	for i := range 129 {
		props = append(props, fmt.Sprintf(`"p%d":"x"`, i))
		tags = append(tags, fmt.Sprintf(`"t%d"`, i))
	}
	c.want(413, c.do("p:member", "POST", "/v2/images", "{"+strings.Join(props, ",")+"}"))
	c.want(413, c.do("p:member", "POST", "/v2/images", `{"tags":[`+strings.Join(tags, ",")+`]}`))
	id := c.create("p:member", `{"tags":[`+strings.Join(tags[:128], ",")+`],`+strings.Join(props[:128], ",")+"}")
	c.want(413, c.do("p:member", "PUT", "/v2/images/"+id+"/tags/more", ""))
	c.want(204, c.do("p:member", "PUT", "/v2/images/"+id+"/tags/t0", ""))
	c.want(413, c.do("p:member", "PATCH", "/v2/images/"+id, `[{"op":"add","path":"/more","value":"x"}]`, patch))
	for i := range 128 {
		c.want(200, c.do("p:member", "POST", "/v2/images/"+id+"/members", fmt.Sprintf(`{"member":"m%d"}`, i)))
	}
	c.want(413, c.do("p:member", "POST", "/v2/images/"+id+"/members", `{"member":"more"}`))
}

func TestPatchDrafts(t *testing.T) {
	c := start(t, dbtest.Memory(t), t.TempDir(), image.Options{})
	id := c.create("p:member", `{"name":"n"}`)
	for _, x := range []struct {
		media, body string
		status      int
	}{
		{patch4, `[{"replace":"/name","value":"m"}]`, 200},
		{patch4, `[{"add":"/name","value":"m"}]`, 409},
		{patch4, `[{"add":"/k","value":"v"}]`, 200},
		{patch4, `[{"add":"/k","value":"v"}]`, 409},
		{patch4, `[{"op":"replace","path":"/name","value":"m"}]`, 400},
		{patch, `[{"op":"add","path":"/k","value":"w"},{"op":"remove","path":"/k"}]`, 200},
		{patch, `[{"op":"add","path":"/k","value":"w"},{"op":"remove","path":"/none"}]`, 409},
		{patch, `[{"op":"add","path":"/a~1b~0c","value":"w"}]`, 200},
		{"Content-Type: application/json", `[]`, 415},
	} {
		if a := c.do("p:member", "PATCH", "/v2/images/"+id, x.body, x.media); a.status != x.status {
			t.Errorf("%s %s: %d %s", x.media, x.body, a.status, a.body)
		}
	}
	img := c.do("p:member", "GET", "/v2/images/"+id, "").json(t)
	if img["name"] != "m" || img["k"] != nil || img["a/b~c"] != "w" {
		t.Errorf("%v", img)
	}
}
