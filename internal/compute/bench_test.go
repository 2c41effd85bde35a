package compute_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// filled is a cloud with n servers in the project, and rows in all in the table.
func filled(b *testing.B, n, rows int) *cloud {
	b.Helper()
	c := newCloud(b, dbtest.Memory(b))
	c.node("n1", 1<<30)
	c.do("admin", latestMV, "PUT", "/compute/v2.1/os-quota-sets/"+project, `{"quota_set":{"instances":-1,"cores":-1,"ram":-1}}`).must(200)
	if err := c.hub.Heartbeat(context.Background(), nodeapi.Node{Name: "n2", VCPUs: 100000, MemoryMiB: 1 << 30, DiskGiB: 1 << 20, BootID: "x", Arch: "x86_64",
		EnableVXLAN: true, LocalIP: "192.0.2.2", HypervisorType: "QEMU"}); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		c.boot(fmt.Sprint("server-", i))
	}
	c.realise("n1")
	c.realise("n2")
	if err := c.db.Write(context.Background(), func(tx *db.Tx) error {
		cols, err := db.All(tx, db.Value[string], `SELECT name FROM pragma_table_info('servers')`)
		if err != nil {
			return err
		}
		names, values := "", ""
		for i, col := range cols {
			if i > 0 {
				names, values = names+",", values+","
			}
			names += col
			switch col {
			case "id":
				values += "lower(hex(randomblob(16)))"
			case "num":
				values += "x + 100000000"
			case "project_id":
				values += "'p' || (x % 500)"
			default:
				values += col
			}
		}
		_, err = tx.Exec(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ` + fmt.Sprint(max(1, rows-n)) + `)
			INSERT INTO servers (` + names + `) SELECT ` + values + ` FROM c, (SELECT * FROM servers LIMIT 1)`)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *cloud) listOnce(b *testing.B) {
	req := httptest.NewRequest("GET", "http://cloud/compute/v2.1/servers/detail", http.NoBody)
	req.Header.Set("X-Auth-Token", "member")
	req.Header.Set("OpenStack-API-Version", "compute 2.96")
	w := &counter{header: http.Header{}}
	c.http.ServeHTTP(w, req)
	if w.status != 200 || w.n == 0 {
		b.Fatal(w.status, w.n)
	}
}

// counter takes an answer and keeps nothing of it.
type counter struct {
	header    http.Header
	status, n int
}

func (c *counter) Header() http.Header { return c.header }

func (c *counter) WriteHeader(code int) { c.status = code }

func (c *counter) Write(b []byte) (int, error) {
	c.n += len(b)
	return len(b), nil
}

// BenchmarkListDetail lists with every document cached, with none, and with a tenth of the rows just changed. The figure to watch is
// cpu-µs/op, the processor time of the process: the clock says little on a busy machine.
func BenchmarkListDetail(b *testing.B) {
	for _, x := range []struct{ n, rows int }{{100, 100}, {1000, 1000}, {1000, 100000}} {
		b.Run(fmt.Sprintf("%d-of-%d", x.n, x.rows), func(b *testing.B) {
			c := filled(b, x.n, x.rows)
			c.listOnce(b)
			for _, k := range []struct {
				name    string
				changed int
			}{{"warm", 0}, {"tenth", x.n / 10}, {"cold", x.n}} {
				b.Run(k.name, func(b *testing.B) {
					var spent time.Duration
					for b.Loop() {
						b.StopTimer()
						if k.changed > 0 {
							c.touch(b, k.changed)
						}
						before := cpu(b)
						b.StartTimer()
						c.listOnce(b)
						b.StopTimer()
						spent += cpu(b) - before
						b.StartTimer()
					}
					b.ReportMetric(float64(spent)/float64(b.N)/1e3, "cpu-µs/op")
				})
			}
		})
	}
}

// touch makes the documents of n of the project's servers old.
func (c *cloud) touch(b *testing.B, n int) {
	b.Helper()
	if err := c.db.Write(context.Background(), func(tx *db.Tx) error {
		changed, err := tx.Exec(`UPDATE servers SET revision = revision + 1000000 WHERE id IN (SELECT id FROM servers WHERE project_id = $1 ORDER BY id LIMIT $2)`,
			project, n)
		if err == nil && changed != int64(n) {
			err = fmt.Errorf("%d servers changed, not %d", changed, n)
		}
		return err
	}); err != nil {
		b.Fatal(err)
	}
}

// cpu is the processor time of this process.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkServerToActive is a create, what the node reads and reports, and the removal.
func BenchmarkServerToActive(b *testing.B) {
	c := filled(b, 1, 1)
	for b.Loop() {
		id := c.boot("s")
		for _, n := range []string{"n1", "n2"} {
			if g, ok := c.guests(n)[id]; ok {
				c.report(n, nodeapi.GuestStatus{ID: id, Generation: g.Generation, Power: g.Power})
				c.do("member", "", "DELETE", "/compute/v2.1/servers/"+id, "").must(204)
				c.report(n, nodeapi.GuestStatus{ID: id, Generation: g.Generation + 1, Power: nodeapi.ObservedAbsent})
			}
		}
	}
}

// BenchmarkDurableKeyPair imports and deletes key pairs over HTTP, 16 clients at a time, each change on disk before its answer. Compare its
// writes/s with the bare rate of BenchmarkDurableWrites in internal/db: both hold client and server in two cores.
func BenchmarkDurableKeyPair(b *testing.B) {
	d, err := db.Open(b.Context(), db.Options{URL: "sqlite:" + filepath.Join(b.TempDir(), "hanok.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	c := newCloud(b, d)
	srv := httptest.NewServer(c.http)
	b.Cleanup(srv.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	send := func(method, path, body string, code int) {
		req, err := http.NewRequest(method, srv.URL+"/compute/v2.1/os-keypairs"+path, strings.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		req.Header.Set("X-Auth-Token", "member")
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != code {
			b.Error(res.StatusCode, string(text), err)
		}
	}
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPy8Pn2rYQ1nF1nXU8vXuPXDZQXG5WmZ9Fq7mZf2mG0c a@b"
	var names atomic.Int64
	b.SetParallelism(16 / runtime.GOMAXPROCS(0))
	before := cpu(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			name := fmt.Sprint("key", names.Add(1))
			send("POST", "", `{"keypair":{"name":"`+name+`","public_key":"`+key+`"}}`, 200)
			send("DELETE", "/"+name, "", 202)
		}
	})
	b.ReportMetric(float64(cpu(b)-before)/float64(2*b.N)/1e3, "cpu-µs/write")
	b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}
