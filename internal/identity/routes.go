package identity

import (
	"context"
	"net/http"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// routes is the service at a glance. Every handler asks its rule about its own target before it looks at the body, as keystone does;
// so all but the public ones are Object routes.
func (s *Service) routes() []api.Route {
	return withSchemas(slices.Concat(s.tokenRoutes(), s.authRoutes(), s.domainRoutes(), s.projectRoutes(), s.userRoutes(), s.groupRoutes(), s.roleRoutes(), s.grantRoutes(), s.assignmentRoutes(), s.catalogRoutes(), s.policyRoutes(),
		s.credentialRoutes(), s.signatureRoutes(), s.oauth2Routes(), s.trustRoutes(), s.appCredRoutes(), s.serviceIdentityRoutes(), s.limitRoutes(), s.filterRoutes(), s.consumerRoutes(), s.oauth1Routes(), s.domainConfigRoutes(), s.federationRoutes()))
}

func (s *Service) tokenRoutes() []api.Route {
	o := api.Object
	return []api.Route{
		api.Handle("GET", "", api.Public(), 300, s.listVersions),
		api.Handle("GET", "/v3", api.Public(), 200, s.showVersion),
		api.Handle("POST", "/v3/auth/tokens", api.Public(), 201, s.issueToken),
		api.Handle("GET", "/v3/auth/tokens", o("identity:validate_token"), 200, s.validateToken),
		api.Handle("DELETE", "/v3/auth/tokens", o("identity:revoke_token"), 204, s.revokeToken),
		api.Handle("GET", "/v3/auth/tokens/OS-PKI/revoked", api.Public(), 200, func(context.Context, *api.Request, api.None) (api.None, error) {
			return api.None{}, forbidden(nil) // there is no such list since tokens are not stored
		}),
		api.Handle("GET", "/v3/OS-SIMPLE-CERT/ca", api.Public(), 410, gone),
		api.Handle("GET", "/v3/OS-SIMPLE-CERT/certificates", api.Public(), 410, gone),
		api.Handle("GET", "/v3/auth/catalog", o("identity:get_auth_catalog"), 200, s.authCatalog),
		api.Handle("GET", "/v3/OS-REVOKE/events", o("identity:list_revoke_events"), 200, s.listRevocations),
	}
}

// gone is the answer of what went with the tokens that were signed.
func gone(context.Context, *api.Request, api.None) (api.None, error) {
	return api.None{}, fault.New(http.StatusGone, "", "This API is no longer available due to the removal of support for PKI tokens.")
}
