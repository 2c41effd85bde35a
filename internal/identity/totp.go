package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// totpPeriod is for how long a passcode is shown.
const totpPeriod = 30 * time.Second

var (
	errTOTPSecret = errors.New("not a base32 secret of 128 bits or more")
	errPasscode   = errors.New("invalid user name or passcode, or the account is locked")
)

// decodeTOTP reads the blob of a totp credential: base32, padded or not. As upstream's library it refuses secrets under 128 bits.
func decodeTOTP(blob string) ([]byte, error) {
	text := strings.TrimRight(blob, "=")
	if strings.ContainsAny(text, "\r\n") { // which Go's decoder would skip
		return nil, errTOTPSecret
	}
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(key) < 16 {
		return nil, errTOTPSecret
	}
	return key, nil
}

// totpCode is the passcode of a step (RFC 6238 over RFC 4226, with SHA-1 and six digits as authenticators have them).
func totpCode(key []byte, step int64) string {
	h := hmac.New(sha1.New, key)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(step))
	h.Write(b[:])
	sum := h.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff)%1000000)
}

// totpMatch finds the step that a passcode belongs to: the one of now or one of the windows before it, and after the last one accepted.
func totpMatch(key []byte, passcode string, now time.Time, windows int, last int64) (step int64, ok bool) {
	present := now.Unix() / int64(totpPeriod/time.Second)
	for back := range int64(windows) + 1 {
		s := present - back
		if subtle.ConstantTimeCompare([]byte(totpCode(key, s)), []byte(passcode)) == 1 && s > last && !ok {
			step, ok = s, true
		}
	}
	return step, ok
}

// totpCredential is a credential that makes passcodes.
type totpCredential struct {
	id, blob string
	last     int64
}

// passcode is one that was right; it is spent when all methods of the request were.
type passcode struct {
	credential string
	step       int64
}

// proveTOTP proves the method totp (keystone/auth/plugins/totp.py). A wrong passcode counts as a failed login: six digits could be tried out.
func (s *Service) proveTOTP(ctx context.Context, r *api.Request, data doc, p *authentication) (string, error) {
	ref, u, err := s.loginUser(ctx, r, data)
	if err != nil {
		return "", err
	}
	tried(r, u.id)
	p.sees(u.epoch)
	if !u.enabled {
		u = knownUser{}
	}
	locked, err := s.locked(ctx, u)
	if err != nil {
		return "", err
	}
	// The failure is counted first and taken back: many guesses at once must not pass while the count of them is under way.
	id := u.id
	if locked {
		id = ""
	}
	count, err := s.noteFailure(ctx, id)
	if err != nil {
		return "", err
	}
	if most := s.o.Conf.SecurityCompliance.FailureAttempts; most != 0 && count > int64(most) && !truth(u.options, "ignore_lockout_failure_attempts") {
		locked = true
	}
	found, err := s.matchTOTP(ctx, u.id, str(ref, "passcode"))
	if err != nil {
		return "", err
	}
	if found == nil || locked {
		return "", unauthorized(errPasscode)
	}
	if err := s.takeBack(ctx, u.id); err != nil {
		return "", err
	}
	p.passcodes = append(p.passcodes, *found)
	return u.id, nil
}

// matchTOTP finds the user's credential whose passcode it is. For somebody who has none a secret of nobody's is tried.
func (s *Service) matchTOTP(ctx context.Context, user, code string) (*passcode, error) {
	creds, err := inRead(ctx, s, func(tx *db.Tx) ([]totpCredential, error) {
		all, err := db.All(tx, func(r db.Row) (c totpCredential, err error) {
			err = r.Scan(&c.id, &c.blob, &c.last)
			return c, err
		}, `SELECT c.id, c.blob, coalesce(t.step, 0) FROM identity_credentials c LEFT JOIN identity_totp_steps t ON t.credential_id = c.id
			WHERE c.user_id = $1 AND c.type = 'totp' ORDER BY c.id`, user)
		if err != nil {
			return nil, err
		}
		for i, c := range all {
			if all[i].blob, err = s.decrypt(tx, c.blob); err != nil {
				return nil, err
			}
		}
		return all, nil
	})
	if err != nil {
		return nil, err
	}
	windows := s.o.Conf.TOTP.IncludedPreviousWindows
	var found *passcode
	tried := false
	for _, c := range creds {
		key, err := decodeTOTP(c.blob)
		if err != nil {
			s.o.Logger.Debug("totp credential cannot be used", "credential", c.id, "error", err)
			continue
		}
		tried = true
		if step, ok := totpMatch(key, code, s.o.Now(), windows, c.last); ok && found == nil {
			found = &passcode{c.id, step}
		}
	}
	if !tried {
		totpMatch(make([]byte, 20), "", s.o.Now(), windows, 0)
	}
	return found, nil
}

// spend makes sure that the passcodes of an authentication are accepted no second time, nor any before them.
func (s *Service) spend(ctx context.Context, p *authentication) error {
	if len(p.passcodes) == 0 {
		return nil
	}
	return s.o.DB.Write(ctx, func(tx *db.Tx) error {
		for _, c := range p.passcodes {
			n, err := tx.Exec(`INSERT INTO identity_totp_steps (credential_id, step) VALUES ($1, $2) ON CONFLICT (credential_id) DO UPDATE SET step = excluded.step
				WHERE identity_totp_steps.step < excluded.step`, c.credential, c.step)
			if err != nil {
				return err
			}
			if n == 0 {
				return unauthorized(errors.New("the passcode was used already"))
			}
		}
		return nil
	})
}
