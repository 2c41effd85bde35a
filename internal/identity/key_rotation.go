package identity

import (
	"context"
	"errors"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// encrypt and decrypt keep a credential's blob unreadable in the database. The key is the newest that the transaction sees, also when another controller
// has just made it: so a rotation that goes through all blobs leaves none behind.
func (s *Service) encrypt(tx *db.Tx, blob string) (string, error) {
	newest, err := db.One(tx, db.Value[string], `SELECT id FROM identity_keys WHERE purpose = $1 ORDER BY created_at DESC, id LIMIT 1`, credentialKeys)
	if err != nil {
		return "", err
	}
	set := s.blobs.held.Load()
	if newest != set.ids[0] {
		if set, err = s.readKeys(tx, credentialKeys); err != nil {
			return "", err
		}
	}
	return set.keys[0].seal([]byte(blob), s.o.Now())
}

func (s *Service) decrypt(tx *db.Tx, sealed string) (string, error) {
	raw, err := decodeBlob(sealed)
	if err != nil {
		return "", err
	}
	if blob, _, ok := openBlob(s.blobs.keys(), raw); ok {
		return blob, nil
	}
	set, err := s.readKeys(tx, credentialKeys)
	if err != nil {
		return "", err
	}
	if blob, _, ok := openBlob(set.keys, raw); ok {
		return blob, nil
	}
	return "", errors.New("a credential's blob does not open with any key at hand")
}

// openBlob tells also which of the keys fits.
func openBlob(keys []fernetKey, raw []byte) (blob string, key int, ok bool) {
	for i, k := range keys {
		if b, _, err := k.open(raw); err == nil {
			return string(b), i, true
		}
	}
	return "", 0, false
}

// RotateCredentialKeys makes a new key for credentials and encrypts all of them again with it; it tells how many. Of the earlier keys the last one
// stays for transactions that began before; those before it are dropped when nothing needs them.
func (s *Service) RotateCredentialKeys(ctx context.Context) (int, error) {
	if err := s.o.DB.Write(ctx, func(tx *db.Tx) error { return s.addKey(tx, credentialKeys, newID()) }); err != nil {
		return 0, err
	}
	return s.reencrypt(ctx)
}

func (s *Service) reencrypt(ctx context.Context) (int, error) {
	if err := s.loadKeys(ctx, s.blobs); err != nil {
		return 0, err
	}
	n, after := 0, ""
	for {
		last, changed := "", 0
		err := s.o.DB.Write(ctx, func(tx *db.Tx) (err error) {
			last, changed, err = s.reencryptSome(tx, after)
			return err
		})
		if err != nil {
			return n, err
		}
		n += changed
		if last == "" {
			break
		}
		after = last
	}
	if err := s.dropCredentialKeys(ctx); err != nil {
		return n, err
	}
	return n, s.loadKeys(ctx, s.blobs)
}

// reencryptSome takes the next credentials in turn, few enough not to hold up other writers.
func (s *Service) reencryptSome(tx *db.Tx, after string) (last string, changed int, err error) {
	rows, err := sealedBlobs(tx, `WHERE id > $1 ORDER BY id LIMIT 100`, after)
	if err != nil {
		return "", 0, err
	}
	set, err := s.readKeys(tx, credentialKeys)
	if err != nil {
		return "", 0, err
	}
	keys := set.keys
	for _, row := range rows {
		last = row[0]
		raw, err := decodeBlob(row[1])
		if err != nil {
			return "", 0, err
		}
		blob, key, ok := openBlob(keys, raw)
		if !ok {
			s.o.Logger.Error("a credential does not open with any key; it is left as it is", "credential", row[0])
			continue
		}
		if key == 0 {
			continue
		}
		sealed, err := keys[0].seal([]byte(blob), s.o.Now())
		if err != nil {
			return "", 0, err
		}
		// Whoever changes the credential in the same moment has the new key, too.
		k, err := tx.Exec(`UPDATE identity_credentials SET blob = $1 WHERE id = $2 AND blob = $3`, sealed, row[0], row[1])
		if err != nil {
			return "", 0, err
		}
		changed += int(k)
	}
	return last, changed, nil
}

func sealedBlobs(tx *db.Tx, where string, args ...any) ([][2]string, error) {
	return db.All(tx, func(r db.Row) (row [2]string, err error) {
		err = r.Scan(&row[0], &row[1])
		return row, err
	}, `SELECT id, blob FROM identity_credentials `+where, args...)
}

// dropCredentialKeys removes the keys before the last two that no credential needs.
func (s *Service) dropCredentialKeys(ctx context.Context) error {
	var idle []string
	err := s.read(ctx, func(tx *db.Tx) error {
		set, err := s.readKeys(tx, credentialKeys)
		if err != nil || len(set.ids) < 3 {
			return err
		}
		ids, keys := set.ids, set.keys
		needed := map[int]bool{0: true, 1: true}
		rows, err := sealedBlobs(tx, `ORDER BY id`)
		if err != nil {
			return err
		}
		for _, row := range rows {
			raw, err := decodeBlob(row[1])
			if err != nil {
				return err
			}
			if _, key, ok := openBlob(keys, raw); ok {
				needed[key] = true
			}
		}
		idle = nil
		for i, id := range ids {
			if !needed[i] {
				idle = append(idle, id)
			}
		}
		return nil
	})
	if err != nil || len(idle) == 0 {
		return err
	}
	return s.o.DB.Write(ctx, func(tx *db.Tx) error { // nothing is encrypted with them any more, so what was true is true
		for _, id := range idle {
			if _, err := tx.Exec(`DELETE FROM identity_keys WHERE id = $1 AND purpose = $2`, id, credentialKeys); err != nil {
				return err
			}
		}
		return nil
	})
}

// For how long a key is the newest of its purpose.
const (
	tokenKeyTerm      = 7 * 24 * time.Hour
	credentialKeyTerm = 90 * 24 * time.Hour
)

// RotateDueKeys rotates the keys whose time is over. Several controllers may find the same key due: the first one makes the new one.
func (s *Service) RotateDueKeys(ctx context.Context) error {
	made, err := s.rotateTokenKeys(ctx, tokenKeyTerm)
	if err != nil {
		return err
	}
	if made {
		s.o.Logger.Info("a new key for tokens")
	}
	err = s.o.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if made, err = keyDue(tx, credentialKeys, credentialKeyTerm); err != nil || !made {
			return err
		}
		return s.addKey(tx, credentialKeys, newID())
	})
	if err != nil || !made {
		return err
	}
	n, err := s.reencrypt(ctx)
	s.o.Logger.Info("a new key for credentials", "encrypted_again", n)
	return err
}

func keyDue(tx *db.Tx, purpose string, term time.Duration) (bool, error) {
	newest, err := db.One(tx, db.Value[int64], `SELECT coalesce(max(created_at), 0) FROM identity_keys WHERE purpose = $1`, purpose)
	return newest < tx.Now().Add(-term).UnixMicro(), err
}
