package identity

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/mapping"
)

// notTheClient is the token endpoint's answer to whoever does not prove to be the client; the reason is for the log.
func notTheClient(reason error) *fault.Error {
	return fault.Unauthorized("Client authentication failed.").Because(reason)
}

// dnName is the name that python3-cryptography and keystone have for an attribute of a distinguished name.
func dnName(t string) string {
	names := map[string]string{
		"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU",
		"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID", "1.2.840.113549.1.9.1": "EMAILADDRESS",
	}
	if n := names[t]; n != "" {
		return n
	}
	return t
}

// dnEscape writes a value as RFC 4514 and that package have it.
func dnEscape(v string) string {
	if v == "" {
		return ""
	}
	v = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "+", `\+`, ",", `\,`, ";", `\;`, "<", `\<`, ">", `\>`, "\x00", `\00`).Replace(v)
	if v[0] == '#' || v[0] == ' ' && len(v) > 1 {
		v = `\` + v
	}
	if v[len(v)-1] == ' ' {
		v = v[:len(v)-1] + `\ `
	}
	return v
}

// certificateAttributes are what a mapping sees of a certificate: SSL_CLIENT_SUBJECT_DN_CN, SSL_CLIENT_ISSUER_DN_O and so on. Of an attribute that is
// there twice the last counts, and one with an equals sign spoils the certificate, as upstream has both (keystone/common/utils.py,
// get_certificate_subject_dn).
func certificateAttributes(c *x509.Certificate) (map[string]string, error) {
	out := map[string]string{}
	for prefix, name := range map[string]pkix.Name{"SSL_CLIENT_SUBJECT_DN_": c.Subject, "SSL_CLIENT_ISSUER_DN_": c.Issuer} {
		for _, a := range name.Names {
			v, ok := a.Value.(string)
			if !ok || strings.Contains(v, "=") {
				return nil, fmt.Errorf("the attribute %s of the certificate's %s cannot be used", dnName(a.Type.String()), strings.ToLower(strings.Split(prefix, "_")[2]))
			}
			out[prefix+dnName(a.Type.String())] = dnEscape(v)
		}
	}
	return out, nil
}

// certifies compares what a mapping makes of a certificate with the user that the client says it is: what the mapping gives must be so
// (keystone/api/os_oauth2.py, _check_mapped_properties). Upstream lets anybody's certificate pass for anybody where a mapping gives nothing; here it
// must give the id, or the name with its domain, for names are the same in several.
func certifies(m mapping.User, user, domain doc) error {
	var of mapping.Domain
	if m.Domain != nil {
		of = *m.Domain
	}
	if m.ID == "" && (m.Name == "" || of == (mapping.Domain{})) {
		return errors.New("the mapping gives neither the id of a user nor a name with a domain, so that every certificate would be everybody's")
	}
	for _, c := range []struct{ what, mapped, is string }{
		{"user name", m.Name, str(user, "name")}, {"user id", m.ID, str(user, "id")}, {"user email", m.Email, str(user, "email")},
		{"user domain id", of.ID, str(domain, "id")}, {"user domain name", of.Name, str(domain, "name")},
	} {
		if c.mapped != "" && c.mapped != c.is {
			return fmt.Errorf("the %s of the certificate is %q, the user's is %q", c.what, c.mapped, c.is)
		}
	}
	return nil
}

// certificateRules is the mapping that [oauth2] oauth2_cert_dn_mapping_id names.
func (s *Service) certificateRules(ctx context.Context) (*mapping.Mapping, error) {
	id := s.o.Conf.OAuth2.CertMapping
	rules, err := recall(ctx, s, nil, fmt.Sprintf("certificate rules|%q", id), func(*mapping.Mapping) int { return 8000 }, func(tx *db.Tx) (*mapping.Mapping, error) {
		m, err := s.fed.mapping.get(tx, id)
		if err != nil {
			return nil, err
		}
		return mapping.New(str(m, "schema_version"), m["rules"])
	})
	if fault.Is(err, 404) {
		return nil, notTheClient(fmt.Errorf("there is no mapping %s, which [oauth2] oauth2_cert_dn_mapping_id names: make it, or name another", id))
	}
	return rules, err
}

// certified is whom the client id names, if the certificate is that user's: the token is the user's on the default project.
func (s *Service) certified(ctx context.Context, r *api.Request, client string, cert *x509.Certificate) (*authentication, error) {
	attributes, err := certificateAttributes(cert)
	if err != nil {
		return nil, notTheClient(err)
	}
	// Mappings part values at semicolons: who may choose a name could have two by one, one of them another's.
	maps.DeleteFunc(attributes, func(_, v string) bool { return strings.Contains(v, ";") })
	// Name and email, which the mapping compares, may be a directory's.
	if err := s.lookAt(ctx, r, client, how{}); err != nil {
		return nil, err
	}
	var user, domain doc
	err = s.read(ctx, func(tx *db.Tx) error {
		if user, err = s.user.get(tx, client); fault.Is(err, 404) {
			return notTheClient(errors.New("there is no user of that id"))
		}
		if err != nil {
			return err
		}
		if served, err := servedProject(tx, client); err != nil || served != "" {
			// Whoever may change users and have a certificate could otherwise take the roles that others gave to it.
			return errors.Join(err, notTheClient(fmt.Errorf("the user is the service identity of project %s, which has application credentials alone", served)))
		}
		domain, err = s.getDomain(tx, str(user, "domain_id"))
		return err
	})
	if err != nil {
		return nil, err
	}
	tried(r, client)
	project := str(user, "default_project_id")
	if project == "" {
		return nil, notTheClient(errors.New("the user has no default project, which the token would be for"))
	}
	rules, err := s.certificateRules(ctx)
	if err != nil {
		return nil, err
	}
	found, err := rules.Apply(attributes)
	if errors.Is(err, mapping.ErrNoMatch) {
		return nil, notTheClient(fmt.Errorf("mapping %s: %w", s.o.Conf.OAuth2.CertMapping, err))
	}
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", s.o.Conf.OAuth2.CertMapping, err)
	}
	if err := certifies(found.User, user, domain); err != nil {
		return nil, notTheClient(err)
	}
	return &authentication{user: client, methods: []string{oauth2Method}, scope: scope{project: project}, fixed: true, thumbprint: api.CertThumbprint(cert)}, nil
}

// tlsClientAuth makes a token that only the holder of the certificate can use.
func (s *Service) tlsClientAuth(ctx context.Context, r *api.Request, client string, cert *x509.Certificate) (any, error) {
	if err := s.disableInactive(ctx); err != nil {
		return nil, err
	}
	p, err := s.certified(ctx, r, client, cert)
	var se *session
	if err == nil {
		se, err = s.mint(ctx, r, p)
	}
	var f *fault.Error
	if err != nil && !errors.As(err, &f) {
		s.o.Logger.Error("no OAuth 2.0 token", "request_id", r.ID, "error", err)
		return oauth2Refused(r, http.StatusInternalServerError, "other_error", unknownFailure), nil
	}
	if err != nil {
		return s.oauth2Failure(r, err)
	}
	return oauth2Granted(r, se), nil
}
