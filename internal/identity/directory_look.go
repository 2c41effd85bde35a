package identity

import (
	"context"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity/directory"
)

// The rest of the package reads users and groups from its tables. What is here makes those say what the directory says: before a request that names
// an entry, before a list, when a token is made or validated.

// how tells what is wanted of a look at a directory.
type how struct {
	now     bool // even if it was asked a moment ago
	members bool // with a group's members
}

// look sees to it that what is stored of an entry is what the directory says, or said not long ago. Ids of no entry are nothing to it.
func (s *Service) look(ctx context.Context, dirs map[string]*domainDirectory, id string, h how) error {
	if len(dirs) == 0 || id == "" {
		return nil
	}
	e, ok, err := s.localOf(ctx, id)
	if err != nil || !ok {
		return err
	}
	d := dirs[e.domain]
	if d == nil {
		return nil
	}
	key := id
	if h.members {
		key = "members|" + id
	}
	if h.now {
		return s.lookNow(ctx, d, e, key, h)
	}
	if s.remembered(d, key) {
		return nil
	}
	_, err, _ = d.flights.Do(key, func() (any, error) { return nil, s.lookNow(context.WithoutCancel(ctx), d, e, key, h) })
	return err
}

func (s *Service) lookNow(ctx context.Context, d *domainDirectory, e localEntity, key string, h how) error {
	var seen sighting
	err := s.ask(d, func(dir *directory.Directory) (err error) {
		if e.kind == userEntity {
			seen, err = sightUser(ctx, dir, e.id)
		} else {
			seen, err = sightGroup(ctx, dir, e.id, h.members)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.keep(ctx, d, seen); err != nil {
		return err
	}
	s.remember(d, key)
	return nil
}

// sightUser asks for a user with its groups.
func sightUser(ctx context.Context, dir *directory.Directory, id string) (sighting, error) {
	u, err := dir.User(ctx, id)
	if errors.Is(err, directory.ErrNotFound) {
		return sighting{goneUser: id}, nil
	}
	if err != nil {
		return sighting{}, err
	}
	return withGroups(ctx, dir, u, id)
}

// withGroups is a user with its groups. The id goes on as it was given out, whatever its case is now.
func withGroups(ctx context.Context, dir *directory.Directory, u *directory.User, id string) (sighting, error) {
	groups, err := dir.GroupsOf(ctx, u)
	known := *u
	known.ID = id
	return sighting{users: []directory.User{known}, groups: groups, of: id}, err
}

func sightGroup(ctx context.Context, dir *directory.Directory, id string, members bool) (sighting, error) {
	g, err := dir.Group(ctx, id)
	if errors.Is(err, directory.ErrNotFound) {
		return sighting{goneGroup: id}, nil
	}
	if err != nil {
		return sighting{}, err
	}
	known := *g
	known.ID = id
	seen := sighting{groups: []directory.Group{known}}
	if members {
		seen.in = id
		seen.users, err = dir.Members(ctx, g)
	}
	return seen, err
}

// lookAt is look for a request.
func (s *Service) lookAt(ctx context.Context, r *api.Request, id string, h how) error {
	dirs, err := s.directoriesFor(ctx, r)
	if err != nil {
		return err
	}
	return s.look(ctx, dirs, id, h)
}

// admitted turns callers away whose token is not for this service, and has a look at the users and groups that the path names.
func (s *Service) admitted(r *api.Request) error {
	if err := admit(r); err != nil {
		return err
	}
	if !s.o.Conf.Identity.DomainSpecificDrivers {
		return nil
	}
	ctx := r.HTTP.Context()
	for _, name := range []string{"user_id", "group_id"} {
		if err := s.lookAt(ctx, r, r.Path(name), how{}); err != nil {
			return err
		}
	}
	return nil
}

// listDomain is the domain whose directory a list is about, or nil (keystone/server/flask/common.py, _get_domain_id_for_list_request).
func (s *Service) listDomain(ctx context.Context, r *api.Request) (*domainDirectory, error) {
	dirs, err := s.directoriesFor(ctx, r)
	if err != nil || len(dirs) == 0 {
		return nil, err
	}
	id := r.Query().Get("domain_id")
	for _, own := range []string{r.Caller.DomainID, r.Caller.ProjectDomainID} {
		if id == "" {
			id = own
		}
	}
	return dirs[id], nil
}

// lookAtList narrows a list of users or groups: to those of the directory whose domain is asked for, after it was asked, or to those of none.
func (s *Service) lookAtList(ctx context.Context, r *api.Request, kind string, l *listing) error {
	d, err := s.listDomain(ctx, r)
	if err != nil {
		return err
	}
	const mapped = "(SELECT public_id FROM identity_id_mappings)"
	if d == nil {
		// Upstream's lists come from one backend: without a domain from the cloud's own (keystone/identity/core.py, list_users).
		if s.o.Conf.Identity.DomainSpecificDrivers {
			l.where.Add("id NOT IN " + mapped)
		}
		return nil
	}
	l.max = d.limit
	l.where.Add("domain_id = ? AND id IN "+mapped, d.domain)
	names := r.Query()["name"]
	if len(names) == 0 {
		if r.Query().Get("marker") != "" && s.remembered(d, "all|"+kind) { // a later page of the list that was read for the first one
			return nil
		}
		return s.lookAtAll(ctx, d, kind, "", l)
	}
	for _, name := range names {
		if err := s.lookAtAll(ctx, d, kind, name, l); err != nil {
			return err
		}
	}
	// Who has the name was the directory's answer: it does not mind case.
	l.filters = without(l.filters, "name")
	return nil
}

func without(list []string, one string) (out []string) {
	for _, v := range list {
		if v != one {
			out = append(out, v)
		}
	}
	return out
}

// fewNames are as many as a query can name; more have the same name only by mistake.
const fewNames = 500

func (s *Service) lookAtAll(ctx context.Context, d *domainDirectory, kind, name string, l *listing) error {
	var seen sighting
	err := s.ask(d, func(dir *directory.Directory) (err error) {
		if kind == userEntity {
			seen.users, err = dir.Users(ctx, name)
		} else {
			seen.groups, err = dir.Groups(ctx, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	seen.allUsers, seen.allGroups = name == "" && kind == userEntity, name == "" && kind == groupEntity
	if err := s.keep(ctx, d, seen); err != nil {
		return err
	}
	if name == "" {
		s.remember(d, "all|"+kind)
		return nil
	}
	var ids []string
	for _, u := range seen.users {
		ids = append(ids, entityID(d.domain, kind, u.ID))
	}
	for _, g := range seen.groups {
		ids = append(ids, entityID(d.domain, kind, g.ID))
	}
	l.where.In("id", ids[:min(len(ids), fewNames)])
	return nil
}

// lookAtGroupsWithRoles has a look at the members of the groups that have roles, for the answer who has a role by them. A directory that cannot be
// asked must not keep the others' answer from anybody: its groups count with the members that were seen last.
func (s *Service) lookAtGroupsWithRoles(ctx context.Context, r *api.Request) error {
	dirs, err := s.directoriesFor(ctx, r)
	if err != nil || len(dirs) == 0 {
		return err
	}
	ids, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `SELECT DISTINCT actor_id FROM identity_assignments WHERE is_group = TRUE AND actor_id IN (SELECT public_id FROM identity_id_mappings) ORDER BY actor_id`)
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.look(ctx, dirs, id, how{members: true}); err != nil && !isUnavailable(err) {
			return err
		}
	}
	return nil
}

// lookAtOwners has a look at whom a token is for, and whose trust it is, be it passed on by others; asked tells whether a directory was asked.
func (s *Service) lookAtOwners(ctx context.Context, se *session) (asked bool, err error) {
	dirs, err := s.directoriesAt(ctx, se.epoch)
	if err != nil || len(dirs) == 0 {
		return false, err
	}
	type owner struct{ id, domain string }
	owners := []owner{{se.user.ID, se.user.domain.ID}}
	if se.trust != nil {
		owners = append(owners, owner{se.trust.trustor, se.trust.trustorAccount.domain.ID})
		for _, id := range se.trust.above {
			e, ok, err := s.localOf(ctx, id)
			if err != nil {
				return false, err
			}
			if ok {
				owners = append(owners, owner{id, e.domain})
			}
		}
	}
	for _, o := range owners {
		d := dirs[o.domain]
		if d == nil || s.remembered(d, o.id) {
			continue
		}
		if err := s.look(ctx, dirs, o.id, how{}); err != nil {
			return false, err
		}
		s.remember(d, o.id) // also those of the domain who are not in its directory
		asked = true
	}
	return asked, nil
}

// lookBeforeMint has a look at whom a token is about to be made for.
func (s *Service) lookBeforeMint(ctx context.Context, r *api.Request, p *authentication) error {
	dirs, err := s.directoriesFor(ctx, r)
	if err != nil || len(dirs) == 0 {
		return err
	}
	if err := s.look(ctx, dirs, p.user, how{}); err != nil || p.trust == "" {
		return err
	}
	trustors, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `WITH RECURSIVE up(trustor, above) AS (SELECT trustor_user_id, redelegated_trust_id FROM identity_trusts WHERE id = $1
			UNION SELECT t.trustor_user_id, t.redelegated_trust_id FROM identity_trusts t JOIN up ON t.id = up.above) SELECT DISTINCT trustor FROM up ORDER BY 1`, p.trust)
	})
	if err != nil {
		return err
	}
	for _, id := range trustors {
		if err := s.look(ctx, dirs, id, how{}); err != nil {
			return err
		}
	}
	return nil
}
