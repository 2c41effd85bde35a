package image_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/image"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// tokens are "project:role[,role]".
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (*api.Caller, error) {
	project, roles, ok := strings.Cut(token, ":")
	if !ok {
		return nil, nil
	}
	implied := map[string][]string{"admin": {"admin", "manager", "member", "reader"}, "member": {"member", "reader"}, "reader": {"reader"}, "service": {"service"}}[roles]
	return &api.Caller{ProjectID: project, UserID: "u-" + project, Roles: implied,
		Creds: &policy.Creds{ProjectID: project, UserID: "u-" + project, Roles: implied}}, nil
}

type cloud struct {
	t   testing.TB
	d   *db.DB
	dir string
	svc *image.Service
	srv *httptest.Server
}

func start(t testing.TB, d *db.DB, dir string, o image.Options) *cloud {
	t.Helper()
	o.DB, o.DataDir = d, dir
	svc, err := image.New(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.NewServer(api.Options{Services: []*api.Service{svc.API()}, PublicEndpoint: "http://cloud", Auth: tokens{}}))
	t.Cleanup(srv.Close)
	return &cloud{t, d, dir, svc, srv}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	return m
}

// do sends a request; header is "Name: value" lines.
func (c *cloud) do(token, method, path, body string, header ...string) answer {
	c.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, c.srv.URL+"/image"+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", token)
	req.Header.Set("Accept", "application/json")
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (c *cloud) want(status int, a answer) answer {
	c.t.Helper()
	if a.status != status {
		c.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

const (
	octets = "Content-Type: application/octet-stream"
	patch  = "Content-Type: application/openstack-images-v2.1-json-patch"
	patch4 = "Content-Type: application/openstack-images-v2.0-json-patch"
)

func (c *cloud) create(token, body string) string {
	c.t.Helper()
	return c.want(201, c.do(token, "POST", "/v2/images", body)).json(c.t)["id"].(string)
}

// raw makes an active raw image with this content.
func (c *cloud) raw(token, name, content string) string {
	c.t.Helper()
	id := c.create(token, fmt.Sprintf(`{"name":%q,"disk_format":"raw","container_format":"bare"}`, name))
	c.want(204, c.do(token, "PUT", "/v2/images/"+id+"/file", content, octets))
	return id
}

func (c *cloud) status(token, id string) string {
	c.t.Helper()
	return c.want(200, c.do(token, "GET", "/v2/images/"+id, "")).json(c.t)["status"].(string)
}

// untilSaving asks until the upload that another goroutine has sent has begun.
func (c *cloud) untilSaving(id string) {
	for c.status("p:member", id) != "saving" {
		if c.t.Context().Err() != nil {
			c.t.Fatal("the upload never began")
		}
	}
}

// data lists the files of images.
func (c *cloud) data() []string {
	c.t.Helper()
	all, err := filepath.Glob(filepath.Join(c.dir, "*"))
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, f := range all {
		if filepath.Base(f) != "store-id" {
			out = append(out, filepath.Base(f))
		}
	}
	return out
}

func TestLifeOfAnImage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := start(t, d, t.TempDir(), image.Options{})
		a := c.want(201, c.do("p:member", "POST", "/v2/images", `{"name":"jammy","disk_format":"raw","container_format":"bare","tags":["b","a","b"],"os_distro":"ubuntu","min_disk":3}`))
		img := a.json(t)
		id := img["id"].(string)
		if a.header.Get("Location") != "http://cloud/image/v2/images/"+id {
			t.Error("Location:", a.header.Get("Location"))
		}
		delete(img, "created_at")
		delete(img, "updated_at")
		want := map[string]any{"id": id, "name": "jammy", "disk_format": "raw", "container_format": "bare", "tags": []any{"a", "b"}, "os_distro": "ubuntu",
			"min_disk": 3.0, "min_ram": 0.0, "visibility": "shared", "size": nil, "virtual_size": nil, "status": "queued", "checksum": nil, "protected": false,
			"owner": "p", "os_hidden": false, "os_hash_algo": nil, "os_hash_value": nil, "self": "/v2/images/" + id, "file": "/v2/images/" + id + "/file", "schema": "/v2/schemas/image"}
		if diff := cmp.Diff(want, img); diff != "" {
			t.Error(diff)
		}
		c.want(204, c.do("p:member", "GET", "/v2/images/"+id+"/file", ""))

		content := strings.Repeat("0123456789", 100_000)
		c.want(204, c.do("p:member", "PUT", "/v2/images/"+id+"/file", content, octets))
		img = c.want(200, c.do("p:member", "GET", "/v2/images/"+id, "")).json(t)
		m, h := md5.Sum([]byte(content)), sha512.Sum512([]byte(content))
		for k, v := range map[string]any{"status": "active", "size": 1e6, "virtual_size": 1e6, "checksum": hex.EncodeToString(m[:]),
			"os_hash_algo": "sha512", "os_hash_value": hex.EncodeToString(h[:]), "stores": "file"} {
			if img[k] != v {
				t.Errorf("%s: %v, want %v", k, img[k], v)
			}
		}
		a = c.want(200, c.do("p:member", "GET", "/v2/images/"+id+"/file", ""))
		if a.body != content || a.header.Get("Content-Md5") != hex.EncodeToString(m[:]) || a.header.Get("Content-Type") != "application/octet-stream" {
			t.Error("download:", len(a.body), a.header)
		}
		if a := c.do("p:member", "PUT", "/v2/images/"+id+"/file", content, octets); a.status != 409 || a.json(t)["message"] != "Image status transition from active to saving is not allowed<br /><br />\n\n\n" {
			t.Error(a)
		}
		if got := c.data(); len(got) != 1 || !strings.HasPrefix(got[0], id) {
			t.Error("files:", got)
		}
		r, err := c.svc.Open(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		_ = r.Close()
		if string(b) != content {
			t.Error("Open gives something else")
		}

		c.want(204, c.do("p:member", "POST", "/v2/images/"+id+"/actions/deactivate", ""))
		c.want(204, c.do("p:member", "POST", "/v2/images/"+id+"/actions/deactivate", ""))
		c.want(403, c.do("p:member", "GET", "/v2/images/"+id+"/file", ""))
		c.want(200, c.do("x:admin", "GET", "/v2/images/"+id+"/file", ""))
		c.want(204, c.do("p:member", "POST", "/v2/images/"+id+"/actions/reactivate", ""))

		c.want(200, c.do("p:member", "PATCH", "/v2/images/"+id, `[{"op":"replace","path":"/protected","value":true}]`, patch))
		c.want(403, c.do("p:member", "DELETE", "/v2/images/"+id, ""))
		c.want(200, c.do("p:member", "PATCH", "/v2/images/"+id, `[{"op":"replace","path":"/protected","value":false}]`, patch))
		c.want(204, c.do("p:member", "DELETE", "/v2/images/"+id, ""))
		c.want(404, c.do("p:member", "GET", "/v2/images/"+id, ""))
		c.want(404, c.do("p:member", "DELETE", "/v2/images/"+id, ""))
		if got := c.data(); len(got) != 0 {
			t.Error("left over:", got)
		}
	})
}

func TestRanges(t *testing.T) {
	c := start(t, dbtest.Memory(t), t.TempDir(), image.Options{})
	id := c.raw("p:member", "r", "0123456789")
	for _, x := range []struct {
		header string
		status int
		body   string
		part   string
	}{
		{"Range: bytes=0-4", 206, "01234", "bytes 0-4/10"},
		{"Range: bytes=5-", 206, "56789", "bytes 5-9/10"},
		{"Range: bytes=-2", 206, "89", "bytes 8-9/10"},
		{"Range: bytes=-20", 206, "0123456789", "bytes 0-9/10"},
		{"Range: bytes=8-99", 206, "89", "bytes 8-9/10"},
		{"Range: bytes=10-", 416, "", ""},
		{"Range: bytes=4-2", 416, "", ""},
		{"Range: bytes=x", 416, "", ""},
		{"Range: bytes=-", 416, "", ""},
		{"Range: bytes=-0", 206, "0123456789", "bytes 0-9/10"},
		{"Range: bytes=0-1,3-4", 400, "", ""},
		{"Content-Range: bytes 1-3/10", 206, "123", "bytes 1-3/10"},
		{"Content-Range: bytes 1-3/*", 206, "123", "bytes 1-3/10"},
		{"Content-Range: bytes 1-10/*", 416, "", ""},
		{"Content-Range: foo", 416, "", ""},
	} {
		a := c.do("p:member", "GET", "/v2/images/"+id+"/file", "", x.header)
		if a.status != x.status || x.status == 206 && (a.body != x.body || a.header.Get("Content-Range") != x.part || a.header.Get("Content-Length") != fmt.Sprint(len(x.body))) {
			t.Errorf("%s: %d %q %v", x.header, a.status, a.body, a.header)
		}
	}
}

// TestBrokenUpload sends less than it announces.
func TestBrokenUpload(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := start(t, d, t.TempDir(), image.Options{})
		id := c.create("p:member", `{"disk_format":"raw","container_format":"bare"}`)
		ctx, cancel := context.WithCancel(context.Background())
		pr, pw := io.Pipe()
		req, _ := http.NewRequestWithContext(ctx, "PUT", c.srv.URL+"/image/v2/images/"+id+"/file", pr)
		req.Header.Set("X-Auth-Token", "p:member")
		req.Header.Set("Content-Type", "application/octet-stream")
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			if resp, err := http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}()
		if _, err := pw.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
			t.Fatal(err)
		}
		c.untilSaving(id)
		c.want(409, c.do("p:member", "PUT", "/v2/images/"+id+"/file", "second", octets))
		cancel()
		_ = pw.CloseWithError(context.Canceled)
		<-finished
		c.srv.Close() // waits for the handler
		c = start(t, d, c.dir, image.Options{})
		if got := c.status("p:member", id); got != "queued" {
			t.Errorf("after the break: %s", got)
		}
		if got := c.data(); len(got) != 0 {
			t.Errorf("left over: %v", got)
		}
		c.want(204, c.do("p:member", "PUT", "/v2/images/"+id+"/file", "second", octets))
		if a := c.do("p:member", "GET", "/v2/images/"+id+"/file", ""); a.body != "second" {
			t.Error(a)
		}
	})
}

