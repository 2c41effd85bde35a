package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/imagecache"
	"github.com/hanok-cloud/hanok/internal/agent/qmp"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Options configure the driver.
type Options struct {
	Dir    string // guests' disks and logs
	RunDir string // sockets, on a file system that a reboot empties; short, since a socket's path has 108 bytes
	// Images is the cache's directory, and OpenImage streams an image that it lacks.
	Images    string
	OpenImage func(ctx context.Context, imageID string) (io.ReadCloser, error)
	// User is who guests run as, made if missing (hanok-qemu by custom); empty: the agent's own user.
	User string
	// QEMU and QemuImg are programs; empty: found by their usual names.
	QEMU, QemuImg string
	// TBSizeMiB bounds TCG's translation buffer; 0: 64, which costs little time and saves 140 MiB per guest.
	TBSizeMiB int
	// NoKVM never uses KVM.
	NoKVM bool
	// ReservedMemoryMiB of the machine stay free: a guest that would need them is refused; 0: 128.
	ReservedMemoryMiB int64
	// KeepUnusedImages is how long the cache keeps what no guest uses; 0: one day.
	KeepUnusedImages time.Duration
	CgroupRoot       string // empty: /sys/fs/cgroup
	Logger           *slog.Logger
}

// Driver runs the guests of one node. It implements agent.GuestDriver.
type Driver struct {
	o       Options
	account *account
	kvm     func() bool // found out when the first guest is started
	prlimit string
	mke2fs  string
	cache   *imagecache.Cache
	cgroups cgroups
	changed func(id string)
	loops   sync.WaitGroup

	mu sync.Mutex
	m  map[string]*guest
}

var _ agent.GuestDriver = (*Driver)(nil)

// guest is one guest in memory. mu guards the fields; the agent calls one method per guest at a time.
type guest struct {
	id string
	mu sync.Mutex

	there   bool // something of it is on disk
	disks   *diskSet
	proc    *process // nil: it does not run
	mon     *qmp.Client
	paused  bool
	crashed bool
	ports   []string

	stopping  bool   // we are ending it
	shutdown  string // reason of the SHUTDOWN event of this process
	deleted   map[string]chan struct{}
	released  bool // the driver is closed: its connections end, the process does not
	watchDone chan struct{}
}

