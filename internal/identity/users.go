package identity

import (
	"context"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// privateMembers of a user are never stored as extra, nor shown.
var privateMembers = []string{"password", "tenants", "groups", "domains", "original_password", "created_at", "last_active_at", "password_hash", "password_expires_at", "federated", "links"}

// hashOf hashes the body's password before any transaction is open; "" when there is none.
func (s *Service) hashOf(ctx context.Context, d doc) (string, error) {
	p, ok := d["password"].(string)
	if !ok {
		return "", nil
	}
	return s.passwords.hash(ctx, p)
}

func noFederation(d doc) error {
	list, _ := d["federated"].([]any)
	for _, e := range list {
		return fault.BadRequest("Could not find Identity Provider: %s", str(asDoc(e), "idp_id"))
	}
	return nil
}

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

func (s *Service) insertUser(tx *db.Tx, d doc, hash string) error {
	if err := noFederation(d); err != nil {
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
	return userConflict(s.user.insert(tx, d, hiddenColumn{"password_hash", hash}), d)
}

// changeUser updates a user. A new password and disabling void the user's tokens.
func (s *Service) changeUser(tx *db.Tx, old, changes doc, hash string) (doc, error) {
	id := str(old, "id")
	if v, ok := changes["domain_id"]; ok && v != old["domain_id"] {
		return nil, fault.BadRequest("Cannot change Domain ID")
	}
	if err := noFederation(changes); err != nil {
		return nil, err
	}
	if err := s.notADomain(tx, changes); err != nil {
		return nil, err
	}
	newPassword := hash != ""
	if newPassword {
		if err := passwordless(tx, id); err != nil {
			return nil, err
		}
	}
	for _, m := range privateMembers {
		delete(changes, m)
	}
	if name, ok := changes["name"].(string); ok {
		changes["name"] = strings.TrimSpace(name)
	}
	mergeOptions(old, changes)
	var hidden []hiddenColumn
	if newPassword {
		hidden = append(hidden, hiddenColumn{"password_hash", hash}, hiddenColumn{"password_expires_at", int64(0)})
	}
	disabled := changes["enabled"] == false && truth(old, "enabled")
	got, err := s.user.update(tx, old, changes, hidden...)
	if err != nil {
		if db.IsConflict(err, "") {
			return nil, duplicate("user", "name", str(changes, "name"))
		}
		return nil, err
	}
	if newPassword || disabled {
		return got, revokeUser(tx, id)
	}
	return got, nil
}

// removeUser deletes a user with everything that hangs on it.
func (s *Service) removeUser(tx *db.Tx, id string) error {
	for _, q := range []string{
		`DELETE FROM identity_assignments WHERE actor_id = $1`,
		`DELETE FROM identity_members WHERE user_id = $1`,
		`DELETE FROM identity_credentials WHERE user_id = $1`,
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
	if err := addRevocation(tx, revocation{user: id}); err != nil {
		return err
	}
	return s.user.remove(tx, id)
}
