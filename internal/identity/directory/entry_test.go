package directory

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

func TestEnabledAttribute(t *testing.T) {
	base := conf.DefaultDomain().LDAP
	with := func(change func(*conf.LDAP)) conf.LDAP { o := base; change(&o); return o }
	mask := with(func(o *conf.LDAP) { o.UserEnabledMask, o.UserEnabledDefault = 2, "512" })
	invert := with(func(o *conf.LDAP) { o.UserEnabledInvert, o.UserEnabledDefault = true, "False" })
	for _, c := range []struct {
		o     conf.LDAP
		value string
		want  bool
	}{
		{base, "", true}, {base, "TRUE", true}, {base, "true", true}, {base, "FALSE", false}, {base, "1", true}, {base, "0", false}, {base, "yes", false}, {base, " True ", true},
		{invert, "", true}, {invert, "TRUE", false}, {invert, "FALSE", true},
		{mask, "", true}, {mask, "512", true}, {mask, "514", false}, {mask, "66050", false}, {mask, "TRUE", false}, {mask, "-1", false}, {mask, "9223372036854775808", false},
	} {
		if got := enabled(c.value, c.o); got != c.want {
			t.Errorf("%q with mask %d, inverted %v: %v", c.value, c.o.UserEnabledMask, c.o.UserEnabledInvert, got)
		}
	}
}

func TestServers(t *testing.T) {
	for text, want := range map[string]string{
		"ldap://a":                      "tcp a:389",
		"LDAPS://a/":                    "tcp a:636 TLS",
		"ldap://[::1]:3890":             "tcp [::1]:3890",
		"ldapi://%2Frun%2Fldapi":        "unix /run/ldapi",
		"ldapi:///":                     "unix /var/run/slapd/ldapi",
		"ldap://a,ldaps://b:1 ldap://c": "tcp a:389, tcp b:1 TLS, tcp c:389",
		"":                              "",
		" , ":                           "",
		"http://a":                      "",
		"ldap://":                       "",
		"ldap://a/dc=x":                 "",
		"ldap://a?x":                    "",
		"ldap://u:p@a":                  "",
		"ldapi://run":                   "",
		"ldap://a:1:2":                  "",
		"a":                             "",
		"ldap://a,file:///etc/passwd":   "",
		"cldap://a":                     "",
		"ldap://a#x":                    "",
		"ldap://a\x00b":                 "",
	} {
		list, err := serversOf(text)
		var got []string
		for _, s := range list {
			one := s.network + " " + s.addr
			if s.tls {
				one += " TLS"
			}
			got = append(got, one)
		}
		if strings.Join(got, ", ") != want || (err == nil) == (want == "") {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

// Active Directory compares its ids as bytes, which are in an order of their own.
func TestBinaryIDs(t *testing.T) {
	raw := []byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	const id = "00112233-4455-6677-8899-aabbccddeeff"
	if got, ok := text(raw); !ok || got != id {
		t.Errorf("%q %v", got, ok)
	}
	if f := equals("objectGUID", id); f != `(objectGUID=\33\22\11\00\55\44\77\66\88\99\aa\bb\cc\dd\ee\ff)` {
		t.Error(f)
	}
	if _, ok := text([]byte{0xff, 0xfe}); ok {
		t.Error("bytes pass for text")
	}
	if _, ok := text([]byte("a\x00b")); ok {
		t.Error("a zero byte passes for text")
	}
}

func TestNestingFilter(t *testing.T) {
	o := conf.DefaultDomain().LDAP
	o.GroupNesting, o.GroupMember = true, "memberX"
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if f := d.memberFilter(&User{DN: "cn=a(b)*,dc=x"}); f != `(member:1.2.840.113556.1.4.1941:=cn=a\28b\29\2a,dc=x)` {
		t.Error(f)
	}
	if _, err := ldap.CompileFilter(d.groups.where(d.memberFilter(&User{DN: "cn=a"}))); err != nil {
		t.Error(err)
	}
}

func TestRangesAreNoCompleteGroup(t *testing.T) {
	e := ldap.NewEntry("cn=g", map[string][]string{"member;range=0-1499": {"a"}})
	if list, err := members(e, "Member"); err == nil || !strings.Contains(err.Error(), "group_ad_nesting") {
		t.Error(list, err)
	}
}

// A server that speaks something else, or announces gigabytes, is an error and nothing worse.
func TestRubbish(t *testing.T) {
	for name, answer := range map[string]string{
		"another protocol":   "HTTP/1.1 400 Bad Request\r\n\r\n",
		"nothing":            "",
		"a huge packet":      "\x30\x84\x7f\xff\xff\xff",
		"deep nesting":       strings.Repeat("\x30\x80", 100000),
		"no LDAP":            "\x30\x03\x02\x01\x05",
		"a result of nobody": "\x30\x0c\x02\x01\x63\x65\x07\x0a\x01\x00\x04\x00\x04\x00",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						_, _ = bufio.NewReader(c).ReadByte()
						_, _ = io.WriteString(c, answer)
						if name != "a result of nobody" {
							_ = c.Close()
						}
					}()
				}
			}()
			o := conf.DefaultDomain().LDAP
			o.URL, o.PoolRetryMax, o.PoolTimeout = "ldap://"+l.Addr().String(), 1, 1
			d, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if u, err := d.User(context.Background(), "a"); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("%+v %v", u, err)
			}
			if ok, err := d.Authenticate(context.Background(), "cn=a", "b"); ok || err == nil {
				t.Errorf("%v %v", ok, err)
			}
		})
	}
}

