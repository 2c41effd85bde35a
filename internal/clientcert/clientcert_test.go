package clientcert_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/clientcert"
	"github.com/hanok-cloud/hanok/internal/clientcert/certtest"
)

// shown is the state of a connection whose client has shown these.
func shown(t *testing.T, chain ...*x509.Certificate) *tls.ConnectionState {
	t.Helper()
	return &tls.ConnectionState{PeerCertificates: chain}
}

func TestWhoCounts(t *testing.T) {
	ours, other := certtest.New(t, "ours"), certtest.New(t, "other")
	between := ours.Under("between")
	name := pkix.Name{CommonName: "x"}
	a := clientcert.Of(pool(ours), time.Now)
	for _, c := range []struct {
		what  string
		a     *clientcert.Authorities
		state *tls.ConnectionState
		wrong string // part of the error; empty: it counts
	}{
		{"one of ours", a, shown(t, ours.Client(name).Leaf), ""},
		{"one by way of another authority", a, shown(t, between.Client(name).Leaf, between.Cert), ""},
		{"the authority between is missing", a, shown(t, between.Client(name).Leaf), "unknown authority"},
		{"another authority", a, shown(t, other.Client(name).Leaf), "unknown authority"},
		{"another authority that is shown too", a, shown(t, other.Client(name).Leaf, other.Cert), "unknown authority"},
		{"expired", a, shown(t, ours.Client(name, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).Leaf), "expired"},
		{"not yet", a, shown(t, ours.Client(name, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }).Leaf), "expired or is not yet valid"},
		{"a server's", a, shown(t, ours.Client(name, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }).Leaf), "key usage"},
		{"for no special use", a, shown(t, ours.Client(name, func(c *x509.Certificate) { c.ExtKeyUsage = nil }).Leaf), ""},
		{"nobody is trusted", nil, shown(t, ours.Client(name).Leaf), "no authority"},
	} {
		got, err := c.a.Verified(c.state)
		switch {
		case c.wrong == "" && (err != nil || got != c.state.PeerCertificates[0]):
			t.Errorf("%s: %v %v", c.what, got, err)
		case c.wrong != "" && (err == nil || got != nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: %v %v", c.what, got, err)
		}
	}
	for _, state := range []*tls.ConnectionState{nil, {}} {
		if got, err := a.Verified(state); got != nil || err != nil {
			t.Error("no certificate is no error: ", got, err)
		}
	}
}

func pool(ca *certtest.CA) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Cert)
	return p
}

func TestFileIsReadAgain(t *testing.T) {
	one, two := certtest.New(t, "one"), certtest.New(t, "two")
	path := filepath.Join(t.TempDir(), "ca.pem")
	written := time.Now().Add(-time.Hour)
	write := func(text []byte) {
		t.Helper()
		written = written.Add(time.Minute) // a clock may be coarse
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	open := func() (*clientcert.Authorities, error) {
		return clientcert.File(path, time.Now, slog.New(slog.NewTextHandler(&log, nil)))
	}
	if _, err := open(); err == nil {
		t.Error("a missing file is no error")
	}
	write([]byte("no PEM"))
	if _, err := open(); err == nil || !strings.Contains(err.Error(), path) {
		t.Error("a file without a certificate: ", err)
	}
	write(one.PEM())
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	of := func(ca *certtest.CA) bool {
		got, _ := a.Verified(shown(t, ca.Client(pkix.Name{CommonName: "x"}).Leaf))
		return got != nil
	}
	before := a.Pool()
	if !of(one) || of(two) || a.Pool() != before {
		t.Error("the first authority alone should count")
	}
	write(append(one.PEM(), two.PEM()...))
	if !of(one) || !of(two) || a.Pool() == before {
		t.Error("both should count")
	}
	write(two.PEM())
	if of(one) || !of(two) {
		t.Error("the second alone should count")
	}
	write([]byte("broken"))
	if of(one) || !of(two) || strings.Count(log.String(), "cannot be read again") != 1 {
		t.Error("what was last read should go on, and be logged once: ", log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !of(two) {
		t.Error("what was last read should go on without the file")
	}
	write(one.PEM())
	if !of(one) || of(two) {
		t.Error("a good file should count again")
	}
}
