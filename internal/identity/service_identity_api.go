package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// A project's service identity owns the application credentials of its machines, so that they outlive the people who made them. This is an
// extension: the identity is made and shown at a path of its own; its credentials are at the ordinary one, /v3/users/{id}/application_credentials.

// The rules of the extension. Whoever manages a project manages its service identity; what it may give is limited beside the rule (appcreds.go).
const (
	getServiceIdentity    = "identity:get_service_identity"
	manageServiceIdentity = "identity:manage_service_identity"
)

// Rules are the service's: upstream's and those of the extension.
func Rules() []policy.Rule { return append(policy.Keystone(), serviceIdentityRules()...) }

func serviceIdentityRules() []policy.Rule {
	const path = "/v3/projects/{project_id}/service_identity"
	scopes := []string{"system", "project"}
	const managers = "rule:admin_required or (role:manager and project_id:%(target.project.id)s)"
	return []policy.Rule{
		{Name: getServiceIdentity, Check: "(role:reader and system_scope:all) or " + managers, ScopeTypes: scopes, Operations: []policy.Operation{{Method: "GET", Path: path}}},
		{Name: manageServiceIdentity, Check: managers, ScopeTypes: scopes, Operations: []policy.Operation{{Method: "PUT", Path: path}, {Method: "DELETE", Path: path}}},
	}
}

func (s *Service) serviceIdentityRoutes() []api.Route {
	const path = "/v3/projects/{project_id}/service_identity"
	return []api.Route{
		api.Handle("GET", path, api.Object(getServiceIdentity), 200, s.showServiceIdentity),
		api.Handle("PUT", path, api.Object(manageServiceIdentity), 200, s.putServiceIdentity),
		api.Handle("DELETE", path, api.Object(manageServiceIdentity), 204, s.deleteServiceIdentity),
	}
}

func (s *Service) showServiceIdentity(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		p, err := s.projectFor(tx, r, getServiceIdentity)
		if err != nil {
			return nil, err
		}
		u, err := s.serviceUser(tx, str(p, "id"))
		if err != nil {
			return nil, err
		}
		return s.user.member(s, r, u), nil
	})
}

// putServiceIdentity answers with the project's service identity, which it makes where there is none.
func (s *Service) putServiceIdentity(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	put := func(tx *db.Tx) (doc, error) {
		p, err := s.projectFor(tx, r, manageServiceIdentity)
		if err != nil {
			return nil, err
		}
		if err := undelegated(r); err != nil {
			return nil, err
		}
		u, err := s.makeServiceUser(tx, p)
		if err != nil {
			return nil, err
		}
		return s.user.member(s, r, u), nil
	}
	out, err := inWrite(ctx, s, put)
	if db.IsConflict(err, "") { // somebody else made it, or took its name, in the same moment
		out, err = inWrite(ctx, s, put)
	}
	return out, err
}

func (s *Service) deleteServiceIdentity(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		p, err := s.projectFor(tx, r, manageServiceIdentity)
		if err != nil {
			return err
		}
		if err := undelegated(r); err != nil {
			return err
		}
		u, err := s.serviceUser(tx, str(p, "id"))
		if err != nil {
			return err
		}
		return s.removeUser(tx, str(u, "id"))
	})
}
