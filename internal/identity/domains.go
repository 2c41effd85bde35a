package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// federatedDomain may not be used as a name (keystone/resource/core.py, assert_domain_not_federated).
const federatedDomain = "federated"

func (s *Service) domainRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "/v3/domains", o("identity:list_domains"), 200, s.listDomains),
		api.Handle("POST", "/v3/domains", o("identity:create_domain"), 201, s.createDomain),
		api.Handle("GET", "/v3/domains/{domain_id}", o("identity:get_domain"), 200, s.showDomain),
		api.Handle("PATCH", "/v3/domains/{domain_id}", o("identity:update_domain"), 200, s.updateDomain),
		api.Handle("DELETE", "/v3/domains/{domain_id}", o("identity:delete_domain"), 204, s.deleteDomain),
	}
}

// getDomain reads a domain; a project of that id is none.
func (s *Service) getDomain(tx *db.Tx, id string) (doc, error) {
	d, err := s.domain.get(tx, id)
	if err == nil && !truth(d, "is_domain") {
		return nil, s.domain.notFound(id)
	}
	return d, err
}

func (s *Service) listDomains(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	l := listing{kind: s.domain, filters: []string{"name", "enabled"}}
	t := policy.Map{}
	if own := r.Caller.DomainID; own != "" {
		t["target.domain.id"] = own
	}
	if err := r.Enforce("identity:list_domains", t); err != nil {
		return nil, err
	}
	l.where.Add("is_domain = TRUE")
	// Whoever has a token for a domain sees that one, be he the admin (keystone/api/domains.py).
	if own := r.Caller.DomainID; own != "" {
		l.where.Add("id = ?", own)
	}
	return s.list(ctx, r, l)
}

func (s *Service) showDomain(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.getDomain(tx, r.Path("domain_id"))
		if err != nil && !fault.Is(err, 404) {
			return nil, err
		}
		if denied := r.Enforce("identity:get_domain", about(r, "domain", d)); denied != nil {
			return nil, denied
		}
		if err != nil {
			return nil, err
		}
		return s.domain.member(s, r, d), nil
	})
}

func (s *Service) createDomain(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_domain", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.domainCreate, memberOf(in, "domain"))
	if err != nil {
		return nil, err
	}
	id := newID()
	if v, ok := d["explicit_domain_id"]; ok && v != nil {
		text, _ := v.(string)
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 16 || hex.EncodeToString(b) != text {
			return nil, fault.BadRequest("Domain ID does not conform to required UUID format.")
		}
		id = text
		delete(d, "explicit_domain_id")
	}
	d = normalized(d)
	d["id"] = id
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if err := s.insertDomain(tx, d); err != nil {
			return nil, err
		}
		got, err := s.getDomain(tx, id)
		if err != nil {
			return nil, err
		}
		return s.domain.member(s, r, got), nil
	})
}

func (s *Service) insertDomain(tx *db.Tx, d doc) error {
	name := strings.TrimSpace(str(d, "name"))
	if strings.EqualFold(name, federatedDomain) {
		return fault.BadRequest("Domain cannot be named %s", name)
	}
	p := clone(d)
	p["name"], p["is_domain"] = name, true
	delete(p, "domain_id")
	delete(p, "parent_id")
	completeProject(p)
	if err := s.project.insert(tx, p); err != nil {
		return projectConflict(err, p)
	}
	return nil
}

// projectConflict words a name or id that is taken.
func projectConflict(err error, p doc) error {
	if !db.IsConflict(err, "") {
		return err
	}
	if truth(p, "is_domain") {
		return conflict("project", "it is not permitted to have two projects acting as domains with the same name: "+str(p, "name"))
	}
	return conflict("project", "it is not permitted to have two projects with either the same name or same id in the same domain: name is "+str(p, "name")+", project id "+str(p, "id"))
}

