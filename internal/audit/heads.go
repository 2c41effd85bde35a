package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity"
)

// Kinds of signed statements.
const (
	headKind = "head" // row n has this hash
	baseKind = "base" // rows up to n, the last of which had this hash, were removed after their retention
)

// Statement is a signed sentence about the chain, and a line of the heads file.
type Statement struct {
	Kind      string `json:"kind"`
	N         int64  `json:"n"`
	Hash      string `json:"hash"`
	At        int64  `json:"at"` // microseconds
	Key       string `json:"key"`
	PublicKey string `json:"public_key,omitempty"`
	Signature string `json:"signature"`
}

func (s Statement) bytes() []byte {
	return fmt.Appendf(nil, "hanok audit statement 1\n%s\n%d\n%s\n%d\n%s\n", s.Kind, s.N, s.Hash, s.At, s.Key)
}

// signedBy tells whether a key of the cloud has signed it.
func (s Statement) signedBy(keys map[string]ed25519.PrivateKey) bool {
	key, ok := keys[s.Key]
	sig, err := base64.StdEncoding.DecodeString(s.Signature)
	return ok && err == nil && ed25519.Verify(key.Public().(ed25519.PublicKey), s.bytes(), sig)
}

func (k signer) put(tx *db.Tx, kind string, n int64, hash string) error {
	s := Statement{Kind: kind, N: n, Hash: hash, At: tx.NowMicros(), Key: k.id}
	s.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(k.key, s.bytes()))
	_, err := tx.Exec(`INSERT INTO audit_heads (kind, n, hash, at, key_id, signature) VALUES ($1,$2,$3,$4,$5,$6)`, s.Kind, s.N, s.Hash, s.At, s.Key, s.Signature)
	return err
}

func (k signer) public() string {
	return base64.StdEncoding.EncodeToString(k.key.Public().(ed25519.PublicKey))
}

const statementColumns = `kind, n, hash, at, key_id, signature`

func scanStatement(r db.Row) (s Statement, err error) {
	return s, r.Scan(&s.Kind, &s.N, &s.Hash, &s.At, &s.Key, &s.Signature)
}

// loadKeys opens the signing keys. One that was put there without the key-encryption key does not open.
func loadKeys(ctx context.Context, d *db.DB, kek []byte) (keys map[string]ed25519.PrivateKey, newest string, err error) {
	err = d.Read(ctx, func(tx *db.Tx) error {
		keys, newest = map[string]ed25519.PrivateKey{}, ""
		return tx.Each(func(r db.Row) error {
			var id, wrapped string
			if err := r.Scan(&id, &wrapped); err != nil {
				return err
			}
			seed, err := identity.UnwrapKey(kek, id, wrapped)
			if err != nil {
				return fmt.Errorf("signing key of the audit log: %w", err)
			}
			keys[id], newest = ed25519.NewKeyFromSeed(seed[:]), id
			return nil
		}, `SELECT id, wrapped FROM audit_keys ORDER BY created_at, id`)
	})
	return keys, newest, err
}

// makeKey makes the first key. It has a fixed id: of two controllers that start together one makes it.
func makeKey(ctx context.Context, d *db.DB, kek []byte) error {
	const id = "audit-1"
	var seed [ed25519.SeedSize]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return err
	}
	wrapped, err := identity.WrapKey(kek, id, seed)
	if err != nil {
		return err
	}
	return d.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO audit_keys (id, wrapped, created_at) VALUES ($1,$2,$3) ON CONFLICT (id) DO NOTHING`, id, wrapped, tx.NowMicros())
		return err
	})
}