// TestStartAfterCrash makes what a crash leaves at each step of an upload and of a deletion.
func TestStartAfterCrash(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		dir := t.TempDir()
		c := start(t, d, dir, image.Options{})
		kept := c.raw("p:member", "kept", "data")
		receiving := c.create("p:member", `{"name":"receiving","disk_format":"raw","container_format":"bare"}`)
		renamed := c.create("p:member", `{"name":"renamed","disk_format":"raw","container_format":"bare"}`)
		id, err := os.ReadFile(filepath.Join(dir, "store-id"))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(context.Background(), func(tx *db.Tx) error {
			if _, err := tx.Exec(`UPDATE images SET status = 'saving', upload = 'u1', store = $2 WHERE id = $1`, receiving, string(id)); err != nil {
				return err
			}
			_, err := tx.Exec(`UPDATE images SET status = 'saving', upload = 'u2', store = $2 WHERE id = $1`, renamed, string(id))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{receiving + ".u1.part", renamed + ".u2", "11111111-2222-4333-8444-555555555555.deleted", "123.tmp"} {
			if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c.srv.Close()
		c = start(t, d, dir, image.Options{})
		for _, id := range []string{receiving, renamed} {
			if got := c.status("p:member", id); got != "queued" {
				t.Errorf("%s is %s", id, got)
			}
			c.want(204, c.do("p:member", "GET", "/v2/images/"+id+"/file", ""))
		}
		if a := c.want(200, c.do("p:member", "GET", "/v2/images/"+kept+"/file", "")); a.body != "data" {
			t.Error("the whole image is damaged")
		}
		if got := c.data(); len(got) != 1 {
			t.Errorf("files: %v", got)
		}
	})
}

func TestSizeLimitAndFormats(t *testing.T) {
	c := start(t, dbtest.Memory(t), t.TempDir(), image.Options{SizeLimit: 100_000})
	qcow2 := func(version byte, backing bool) string {
		h := make([]byte, 70_000)
		copy(h, "QFI\xfb\x00\x00\x00")
		h[7] = version
		h[23] = 16                                       // clusters of 64 KiB
		copy(h[24:], "\x00\x00\x00\x00\x40\x00\x00\x00") // 1 GiB
		h[103] = 104
		if backing {
			h[15], h[14], h[19] = 0, 1, 5
		}
		return string(h)
	}
	for _, x := range []struct {
		name, disk, container, content string
		status                         int
		virtual                        any
	}{
		{"raw", "raw", "bare", "anything", 204, 8.0},
		{"qcow2", "qcow2", "bare", qcow2(3, false), 204, float64(1 << 30)},
		{"qcow2 in a container is not looked at", "qcow2", "ovf", "anything", 204, nil},
		{"a kernel has no signature", "aki", "bare", "anything", 204, nil},
		{"qcow2 declared as raw stays raw bytes", "raw", "bare", qcow2(3, false), 204, 70_000.0},
		{"raw declared as qcow2", "qcow2", "bare", "anything", 415, nil},
		{"qcow2 declared as vmdk", "vmdk", "bare", qcow2(3, false), 415, nil},
		{"backing file", "qcow2", "bare", qcow2(3, true), 415, nil},
		{"broken header", "qcow2", "bare", qcow2(9, false), 415, nil},
		{"too large", "raw", "bare", strings.Repeat("x", 100_001), 413, nil},
		{"as large as possible", "raw", "bare", strings.Repeat("x", 100_000), 204, 100_000.0},
		{"empty", "raw", "bare", "", 204, 0.0},
	} {
		t.Run(x.name, func(t *testing.T) {
			c.t = t
			id := c.create("p:member", fmt.Sprintf(`{"disk_format":%q,"container_format":%q}`, x.disk, x.container))
			a := c.want(x.status, c.do("p:member", "PUT", "/v2/images/"+id+"/file", x.content, octets))
			img := c.do("p:member", "GET", "/v2/images/"+id, "").json(t)
			want := "active"
			if x.status != 204 {
				want = "queued"
			}
			if img["status"] != want || img["virtual_size"] != x.virtual {
				t.Errorf("%v %v: %s", img["status"], img["virtual_size"], a.body)
			}
			c.want(204, c.do("p:member", "DELETE", "/v2/images/"+id, ""))
		})
	}
	c.t = t
	if got := c.data(); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
}

func TestDeleteDuringUpload(t *testing.T) {
	c := start(t, dbtest.Memory(t), t.TempDir(), image.Options{})
	id := c.create("p:member", `{"disk_format":"raw","container_format":"bare"}`)
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("PUT", c.srv.URL+"/image/v2/images/"+id+"/file", pr)
	req.Header.Set("X-Auth-Token", "p:member")
	req.Header.Set("Content-Type", "application/octet-stream")
	status := make(chan int)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			status <- 0
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	if _, err := pw.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	c.untilSaving(id)
	c.want(204, c.do("p:member", "DELETE", "/v2/images/"+id, ""))
	_ = pw.Close()
	if got := <-status; got != 410 {
		t.Errorf("upload of a deleted image: %d", got)
	}
	if got := c.data(); len(got) != 0 {
		t.Errorf("left over: %v", got)
	}
}

// TestFullDisk: data that fills the disk of the database, too, is given up, and the image is queued as before.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		if os.Getenv("HANOK_TEST_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip("no tmpfs here: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	d, err := db.Open(context.Background(), db.Options{URL: "sqlite:" + dir + "/hanok.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	c := start(t, d, dir+"/images", image.Options{})
	id := c.create("p:member", `{"disk_format":"raw","container_format":"bare"}`)
	c.want(413, c.do("p:member", "PUT", "/v2/images/"+id+"/file", strings.Repeat("x", 20<<20), "Content-Type: application/octet-stream"))
	if got := c.want(200, c.do("p:member", "GET", "/v2/images/"+id, "")).json(t)["status"]; got != "queued" {
		t.Errorf("status %v", got)
	}
	left, err := filepath.Glob(dir + "/images/*.*")
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	c.want(204, c.do("p:member", "PUT", "/v2/images/"+id+"/file", "x", "Content-Type: application/octet-stream"))
}

// TestManyFilters: as many tags and properties as a query string holds are planned in no time, and repeated ones count once.
func TestManyFilters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := start(t, d, t.TempDir(), image.Options{})
		c.create("p:member", `{"name":"mine","tags":["t1","t2"],"p1":"v","p2":"w"}`)
		var many strings.Builder
		for i := range 400 {
			fmt.Fprintf(&many, "&tag=t%d&p%d=v", i, i)
		}
		for q, want := range map[string]int{"tag=t1&tag=t2&tag=t1&p1=v&p2=w": 1, "tag=t1&tag=t3": 0, "p1=v&p2=v": 0, "p1=v": 1, "tag=t2": 1, "limit=5" + many.String(): 0} {
			got := c.want(200, c.do("p:member", "GET", "/v2/images?"+q, "")).json(t)["images"].([]any)
			if len(got) != want {
				t.Errorf("%.60s: %d images, want %d", q, len(got), want)
			}
		}
	})
}
