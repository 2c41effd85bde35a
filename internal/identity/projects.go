package identity

import (
	"errors"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// maxTreeDepth is keystone's max_project_tree_depth; a domain is the root of its tree.
const maxTreeDepth = 5

// completeProject fills in what a client may leave out.
func completeProject(p doc) {
	setDefault(p, "enabled", true)
	if _, given := p["description"]; !given {
		p["description"] = ""
	}
	setDefault(p, "is_domain", false)
	setDefault(p, "tags", []any{})
	given := object(p, "options")
	p["options"] = doc{}
	if given != nil {
		c := doc{"options": given}
		mergeOptions(doc{}, c)
		p["options"] = c["options"]
	}
}

// parents are the projects above one, nearest first, its domain last.
func (s *Service) parents(tx *db.Tx, p doc) ([]doc, error) {
	var out []doc
	for id := str(p, "parent_id"); id != "" && len(out) < 50; {
		d, err := s.project.get(tx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
		id = str(d, "parent_id")
	}
	return out, nil
}

// subtree are the projects below one, level by level.
func (s *Service) subtree(tx *db.Tx, id string) ([]doc, error) {
	var out []doc
	level := []string{id}
	for len(level) > 0 {
		var next []string
		for chunk := range slices.Chunk(level, maxIn) {
			found, err := s.project.all(tx, (&db.Where{}).In("parent_id", chunk))
			if err != nil {
				return nil, err
			}
			for _, d := range found {
				out, next = append(out, d), append(next, str(d, "id"))
			}
		}
		level = next
	}
	return out, nil
}

// checkPlace verifies where a new project is to stand (keystone/resource/core.py, _enforce_project_constraints).
func (s *Service) checkPlace(tx *db.Tx, p doc) error {
	if truth(p, "is_domain") {
		if str(p, "parent_id") != "" {
			return fault.BadRequest("only root projects are allowed to act as domains.")
		}
		if strings.EqualFold(str(p, "name"), federatedDomain) {
			return fault.BadRequest("Domain cannot be named %s", str(p, "name"))
		}
		return nil
	}
	domain, err := s.getDomain(tx, str(p, "domain_id"))
	if err != nil {
		return asBadRequest(err)
	}
	parent, err := s.project.get(tx, str(p, "parent_id"))
	if err != nil {
		return asBadRequest(err)
	}
	if truth(parent, "is_domain") {
		if parent["id"] != domain["id"] {
			return fault.BadRequest("Cannot create project, the parent (%s) is acting as a domain, but this project's domain id (%s) does not match the parent's id.", parent["id"], domain["id"])
		}
	} else if parent["domain_id"] != domain["id"] {
		return fault.BadRequest("Cannot create project, since it specifies its domain_id %s, but specifies a parent in a different domain (%s).", domain["id"], parent["domain_id"])
	}
	above, err := s.parents(tx, p)
	if err != nil {
		return err
	}
	for _, d := range above {
		if !truth(d, "enabled") {
			return fault.BadRequest("cannot create a project in a branch containing a disabled project: %s", d["id"])
		}
	}
	if len(above)+1 > s.treeDepth() {
		return fault.Forbidden("Max hierarchy depth reached for %s branch.", str(p, "parent_id"))
	}
	return nil
}

// asBadRequest turns a 404 about something that a body names into keystone's 400.
func asBadRequest(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Status == 404 {
		return fault.BadRequest("%s", f.Message)
	}
	return err
}

// changeProject updates a project or a domain.
func (s *Service) changeProject(tx *db.Tx, old, changes doc) (doc, error) {
	changes = clone(changes)
	id := str(old, "id")
	what := "project"
	if truth(old, "is_domain") {
		what = "domain"
	}
	if v, ok := changes["domain_id"]; ok && what == "project" && v != old["domain_id"] {
		return nil, fault.BadRequest("Cannot change Domain ID")
	}
	if err := immutableUpdate(what, old, changes); err != nil {
		return nil, err
	}
	if v, ok := changes["parent_id"]; ok && v != old["parent_id"] {
		return nil, fault.Forbidden("Update of `parent_id` is not allowed.")
	}
	if v, ok := changes["is_domain"]; ok && v != old["is_domain"] {
		return nil, fault.BadRequest("Update of `is_domain` is not allowed.")
	}
	if name, ok := changes["name"].(string); ok {
		changes["name"] = strings.TrimSpace(name)
	}
	mergeOptions(old, changes)
	delete(changes, "domain_id")
	if err := s.toggleProject(tx, old, changes); err != nil {
		return nil, err
	}
	got, err := s.project.update(tx, old, changes)
	if db.IsConflict(err, "") {
		return nil, projectConflict(err, doc{"id": id, "name": changes["name"], "is_domain": old["is_domain"]})
	}
	return got, err
}

// toggleProject checks and carries out a change of enabled.
func (s *Service) toggleProject(tx *db.Tx, old, changes doc) error {
	enabled, given := changes["enabled"].(bool)
	id := str(old, "id")
	switch {
	case !given, enabled && truth(old, "enabled"):
		return nil
	case !enabled && !truth(old, "enabled"):
		return voidProject(tx, id) // as for users, in changeUser
	case enabled:
		above, err := s.parents(tx, old)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(above, func(d doc) bool { return !truth(d, "enabled") }) {
			return fault.Forbidden("Cannot enable project %s since it has disabled parents", id)
		}
		return nil
	}
	if !truth(old, "is_domain") {
		below, err := s.subtree(tx, id)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(below, func(d doc) bool { return truth(d, "enabled") }) {
			return fault.Forbidden("Cannot disable project %s since its subtree contains enabled projects.", id)
		}
	}
	return revokeProject(tx, id, truth(old, "is_domain"))
}

// removeProject deletes a project with what belongs to it.
func (s *Service) removeProject(tx *db.Tx, id string) error {
	if u, err := s.serviceUser(tx, id); err == nil {
		if err := s.removeUser(tx, str(u, "id")); err != nil {
			return err
		}
	} else if !fault.Is(err, 404) {
		return err
	}
	for _, q := range []string{
		`DELETE FROM identity_assignments WHERE target_type = 'project' AND target_id = $1`,
		`DELETE FROM identity_credentials WHERE project_id = $1`,
		`DELETE FROM identity_application_credentials WHERE project_id = $1`,
		`DELETE FROM identity_limits WHERE project_id = $1`,
		`DELETE FROM identity_project_endpoints WHERE project_id = $1`,
		`DELETE FROM identity_project_endpoint_groups WHERE project_id = $1`,
	} {
		if _, err := tx.Exec(q, id); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(`UPDATE identity_trusts SET deleted_at = $1 WHERE project_id = $2 AND deleted_at = 0`, tx.NowMicros(), id); err != nil {
		return err
	}
	users, err := db.All(tx, db.Value[string], `SELECT id FROM identity_users WHERE default_project_id = $1 ORDER BY id`, id)
	if err != nil {
		return err
	}
	for _, u := range users {
		if _, err := tx.Exec(`UPDATE identity_users SET default_project_id = '' WHERE id = $1`, u); err != nil {
			return err
		}
		if err := s.user.touch(tx, u, "update"); err != nil {
			return err
		}
	}
	if err := dropOAuth(tx, "project_id", id); err != nil {
		return err
	}
	if err := addRevocation(tx, revocation{project: id}); err != nil {
		return err
	}
	return s.project.remove(tx, id)
}
