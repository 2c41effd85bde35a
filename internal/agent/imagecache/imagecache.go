// Package imagecache keeps one copy of each image on a node, as guests' disks are laid over it. A file in
// the cache is complete, has the SHA-512 that the image service recorded, is what its format says and is
// never written again. It must not know guests or QEMU: its owner says which files are in use.
package imagecache

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/imagefmt"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Options configure a cache.
type Options struct {
	Dir string
	// Open streams an image from the image service.
	Open func(ctx context.Context, imageID string) (io.ReadCloser, error)
	// GID is the group of the user that guests run as; it may read the files. Negative: left as it is.
	GID int
	// InUse lists the names of files that guests' disks lie over; nil: none.
	InUse func() map[string]bool
	// KeepUnused is how long a file that nothing uses is kept (upstream's
	// remove_unused_original_minimum_age_seconds); 0: one day.
	KeepUnused time.Duration
	// ReserveBytes of the file system stay free for guests' own writes; 0: 256 MiB.
	ReserveBytes int64
	Now          func() time.Time
	Logger       *slog.Logger
}

// Cache is the cache of one node.
type Cache struct {
	o       Options
	mu      sync.Mutex
	loading map[string]*load
}

// load is a download that several guests wait for. It ends when the last one has given up.
type load struct {
	done    chan struct{}
	err     error
	waiters int
	cancel  context.CancelFunc
}

// Base is a cached image.
type Base struct {
	Name string // of the file in the cache's directory
	Path string
	// Format is raw or qcow2, VirtualSize in bytes.
	Format      string
	VirtualSize int64
}

const partSuffix = ".part"

// New opens the cache and removes what interrupted downloads left.
func New(o Options) (*Cache, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.KeepUnused == 0 {
		o.KeepUnused = 24 * time.Hour
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 256 << 20
	}
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	parts, err := filepath.Glob(filepath.Join(o.Dir, "*"+partSuffix))
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	for _, p := range parts {
		if err := os.Remove(p); err != nil {
			return nil, fmt.Errorf("image cache: %w", err)
		}
	}
	return &Cache{o: o, loading: map[string]*load{}}, nil
}

// name is the file of an image. The checksum is in it, so that an image whose data were replaced is another file.
func name(d nodeapi.Disk) (string, error) {
	if d.ImageID == "" || strings.ContainsFunc(d.ImageID, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return "", agent.Final("", "%q is no image id", d.ImageID)
	}
	if d.ImageFormat != imagefmt.Raw && d.ImageFormat != imagefmt.QCOW2 {
		return "", agent.Final("Convert the image to qcow2 or raw and upload it again.",
			"image %s: a disk of format %q cannot be run", d.ImageID, d.ImageFormat)
	}
	if raw, err := hex.DecodeString(d.ImageSHA512); err != nil || len(raw) != sha512.Size {
		return "", agent.Final("Upload the image again.", "image %s: the image service has no SHA-512 of it", d.ImageID)
	}
	return d.ImageID + "-" + strings.ToLower(d.ImageSHA512[:16]) + "." + d.ImageFormat, nil
}

// Lookup finds an image that is in the cache; nil if it is not.
func (c *Cache) Lookup(d nodeapi.Disk) (*Base, error) {
	file, err := name(d)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.o.Dir, file)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	defer f.Close()
	size, err := check(f, d)
	if err != nil {
		return nil, err
	}
	return &Base{Name: file, Path: path, Format: d.ImageFormat, VirtualSize: size}, nil
}

// check says how large a disk the file is, if it is what it is declared to be.
func check(f *os.File, d nodeapi.Disk) (int64, error) {
	info, err := imagefmt.InspectReader(f)
	if err == nil {
		err = info.Check(d.ImageFormat)
	}
	if err != nil {
		return 0, agent.Final("Upload a self-contained image of the declared format.", "image %s: %w", d.ImageID, err)
	}
	if d.ImageFormat == imagefmt.QCOW2 {
		return info.QCOW2.VirtualSize, nil
	}
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("image cache: %w", err)
	}
	return st.Size(), nil
}

// Ensure returns the image, downloading it if need be. Those who want the same image at the same time share
// one download.
func (c *Cache) Ensure(ctx context.Context, d nodeapi.Disk) (*Base, error) {
	file, err := name(d)
	if err != nil {
		return nil, err
	}
	for {
		if b, err := c.Lookup(d); b != nil || err != nil {
			if b != nil {
				now := c.o.Now()
				err = os.Chtimes(b.Path, now, now) // its age counts from the last use
			}
			return b, err
		}
		if err := c.join(ctx, file, d); err != nil {
			return nil, err
		}
	}
}

// join waits for the file's download, and begins it if nobody has.
func (c *Cache) join(ctx context.Context, file string, d nodeapi.Disk) error {
	c.mu.Lock()
	l := c.loading[file]
	if l == nil {
		// The download must outlive the guest that asked first, if others wait for it.
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		l = &load{done: make(chan struct{}), cancel: cancel}
		c.loading[file] = l
		go func() {
			err := c.download(shared, file, d)
			cancel()
			c.mu.Lock()
			l.err = err
			delete(c.loading, file)
			c.mu.Unlock()
			close(l.done)
		}()
	}
	l.waiters++
	c.mu.Unlock()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if l.waiters--; l.waiters == 0 {
			l.cancel()
		}
		return ctx.Err()
	}
}

