package identity

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity/directory"
)

// sighting is what a directory has said, to be stored: entries, and who is in what. All ids are the directory's.
type sighting struct {
	users  []directory.User
	groups []directory.Group
	// of are the users whose groups, all of them, are groups; in are the groups whose members, all of them, are users.
	of, in string
	// allUsers and allGroups tell that there are no others.
	allUsers, allGroups bool
	goneUser, goneGroup string
}

// mirror brings the rows of a domain's users and groups up to what its directory says. Mostly nothing has changed: that is found out without writing, since
// every change of users moves the authorisation epoch, with which all that is remembered goes (see shadowing, which does the same for federated users).
type mirror struct {
	s      *Service
	d      *domainDirectory
	tx     *db.Tx
	writes bool
}

// mirrorPage bounds what one transaction writes.
const mirrorPage = 500

// keep stores a sighting.
func (s *Service) keep(ctx context.Context, d *domainDirectory, seen sighting) error {
	if len(seen.users)+len(seen.groups) <= mirrorPage {
		return s.mirrored(ctx, d, func(m *mirror) error {
			users, groups, err := m.store(seen.users, seen.groups)
			if err != nil {
				return err
			}
			return m.relate(seen, users, groups)
		})
	}
	var users, groups []string
	for part := range slices.Chunk(seen.users, mirrorPage) {
		var ids []string
		if err := s.mirrored(ctx, d, func(m *mirror) (err error) { ids, _, err = m.store(part, nil); return err }); err != nil {
			return err
		}
		users = append(users, ids...)
	}
	for part := range slices.Chunk(seen.groups, mirrorPage) {
		var ids []string
		if err := s.mirrored(ctx, d, func(m *mirror) (err error) { _, ids, err = m.store(nil, part); return err }); err != nil {
			return err
		}
		groups = append(groups, ids...)
	}
	return s.mirrored(ctx, d, func(m *mirror) error { return m.relate(seen, users, groups) })
}

// mirrored runs work that mostly finds nothing to write.
func (s *Service) mirrored(ctx context.Context, d *domainDirectory, work func(*mirror) error) error {
	run := func(writes bool) func(*db.Tx) error {
		return func(tx *db.Tx) error {
			if writes {
				if err := s.stillThere(tx, d); err != nil {
					return err
				}
			}
			return work(&mirror{s: s, d: d, tx: tx, writes: writes})
		}
	}
	var err error
	for range 2 {
		if err = s.read(ctx, run(false)); errors.Is(err, errNews) {
			err = s.write(ctx, run(true))
		}
		if !db.IsConflict(err, "") { // another controller saw the same at the same moment
			break
		}
	}
	return err
}

// errReplaced is why what a directory said is not stored.
var errReplaced = errors.New("the domain's configuration has changed since the directory was asked")

// stillThere refuses to store what a directory has said that is the domain's no more. Who was asked before a change may answer after it, and nobody
// would ever ask again whether that still holds. Files are read at the start alone.
func (s *Service) stillThere(tx *db.Tx, d *domainDirectory) error {
	if s.directories.files != nil {
		return nil
	}
	stored, err := readConfig(tx, d.domain, "", "")
	if err != nil {
		return err
	}
	if c, err := domainOptions(stored); err == nil && c.Identity.Driver == "ldap" {
		if key, err := configKey(c); err != nil || key == d.key {
			return err
		}
	}
	return s.unavailable(d, errReplaced)
}

// errTaken is the answer to somebody whose id is a federated user's.
var errTaken = errors.New("the id of this user of a directory was given to a user of an identity provider in the same domain; delete that one or give the provider a domain of its own")

func (m *mirror) write() error {
	if !m.writes {
		return errNews
	}
	return nil
}

func (m *mirror) id(kind, local string) string { return entityID(m.d.domain, kind, local) }

// store stores entries and gives the ids of those that could be.
func (m *mirror) store(users []directory.User, groups []directory.Group) (userIDs, groupIDs []string, err error) {
	var want []entry
	for _, u := range users {
		want = append(want, entry{u.ID, m.userDoc(u)})
	}
	if userIDs, err = m.entries(m.s.user, userEntity, "federated_name", want); err != nil {
		return nil, nil, err
	}
	want = nil
	for _, g := range groups {
		want = append(want, entry{g.ID, m.groupDoc(g)})
	}
	groupIDs, err = m.entries(m.s.group, groupEntity, "directory_name", want)
	return userIDs, groupIDs, err
}

// relate stores who is in what and who is gone.
func (m *mirror) relate(seen sighting, users, groups []string) error {
	if seen.of != "" && len(users) == 0 {
		return unauthorized(errTaken)
	}
	if seen.of != "" {
		if err := m.memberships("group_id", "user_id", m.id(userEntity, seen.of), groups); err != nil {
			return err
		}
	}
	if seen.in != "" {
		if err := m.memberships("user_id", "group_id", m.id(groupEntity, seen.in), users); err != nil {
			return err
		}
	}
	return m.gone(seen, users, groups)
}

