package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// How long the tokens of OAuth 1.0 last (keystone's [oauth1]).
const (
	requestTokenTerm = 8 * time.Hour
	accessTokenTerm  = 24 * time.Hour
)

func (s *Service) consumerSecret(tx *db.Tx, id string) (string, error) {
	d, err := s.consumer.find(tx, id)
	if err != nil {
		return "", err
	}
	if d == nil {
		return "", fault.NotFound("Consumer not found")
	}
	return str(d, "secret"), nil
}

// checkAsk verifies that a consumer asks for a request token; it gives the token, which is not stored yet. Anybody may send such a request, so it takes a
// good one to reach the writer.
func (s *Service) checkAsk(tx *db.Tx, q oauthRequest, consumer, project string) (t grantToken, err error) {
	if _, err := s.project.get(tx, project); err != nil {
		return t, err
	}
	secret, err := s.consumerSecret(tx, consumer)
	if err != nil {
		return t, err
	}
	if problem := q.complete(s.o.Now()); problem != "" {
		return t, invalidOAuth(problem)
	}
	if q.params["oauth_callback"] == "" {
		return t, invalidOAuth("Missing callback URI.")
	}
	if err := q.verify(secret, ""); err != nil {
		return t, unauthorized(err)
	}
	return grantToken{id: newID(), secret: newID(), project: project, consumer: consumer, expires: s.o.Now().Add(requestTokenTerm).UnixMicro()}, nil
}

// newVerifier is what the authorising user passes on to the consumer by hand; it has no letters that look alike.
func newVerifier() (string, error) {
	const chars = "abcdefghkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	out := make([]byte, 0, 8)
	for len(out) < cap(out) {
		var b [16]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		for _, x := range b {
			if int(x) < 256-256%len(chars) && len(out) < cap(out) { // no character more often than another
				out = append(out, chars[int(x)%len(chars)])
			}
		}
	}
	return string(out), nil
}

// giveGrant lends a request token roles that the user has on the project it asks for.
func (s *Service) giveGrant(tx *db.Tx, id, user string, list any) (verifier string, err error) {
	t, err := requestToken(tx, id)
	if err != nil {
		return "", err
	}
	if s.o.Now().UnixMicro() > t.expires {
		return "", unauthorized(errors.New("the request token is over"))
	}
	roles, err := s.namedRoles(tx, list)
	if err != nil {
		return "", err
	}
	has, err := effectiveRoles(tx, user, scope{project: t.project}, false)
	if err != nil {
		return "", err
	}
	for _, id := range roles {
		if !slices.ContainsFunc(has, func(r roleRef) bool { return r.ID == id }) {
			return "", unauthorized(errors.New("the authorising user does not have the role"))
		}
	}
	slices.Sort(roles)
	t.user, t.roles = user, slices.Compact(roles)
	if t.verifier, err = newVerifier(); err != nil {
		return "", err
	}
	return t.verifier, authorizeRequestToken(tx, t)
}

// checkTake verifies that a consumer may exchange an authorised request token; it gives the access token, which is not stored yet.
func (s *Service) checkTake(tx *db.Tx, q oauthRequest) (t grantToken, err error) {
	asked, err := requestToken(tx, q.params["oauth_token"])
	if err != nil {
		return t, err
	}
	if s.o.Now().UnixMicro() > asked.expires {
		return t, unauthorized(errors.New("the request token is over"))
	}
	if problem := q.complete(s.o.Now()); problem != "" {
		return t, invalidOAuth(problem)
	}
	consumer := q.params["oauth_consumer_key"]
	secret, err := s.consumerSecret(tx, consumer)
	if fault.Is(err, 404) || err == nil && asked.consumer != consumer {
		return t, unauthorized(errors.New("the request token is another consumer's"))
	}
	if err != nil {
		return t, err
	}
	if asked.user == "" || !same(asked.verifier, q.params["oauth_verifier"]) {
		return t, unauthorized(errors.New("the request token is not authorised, or the verifier is not its"))
	}
	if err := q.verify(secret, asked.secret); err != nil {
		return t, unauthorized(err)
	}
	return grantToken{id: newID(), secret: newID(), user: asked.user, project: asked.project, roles: asked.roles, consumer: consumer, expires: s.o.Now().Add(accessTokenTerm).UnixMicro()}, nil
}

// proveOAuth is the method oauth1: a request signed with an access token (keystone/auth/plugins/oauth1.py).
func (s *Service) proveOAuth(ctx context.Context, r *api.Request, p *authentication) (user string, err error) {
	q, err := oauthOf(r)
	if err != nil {
		return "", err
	}
	id, err := q.want("oauth_token")
	if err != nil {
		return "", err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		t, err := accessToken(tx, id)
		if err != nil {
			return err
		}
		secret, err := s.consumerSecret(tx, t.consumer)
		if err != nil {
			return err
		}
		now := s.o.Now()
		if now.UnixMicro() > t.expires || q.complete(now) != "" || q.params["oauth_consumer_key"] != t.consumer {
			return unauthorized(errors.New("the access token is over, another consumer's, or the request is not complete"))
		}
		if err := q.verify(secret, t.secret); err != nil {
			return unauthorized(err)
		}
		user = t.user
		// Whatever scope was asked for: the access token is for one project.
		p.accessToken, p.scope, p.trust, p.fixed, p.unscoped = t.id, scope{project: t.project}, "", true, false
		if p.expires == 0 || t.expires < p.expires {
			p.expires = t.expires
		}
		return nil
	})
	return user, err
}

// oauthScope is what a session knows of its access token.
type oauthScope struct{ id, consumer string }

// resolveOAuth gives a session the roles of its access token that the user still has.
func (s *Service) resolveOAuth(tx *db.Tx, se *session) error {
	t, err := accessToken(tx, se.AccessTokenID)
	if fault.Is(err, 404) {
		return refused("there is no access token %s", se.AccessTokenID)
	}
	if err != nil {
		return err
	}
	if t.user != se.UserID || t.project != se.ProjectID {
		return refused("access token %s is another user's or project's", t.id)
	}
	se.oauth = &oauthScope{t.id, t.consumer}
	lent, err := expandRoles(tx, t.roles, false)
	if err != nil {
		return err
	}
	has, err := effectiveRoles(tx, se.UserID, scope{project: se.ProjectID}, false)
	if err != nil {
		return err
	}
	for _, r := range lent {
		if slices.Contains(has, r) {
			se.roles = append(se.roles, r)
		}
	}
	return nil
}
