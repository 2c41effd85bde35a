package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/audit"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity"
	"github.com/hanok-cloud/hanok/internal/network"
)

// cloud is identity and network with the log or without it.
type cloud struct {
	b     *testing.B
	d     *db.DB
	log   *audit.Log
	h     http.Handler
	token string
}

func newCloud(b *testing.B, logged bool) *cloud {
	b.Helper()
	ctx := context.Background()
	o := db.Options{URL: "sqlite:" + filepath.Join(b.TempDir(), "hanok.db")}
	if logged {
		o.BeforeCommit = audit.Commit
	}
	d, err := db.Open(ctx, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	ids, err := identity.New(identity.Options{DB: d, KEK: kek(), PublicEndpoint: "http://cloud", BcryptCost: 4})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := ids.Bootstrap(ctx, "secret"); err != nil {
		b.Fatal(err)
	}
	nets, err := network.New(network.Options{DB: d, Quotas: map[string]int64{"port": -1}})
	if err != nil {
		b.Fatal(err)
	}
	c := &cloud{b: b, d: d}
	so := api.Options{Services: []*api.Service{ids.API(), nets.API()}, Auth: ids, PublicEndpoint: "http://cloud"}
	if logged {
		if c.log, err = audit.New(ctx, audit.Options{DB: d, KEK: kek()}); err != nil {
			b.Fatal(err)
		}
		so.Audit = c.log
	}
	c.h = api.NewServer(so)
	c.token = c.send(201, "POST", "/identity/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","password":"secret","domain":{"id":"default"}}}},
		"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`).Header().Get("X-Subject-Token")
	return c
}

func (c *cloud) send(code int, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", c.token)
	r.Header.Set("X-Subject-Token", c.token)
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	if w.Code != code {
		c.b.Fatal(method, path, w.Code, w.Body.String())
	}
	return w
}

func (c *cloud) made(path, body, kind string) string {
	var out map[string]struct{ ID string }
	if err := json.Unmarshal(c.send(201, "POST", path, body).Body.Bytes(), &out); err != nil {
		c.b.Fatal(err)
	}
	return out[kind].ID
}

// cpu is the processor time of this process, which says more than the clock on a busy machine.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What the log costs: each request without it, with it, and with the chaining of what it wrote.
func BenchmarkCost(b *testing.B) {
	for _, c := range []struct {
		name    string
		request func(c *cloud) func()
	}{
		{"validate", func(c *cloud) func() { return func() { c.send(200, "GET", "/identity/v3/auth/tokens", "") } }},
		{"token-from-token", func(c *cloud) func() {
			body := `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + c.token + `"}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`
			return func() { c.send(201, "POST", "/identity/v3/auth/tokens", body) }
		}},
		{"create-port", func(c *cloud) func() {
			n := c.made("/network/v2.0/networks", `{"network":{"name":"n"}}`, "network")
			c.made("/network/v2.0/subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"cidr":"10.0.0.0/12","ip_version":4}}`, n), "subnet")
			body := fmt.Sprintf(`{"port":{"network_id":%q}}`, n)
			return func() { c.send(201, "POST", "/network/v2.0/ports", body) }
		}},
	} {
		for _, how := range []string{"unlogged", "logged", "chained"} {
			b.Run(c.name+"/"+how, func(b *testing.B) {
				cl := newCloud(b, how != "unlogged")
				run := c.request(cl)
				b.ReportAllocs()
				before := cpu(b)
				b.SetParallelism(8)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						run()
					}
				})
				if how == "chained" {
					if err := cl.log.Chain(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-µs/op")
			})
		}
	}
}
