package image_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/image"
)

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestDataIsNotKeptInMemory uploads and downloads 64 MiB and counts all that was ever allocated meanwhile, on both sides.
func TestDataIsNotKeptInMemory(t *testing.T) {
	const size, most = 64 << 20, 8 << 20
	c := start(t, dbtest.Memory(t), t.TempDir(), image.Options{})
	id := c.create("p:member", `{"disk_format":"raw","container_format":"bare"}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, method := range []string{"PUT", "GET"} {
		req, err := http.NewRequestWithContext(context.Background(), method, c.srv.URL+"/image/v2/images/"+id+"/file", nil)
		if err != nil {
			t.Fatal(err)
		}
		if method == "PUT" {
			req.Body, req.ContentLength = io.NopCloser(io.LimitReader(zeros{}, size)), size
		}
		req.Header.Set("X-Auth-Token", "p:member")
		req.Header.Set("Content-Type", "application/octet-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode >= 300 || method == "GET" && n != size {
			t.Fatal(method, resp.Status, n, err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("%d bytes were allocated for moving %d bytes twice", got, size)
	}
}

func BenchmarkList100(b *testing.B) {
	c := start(b, dbtest.Memory(b), b.TempDir(), image.Options{})
	for i := range 100 {
		c.create("p:member", fmt.Sprintf(`{"name":"image-%d","os_distro":"debian","tags":["a","b"]}`, i))
	}
	b.ResetTimer()
	for b.Loop() {
		c.want(200, c.do("p:member", "GET", "/v2/images?limit=100", ""))
	}
}
