package api

import (
	"context"
	"slices"
)

// ExpiredAuthenticator accepts a token for a while after its end, as keystone's allow_expired does.
type ExpiredAuthenticator interface {
	AuthenticateExpired(ctx context.Context, token string) (*Caller, error)
}

// serviceRole is what a service's user has (keystonemiddleware's service_token_roles).
const serviceRole = "service"

// callerOf tells whose token it is, as keystonemiddleware's auth_token does for services: beside the token of a service a user's may have
// expired meanwhile, so that work which one service hands to another can end. A service token that is none spoils the request.
func (srv *Server) callerOf(ctx context.Context, r *Request, token string) (*Caller, error) {
	service := r.HTTP.Header.Get("X-Service-Token")
	if service == "" || r.service.IgnoresServiceTokens {
		return srv.o.Auth.Authenticate(ctx, token)
	}
	by, err := srv.o.Auth.Authenticate(ctx, service)
	if err != nil || by == nil || !r.holds(by) {
		return nil, err
	}
	if late, ok := srv.o.Auth.(ExpiredAuthenticator); ok && slices.Contains(by.Roles, serviceRole) {
		return late.AuthenticateExpired(ctx, token)
	}
	return srv.o.Auth.Authenticate(ctx, token)
}
