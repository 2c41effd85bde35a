package directory

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// maxEntries, maxAnswer (bytes of values) and maxOthers (messages that are no entries) bound a list.
const (
	maxEntries = 200_000
	maxAnswer  = 256 << 20
	maxOthers  = 10_000
)

// chain is Active Directory's rule for membership in groups of groups.
const chain = "1.2.840.113556.1.4.1941"

// query is one search.
type query struct {
	base, filter string
	attributes   []string
	entry        bool // the base alone
	all          bool // as many as there are
	limit        int  // more are of no interest; 0: maxEntries
}

// shape is how users or groups stand in the directory.
type shape struct {
	tree, class, filter, id, name string
	attributes                    []string
	mapping                       map[string]string
	ignore                        []string
}

func userTree(o conf.LDAP) string {
	if o.UserTreeDN != "" {
		return o.UserTreeDN
	}
	return "ou=Users," + o.Suffix
}

func groupTree(o conf.LDAP) string {
	if o.GroupTreeDN != "" {
		return o.GroupTreeDN
	}
	return "ou=UserGroups," + o.Suffix
}

func userShape(o conf.LDAP) shape {
	s := shape{tree: userTree(o), class: o.UserObjectClass, filter: o.UserFilter, id: o.UserID, name: o.UserName, ignore: o.UserIgnore}
	more := []string{}
	for member, attribute := range map[string]string{"email": o.UserMail, "description": o.UserDescription, "default_project_id": o.UserProject, "enabled": o.UserEnabled} {
		if attribute != "" && !slices.Contains(s.ignore, member) && !(member == "enabled" && o.UserEnabledEmulation) {
			more = append(more, attribute)
		}
	}
	s.ask(more, o.UserMapping)
	return s
}

func groupShape(o conf.LDAP) shape {
	s := shape{tree: groupTree(o), class: o.GroupObjectClass, filter: o.GroupFilter, id: o.GroupID, name: o.GroupName, ignore: o.GroupIgnore}
	more := []string{}
	if o.GroupDescription != "" && !slices.Contains(s.ignore, "description") {
		more = append(more, o.GroupDescription)
	}
	s.ask(more, o.GroupMapping)
	return s
}

// ask sets which attributes are asked for: nothing else leaves the directory, passwords least of all.
func (s *shape) ask(more, mapping []string) {
	s.mapping, _ = readMapping(mapping) // Check has refused what is wrong
	s.attributes = append([]string{s.id, s.name}, more...)
	for attribute := range s.mapping {
		s.attributes = append(s.attributes, attribute)
	}
	slices.Sort(s.attributes)
	s.attributes = slices.Compact(s.attributes)
}

// where is the filter of entries that match cond, which the caller has escaped.
func (s *shape) where(cond string) string {
	return "(&" + cond + s.filter + "(objectClass=" + s.class + "))"
}

func (s *shape) byID(id string) string { return s.where(equals(s.id, id)) }

func (s *shape) list(name string) query {
	cond := "(" + s.id + "=*)"
	if name != "" {
		cond = equals(s.name, name)
	}
	return query{base: s.tree, filter: s.where(cond), all: true}
}

// equals is a filter for one value, with everything escaped that means something in a filter. Active Directory compares its binary ids as bytes.
func equals(attribute, value string) string {
	if strings.EqualFold(attribute, "objectGUID") {
		if id, err := uuid.Parse(value); err == nil {
			return "(" + attribute + "=" + escapeBytes(swapped(id)) + ")"
		}
	}
	return "(" + attribute + "=" + ldap.EscapeFilter(value) + ")"
}

func escapeBytes(b []byte) string {
	var out strings.Builder
	for _, c := range b {
		out.WriteByte('\\')
		out.WriteString(hex.EncodeToString([]byte{c}))
	}
	return out.String()
}

