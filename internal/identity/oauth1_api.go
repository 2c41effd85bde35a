package identity

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// oauth1Routes are how a consumer comes to an access token: it asks, somebody authorises, it exchanges (keystone/api/os_oauth1.py, users.py).
func (s *Service) oauth1Routes() []api.Route {
	o := api.Object
	const tokens = "/v3/users/{user_id}/OS-OAUTH1/access_tokens"
	return []api.Route{
		api.Handle("POST", "/v3/OS-OAUTH1/request_token", api.Public(), 201, s.createRequestToken),
		api.Handle("PUT", "/v3/OS-OAUTH1/authorize/{request_token_id}", o("identity:authorize_request_token"), 200, s.authorizeRequest),
		api.Handle("POST", "/v3/OS-OAUTH1/access_token", api.Public(), 201, s.createAccessToken),
		api.Handle("GET", tokens, o("identity:list_access_tokens"), 200, s.listAccessTokens),
		api.Handle("GET", tokens+"/{access_token_id}", o("identity:get_access_token"), 200, s.showAccessToken),
		api.Handle("DELETE", tokens+"/{access_token_id}", o("identity:delete_access_token"), 204, s.deleteAccessToken),
		api.Handle("GET", tokens+"/{access_token_id}/roles", o("identity:list_access_token_roles"), 200, s.listAccessTokenRoles),
		api.Handle("GET", tokens+"/{access_token_id}/roles/{role_id}", o("identity:get_access_token_role"), 200, s.showAccessTokenRole),
	}
}

// oauthOf reads a signed request. What the client called the service is the public endpoint's name or the one that it used.
func oauthOf(r *api.Request) (oauthRequest, error) {
	params, err := readOAuth(r.HTTP.Header.Get("Authorization"))
	if err != nil {
		return oauthRequest{}, fault.BadRequest("The Authorization header is not OAuth's: %v", err)
	}
	path := r.HTTP.URL.EscapedPath()
	q := oauthRequest{method: r.HTTP.Method, query: r.Query(), params: params, urls: []string{r.BaseURL() + path}}
	if scheme, _, ok := strings.Cut(r.BaseURL(), "://"); ok && r.HTTP.Host != "" {
		q.urls = append(q.urls, scheme+"://"+r.HTTP.Host+path)
	}
	return q, nil
}

// want gives a parameter of a signed request, or says that it is missing.
func (q oauthRequest) want(name string) (string, error) {
	if v := q.params[name]; v != "" {
		return v, nil
	}
	return "", expecting(name, "request")
}

// invalidOAuth is how keystone passes on what oauthlib finds wrong.
func invalidOAuth(problem string) error {
	return fault.BadRequest("Validation failed with errors: invalid_request, detail message is: %s.", problem)
}

// formAnswer is a token as the RFC sends it.
func formAnswer(t grantToken) *api.Stream {
	text := "oauth_token=" + t.id + "&oauth_token_secret=" + t.secret + "&oauth_expires_at=" + isoTime(t.expires)
	return &api.Stream{Body: io.NopCloser(strings.NewReader(text)), Size: int64(len(text)), ContentType: "application/x-www-form-urlencoded"}
}

func (s *Service) createRequestToken(ctx context.Context, r *api.Request, _ api.None) (*api.Stream, error) {
	q, err := oauthOf(r)
	if err != nil {
		return nil, err
	}
	consumer, err := q.want("oauth_consumer_key")
	if err != nil {
		return nil, err
	}
	project := r.HTTP.Header.Get("Requested-Project-Id")
	if project == "" {
		return nil, expecting("Requested-Project-Id", "request")
	}
	t, err := inRead(ctx, s, func(tx *db.Tx) (grantToken, error) { return s.checkAsk(tx, q, consumer, project) })
	if err != nil {
		return nil, err
	}
	// No token of the cloud depends on it, so the epoch stays.
	return formAnswer(t), s.o.DB.Write(ctx, func(tx *db.Tx) error { return insertRequestToken(tx, t) })
}

func (s *Service) createAccessToken(ctx context.Context, r *api.Request, _ api.None) (*api.Stream, error) {
	q, err := oauthOf(r)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"oauth_consumer_key", "oauth_token", "oauth_verifier"} {
		if _, err := q.want(name); err != nil {
			return nil, err
		}
	}
	t, err := inRead(ctx, s, func(tx *db.Tx) (grantToken, error) { return s.checkTake(tx, q) })
	if err != nil {
		return nil, err
	}
	return formAnswer(t), s.o.DB.Write(ctx, func(tx *db.Tx) error { return exchangeRequestToken(tx, q.params["oauth_token"], t) })
}

