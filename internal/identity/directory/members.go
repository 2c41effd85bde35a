package directory

import (
	"context"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// membersAtOnce are looked up by one search.
const membersAtOnce = 100

// Members lists the users in a group. Members that are no users, or not there any more, are left out.
func (d *Directory) Members(ctx context.Context, g *Group) ([]User, error) {
	ctx, cancel := within(ctx, listTimeout)
	defer cancel()
	list, err := d.membersOf(ctx, g)
	if err != nil {
		return nil, err
	}
	return d.aloneUsers(ctx, list)
}

func (d *Directory) membersOf(ctx context.Context, g *Group) ([]User, error) {
	if d.o.GroupNesting { // one search instead of upstream's one for each group below
		return d.findUsers(ctx, query{base: d.users.tree, filter: d.users.where("(memberOf:" + chain + ":=" + ldap.EscapeFilter(g.DN) + ")"), all: true})
	}
	found, err := d.entries(ctx, query{base: g.DN, filter: "(objectClass=" + d.groups.class + ")", attributes: []string{d.o.GroupMember}, entry: true})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	values, err := members(found[0], d.o.GroupMember)
	if err != nil {
		return nil, err
	}
	ids, others := values, []string(nil)
	if !d.o.GroupMemberIDs {
		ids, others = d.sortMembers(values)
	}
	want := map[string]bool{}
	for _, v := range values {
		want[memberKey(v, d.o.GroupMemberIDs)] = true
	}
	var out []User
	for part := range slices.Chunk(ids, membersAtOnce) {
		list, err := d.findUsers(ctx, query{base: d.users.tree, filter: d.users.anyOf(part)})
		if err != nil {
			return nil, err
		}
		for _, u := range list {
			if want[memberKey(u.member(d.o.GroupMemberIDs), d.o.GroupMemberIDs)] {
				out = append(out, u)
			}
		}
	}
	for _, dn := range others {
		list, err := d.findUsers(ctx, query{base: dn, filter: d.users.where("(" + d.users.id + "=*)"), entry: true})
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// sortMembers parts the members' DNs into those whose id stands in the DN, and those that must be read for it. DNs outside of the users' tree are nobody.
func (d *Directory) sortMembers(dns []string) (ids, others []string) {
	tree, err := ldap.ParseDN(d.users.tree)
	if err != nil {
		return nil, nil
	}
	for _, dn := range dns {
		p, err := ldap.ParseDN(dn)
		if err != nil || !tree.AncestorOfFold(p) {
			continue
		}
		if v := namingValue(dn, d.users.id); v != "" {
			ids = append(ids, v)
		} else {
			others = append(others, dn)
		}
	}
	return ids, others
}

func (s *shape) anyOf(ids []string) string {
	var out strings.Builder
	for _, id := range ids {
		out.WriteString(equals(s.id, id))
	}
	return s.where("(|" + out.String() + ")")
}
