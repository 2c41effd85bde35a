package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/mapping"
)

// publicID is the id of a user made for a federated one.
func publicID(domain, unique string) string { return entityID(domain, userEntity, unique) }

// quoted is Python's urllib.parse.quote, by which upstream makes ids of names.
func quoted(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), "%2F", "/")
}

// errNews means that a login has something to write.
var errNews = errors.New("something is new")

// shadowing is one login's work on what is stored of its user. Most logins change nothing: they are worked through without writing first, since
// every change of users moves the authorisation epoch, with which all that is remembered goes.
type shadowing struct {
	s      *Service
	tx     *db.Tx
	w      *wayIn
	found  *mapping.Result
	writes bool
	groups []string
	stale  []string // groups whose membership is to be renewed
}

// write tells whether the login may write what it has found new.
func (h *shadowing) write() error {
	if !h.writes {
		return errNews
	}
	return nil
}

// shadow gives the user that stands for a federated one, made or brought up to date, and the groups that the mapping gives it.
func (s *Service) shadow(ctx context.Context, w *wayIn, found *mapping.Result, subject string) (user string, groups []string, err error) {
	if found.User.ID == "" && found.User.Name == "" && subject == "" {
		return "", nil, unauthorized(errors.New("the mapping names no user, and the assertion has no subject"))
	}
	var h *shadowing
	run := func(writes bool) func(*db.Tx) (string, error) {
		return func(tx *db.Tx) (string, error) {
			h = &shadowing{s: s, tx: tx, w: w, found: found, writes: writes}
			return h.run(subject)
		}
	}
	user, err = inRead(ctx, s, run(false))
	if errors.Is(err, errNews) {
		if user, err = inWrite(ctx, s, run(true)); fault.Is(err, 409) {
			// Perhaps the same user's other login was quicker.
			if again, e := inRead(ctx, s, run(false)); e == nil {
				user, err = again, nil
			}
		}
	} else if err == nil && len(h.stale) > 0 {
		// A membership that goes on for longer takes nothing away from anybody: what is remembered stays good.
		err = s.o.DB.Write(ctx, func(tx *db.Tx) error { return renewMemberships(tx, w, user, h.stale) })
	}
	if err != nil {
		return "", nil, err
	}
	return user, h.groups, nil
}

func (h *shadowing) run(subject string) (string, error) {
	var err error
	if h.groups, err = h.findGroups(); err != nil {
		return "", err
	}
	u := h.found.User
	if u.Name == "" {
		// REMOTE_USER comes before the id (keystone/auth/plugins/mapped.py, validate_and_prepare_federated_user).
		if u.Name = subject; u.Name == "" {
			u.Name = u.ID
		}
	}
	if u.ID == "" {
		u.ID = u.Name
	}
	domain, err := h.domain(u.Domain)
	if err != nil {
		return "", err
	}
	user, err := h.findOrMake(quoted(u.ID), u.Name, u.Email, domain)
	if err != nil {
		return "", err
	}
	if err := h.join(user); err != nil {
		return "", err
	}
	return user, h.provideProjects(user, domain)
}

// domain is the domain that a mapping names, or the identity provider's.
func (h *shadowing) domain(d *mapping.Domain) (string, error) {
	switch {
	case d == nil:
		return h.w.domain, nil
	case d.ID != "":
		_, err := h.s.getDomain(h.tx, d.ID)
		return d.ID, err
	}
	id, err := db.One(h.tx, db.Value[string], `SELECT id FROM identity_projects WHERE is_domain = TRUE AND name = $1`, d.Name)
	if errors.Is(err, db.ErrNotFound) {
		err = h.s.domain.notFound(d.Name)
	}
	return id, err
}

