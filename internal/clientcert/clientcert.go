// Package clientcert tells which certificate a TLS client has proved to be its own, and whether an authority that counts has signed it. A listener
// asks every client for a certificate and takes any; who must have signed it depends on what the client then asks for, so that is looked at with each
// request. It must not know what a certificate is good for.
package clientcert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Authorities are whose certificates count. The nil value trusts nobody.
type Authorities struct {
	now  func() time.Time
	path string // empty: the pool never changes
	log  *slog.Logger

	mu    sync.Mutex
	pool  *x509.CertPool
	mtime time.Time
	size  int64
	bad   string // what was wrong with the file when it was last read
}

// Of trusts a pool.
func Of(pool *x509.CertPool, now func() time.Time) *Authorities {
	return &Authorities{now: now, pool: pool}
}

// File trusts the certificates in a PEM file, which is read again when it changes. A file that has become unreadable changes nothing but the log.
func File(path string, now func() time.Time, log *slog.Logger) (*Authorities, error) {
	a := &Authorities{now: now, path: path, log: log}
	if err := a.read(); err != nil {
		return nil, err
	}
	return a, nil
}

// Pool is who is trusted at present; nil: nobody. It is another one when the file has changed.
func (a *Authorities) Pool() *x509.CertPool {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.path != "" {
		err := a.read()
		if err != nil && err.Error() != a.bad {
			a.log.Error("the authorities of client certificates cannot be read again; those of before go on counting", "error", err)
		}
		a.bad = ""
		if err != nil {
			a.bad = err.Error()
		}
	}
	return a.pool
}

func (a *Authorities) read() error {
	st, err := os.Stat(a.path)
	if err != nil {
		return err
	}
	if a.pool != nil && st.ModTime().Equal(a.mtime) && st.Size() == a.size {
		return nil
	}
	text, err := os.ReadFile(a.path)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s holds no certificate in PEM form", a.path)
	}
	a.pool, a.mtime, a.size = pool, st.ModTime(), st.Size()
	return nil
}

// errNobody: there is nobody whose certificates count.
var errNobody = errors.New("no authority of client certificates is configured")

// Verified is the certificate that a connection's client holds the key of, if the authorities vouch for it. Without a certificate it is nil; one that
// does not count is an error that says why.
func (a *Authorities) Verified(c *tls.ConnectionState) (*x509.Certificate, error) {
	if c == nil || len(c.PeerCertificates) == 0 {
		return nil, nil
	}
	pool := a.Pool()
	if pool == nil {
		return nil, errNobody
	}
	between := x509.NewCertPool()
	for _, more := range c.PeerCertificates[1:] {
		between.AddCert(more)
	}
	leaf := c.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil, err
	}
	return leaf, nil
}
