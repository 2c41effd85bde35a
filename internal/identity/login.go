package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

var (
	errPassword = errors.New("invalid user name or password")
	errExpired  = errors.New("the password has expired")
)

// knownUser is a user as far as a login needs it; without id when there is none.
type knownUser struct {
	id, hash  string
	enabled   bool // with the domain
	expiresAt int64
	options   doc
	epoch     int64 // with the domain's
}

// findUser reads a user by id, or by name and domain.
func (s *Service) findUser(tx *db.Tx, ref doc) (u knownUser, err error) {
	scan := func(r db.Row) (knownUser, error) {
		var options db.JSON[doc]
		var enabled, domainEnabled bool
		var ofDomain int64
		err := r.Scan(&u.id, &u.hash, &u.expiresAt, &options, &enabled, &u.epoch, &domainEnabled, &ofDomain)
		u.enabled, u.options, u.epoch = enabled && domainEnabled, options.V, u.epoch+ofDomain
		return u, err
	}
	const q = `SELECT u.id, u.password_hash, u.password_expires_at, u.options, u.enabled, u.epoch, d.enabled, d.epoch FROM identity_users u JOIN identity_projects d ON d.id = u.domain_id `
	switch {
	case str(ref, "name") != "":
		dom := object(ref, "domain")
		if _, ok := ref["domain"]; !ok {
			return u, expecting("domain", "user")
		}
		if str(dom, "name") != "" {
			u, err = db.One(tx, scan, q+`WHERE d.is_domain = TRUE AND d.domain_id = '' AND d.name = $1 AND u.name = $2`, str(dom, "name"), str(ref, "name"))
		} else if str(dom, "id") != "" {
			u, err = db.One(tx, scan, q+`WHERE d.id = $1 AND u.name = $2`, str(dom, "id"), str(ref, "name"))
		} else {
			return u, expecting("id or name", "domain")
		}
	case str(ref, "id") != "":
		u, err = db.One(tx, scan, q+`WHERE u.id = $1`, str(ref, "id"))
	default:
		return u, expecting("id or name", "user")
	}
	if errors.Is(err, db.ErrNotFound) {
		return knownUser{}, nil
	}
	return u, err
}

// accountOf names the account that a reference means, found or not.
func accountOf(ref doc) string {
	dom := object(ref, "domain")
	return fmt.Sprintf("%q|%q|%q|%q|%v", str(ref, "id"), str(ref, "name"), str(dom, "id"), str(dom, "name"), ref["domain"] == nil)
}

// loginUser is the user that a method's data names.
func (s *Service) loginUser(ctx context.Context, r *api.Request, data doc) (ref doc, u knownUser, err error) {
	if _, ok := data["user"]; !ok {
		return nil, u, expecting("user", "None") // upstream does not know yet which method it is
	}
	ref = object(data, "user")
	known, err := s.settled(ctx, r, ref)
	if err != nil {
		return nil, u, err
	}
	u, err = recall(ctx, s, r, "user|"+accountOf(known), small[knownUser], func(tx *db.Tx) (knownUser, error) { return s.findUser(tx, known) })
	return ref, u, err
}

func (s *Service) provePassword(ctx context.Context, r *api.Request, data doc, p *authentication) (string, error) {
	if named, err := s.inDirectory(ctx, r, object(data, "user")); err != nil || named != nil {
		if err != nil {
			return "", err
		}
		return s.proveInDirectory(ctx, r, named, str(object(data, "user"), "password"))
	}
	ref, u, err := s.loginUser(ctx, r, data)
	if err != nil {
		return "", err
	}
	tried(r, u.id)
	p.sees(u.epoch)
	if !u.enabled {
		u = knownUser{}
	}
	return u.id, s.checkPassword(claim(ctx, r, accountOf(ref)), u, str(ref, "password"))
}

// checkPassword lets the right password of a user pass who may log in. Everything else is one and the same 401 after the same work, be the
// user unknown, disabled or locked; that a password is over is told to whoever knows it (keystone/identity/backends/sql.py, authenticate).
func (s *Service) checkPassword(ctx context.Context, u knownUser, password string) error {
	if err := s.shortEnough(password); err != nil {
		return err
	}
	locked, err := s.locked(ctx, u)
	if err != nil {
		return err
	}
	check := s.passwords.verify
	if locked || u.id == "" {
		check = s.passwords.compare
	}
	ok, err := check(ctx, u.hash, password)
	if err != nil {
		return err
	}
	if !ok || locked || u.id == "" {
		return s.failed(ctx, u, locked)
	}
	// Other attempts may have locked the account while this one waited: as many guesses as are allowed count, not as many as fit at once.
	if locked, err = s.locked(ctx, u); err != nil {
		return err
	}
	if locked {
		return unauthorized(errors.New("the account was locked meanwhile"))
	}
	if !u.enabled {
		return fault.Unauthorized("The account is disabled for user: %s.", u.id)
	}
	if u.expiresAt != 0 && !truth(u.options, "ignore_password_expiry") && s.o.Now().UnixMicro() >= u.expiresAt {
		return fault.Unauthorized("The password is expired and needs to be changed for user: %s.", u.id).Because(errExpired)
	}
	return nil
}