// findGroups are the ids of the mapping's groups. One that is named and not there is left out; an id that is not there is a fault of the mapping.
func (h *shadowing) findGroups() ([]string, error) {
	ids := map[string]bool{}
	for _, id := range h.found.GroupIDs {
		if _, err := h.s.group.get(h.tx, id); err != nil {
			if fault.Is(err, 404) {
				err = fmt.Errorf("group %s returned by mapping %s was not found", id, h.w.mappingID)
			}
			return nil, err
		}
		ids[id] = true
	}
	for _, g := range h.found.GroupNames {
		domain, err := h.domain(&g.Domain)
		if err != nil {
			return nil, err
		}
		id, err := db.One(h.tx, db.Value[string], `SELECT id FROM identity_groups WHERE domain_id = $1 AND `+groupName+` = $2 ORDER BY id LIMIT 1`, domain, g.Name)
		if errors.Is(err, db.ErrNotFound) {
			h.s.o.Logger.Debug("a mapping names a group that is not there", "mapping", h.w.mappingID, "group", g.Name)
			continue
		}
		if err != nil {
			return nil, err
		}
		ids[id] = true
	}
	return slices.Sorted(maps.Keys(ids)), nil
}

// findOrMake is keystone/identity/core.py, _shadow_federated_user.
func (h *shadowing) findOrMake(unique, name, email, domain string) (string, error) {
	var user, shown string
	_, err := db.One(h.tx, func(r db.Row) (bool, error) { return true, r.Scan(&user, &shown) },
		`SELECT user_id, display_name FROM identity_federated_users WHERE idp_id = $1 AND protocol_id = $2 AND unique_id = $3`, h.w.provider, h.w.protocol, unique)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return h.make(unique, name, email, domain)
	case err != nil:
		return "", err
	}
	d, err := h.s.user.get(h.tx, user)
	if err != nil {
		return "", err
	}
	if shown != name {
		if err := h.write(); err != nil {
			return "", err
		}
		if _, err := h.tx.Exec(`UPDATE identity_federated_users SET display_name = $1 WHERE idp_id = $2 AND protocol_id = $3 AND unique_id = $4`, name, h.w.provider, h.w.protocol, unique); err != nil {
			return "", err
		}
		if _, err := renameFederated(h.tx, user, name); err != nil {
			return "", err
		}
		if err := h.s.user.touch(h.tx, user, "update"); err != nil {
			return "", err
		}
	}
	if email != "" && d["email"] != email {
		if err := h.write(); err != nil {
			return "", err
		}
		if _, err := h.s.user.update(h.tx, d, doc{"email": email}); err != nil {
			return "", err
		}
	}
	return user, nil
}

func (h *shadowing) make(unique, name, email, domain string) (string, error) {
	if err := h.write(); err != nil {
		return "", err
	}
	id := publicID(domain, unique)
	if _, err := findLocal(h.tx, id); !errors.Is(err, db.ErrNotFound) {
		if err == nil {
			err = conflict("federated_user", "Duplicate entry").Because(fmt.Errorf("user %s is one of the domain's directory; give the provider a domain of its own", id))
		}
		return "", err
	}
	d := doc{"id": id, "name": id, "domain_id": domain, "enabled": true, "options": doc{}}
	if email != "" {
		d["email"] = email
	}
	if err := h.s.user.insert(h.tx, d, hiddenColumn{"federated_name", name}); err != nil {
		if db.IsConflict(err, "") {
			// Somebody of another provider or protocol has this name in the domain; or had it, before the protocol was deleted.
			return "", conflict("federated_user", "Duplicate entry").Because(fmt.Errorf("user %s is there already, and not by %s and %s; delete it or give the provider a domain of its own", id, h.w.provider, h.w.protocol))
		}
		return "", err
	}
	if err := h.s.newLogin(h.tx, id); err != nil {
		return "", err
	}
	return id, linkFederated(h.tx, id, name, h.w.provider, h.w.protocol, unique)
}

func linkFederated(tx *db.Tx, user, name, provider, protocolID, unique string) error {
	_, err := tx.Exec(`INSERT INTO identity_federated_users (idp_id, protocol_id, unique_id, user_id, display_name) VALUES ($1,$2,$3,$4,$5)`, provider, protocolID, unique, user, name)
	if db.IsConflict(err, "") {
		return conflict("federated_user", "Duplicate entry")
	}
	return err
}

