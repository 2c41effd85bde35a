// Package netns holds what every part of the data plane needs to act in a network namespace: opening,
// making and removing named ones, running a function or an nft transaction inside, sysctls and veth
// pairs. It must not know what a namespace is for (routers, DHCP, guests are its callers').
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is an open network namespace. It keeps the namespace alive until Close.
type NS struct {
	handle vnetns.NsHandle
	mu     sync.Mutex
	nl     *netlink.Handle
}

// Current opens the namespace of the calling thread.
func Current() (*NS, error) {
	h, err := vnetns.Get()
	if err != nil {
		return nil, fmt.Errorf("open this thread's network namespace: %w", err)
	}
	return &NS{handle: h}, nil
}

// Anonymous makes a namespace without a name: it vanishes with the last handle, socket and process in it.
func Anonymous() (*NS, error) {
	return makeNS(func(int) error { return nil })
}

// makeNS unshares a thread of its own, which ends with its goroutine, and lets keep pin the namespace by
// the thread's id before it does.
func makeNS(keep func(tid int) error) (*NS, error) {
	var ns *NS
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not run anything else afterwards
		errc <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("make a network namespace: %w", err)
			}
			h, err := vnetns.Get()
			if err != nil {
				return err
			}
			ns = &NS{handle: h}
			return keep(unix.Gettid())
		}()
	}()
	if err := <-errc; err != nil {
		if ns != nil {
			ns.Close()
		}
		return nil, err
	}
	nl, err := ns.Netlink()
	if err == nil {
		var lo netlink.Link
		if lo, err = nl.LinkByName("lo"); err == nil {
			err = nl.LinkSetUp(lo)
		}
	}
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("bring up lo in a new network namespace: %w", err)
	}
	return ns, nil
}

// Fd is the namespace's descriptor, for moving links into it.
func (ns *NS) Fd() int { return int(ns.handle) }

// Same tells whether two handles are of one namespace.
func (ns *NS) Same(other *NS) bool { return ns.handle.Equal(other.handle) }

// Netlink is a netlink handle whose sockets live in the namespace; it is made once and closed by Close.
func (ns *NS) Netlink() (*netlink.Handle, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.nl == nil {
		h, err := netlink.NewHandleAt(ns.handle, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
		if err != nil {
			return nil, fmt.Errorf("open netlink in the network namespace: %w", err)
		}
		// Dumps larger than the default receive buffer are otherwise cut short with ENOBUFS.
		_ = h.SetSocketReceiveBufferSize(4<<20, true)
		ns.nl = h
	}
	return ns.nl, nil
}

// Close gives the handle back.
func (ns *NS) Close() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.nl != nil {
		ns.nl.Close()
		ns.nl = nil
	}
	if ns.handle.IsOpen() {
		_ = ns.handle.Close()
	}
}

// Do runs fn on a thread that is in the namespace. Sockets opened and processes started by fn itself, not
// by goroutines it starts, belong to the namespace.
func (ns *NS) Do(fn func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := vnetns.Get()
		if err != nil {
			errc <- err
			return
		}
		defer home.Close()
		if err := vnetns.Set(ns.handle); err != nil {
			errc <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = fn()
		// A thread that cannot return stays locked and ends with this goroutine.
		if vnetns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		errc <- err
	}()
	return <-errc
}

// Sysctl sets net.* keys in the namespace: "ipv4/ip_forward" to "1".
func (ns *NS) Sysctl(key, value string) error {
	return ns.Do(func() error {
		p := filepath.Join("/proc/sys/net", key)
		if old, err := os.ReadFile(p); err == nil && len(old) > 0 && string(old[:len(old)-1]) == value {
			return nil
		}
		if err := os.WriteFile(p, []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl net/%s to %s: %w", key, value, err)
		}
		return nil
	})
}

// Dir is a folder of named namespaces, as ip-netns(8) keeps them.
type Dir string

// DefaultDir is the folder that the ip command uses.
const DefaultDir Dir = "/run/netns"

// Open opens a named namespace; the error is fs.ErrNotExist when there is none.
func (d Dir) Open(name string) (*NS, error) {
	p := filepath.Join(string(d), name)
	if ok, err := isNS(p); err != nil {
		return nil, err
	} else if !ok {
		return nil, fmt.Errorf("network namespace %s: %w", name, fs.ErrNotExist)
	}
	h, err := vnetns.GetFromPath(p)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	return &NS{handle: h}, nil
}

// isNS tells whether a path is a mounted namespace: after a crash between creating the file and mounting,
// or a reboot, it is an empty file.
func isNS(p string) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(p, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "statfs", Path: p, Err: err}
	}
	return st.Type == unix.NSFS_MAGIC, nil
}

// Ensure opens a named namespace and makes it when there is none.
func (d Dir) Ensure(name string) (*NS, error) {
	ns, err := d.Open(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return ns, err
	}
	if err := d.share(); err != nil {
		return nil, err
	}
	p := filepath.Join(string(d), name)
	f, err := os.OpenFile(p, os.O_RDONLY|os.O_CREATE, 0)
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	f.Close()
	return makeNS(func(tid int) error {
		src := fmt.Sprintf("/proc/self/task/%d/ns/net", tid)
		if err := unix.Mount(src, p, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("name network namespace %s: %w", name, err)
		}
		return nil
	})
}

// share makes the folder a shared mount, as ip-netns(8) does, so that a namespace made or removed here is
// made or removed in the mount namespaces of other processes too.
func (d Dir) share() error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return err
	}
	err := unix.Mount("", string(d), "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(string(d), string(d), "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", string(d), "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", d, err)
	}
	return nil
}

// Remove takes a name away; without processes, sockets and handles the namespace goes with it.
func (d Dir) Remove(name string) error {
	p := filepath.Join(string(d), name)
	if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	return nil
}

// List names the namespaces, empty left-over files included.
func (d Dir) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
