package identity

import (
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// privateMembers of a user are never stored as extra, nor shown.
var privateMembers = []string{"password", "tenants", "groups", "domains", "original_password", "created_at", "last_active_at", "password_hash", "password_expires_at", "federated", "federated_name", "links"}

func (s *Service) notADomain(tx *db.Tx, d doc) error {
	id := str(d, "default_project_id")
	if id == "" {
		return nil
	}
	p, err := s.project.find(tx, id)
	if err == nil && p != nil && truth(p, "is_domain") {
		return fault.BadRequest("User's default project ID cannot be a domain ID: %s", id)
	}
	return err
}

func userConflict(err error, d doc) error {
	if !db.IsConflict(err, "") {
		return err
	}
	return duplicate("user", "name", str(d, "name")+" at domain ID "+str(d, "domain_id"))
}

func (s *Service) insertUser(tx *db.Tx, d doc, p newPassword) error {
	if err := s.checkFederated(tx, d); err != nil {
		return err
	}
	if err := s.notADomain(tx, d); err != nil {
		return err
	}
	if _, err := s.getDomain(tx, str(d, "domain_id")); err != nil {
		return err
	}
	given := doc{"options": d["options"]}
	mergeOptions(doc{}, given)
	if given["options"] == nil {
		given["options"] = doc{}
	}
	d["options"] = given["options"]
	d["name"] = strings.TrimSpace(str(d, "name"))
	setDefault(d, "enabled", true)
	for _, m := range privateMembers {
		delete(d, m)
	}
	var hidden []hiddenColumn
	if p.given {
		// Upstream does not look at the options that come with the user here, only at those of a user that is there (keystone/identity/backends/sql.py, create_user).
		hidden = []hiddenColumn{{"password_hash", p.hash}, {"password_expires_at", s.passwordExpiry(nil, p.hash != "")}}
	}
	if err := s.user.insert(tx, d, hidden...); err != nil {
		return userConflict(err, d)
	}
	id := str(d, "id")
	if err := s.newLogin(tx, id); err != nil || !p.given {
		return err
	}
	return s.keepPassword(tx, id, "", p.hash, false)
}

// changeUser updates a user. A new password and disabling void the user's tokens.
func (s *Service) changeUser(tx *db.Tx, old, changes doc, p newPassword) (doc, error) {
	id := str(old, "id")
	if v, ok := changes["domain_id"]; ok && v != old["domain_id"] {
		return nil, fault.BadRequest("Cannot change Domain ID")
	}
	if err := s.checkFederated(tx, changes); err != nil {
		return nil, err
	}
	if err := s.notADomain(tx, changes); err != nil {
		return nil, err
	}
	if p.hash != "" {
		if err := passwordless(tx, id); err != nil {
			return nil, err
		}
	}
	for _, m := range privateMembers {
		delete(changes, m)
	}
	if name, ok := changes["name"].(string); ok {
		changes["name"] = strings.TrimSpace(name)
		if shadow, err := renameFederated(tx, id, str(changes, "name")); err != nil {
			return nil, err
		} else if shadow {
			delete(changes, "name")
		}
	}
	mergeOptions(old, changes)
	hidden, err := s.replacePassword(tx, old, changes, p)
	if err != nil {
		return nil, err
	}
	disabled := changes["enabled"] == false && truth(old, "enabled")
	got, err := s.user.update(tx, old, changes, hidden...)
	if err != nil {
		if db.IsConflict(err, "") {
			return nil, duplicate("user", "name", str(changes, "name"))
		}
		return nil, err
	}
	if truth(got, "enabled") {
		if err := s.enabledAgain(tx, id); err != nil {
			return nil, err
		}
	}
	switch {
	case p.hash != "" || disabled:
		return got, revokeUser(tx, id)
	case changes["enabled"] == false:
		// On PostgreSQL another request may have enabled the user since it was read, and a token may have been made.
		return got, voidUser(tx, id)
	}
	return got, nil
}

// replacePassword keeps the new password of an update and gives the columns that it changes.
func (s *Service) replacePassword(tx *db.Tx, old, changes doc, p newPassword) ([]hiddenColumn, error) {
	if !p.given {
		return nil, nil
	}
	id := str(old, "id")
	present, err := db.One(tx, db.Value[string], `SELECT password_hash FROM identity_users WHERE id = $1`, id)
	if err != nil {
		return nil, err
	}
	options := object(changes, "options")
	if options == nil {
		options = object(old, "options")
	}
	return []hiddenColumn{{"password_hash", p.hash}, {"password_expires_at", s.passwordExpiry(options, p.hash != "")}}, s.keepPassword(tx, id, present, p.hash, false)
}

// removeUser deletes a user with everything that hangs on it.
func (s *Service) removeUser(tx *db.Tx, id string) error {
	if err := s.removeUserThings(tx, id); err != nil {
		return err
	}
	return s.user.remove(tx, id)
}

// removeUserThings deletes what hangs on a user.
func (s *Service) removeUserThings(tx *db.Tx, id string) error {
	for _, q := range []string{
		`DELETE FROM identity_assignments WHERE actor_id = $1`,
		`DELETE FROM identity_members WHERE user_id = $1`,
		`DELETE FROM identity_totp_steps WHERE credential_id IN (SELECT id FROM identity_credentials WHERE user_id = $1)`,
		`DELETE FROM identity_expiring_members WHERE user_id = $1`,
		`DELETE FROM identity_federated_users WHERE user_id = $1`,
		`DELETE FROM identity_credentials WHERE user_id = $1`,
		`DELETE FROM identity_logins WHERE user_id = $1`,
		`DELETE FROM identity_passwords WHERE user_id = $1`,
		`DELETE FROM identity_application_credentials WHERE user_id = $1`,
		`DELETE FROM identity_access_rules WHERE user_id = $1`,
		`DELETE FROM identity_service_users WHERE user_id = $1`,
	} {
		if _, err := tx.Exec(q, id); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(`UPDATE identity_trusts SET deleted_at = $1 WHERE deleted_at = 0 AND (trustor_user_id = $2 OR trustee_user_id = $2)`, tx.NowMicros(), id); err != nil {
		return err
	}
	if err := dropOAuth(tx, "user_id", id); err != nil {
		return err
	}
	return addRevocation(tx, revocation{user: id})
}