// entry is an entry as it should be stored.
type entry struct {
	local string
	doc   doc
}

// entries stores users or groups and gives their ids; shown is the column for the name.
func (m *mirror) entries(k *kind, kind, shown string, want []entry) (ids []string, err error) {
	for _, e := range want {
		ids = append(ids, str(e.doc, "id"))
	}
	have, err := m.stored(k, ids)
	if err != nil {
		return nil, err
	}
	mapped := map[string]bool{}
	for chunk := range slices.Chunk(ids, mirrorPage) {
		w := (&db.Where{}).In("public_id", chunk)
		list, err := db.All(m.tx, db.Value[string], `SELECT public_id FROM identity_id_mappings`+w.SQL(), w.Args()...)
		if err != nil {
			return nil, err
		}
		for _, id := range list {
			mapped[id] = true
		}
	}
	ids = ids[:0]
	for _, e := range want {
		id := str(e.doc, "id")
		ok, err := m.entry(k, kind, shown, e, have[id], mapped[id])
		if err != nil {
			return nil, err
		}
		if ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// stored are documents by id.
func (m *mirror) stored(k *kind, ids []string) (map[string]doc, error) {
	out := make(map[string]doc, len(ids))
	for chunk := range slices.Chunk(ids, mirrorPage) {
		list, err := k.all(m.tx, (&db.Where{}).In("id", chunk))
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			out[str(d, "id")] = d
		}
	}
	return out, nil
}

func (m *mirror) userDoc(u directory.User) doc {
	d := doc{"id": m.id(userEntity, u.ID), "domain_id": m.d.domain, "enabled": u.Enabled, "options": doc{}}
	m.extra(m.s.user, d, u.Extra)
	for name, v := range map[string]string{"email": u.Email, "description": u.Description, "default_project_id": u.DefaultProject, "name": u.Name} {
		if v != "" {
			d[name] = v
		}
	}
	return d
}

func (m *mirror) groupDoc(g directory.Group) doc {
	d := doc{"id": m.id(groupEntity, g.ID), "domain_id": m.d.domain}
	m.extra(m.s.group, d, g.Extra)
	d["name"], d["description"] = g.Name, g.Description
	return d
}

func (m *mirror) extra(k *kind, d doc, more map[string]string) {
	for name, v := range more {
		if _, column := k.column(name); !column && !slices.Contains(privateMembers, name) {
			d[name] = v
		}
	}
}

// entry stores a user or group. The column name holds the id, since names in a directory need not be unique.
func (m *mirror) entry(k *kind, kind, shown string, want entry, have doc, mapped bool) (ok bool, err error) {
	id := str(want.doc, "id")
	if mapped && have != nil && equalDocs(have, want.doc) {
		return true, nil
	}
	if have != nil && !mapped {
		// The same id was made for a federated user whose identity provider has this domain. Upstream takes the two for one; here nobody gets another's roles.
		m.s.o.Logger.Warn("an entry of a directory is left out: its id is taken by a user of an identity provider", "domain", m.d.name, "id", id)
		return false, nil
	}
	if err := m.write(); err != nil {
		return false, err
	}
	if !mapped {
		if _, err := m.tx.Exec(`INSERT INTO identity_id_mappings (public_id, domain_id, entity_type, local_id) VALUES ($1,$2,$3,$4)`, id, m.d.domain, kind, want.local); err != nil {
			return false, err
		}
	}
	row := clone(want.doc)
	hidden := hiddenColumn{shown, row["name"]}
	row["name"] = id
	if have == nil {
		return true, k.insert(m.tx, row, hidden)
	}
	if kind == userEntity {
		setDefault(row, "default_project_id", "")
	}
	return true, k.replace(m.tx, row, hidden)
}

// equalDocs compares a stored document with what it should be, where a member that is missing is null.
func equalDocs(have, want doc) bool {
	for name, v := range have {
		if w := want[name]; w == nil && v == nil || reflect.DeepEqual(v, w) {
			continue
		}
		if o, ok := v.(map[string]any); ok && len(o) == 0 && len(asDoc(want[name])) == 0 {
			continue
		}
		return false
	}
	for name := range want {
		if _, ok := have[name]; !ok {
			return false
		}
	}
	return true
}

// memberships makes what is beside an id in identity_members what it should be.
func (m *mirror) memberships(column, by, id string, want []string) error {
	have, err := db.All(m.tx, db.Value[string], `SELECT `+column+` FROM identity_members WHERE `+by+` = $1`, id)
	if err != nil {
		return err
	}
	is, should := map[string]bool{}, map[string]bool{}
	for _, v := range have {
		is[v] = true
	}
	for _, v := range want {
		should[v] = true
		if is[v] {
			continue
		}
		if err := m.write(); err != nil {
			return err
		}
		if _, err := m.tx.Exec(`INSERT INTO identity_members (`+column+`, `+by+`) VALUES ($1,$2) ON CONFLICT DO NOTHING`, v, id); err != nil {
			return err
		}
	}
	for _, v := range have {
		if should[v] {
			continue
		}
		if err := m.write(); err != nil {
			return err
		}
		if _, err := m.tx.Exec(`DELETE FROM identity_members WHERE `+column+` = $1 AND `+by+` = $2`, v, id); err != nil {
			return err
		}
	}
	return nil
}

// gone takes away the rows of entries that are not there any more. Their ids and roles stay for when they come back, as upstream's do: a filter with a
// mistake in it must not cost the roles of a whole company.
func (m *mirror) gone(seen sighting, users, groups []string) error {
	if seen.goneUser != "" {
		if err := m.drop(m.s.user, "user_id", m.id(userEntity, seen.goneUser)); err != nil {
			return err
		}
	}
	if seen.goneGroup != "" {
		if err := m.drop(m.s.group, "group_id", m.id(groupEntity, seen.goneGroup)); err != nil {
			return err
		}
	}
	if seen.allUsers {
		if err := m.others(m.s.user, userEntity, "user_id", users); err != nil {
			return err
		}
	}
	if seen.allGroups {
		return m.others(m.s.group, groupEntity, "group_id", groups)
	}
	return nil
}

func (m *mirror) others(k *kind, kind, member string, present []string) error {
	have, err := db.All(m.tx, db.Value[string], `SELECT id FROM `+k.table+` WHERE id IN (SELECT public_id FROM identity_id_mappings WHERE domain_id = $1 AND entity_type = $2)`, m.d.domain, kind)
	if err != nil {
		return err
	}
	is := map[string]bool{}
	for _, id := range present {
		is[id] = true
	}
	for _, id := range have {
		if is[id] {
			continue
		}
		if err := m.drop(k, member, id); err != nil {
			return err
		}
	}
	return nil
}

func (m *mirror) drop(k *kind, member, id string) error {
	n, err := db.One(m.tx, db.Value[int64], `SELECT count(*) FROM `+k.table+` WHERE id = $1 AND id IN (SELECT public_id FROM identity_id_mappings)`, id)
	if err != nil || n == 0 {
		return err
	}
	if err := m.write(); err != nil {
		return err
	}
	return dropMirrored(m.tx, k, member, id)
}

func dropMirrored(tx *db.Tx, k *kind, member, id string) error {
	if _, err := tx.Exec(`DELETE FROM identity_members WHERE `+member+` = $1`, id); err != nil {
		return err
	}
	return k.remove(tx, id)
}

// dropMirror takes away the rows of a domain that keeps its users here from now on.
func (s *Service) dropMirror(tx *db.Tx, domain string) error {
	for _, part := range []struct {
		k      *kind
		member string
	}{{s.user, "user_id"}, {s.group, "group_id"}} {
		ids, err := db.All(tx, db.Value[string], `SELECT id FROM `+part.k.table+` WHERE id IN (SELECT public_id FROM identity_id_mappings WHERE domain_id = $1) ORDER BY id`, domain)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := dropMirrored(tx, part.k, part.member, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropOldMirrors does that at the start for domains whose directory was taken away in keystone.conf.
func (s *Service) dropOldMirrors(ctx context.Context) error {
	dirs, err := s.directoriesAt(ctx, s.epoch.Load())
	if err != nil {
		return fmt.Errorf("identity: directories: %w", err)
	}
	domains, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `SELECT DISTINCT domain_id FROM identity_id_mappings m WHERE EXISTS (SELECT 1 FROM identity_users WHERE id = m.public_id)
			OR EXISTS (SELECT 1 FROM identity_groups WHERE id = m.public_id)`)
	})
	if err != nil {
		return err
	}
	for _, domain := range domains {
		if dirs[domain] != nil {
			continue
		}
		if err := s.write(ctx, func(tx *db.Tx) error { return s.dropMirror(tx, domain) }); err != nil {
			return err
		}
	}
	return nil
}

// forgetDirectory deletes, before their domain goes, the ids of a directory's entries, and the roles and credentials of those who were not there at last.
func (s *Service) forgetDirectory(tx *db.Tx, domain string) error {
	ids, err := db.All(tx, db.Value[string], `SELECT public_id FROM identity_id_mappings WHERE domain_id = $1 AND entity_type = 'user'
		AND public_id NOT IN (SELECT id FROM identity_users) ORDER BY public_id`, domain)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.removeUserThings(tx, id); err != nil {
			return err
		}
	}
	for _, q := range []string{`DELETE FROM identity_assignments WHERE is_group = TRUE AND actor_id IN (SELECT public_id FROM identity_id_mappings WHERE domain_id = $1)`,
		`DELETE FROM identity_id_mappings WHERE domain_id = $1`} {
		if _, err := tx.Exec(q, domain); err != nil {
			return err
		}
	}
	return nil
}
