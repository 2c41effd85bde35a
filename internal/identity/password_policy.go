package identity

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

const day = 24 * time.Hour

// newPassword is a password that a body brings, hashed. A null takes the user's password away.
type newPassword struct {
	given bool
	hash  string
}

// newPasswordOf reads, checks and hashes the body's password before any transaction is open.
func (s *Service) newPasswordOf(ctx context.Context, d doc) (newPassword, error) {
	v, given := d["password"]
	if !given {
		return newPassword{}, nil
	}
	p, ok := v.(string)
	if !ok {
		if s.pattern != nil {
			return newPassword{}, badPassword("Password must be a string type")
		}
		return newPassword{given: true}, nil
	}
	hash, err := s.newHash(ctx, p)
	return newPassword{true, hash}, err
}

func badPassword(detail string) error {
	return fault.BadRequest("Password validation error: %s.", detail)
}

// newHash hashes a password that the rules allow (keystone/common/validation/validators.py).
func (s *Service) newHash(ctx context.Context, password string) (string, error) {
	if err := s.strong(password); err != nil {
		return "", err
	}
	if err := s.shortEnough(password); err != nil {
		return "", err
	}
	return s.passwords.hash(ctx, password)
}

func (s *Service) strong(password string) error {
	if s.pattern == nil {
		return nil
	}
	ok, err := s.pattern.MatchString(password)
	if err != nil { // it took too long
		return badPassword("Unable to validate password due to invalid configuration")
	}
	if !ok {
		words := s.o.Conf.SecurityCompliance.PasswordRegexWords
		if words == "" {
			words = "None"
		}
		return fault.BadRequest("The password does not match the requirements: %s.", words)
	}
	return nil
}

// shortEnough refuses, where the operator wants that, what would be cut. It is asked before a user is looked up, so that it tells nothing.
func (s *Service) shortEnough(password string) error {
	size := min(bcryptMax, s.o.Conf.Identity.MaxPasswordLength)
	if !s.o.Conf.Default.StrictPasswordCheck || len(password) <= size {
		return nil
	}
	return fault.New(http.StatusForbidden, "", "The password length must be less than or equal to %d. The server could not comply with the request because the password is invalid.", size)
}

// passwordExpiry is when a password that is set now ends; 0: never. byAdmin: somebody else chose it
// (keystone/identity/backends/sql_model.py, _get_password_expires_at; sql.py, _change_password_required).
func (s *Service) passwordExpiry(options doc, byAdmin bool) int64 {
	c := s.o.Conf.SecurityCompliance
	now := s.o.Now()
	if byAdmin && c.ChangeUponFirstUse && !truth(options, "ignore_change_password_upon_first_use") {
		return now.UnixMicro()
	}
	if c.PasswordExpiresDays == 0 || truth(options, "ignore_password_expiry") {
		return 0
	}
	return now.Add(time.Duration(c.PasswordExpiresDays) * day).Truncate(time.Second).UnixMicro()
}

// pastPassword is one of a user's passwords.
type pastPassword struct {
	n, createdAt int64
	hash         string
	selfService  bool
}

// tooYoung refuses to change a password that the user chose less than minimum_password_age days ago.
func (s *Service) tooYoung(present pastPassword) error {
	days := s.o.Conf.SecurityCompliance.MinimumPasswordAge
	if !present.selfService {
		return nil
	}
	left := db.Time(present.createdAt).Add(time.Duration(days) * day).Sub(s.o.Now())
	if left <= 0 {
		return nil
	}
	return fault.BadRequest("You cannot change your password at this time due to the minimum password age. Once you change your password, it must be used for %d day(s) before it can be changed. "+
		"Please try again in %d day(s) or contact your administrator to reset your password.", days, int(left/day))
}

// unusedBefore refuses a password that is one of the last unique_last_password_count. past goes from the newest on.
func (s *Service) unusedBefore(ctx context.Context, past []pastPassword, password string) error {
	unique := s.o.Conf.SecurityCompliance.UniqueLastPasswords
	for _, p := range past[:min(len(past), unique)] {
		if p.hash == "" {
			continue
		}
		same, err := s.passwords.compare(ctx, p.hash, password)
		if err != nil {
			return err
		}
		if same {
			return fault.BadRequest("The new password cannot be identical to a previous password. The total number which includes the new password must be unique is %d.", unique)
		}
	}
	return nil
}

// pastPasswords are a user's passwords from the newest on. A user of before there was a list has only the present one.
func pastPasswords(tx *db.Tx, id, present string) ([]pastPassword, error) {
	past, err := db.All(tx, func(r db.Row) (pastPassword, error) {
		var p pastPassword
		err := r.Scan(&p.n, &p.hash, &p.createdAt, &p.selfService)
		return p, err
	}, `SELECT n, hash, created_at, self_service FROM identity_passwords WHERE user_id = $1 ORDER BY n DESC`, id)
	if err == nil && len(past) == 0 && present != "" {
		past = []pastPassword{{hash: present}}
	}
	return past, err
}

// keepPassword adds a password to the user's list, whose older part is cut (keystone/identity/backends/sql_model.py, the setter of
// User.password). present is the hash that it replaces.
func (s *Service) keepPassword(tx *db.Tx, id, present, hash string, selfService bool) error {
	const insert = `INSERT INTO identity_passwords (user_id, n, hash, created_at, self_service) VALUES ($1,$2,$3,$4,$5)`
	past, err := pastPasswords(tx, id, present)
	if err != nil {
		return err
	}
	n := int64(1)
	if len(past) > 0 {
		n = past[0].n + 1
		if past[0].createdAt == 0 {
			if _, err := tx.Exec(insert+` ON CONFLICT DO NOTHING`, id, past[0].n, present, 0, false); err != nil {
				return err
			}
		}
	}
	if _, err := tx.Exec(insert, id, n, hash, s.o.Now().UnixMicro(), selfService); err != nil {
		return err
	}
	keep := max(1, s.o.Conf.SecurityCompliance.UniqueLastPasswords)
	_, err = tx.Exec(`DELETE FROM identity_passwords WHERE user_id = $1 AND n < $2`, id, n-int64(keep))
	return err
}

// errChanged tells that a password was changed between its check and the change that relied on it.
func errChanged(id string) error { return fmt.Errorf("the password of %s was changed meanwhile", id) }
