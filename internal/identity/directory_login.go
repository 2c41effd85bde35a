package identity

import (
	"context"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/directory"
)

// errReadOnly is upstream's LDAP driver's answer to every change.
var errReadOnly = errors.New("LDAP does not support write operations")

func isUnavailable(err error) bool { return fault.Is(err, 503) }

// directoryUser is a user of a directory as a request names one: by this cloud's id, or by name and domain.
type directoryUser struct {
	d    *domainDirectory
	id   string // in the directory; empty: it is named
	name string
}

// inDirectory tells whether a reference means a user of a directory, there or not; nil: it does not.
func (s *Service) inDirectory(ctx context.Context, r *api.Request, ref doc) (*directoryUser, error) {
	dirs, err := s.directoriesFor(ctx, r)
	if err != nil || len(dirs) == 0 {
		return nil, err
	}
	if name := str(ref, "name"); name != "" { // as findUser, the name comes first
		dom := object(ref, "domain")
		for _, d := range dirs {
			if n := str(dom, "name"); n != "" && n == d.name || n == "" && str(dom, "id") == d.domain {
				return &directoryUser{d: d, name: name}, nil
			}
		}
		return nil, nil
	}
	e, ok, err := s.localOf(ctx, str(ref, "id"))
	if err != nil || !ok || e.kind != userEntity || dirs[e.domain] == nil {
		return nil, err
	}
	return &directoryUser{d: dirs[e.domain], id: e.id}, nil
}

// find asks the directory for the user; nil when it has none.
func (s *Service) findInDirectory(ctx context.Context, ref *directoryUser) (u *directory.User, err error) {
	err = s.ask(ref.d, func(dir *directory.Directory) error {
		if ref.id != "" {
			u, err = dir.User(ctx, ref.id)
			if err == nil {
				u.ID = ref.id
			}
			return err
		}
		u, err = dir.UserNamed(ctx, ref.name)
		return err
	})
	if errors.Is(err, directory.ErrNotFound) {
		return nil, nil
	}
	return u, err
}

// adopt stores a user that was found, with its groups, and gives its id.
func (s *Service) adopt(ctx context.Context, d *domainDirectory, u *directory.User) (string, error) {
	var seen sighting
	if err := s.ask(d, func(dir *directory.Directory) (err error) {
		seen, err = withGroups(ctx, dir, u, u.ID)
		return err
	}); err != nil {
		return "", err
	}
	id := entityID(d.domain, userEntity, u.ID)
	if err := s.keep(ctx, d, seen); err != nil {
		return "", err
	}
	s.remember(d, id)
	return id, nil
}

// nobody is a reference to no user.
func nobody() doc { return doc{"id": "nobody"} }

// settled turns a reference to a user of a directory into one that the tables answer; others stay as they are.
func (s *Service) settled(ctx context.Context, r *api.Request, ref doc) (doc, error) {
	named, err := s.inDirectory(ctx, r, ref)
	if err != nil || named == nil {
		return ref, err
	}
	if named.id != "" {
		return ref, s.lookAt(ctx, r, str(ref, "id"), how{})
	}
	u, err := s.findInDirectory(ctx, named)
	if err != nil {
		return nil, err
	}
	if u == nil {
		return nobody(), nil
	}
	id, err := s.adopt(ctx, named.d, u)
	return doc{"id": id}, err
}

// proveInDirectory lets a user in whose password the directory takes. As with the cloud's own users all refusals are one and come after the same work:
// a name that nobody has is tried as well. Nothing is stored before the password was right.
func (s *Service) proveInDirectory(ctx context.Context, r *api.Request, ref *directoryUser, password string) (string, error) {
	if err := s.shortEnough(password); err != nil {
		return "", err
	}
	u, err := s.findInDirectory(ctx, ref)
	if err != nil {
		return "", err
	}
	var ok bool
	if err := s.ask(ref.d, func(dir *directory.Directory) error {
		dn := dir.Nobody()
		if u != nil {
			dn = u.DN
		}
		ok, err = dir.Authenticate(ctx, dn, password)
		return err
	}); err != nil {
		return "", err
	}
	if u == nil {
		return "", unauthorized(errors.New("there is no such user in the directory, or several"))
	}
	id := entityID(ref.d.domain, userEntity, u.ID)
	tried(r, id)
	switch {
	case !ok:
		return "", unauthorized(errPassword)
	case !u.Enabled || !ref.d.enabled:
		return "", unauthorized(errors.New("the user or its domain is disabled"))
	}
	return s.adopt(ctx, ref.d, u)
}

// writableDomain refuses new users and groups in a domain that has a directory.
func (s *Service) writableDomain(ctx context.Context, r *api.Request, domain string) error {
	dirs, err := s.directoriesFor(ctx, r)
	if err == nil && dirs[domain] != nil {
		err = forbidden(errReadOnly)
	}
	return err
}

// writable refuses to change what is a directory's.
func writable(tx *db.Tx, id string) error {
	_, err := findLocal(tx, id)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return forbidden(errReadOnly)
}

// sameBackend refuses memberships of users in groups that are elsewhere, and any in a directory (keystone/identity/core.py, add_user_to_group).
func sameBackend(tx *db.Tx, group, user string) error {
	where := func(id string) (string, error) {
		e, err := findLocal(tx, id)
		if errors.Is(err, db.ErrNotFound) {
			err = nil
		}
		return e.domain, err
	}
	g, err := where(group)
	if err != nil {
		return err
	}
	u, err := where(user)
	switch {
	case err != nil:
		return err
	case g != u:
		return fault.Forbidden("Group membership across backend boundaries is not allowed. Group in question is %s, user is %s.", group, user)
	case g != "":
		return forbidden(errReadOnly)
	}
	return nil
}

// settledAppCred does for an application credential's user what settled does: the one that names it, or the one that it is of.
func (s *Service) settledAppCred(ctx context.Context, r *api.Request, data doc) (doc, error) {
	if !s.o.Conf.Identity.DomainSpecificDrivers {
		return data, nil
	}
	id := str(data, "id")
	if id == "" {
		ref, err := s.settled(ctx, r, object(data, "user"))
		if err != nil || ref == nil {
			return data, err
		}
		data = clone(data)
		data["user"] = ref
		return data, nil
	}
	owner, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `SELECT user_id FROM identity_application_credentials WHERE id = $1`, id)
	})
	if err != nil || len(owner) == 0 {
		return data, err
	}
	return data, s.lookAt(ctx, r, owner[0], how{})
}
