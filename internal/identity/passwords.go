package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"

	"golang.org/x/crypto/bcrypt"
)

// passwords hashes and verifies. bcrypt is meant to be slow, so at most as many run as there are cores, and a verification that
// succeeded is remembered under a hash keyed for this process: the next token costs microseconds.
type passwords struct {
	cost  int
	slots chan struct{}
	key   [32]byte
	good  *cache[[sha256.Size]byte, struct{}]
	// dummy is verified against when there is no such user, so that the answer takes as long.
	dummy []byte
}

// bcryptMax is bcrypt's own limit; keystone cuts longer passwords there (keystone/common/password_hashing.py).
const bcryptMax = 72

func newPasswords(cost int) (*passwords, error) {
	if cost == 0 {
		cost = 12
	}
	if cost < bcrypt.MinCost || cost > bcrypt.MaxCost {
		return nil, fmt.Errorf("bcrypt cost %d is not between %d and %d", cost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	p := &passwords{cost: cost, slots: make(chan struct{}, runtime.GOMAXPROCS(0)), good: newCache[[sha256.Size]byte, struct{}](20000)}
	_, err := rand.Read(p.key[:])
	p.dummy = fmt.Appendf(nil, "$2a$%02d$nobodynobodynobodynobuYn0b0dyn0b0dyn0b0dyn0b0dyn0b0dyn", cost)
	return p, err
}

func cut(password string) []byte {
	b := []byte(password)
	return b[:min(len(b), bcryptMax)]
}

func (p *passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer func() { <-p.slots }()
	h, err := bcrypt.GenerateFromPassword(cut(password), p.cost)
	return string(h), err
}

// verify tells whether password is the one of hash. An empty hash matches nothing and takes as long.
func (p *passwords) verify(ctx context.Context, hash, password string) (bool, error) {
	h := hmac.New(sha256.New, p.key[:])
	fmt.Fprintf(h, "%d %s", len(hash), hash)
	h.Write(cut(password))
	var k [sha256.Size]byte
	h.Sum(k[:0])
	if hash != "" {
		if _, ok := p.good.get(k); ok {
			return true, nil
		}
	}
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer func() { <-p.slots }()
	if hash == "" {
		_ = bcrypt.CompareHashAndPassword(p.dummy, cut(password))
		return false, nil
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), cut(password)) != nil {
		return false, nil
	}
	p.good.put(k, struct{}{})
	return true, nil
}