// New checks what the driver needs and makes its directories.
func New(o Options) (*Driver, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TBSizeMiB == 0 {
		o.TBSizeMiB = 64
	}
	if o.ReservedMemoryMiB == 0 {
		o.ReservedMemoryMiB = 128
	}
	if o.CgroupRoot == "" {
		o.CgroupRoot = "/sys/fs/cgroup"
	}
	d := &Driver{o: o, m: map[string]*guest{}, changed: func(string) {}}
	var err error
	if d.o.QEMU, err = lookPath(o.QEMU, "qemu-system-x86_64", "qemu-system-x86"); err != nil {
		return nil, err
	}
	if d.o.QemuImg, err = lookPath(o.QemuImg, "qemu-img", "qemu-utils"); err != nil {
		return nil, err
	}
	if d.prlimit, err = lookPath("", "prlimit", "util-linux"); err != nil {
		return nil, err
	}
	if path, err := exec.LookPath("mke2fs"); err == nil {
		d.mke2fs = path
	} else if path := "/sbin/mke2fs"; fileExists(path) {
		d.mke2fs = path
	}
	if d.account, err = lookupAccount(o.User); err != nil {
		return nil, err
	}
	d.kvm = sync.OnceValue(d.findKVM)
	for dir, mode := range map[string]os.FileMode{o.Dir: 0o711, o.RunDir: 0o700} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("the guests' directory: %w", err)
		}
	}
	if longest := filepath.Join(o.RunDir, "00000000-0000-0000-0000-000000000000", serialSocket); len(longest) > 107 {
		return nil, fmt.Errorf("the path of the directory %s is too long for sockets: at most %d bytes", o.RunDir, 107-len(longest)+len(o.RunDir))
	}
	gid := -1
	if d.account != nil {
		gid = int(d.account.gid)
	}
	d.cache, err = imagecache.New(imagecache.Options{Dir: o.Images, Open: o.OpenImage, GID: gid, InUse: d.basesInUse,
		KeepUnused: o.KeepUnusedImages, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{o.Dir, o.Images} {
		if err := d.account.reaches(dir); err != nil {
			return nil, err
		}
	}
	d.cgroups = findCgroups(o.CgroupRoot)
	return d, nil
}

// reaches checks that the account may enter a directory: otherwise every guest would fail one by one.
func (a *account) reaches(dir string) error {
	if a == nil {
		return nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for {
		var st unix.Stat_t
		if err := unix.Stat(abs, &st); err != nil {
			return fmt.Errorf("%s: %w", abs, err)
		}
		enter := st.Mode&0o001 != 0
		if st.Uid == a.uid {
			enter = st.Mode&0o100 != 0
		} else if st.Gid == a.gid || slices.Contains(a.groups, st.Gid) {
			enter = st.Mode&0o010 != 0
		}
		if !enter {
			return fmt.Errorf("the user that guests run as cannot enter %s on the way to %s: chmod o+x %s", abs, dir, abs)
		}
		if abs == "/" {
			return nil
		}
		abs = filepath.Dir(abs)
	}
}

func (d *Driver) basesInUse() map[string]bool {
	used := map[string]bool{}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.m {
		g.mu.Lock()
		if g.disks != nil {
			used[g.disks.Base] = true
		}
		g.mu.Unlock()
	}
	return used
}

// guest finds or makes the guest's place in memory.
func (d *Driver) guest(id string) *guest {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.m[id]
	if g == nil {
		g = &guest{id: id}
		d.m[id] = g
	}
	return g
}

// Observe is what is known of a guest; QMP's events and the kernel keep it true.
func (d *Driver) Observe(id string) agent.GuestState {
	d.mu.Lock()
	g := d.m[id]
	d.mu.Unlock()
	if g == nil {
		return agent.GuestState{ID: id}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state()
}

// state is called with g.mu held.
func (g *guest) state() agent.GuestState {
	st := agent.GuestState{ID: g.id}
	if g.disks != nil {
		st.Disks, st.RebuildSeq = true, g.disks.RebuildSeq
	}
	switch {
	case g.proc != nil:
		st.Power, st.RebootSeq, st.Ports = nodeapi.ObservedRunning, g.proc.reboot, slices.Clone(g.ports)
		if g.paused {
			st.Power = nodeapi.ObservedPaused
		}
	case g.crashed:
		st.Power = nodeapi.ObservedCrashed
	case g.there:
		st.Power = nodeapi.ObservedStopped
	}
	return st
}

// Adopt finds what an earlier agent left: directories with disks, and processes.
func (d *Driver) Adopt(ctx context.Context, changed func(id string)) ([]agent.GuestState, error) {
	d.changed = changed
	entries, err := os.ReadDir(d.o.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || checkID(e.Name()) != nil {
			continue
		}
		g := d.guest(e.Name())
		g.there = true
		if g.disks, err = readDisks(d.dir(g.id)); err != nil {
			return nil, fmt.Errorf("guest %s: %w", g.id, err)
		}
	}
	pids, err := scan(d.o.Dir)
	if err != nil {
		return nil, err
	}
	var adopting sync.WaitGroup
	for id, pid := range pids {
		p, err := watch(pid, id, d.o.Dir)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		g := d.guest(id)
		g.proc = p
		adopting.Go(func() { d.adopt(ctx, g) })
	}
	adopting.Wait()
	d.sweepRunDir()
	if err := os.Remove(d.probeFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	context.AfterFunc(ctx, d.release)
	d.loops.Go(func() { d.maintain(ctx) })
	d.mu.Lock()
	defer d.mu.Unlock()
	var states []agent.GuestState
	for _, g := range d.m {
		g.mu.Lock()
		states = append(states, g.state())
		g.mu.Unlock()
	}
	return states, nil
}

// adoptTimeout is how long a process may take to answer its new agent.
const adoptTimeout = 10 * time.Second

// adopt asks a process how it is. One that does not answer is still the guest: it runs as far as anybody can
// tell, and can be stopped.
func (d *Driver) adopt(ctx context.Context, g *guest) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	log := d.o.Logger.With("guest", g.id, "pid", g.proc.pid)
	mon, err := d.connect(ctx, g, g.proc)
	if err == nil {
		err = d.look(ctx, g, mon)
	}
	if err != nil {
		log.Error("a guest's process was found but does not answer", "error", err)
	} else {
		log.Info("guest adopted", "power", g.state().Power)
	}
	d.follow(g, g.proc)
}

// look asks for the guest's state and devices.
func (d *Driver) look(ctx context.Context, g *guest, mon *qmp.Client) error {
	var uuid struct{ UUID string }
	if err := mon.Do(ctx, "query-uuid", nil, &uuid); err != nil {
		return err
	}
	if uuid.UUID != g.id {
		return fmt.Errorf("the process answers as guest %s", uuid.UUID)
	}
	paused, err := queryPaused(ctx, mon)
	if err != nil {
		return err
	}
	ports, err := nics(ctx, mon)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused, g.ports = paused, ports
	return nil
}

// sweepRunDir removes sockets of processes that have ended.
func (d *Driver) sweepRunDir() {
	entries, err := os.ReadDir(d.o.RunDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if checkID(e.Name()) != nil {
			continue
		}
		d.mu.Lock()
		g := d.m[e.Name()]
		d.mu.Unlock()
		if g == nil || g.proc == nil {
			os.RemoveAll(filepath.Join(d.o.RunDir, e.Name()))
			d.cgroups.remove(e.Name())
		}
	}
}

// release lets go of all processes: they run on, and another agent may adopt them.
func (d *Driver) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.m {
		g.mu.Lock()
		g.released = true
		if g.mon != nil {
			g.mon.Close()
			g.mon = nil
		}
		if g.proc != nil {
			g.proc.release()
		}
		g.mu.Unlock()
	}
}

// Wait waits until the driver has let go of everything after the context of Adopt ended.
func (d *Driver) Wait() { d.loops.Wait() }

// maintain does what recurs: logs are kept short and unused images removed.
func (d *Driver) maintain(ctx context.Context) {
	logs, images := time.NewTicker(10*time.Second), time.NewTicker(time.Hour)
	defer logs.Stop()
	defer images.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-logs.C:
			d.trimLogs()
		case <-images.C:
			if _, err := d.cache.Prune(); err != nil {
				d.o.Logger.Warn("unused images could not be removed", "error", err)
			}
		}
	}
}

// Remove ends the guest and removes all that is its own.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return nil // no such guest can be here
	}
	if err := d.Stop(ctx, id, 0); err != nil {
		return err
	}
	// disks.json first: half of a guest's disks must not be taken for all of them.
	if err := os.Remove(filepath.Join(d.dir(id), disksFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("guest %s: %w", id, err)
	}
	for _, dir := range []string{d.dir(id), filepath.Join(d.o.RunDir, id)} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("guest %s: %w", id, err)
		}
	}
	d.cgroups.remove(id)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, id)
	return syncDir(d.o.Dir)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
