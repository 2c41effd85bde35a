package identity_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// neighbour is a service beside identity on the same server. Its handler calls during before it asks its rule.
func (c *cloud) neighbour(during func()) http.Handler {
	c.t.Helper()
	rules, err := policy.New(policy.Keystone())
	if err != nil {
		c.t.Fatal(err)
	}
	work := func(_ context.Context, r *api.Request, _ api.None) (map[string]string, error) {
		during()
		if err := r.Enforce("identity:get_auth_projects", policy.Map{}); err != nil {
			return nil, err
		}
		return map[string]string{"user": r.UserID(), "project": r.ProjectID()}, nil
	}
	s := &api.Service{Name: "neighbour", Prefix: "/neighbour", Policy: rules, Routes: []api.Route{api.Handle("GET", "/work", api.Object("identity:get_auth_projects"), 200, work)},
		Dialect: api.Dialect{WriteError: func(w http.ResponseWriter, _ *api.Request, e *fault.Error) { http.Error(w, e.Message, e.Status) }}}
	return api.NewServer(api.Options{Services: []*api.Service{c.svc.API(), s}, Auth: c.svc, PublicEndpoint: endpoint})
}

// What one service hands to another may go on with the user's token after its end, when a service token comes along.
func TestServiceTokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, proj := c.tenant("kim")
		scope := `"scope":{"project":{"id":"` + proj + `"}}`
		agent := c.create("user", `{"name":"nova","password":"pw"}`)
		c.must(204, "PUT", "/v3/projects/"+proj+"/users/"+agent+"/roles/"+c.role("service"), "")
		old := c.login("kim", "pw-kim", scope)
		h := c.neighbour(func() {})
		work := func(token string, header ...string) reply {
			t.Helper()
			return c.sendPath(h, token, "/neighbour/work", header...)
		}
		if r := work(old); r.code != 200 || r.str("user") != user {
			t.Fatal(r.code, r.raw)
		}
		c.step(time.Hour + time.Second)
		service, plain := c.login("nova", "pw", scope), c.login("kim", "pw-kim", scope)
		if r := work(old); r.code != 401 {
			t.Error("an expired token alone: ", r.code)
		}
		if r := work(old, "X-Service-Token", service); r.code != 200 || r.str("user") != user || r.str("project") != proj {
			t.Error("with a service token: ", r.code, r.raw)
		}
		if r := work(old, "X-Service-Token", plain); r.code != 401 {
			t.Error("with a token without the role service: ", r.code)
		}
		if r := work(plain, "X-Service-Token", plain); r.code != 200 {
			t.Error("a good token with any other good one: ", r.code)
		}
		if r := work(plain, "X-Service-Token", "bogus"); r.code != 401 {
			t.Error("a bad service token spoils the request: ", r.code)
		}
		// Keystone itself takes no service tokens, but validates for whoever may.
		if r := c.sendPath(h, old, "/identity/v3/auth/projects", "X-Service-Token", service); r.code != 401 {
			t.Error("identity: ", r.code)
		}
		if r := c.send(service, "GET", "/v3/auth/tokens?allow_expired=1", "", "X-Subject-Token", old); r.code != 200 || r.str("token.user.id") != user {
			t.Error("validation by a service: ", r.code, r.raw)
		}
		if r := c.send(service, "GET", "/v3/auth/tokens", "", "X-Subject-Token", old); r.code != 404 {
			t.Error("validation without allow_expired: ", r.code, r.raw)
		}
		// An expired token that was revoked is worth nothing, and the window ends.
		if r := c.send(c.admin, "DELETE", "/v3/auth/tokens", "", "X-Subject-Token", plain); r.code != 204 {
			t.Fatal(r.raw)
		}
		c.step(48*time.Hour + time.Minute)
		service = c.login("nova", "pw", scope)
		for what, tok := range map[string]string{"too old": old, "revoked": plain} {
			if r := work(tok, "X-Service-Token", service); r.code != 401 {
				t.Error(what, r.code)
			}
		}
	})
}

// Work that was admitted goes on when the token ends meanwhile.
func TestAdmittedWorkGoesOn(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	h := c.neighbour(func() { c.shift.Add(int64(2 * time.Hour)) })
	if r := c.sendPath(h, c.admin, "/neighbour/work"); r.code != 200 {
		t.Error(r.code, r.raw)
	}
	if r := c.sendPath(h, c.admin, "/neighbour/work"); r.code != 401 {
		t.Error("the next request: ", r.code, r.raw)
	}
}

// The second audit id is the first token's, however long the chain.
func TestAuditChain(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	first, r := c.loginWith(authBody("admin", "secret", `"scope":"unscoped"`))
	head := r.str("token.audit_ids.0")
	tok := first
	for range 3 {
		tok, r = c.loginWith(`{"auth":{"identity":{"methods":["token"],"token":{"id":"` + tok + `"}},` + project("admin") + `}}`)
		ids, _ := r.at("token.audit_ids").([]any)
		if len(ids) != 2 || ids[1] != head || ids[0] == head {
			t.Fatal(r.raw)
		}
		if diff := cmp.Diff([]any{"token", "password"}, r.at("token.methods")); diff != "" {
			t.Error(diff)
		}
	}
}