// enforceDomain asks a rule about the path's domain; an unknown one is 404 to anybody, as upstream's look-up of the target makes it.
func (s *Service) enforceDomain(ctx context.Context, r *api.Request, rule string) error {
	d, err := inRead(ctx, s, func(tx *db.Tx) (doc, error) { return s.getDomain(tx, r.Path("domain_id")) })
	if err != nil {
		r.Asked()
		return err
	}
	return r.Enforce(rule, about(r, "domain", d))
}

func (s *Service) updateDomain(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := s.enforceDomain(ctx, r, "identity:update_domain"); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.domainUpdate, memberOf(in, "domain"))
	if err != nil {
		return nil, err
	}
	id := r.Path("domain_id")
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if _, err := s.getDomain(tx, id); err != nil {
			return nil, err
		}
		if strings.EqualFold(str(d, "name"), federatedDomain) {
			return nil, fault.BadRequest("Domain cannot be named %s", str(d, "name"))
		}
		old, err := s.project.get(tx, id)
		if err != nil {
			return nil, err
		}
		if _, err := s.changeProject(tx, old, d); err != nil {
			return nil, err
		}
		got, err := s.getDomain(tx, id)
		if err != nil {
			return nil, err
		}
		return s.domain.member(s, r, got), nil
	})
}

func (s *Service) deleteDomain(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if err := s.enforceDomain(ctx, r, "identity:delete_domain"); err != nil {
		return api.None{}, err
	}
	id := r.Path("domain_id")
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, err := s.getDomain(tx, id)
		if err != nil {
			return err
		}
		return s.removeDomain(tx, d)
	})
}

// removeDomain deletes a disabled domain with everything in it.
func (s *Service) removeDomain(tx *db.Tx, d doc) error {
	id := str(d, "id")
	if immutable(d) {
		return immutableDelete("domain", id)
	}
	if truth(d, "enabled") {
		return fault.Forbidden("Cannot delete a domain that is enabled, please disable it first.")
	}
	if err := s.forgetDirectory(tx, id); err != nil {
		return err
	}
	for _, part := range []struct {
		k  *kind
		fn func(*db.Tx, string) error
	}{{s.user, s.removeUser}, {s.group, s.removeGroup}, {s.project, s.removeProject}} {
		ids, err := db.All(tx, db.Value[string], `SELECT id FROM `+part.k.table+` WHERE domain_id = $1 ORDER BY id`, id)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := part.fn(tx, id); err != nil {
				return err
			}
		}
	}
	if err := s.removeProvidersOf(tx, id); err != nil {
		return err
	}
	for _, q := range []string{`DELETE FROM identity_assignments WHERE target_id = $1`, `DELETE FROM identity_domain_config WHERE domain_id = $1`, `DELETE FROM identity_limits WHERE domain_id = $1`} {
		if _, err := tx.Exec(q, id); err != nil {
			return err
		}
	}
	return errors.Join(addRevocation(tx, revocation{domain: id}), s.domain.remove(tx, id))
}

// immutable tells whether a resource option protects it.
func immutable(d doc) bool { return truth(object(d, "options"), "immutable") }

func immutableDelete(what, id string) error {
	return fault.Forbidden("Unable to delete immutable %s resource: `%s. Set resource option \"immutable\" to false first.", what, id)
}

// immutableUpdate lets only the protection itself be lifted (keystone/common/resource_options/options/immutable.py).
func immutableUpdate(what string, old, changes doc) error {
	if !immutable(old) {
		return nil
	}
	if v, ok := object(changes, "options")["immutable"]; ok && v != true && len(changes) == 1 {
		return nil
	}
	return fault.Forbidden("Unable to update immutable %s resource: `%s. Set resource option \"immutable\" to false first.", what, str(old, "id"))
}

// mergeOptions applies changed options over the present ones; null removes one.
func mergeOptions(old, changes doc) {
	given := object(changes, "options")
	if given == nil {
		delete(changes, "options")
		return
	}
	merged := clone(object(old, "options"))
	for k, v := range given {
		if v == nil {
			delete(merged, k)
		} else {
			merged[k] = v
		}
	}
	changes["options"] = merged
}
