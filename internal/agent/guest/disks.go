package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/configdrive"
	"github.com/hanok-cloud/hanok/internal/agent/imagecache"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// diskSet is disks.json: which files are the guest's disks. It is written when they are complete, and is the
// only thing that tells so.
type diskSet struct {
	RebuildSeq int64  `json:"rebuild_seq"`
	Base       string `json:"base"` // file in the image cache
	BaseFormat string `json:"base_format"`
	Root       string `json:"root"`
	Ephemeral  string `json:"ephemeral,omitempty"`
	Swap       string `json:"swap,omitempty"`
	Config     string `json:"config,omitempty"`
}

const disksFile = "disks.json"

func (s diskSet) files() []string {
	var names []string
	for _, n := range []string{s.Root, s.Ephemeral, s.Swap, s.Config} {
		if n != "" {
			names = append(names, n)
		}
	}
	return names
}

// arguments are the disks in the order the guest sees them: vda root, then ephemeral and swap as upstream
// orders them, the config drive last.
func (s diskSet) arguments(dir, cacheDir string) []diskArgs {
	path := func(name string) string { return filepath.Join(dir, name) }
	disks := []diskArgs{{Node: "root", Path: path(s.Root), Format: "qcow2", Boot: true,
		Base: &baseArgs{Path: filepath.Join(cacheDir, s.Base), Format: s.BaseFormat}}}
	if s.Ephemeral != "" {
		disks = append(disks, diskArgs{Node: "ephemeral0", Path: path(s.Ephemeral), Format: "raw"})
	}
	if s.Swap != "" {
		disks = append(disks, diskArgs{Node: "swap", Path: path(s.Swap), Format: "raw"})
	}
	if s.Config != "" {
		disks = append(disks, diskArgs{Node: "config", Path: path(s.Config), Format: "raw", ReadOnly: true})
	}
	return disks
}

// readDisks reads a guest's disks.json; nil when its disks are not complete.
func readDisks(dir string) (*diskSet, error) {
	raw, err := os.ReadFile(filepath.Join(dir, disksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s diskSet
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, disksFile), err)
	}
	for _, name := range s.files() {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return &s, nil
}

// EnsureImage brings the base image into the cache.
func (d *Driver) EnsureImage(ctx context.Context, g *nodeapi.Guest) error {
	_, err := d.cache.Ensure(ctx, g.Root)
	return err
}

// EnsureDisks makes the guest's disks.
func (d *Driver) EnsureDisks(ctx context.Context, g *nodeapi.Guest, files map[string][]byte) error {
	if err := checkID(g.ID); err != nil {
		return err
	}
	m := d.guest(g.ID)
	m.mu.Lock()
	up, have := m.proc != nil, m.disks
	m.mu.Unlock()
	if have != nil && have.RebuildSeq == g.RebuildSeq {
		return nil
	}
	if up {
		return fmt.Errorf("guest %s runs: its disks are not to be replaced", g.ID)
	}
	base, err := d.cache.Lookup(g.Root)
	if err != nil {
		return err
	}
	if base == nil {
		return fmt.Errorf("image %s is not in the cache any more", g.Root.ImageID)
	}
	size, err := rootSize(g.Root.SizeGiB, base)
	if err != nil {
		return err
	}
	set, err := d.makeDisks(ctx, g, base, size, files)
	if err != nil {
		return fullDisk(g.ID, err)
	}
	m.mu.Lock()
	m.disks, m.there = set, true
	m.mu.Unlock()
	return nil
}

// rootSize is the root disk's virtual size.
func rootSize(gib int64, base *imagecache.Base) (int64, error) {
	if gib == 0 {
		return (base.VirtualSize + 511) &^ 511, nil
	}
	if size := gib << 30; size < base.VirtualSize {
		// nova.exception.FlavorDiskSmallerThanImage
		return 0, agent.Final("Choose a flavor with a larger disk.",
			"Flavor's disk is too small for requested image. Flavor disk is %d bytes, image is %d bytes.", size, base.VirtualSize)
	}
	return gib << 30, nil
}

// fullDisk makes a full file system a final fault.
func fullDisk(id string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || strings.Contains(strings.ToLower(err.Error()), "no space left on device") {
		return agent.Final("Free space in the node's data directory, or delete servers there; then rebuild or delete the server.",
			"guest %s: the node's disk is full: %w", id, err)
	}
	return err
}

func (d *Driver) dir(id string) string { return filepath.Join(d.o.Dir, id) }

