package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/clientcert"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
	"github.com/hanok-cloud/hanok/internal/pki"
)

// listener is one listen address: plain HTTP on loopback, TLS elsewhere. On a classic port the service of that port answers at /.
type listener struct {
	net.Listener
	prefix string // put before the path; empty on the cloud's one port
}

// classicPorts are where each service listens in other clouds.
func classicPorts() map[string]string {
	return map[string]string{"5000": "/identity", "8774": "/compute", "8778": "/placement", "9292": "/image", "9696": "/network"}
}

// listen opens all listen addresses, or none.
func listen(c *config.Config, paths Paths, clients *clientcert.Authorities) (out []listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range out {
				_ = l.Close()
			}
		}
	}()
	var tc *tls.Config
	open := func(addr, prefix string) error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen on %s (api.listen): %w; `hanok doctor` may tell more", addr, err)
		}
		if !config.Loopback(addr) {
			if tc == nil {
				if tc, err = tlsConfig(c, paths, clients); err != nil {
					_ = l.Close()
					return err
				}
			}
			l = tls.NewListener(l, tc)
		}
		out = append(out, listener{l, prefix})
		return nil
	}
	for _, addr := range c.API.Listen {
		if err := open(addr, ""); err != nil {
			return out, err
		}
		if !c.API.ClassicPorts {
			continue
		}
		host, _, _ := net.SplitHostPort(addr) // checked when the file was read
		for port, prefix := range classicPorts() {
			if err := open(net.JoinHostPort(host, port), prefix); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// tlsConfig serves the operator's certificate, read again when it changed, or one of the cloud's own CA, renewed in time. Clients may show certificates
// of any authority: nodes have the cloud's own, OAuth 2.0's clients those of [ssl] ca_file, and what counts is looked at per request.
func tlsConfig(c *config.Config, paths Paths, clients *clientcert.Authorities) (*tls.Config, error) {
	k := &keeper{c: c, now: time.Now}
	ca, err := pki.Open(paths.PKI(), time.Now)
	if err != nil {
		return nil, err
	}
	if c.API.TLSCert == "" {
		k.ca = ca
	}
	if _, err := k.get(nil); err != nil {
		return nil, err
	}
	tc := &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: k.get, ClientCAs: ca.Pool(), ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"h2", "http/1.1"},
	}
	if clients != nil {
		h := &hints{base: tc, own: ca, clients: clients}
		tc.GetConfigForClient = h.config
	}
	return tc, nil
}

// hints tells clients by which authorities a certificate may be, so that they know which of theirs to show.
type hints struct {
	base    *tls.Config
	own     *pki.CA
	clients *clientcert.Authorities

	mu   sync.Mutex
	of   *x509.CertPool // what made is of
	made *tls.Config
}

func (h *hints) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pool := h.clients.Pool(); pool != h.of {
		all := pool.Clone()
		all.AddCert(h.own.Cert)
		h.of, h.made = pool, h.base.Clone()
		h.made.ClientCAs, h.made.GetConfigForClient = all, nil
	}
	return h.made, nil
}

// clientAuthorities are those of [ssl] ca_file; nil: none.
func clientAuthorities(options *conf.Config, log *slog.Logger) (*clientcert.Authorities, error) {
	if options.SSL.CAFile == "" {
		return nil, nil
	}
	a, err := clientcert.File(options.SSL.CAFile, time.Now, log)
	if err != nil {
		return nil, fmt.Errorf("authorities of client certificates ([ssl] ca_file in keystone.conf): %w", err)
	}
	return a, nil
}

type keeper struct {
	c   *config.Config
	ca  *pki.CA
	now func() time.Time

	mu    sync.Mutex
	cert  *tls.Certificate
	mtime time.Time // of the operator's file
}

func (k *keeper) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ca != nil {
		if k.cert != nil && !pki.Due(k.cert, k.now()) {
			return k.cert, nil
		}
		cert, err := k.ca.Certificate("hanok api", serverNames(k.c))
		if err != nil {
			return nil, err
		}
		k.cert = cert
		return cert, nil
	}
	st, err := os.Stat(k.c.API.TLSCert)
	if err == nil && (k.cert == nil || !st.ModTime().Equal(k.mtime)) {
		var cert tls.Certificate
		if cert, err = tls.LoadX509KeyPair(k.c.API.TLSCert, k.c.API.TLSKey); err == nil {
			k.cert, k.mtime = &cert, st.ModTime()
		}
	}
	if k.cert == nil {
		return nil, fmt.Errorf("certificate (api.tls_cert): %w", err)
	}
	return k.cert, nil
}

// serverNames are the names that the API's certificate is for.
func serverNames(c *config.Config) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if u := c.Endpoint(); u != "" {
		if req, err := http.NewRequest("GET", u, nil); err == nil {
			names = append(names, req.URL.Hostname())
		}
	}
	for _, l := range c.API.Listen {
		host, _, _ := net.SplitHostPort(l)
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			names = append(names, localAddresses()...)
			continue
		}
		names = append(names, host)
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	return names
}

func localAddresses() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			out = append(out, p.Addr().String())
		}
	}
	return out
}

// serve answers on all listeners until ctx ends, then lets requests under way finish for a while.
func serve(ctx context.Context, ls []listener, h http.Handler, log *slog.Logger) error {
	errs := make(chan error, len(ls))
	var servers []*http.Server
	for _, l := range ls {
		srv := &http.Server{
			Handler: under(l.prefix, h), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), Protocols: protocols(),
		}
		servers = append(servers, srv)
		go func() { errs <- srv.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-errs:
	}
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, srv := range servers {
		if e := srv.Shutdown(stop); e != nil {
			_ = srv.Close()
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	return p
}

// under serves the paths of a classic port as if they stood below the service's prefix.
func under(prefix string, h http.Handler) http.Handler {
	if prefix == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path, r.URL.RawPath = prefix+r.URL.Path, ""
		h.ServeHTTP(w, r)
	})
}

// trustedProxy tells whether a peer is one of api.trusted_proxies.
func trustedProxy(c *config.Config) func(string) bool {
	var nets []netip.Prefix
	for _, p := range c.API.TrustedProxies {
		nets = append(nets, netip.MustParsePrefix(p)) // checked when the file was read
	}
	if nets == nil {
		return nil
	}
	return func(remote string) bool {
		a, err := netip.ParseAddrPort(remote)
		if err != nil {
			return false
		}
		for _, n := range nets {
			if n.Contains(a.Addr().Unmap()) {
				return true
			}
		}
		return false
	}
}
