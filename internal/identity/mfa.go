package identity

import (
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
)

// implemented are the methods that this cloud can check.
func implemented() []string {
	return []string{"password", "token", "application_credential", "totp", mappedMethod, "oauth1"}
}

// offers tells whether a method is there and [auth] methods allows it.
func (s *Service) offers(method string) bool {
	return slices.Contains(implemented(), method) && slices.Contains(s.o.Conf.Auth.Methods, method)
}

// mfaRules are a user's multi_factor_auth_rules without what is no rule, each without the methods that are not offered: an operator who
// drops a method locks nobody out (keystone/auth/core.py, UserMFARulesValidator).
func (s *Service) mfaRules(user doc) [][]string {
	var out [][]string
	list, _ := object(user, "options")["multi_factor_auth_rules"].([]any)
	for _, raw := range list {
		if rule, ok := methodNames(raw); ok {
			out = append(out, slices.DeleteFunc(rule, func(m string) bool { return !s.offers(m) }))
		}
	}
	return out
}

// methodNames reads a rule; an empty one, or one with anything but names, is none.
func methodNames(raw any) (names []string, ok bool) {
	list, _ := raw.([]any)
	for _, m := range list {
		name, ok := m.(string)
		if !ok {
			return nil, false
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, len(names) > 0
}

// satisfied tells whether the methods of one rule have all been proved; without rules anything will do.
func satisfied(rules [][]string, methods []string) bool {
	return len(rules) == 0 || slices.ContainsFunc(rules, func(rule []string) bool { return len(missing(rule, methods)) == 0 })
}

func missing(rule, methods []string) []string {
	return slices.DeleteFunc(slices.Clone(rule), func(m string) bool { return slices.Contains(methods, m) })
}

// requiredMethods are the rules that what has been proved is a part of (keystone/models/receipt_model.py, required_methods).
func requiredMethods(rules [][]string, methods []string) [][]string {
	out := [][]string{}
	for _, rule := range rules {
		if len(missing(rule, methods)) < len(rule) {
			out = append(out, rule)
		}
	}
	return out
}

// checkMethods applies the user's multi_factor_auth_rules.
func (s *Service) checkMethods(tx *db.Tx, t *Token) error {
	if slices.Contains(t.Methods, ec2Method) || slices.Contains(t.Methods, oauth2Method) {
		return nil // a signature or a certificate is no login: upstream issues the token without asking the rules
	}
	raw, err := db.One(tx, db.Value[string], `SELECT options FROM identity_users WHERE id = $1`, t.UserID)
	if err != nil || raw == "{}" {
		return err
	}
	user, err := s.user.get(tx, t.UserID)
	if err != nil {
		return err
	}
	if enabled, ok := object(user, "options")["multi_factor_auth_enabled"].(bool); ok && !enabled || satisfied(s.mfaRules(user), t.Methods) {
		return nil
	}
	return errMoreMethods
}
