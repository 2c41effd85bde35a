package api

import (
	"net/http/httptest"
	"testing"
)

func TestAccessRules(t *testing.T) {
	rules := AccessRules{{"compute", "GET", "/v2.1/servers/{id}"}, {"compute", "POST", "/v2.1/servers/*/action"}, {"image", "GET", "/v2/**"}, {"compute", "GET", "/compute/v2.1/flavors"}, {"compute", "GET", "/v2.1/a.b"}}
	for _, c := range []struct {
		service, method, path, inner string
		want                         bool
	}{
		{"compute", "GET", "/compute/v2.1/servers/1", "/v2.1/servers/1", true},
		{"compute", "GET", "/compute/v2.1/servers/1/ips", "/v2.1/servers/1/ips", false},
		{"compute", "GET", "/compute/v2.1/servers", "/v2.1/servers", false},
		{"compute", "POST", "/compute/v2.1/servers/1/action", "/v2.1/servers/1/action", true},
		{"compute", "DELETE", "/compute/v2.1/servers/1", "/v2.1/servers/1", false},
		{"network", "GET", "/network/v2.1/servers/1", "/v2.1/servers/1", false},
		{"image", "GET", "/image/v2/images/1/file", "/v2/images/1/file", true},
		{"compute", "GET", "/compute/v2.1/flavors", "/v2.1/flavors", true},
		{"compute", "GET", "/compute/v2.1/axb", "/v2.1/axb", false},
		{"identity", "GET", "/identity/v3/auth/tokens", "/v3/auth/tokens", true},
		{"identity", "POST", "/identity/v3/auth/tokens", "/v3/auth/tokens", false},
	} {
		if got := rules.allow(c.service, httptest.NewRequest(c.method, c.path, nil), c.inner); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if (AccessRules{}).allow("compute", httptest.NewRequest("GET", "/compute/", nil), "/") {
		t.Error("an empty list allows nothing")
	}
}