// renameFederated changes the name of a user who exists through federation alone; it tells whether the user is one.
func renameFederated(tx *db.Tx, user, name string) (bool, error) {
	n, err := tx.Exec(`UPDATE identity_users SET federated_name = $1 WHERE id = $2 AND federated_name <> ''`, name, user)
	return n > 0, err
}

// join notes the memberships that last longer than the token.
func (h *shadowing) join(user string) error {
	if h.w.memberFor == 0 || len(h.groups) == 0 {
		return nil
	}
	now := h.tx.NowMicros()
	for _, g := range h.groups {
		n, err := db.One(h.tx, db.Value[int64], `SELECT count(*) FROM identity_expiring_members WHERE user_id = $1 AND group_id = $2 AND idp_id = $3 AND expires_at > $4`, user, g, h.w.provider, now)
		if err != nil {
			return err
		}
		if n > 0 && !h.writes {
			h.stale = append(h.stale, g)
			continue
		}
		if err := h.write(); err != nil {
			return err
		}
		if _, err := h.tx.Exec(`INSERT INTO identity_expiring_members (user_id, group_id, idp_id, last_verified, expires_at) VALUES ($1,$2,$3,$4,$5)
			ON CONFLICT (user_id, group_id, idp_id) DO UPDATE SET last_verified = excluded.last_verified, expires_at = excluded.expires_at`, user, g, h.w.provider, now, now+h.w.memberFor); err != nil {
			return err
		}
	}
	return nil
}

func renewMemberships(tx *db.Tx, w *wayIn, user string, groups []string) error {
	for _, g := range groups {
		if _, err := tx.Exec(`UPDATE identity_expiring_members SET last_verified = $1, expires_at = $2 WHERE user_id = $3 AND group_id = $4 AND idp_id = $5`,
			tx.NowMicros(), tx.NowMicros()+w.memberFor, user, g, w.provider); err != nil {
			return err
		}
	}
	return nil
}

