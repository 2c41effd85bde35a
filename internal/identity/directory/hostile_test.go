package directory_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/hanok-cloud/hanok/internal/identity/directory"
	"github.com/hanok-cloud/hanok/internal/identity/directory/slapdtest"
)

const corner = "ou=corner,ou=Users," + slapdtest.Suffix

// Somebody who may make entries in a corner of the directory, or give an own entry more values, is taken for nobody else.
func TestSharedIDsOfUsers(t *testing.T) {
	s := people(t)
	s.Add("dn: "+corner+"\nobjectClass: organizationalUnit\nou: corner",
		"dn: cn=Mallory,"+corner+"\nobjectClass: inetOrgPerson\ncn: Mallory\nsn: x\nuid: ALICE\nuserPassword: m",
		"dn: uid=trudy,"+corner+"\nobjectClass: inetOrgPerson\nuid: trudy\nuid: gone\ncn: Trudy\nsn: x\nuserPassword: t")
	ctx := context.Background()
	o := options(s)
	o.QueryScope = "sub"
	d := open(t, o)
	for _, name := range []string{"Mallory", "Alice"} {
		if u, err := d.UserNamed(ctx, name); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("%s, whose id two have, is %+v, %v", name, u, err)
		}
		if list, err := d.Users(ctx, name); err != nil || len(list) > 0 {
			t.Errorf("%s is listed: %+v, %v", name, list, err)
		}
	}
	if u, err := d.User(ctx, "gone"); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("the id of somebody who is gone finds %+v, %v", u, err)
	}
	for _, u := range []string{"Trudy", "Bob"} {
		if _, err := d.UserNamed(ctx, u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	if u, err := d.User(ctx, "TRUDY"); err != nil || u.Name != "Trudy" {
		t.Errorf("%+v %v", u, err)
	}
	// In a group the one of the corner is not the other either.
	s.Set(slapdtest.GroupDN("ops"), "member", "cn=Mallory,"+corner, slapdtest.UserDN("bob"))
	g, err := d.Group(ctx, "ops")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := d.Members(ctx, g); err != nil || !slices.Equal(ids(list), []string{"bob"}) {
		t.Errorf("members %v %v", ids(list), err)
	}
}

// A group that somebody has made elsewhere does not give what the group of the same id has.
func TestSharedIDsOfGroups(t *testing.T) {
	s := people(t)
	s.Add("dn: ou=own,ou=UserGroups,"+slapdtest.Suffix+"\nobjectClass: organizationalUnit\nou: own",
		"dn: cn=OPS,ou=own,ou=UserGroups,"+slapdtest.Suffix+"\nobjectClass: groupOfNames\ncn: OPS\nmember: "+slapdtest.UserDN("carol"))
	ctx := context.Background()
	o := options(s)
	o.QueryScope = "sub"
	d := open(t, o)
	for uid, want := range map[string][]string{"carol": {"enabled"}, "alice": {"staff"}} {
		u, err := d.User(ctx, uid)
		if err != nil {
			t.Fatal(err)
		}
		if groups, err := d.GroupsOf(ctx, u); err != nil || !slices.Equal(groupIDs(groups), want) {
			t.Errorf("groups of %s: %v, %v", uid, groupIDs(groups), err)
		}
	}
	if groups, err := d.Groups(ctx, "ops"); err != nil || len(groups) > 0 {
		t.Errorf("%v %v", groups, err)
	}
}

// What cannot be read as an answer to whether somebody is enabled is not taken for no answer.
func TestEnabledUnreadable(t *testing.T) {
	s := people(t)
	o := options(s)
	o.UserEnabled = "description"
	for _, v := range []string{strings.Repeat("x", 5000), "\xff\xfe\xfd"} {
		s.Set(slapdtest.UserDN("alice"), "jpegPhoto", v)
		o.UserEnabled = "jpegPhoto"
		if u, err := open(t, o).User(context.Background(), "alice"); err != nil || u.Enabled {
			t.Errorf("%.10q: %+v %v", v, u, err)
		}
	}
}

// hostile is a server that takes every bind and answers searches by answer, which is given what begins a message and a way to send one.
func hostile(t *testing.T, answer func(id *ber.Packet, send func(*ber.Packet) bool)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				send := func(p *ber.Packet) bool { _, err := c.Write(p.Bytes()); return err == nil }
				for {
					p, err := ber.ReadPacket(c)
					if err != nil || len(p.Children) < 2 {
						return
					}
					switch p.Children[1].Tag {
					case 0:
						if !send(message(p.Children[0], 1, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, 0, ""), text(""), text(""))) {
							return
						}
					case 3:
						answer(p.Children[0], send)
					default:
						return
					}
				}
			}()
		}
	}()
	return "ldap://" + l.Addr().String()
}

func text(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func message(id *ber.Packet, op ber.Tag, parts ...*ber.Packet) *ber.Packet {
	m := ber.NewSequence("")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id.Value, ""))
	o := ber.Encode(ber.ClassApplication, ber.TypeConstructed, op, nil, "")
	for _, p := range parts {
		o.AppendChild(p)
	}
	m.AppendChild(o)
	return m
}

// Referrals without an end are no answer, and are not waited for.
func TestReferralsWithoutEnd(t *testing.T) {
	o := options(people(t))
	o.URL = hostile(t, func(id *ber.Packet, send func(*ber.Packet) bool) {
		ref := message(id, 19, text("ldap://127.0.0.1:1/"))
		for send(ref) {
		}
	})
	if _, err := open(t, o).User(context.Background(), "alice"); err == nil || !strings.Contains(err.Error(), "more entries than") {
		t.Errorf("%v", err)
	}
}

// The decoder keeps what is inside once more for each level.
func TestNestedMessages(t *testing.T) {
	open(t, options(people(t)))
	p := ber.NewSequence("")
	for range 20 {
		q := ber.NewSequence("")
		q.AppendChild(p)
		p = q
	}
	if _, err := ber.ReadPacket(bytes.NewReader(p.Bytes())); err == nil {
		t.Error("a message of 20 levels is read")
	}
}

// Options may name any file; reading one must come to an end.
func TestCertificatesOfNoFile(t *testing.T) {
	o := options(people(t))
	dir := t.TempDir()
	pipe, long := filepath.Join(dir, "pipe"), filepath.Join(dir, "long")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(long, make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, long, "/dev/zero", dir} {
		o.CACertFile = name
		if d, err := directory.Open(o); err == nil || !strings.Contains(err.Error(), "ordinary file") {
			t.Errorf("%s: %v %v", name, d, err)
		}
	}
}
