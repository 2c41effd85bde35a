package identity

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
)

// inactivity remembers the day up to which accounts without logins have been disabled.
type inactivity struct {
	done atomic.Int64
	mu   sync.Mutex
}

// inactivePage bounds the users that one transaction disables.
const inactivePage = 500

// disableInactive disables, before the first answer of a day, the users who have not logged in for too long. Upstream works that out from dates
// whenever it reads a user (keystone/identity/backends/sql_model.py, User.enabled), so what changes does so at midnight.
func (s *Service) disableInactive(ctx context.Context) error {
	days := s.o.Conf.SecurityCompliance.DaysInactive
	if days == 0 {
		return nil
	}
	today := s.o.Now().Truncate(day)
	if s.inactive.done.Load() >= today.UnixMicro() {
		return nil
	}
	s.inactive.mu.Lock()
	defer s.inactive.mu.Unlock()
	if s.inactive.done.Load() >= today.UnixMicro() {
		return nil
	}
	before := today.Add(-time.Duration(days-1) * day).UnixMicro()
	for after := ""; ; {
		page, err := inRead(ctx, s, func(tx *db.Tx) ([]idleUser, error) { return idleUsers(tx, before, after) })
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].id
		if err := s.disable(ctx, page, before); err != nil {
			return err
		}
	}
	s.inactive.done.Store(today.UnixMicro())
	return nil
}

type idleUser struct {
	id     string
	exempt bool
}

// idleUsers are the enabled users whose last login, or whose making, is before a time.
func idleUsers(tx *db.Tx, before int64, after string) ([]idleUser, error) {
	return db.All(tx, func(r db.Row) (idleUser, error) {
		var u idleUser
		var options db.JSON[doc]
		err := r.Scan(&u.id, &options)
		u.exempt = truth(options.V, "ignore_user_inactivity")
		return u, err
	}, `SELECT u.id, u.options FROM identity_users u JOIN identity_logins l ON l.user_id = u.id
		WHERE u.enabled = TRUE AND u.id NOT IN (SELECT public_id FROM identity_id_mappings) AND u.id > $1 AND (l.last_active_at > 0 AND l.last_active_at < $2 OR l.last_active_at = 0 AND l.created_at > 0 AND l.created_at < $2)
		ORDER BY u.id LIMIT $3`, after, before, int64(inactivePage))
}

// disable disables those who are idle still.
func (s *Service) disable(ctx context.Context, page []idleUser, before int64) error {
	return s.write(ctx, func(tx *db.Tx) error {
		for _, u := range page {
			if u.exempt {
				continue
			}
			n, err := tx.Exec(`UPDATE identity_users SET enabled = FALSE WHERE id = $1 AND enabled = TRUE
				AND EXISTS (SELECT 1 FROM identity_logins l WHERE l.user_id = $1 AND l.last_active_at < $2)`, u.id, before)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			if err := s.user.touch(tx, u.id, "update"); err != nil {
				return err
			}
		}
		return nil
	})
}
