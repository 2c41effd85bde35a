package compute

import (
	"crypto/md5" //nolint:gosec // the wire's fingerprint
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the wire's fingerprint
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// Keypair is a user's public key.
type Keypair struct {
	UserID, Name, Type     string
	Fingerprint, PublicKey string
	num, createdAt         int64
}

func badKeypair(reason string) error {
	return fault.BadRequest("Keypair data is invalid: %s", reason)
}

func keypairNotFound(user, name string) error {
	return fault.NotFound("Keypair %s not found for user %s", name, user)
}

// fingerprintOf is nova/crypto.py's: MD5 of an ssh key, SHA-1 of a certificate.
func fingerprintOf(kind, key string) (string, error) {
	if kind == "x509" {
		block, _ := pem.Decode([]byte(key))
		if block == nil || block.Type != "CERTIFICATE" {
			return "", badKeypair("failed to generate X509 fingerprint. Error message: Unable to load PEM file.")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", badKeypair("failed to generate X509 fingerprint. Error message: the certificate cannot be read.")
		}
		sum := sha1.Sum(block.Bytes) //nolint:gosec // the wire's fingerprint
		return colons(sum[:]), nil
	}
	// The key must stand at the start: a line of authorized_keys with options is no key here.
	first, _, _ := strings.Cut(key, " ")
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
	if err != nil || pub.Type() != first {
		return "", badKeypair("failed to generate fingerprint")
	}
	sum := md5.Sum(pub.Marshal()) //nolint:gosec // the wire's fingerprint
	return colons(sum[:]), nil
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(parts, ":")
}

// generateKey makes an RSA key of 2048 bits, as nova did until 2.92.
func (s *Service) generateKey() (private, public string, err error) {
	key, err := rsa.GenerateKey(s.rand, 2048)
	if err != nil {
		return "", "", err
	}
	pub, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", err
	}
	p := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return string(p), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) + " Generated-by-Nova", nil
}

// createKeypair stores a key pair within the user's quota.
func (s *Service) createKeypair(tx *db.Tx, k Keypair) (Keypair, error) {
	if err := tx.LockQuota(k.UserID, "key_pairs"); err != nil {
		return k, err
	}
	limits, err := s.limits(tx, "", "")
	if err != nil {
		return k, err
	}
	n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM keypairs WHERE user_id = $1`, k.UserID)
	if err != nil {
		return k, err
	}
	if max := limits["key_pairs"]; max >= 0 && n >= max {
		return k, fault.Forbidden("Quota exceeded, too many key pairs.")
	}
	_, err = keypair(tx, k.UserID, k.Name)
	if err == nil {
		return k, fault.Conflict("Key pair '%s' already exists.", k.Name)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return k, err
	}
	if k.num, err = tx.NextRevision(); err != nil {
		return k, err
	}
	k.createdAt = tx.NowMicros()
	_, err = tx.Exec(`INSERT INTO keypairs (`+keypairColumns+`) VALUES ($1,$2,$3,$4,$5,$6,$7)`, k.UserID, k.Name, k.Type, k.Fingerprint, k.PublicKey, k.num, k.createdAt)
	return k, err
}

const keypairColumns = `user_id, name, type, fingerprint, public_key, num, created_at`

func scanKeypair(r db.Row) (Keypair, error) {
	var k Keypair
	err := r.Scan(&k.UserID, &k.Name, &k.Type, &k.Fingerprint, &k.PublicKey, &k.num, &k.createdAt)
	return k, err
}

func keypair(tx *db.Tx, user, name string) (Keypair, error) {
	return db.One(tx, scanKeypair, `SELECT `+keypairColumns+` FROM keypairs WHERE user_id = $1 AND name = $2`, user, name)
}

// listKeypairs is sorted by name.
func listKeypairs(tx *db.Tx, user, after string, limit int) ([]Keypair, error) {
	if after != "" {
		if _, err := keypair(tx, user, after); errors.Is(err, db.ErrNotFound) {
			return nil, fault.BadRequest("Marker %s could not be found.", after)
		} else if err != nil {
			return nil, err
		}
	}
	return db.All(tx, scanKeypair, `SELECT `+keypairColumns+` FROM keypairs WHERE user_id = $1 AND name > $2 ORDER BY name LIMIT $3`, user, after, limit)
}
