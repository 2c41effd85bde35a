package identity

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// keyring holds the keys of one purpose, newest first. The newest encrypts; all decrypt. A controller that meets a token of a key it
// does not know yet reads the database again, so that a rotation loses no request.
type keyring struct {
	purpose string
	held    atomic.Pointer[keySet]
	read    atomic.Int64 // when they were read, in microseconds
}

// keySet are the keys as they were read once, newest first.
type keySet struct {
	ids  []string
	keys []fernetKey
	made int64 // when the newest was
}

func (ring *keyring) keys() []fernetKey { return ring.held.Load().keys }

// hold keeps what was read, unless somebody else has read a newer key meanwhile: two readings may end in another order than they began. It gives
// what is held then.
func (ring *keyring) hold(set *keySet) *keySet {
	for {
		old := ring.held.Load()
		if old != nil && old.made > set.made {
			return old
		}
		if ring.held.CompareAndSwap(old, set) {
			return set
		}
	}
}

const (
	tokenKeys      = "token"
	credentialKeys = "credential"
)

// wrap encrypts a key with the key-encryption key.
func wrap(kek []byte, id string, k fernetKey) (string, error) {
	gcm, err := keyCipher(kek)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return base64.RawStdEncoding.EncodeToString(gcm.Seal(nonce, nonce, k[:], []byte(id))), nil
}

func unwrap(kek []byte, id, wrapped string) (k fernetKey, err error) {
	gcm, err := keyCipher(kek)
	if err != nil {
		return k, err
	}
	b, err := base64.RawStdEncoding.DecodeString(wrapped)
	if err != nil || len(b) < gcm.NonceSize() {
		return k, fmt.Errorf("key %s in the database is damaged", id)
	}
	plain, err := gcm.Open(nil, b[:gcm.NonceSize()], b[gcm.NonceSize():], []byte(id))
	if err != nil || len(plain) != len(k) {
		return k, fmt.Errorf("key %s does not open: the key-encryption key is not the one that the database was made with", id)
	}
	copy(k[:], plain)
	return k, nil
}

