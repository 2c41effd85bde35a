package imagecache

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func disk(data []byte, format string) nodeapi.Disk {
	sum := sha512.Sum512(data)
	return nodeapi.Disk{ImageID: "11111111-2222-4333-8444-555555555555", ImageFormat: format, ImageSize: int64(len(data)),
		ImageSHA512: hex.EncodeToString(sum[:])}
}

func open(t *testing.T, o Options) *Cache {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.GID = -1
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 1
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(data []byte) func(context.Context, string) (io.ReadCloser, error) {
	return func(context.Context, string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func leftovers(t *testing.T, c *Cache) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(c.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestEnsure(t *testing.T) {
	data := bytes.Repeat([]byte("image"), 100_000)
	c := open(t, Options{Open: serve(data)})
	b, err := c.Ensure(t.Context(), disk(data, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(b.Path)
	if err != nil || !bytes.Equal(got, data) || b.VirtualSize != int64(len(data)) || b.Format != "raw" {
		t.Fatalf("%+v, %d bytes, %v", b, len(got), err)
	}
	if st, _ := os.Stat(b.Path); st.Mode().Perm() != 0o440 {
		t.Errorf("mode %v", st.Mode())
	}
	c.o.Open = nil // it is there: nobody is asked
	if again, err := c.Ensure(t.Context(), disk(data, "raw")); err != nil || again.Path != b.Path {
		t.Fatal(again, err)
	}
}

// TestRefused: nothing of a bad image stays, and it is not tried again.
func TestRefused(t *testing.T) {
	data := []byte("image")
	backed := make([]byte, 4096)
	copy(backed, "QFI\xfb\x00\x00\x00\x03")
	binary.BigEndian.PutUint32(backed[20:], 16)
	binary.BigEndian.PutUint32(backed[100:], 104)
	binary.BigEndian.PutUint64(backed[8:], 1024)
	binary.BigEndian.PutUint32(backed[16:], 11)
	copy(backed[1024:], "/etc/shadow")
	for _, c := range []struct {
		name   string
		disk   nodeapi.Disk
		served []byte
		open   error
		want   string
		final  bool
	}{
		{"other data", disk(data, "raw"), []byte("virus"), nil, "SHA-512", true},
		{"longer data", disk(data, "raw"), []byte("image and more"), nil, "SHA-512", true},
		{"cut off", disk(data, "raw"), []byte("ima"), nil, "after 3 of 5 bytes", false},
		{"backing file", disk(backed, "qcow2"), backed, nil, `backing file ("/etc/shadow")`, true},
		{"not qcow2", disk(data, "qcow2"), data, nil, "content is raw", true},
		{"qcow2 as raw", disk(backed, "raw"), backed, nil, "content is qcow2", true},
		{"controller away", disk(data, "raw"), nil, errors.New("connection refused"), "connection refused", false},
		{"image deleted", disk(data, "raw"), nil, nodeapi.ErrNoImage, "does not exist any more", true},
		{"id that is a path", nodeapi.Disk{ImageID: "../../etc"}, nil, nil, "no image id", true},
		{"vmdk", nodeapi.Disk{ImageID: "a", ImageFormat: "vmdk"}, nil, nil, "cannot be run", true},
		{"no checksum", nodeapi.Disk{ImageID: "a", ImageFormat: "raw"}, nil, nil, "no SHA-512", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := open(t, Options{Open: func(ctx context.Context, id string) (io.ReadCloser, error) {
				if c.open != nil {
					return nil, c.open
				}
				return serve(c.served)(ctx, id)
			}})
			_, err := cache.Ensure(t.Context(), c.disk)
			if err == nil || !strings.Contains(err.Error(), c.want) || agent.IsFinal(err) != c.final {
				t.Errorf("error %v (final %v), want %q", err, agent.IsFinal(err), c.want)
			}
			if left := leftovers(t, cache); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestShared: many want one image at once and one download serves all, even when the first gives up.
func TestShared(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 1000)
	opened := make(chan *io.PipeWriter, 10)
	c := open(t, Options{Open: func(context.Context, string) (io.ReadCloser, error) {
		r, w := io.Pipe()
		opened <- w
		return r, nil
	}})
	first, giveUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := c.Ensure(first, disk(data, "raw")); failed <- err }()
	w := <-opened
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if b, err := c.Ensure(t.Context(), disk(data, "raw")); err != nil || b.VirtualSize != 1000 {
				t.Error(b, err)
			}
		})
	}
	waiters := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, l := range c.loading {
			return l.waiters
		}
		return 0
	}
	for waiters() < 21 {
		runtime.Gosched()
	}
	giveUp()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.Write(data)
	w.Close()
	wg.Wait()
	if len(opened) != 0 {
		t.Error("downloaded twice")
	}
}

// TestGiveUp: when nobody waits any more the download ends and leaves nothing.
func TestGiveUp(t *testing.T) {
	opened := make(chan *io.PipeWriter, 1)
	c := open(t, Options{Open: func(context.Context, string) (io.ReadCloser, error) {
		r, w := io.Pipe()
		opened <- w
		return r, nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := c.Ensure(ctx, disk(make([]byte, 100), "raw")); failed <- err }()
	w := <-opened
	c.mu.Lock()
	var l *load
	for _, l = range c.loading {
	}
	c.mu.Unlock()
	cancel()
	<-failed
	<-l.done
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("the download goes on")
	}
	if left := leftovers(t, c); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCrash: what an interrupted download left is removed at the next start.
func TestCrash(t *testing.T) {
	data := []byte("image")
	c := open(t, Options{Open: serve(data)})
	file, _ := name(disk(data, "raw"))
	if err := os.WriteFile(filepath.Join(c.o.Dir, file+partSuffix), []byte("im"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = open(t, Options{Dir: c.o.Dir, Open: serve(data)})
	if left := leftovers(t, c); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
	if _, err := c.Ensure(t.Context(), disk(data, "raw")); err != nil {
		t.Fatal(err)
	}
}

func TestPrune(t *testing.T) {
	now := time.Now()
	used := map[string]bool{}
	c := open(t, Options{Now: func() time.Time { return now }, InUse: func() map[string]bool { return used }})
	var names []string
	for i, data := range []string{"one", "two!", "three"} {
		d := disk([]byte(data), "raw")
		d.ImageID = string(rune('a' + i))
		c.o.Open = serve([]byte(data))
		b, err := c.Ensure(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, b.Name)
		now = now.Add(time.Hour)
	}
	used[names[0]] = true
	if n, err := c.Prune(); n != 0 || err != nil {
		t.Fatalf("pruned %d too early, %v", n, err)
	}
	// Short of space: the one unused for longest goes, and no more than needed.
	if n, err := c.prune(time.Minute, 4); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if left := leftovers(t, c); len(left) != 2 || left[0] != names[0] || left[1] != names[2] {
		t.Fatalf("left: %v", left)
	}
	now = now.Add(30 * time.Hour)
	if n, err := c.Prune(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if left := leftovers(t, c); len(left) != 1 || left[0] != names[0] {
		t.Fatalf("left: %v", left)
	}
}

// TestFullDisk: a small file system is filled for real.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting is not allowed here: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	data := make([]byte, 2<<20)
	c := open(t, Options{Dir: dir, Open: serve(data)})
	_, err := c.Ensure(t.Context(), disk(data, "raw"))
	if !agent.IsFinal(err) || !strings.Contains(err.Error(), "full") {
		t.Errorf("told beforehand: %v", err)
	}
	// The size that the service told was wrong by so much that the check beforehand saw nothing.
	lie := disk(data, "raw")
	c.o.ReserveBytes = -2 << 20
	_, err = c.Ensure(t.Context(), lie)
	if !agent.IsFinal(err) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("while writing: %v", err)
	}
	if left := leftovers(t, c); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
