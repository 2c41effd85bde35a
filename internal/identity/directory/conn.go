package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// maxPacket bounds what one message of a server may make this program allocate.
const maxPacket = 16 << 20

// maxNesting is more than any message of LDAP needs. The decoder keeps a copy of what is inside at each level, so a thousand of them, which it
// takes by itself, would be a thousand times maxPacket.
const maxNesting = 12

// boundPackets sets the decoder's limits, which have no other place than variables of its package.
var boundPackets = sync.OnceFunc(func() { ber.MaxPacketLengthBytes, ber.MaxNestingDepth = maxPacket, maxNesting })

// pool lends connections, a bounded number of them at a time, and keeps them for the next borrower if it may.
type pool struct {
	d       *Directory
	slots   chan struct{}
	keep    bool
	life    time.Duration
	service bool // connections are bound as the account that searches

	mu     sync.Mutex
	idle   []*link
	closed bool
}

type link struct {
	*ldap.Conn
	born time.Time
}

func newPool(d *Directory, size int, keep bool, life time.Duration, service bool) *pool {
	return &pool{d: d, slots: make(chan struct{}, size), keep: keep, life: life, service: service}
}

// use runs fn with a connection. One that was kept may have been closed by the server meanwhile: then fn runs once more with a new one, so it must be
// a question that may be asked twice.
func (p *pool) use(ctx context.Context, fn func(*ldap.Conn) error) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("all %d connections are in use (pool_size, auth_pool_size): %w", cap(p.slots), ctx.Err())
	}
	defer func() { <-p.slots }()
	if c := p.take(); c != nil {
		err := fn(c.Conn)
		p.put(c, err)
		if !broken(err) || ctx.Err() != nil {
			return err
		}
	}
	nc, err := p.d.connect(ctx, p.service)
	if err != nil {
		return err
	}
	c := &link{nc, time.Now()}
	err = fn(c.Conn)
	p.put(c, err)
	if broken(err) && !errors.Is(err, errTooMany) {
		p.d.rest(err)
	}
	return err
}

// rest leaves the directory alone for a while.
func (d *Directory) rest(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down, d.downErr = time.Now().Add(restFor), err
}

func (p *pool) take() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !c.IsClosing() && time.Since(c.born) < p.life {
			return c
		}
		_ = c.Close()
	}
	return nil
}

func (p *pool) put(c *link, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.keep || p.closed || broken(err) || c.IsClosing() || time.Since(c.born) >= p.life {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}

// broken tells errors of the connection, or answers that make no sense, from answers of the server.
func broken(err error) bool {
	if err == nil {
		return false
	}
	var e *ldap.Error
	return !errors.As(err, &e) || e.ResultCode >= ldap.ErrorNetwork
}

// connect opens a connection to the first server that takes it.
func (d *Directory) connect(ctx context.Context, service bool) (*ldap.Conn, error) {
	d.mu.Lock()
	down, last := d.down, d.downErr
	d.mu.Unlock()
	if time.Now().Before(down) {
		return nil, last
	}
	began := time.Now()
	tries := 1
	if d.o.Pool {
		tries = d.o.PoolRetryMax
	}
	var errs []error
	for i := range tries {
		if i > 0 && !pause(ctx, time.Duration(d.o.PoolRetryDelay*float64(time.Second))) {
			break
		}
		errs = nil
		for _, s := range d.servers {
			c, err := d.dial(ctx, s, service)
			if err == nil {
				return c, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", s.url, err))
		}
	}
	err := fmt.Errorf("no server answers: %w", errors.Join(errs...))
	if ctx.Err() == nil || time.Since(began) >= d.timeout { // else the time was spent elsewhere
		d.rest(err)
	}
	return nil, err
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *Directory) dial(ctx context.Context, s server, service bool) (*ldap.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, s.network, s.addr)
	if err != nil {
		return nil, err
	}
	// The handshakes have no limit of their own.
	if err := nc.SetDeadline(time.Now().Add(d.timeout)); err != nil {
		_ = nc.Close()
		return nil, err
	}
	cfg := d.tls.Clone()
	cfg.ServerName = s.host
	raw := net.Conn(&impatient{nc, d.timeout})
	if s.tls {
		t := tls.Client(raw, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, err
		}
		raw = t
	}
	c := ldap.NewConn(raw, s.tls)
	c.SetTimeout(d.timeout)
	c.Start()
	if d.o.StartTLS {
		err = c.StartTLS(cfg)
	}
	if err == nil && service && d.o.User != "" && d.o.Password != "" {
		if err = c.Bind(d.o.User, d.o.Password); ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
			err = errors.New("the account that searches ([ldap] user, password) is refused")
		}
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// impatient gives up writing to a peer that does not read; the library would wait for it.
type impatient struct {
	net.Conn
	limit time.Duration
}

func (c *impatient) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// bind asks whether an account has a password.
func (d *Directory) bind(ctx context.Context, dn, password string) (bool, error) {
	err := d.auth.use(ctx, func(c *ldap.Conn) error { return c.Bind(dn, password) })
	switch {
	case err == nil:
		return true, nil
	// Wrong, no such entry, an entry that cannot bind, and what servers say of locked and expired accounts.
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultConstraintViolation, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultInvalidDNSyntax):
		return false, nil
	}
	return false, fmt.Errorf("bind: %w", err)
}

func hasZero(s string) bool { return strings.Contains(s, "\x00") }
