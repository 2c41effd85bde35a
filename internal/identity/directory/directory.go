// Package directory reads users and groups from an LDAP directory and asks it whether a password is right, as keystone/identity/backends/ldap
// does. It knows connections, filters and what attributes mean. It must not know identity's tables, the ids that the API shows, or HTTP, and it
// never writes to a directory.
package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// ErrNotFound means that the directory has no such user or group.
var ErrNotFound = errors.New("not in the directory")

// User is a user as the directory has it. ID is the value of the attribute that ids are made from.
type User struct {
	ID, DN, Name, Email, Description, DefaultProject string
	Enabled                                          bool
	Extra                                            map[string]string
}

// Group is a group as the directory has it.
type Group struct {
	ID, DN, Name, Description string
	Extra                     map[string]string
}

// Directory is one directory, with its connections. Its methods may be called at the same time.
type Directory struct {
	o             conf.LDAP
	servers       []server
	tls           *tls.Config
	timeout       time.Duration
	users, groups shape
	search, auth  *pool

	mu      sync.Mutex
	down    time.Time // until when nobody tries to connect
	downErr error
}

// restFor is how long a directory that did not answer is left alone: meanwhile everybody gets the same error at once, and does not wait for it.
const restFor = 3 * time.Second

// defaultTimeout takes the place of upstream's "never": somebody is waiting.
const defaultTimeout = 10 * time.Second

// listTimeout bounds a list that the server sends in one piece.
const listTimeout = time.Minute

// Open prepares a directory; it connects when it is asked something. It reads the files of certificates.
func Open(o conf.LDAP) (*Directory, error) {
	if err := Check(o); err != nil {
		return nil, err
	}
	boundPackets()
	d := &Directory{o: o, users: userShape(o), groups: groupShape(o), timeout: timeoutOf(o)}
	var err error
	if d.servers, err = serversOf(o.URL); err != nil {
		return nil, err
	}
	if o.RandomizeURLs {
		rand.Shuffle(len(d.servers), func(i, j int) { d.servers[i], d.servers[j] = d.servers[j], d.servers[i] })
	}
	if d.tls, err = tlsConfig(o); err != nil {
		return nil, err
	}
	d.search = newPool(d, o.PoolSize, o.Pool, time.Duration(o.PoolLifetime)*time.Second, true)
	d.auth = newPool(d, o.AuthPoolSize, o.Pool && o.AuthPool, time.Duration(o.AuthPoolLifetime)*time.Second, false)
	return d, nil
}

func timeoutOf(o conf.LDAP) time.Duration {
	seconds := o.PoolTimeout
	if !o.Pool {
		seconds = o.Timeout
	}
	if seconds <= 0 {
		return defaultTimeout
	}
	return time.Duration(seconds) * time.Second
}

// Close ends the connections that nobody uses; the others end with their use.
func (d *Directory) Close() {
	d.search.close()
	d.auth.close()
}

// User finds a user by id. An attribute may have more values than the one that is the id: whoever is found by another value is not meant.
func (d *Directory) User(ctx context.Context, id string) (*User, error) {
	u, err := d.oneUser(ctx, d.users.byID(id))
	if err == nil && fold(u.ID) != fold(id) {
		return nil, fmt.Errorf("%w: %s has the id %q only beside its own", ErrNotFound, u.DN, id)
	}
	return u, err
}

// UserNamed finds a user by the name that users log in with. A name that several have is nobody's: the attribute need not be unique, and a login
// must not depend on the order of the server's answer. So is an id that several have: the one who was found would get what is the other's. For a name
// that nobody has the same questions are asked.
func (d *Directory) UserNamed(ctx context.Context, name string) (*User, error) {
	u, err := d.oneUser(ctx, d.users.where(equals(d.users.name, name)))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	id := fmt.Sprintf("nobody-%016x", rand.Uint64())
	if u != nil {
		id = u.ID
	}
	owner, failed := d.User(ctx, id)
	switch {
	case err != nil && (failed == nil || errors.Is(failed, ErrNotFound)):
		return nil, err
	case failed != nil:
		return nil, failed
	case !sameDN(owner.DN, u.DN):
		return nil, fmt.Errorf("%w: the id of %s is that of %s", ErrNotFound, u.DN, owner.DN)
	}
	return u, nil
}

func (d *Directory) oneUser(ctx context.Context, filter string) (*User, error) {
	ctx, cancel := within(ctx, 2*d.timeout)
	defer cancel()
	list, err := d.findUsers(ctx, query{base: d.users.tree, filter: filter, limit: 2})
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, ErrNotFound
	case len(list) > 1:
		return nil, fmt.Errorf("%w: %d entries match %s", ErrNotFound, len(list), filter)
	}
	return &list[0], nil
}

// Users lists all users; with a name those who have it, as the directory compares.
func (d *Directory) Users(ctx context.Context, name string) ([]User, error) {
	ctx, cancel := within(ctx, listTimeout)
	defer cancel()
	list, err := d.findUsers(ctx, d.users.list(name))
	if err != nil || name == "" {
		return distinct(list, userID), err
	}
	return d.aloneUsers(ctx, list)
}

