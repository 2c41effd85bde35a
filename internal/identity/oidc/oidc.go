// Package oidc is the client of OpenID Connect providers: it reads what a provider publishes, checks the tokens that it has made, and takes part
// in its logins. It must not know the database, users, mappings or the routes that use it.
//
// Only configured issuers, and what their own discovery documents name, are ever fetched; nothing that a token or a request says leads to a fetch.
package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config is a provider as the operator describes it.
type Config struct {
	// Name is the identity provider's id in the federation API.
	Name string
	// Issuer is the provider's URL, exactly as it stands in its tokens.
	Issuer string
	// ClientID and ClientSecret are what this cloud is registered as there. Without a secret the client is public.
	ClientID, ClientSecret string
	// Scopes are asked for at logins; empty: openid, email, profile.
	Scopes []string
	// Audiences are accepted in tokens that clients bring, besides ClientID: the client ids of command lines, or the name of this cloud as a
	// resource.
	Audiences []string
	// CAFile holds the certificates that the provider's is checked with; empty: the system's.
	CAFile string
}

// Options for New.
type Options struct {
	Now    func() time.Time
	Logger *slog.Logger
}

// The two ways in which a provider's answer is missing: it cannot be asked, or it says no.
var (
	ErrUnreachable = errors.New("the identity provider cannot be asked")
	ErrRefused     = errors.New("the token or login is not good")
)

func refusedBy(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// Claims are what a provider says of somebody, as JSON has it; numbers are json.Number.
type Claims map[string]any

// Text is a claim that is a text, or "".
func (c Claims) Text(name string) string {
	s, _ := c[name].(string)
	return s
}

const (
	// patience is how long a provider may take to answer one request.
	patience = 5 * time.Second
	// grudge is for how long a provider that did not answer is not asked again: one that hangs must not hold up every request.
	grudge = 5 * time.Second
	// freshness is for how long a discovery document is believed.
	freshness = time.Hour
	// keyRest is the least time between two fetches of a provider's keys: a token with an unknown key makes one, and anybody can send those.
	keyRest = 10 * time.Second
	// answerLimit bounds what is read of an answer.
	answerLimit = 1 << 20
)

// New makes a client per provider. Nothing is fetched yet: a provider that is down does not keep the cloud from starting.
func New(configs []Config, o Options) (map[string]*Provider, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	out := map[string]*Provider{}
	for _, c := range configs {
		p, err := newProvider(c, o)
		if err != nil {
			return nil, fmt.Errorf("identity provider %s: %w", c.Name, err)
		}
		if out[c.Name] != nil {
			return nil, fmt.Errorf("identity provider %s is configured twice", c.Name)
		}
		out[c.Name] = p
	}
	return out, nil
}

func newProvider(c Config, o Options) (*Provider, error) {
	if c.Name == "" || c.ClientID == "" {
		return nil, errors.New("a name and client_id are needed")
	}
	if err := usable(c.Issuer, ""); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	transport.MaxConnsPerHost = 16
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate", c.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "email", "profile"}
	}
	p := &Provider{c: c, o: o}
	p.guard = &guard{next: transport, now: o.Now}
	p.client = &http.Client{Transport: p.guard, Timeout: patience,
		// A redirect could lead anywhere; no provider needs one here.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return p, nil
}

// usable refuses addresses that tokens and secrets must not be sent to. Plain HTTP is for a provider on this machine (a test, a proxy); such an
// issuer's endpoints must be on this machine too.
func usable(address, issuer string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%q is not an address of a provider", address)
	}
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()) && (issuer == "" || strings.HasPrefix(issuer, "http://")):
		return nil
	}
	return fmt.Errorf("%q must begin with https://", address)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// unreachable tells a provider that could not be asked from one that said no.
func unreachable(err error) bool {
	var netErr net.Error
	var urlErr *url.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errTooSoon) || errors.As(err, &netErr) || errors.As(err, &urlErr)
}
