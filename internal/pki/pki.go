// Package pki is the cloud's own certificate authority: made at the first start, it signs the API's certificate where the
// operator gave none, and the certificates with which controller and nodes know each other. It must not know who uses them.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// CA signs certificates. Its files ca.pem and ca.key lie in one folder.
type CA struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
	now  func() time.Time
}

const (
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife is short: certificates are renewed at each start and when a third of their life is left.
	leafLife = 90 * 24 * time.Hour
)

// Open reads the CA in dir, or makes it.
func Open(dir string, now func() time.Time) (*CA, error) {
	ca := &CA{dir: dir, now: now}
	certPEM, err := os.ReadFile(ca.CertFile())
	if errors.Is(err, os.ErrNotExist) {
		return ca, ca.create()
	}
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("read CA key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("CA in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("CA in %s: the key is not ECDSA", dir)
	}
	ca.key = key
	ca.Cert, err = x509.ParseCertificate(pair.Certificate[0])
	return ca, err
}

// CertFile is the CA's certificate, which clients need (OS_CACERT).
func (ca *CA) CertFile() string { return filepath.Join(ca.dir, "ca.pem") }

// Pool holds the CA's certificate alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Cert)
	return p
}

func (ca *CA) create() error {
	if err := os.MkdirAll(ca.dir, 0o755); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Hanok cloud CA " + serial.Text(16)[:8]},
		NotBefore: ca.now().Add(-time.Hour), NotAfter: ca.now().Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	if ca.Cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	ca.key = key
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would be taken for a whole CA at the next start.
	if err := WriteFile(filepath.Join(ca.dir, "ca.key"), keyPEM, 0o600); err != nil {
		return err
	}
	return WriteFile(ca.CertFile(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// Issue makes a certificate for a server with these host names or addresses, which may also be a client named cn.
func (ca *CA) Issue(cn string, hosts []string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: cn},
		NotBefore: ca.now().Add(-time.Hour), NotAfter: ca.now().Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, key.Public(), ca.key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	certPEM = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw})...)
	return certPEM, keyPEM, err
}

// Certificate is Issue as a tls.Certificate.
func (ca *CA) Certificate(cn string, hosts []string) (*tls.Certificate, error) {
	c, k, err := ca.Issue(cn, hosts)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", cn, err)
	}
	pair, err := tls.X509KeyPair(c, k)
	return &pair, err
}

// Due tells whether a certificate should be renewed.
func Due(c *tls.Certificate, now time.Time) bool {
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return true
		}
	}
	return now.After(leaf.NotAfter.Add(-leafLife / 3))
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// WriteFile writes a small file so that after a crash it is there whole or not at all.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		_ = os.Remove(path + ".tmp")
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