// download writes the image beside its place and moves it there when it is on disk and verified.
func (c *Cache) download(ctx context.Context, file string, d nodeapi.Disk) (err error) {
	if err := c.makeRoom(d.ImageSize); err != nil {
		return err
	}
	path := filepath.Join(c.o.Dir, file)
	part := path + partSuffix
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return full(fmt.Errorf("image cache: %w", err))
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(part)
		}
	}()
	begun := c.o.Now()
	src, err := c.o.Open(ctx, d.ImageID)
	if err != nil {
		if errors.Is(err, nodeapi.ErrNoImage) {
			return agent.Final("Choose another image, then rebuild or delete the server.", "image %s does not exist any more: %w", d.ImageID, err)
		}
		return fmt.Errorf("image %s: %w", d.ImageID, err)
	}
	defer src.Close()
	stop := context.AfterFunc(ctx, func() { src.Close() })
	defer stop()
	sum := sha512.New()
	// One byte more than there should be is enough to know that it is another image.
	n, err := io.CopyBuffer(writerOnly{io.MultiWriter(f, sum)}, readerOnly{io.LimitReader(src, d.ImageSize+1)}, make([]byte, 256<<10))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return full(fmt.Errorf("image %s: downloading: %w", d.ImageID, err))
	}
	if n < d.ImageSize {
		return fmt.Errorf("image %s: the download ended after %d of %d bytes", d.ImageID, n, d.ImageSize)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != d.ImageSize || !strings.EqualFold(got, d.ImageSHA512) {
		return agent.Final("The image's data are damaged where the image service keeps them: upload the image again.",
			"image %s: the downloaded data do not have the recorded SHA-512 and size (%s… of %d bytes, not %.16s… of %d)",
			d.ImageID, got[:16], n, d.ImageSHA512, d.ImageSize)
	}
	if _, err := check(f, d); err != nil {
		return err
	}
	if c.o.GID >= 0 {
		if err := f.Chown(-1, c.o.GID); err != nil {
			return fmt.Errorf("image cache: %w", err)
		}
	}
	if err := f.Chmod(0o440); err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	if err := f.Sync(); err != nil {
		return full(fmt.Errorf("image cache: %w", err))
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	c.o.Logger.Info("image cached", "image", d.ImageID, "bytes", n, "took", c.o.Now().Sub(begun))
	return syncDir(c.o.Dir)
}

// writerOnly and readerOnly keep io.Copy from shortcuts that would pass the hash by.
type writerOnly struct{ io.Writer }
type readerOnly struct{ io.Reader }

// full makes "no space left" final, with what to do about it.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return agent.Final("Free space in the node's data directory, or delete servers there; then start, rebuild or delete the server.",
			"the node's disk is full: %w", err)
	}
	return err
}

// makeRoom removes unused images when the new one would not fit.
func (c *Cache) makeRoom(size int64) error {
	free, err := freeBytes(c.o.Dir)
	if err != nil {
		return err
	}
	if free >= size+c.o.ReserveBytes {
		return nil
	}
	if _, err := c.prune(time.Minute, size+c.o.ReserveBytes-free); err != nil {
		return err
	}
	if free, err = freeBytes(c.o.Dir); err != nil {
		return err
	}
	if free < size+c.o.ReserveBytes {
		return full(fmt.Errorf("image cache: %d MiB are free in %s and %d MiB needed, of which %d stay in reserve: %w",
			free>>20, c.o.Dir, (size+c.o.ReserveBytes)>>20, c.o.ReserveBytes>>20, syscall.ENOSPC))
	}
	return nil
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("image cache: %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Prune removes what nothing has used for KeepUnused.
func (c *Cache) Prune() (removed int, err error) { return c.prune(c.o.KeepUnused, -1) }

// prune removes unused files, those first whose last use is longest ago, until so many bytes are free; all
// of them if need is negative.
func (c *Cache) prune(minAge time.Duration, need int64) (removed int, err error) {
	entries, err := os.ReadDir(c.o.Dir)
	if err != nil {
		return 0, fmt.Errorf("image cache: %w", err)
	}
	var used map[string]bool
	if c.o.InUse != nil {
		used = c.o.InUse()
	}
	var candidates []fs.FileInfo
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !st.Mode().IsRegular() || strings.HasSuffix(e.Name(), partSuffix) || used[e.Name()] {
			continue
		}
		// A file of a moment ago is about to be used: a guest's disk is made right after its image.
		if c.o.Now().Sub(st.ModTime()) >= minAge {
			candidates = append(candidates, st)
		}
	}
	slices.SortFunc(candidates, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, st := range candidates {
		if need == 0 {
			break
		}
		if err := os.Remove(filepath.Join(c.o.Dir, st.Name())); err != nil {
			return removed, fmt.Errorf("image cache: %w", err)
		}
		removed++
		if need > 0 {
			need = max(0, need-st.Size())
		}
		c.o.Logger.Info("unused image removed from the cache", "file", st.Name(), "bytes", st.Size())
	}
	return removed, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
