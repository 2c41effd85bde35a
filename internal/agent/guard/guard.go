// Package guard bounds what one guest may take of the services that its network's namespaces offer: they run in the agent's process, whose files and
// memory belong to all guests. It must not know what the services say.
package guard

import (
	"net"
	"net/netip"
	"sync"
)

// MaxConnections is how many connections one address may have open. A guest that opens more would take files and memory that belong to all.
const MaxConnections = 32

// Listener closes what one address opens beyond MaxConnections. Each network and router has a listener of its own, so that an address is one guest's.
func Listener(l net.Listener) net.Listener {
	return &limited{Listener: l, open: map[netip.Addr]int{}}
}

type limited struct {
	net.Listener
	mu   sync.Mutex
	open map[netip.Addr]int
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, _ := netip.ParseAddrPort(c.RemoteAddr().String()) // of TCP, so it is one
		if l.enter(from.Addr()) {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { l.leave(from.Addr()) })}, nil
		}
		_ = c.Close()
	}
}

func (l *limited) enter(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a] >= MaxConnections {
		return false
	}
	l.open[a]++
	return true
}

func (l *limited) leave(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[a]--; l.open[a] == 0 {
		delete(l.open, a)
	}
}

type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