// Whatever a directory has in an entry is taken in bounds or left out, and the same every time.
func FuzzEntry(f *testing.F) {
	f.Add("uid=a,dc=x", []byte("a"), []byte("b"), []byte("TRUE"), []byte("p:q"))
	f.Add("", []byte{0xff}, []byte("\x00"), []byte("514"), []byte(""))
	f.Fuzz(func(t *testing.T, dn string, id, name, on, more []byte) {
		o := conf.DefaultDomain().LDAP
		o.UserID, o.UserName, o.UserMapping = "uid", "cn", []string{"x:phone"}
		d := &Directory{o: o, users: userShape(o), groups: groupShape(o)}
		e := &ldap.Entry{DN: dn}
		for n, v := range map[string][]byte{"UID": id, "cn": name, "enabled": on, "X": more, "mail": more} {
			e.Attributes = append(e.Attributes, &ldap.EntryAttribute{Name: n, ByteValues: [][]byte{v}, Values: []string{string(v)}})
		}
		u, ok := d.user(e)
		for _, v := range []string{u.ID, u.Name, u.Email, u.Extra["phone"]} {
			if ok && (strings.ContainsRune(v, 0) || len(v) > maxValue) {
				t.Errorf("%q", v)
			}
		}
		if ok && (u.ID == "" || u.Name == "" || len(u.ID) > maxName) {
			t.Errorf("%+v", u)
		}
		if ok {
			if _, err := ldap.CompileFilter(d.users.byID(u.ID)); err != nil {
				t.Errorf("%q makes no filter: %v", u.ID, err)
			}
		}
		_ = dnKey(dn)
	})
}

// No value can leave its place in a filter.
func FuzzFilterValue(f *testing.F) {
	f.Add("a)(|(b=*")
	f.Add(`\2a`)
	f.Fuzz(func(t *testing.T, value string) {
		p, err := ldap.CompileFilter(equals("cn", value))
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if p.Tag != ldap.FilterEqualityMatch {
			t.Fatalf("%q is a filter of another kind: %d", value, p.Tag)
		}
		if got := p.Children[1].Data.String(); got != value {
			t.Fatalf("%q reaches the server as %q", value, got)
		}
	})
}

// Options come from whoever may set a domain's configuration: they are refused or they work.
func FuzzOptions(f *testing.F) {
	f.Add("ldap://a", "(a=b)", "ou=a,dc=b", "a:b", "cn")
	f.Add("ldapi://%2Fx", "(a=b)(c=d)", "", "", "objectGUID")
	f.Fuzz(func(t *testing.T, url, filter, tree, mapping, attribute string) {
		o := conf.DefaultDomain().LDAP
		o.URL, o.UserFilter, o.UserTreeDN, o.UserMapping, o.UserID = url, filter, tree, []string{mapping}, attribute
		if Check(o) != nil {
			return
		}
		s := userShape(o)
		if _, err := ldap.CompileFilter(s.byID("x")); err != nil {
			t.Errorf("%q: %v", s.byID("x"), err)
		}
		if _, err := ldap.CompileFilter(s.list("").filter); err != nil {
			t.Errorf("%q: %v", s.list("").filter, err)
		}
	})
}
