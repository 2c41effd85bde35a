package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/db"
)

// TOTPCode is the passcode of a secret at a step, for tests that log in with it.
func TOTPCode(secret string, step int64) string {
	key, err := decodeTOTP(secret)
	if err != nil {
		panic(err)
	}
	return totpCode(key, step)
}

// Forget moves the authorisation epoch, as any change does: what was remembered is void.
func (s *Service) Forget(ctx context.Context) error {
	return s.write(ctx, func(*db.Tx) error { return nil })
}
