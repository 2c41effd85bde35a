package pki

import (
	"crypto/x509"
	"os"
	"testing"
	"time"
)

func TestCAStaysAndItsCertificatesVerify(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	first, err := Open(dir, clock)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := Open(dir, clock)
	if err != nil || !ca.Cert.Equal(first.Cert) {
		t.Fatalf("the second start made another CA (%v)", err)
	}
	c, err := ca.Certificate("controller", []string{"cloud.example", "10.0.0.11"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cloud.example", "10.0.0.11"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: first.Pool(), DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if Due(c, now) || !Due(c, now.Add(61*24*time.Hour)) {
		t.Error("a certificate is due for renewal in the last third of its life, not before")
	}
	if st, err := os.Stat(dir + "/ca.key"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the CA's key must be readable by its owner alone: %v %v", st.Mode(), err)
	}
}