func keyCipher(kek []byte) (cipher.AEAD, error) {
	if len(kek) != 32 {
		return nil, errors.New("the key-encryption key must have 32 bytes")
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// readKeys reads the keys of a purpose, newest first.
func (s *Service) readKeys(tx *db.Tx, purpose string) (*keySet, error) {
	set := &keySet{}
	err := tx.Each(func(r db.Row) error {
		var id, wrapped string
		var made int64
		if err := r.Scan(&id, &wrapped, &made); err != nil {
			return err
		}
		k, err := unwrap(s.o.KEK, id, wrapped)
		set.ids, set.keys, set.made = append(set.ids, id), append(set.keys, k), max(set.made, made)
		return err
	}, `SELECT id, wrapped, created_at FROM identity_keys WHERE purpose = $1 ORDER BY created_at DESC, id`, purpose)
	return set, err
}

// loadKeys reads the keys; it makes the first one when there is none.
func (s *Service) loadKeys(ctx context.Context, ring *keyring) error {
	at := s.o.Now().UnixMicro()
	var set *keySet
	read := func(tx *db.Tx) (err error) {
		set, err = s.readKeys(tx, ring.purpose)
		return err
	}
	if err := s.o.DB.Read(ctx, read); err != nil {
		return err
	}
	if len(set.keys) == 0 {
		err := s.o.DB.Write(ctx, func(tx *db.Tx) error {
			// The first key has a fixed id: of two controllers that start together one makes it.
			if err := s.addKey(tx, ring.purpose, ring.purpose+"-0"); err != nil && !db.IsConflict(err, "") {
				return err
			}
			return nil
		})
		if err != nil && !db.IsConflict(err, "") {
			return err
		}
		if err := s.o.DB.Read(ctx, read); err != nil {
			return err
		}
	}
	ring.hold(set)
	ring.read.Store(at)
	return nil
}

// maxKeyAge is for how long a controller goes on making tokens with a key that another one may have replaced. It is far below the time for which a
// replaced key still opens tokens.
const maxKeyAge = time.Minute

// refreshKeys reads the token keys again when another controller may have rotated them: who only makes tokens never meets an unknown key.
func (s *Service) refreshKeys(ctx context.Context) error {
	if s.o.DB.Engine() != db.Postgres || s.o.Now().UnixMicro()-s.tokens.read.Load() < maxKeyAge.Microseconds() {
		return nil
	}
	return s.loadKeys(ctx, s.tokens)
}

func (s *Service) addKey(tx *db.Tx, purpose, id string) error {
	k, err := newFernetKey()
	if err != nil {
		return err
	}
	wrapped, err := wrap(s.o.KEK, id, k)
	if err != nil {
		return err
	}
	// The newest key is the one that encrypts, whatever the clock of the controller that made the last one said.
	last, err := db.One(tx, db.Value[int64], `SELECT coalesce(max(created_at), 0) FROM identity_keys WHERE purpose = $1`, purpose)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO identity_keys (id, purpose, wrapped, created_at) VALUES ($1,$2,$3,$4) ON CONFLICT (id) DO NOTHING`, id, purpose, wrapped, max(tx.NowMicros(), last+1))
	return err
}

// RotateKeys makes a new primary token key. Earlier keys open tokens until the last of those has expired, and are dropped then.
func (s *Service) RotateKeys(ctx context.Context) error {
	_, err := s.rotateTokenKeys(ctx, 0)
	return err
}

// rotateTokenKeys makes a new key if the newest one is older than term.
func (s *Service) rotateTokenKeys(ctx context.Context, term time.Duration) (made bool, err error) {
	due := func(tx *db.Tx) (err error) {
		made, err = keyDue(tx, tokenKeys, term)
		made = made || term == 0
		return err
	}
	if err := s.read(ctx, due); err != nil || !made {
		return false, err
	}
	keep := s.o.Conf.Token.Expiration + s.o.Conf.Token.AllowExpiredWindow
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := due(tx); err != nil || !made {
			return err
		}
		// A key is out of use since its successor was made.
		if _, err := tx.Exec(`DELETE FROM identity_keys WHERE purpose = $1 AND EXISTS (SELECT 1 FROM identity_keys n WHERE n.purpose = identity_keys.purpose AND n.created_at > identity_keys.created_at AND n.created_at < $2)`,
			tokenKeys, tx.Now().Add(-keep).UnixMicro()); err != nil {
			return err
		}
		return s.addKey(tx, tokenKeys, newID())
	})
	if err != nil {
		return false, err
	}
	return made, s.loadKeys(ctx, s.tokens)
}

// seal encrypts a token with the newest key.
func (s *Service) seal(t *Token) (string, error) {
	return s.tokens.keys()[0].seal(t.payload(), db.Time(t.IssuedAt))
}

// open decrypts a token.
func (s *Service) open(ctx context.Context, token string, epoch int64) (*Token, error) {
	payload, at, err := s.unseal(ctx, token, epoch)
	if err != nil {
		return nil, err
	}
	return parsePayload(payload, at)
}

// unseal decrypts what one of the token keys has sealed. A key that is not known is looked for in the database when anything has changed
// there since.
func (s *Service) unseal(ctx context.Context, sealed string, epoch int64) (payload []byte, at time.Time, err error) {
	raw, err := decodeToken(sealed)
	if err != nil {
		return nil, at, err
	}
	try := func(keys []fernetKey) ([]byte, time.Time, error) {
		for _, k := range keys {
			if payload, at, err := k.open(raw); err == nil {
				return payload, at, nil
			}
		}
		return nil, time.Time{}, errFernet
	}
	payload, at, err = try(s.tokens.keys())
	if err == nil || s.keysEpoch.Load() == epoch {
		return payload, at, err
	}
	if err := s.loadKeys(ctx, s.tokens); err != nil {
		return nil, at, err
	}
	raise(&s.keysEpoch, epoch)
	return try(s.tokens.keys())
}
