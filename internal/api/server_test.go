package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

type tokens map[string]*api.Caller

func (t tokens) Authenticate(_ context.Context, token string) (*api.Caller, error) {
	return t[token], nil
}

type thing struct {
	Name string `json:"name"`
	Tag  string `json:"tag,omitempty" mv:"2.19-"`
	Old  string `json:"old" mv:"2.1-2.35"`
}

func testServer(t *testing.T) *httptest.Server {
	t.Helper()
	p, err := policy.New([]policy.Rule{{Name: "things:list", Check: "role:reader"}, {Name: "things:show", Check: "project_id:%(project_id)s"}})
	if err != nil {
		t.Fatal(err)
	}
	show := func(_ context.Context, r *api.Request, _ api.None) (map[string]thing, error) {
		if err := r.Enforce("things:show", policy.Map{"project_id": r.Path("id")}); err != nil {
			return nil, err
		}
		return map[string]thing{"thing": {Name: r.Path("id"), Tag: "<t>", Old: "o"}}, nil
	}
	s := &api.Service{
		Name: "things", Prefix: "/things", Policy: p,
		Microversions: &api.Microversions{Service: "compute", Legacy: "X-Old", Min: api.MustVersion("2.1"), Max: api.MustVersion("2.96"),
			Invalid:      func(h string) *fault.Error { return fault.BadRequest("bad %s", h) },
			NotSupported: func(v api.Version) *fault.Error { return fault.New(406, "", "no %s", v) }},
		Dialect: api.Dialect{WriteError: func(w http.ResponseWriter, _ *api.Request, e *fault.Error) {
			w.WriteHeader(e.Status)
			_, _ = io.WriteString(w, e.Message)
		}},
		Routes: []api.Route{
			api.Handle("GET", "", api.Public(), 200, func(context.Context, *api.Request, api.None) (map[string]string, error) {
				return map[string]string{"id": "root"}, nil
			}),
			api.Handle("GET", "/v2.1/things/{id}", api.Object("things:show"), 200, show),
			api.Handle("GET", "/v2.1/forgets", api.Object("things:show"), 200, func(context.Context, *api.Request, api.None) (api.None, error) {
				return api.None{}, nil
			}),
			api.Handle("POST", "/v2.1/things", api.Scoped("things:list"), 202, func(_ context.Context, _ *api.Request, in map[string]any) (map[string]any, error) {
				return in, nil
			}),
			api.Handle("DELETE", "/v2.1/things/{id}", api.Authenticated(), 204, func(context.Context, *api.Request, api.None) (api.None, error) {
				return api.None{}, nil
			}, api.MV("2.10-")),
			api.Handle("PATCH", "/v2.1/things/{id}", api.Public(), 200, func(context.Context, *api.Request, api.None) (api.None, error) {
				panic("boom")
			}),
		},
	}
	creds := func(project string, roles ...string) *api.Caller {
		return &api.Caller{ProjectID: project, Creds: &policy.Creds{ProjectID: project, Roles: roles}}
	}
	ruled := creds("p", "reader")
	ruled.AccessRules = api.AccessRules{{Service: "things", Method: "GET", Path: "/v2.1/forgets/**"}, {Service: "things", Method: "GET", Path: "/v2.1/things/q"}}
	srv := httptest.NewServer(api.NewServer(api.Options{
		Services: []*api.Service{s}, PublicEndpoint: "http://cloud", Auth: tokens{"reader": creds("p", "reader"), "other": creds("q"), "ruled": ruled},
		BodyTimeout: 50 * time.Millisecond,
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestRequests(t *testing.T) {
	srv := testServer(t)
	for _, c := range []struct {
		name, method, path, token, mv, body string
		status                              int
		want                                string
	}{
		{"root is public", "GET", "/things", "", "", "", 200, `{"id":"root"}`},
		{"root with slash", "GET", "/things/", "", "", "", 200, `{"id":"root"}`},
		{"no token", "GET", "/things/v2.1/things/p", "", "", "", 401, "The request you have made requires authentication."},
		{"no token, no such path", "GET", "/things/v2.1/nothing", "", "", "", 401, "The request you have made requires authentication."},
		{"fields of the minimum version", "GET", "/things/v2.1/things/p", "reader", "", "", 200, `{"thing":{"name":"p","old":"o"}}`},
		{"fields of a later version", "GET", "/things/v2.1/things/p/", "reader", "2.40", "", 200, `{"thing":{"name":"p","tag":"<t>"}}`},
		{"another project", "GET", "/things/v2.1/things/p", "other", "", "", 403, "Policy doesn't allow things:show to be performed."},
		{"rule forgotten", "GET", "/things/v2.1/forgets", "reader", "", "", 500, "Internal Server Error"},
		{"scoped rule refuses", "POST", "/things/v2.1/things", "other", "", `{}`, 403, "Policy doesn't allow things:list to be performed."},
		{"numbers stay", "POST", "/things/v2.1/things", "reader", "", `{"n":12345678901234567890}`, 202, `{"n":12345678901234567890}`},
		{"not JSON", "POST", "/things/v2.1/things", "reader", "", `{`, 400, "The body is not valid JSON: unexpected EOF"},
		{"not an object", "POST", "/things/v2.1/things", "reader", "", `[]`, 400, "The body is not valid JSON: the body is not a JSON object"},
		{"two values", "POST", "/things/v2.1/things", "reader", "", `{} {}`, 400, "The body is not valid JSON: more than one JSON value"},
		{"too large", "POST", "/things/v2.1/things", "reader", "", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "The request is larger than 1048576 bytes."},
		{"route of later versions", "DELETE", "/things/v2.1/things/p", "reader", "2.9", "", 404, "The resource could not be found."},
		{"in its version", "DELETE", "/things/v2.1/things/p", "reader", "latest", "", 204, ""},
		{"no such version", "GET", "/things/v2.1/things/p", "reader", "2.97", "", 406, "no 2.97"},
		{"not a version", "GET", "/things/v2.1/things/p", "reader", "two", "", 400, "bad two"},
		{"another method", "PUT", "/things/v2.1/things/p", "reader", "", "", 405, "The method is not allowed for the requested URL."},
		{"panic", "PATCH", "/things/v2.1/things/p", "", "", "", 500, "Internal Server Error"},
		{"outside", "GET", "/nowhere", "", "", "", 404, "404 page not found\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, srv.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Auth-Token", c.token)
			if c.mv != "" {
				req.Header.Set("OpenStack-API-Version", "compute "+c.mv)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || string(b) != c.want {
				t.Errorf("%d %s\nwant %d %s", resp.StatusCode, b, c.status, c.want)
			}
			if c.path != "/nowhere" && !strings.HasPrefix(resp.Header.Get("X-Openstack-Request-Id"), "req-") {
				t.Error("no request id")
			}
		})
	}
}

func TestDocsForgetTheLeastUsed(t *testing.T) {
	d := api.NewDocs(1000)
	key := func(s string) api.DocKey { return api.DocKey{ID: s} }
	for _, id := range []string{"a", "b", "c"} {
		d.Put(key(id), make([]byte, 100))
	}
	d.Get(key("a"))
	d.Put(key("d"), make([]byte, 100))
	if d.Get(key("a")) == nil || d.Get(key("b")) != nil || d.Get(key("d")) == nil {
		t.Error("the entry that was used last must stay, the oldest must go")
	}
}

func TestListJSON(t *testing.T) {
	got := api.ListJSON("things", [][]byte{[]byte(`{"a":1}`), []byte(`{"a":2}`)}, []byte(`{"things_links":[]}`))
	if string(got) != `{"things":[{"a":1},{"a":2}],"things_links":[]}` || !json.Valid(got) {
		t.Error(string(got))
	}
}

// TestOnePathOneMeaning: what is no canonical path is no path. Access rules, path values and the route must never read it differently.
func TestOnePathOneMeaning(t *testing.T) {
	srv := testServer(t)
	for path, want := range map[string]int{
		"/things/v2.1/things/q": 403, "/things/v2.1/things/p": 401,
		"/things/v2.1/forgets/../things/p": 404, "/things/v2.1/forgets/%2e%2e/things/p": 404, "/things/v2.1//things/q": 401, "/things/v2.1/forgets//x": 404,
		"/things/v2.1/forgets/./x": 404, "/things/v2.1/forgets/x/..": 404,
	} {
		req, err := http.NewRequest("GET", srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", "ruled")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestLongURI(t *testing.T) {
	srv := testServer(t)
	resp, err := http.Get(srv.URL + "/things/?" + strings.Repeat("x", 9000))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 414 {
		t.Error(resp.Status)
	}
}

// TestBodiesThatNeverCome: whoever promises a body and sends none is let go, whether the handler wants the body or not.
func TestBodiesThatNeverCome(t *testing.T) {
	srv := testServer(t)
	for _, request := range []string{
		"POST /things/v2.1/things HTTP/1.1\r\nHost: x\r\nX-Auth-Token: reader\r\nContent-Length: 10\r\n\r\n{",
		"POST /things/v2.1/things HTTP/1.1\r\nHost: x\r\nX-Auth-Token: reader\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
		"GET /things/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"DELETE /things/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
	} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("still open: %q", request)
		}
		_ = c.Close()
	}
}
