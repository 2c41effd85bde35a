package identity

import (
	"errors"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// serviceUser is a project's service identity.
func (s *Service) serviceUser(tx *db.Tx, project string) (doc, error) {
	id, err := db.One(tx, db.Value[string], `SELECT user_id FROM identity_service_users WHERE project_id = $1`, project)
	if errors.Is(err, db.ErrNotFound) {
		return nil, fault.NotFound("Could not find service identity of project: %s.", project)
	}
	if err != nil {
		return nil, err
	}
	return s.user.get(tx, id)
}

// servedProject is the project whose service identity a user is; "" for people.
func servedProject(tx *db.Tx, user string) (string, error) {
	id, err := db.One(tx, db.Value[string], `SELECT project_id FROM identity_service_users WHERE user_id = $1`, user)
	if errors.Is(err, db.ErrNotFound) {
		return "", nil
	}
	return id, err
}

// makeServiceUser makes a project's service identity where there is none: a user without a password in the project's domain.
func (s *Service) makeServiceUser(tx *db.Tx, project doc) (doc, error) {
	id := str(project, "id")
	if truth(project, "is_domain") {
		return nil, fault.BadRequest("%s is a domain; only projects have a service identity.", id)
	}
	u, err := s.serviceUser(tx, id)
	if err == nil || !fault.Is(err, 404) {
		return u, err
	}
	name := "service-" + str(project, "name")
	taken, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_users WHERE domain_id = $1 AND name = $2`, str(project, "domain_id"), name)
	if err != nil {
		return nil, err
	}
	if taken > 0 {
		name += "-" + id
	}
	d := doc{"id": newID(), "name": name, "domain_id": project["domain_id"], "default_project_id": id, "enabled": true,
		"description": "Service identity of project " + str(project, "name") + ": it owns the credentials of machines."}
	user := str(d, "id")
	if err := s.user.insert(tx, d); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(`INSERT INTO identity_service_users (project_id, user_id) VALUES ($1,$2)`, id, user); err != nil {
		return nil, err
	}
	return s.user.get(tx, user)
}

// passwordless refuses a password for a service identity: whoever may set passwords could otherwise take all roles that others gave to it.
func passwordless(tx *db.Tx, user string) error {
	return notAPerson(tx, user, "password")
}

// notAPerson refuses other ways in for a service identity: whoever may give one could otherwise come in by it and take all roles that others gave.
func notAPerson(tx *db.Tx, user, way string) error {
	project, err := servedProject(tx, user)
	if err == nil && project != "" {
		err = fault.Forbidden("User %s is the service identity of project %s and can have no %s. Make an application credential for it instead.", user, project, way)
	}
	return err
}

// undelegated refuses what is itself lent: of a credential that ends with a person or a date it would make one that does not.
func undelegated(r *api.Request) error {
	if se := sessionOf(r); se != nil && !se.delegated() {
		return nil
	}
	return forbiddenAction("Delegated tokens cannot manage service identities.")
}

// credentialsOf asks whether the caller may act on the application credentials and access rules of a user. For a person that is upstream's rule. For a service
// identity it is upstream's or that of the project's managers; to change something takes the latter, and a token that its user's own methods made.
// It gives the project that the user serves.
func (s *Service) credentialsOf(tx *db.Tx, r *api.Request, user, rule string, change bool) (served string, err error) {
	if served, err = servedProject(tx, user); err != nil {
		return "", err
	}
	d, err := s.user.find(tx, user)
	if err != nil {
		return "", err
	}
	t := about(r, "user", d)
	if served == "" || !change && r.Can(rule, t) {
		return served, r.Enforce(rule, t)
	}
	p, err := s.project.get(tx, served)
	if err != nil {
		return "", err
	}
	ask := getServiceIdentity
	if change {
		ask = manageServiceIdentity
	}
	if !r.Can(ask, about(r, "project", p)) {
		return "", r.Refused(rule)
	}
	if change {
		return served, undelegated(r)
	}
	return served, nil
}

// grantServed gives a service identity the roles of its new application credential, so that lists of assignments show what it may do.
func grantServed(tx *db.Tx, user, project string, roles []string) error {
	for _, id := range roles {
		if _, err := tx.Exec(`INSERT INTO identity_assignments (actor_id, target_type, target_id, role_id, inherited, is_group) VALUES ($1,'project',$2,$3,FALSE,FALSE) ON CONFLICT DO NOTHING`,
			user, project, id); err != nil {
			return err
		}
	}
	return nil
}

// withdrawServed takes away those of a deleted application credential's roles that no other one of the service identity names.
func (s *Service) withdrawServed(tx *db.Tx, user, project string, roles []string) error {
	left, err := s.appCred.all(tx, (&db.Where{}).Add("user_id = ? AND project_id = ?", user, project))
	if err != nil {
		return err
	}
	var needed []string
	for _, d := range left {
		needed = append(needed, roleIDs(d)...)
	}
	for _, id := range roles {
		if slices.Contains(needed, id) {
			continue
		}
		if _, err := tx.Exec(`DELETE FROM identity_assignments WHERE actor_id = $1 AND target_type = 'project' AND target_id = $2 AND role_id = $3 AND inherited = FALSE`, user, project, id); err != nil {
			return err
		}
	}
	return nil
}