// makeDisks makes all files and then says so in disks.json. After an error nothing new is left.
func (d *Driver) makeDisks(ctx context.Context, g *nodeapi.Guest, base *imagecache.Base, size int64, files map[string][]byte) (_ *diskSet, err error) {
	dir := d.dir(g.ID)
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	if err := os.Mkdir(dir, 0o710); err == nil {
		undo = append(undo, func() { os.RemoveAll(dir) })
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("guest %s: %w", g.ID, err)
	}
	if err := d.own(dir, false); err != nil {
		return nil, err
	}
	set := &diskSet{RebuildSeq: g.RebuildSeq, Base: base.Name, BaseFormat: base.Format}
	file := func(name, suffix string) string { return fmt.Sprintf("%s-%d.%s", name, g.RebuildSeq, suffix) }
	create := func(name string, fill func(path string) error) error {
		path := filepath.Join(dir, name)
		undo = append(undo, func() { os.Remove(path) })
		return d.createFile(path, fill)
	}

	set.Root = file("root", "qcow2")
	if err := create(set.Root, func(path string) error { return d.qemuImgCreate(ctx, path, base, size) }); err != nil {
		return nil, fmt.Errorf("guest %s: root disk: %w", g.ID, err)
	}
	if g.EphemeralGiB > 0 {
		set.Ephemeral = file("ephemeral0", "raw")
		if err := create(set.Ephemeral, func(path string) error { return d.makeEphemeral(ctx, path, g.EphemeralGiB<<30) }); err != nil {
			return nil, fmt.Errorf("guest %s: ephemeral disk: %w", g.ID, err)
		}
	}
	if g.SwapMiB > 0 {
		set.Swap = file("swap", "raw")
		if err := create(set.Swap, func(path string) error { return makeSwap(path, g.SwapMiB<<20) }); err != nil {
			return nil, fmt.Errorf("guest %s: swap disk: %w", g.ID, err)
		}
	}
	if g.ConfigDrive {
		set.Config = file("config", "iso")
		if err := create(set.Config, func(path string) error { return configdrive.Write(path, files) }); err != nil {
			return nil, fmt.Errorf("guest %s: config drive: %w", g.ID, err)
		}
	}
	raw, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, disksFile), raw); err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.ID, err)
	}
	if err := syncDir(d.o.Dir); err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.ID, err)
	}
	d.removeOldDisks(dir, set)
	return set, nil
}

// createFile makes a file for the guest's user and lets fill make its content; it is on disk then.
func (d *Driver) createFile(path string, fill func(path string) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.own(path, true); err != nil {
		return err
	}
	if err := fill(path); err != nil {
		return err
	}
	// configdrive and others may have put another file in its place.
	if err := d.own(path, true); err != nil {
		return err
	}
	return syncFile(path)
}

// own gives a file to the guests' user; a directory stays root's and can be entered by the user's group.
func (d *Driver) own(path string, file bool) error {
	if d.account == nil {
		return nil
	}
	uid := -1
	if file {
		uid = int(d.account.uid)
	}
	return os.Chown(path, uid, int(d.account.gid))
}

// removeOldDisks removes what a rebuild replaced.
func (d *Driver) removeOldDisks(dir string, set *diskSet) {
	keep := map[string]bool{disksFile: true, consoleFile: true, consoleFile + ".1": true, qemuLog: true}
	for _, n := range set.files() {
		keep[n] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// qemuImgCreate makes an overlay. The image is named with its format and, thanks to -u, not even opened: its
// size we know from the cache.
func (d *Driver) qemuImgCreate(ctx context.Context, path string, base *imagecache.Base, size int64) error {
	return d.confined(ctx, d.o.QemuImg, "create", "-q", "-u", "-f", "qcow2", "-b", base.Path, "-F", base.Format,
		path, fmt.Sprint(size))
}

// makeEphemeral makes an ext4 file system labelled as upstream's default_ephemeral_format does it. Where mke2fs is
// missing the disk is blank, and the guest may format it.
func (d *Driver) makeEphemeral(ctx context.Context, path string, size int64) error {
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	if d.mke2fs == "" {
		return nil
	}
	return d.confined(ctx, d.mke2fs, "-q", "-F", "-t", "ext4", "-L", "ephemeral0", "-E", "nodiscard,lazy_itable_init=1", path)
}

// makeSwap writes a swap area's header as mkswap does: version 1, and the signature at the end of the first page.
func makeSwap(path string, size int64) error {
	const page = 4096
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	head := make([]byte, page)
	last := uint32(size/page - 1)
	head[1024] = 1
	head[1028], head[1029], head[1030], head[1031] = byte(last), byte(last>>8), byte(last>>16), byte(last>>24)
	copy(head[page-10:], "SWAPSPACE2")
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(head, 0)
	return err
}

// confined runs a tool as the guests' user under resource limits.
func (d *Driver) confined(ctx context.Context, path string, args ...string) error {
	stderr, err := os.CreateTemp("", "hanok-tool-*")
	if err != nil {
		return err
	}
	os.Remove(stderr.Name())
	defer stderr.Close()
	// prlimit sets its own limits and becomes the tool: no moment is without them.
	l := launch{path: d.prlimit, args: append([]string{"--as=2147483648", "--cpu=120", "--nofile=64", "--core=0", path}, args...),
		stderr: stderr, account: d.account}
	pid, err := l.start()
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.Kill() })
	st, err := p.Wait()
	stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if !st.Success() {
		return fmt.Errorf("%s: %s: %s", filepath.Base(path), st, lastLines(stderr, 0))
	}
	return nil
}

// writeFile replaces a file's content in one step that survives a power cut.
func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := syncFile(tmp); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func syncDir(dir string) error { return syncFile(dir) }

// checkID refuses what is no UUID: ids become names of directories and options.
func checkID(id string) error {
	if len(id) != 36 || bytes.ContainsFunc([]byte(id), func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'f')
	}) {
		return agent.Final("", "%q is no id of a guest", id)
	}
	return nil
}

// LookPath finds the programs that the driver needs.
func lookPath(given, name, debian string) (string, error) {
	if given == "" {
		given = name
	}
	path, err := exec.LookPath(given)
	if err != nil {
		return "", fmt.Errorf("the program %s is missing: install it (Debian: %s): %w", name, debian, err)
	}
	return path, nil
}
