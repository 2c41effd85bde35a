package identity

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// oauth2Routes is the token endpoint of OAuth 2.0's client credentials grant (RFC 6749). The client is an application credential and its token an
// ordinary one; or it is a user with a certificate (RFC 8705), to which the token is bound (keystone/api/os_oauth2.py).
func (s *Service) oauth2Routes() []api.Route {
	const path = "/v3/OS-OAUTH2/token"
	routes := []api.Route{api.Handle("POST", path, api.Public(), 200, s.oauth2Token)}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		routes = append(routes, api.Handle(method, path, api.Public(), 405, func(_ context.Context, r *api.Request, _ api.None) (any, error) {
			return oauth2Refused(r, 405, "other_error", "The method is not allowed for the requested URL."), nil
		}))
	}
	return routes
}

type oauth2Error struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// oauth2Refused is an error as the RFC words it, which is not as the rest of the service does.
func oauth2Refused(r *api.Request, status int, code, description string) oauth2Error {
	r.SetStatus(status)
	if status == http.StatusUnauthorized {
		r.Header().Set("WWW-Authenticate", `Keystone uri="`+base(r)+`"`)
	}
	return oauth2Error{code, description}
}

type oauth2Answer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
}

func oauth2Granted(r *api.Request, se *session) oauth2Answer {
	r.Note(api.Note{Initiator: se.caller})
	h := r.Header()
	h.Set("Cache-Control", "no-store") // RFC 6749, 5.1
	h.Set("Pragma", "no-cache")
	return oauth2Answer{se.id, "Bearer", (se.ExpiresAt - se.IssuedAt) / time.Second.Microseconds()}
}

// maxForm is the longest body that the endpoint reads.
const maxForm = 64 << 10

// readForm reads a form; a body of another type is one without members.
func readForm(in *api.Stream) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(in.ContentType)
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return url.Values{}, nil
	}
	body, err := io.ReadAll(io.LimitReader(in.Body, maxForm))
	if err != nil {
		return nil, fault.BadRequest("the request body broke off").Because(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil { // what could be read counts, as upstream's parser has it
		return form, nil
	}
	return form, nil
}

func (s *Service) oauth2Token(ctx context.Context, r *api.Request, in *api.Stream) (any, error) {
	r.Header().Set("Vary", "X-Auth-Token")
	form, err := readForm(in)
	if err != nil {
		return nil, err
	}
	if !form.Has("grant_type") {
		return oauth2Refused(r, 400, "invalid_request", "The parameter grant_type is required."), nil
	}
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		return oauth2Refused(r, 400, "unsupported_grant_type", "The parameter grant_type "+grant+" is not supported."), nil
	}
	cert, wrong := r.ClientCertificate()
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if u, p, ok := r.HTTP.BasicAuth(); ok && cert == nil {
		id, secret = u, p
	}
	allowed := func(method string) bool { return slices.Contains(s.o.Conf.OAuth2.AuthnMethods, method) }
	switch {
	case id == "":
	case cert != nil && allowed(conf.TLSClientAuth):
		return s.tlsClientAuth(ctx, r, id, cert)
	case cert == nil && secret != "" && allowed(conf.ClientSecretBasic):
		return s.clientSecret(ctx, r, id, secret)
	}
	text := "Client authentication failed."
	if wrong != nil && secret == "" { // upstream's web server would have ended the handshake
		text = "Client authentication failed: the client certificate does not count: " + wrong.Error() + "."
	}
	return oauth2Refused(r, 401, "invalid_client", text), nil
}

func (s *Service) clientSecret(ctx context.Context, r *api.Request, id, secret string) (any, error) {
	se, err := s.authenticateFor(ctx, r, doc{"identity": map[string]any{"methods": []any{"application_credential"},
		"application_credential": map[string]any{"id": id, "secret": secret}}})
	if err != nil {
		return s.oauth2Failure(r, err)
	}
	return oauth2Granted(r, se), nil
}

const unknownFailure = "An unknown error occurred and failed to get an OAuth2.0 access token."

func (s *Service) oauth2Failure(r *api.Request, err error) (any, error) {
	var f *fault.Error
	if !errors.As(err, &f) || f.Status >= 500 {
		return nil, err
	}
	s.o.Logger.Info("no OAuth 2.0 token", "request_id", r.ID, "status", f.Status, "cause", f.Cause)
	switch f.Status {
	case http.StatusUnauthorized:
		return oauth2Refused(r, f.Status, "invalid_client", f.Message), nil
	case http.StatusBadRequest:
		return oauth2Refused(r, f.Status, "invalid_request", f.Message), nil
	}
	return oauth2Refused(r, f.Status, "other_error", unknownFailure), nil
}