// provideProjects makes the projects that the mapping gives the user, where they are missing, with the user's roles. All roles are looked for before
// anything is made.
func (h *shadowing) provideProjects(user, userDomain string) error {
	roles := map[string]string{}
	for _, p := range h.found.Projects {
		for _, name := range p.Roles {
			id, err := h.role(name, userDomain)
			if err != nil {
				return err
			}
			roles[name] = id
		}
	}
	for _, p := range h.found.Projects {
		domain, err := h.domain(p.Domain)
		if err != nil {
			return err
		}
		id, err := h.project(p.Name, domain)
		if err != nil {
			return err
		}
		for _, name := range p.Roles {
			if err := h.grant(user, id, roles[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// role finds a role by name: a global one, or one of the user's domain.
func (h *shadowing) role(name, domain string) (string, error) {
	type found struct{ id, domain string }
	all, err := db.All(h.tx, func(r db.Row) (f found, err error) { err = r.Scan(&f.id, &f.domain); return f, err },
		`SELECT id, domain_id FROM identity_roles WHERE name = $1 ORDER BY domain_id, id`, name)
	if err != nil {
		return "", err
	}
	for _, f := range all {
		if f.domain == "" || f.domain == domain {
			return f.id, nil
		}
	}
	if len(all) > 0 {
		return "", fault.Forbidden("role: %s must be within the same domain as the identity provider: %s.", name, h.w.provider)
	}
	return "", h.s.role.notFound(name)
}

func (h *shadowing) project(name, domain string) (string, error) {
	id, err := db.One(h.tx, db.Value[string], `SELECT id FROM identity_projects WHERE domain_id = $1 AND name = $2`, domain, name)
	if !errors.Is(err, db.ErrNotFound) {
		return id, err
	}
	if err := h.write(); err != nil {
		return "", err
	}
	p := doc{"id": newID(), "name": name, "domain_id": domain, "parent_id": domain}
	completeProject(p)
	if err := h.s.checkPlace(h.tx, p); err != nil {
		return "", err
	}
	return str(p, "id"), h.s.project.insert(h.tx, p)
}

func (h *shadowing) grant(user, project, role string) error {
	n, err := db.One(h.tx, db.Value[int64], `SELECT count(*) FROM identity_assignments WHERE actor_id = $1 AND target_type = 'project' AND target_id = $2 AND role_id = $3 AND inherited = FALSE`, user, project, role)
	if err != nil || n > 0 {
		return err
	}
	if err := h.write(); err != nil {
		return err
	}
	_, err = h.tx.Exec(`INSERT INTO identity_assignments (actor_id, target_type, target_id, role_id, inherited, is_group) VALUES ($1,'project',$2,$3,FALSE,FALSE)`, user, project, role)
	return err
}

// federatedOf is the member "federated" of a user: whom the user is at which provider; nil: nobody.
func federatedOf(tx *db.Tx, user string) ([]any, error) {
	type link struct{ provider, protocol, unique string }
	all, err := db.All(tx, func(r db.Row) (l link, err error) { err = r.Scan(&l.provider, &l.protocol, &l.unique); return l, err },
		`SELECT idp_id, protocol_id, unique_id FROM identity_federated_users WHERE user_id = $1 ORDER BY idp_id, protocol_id, unique_id`, user)
	var out []any
	for _, l := range all {
		p := doc{"protocol_id": l.protocol, "unique_id": l.unique}
		if n := len(out); n > 0 && out[n-1].(doc)["idp_id"] == l.provider {
			last := out[n-1].(doc)
			last["protocols"] = append(last["protocols"].([]any), p)
			continue
		}
		out = append(out, doc{"idp_id": l.provider, "protocols": []any{p}})
	}
	return out, err
}

// showFederated adds that member to a user.
func showFederated(tx *db.Tx, d doc) error {
	list, err := federatedOf(tx, str(d, "id"))
	if err == nil && list != nil {
		d["federated"] = list
	}
	return err
}

// checkFederated refuses links to providers and protocols that are not there.
func (s *Service) checkFederated(tx *db.Tx, d doc) error {
	list, _ := d["federated"].([]any)
	for _, e := range list {
		provider := str(asDoc(e), "idp_id")
		idp, err := s.fed.provider.find(tx, provider)
		if err != nil {
			return err
		}
		if idp == nil {
			return fault.BadRequest("Could not find Identity Provider: %s", provider)
		}
		protocols, _ := asDoc(e)["protocols"].([]any)
		for _, p := range protocols {
			id := str(asDoc(p), "protocol_id")
			if _, err := getProtocol(tx, provider, id); err != nil {
				if fault.Is(err, 404) {
					err = fault.BadRequest("%s", protocolNotFound(provider, id).Message)
				}
				return err
			}
		}
	}
	return nil
}

// mayLink refuses links to a provider in whose domain the caller could not do that to a user. Who comes by the provider is the linked user from then on:
// whoever knows that one's password would get the groups and projects that the provider's mapping gives.
func (s *Service) mayLink(tx *db.Tx, r *api.Request, rule string, given any) error {
	list, _ := given.([]any)
	for _, e := range list {
		idp, err := s.fed.provider.find(tx, str(asDoc(e), "idp_id"))
		if err != nil {
			return err
		}
		if idp == nil {
			continue
		}
		if err := r.Enforce(rule, about(r, "user", doc{"domain_id": idp["domain_id"]})); err != nil {
			return err
		}
	}
	return nil
}

// setFederated replaces a user's links by those that a body names; without any they stay.
func setFederated(tx *db.Tx, user doc, given any) error {
	list, _ := given.([]any)
	if len(list) == 0 {
		return showFederated(tx, user)
	}
	id := str(user, "id")
	if err := notAPerson(tx, id, "account at an identity provider"); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM identity_federated_users WHERE user_id = $1`, id); err != nil {
		return err
	}
	for _, e := range list {
		protocols, _ := asDoc(e)["protocols"].([]any)
		for _, p := range protocols {
			if err := linkFederated(tx, id, str(user, "name"), str(asDoc(e), "idp_id"), str(asDoc(p), "protocol_id"), str(asDoc(p), "unique_id")); err != nil {
				return err
			}
		}
	}
	return showFederated(tx, user)
}