// memberFilter finds the groups that a user is in.
func (d *Directory) memberFilter(u *User) string {
	member := u.DN
	if d.o.GroupMemberIDs {
		member = u.ID
	}
	if d.o.GroupNesting { // the rule wants its own attribute, whatever the option says (keystone/identity/backends/ldap/core.py, list_user_groups_filtered)
		return "(member:" + chain + ":=" + ldap.EscapeFilter(member) + ")"
	}
	return equals(d.o.GroupMember, member)
}

func (d *Directory) scope(q query) int {
	switch {
	case q.entry:
		return ldap.ScopeBaseObject
	case d.o.QueryScope == "sub":
		return ldap.ScopeWholeSubtree
	}
	return ldap.ScopeSingleLevel
}

func (d *Directory) deref() int {
	return map[string]int{"searching": ldap.DerefInSearching, "finding": ldap.DerefFindingBaseObj, "always": ldap.DerefAlways}[d.o.Deref]
}

// entries runs a search, in pages where that is wanted. A base that is not there has no entries.
func (d *Directory) entries(ctx context.Context, q query) (out []*ldap.Entry, err error) {
	err = d.search.use(ctx, func(c *ldap.Conn) error {
		out, err = d.run(ctx, c, q)
		return err
	})
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil, nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) && q.limit == 0:
		return nil, fmt.Errorf("the server's size limit ends the list before its end; set page_size: %w", err)
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return out, nil
	case err != nil:
		return nil, fmt.Errorf("search below %s: %w", q.base, err)
	}
	return out, nil
}

func (d *Directory) run(ctx context.Context, c *ldap.Conn, q query) ([]*ldap.Entry, error) {
	limit := maxEntries
	if q.limit > 0 {
		limit = q.limit
	}
	var paging *ldap.ControlPaging
	if q.all && d.o.PageSize > 0 {
		paging = ldap.NewControlPaging(uint32(d.o.PageSize))
	} else if q.all {
		c.SetTimeout(listTimeout)
		defer c.SetTimeout(d.timeout)
	}
	var out []*ldap.Entry
	left := room{bytes: maxAnswer, others: maxOthers}
	for {
		left.entries = limit - len(out)
		req := ldap.NewSearchRequest(q.base, d.scope(q), d.deref(), q.limit, 0, false, q.filter, q.attributes, nil)
		if paging != nil {
			req.Controls = []ldap.Control{paging}
		}
		found, controls, err := collect(ctx, c, req, &left)
		out = append(out, found...)
		if err != nil || paging == nil {
			return out, err
		}
		next, ok := ldap.FindControl(controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return out, nil
		}
		paging.SetCookie(next.Cookie)
	}
}

// errTooMany ends the connection as well, since the rest of the answer is still on its way.
var errTooMany = errors.New("the answer has more entries than this program takes")

// room is how much more of an answer is taken.
type room struct{ entries, bytes, others int }

// take tells whether there is room for one more message.
func (r *room) take(e *ldap.Entry) bool {
	if e == nil {
		r.others--
		return r.others >= 0
	}
	r.entries--
	r.bytes -= len(e.DN)
	for _, a := range e.Attributes {
		r.bytes -= len(a.Name)
		for _, v := range a.ByteValues {
			r.bytes -= len(v) + 16 // empty ones take room too
		}
	}
	return r.entries >= 0 && r.bytes >= 0
}

// collect reads one answer, as far as there is room. Referrals are left out, as upstream's chase_referrals = false does.
func collect(ctx context.Context, c *ldap.Conn, req *ldap.SearchRequest, left *room) (out []*ldap.Entry, controls []ldap.Control, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := c.SearchAsync(ctx, req, 64)
	for answer.Next() {
		e := answer.Entry()
		if !left.take(e) {
			return out, nil, errTooMany
		}
		if e != nil {
			out = append(out, e)
		}
		if more := answer.Controls(); len(more) > 0 {
			controls = more // the end's count
		}
	}
	if err = answer.Err(); err == nil {
		err = ctx.Err() // the library takes the end of a context for the end of the answer
	}
	return out, controls, err
}
