package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// Who names a user and a scope, by ids or names. Of Project, Domain and System at most one is set; none is an unscoped token.
type Who struct {
	User, UserDomain       string // UserDomain counts for a name; empty: Default
	Project, ProjectDomain string
	Domain                 string
	System                 bool
}

// CallerOf is what a token of that user on that scope would be worth now, without making one.
func (s *Service) CallerOf(ctx context.Context, w Who) (*api.Caller, error) {
	var c *api.Caller
	err := s.read(ctx, func(tx *db.Tx) error {
		// An audit id of its own: revocations of users and projects name no token, so an empty one would match them all.
		audit, err := newAuditID()
		if err != nil {
			return err
		}
		t := &Token{System: w.System, AuditIDs: []string{audit}}
		if t.UserID, err = userNamed(tx, w.User, w.UserDomain); err != nil {
			return err
		}
		if w.Project != "" {
			if t.ProjectID, err = projectNamed(tx, w.Project, w.ProjectDomain); err != nil {
				return err
			}
		}
		if w.Domain != "" {
			if t.DomainID, err = domainNamed(tx, w.Domain); err != nil {
				return err
			}
		}
		se, err := s.resolve(tx, t, true)
		if err != nil {
			return err
		}
		c = se.caller
		return nil
	})
	return c, err
}

func oneNamed(tx *db.Tx, what, name, q string, args ...any) (string, error) {
	ids, err := db.All(tx, db.Value[string], q, args...)
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "", fmt.Errorf("there is no %s %s", what, name)
	}
	return ids[0], nil // an id comes before a name that looks like it
}

func domainNamed(tx *db.Tx, name string) (string, error) {
	if name == "" {
		name = defaultDomain
	}
	return oneNamed(tx, "domain", name, `SELECT id FROM identity_projects WHERE is_domain = TRUE AND (id = $1 OR name = $1) ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END`, name)
}

func projectNamed(tx *db.Tx, name, domain string) (string, error) {
	d, err := domainNamed(tx, domain)
	if err != nil {
		return "", err
	}
	return oneNamed(tx, "project", name, `SELECT id FROM identity_projects WHERE is_domain = FALSE AND (id = $1 OR name = $1 AND domain_id = $2) ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END`, name, d)
}

func userNamed(tx *db.Tx, name, domain string) (string, error) {
	if name == "" {
		return "", errors.New("no user is named")
	}
	d, err := domainNamed(tx, domain)
	if err != nil {
		return "", err
	}
	return oneNamed(tx, "user", name, `SELECT id FROM identity_users WHERE id = $1 OR `+userName+` = $1 AND domain_id = $2 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END`, name, d)
}
