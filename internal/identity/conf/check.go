package conf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// Methods are upstream's methods of authentication.
func Methods() []string {
	return []string{"external", "password", "token", "oauth1", "mapped", "application_credential", "totp"}
}

// How a client proves to OAuth 2.0's token endpoint who it is.
const (
	TLSClientAuth     = "tls_client_auth"
	ClientSecretBasic = "client_secret_basic"
)

// check finds the first option that is wrong together with another, or in a way that no tag says.
func (c *Config) check() (name string, err error) {
	if len(c.Auth.Methods) == 0 {
		return "[auth] methods", errors.New("needs at least one method")
	}
	for _, m := range c.Auth.Methods {
		if !slices.Contains(Methods(), m) {
			return "[auth] methods", fmt.Errorf("%q is none of %s", m, strings.Join(Methods(), ", "))
		}
	}
	known := []string{TLSClientAuth, ClientSecretBasic}
	for _, m := range c.OAuth2.AuthnMethods {
		if !slices.Contains(known, m) {
			return "[oauth2] oauth2_authn_methods", fmt.Errorf("%q is none of %s", m, strings.Join(known, ", "))
		}
	}
	sc := &c.SecurityCompliance
	if _, err := sc.PasswordPattern(); err != nil {
		return "[security_compliance] password_regex", err
	}
	// keystone/cmd/doctor/security_compliance.py warns of this one only, but a password could then never be changed.
	if sc.PasswordExpiresDays > 0 && sc.MinimumPasswordAge >= sc.PasswordExpiresDays {
		return "[security_compliance] minimum_password_age", fmt.Errorf("must be less than password_expires_days (%d)", sc.PasswordExpiresDays)
	}
	for _, id := range slices.Sorted(maps.Keys(c.OIDC)) {
		for name, v := range map[string]string{"issuer": c.OIDC[id].Issuer, "client_id": c.OIDC[id].ClientID} {
			if v == "" {
				return "[oidc:" + id + "] " + name, errors.New("is needed")
			}
		}
	}
	return "", nil
}

// patternTime bounds the match of one password: a pattern with nested repetitions could go on for ever.
const patternTime = 200 * time.Millisecond

// PasswordPattern is password_regex, or nil when any password will do. As Python's re.match it must match from the password's start. Go's
// own package does not know the lookaheads that such patterns are made of.
func (s *SecurityCompliance) PasswordPattern() (*regexp2.Regexp, error) {
	if s.PasswordRegex == "" {
		return nil, nil
	}
	p, err := regexp2.Compile(`\A(?:`+s.PasswordRegex+`)`, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("not a regular expression: %w", err)
	}
	p.MatchTimeout = patternTime
	return p, nil
}
