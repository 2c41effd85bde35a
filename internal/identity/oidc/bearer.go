package oidc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBearer bounds the tokens that are looked at.
const maxBearer = 16 << 10

// Verify checks a token that a client brings: an ID token or access token that the provider has signed, or an access token that it is asked about.
func (p *Provider) Verify(ctx context.Context, bearer string) (Claims, error) {
	if bearer == "" || len(bearer) > maxBearer {
		return nil, refusedBy("there is no token, or one that is too long")
	}
	m, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	if !signed(bearer) {
		return p.introspect(ctx, m, bearer)
	}
	t, claims, err := p.verify(ctx, m, bearer)
	if err != nil {
		return nil, err
	}
	if !p.meant(t.Audience, "") {
		return nil, refusedBy("the token is for %v", t.Audience)
	}
	return claims, nil
}

// meant tells whether a token is for this cloud. One that the provider has made for another service must not be good here: that service could use
// its users' tokens.
func (p *Provider) meant(audiences []string, client string) bool {
	good := append([]string{p.c.ClientID}, p.c.Audiences...)
	return slices.Contains(good, client) || slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(good, a) })
}

// signed tells a JWT from a token that only its provider understands.
func signed(token string) bool {
	head, _, ok := strings.Cut(token, ".")
	if !ok || strings.Count(token, ".") != 2 {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(head)
	return err == nil && json.Valid(b)
}

// introspect asks the provider about a token (RFC 7662).
func (p *Provider) introspect(ctx context.Context, m *metadata, token string) (Claims, error) {
	if m.Introspection == "" || p.c.ClientSecret == "" {
		return nil, refusedBy("it is not signed, and %s cannot be asked about it", p.c.Issuer)
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Introspection, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(p.c.ClientID), url.QueryEscape(p.c.ClientSecret))
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: introspection: %w", ErrUnreachable, p.c.Issuer, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s: introspection answered %s: %w", ErrUnreachable, p.c.Issuer, resp.Status, err)
	}
	claims, err := p.introspected(body)
	if err != nil {
		return nil, err
	}
	sub := claims.Text("sub")
	if sub == "" || !slices.Contains(strings.Fields(claims.Text("scope")), "openid") {
		return claims, nil // a machine's, which has no userinfo
	}
	return p.withUserInfo(ctx, m, claims, sub, token)
}

// introspected judges the answer to an introspection.
func (p *Provider) introspected(body []byte) (Claims, error) {
	claims, err := decodeClaims(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: introspection: %w", ErrUnreachable, p.c.Issuer, err)
	}
	if claims["active"] != true {
		return nil, refusedBy("the token is not active")
	}
	if iss, given := claims["iss"]; given && iss != p.c.Issuer {
		return nil, refusedBy("the token is of the issuer %v", iss)
	}
	if n, ok := claims["exp"].(json.Number); ok {
		if at, err := n.Float64(); err != nil || float64(p.o.Now().Unix()) >= at {
			return nil, refusedBy("the token has expired")
		}
	}
	var audiences []string
	switch a := claims["aud"].(type) {
	case string:
		audiences = []string{a}
	case []any:
		for _, e := range a {
			if s, ok := e.(string); ok {
				audiences = append(audiences, s)
			}
		}
	}
	if !p.meant(audiences, claims.Text("client_id")) {
		return nil, refusedBy("the token is for %v, of the client %q", audiences, claims.Text("client_id"))
	}
	delete(claims, "active")
	claims["iss"] = p.c.Issuer
	return claims, nil
}

type claimer interface{ Claims(v any) error }

// claimsOf decodes with numbers as they are written.
func claimsOf(c claimer) (Claims, error) {
	var raw json.RawMessage
	if err := c.Claims(&raw); err != nil {
		return nil, err
	}
	return decodeClaims(raw)
}

func decodeClaims(raw []byte) (Claims, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out Claims
	if err := dec.Decode(&out); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, fmt.Errorf("no object: %.20q", raw)
	}
	return out, nil
}
