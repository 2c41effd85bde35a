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

// passwords hashes and verifies. bcrypt is meant to be slow, so what wants it waits in a queue that leaves a core to everything else, and
// a verification that succeeded is remembered under a hash keyed for this process: the next token costs microseconds.
type passwords struct {
	cost  int
	queue *hashQueue
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
	// A core without a hash answers the network at once; with hashes on all of them a request waits for Go's scheduler to preempt one.
	width := max(1, runtime.GOMAXPROCS(0)-1)
	p := &passwords{cost: cost, queue: newHashQueue(width), good: newCache[[sha256.Size]byte, struct{}](20000)}
	_, err := rand.Read(p.key[:])
	p.dummy = fmt.Appendf(nil, "$2a$%02d$nobodynobodynobodynobuYn0b0dyn0b0dyn0b0dyn0b0dyn0b0dyn", cost)
	return p, err
}

func cut(password string) []byte {
	b := []byte(password)
	return b[:min(len(b), bcryptMax)]
}

func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.queue.enter(ctx); err != nil {
		return "", err
	}
	defer p.queue.leave()
	h, err := bcrypt.GenerateFromPassword(cut(password), p.cost)
	return string(h), err
}

// verify tells whether password is the one of hash. An empty hash matches nothing and takes as long.
func (p *passwords) verify(ctx context.Context, hash, password string) (bool, error) {
	k := p.memory(hash, password)
	if hash != "" {
		if _, ok := p.good.get(k); ok {
			return true, nil
		}
	}
	ok, err := p.compare(ctx, hash, password)
	if ok {
		p.good.put(k, struct{}{})
	}
	return ok, err
}

// compare is verify without memory: what is remembered answers sooner, and so would tell a right password from a wrong one where both are
// refused.
func (p *passwords) compare(ctx context.Context, hash, password string) (bool, error) {
	if err := p.queue.enter(ctx); err != nil {
		return false, err
	}
	defer p.queue.leave()
	if hash == "" {
		_ = bcrypt.CompareHashAndPassword(p.dummy, cut(password))
		return false, nil
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), cut(password)) == nil, nil
}

// memory is the key under which a good pair is remembered.
func (p *passwords) memory(hash, password string) (k [sha256.Size]byte) {
	h := hmac.New(sha256.New, p.key[:])
	fmt.Fprintf(h, "%d %s", len(hash), hash)
	h.Write(cut(password))
	h.Sum(k[:0])
	return k
}