// failed notes a failed login and refuses it. An account that is locked or not there costs the same.
func (s *Service) failed(ctx context.Context, u knownUser, locked bool) error {
	reason := errPassword
	id := u.id
	switch {
	case id == "":
		reason = errors.New("there is no such user, or it or its domain is disabled")
	case locked:
		id, reason = "", errors.New("the account is locked")
	}
	if _, err := s.noteFailure(ctx, id); err != nil {
		return err
	}
	return unauthorized(reason)
}

// loginState is what a user's row of identity_logins says about failures.
type loginState struct{ count, at int64 }

// lockedAt decides whether failures lock an account.
func lockedAt(f loginState, attempts int, duration time.Duration, now int64) bool {
	if attempts == 0 || f.count < int64(attempts) {
		return false
	}
	return duration == 0 || f.at+duration.Microseconds() > now
}

func (s *Service) loginState(ctx context.Context, id string) (loginState, error) {
	return inRead(ctx, s, func(tx *db.Tx) (loginState, error) {
		f, err := db.One(tx, func(r db.Row) (loginState, error) {
			var f loginState
			err := r.Scan(&f.count, &f.at)
			return f, err
		}, `SELECT failed_count, failed_at FROM identity_logins WHERE user_id = $1`, id)
		if errors.Is(err, db.ErrNotFound) {
			err = nil
		}
		return f, err
	})
}

func (s *Service) locked(ctx context.Context, u knownUser) (bool, error) {
	c := s.o.Conf.SecurityCompliance
	if c.FailureAttempts == 0 {
		return false, nil
	}
	f, err := s.loginState(ctx, u.id)
	return u.id != "" && !truth(u.options, "ignore_lockout_failure_attempts") && lockedAt(f, c.FailureAttempts, c.LockoutDuration, s.o.Now().UnixMicro()), err
}

// noteFailure counts a failed login and gives their number. After a lock has ended counting starts anew.
func (s *Service) noteFailure(ctx context.Context, id string) (count int64, err error) {
	c := s.o.Conf.SecurityCompliance
	if c.FailureAttempts == 0 {
		return 0, nil
	}
	now := s.o.Now().UnixMicro()
	over := int64(0)
	if c.LockoutDuration != 0 {
		over = now - c.LockoutDuration.Microseconds()
	}
	err = s.o.DB.Write(ctx, func(tx *db.Tx) error {
		count, err = db.One(tx, db.Value[int64], `INSERT INTO identity_logins (user_id, failed_count, failed_at) VALUES ($1, 1, $2) ON CONFLICT (user_id) DO UPDATE SET
			failed_count = CASE WHEN identity_logins.failed_count >= $3 AND identity_logins.failed_at <= $4 THEN 1 ELSE identity_logins.failed_count + 1 END,
			failed_at = excluded.failed_at RETURNING failed_count`, id, now, int64(c.FailureAttempts), over)
		return err
	})
	return count, err
}

// takeBack undoes one noteFailure.
func (s *Service) takeBack(ctx context.Context, id string) error {
	if s.o.Conf.SecurityCompliance.FailureAttempts == 0 {
		return nil
	}
	return s.o.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(`UPDATE identity_logins SET failed_count = failed_count - 1 WHERE user_id = $1 AND failed_count > 0`, id)
		return err
	})
}

// loggedIn notes a login: its day, once a day, and that failures before it do not count. It is not one before all methods that the user's
// rules want were proved: the right password must not clear the count of wrong passcodes.
func (s *Service) loggedIn(ctx context.Context, id string) error {
	today := s.o.Now().Truncate(day).UnixMicro()
	seen, _ := s.seen.get(id)
	failures := loginState{}
	if s.o.Conf.SecurityCompliance.FailureAttempts != 0 {
		var err error
		if failures, err = s.loginState(ctx, id); err != nil {
			return err
		}
	}
	if seen == today && failures.count == 0 {
		return nil
	}
	err := s.o.DB.Write(ctx, func(tx *db.Tx) error { return noteActive(tx, id, today) })
	if err == nil {
		s.seen.put(id, today)
	}
	return err
}

// noteActive sets the day of a user's last login and forgets failures.
func noteActive(tx *db.Tx, id string, today int64) error {
	_, err := tx.Exec(`INSERT INTO identity_logins (user_id, last_active_at) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET last_active_at = excluded.last_active_at, failed_count = 0, failed_at = 0`, id, today)
	return err
}

// enabledAgain is what any change of an enabled user does: upstream sets the attribute anew, which unlocks the account and counts as
// activity (keystone/identity/backends/sql_model.py, the setter of User.enabled).
func (s *Service) enabledAgain(tx *db.Tx, id string) error {
	if s.o.Conf.SecurityCompliance.DaysInactive != 0 {
		return noteActive(tx, id, s.o.Now().Truncate(day).UnixMicro())
	}
	_, err := tx.Exec(`UPDATE identity_logins SET failed_count = 0, failed_at = 0 WHERE user_id = $1`, id)
	return err
}

// newLogin notes when a user was made.
func (s *Service) newLogin(tx *db.Tx, id string) error {
	_, err := tx.Exec(`INSERT INTO identity_logins (user_id, created_at) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING`, id, s.o.Now().UnixMicro())
	return err
}