func (s *Service) authorizeRequest(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:authorize_request_token", about(r)); err != nil {
		return nil, err
	}
	list := in["roles"]
	if list == nil {
		list = []any{}
	}
	if _, err := checked(roleList(), list); err != nil {
		return nil, err
	}
	if err := undelegatedOAuth(r); err != nil {
		return nil, err
	}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		verifier, err := s.giveGrant(tx, r.Path("request_token_id"), sessionOf(r).UserID, list)
		return doc{"token": doc{"oauth_verifier": verifier}}, err
	})
}

// undelegatedOAuth refuses delegated tokens: an access token lives on its own.
func undelegatedOAuth(r *api.Request) error {
	if se := sessionOf(r); se != nil && !se.delegated() {
		return nil
	}
	return forbidden(errors.New("OAuth access tokens cannot be managed with a token issued via delegation"))
}

func accessTokenDoc(r *api.Request, t grantToken) doc {
	self := base(r) + "/users/" + t.user + "/OS-OAUTH1/access_tokens/" + t.id
	return doc{"id": t.id, "authorizing_user_id": t.user, "project_id": t.project, "consumer_id": t.consumer, "expires_at": isoTime(t.expires),
		"links": doc{"self": self, "roles": self + "/roles"}}
}

func (s *Service) listAccessTokens(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_access_tokens", about(r)); err != nil {
		return nil, err
	}
	if err := undelegatedOAuth(r); err != nil {
		return nil, err
	}
	list, err := inRead(ctx, s, func(tx *db.Tx) (list []doc, err error) {
		tokens, err := accessTokensOf(tx, r.Path("user_id"))
		for _, t := range tokens {
			list = append(list, accessTokenDoc(r, t))
		}
		return list, err
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "access_tokens", list)
}

// accessTokenFor reads the path's access token, which is the path's user's.
func accessTokenFor(tx *db.Tx, r *api.Request) (grantToken, error) {
	t, err := accessToken(tx, r.Path("access_token_id"))
	if err == nil && t.user != r.Path("user_id") {
		err = fault.NotFound("Could not find: None.")
	}
	return t, err
}

func (s *Service) showAccessToken(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_access_token", about(r)); err != nil {
		return nil, err
	}
	if err := undelegatedOAuth(r); err != nil {
		return nil, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		t, err := accessTokenFor(tx, r)
		return doc{"access_token": accessTokenDoc(r, t)}, err
	})
}

func (s *Service) deleteAccessToken(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if err := r.Enforce("identity:delete_access_token", about(r)); err != nil {
		return api.None{}, err
	}
	if err := undelegatedOAuth(r); err != nil {
		return api.None{}, err
	}
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		t, err := accessToken(tx, r.Path("access_token_id"))
		if err != nil {
			return err
		}
		if t.user != r.Path("user_id") {
			return unauthorized(errors.New("the access token is another user's"))
		}
		_, err = tx.Exec(`DELETE FROM identity_access_tokens WHERE id = $1`, t.id)
		return err
	})
}

// oauthRole is a role without what access tokens do not show.
func (s *Service) oauthRole(tx *db.Tx, r *api.Request, id string) (doc, error) {
	d, err := s.role.get(tx, id)
	if err != nil {
		return nil, err
	}
	d = s.role.linked(s, base(r), d)
	delete(d, "description")
	return d, nil
}

func (s *Service) listAccessTokenRoles(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_access_token_roles", about(r)); err != nil {
		return nil, err
	}
	list, err := inRead(ctx, s, func(tx *db.Tx) (list []doc, err error) {
		t, err := accessTokenFor(tx, r)
		if err != nil {
			return nil, err
		}
		for _, id := range t.roles {
			d, err := s.oauthRole(tx, r, id)
			if fault.Is(err, 404) {
				continue
			}
			if err != nil {
				return nil, err
			}
			list = append(list, d)
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "roles", list)
}

func (s *Service) showAccessTokenRole(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_access_token_role", about(r)); err != nil {
		return nil, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		t, err := accessToken(tx, r.Path("access_token_id"))
		if err != nil {
			return nil, err
		}
		if t.user != r.Path("user_id") {
			return nil, unauthorized(errors.New("the access token is another user's"))
		}
		for _, id := range t.roles {
			if id == r.Path("role_id") {
				d, err := s.oauthRole(tx, r, id)
				return doc{"role": d}, err
			}
		}
		return nil, s.role.notFound(r.Path("role_id"))
	})
}
