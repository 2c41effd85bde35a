package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// The parts of a cloud that are there from the start, with fixed ids where clients expect them.
const (
	defaultDomain = "default"
)

// implied roles of the first start (keystone's bootstrap since 2023.2).
var firstImplications = [][2]string{{"admin", "manager"}, {"manager", "member"}, {"member", "reader"}}

// firstCatalog is a service per API of this cloud; clients append the version where the path has none.
var firstCatalog = []struct{ typ, name, path string }{
	{"identity", "keystone", "/identity"},
	{"compute", "nova", "/compute/v2.1"},
	{"network", "neutron", "/network"},
	{"image", "glance", "/image"},
	{"placement", "placement", "/placement"},
}

// Bootstrap makes the default domain, the roles, the projects admin and service, the user admin and the catalog, where they are missing. An empty
// adminPassword means a random one, which is returned when the user was made now; only its hash is stored.
func (s *Service) Bootstrap(ctx context.Context, adminPassword string) (generated string, err error) {
	var there bool
	err = s.read(ctx, func(tx *db.Tx) error {
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_users WHERE domain_id = $1 AND name = 'admin'`, defaultDomain)
		there = n > 0
		return err
	})
	if err != nil {
		return "", err
	}
	hash := ""
	if !there {
		if adminPassword == "" {
			var b [18]byte
			if _, err := rand.Read(b[:]); err != nil {
				return "", err
			}
			generated = base64.RawURLEncoding.EncodeToString(b[:])
			adminPassword = generated
		}
		if hash, err = s.passwords.hash(ctx, adminPassword); err != nil {
			return "", err
		}
	}
	err = s.write(ctx, func(tx *db.Tx) error { return s.bootstrap(tx, hash) })
	if err == nil && s.epoch.Load() > 0 {
		s.catalog.Store(nil)
	}
	return generated, err
}

func (s *Service) bootstrap(tx *db.Tx, adminHash string) error {
	ensure := func(k *kind, id, where string, args []any, d doc, hidden ...hiddenColumn) (string, error) {
		have, err := db.One(tx, db.Value[string], `SELECT id FROM `+k.table+` WHERE `+where, args...)
		if err == nil {
			return have, nil
		}
		if !errors.Is(err, db.ErrNotFound) {
			return "", err
		}
		d["id"] = id
		return id, k.insert(tx, d, hidden...)
	}
	project := func(id, domain, name, description string, isDomain bool) (string, error) {
		d := doc{"name": name, "domain_id": domain, "parent_id": domain, "is_domain": isDomain, "enabled": true, "description": description, "tags": []string{}, "options": doc{}}
		return ensure(s.project, id, "domain_id = $1 AND name = $2", []any{domain, name}, d)
	}
	if _, err := project(defaultDomain, "", "Default", "The default domain", true); err != nil {
		return err
	}
	admin, err := project(newID(), defaultDomain, "admin", "Bootstrap project for initializing the cloud.", false)
	if err != nil {
		return err
	}
	if _, err := project(newID(), defaultDomain, "service", "", false); err != nil {
		return err
	}
	roles := map[string]string{}
	for _, name := range []string{"admin", "manager", "member", "reader", "service"} {
		id, err := ensure(s.role, newID(), "domain_id = '' AND name = $1", []any{name}, doc{"name": name, "options": doc{"immutable": true}})
		if err != nil {
			return err
		}
		roles[name] = id
	}
	for _, pair := range firstImplications {
		if _, err := tx.Exec(`INSERT INTO identity_implied_roles (prior_role_id, implied_role_id) VALUES ($1,$2) ON CONFLICT DO NOTHING`, roles[pair[0]], roles[pair[1]]); err != nil {
			return err
		}
	}
	if adminHash != "" {
		user, err := ensure(s.user, newID(), "domain_id = $1 AND name = 'admin'", []any{defaultDomain},
			doc{"name": "admin", "domain_id": defaultDomain, "enabled": true, "options": doc{}}, hiddenColumn{"password_hash", adminHash}, hiddenColumn{"password_expires_at", s.passwordExpiry(nil, false)})
		if err != nil {
			return err
		}
		if err := s.newLogin(tx, user); err != nil {
			return err
		}
		if err := s.keepPassword(tx, user, "", adminHash, false); err != nil {
			return err
		}
		for _, target := range [][2]string{{"project", admin}, {"system", "system"}} {
			if _, err := tx.Exec(`INSERT INTO identity_assignments (actor_id, target_type, target_id, role_id, inherited, is_group) VALUES ($1,$2,$3,$4,FALSE,FALSE) ON CONFLICT DO NOTHING`,
				user, target[0], target[1], roles["admin"]); err != nil {
				return err
			}
		}
	}
	if _, err := ensure(s.region, s.o.Region, "id = $1", []any{s.o.Region}, doc{}); err != nil {
		return err
	}
	for _, c := range firstCatalog {
		id, err := ensure(s.service, newID(), "type = $1", []any{c.typ}, doc{"type": c.typ, "name": c.name, "enabled": true})
		if err != nil {
			return err
		}
		for _, iface := range []string{"public", "internal", "admin"} {
			if _, err := ensure(s.endpoint, newID(), "service_id = $1 AND interface = $2", []any{id, iface},
				doc{"interface": iface, "region_id": s.o.Region, "service_id": id, "url": publicMark + c.path, "enabled": true}); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetPassword sets a local user's password by user and domain name, as an operator with access to the machine does. It enables and
// unlocks the account, as upstream's bootstrap does for its admin: it is the way back in. The password is the program's own, so the rules for
// passwords that people choose are not asked, and it need not be changed at its first use.
func (s *Service) SetPassword(ctx context.Context, domain, user, password string) error {
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *db.Tx) error {
		u, err := s.findUser(tx, doc{"name": user, "domain": map[string]any{"name": domain}})
		if err != nil {
			return err
		}
		if u.id == "" {
			return fault.NotFound("there is no user %q in the domain %q", user, domain)
		}
		if err := passwordless(tx, u.id); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE identity_users SET password_hash = $1, password_expires_at = $2, enabled = TRUE WHERE id = $3`, hash, s.passwordExpiry(u.options, false), u.id); err != nil {
			return err
		}
		if err := s.keepPassword(tx, u.id, u.hash, hash, false); err != nil {
			return err
		}
		if err := s.enabledAgain(tx, u.id); err != nil {
			return err
		}
		if err := s.user.touch(tx, u.id, "update"); err != nil {
			return err
		}
		return revokeUser(tx, u.id)
	})
}