func (d *Directory) findUsers(ctx context.Context, q query) ([]User, error) {
	q.attributes = d.users.attributes
	entries, err := d.entries(ctx, q)
	if err != nil {
		return nil, err
	}
	var out []User
	for _, e := range entries {
		if u, ok := d.user(e); ok && !sameDN(u.DN, d.emulationDN()) {
			out = append(out, u)
		}
	}
	return out, d.emulate(ctx, out)
}

// Group finds a group by id.
func (d *Directory) Group(ctx context.Context, id string) (*Group, error) {
	ctx, cancel := within(ctx, 2*d.timeout)
	defer cancel()
	list, err := d.findGroups(ctx, query{base: d.groups.tree, filter: d.groups.byID(id), limit: 2})
	switch {
	case err != nil:
		return nil, err
	case len(list) != 1 || fold(list[0].ID) != fold(id):
		return nil, ErrNotFound
	}
	return &list[0], nil
}

// Groups lists all groups; with a name those that have it.
func (d *Directory) Groups(ctx context.Context, name string) ([]Group, error) {
	ctx, cancel := within(ctx, listTimeout)
	defer cancel()
	list, err := d.findGroups(ctx, d.groups.list(name))
	if err != nil || name == "" {
		return distinct(list, groupID), err
	}
	return d.aloneGroups(ctx, list)
}

func (d *Directory) findGroups(ctx context.Context, q query) ([]Group, error) {
	q.attributes = d.groups.attributes
	entries, err := d.entries(ctx, q)
	if err != nil {
		return nil, err
	}
	var out []Group
	for _, e := range entries {
		if g, ok := d.group(e); ok {
			out = append(out, g)
		}
	}
	return out, nil
}

func userID(u User) string   { return u.ID }
func groupID(g Group) string { return g.ID }

// fold is an id in a form that compares as the directory compares.
func fold(id string) string { return strings.Join(strings.Fields(strings.ToLower(id)), " ") }

// distinct leaves out entries that share an id, as looking one up by id does: nobody can tell which of them is meant.
func distinct[T any](list []T, id func(T) string) []T { return unshared(list, list, id) }

// unshared leaves out those whose id several of all have.
func unshared[T any](list, all []T, id func(T) string) []T {
	count := map[string]int{}
	for _, e := range all {
		count[fold(id(e))]++
	}
	return slices.DeleteFunc(list, func(e T) bool { return count[fold(id(e))] > 1 })
}

// alone leaves out those who share an id with anybody, also with entries that are not on the list: somebody who may make entries in a corner of the
// directory must not be taken for somebody else by the id.
func alone[T any](list []T, id func(T) string, withIDs func([]string) ([]T, error)) ([]T, error) {
	var ids []string
	for _, e := range list {
		ids = append(ids, id(e))
	}
	var all []T
	for part := range slices.Chunk(ids, membersAtOnce) {
		found, err := withIDs(part)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return unshared(list, all, id), nil
}

func (d *Directory) aloneUsers(ctx context.Context, list []User) ([]User, error) {
	return alone(list, userID, func(ids []string) ([]User, error) {
		return d.findUsers(ctx, query{base: d.users.tree, filter: d.users.anyOf(ids)})
	})
}

func (d *Directory) aloneGroups(ctx context.Context, list []Group) ([]Group, error) {
	return alone(list, groupID, func(ids []string) ([]Group, error) {
		return d.findGroups(ctx, query{base: d.groups.tree, filter: d.groups.anyOf(ids)})
	})
}

// GroupsOf lists the groups that a user is in.
func (d *Directory) GroupsOf(ctx context.Context, u *User) ([]Group, error) {
	ctx, cancel := within(ctx, 2*d.timeout)
	defer cancel()
	list, err := d.findGroups(ctx, query{base: d.groups.tree, filter: d.groups.where(d.memberFilter(u))})
	if err != nil {
		return nil, err
	}
	return d.aloneGroups(ctx, list)
}

// Authenticate tells whether a password is the one of the entry with that DN. No empty password gets as far as the server, which would take it for
// somebody who does not want to say who he is, and say yes (RFC 4513, 5.1.2); nor does one with a zero byte, at which some servers stop reading.
func (d *Directory) Authenticate(ctx context.Context, dn, password string) (bool, error) {
	if dn == "" || password == "" || hasZero(password) {
		return false, nil
	}
	ctx, cancel := within(ctx, 2*d.timeout)
	defer cancel()
	return d.bind(ctx, dn, password)
}

// Nobody is a DN below the users' tree that no entry has: who does not exist is refused by the same question to the server as who does.
func (d *Directory) Nobody() string {
	return fmt.Sprintf("cn=nobody-%016x,%s", rand.Uint64(), d.users.tree)
}

// within bounds a question. Whoever asked may go; that must not look like a server that does not answer.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}
