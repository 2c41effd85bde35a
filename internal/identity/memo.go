package identity

import (
	"context"
	"sync"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// memo keeps what was worked out from the database at one authorisation epoch. Every change of identity's tables moves the epoch (Service.write),
// so an entry is as fresh as the database for as long as its memo is the current one.
type memo struct {
	epoch int64
	mu    sync.RWMutex
	m     map[string]any
	size  int
}

// memoLimit bounds a memo in bytes, about. What is larger than memoMost is not kept: it would drive everything else out.
const (
	memoLimit = 8 << 20
	memoMost  = memoLimit / 8
)

// memoFor is the memo of the current epoch. A request with a token has read the epoch when its token was looked up; that holds for all of it.
func (s *Service) memoFor(ctx context.Context, r *api.Request) (*memo, error) {
	epoch, err := s.epochOf(ctx, r)
	if err != nil {
		return nil, err
	}
	for {
		m := s.memo.Load()
		if m != nil && m.epoch >= epoch {
			return m, nil
		}
		fresh := &memo{epoch: epoch, m: map[string]any{}}
		if s.memo.CompareAndSwap(m, fresh) {
			return fresh, nil
		}
	}
}

func (m *memo) get(key string) any {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.m[key]
}

// put keeps v if it was read at the memo's own epoch and is not too large.
func (m *memo) put(epoch int64, key string, v any, size int) {
	if size += len(key) + 100; epoch != m.epoch || size > memoMost {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size += size; m.size > memoLimit {
		clear(m.m)
		m.size = size
	}
	m.m[key] = v
}

// recall gives what fn works out, from the memo where it can. size estimates the value's bytes.
func recall[T any](ctx context.Context, s *Service, r *api.Request, key string, size func(T) int, fn func(*db.Tx) (T, error)) (T, error) {
	m, err := s.memoFor(ctx, r)
	if err != nil {
		var none T
		return none, err
	}
	if v, ok := m.get(key).(T); ok {
		return v, nil
	}
	var out T
	var epoch int64
	err = s.read(ctx, func(tx *db.Tx) (err error) {
		if epoch, err = epochIn(tx); err == nil {
			out, err = fn(tx)
		}
		return err
	})
	if err == nil {
		m.put(epoch, key, out, size(out))
	}
	return out, err
}

// epochOf is the epoch that a request's answers must respect.
func (s *Service) epochOf(ctx context.Context, r *api.Request) (int64, error) {
	if r != nil {
		if se := sessionOf(r); se != nil {
			return se.epoch, nil
		}
	}
	return s.currentEpoch(ctx)
}

func small[T any](T) int { return 200 }
