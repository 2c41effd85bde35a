package identity_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// benchEach measures requests through the HTTP handler on SQLite and, when there is one, PostgreSQL.
func benchEach(b *testing.B, request func(c *cloud) (method, path, body string, header []string, code int)) {
	run := func(name string, open func() *db.DB) {
		b.Run(name, func(b *testing.B) {
			c := newCloud(b, open())
			method, path, body, header, code := request(c)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				r := httptest.NewRequest(method, "/identity"+path, strings.NewReader(body))
				r.Header.Set("X-Auth-Token", c.admin)
				for i := 0; i+1 < len(header); i += 2 {
					r.Header.Set(header[i], header[i+1])
				}
				w := httptest.NewRecorder()
				c.h.ServeHTTP(w, r)
				if w.Code != code {
					b.Fatal(w.Code, w.Body.String())
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-µs/op")
		})
	}
	run("sqlite", func() *db.DB { return fileDB(b) })
	run("postgres", func() *db.DB { return dbtest.Postgres(b) })
}

// fileDB is a new database in a file.
func fileDB(b *testing.B) *db.DB {
	d, err := db.Open(b.Context(), db.Options{URL: "sqlite:" + filepath.Join(b.TempDir(), "hanok.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	return d
}

// cpu is the processor time of this process, which says more than the clock on a busy machine.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkValidate(b *testing.B) {
	benchEach(b, func(c *cloud) (string, string, string, []string, int) {
		return "GET", "/v3/auth/tokens", "", []string{"X-Subject-Token", c.login("admin", "secret", project("admin"))}, http.StatusOK
	})
}

func BenchmarkTokenFromToken(b *testing.B) {
	benchEach(b, func(c *cloud) (string, string, string, []string, int) {
		return "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + c.login("admin", "secret", "") + `"}},` + project("admin") + `}}`, nil, http.StatusCreated
	})
}

// A login that was verified before.
func BenchmarkTokenFromPassword(b *testing.B) {
	benchEach(b, func(c *cloud) (string, string, string, []string, int) {
		return "POST", "/v3/auth/tokens", authBody("admin", "secret", project("admin")), nil, http.StatusCreated
	})
}

func BenchmarkListProjects(b *testing.B) {
	benchEach(b, func(c *cloud) (string, string, string, []string, int) {
		for i := range 98 {
			c.create("project", fmt.Sprintf(`{"name":"p%d"}`, i))
		}
		return "GET", "/v3/projects", "", nil, http.StatusOK
	})
}

// BenchmarkLarge measures a cloud of 100,000 users, 20,000 projects and 500,000 assignments: each request with what is remembered, and after a change
// of something else, which makes the service forget.
func BenchmarkLarge(b *testing.B) {
	run := func(name string, open func() *db.DB) {
		b.Run(name, func(b *testing.B) {
			c := newCloud(b, open())
			d := c.fill(large)
			own := c.send("", "POST", "/v3/auth/tokens", loginBody(d)).header.Get("X-Subject-Token")
			if own == "" {
				b.Fatal("no token")
			}
			serial := 0
			for _, q := range scaleRequests(d, c.role("admin")) {
				forms := []bool{false, true}
				if q.change {
					forms = forms[:1]
				}
				for _, cold := range forms {
					name := q.name
					if cold {
						name += "/changed"
					}
					b.Run(name, func(b *testing.B) {
						var spent time.Duration
						token := c.admin
						if q.own {
							token = own
						}
						for b.Loop() {
							if cold {
								if err := c.svc.Forget(b.Context()); err != nil {
									b.Fatal(err)
								}
							}
							serial++
							path, body := q.path, strings.ReplaceAll(q.body, "%d", fmt.Sprint(serial))
							before := cpu(b)
							r := c.send(token, q.method, path, body, "X-Subject-Token", own)
							spent += cpu(b) - before
							if r.code != q.code {
								b.Fatal(r.code, r.raw)
							}
						}
						b.ReportMetric(float64(spent)/float64(b.N)/1e3, "cpu-µs/op")
					})
				}
			}
		})
	}
	run("sqlite", func() *db.DB { return fileDB(b) })
	run("postgres", func() *db.DB { return dbtest.Postgres(b) })
}
