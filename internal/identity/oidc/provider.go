package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Provider is one identity provider.
type Provider struct {
	c      Config
	o      Options
	client *http.Client
	guard  *guard

	mu     sync.Mutex
	known  *metadata
	at     time.Time     // when known was fetched
	failed error         // of the last fetch
	until  time.Time     // nobody asks again before
	asking chan struct{} // closed when the fetch that is under way ends; nil: none is
}

// metadata is a provider's discovery document.
type metadata struct {
	*goidc.Provider
	Introspection string   `json:"introspection_endpoint"`
	JWKS          string   `json:"jwks_uri"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	verifier      *goidc.IDTokenVerifier
}

// signing are the algorithms with which a token may be signed: none with a shared secret, and of course not "none".
var signing = [...]string{goidc.RS256, goidc.RS384, goidc.RS512, goidc.ES256, goidc.ES384, goidc.ES512, goidc.PS256, goidc.PS384, goidc.PS512, goidc.EdDSA}

// Issuer is the provider's URL.
func (p *Provider) Issuer() string { return p.c.Issuer }

// discover gives the provider's metadata. One request fetches it and the others wait for that; a provider that does not answer is left alone for a
// while, and what it said an hour ago holds meanwhile.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	for {
		p.mu.Lock()
		now := p.o.Now()
		switch {
		case p.known != nil && now.Sub(p.at) < freshness, now.Before(p.until):
			defer p.mu.Unlock()
			if p.known == nil {
				return nil, p.failed
			}
			return p.known, nil
		case p.asking == nil:
			done := make(chan struct{})
			p.asking = done
			p.mu.Unlock()
			// The first to ask may go away; the others want the answer still.
			m, err := p.fetch(context.WithoutCancel(ctx))
			p.mu.Lock()
			if err != nil {
				p.failed, p.until = err, p.o.Now().Add(grudge)
				p.o.Logger.Warn("identity provider", "name", p.c.Name, "issuer", p.c.Issuer, "error", err)
			} else {
				p.known, p.at, p.failed, p.until = m, p.o.Now(), nil, time.Time{}
			}
			p.asking = nil
			m = p.known
			p.mu.Unlock()
			close(done)
			if m == nil {
				return nil, err
			}
			return m, nil
		default:
			wait := p.asking
			p.mu.Unlock()
			select {
			case <-wait:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// fetch reads the discovery document and checks where it leads.
func (p *Provider) fetch(ctx context.Context) (*metadata, error) {
	ctx = goidc.ClientContext(ctx, p.client)
	found, err := goidc.NewProvider(ctx, p.c.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, p.c.Issuer, err)
	}
	m := &metadata{Provider: found}
	if err := found.Claims(m); err != nil {
		return nil, fmt.Errorf("%w: %s: its discovery document: %w", ErrUnreachable, p.c.Issuer, err)
	}
	ep := found.Endpoint()
	for name, address := range map[string]string{"jwks_uri": m.JWKS, "authorization_endpoint": ep.AuthURL, "token_endpoint": ep.TokenURL,
		"userinfo_endpoint": found.UserInfoEndpoint(), "introspection_endpoint": m.Introspection} {
		if address == "" && name != "jwks_uri" {
			continue
		}
		if err := usable(address, p.c.Issuer); err != nil {
			return nil, fmt.Errorf("%w: %s: its %s: %w", ErrUnreachable, p.c.Issuer, name, err)
		}
	}
	algorithms := slices.DeleteFunc(slices.Clone(m.Algorithms), func(a string) bool { return !slices.Contains(signing[:], a) })
	if len(m.Algorithms) == 0 {
		algorithms = []string{goidc.RS256}
	}
	if len(algorithms) == 0 {
		return nil, fmt.Errorf("%w: %s signs its tokens with %v, none of which is accepted", ErrUnreachable, p.c.Issuer, m.Algorithms)
	}
	p.guard.watch(m.JWKS)
	// The audience is checked afterwards: several may be good.
	m.verifier = found.VerifierContext(ctx, &goidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: algorithms, Now: p.o.Now})
	return m, nil
}

// verify checks a signed token but for its audience.
func (p *Provider) verify(ctx context.Context, m *metadata, raw string) (*goidc.IDToken, Claims, error) {
	t, err := m.verifier.Verify(goidc.ClientContext(ctx, p.client), raw)
	if err != nil {
		if unreachable(err) {
			return nil, nil, fmt.Errorf("%w: its keys: %w", ErrUnreachable, err)
		}
		return nil, nil, refusedBy("%w", err)
	}
	claims, err := claimsOf(t)
	if err != nil {
		return nil, nil, refusedBy("%w", err)
	}
	return t, claims, nil
}

// Login is one web login under way.
type Login struct {
	State    string
	Nonce    string
	Verifier string // of PKCE
	Redirect string // where the provider sends the browser back to
}

func (p *Provider) oauth(m *metadata, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: p.c.ClientID, ClientSecret: p.c.ClientSecret, Endpoint: m.Endpoint(), RedirectURL: redirect, Scopes: p.c.Scopes}
}

// LoginURL is where a browser has to go to log in.
func (p *Provider) LoginURL(ctx context.Context, l Login) (string, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	if m.Endpoint().AuthURL == "" || m.Endpoint().TokenURL == "" {
		return "", fmt.Errorf("%w: %s offers no logins", ErrUnreachable, p.c.Issuer)
	}
	return p.oauth(m, l.Redirect).AuthCodeURL(l.State, goidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier)), nil
}

// Finish exchanges the code that a login has ended with for what the provider says of the user.
func (p *Provider) Finish(ctx context.Context, l Login, code string) (Claims, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	ctx = goidc.ClientContext(ctx, p.client)
	tokens, err := p.oauth(m, l.Redirect).Exchange(ctx, code, oauth2.VerifierOption(l.Verifier))
	var said *oauth2.RetrieveError
	if errors.As(err, &said) && said.Response.StatusCode < 500 {
		return nil, refusedBy("the code: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, p.c.Issuer, err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" {
		return nil, refusedBy("%s has sent no ID token", p.c.Issuer)
	}
	id, claims, err := p.verify(ctx, m, raw)
	if err != nil {
		return nil, err
	}
	switch azp := claims.Text("azp"); {
	case !slices.Contains(id.Audience, p.c.ClientID), azp != "" && azp != p.c.ClientID:
		return nil, refusedBy("the ID token is for %v (%s)", id.Audience, azp)
	case id.Nonce == "" || id.Nonce != l.Nonce:
		return nil, refusedBy("the ID token has another nonce")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
			return nil, refusedBy("%w", err)
		}
	}
	return p.withUserInfo(ctx, m, claims, id.Subject, tokens.AccessToken)
}

// withUserInfo adds what the provider tells only at its userinfo endpoint. What the token itself says counts.
func (p *Provider) withUserInfo(ctx context.Context, m *metadata, claims Claims, subject, access string) (Claims, error) {
	if m.UserInfoEndpoint() == "" {
		return claims, nil
	}
	info, err := m.UserInfo(goidc.ClientContext(ctx, p.client), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: access}))
	if err != nil {
		if unreachable(err) {
			return nil, fmt.Errorf("%w: %s: userinfo: %w", ErrUnreachable, p.c.Issuer, err)
		}
		return nil, refusedBy("userinfo: %w", err)
	}
	if info.Subject == "" || info.Subject != subject {
		return nil, refusedBy("userinfo speaks of another subject")
	}
	more, err := claimsOf(info)
	if err != nil {
		return nil, refusedBy("userinfo: %w", err)
	}
	for k, v := range more {
		if _, there := claims[k]; !there {
			claims[k] = v
		}
	}
	return claims, nil
}

// NewVerifier is a fresh secret for PKCE.
func NewVerifier() string { return oauth2.GenerateVerifier() }
