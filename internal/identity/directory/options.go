package directory

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// server is where a directory listens.
type server struct {
	network, addr string // as net.Dial takes them
	host          string // that its certificate names
	tls           bool
	url           string
}

// serversOf reads the option url: addresses parted by commas or blanks.
func serversOf(text string) ([]server, error) {
	var out []server
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		s, err := serverOf(part)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, errors.New("url names no server")
	}
	return out, nil
}

func serverOf(text string) (server, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if scheme == "ldapi" { // ldapi://%2Frun%2Fslapd%2Fldapi, which is no host name for net/url
		path := "/var/run/slapd/ldapi"
		if host := strings.TrimSuffix(rest, "/"); host != "" {
			var err error
			if path, err = url.PathUnescape(host); err != nil || !filepath.IsAbs(path) {
				return server{}, errors.New("url: ldapi:// must be followed by a socket's absolute path, with %2F for each slash")
			}
		}
		return server{network: "unix", addr: path, host: "localhost", url: text}, nil
	}
	u, err := url.Parse(text)
	if err != nil || scheme != "ldap" && scheme != "ldaps" || u.Hostname() == "" || strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(u.Host, "[") {
		return server{}, errors.New("url: an address must be ldap://HOST[:PORT], ldaps://HOST[:PORT] or ldapi://%2FPATH")
	}
	if u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return server{}, errors.New("url: an address is a scheme, a host and a port and nothing else; the account stands in user and password, the base in user_tree_dn")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ldap": "389", "ldaps": "636"}[scheme]
	}
	return server{network: "tcp", addr: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), tls: scheme == "ldaps", url: text}, nil
}

// attributeForm is RFC 4512's attributedescription.
var attributeForm = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)*)(;[A-Za-z0-9-]+)*$`)

// Check refuses options that cannot work, without connecting to anything or reading files.
func Check(o conf.LDAP) error {
	servers, err := serversOf(o.URL)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if o.StartTLS && (s.tls || s.network == "unix") {
			return errors.New("use_tls is for ldap:// alone: ldaps:// has TLS from the beginning, and a socket needs none")
		}
	}
	if strings.EqualFold(o.Chase, "true") {
		return errors.New("chase_referrals: referrals are not followed; name the servers that have the entries in url")
	}
	if o.DebugLevel != "" && o.DebugLevel != "0" {
		return errors.New("debug_level is for a library that is not used here; set it to 0 or not at all")
	}
	for name, v := range map[string]string{"user_id_attribute": o.UserID, "user_name_attribute": o.UserName, "group_id_attribute": o.GroupID, "group_name_attribute": o.GroupName,
		"group_member_attribute": o.GroupMember, "user_objectclass": o.UserObjectClass, "group_objectclass": o.GroupObjectClass} {
		if !attributeForm.MatchString(v) {
			return fmt.Errorf("%s: %q is not the name of an attribute or class", name, v)
		}
	}
	for name, v := range map[string]string{"user_mail_attribute": o.UserMail, "user_description_attribute": o.UserDescription, "user_enabled_attribute": o.UserEnabled,
		"user_default_project_id_attribute": o.UserProject, "group_desc_attribute": o.GroupDescription} {
		if v != "" && !attributeForm.MatchString(v) {
			return fmt.Errorf("%s: %q is not the name of an attribute", name, v)
		}
	}
	for name, v := range map[string]string{"user_tree_dn": userTree(o), "group_tree_dn": groupTree(o), "user_enabled_emulation_dn": o.UserEnabledEmulationDN} {
		if _, err := ldap.ParseDN(v); err != nil {
			return fmt.Errorf("%s: %q is not a DN (where it is not set, suffix is part of it)", name, v)
		}
	}
	for name, v := range map[string]string{"user_filter": o.UserFilter, "group_filter": o.GroupFilter} {
		if err := checkFilter(v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, v := range map[string][]string{"user_additional_attribute_mapping": o.UserMapping, "group_additional_attribute_mapping": o.GroupMapping} {
		if _, err := readMapping(v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if o.UserEnabledMask != 0 {
		if _, err := strconv.ParseInt(o.UserEnabledDefault, 10, 64); err != nil {
			return fmt.Errorf("user_enabled_default: with user_enabled_mask it must be a number, such as 512, and not %q", o.UserEnabledDefault)
		}
	}
	if !(o.PoolRetryDelay >= 0 && o.PoolRetryDelay <= 60) {
		return errors.New("pool_retry_delay: must be between 0 and 60 seconds")
	}
	return nil
}

// checkFilter takes filters in parentheses, one or several, which go into a conjunction. One that closes a parenthesis too many could say something
// else there than it seems to.
func checkFilter(f string) error {
	if f == "" {
		return nil
	}
	if _, err := ldap.CompileFilter("(&" + f + ")"); err != nil {
		return fmt.Errorf("%q is not a filter in parentheses, such as (memberOf=cn=cloud,ou=groups,dc=example,dc=com)", f)
	}
	return nil
}

// reservedMembers of users and groups have a meaning of their own and cannot come from an additional attribute.
func reservedMember(name string) bool {
	switch name {
	case "", "id", "name", "domain_id", "enabled", "options", "links", "password", "password_expires_at", "default_project_id", "federated", "extra", "membership_expires_at":
		return true
	}
	return false
}

// readMapping reads LDAP_ATTRIBUTE:MEMBER pairs. Upstream only warns of a wrong one (keystone/identity/backends/ldap/common.py, _parse_extra_attrs).
func readMapping(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, item := range list {
		attribute, member, ok := strings.Cut(item, ":")
		if !ok || !attributeForm.MatchString(attribute) || reservedMember(member) || strings.ContainsAny(member, ":\x00") {
			return nil, fmt.Errorf("%q is not LDAP_ATTRIBUTE:MEMBER with a member that is free to use", item)
		}
		out[attribute] = member
	}
	return out, nil
}

func tlsConfig(o conf.LDAP) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.ReqCert != "demand"}
	files := []string{}
	switch {
	case o.CACertFile != "":
		files = append(files, o.CACertFile)
	case o.CACertDir != "":
		entries, err := os.ReadDir(o.CACertDir)
		if err != nil {
			return nil, fmt.Errorf("tls_cacertdir: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				files = append(files, filepath.Join(o.CACertDir, e.Name()))
			}
		}
	default:
		return c, nil
	}
	c.RootCAs = x509.NewCertPool()
	found := false
	for _, f := range files {
		pem, err := readCertificates(f)
		if err != nil {
			return nil, fmt.Errorf("tls_cacertfile or tls_cacertdir: %w", err)
		}
		found = c.RootCAs.AppendCertsFromPEM(pem) || found
	}
	if !found {
		return nil, errors.New("tls_cacertfile or tls_cacertdir: no certificate in PEM form is there")
	}
	return c, nil
}

// maxCertificates bounds a file of certificates; a system's whole collection is a quarter of a megabyte.
const maxCertificates = 4 << 20

// readCertificates reads a file that the API's users may name: a device or a pipe would never end, and the program would not start again.
func readCertificates(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxCertificates {
		return nil, fmt.Errorf("%s is no file of certificates: it must be an ordinary file of at most %d bytes", name, maxCertificates)
	}
	return os.ReadFile(name)
}
