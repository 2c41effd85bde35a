package identity

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// signatureRoutes are how a service that took a signed request learns who sent it. Only services may ask: an answer is a token.
func (s *Service) signatureRoutes() []api.Route {
	return []api.Route{
		api.Handle("POST", "/v3/ec2tokens", api.Scoped("identity:ec2tokens_validate"), 200, s.ec2Token, api.Authenticates()),
		api.Handle("POST", "/v3/s3tokens", api.Scoped("identity:s3tokens_validate"), 200, s.s3Token, api.Authenticates()),
	}
}

// signedCredentials are the body's credentials by any of the names that keystone has had for them (keystone/api/_shared/EC2_S3_Resource.py).
func signedCredentials(in map[string]any) (doc, error) {
	if len(in) == 0 {
		return nil, fault.BadRequest("request must include a request body")
	}
	for _, name := range []string{"credentials", "credential", "ec2Credentials"} {
		if d := object(in, name); len(d) > 0 {
			if _, ok := d["access"].(string); ok {
				return d, nil
			}
			break
		}
	}
	return nil, unauthorized(errors.New("EC2 signature not supplied"))
}

// signedBy is the ec2 credential that a signed request names.
func (s *Service) signedBy(ctx context.Context, access string) (cred, blob doc, err error) {
	missing := fault.NotFound("EC2 access key not found.")
	err = s.read(ctx, func(tx *db.Tx) error {
		if cred, err = s.credential.find(tx, accessHash(access)); err != nil {
			return err
		}
		if cred == nil || str(cred, "type") != "ec2" {
			return missing
		}
		cred, err = s.openCredential(tx, cred, nil)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if blob, err = ec2Blob(cred); err != nil {
		return nil, nil, err
	}
	if str(blob, "secret") == "" {
		return nil, nil, unauthorized(errors.New("the credential has no secret"))
	}
	return cred, blob, nil
}

// signature checks what signs a request and tells when that was signed; "": it does not say.
type signature func(given doc, secret string) (signed string, err error)

// signer makes the token of whoever has signed the request that the body tells of.
func (s *Service) signer(ctx context.Context, r *api.Request, in map[string]any, check signature) (*session, error) {
	given, err := signedCredentials(in)
	if err != nil {
		return nil, err
	}
	cred, blob, err := s.signedBy(ctx, str(given, "access"))
	if err != nil {
		return nil, err
	}
	tried(r, str(cred, "user_id"))
	signed, err := check(given, str(blob, "secret"))
	if err != nil {
		return nil, unauthorized(err)
	}
	return s.signedIn(ctx, r, cred, blob, signed)
}

func (s *Service) ec2Token(ctx context.Context, r *api.Request, in map[string]any) (api.JSON, error) {
	se, err := s.signer(ctx, r, in, func(given doc, secret string) (string, error) { return readSignedRequest(given).verify(secret) })
	if err != nil {
		return nil, err
	}
	r.Header().Set("X-Subject-Token", se.id)
	return s.render(ctx, se, r.BaseURL(), true)
}

func (s *Service) s3Token(ctx context.Context, r *api.Request, in map[string]any) (api.JSON, error) {
	se, err := s.signer(ctx, r, in, func(given doc, secret string) (string, error) {
		return "", verifyS3(str(given, "token"), str(given, "signature"), secret)
	})
	if err != nil {
		return nil, err
	}
	return s.render(ctx, se, r.BaseURL(), true) // without its id: the object store asks who it was, and acts itself
}

// fresh refuses a signed request that is too old to be answered.
func (s *Service) fresh(signed string) error {
	if signed == "" {
		return nil
	}
	at, err := time.Parse("20060102T150405Z", signed)
	if err != nil {
		if at, err = parseTime(signed); err != nil {
			return unauthorized(err)
		}
	}
	if s.o.Now().After(at.Add(s.o.Conf.Credential.AuthTTL)) {
		return unauthorized(errors.New("the signed request is too old"))
	}
	return nil
}

// signedIn makes the token of a request whose signature was checked: the credential's user on its project, with what the credential was made by.
func (s *Service) signedIn(ctx context.Context, r *api.Request, cred, blob doc, signed string) (*session, error) {
	p := &authentication{user: str(cred, "user_id"), methods: []string{ec2Method}, scope: scope{project: str(cred, "project_id")}, fixed: true}
	if err := s.lookAt(ctx, r, p.user, how{}); err != nil {
		return nil, err
	}
	err := s.read(ctx, func(tx *db.Tx) error {
		project, err := s.project.get(tx, p.scope.project)
		if err != nil {
			return err
		}
		user, err := s.user.get(tx, p.user)
		if err != nil {
			return err
		}
		if !truth(project, "enabled") || !truth(user, "enabled") {
			return unauthorized(errors.New("the user or the project is disabled"))
		}
		if err := s.fresh(signed); err != nil {
			return err
		}
		return s.delegateSigned(tx, p, blob)
	})
	if err != nil {
		return nil, err
	}
	se, err := s.mint(ctx, r, p)
	if err == nil {
		r.Note(api.Note{Initiator: se.caller})
	}
	return se, err
}

// delegateSigned binds the token to the trust, application credential or access token that the ec2 credential was made by. Users write these blobs, so what a
// blob names counts only if it is the credential's own user's.
func (s *Service) delegateSigned(tx *db.Tx, p *authentication, blob doc) error {
	if id := str(blob, "trust_id"); id != "" {
		trust, err := s.liveTrust(tx, id, tx.NowMicros())
		if err != nil {
			return err
		}
		trustor, trustee := str(trust, "trustor_user_id"), str(trust, "trustee_user_id")
		if p.user != trustor && p.user != trustee {
			return unauthorized(errors.New("the trust is not the user's"))
		}
		if truth(trust, "impersonation") {
			p.user = trustee // a token of the trust was the trustor's, so the credential is; the token is made for the trustee again
		}
		p.trust = id
		return nil
	}
	if id := str(blob, "app_cred_id"); id != "" {
		app, err := s.appCred.get(tx, id)
		if err != nil {
			return err
		}
		if str(app, "user_id") != p.user || str(app, "project_id") != p.scope.project {
			return unauthorized(errors.New("the application credential is of another user or project"))
		}
		if text := str(app, "expires_at"); text != "" {
			end, err := parseTime(text)
			if err != nil {
				return err
			}
			if tx.NowMicros() >= end.UnixMicro() {
				return unauthorized(errors.New("the application credential has expired"))
			}
			p.expires = end.UnixMicro()
		}
		p.appCred = id
		return nil
	}
	if id := str(blob, "access_token_id"); id != "" {
		t, err := accessToken(tx, id)
		if err != nil {
			return err
		}
		if t.user != p.user || t.project != p.scope.project || tx.NowMicros() > t.expires {
			return unauthorized(errors.New("the access token is over, or of another user or project"))
		}
		p.accessToken, p.expires = id, t.expires
	}
	return nil
}

// admit turns away tokens of signed requests: the secret of one is to reach the other services, never this one
// (keystone/server/flask/request_processing/middleware/auth_context.py).
func admit(r *api.Request) error {
	if se := sessionOf(r); se != nil && slices.Contains(se.Methods, ec2Method) {
		return forbidden(errors.New("EC2 credential tokens cannot be used for authorization"))
	}
	return nil
}
