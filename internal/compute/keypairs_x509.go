package compute

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"time"
)

// A generated x509 key pair is what Windows takes for remote management: a self-signed certificate whose owner is told in a subject
// alternative name, and its key with it as PKCS #12 without a password in base64 (nova/crypto.py, generate_winrm_x509_cert).

var (
	oidData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidKeyBag  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidCertBag = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 3}
	oidX509    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}
	oidSHA256  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidUPN     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
	oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
)

const (
	macIterations  = 2048
	certificateAge = 10 * 365 * 24 * time.Hour
)

// generateCertificate makes the certificate in PEM and the PKCS #12 text.
func (s *Service) generateCertificate(user string) (private, public string, err error) {
	key, err := rsa.GenerateKey(s.rand, 2048)
	if err != nil {
		return "", "", err
	}
	serial := make([]byte, 20)
	salt := make([]byte, 8)
	if _, err := io.ReadFull(s.rand, serial); err != nil {
		return "", "", err
	}
	if _, err := io.ReadFull(s.rand, salt); err != nil {
		return "", "", err
	}
	serial[0] = serial[0]&0x7f | 1
	upn, err := asn1.MarshalWithParams(user+"@localhost", "utf8,explicit,tag:0")
	if err != nil {
		return "", "", err
	}
	id, err := asn1.Marshal(oidUPN)
	if err != nil {
		return "", "", err
	}
	name, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(id, upn...)}})
	if err != nil {
		return "", "", err
	}
	now := s.now().UTC()
	t := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: user}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(certificateAge),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, ExtraExtensions: []pkix.Extension{{Id: oidAltName, Value: name}}}
	cert, err := x509.CreateCertificate(s.rand, t, t, &key.PublicKey, key)
	if err != nil {
		return "", "", err
	}
	p12, err := pkcs12(key, cert, salt)
	if err != nil {
		return "", "", err
	}
	return base64.StdEncoding.EncodeToString(p12), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), nil
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content []byte `asn1:"explicit,tag:0"`
}

type safeBag struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

type certBag struct {
	ID   asn1.ObjectIdentifier
	Cert []byte `asn1:"explicit,tag:0"`
}

type digestInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Digest    []byte
}

type macData struct {
	Mac        digestInfo
	Salt       []byte
	Iterations int
}

type pfx struct {
	Version  int
	AuthSafe contentInfo
	Mac      macData
}

// bag wraps a DER value as [0] EXPLICIT.
func bag(id asn1.ObjectIdentifier, der []byte) safeBag {
	return safeBag{id, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}}
}

// pkcs12 is RFC 7292 without encryption: there is no password to encrypt with.
func pkcs12(key *rsa.PrivateKey, cert, salt []byte) ([]byte, error) {
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c, err := asn1.Marshal(certBag{oidX509, cert})
	if err != nil {
		return nil, err
	}
	bags, err := asn1.Marshal([]safeBag{bag(oidCertBag, c), bag(oidKeyBag, k)})
	if err != nil {
		return nil, err
	}
	safe, err := asn1.Marshal([]contentInfo{{oidData, bags}})
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, macKey(salt))
	mac.Write(safe)
	null := asn1.RawValue{Tag: asn1.TagNull}
	return asn1.Marshal(pfx{3, contentInfo{oidData, safe}, macData{digestInfo{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: null}, mac.Sum(nil)}, salt, macIterations}})
}

// macKey is RFC 7292's key derivation (appendix B, purpose 3) with SHA-256 and the empty password, which is two zero bytes.
func macKey(salt []byte) []byte {
	const block = 64
	h := sha256.New()
	in := make([]byte, 0, 3*block)
	for range block {
		in = append(in, 3)
	}
	for i := range block {
		in = append(in, salt[i%len(salt)])
	}
	in = append(in, make([]byte, block)...) // the password: zeros, repeated
	h.Write(in)
	sum := h.Sum(nil)
	for range macIterations - 1 {
		next := sha256.Sum256(sum)
		sum = next[:]
	}
	return sum
}
