package directory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// Bounds of what is taken from an entry. An id is what upstream's mapping table holds; a name is what the API allows.
const (
	maxName  = 255
	maxValue = 4096
)

// text is an attribute's value as text; binary ids of 16 bytes are UUIDs (keystone/identity/backends/ldap/common.py, utf8_decode).
func text(b []byte) (string, bool) {
	switch {
	case utf8.Valid(b) && !slices.Contains(b, 0):
		return string(b), len(b) <= maxValue
	case len(b) == 16:
		return uuid.UUID(swapped([16]byte(b))).String(), true
	}
	return "", false
}

// swapped turns a UUID from the order of bytes that Microsoft writes into the usual one, and back.
func swapped(b [16]byte) []byte {
	return []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// first is an attribute's first value, or "".
func first(e *ldap.Entry, attribute string) string {
	if attribute == "" {
		return ""
	}
	v, _ := text(e.GetEqualFoldRawAttributeValue(attribute))
	return v
}

// identify reads id and name. Entries that lack one are left out, as upstream does; so are those with one that cannot be stored.
func (s *shape) identify(e *ldap.Entry) (id, name string, ok bool) {
	values := e.GetEqualFoldRawAttributeValues(s.id)
	if len(values) == 0 {
		return "", "", false
	}
	id, ok = text(values[0])
	if len(values) > 1 { // the one that names the entry, if it is one of them
		if v := namingValue(e.DN, s.id); v != "" {
			id = v
		}
	}
	name = strings.TrimSpace(first(e, s.name))
	return id, name, ok && id != "" && name != "" && len(id) <= maxName && utf8.RuneCountInString(name) <= maxName
}

// namingValue is an attribute's value in the first part of a DN.
func namingValue(dn, attribute string) string {
	p, err := ldap.ParseDN(dn)
	if err != nil || len(p.RDNs) == 0 {
		return ""
	}
	for _, a := range p.RDNs[0].Attributes {
		if strings.EqualFold(a.Type, attribute) {
			return a.Value
		}
	}
	return ""
}

func (s *shape) extra(e *ldap.Entry) map[string]string {
	out := map[string]string{}
	for attribute, member := range s.mapping {
		if v := first(e, attribute); v != "" {
			out[member] = v
		}
	}
	return out
}

func (s *shape) read(e *ldap.Entry, member, attribute string) string {
	if slices.Contains(s.ignore, member) {
		return ""
	}
	return first(e, attribute)
}

func (d *Directory) user(e *ldap.Entry) (User, bool) {
	id, name, ok := d.users.identify(e)
	u := User{ID: id, DN: e.DN, Name: name, Extra: d.users.extra(e)}
	u.Email, u.Description = d.users.read(e, "email", d.o.UserMail), d.users.read(e, "description", d.o.UserDescription)
	if p := d.users.read(e, "default_project_id", d.o.UserProject); len(p) <= 64 {
		u.DefaultProject = p
	}
	value, readable := "", true
	if d.o.UserEnabled != "" {
		if values := e.GetEqualFoldRawAttributeValues(d.o.UserEnabled); len(values) > 0 { // not being readable is not being missing
			value, readable = text(values[0])
		}
	}
	u.Enabled = slices.Contains(d.users.ignore, "enabled") || readable && enabled(value, d.o)
	return u, ok
}

// enabled reads the attribute that says whether a user may log in; "" is none (keystone/identity/backends/ldap/core.py, UserApi._ldap_res_to_model). What
// makes no sense disables: upstream fails there.
func enabled(value string, o conf.LDAP) bool {
	if value == "" {
		value = o.UserEnabledDefault
	}
	value = strings.TrimSpace(value)
	n, err := strconv.ParseInt(value, 10, 64)
	if o.UserEnabledMask != 0 {
		return err == nil && n&int64(o.UserEnabledMask) != int64(o.UserEnabledMask)
	}
	yes := strings.EqualFold(value, "true") || err == nil && n != 0
	return yes != o.UserEnabledInvert
}

func (d *Directory) group(e *ldap.Entry) (Group, bool) {
	id, name, ok := d.groups.identify(e)
	return Group{ID: id, DN: e.DN, Name: name, Description: d.groups.read(e, "description", d.o.GroupDescription), Extra: d.groups.extra(e)}, ok
}

// emulationDN is the group whose members are enabled, or "".
func (d *Directory) emulationDN() string {
	switch {
	case !d.o.UserEnabledEmulation || slices.Contains(d.users.ignore, "enabled"):
		return ""
	case d.o.UserEnabledEmulationDN != "":
		return d.o.UserEnabledEmulationDN
	}
	return "cn=enabled_users," + d.users.tree
}

// emulate sets who of the users is enabled by membership. For one user the server compares; for a list its members are read once.
func (d *Directory) emulate(ctx context.Context, users []User) error {
	dn := d.emulationDN()
	if dn == "" || len(users) == 0 {
		return nil
	}
	attribute, ids := "member", false
	if d.o.UserEmulationConfig {
		attribute, ids = d.o.GroupMember, d.o.GroupMemberIDs
	}
	if len(users) == 1 {
		member := users[0].DN
		if ids {
			member = users[0].ID
		}
		found, err := d.entries(ctx, query{base: dn, filter: equals(attribute, member), attributes: []string{"1.1"}, entry: true})
		users[0].Enabled = len(found) > 0
		return err
	}
	found, err := d.entries(ctx, query{base: dn, filter: "(objectClass=*)", attributes: []string{attribute}, entry: true})
	if err != nil {
		return err
	}
	in := map[string]bool{}
	for _, e := range found {
		values, err := members(e, attribute)
		if err != nil {
			return err
		}
		for _, v := range values {
			in[memberKey(v, ids)] = true
		}
	}
	for i, u := range users {
		users[i].Enabled = in[memberKey(u.member(ids), ids)]
	}
	return nil
}

func (u User) member(ids bool) string {
	if ids {
		return u.ID
	}
	return u.DN
}

// members are a group's members. Active Directory sends long lists in ranges, of which this one would be the first alone.
func members(e *ldap.Entry, attribute string) ([]string, error) {
	for _, a := range e.Attributes {
		if name, _, ok := strings.Cut(a.Name, ";range="); ok && strings.EqualFold(name, attribute) {
			return nil, fmt.Errorf("group %s has more members than the server sends at once; with group_ad_nesting = true they are searched for instead", e.DN)
		}
	}
	return e.GetEqualFoldAttributeValues(attribute), nil
}

// memberKey is a member in a form that compares: ids and DNs do not mind case.
func memberKey(v string, ids bool) string {
	if ids {
		return strings.ToLower(strings.TrimSpace(v))
	}
	return dnKey(v)
}

// dnKey is a DN in a form that compares as RFC 4517 wants for the usual attributes: without regard to case and repeated blanks. What is no DN stands
// for itself.
func dnKey(dn string) string {
	p, err := ldap.ParseDN(dn)
	if err != nil {
		return "!" + dn
	}
	var out strings.Builder
	for _, rdn := range p.RDNs {
		var parts []string
		for _, a := range rdn.Attributes {
			parts = append(parts, strings.ToLower(a.Type)+"="+strconv.Quote(strings.Join(strings.Fields(strings.ToLower(a.Value)), " ")))
		}
		slices.Sort(parts)
		out.WriteString(strings.Join(parts, "+") + ",")
	}
	return out.String()
}

func sameDN(a, b string) bool { return b != "" && dnKey(a) == dnKey(b) }
