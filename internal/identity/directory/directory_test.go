package directory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hanok-cloud/hanok/internal/identity/conf"
	"github.com/hanok-cloud/hanok/internal/identity/directory"
	"github.com/hanok-cloud/hanok/internal/identity/directory/slapdtest"
)

// options are those that fit slapdtest's entries.
func options(s *slapdtest.Server) conf.LDAP {
	o := conf.DefaultDomain().LDAP
	o.URL, o.User, o.Password, o.Suffix = s.URL(), "cn=reader,"+slapdtest.Suffix, slapdtest.Password, slapdtest.Suffix
	o.UserID, o.UserName, o.GroupName = "uid", "cn", "cn"
	return o
}

func open(t *testing.T, o conf.LDAP) *directory.Directory {
	t.Helper()
	d, err := directory.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func people(t *testing.T) *slapdtest.Server {
	return slapdtest.Start(t, slapdtest.Person("alice", "Alice", "wonder", "description: curious", "employeeNumber: 512", "title: TRUE", "telephoneNumber: 5551"),
		slapdtest.Person("bob", "Bob", "builder", "employeeNumber: 514", "title: FALSE"), slapdtest.Person("carol", "Carol", "singer"),
		"dn: cn=device,ou=Users,"+slapdtest.Suffix+"\nobjectClass: device\ncn: device",
		slapdtest.Group("staff", "alice", "bob", "gone"), slapdtest.Group("ops", "alice"), slapdtest.Group("enabled", "carol"),
		"dn: cn=posix,ou=UserGroups,"+slapdtest.Suffix+"\nobjectClass: posixGroup\ncn: posix\ngidNumber: 7\nmemberUid: bob\nmemberUid: carol")
}

func ids(list []directory.User) []string {
	var out []string
	for _, u := range list {
		out = append(out, u.ID)
	}
	slices.Sort(out)
	return out
}

func groupIDs(list []directory.Group) []string {
	var out []string
	for _, g := range list {
		out = append(out, g.ID)
	}
	slices.Sort(out)
	return out
}

func TestUsersAndGroups(t *testing.T) {
	s := people(t)
	ctx := context.Background()
	d := open(t, options(s))
	u, err := d.User(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if u.Name != "Alice" || u.Email != "alice@example.org" || u.Description != "curious" || !u.Enabled || u.DN != slapdtest.UserDN("alice") {
		t.Errorf("%+v", u)
	}
	if u, err = d.UserNamed(ctx, "alice"); err != nil || u.ID != "alice" {
		t.Errorf("names do not mind case: %+v %v", u, err)
	}
	list, err := d.Users(ctx, "")
	if got := ids(list); err != nil || !slices.Equal(got, []string{"alice", "bob", "carol"}) {
		t.Errorf("users %v %v", got, err)
	}
	if list, err = d.Users(ctx, "bob"); err != nil || len(list) != 1 {
		t.Errorf("by name: %v %v", list, err)
	}
	groups, err := d.Groups(ctx, "")
	if got := groupIDs(groups); err != nil || !slices.Equal(got, []string{"enabled", "ops", "staff"}) {
		t.Errorf("groups %v %v", got, err)
	}
	if groups, err = d.GroupsOf(ctx, u); err != nil || !slices.Equal(groupIDs(groups), []string{"ops", "staff"}) {
		t.Errorf("groups of alice: %v %v", groups, err)
	}
	g, err := d.Group(ctx, "staff")
	if err != nil || g.Description != "the staff" {
		t.Fatalf("%+v %v", g, err)
	}
	if list, err = d.Members(ctx, g); err != nil || !slices.Equal(ids(list), []string{"alice", "bob"}) {
		t.Errorf("members: %v %v", ids(list), err)
	}
	for _, id := range []string{"nobody", "*", "device", ""} {
		if _, err := d.User(ctx, id); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("user %q: %v", id, err)
		}
	}
	if _, err := d.Group(ctx, "no"); !errors.Is(err, directory.ErrNotFound) {
		t.Error(err)
	}
}

// What has a meaning in filters and DNs must be nothing but text in a name.
func TestNoInjection(t *testing.T) {
	s := people(t)
	odd := `o,dd=*)(uid=\*"+<>;#`
	s.Add("dn: uid=o\\2cdd\\3d\\2a)(uid\\3d\\5c\\2a\\22\\2b\\3c\\3e\\3b#,ou=Users," + slapdtest.Suffix + "\nobjectClass: inetOrgPerson\nuid: " + odd + "\ncn: " + odd + "\nsn: x\nuserPassword: odd")
	ctx := context.Background()
	d := open(t, options(s))
	u, err := d.UserNamed(ctx, odd)
	if err != nil || u.ID != odd {
		t.Fatalf("%+v %v", u, err)
	}
	s.Set(slapdtest.GroupDN("ops"), "member", u.DN)
	if groups, err := d.GroupsOf(ctx, u); err != nil || !slices.Equal(groupIDs(groups), []string{"ops"}) {
		t.Errorf("%v %v", groups, err)
	}
	g, err := d.Group(ctx, "ops")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := d.Members(ctx, g); err != nil || !slices.Equal(ids(list), []string{odd}) {
		t.Errorf("%v %v", ids(list), err)
	}
	if ok, err := d.Authenticate(ctx, u.DN, "odd"); err != nil || !ok {
		t.Error(ok, err)
	}
	for _, name := range []string{"*", "alice)(uid=*", "alice)(|(uid=*", `\61lice`, "ali*", "alice\x00", "*)(objectClass=*))(|(uid=*", "Alice)(userPassword=*"} {
		if u, err := d.UserNamed(ctx, name); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("%q finds %+v, %v", name, u, err)
		}
		if list, err := d.Users(ctx, name); err != nil || len(list) > 0 {
			t.Errorf("%q lists %v, %v", name, list, err)
		}
	}
}

func TestPasswords(t *testing.T) {
	s := people(t)
	ctx := context.Background()
	d := open(t, options(s))
	alice := slapdtest.UserDN("alice")
	for password, want := range map[string]bool{"wonder": true, "wrong": false, "": false, "\x00": false, "wonder\x00": false} {
		if ok, err := d.Authenticate(ctx, alice, password); err != nil || ok != want {
			t.Errorf("%q: %v %v", password, ok, err)
		}
	}
	for _, dn := range []string{d.Nobody(), slapdtest.GroupDN("staff"), "", "no DN"} {
		if ok, err := d.Authenticate(ctx, dn, "wonder"); err != nil || ok {
			t.Errorf("%q: %v %v", dn, ok, err)
		}
	}
}

func TestEnabled(t *testing.T) {
	s := people(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		change func(*conf.LDAP)
		want   []string // who is enabled
	}{
		"no attribute": {func(*conf.LDAP) {}, []string{"alice", "bob", "carol"}},
		"boolean":      {func(o *conf.LDAP) { o.UserEnabled = "title" }, []string{"alice", "carol"}},
		"default off":  {func(o *conf.LDAP) { o.UserEnabled, o.UserEnabledDefault = "title", "False" }, []string{"alice"}},
		"inverted":     {func(o *conf.LDAP) { o.UserEnabled, o.UserEnabledInvert, o.UserEnabledDefault = "title", true, "false" }, []string{"bob", "carol"}},
		"mask": {func(o *conf.LDAP) {
			o.UserEnabled, o.UserEnabledMask, o.UserEnabledDefault = "employeeNumber", 2, "512"
		}, []string{"alice", "carol"}},
		"no number": {func(o *conf.LDAP) { o.UserEnabled, o.UserEnabledMask, o.UserEnabledDefault = "cn", 2, "512" }, nil},
		"emulated": {func(o *conf.LDAP) {
			o.UserEnabledEmulation, o.UserEnabledEmulationDN = true, "CN=Enabled, ou=usergroups,"+slapdtest.Suffix
		}, []string{"carol"}},
		"emulated by default": {func(o *conf.LDAP) { o.UserEnabledEmulation = true }, nil},
		"emulated by ids": {func(o *conf.LDAP) {
			o.UserEnabledEmulation, o.UserEmulationConfig, o.UserEnabledEmulationDN = true, true, slapdtest.GroupDN("posix")
			o.GroupMember, o.GroupMemberIDs, o.GroupObjectClass = "memberUid", true, "posixGroup"
		}, []string{"bob", "carol"}},
		"ignored": {func(o *conf.LDAP) { o.UserEnabled, o.UserIgnore = "title", []string{"enabled"} }, []string{"alice", "bob", "carol"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(s)
			c.change(&o)
			d := open(t, o)
			list, err := d.Users(ctx, "")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, u := range list {
				if u.Enabled {
					got = append(got, u.ID)
				}
				if one, err := d.User(ctx, u.ID); err != nil || one.Enabled != u.Enabled {
					t.Errorf("%s alone: %+v %v", u.ID, one, err)
				}
			}
			if slices.Sort(got); !slices.Equal(got, c.want) {
				t.Errorf("enabled are %v, not %v", got, c.want)
			}
		})
	}
}

func TestOtherShapes(t *testing.T) {
	s := people(t)
	ctx := context.Background()
	t.Run("members are ids", func(t *testing.T) {
		o := options(s)
		o.GroupObjectClass, o.GroupMember, o.GroupMemberIDs = "posixGroup", "memberUid", true
		d := open(t, o)
		g, err := d.Group(ctx, "posix")
		if err != nil {
			t.Fatal(err)
		}
		if list, err := d.Members(ctx, g); err != nil || !slices.Equal(ids(list), []string{"bob", "carol"}) {
			t.Errorf("%v %v", ids(list), err)
		}
		u, err := d.User(ctx, "bob")
		if err != nil {
			t.Fatal(err)
		}
		if groups, err := d.GroupsOf(ctx, u); err != nil || !slices.Equal(groupIDs(groups), []string{"posix"}) {
			t.Errorf("%v %v", groups, err)
		}
	})
	t.Run("the id is not in the DN", func(t *testing.T) {
		o := options(s)
		o.UserID = "mail"
		d := open(t, o)
		g, err := d.Group(ctx, "staff")
		if err != nil {
			t.Fatal(err)
		}
		if list, err := d.Members(ctx, g); err != nil || !slices.Equal(ids(list), []string{"alice@example.org", "bob@example.org"}) {
			t.Errorf("%v %v", ids(list), err)
		}
	})
	t.Run("subtree, filter, mapping", func(t *testing.T) {
		o := options(s)
		o.UserTreeDN, o.QueryScope, o.UserFilter, o.UserMapping, o.UserIgnore = slapdtest.Suffix, "sub", "(description=*)(!(uid=x))", []string{"telephoneNumber:phone"}, []string{"email"}
		list, err := open(t, o).Users(ctx, "")
		if err != nil || len(list) != 1 || list[0].Extra["phone"] != "5551" || list[0].Email != "" {
			t.Errorf("%+v %v", list, err)
		}
	})
	t.Run("an id of two", func(t *testing.T) {
		s.Add("dn: cn=second,ou=Users,"+slapdtest.Suffix+"\nobjectClass: inetOrgPerson\nuid: CAROL\ncn: second\nsn: x", slapdtest.Group("both", "carol"))
		s.Set(slapdtest.GroupDN("both"), "member", slapdtest.UserDN("carol"), "cn=second,ou=Users,"+slapdtest.Suffix)
		d := open(t, options(s))
		if list, err := d.Users(ctx, ""); err != nil || !slices.Equal(ids(list), []string{"alice", "bob"}) {
			t.Errorf("%v %v", ids(list), err)
		}
		if _, err := d.User(ctx, "carol"); !errors.Is(err, directory.ErrNotFound) {
			t.Error(err)
		}
		if g, err := d.Group(ctx, "both"); err != nil {
			t.Error(err)
		} else if list, err := d.Members(ctx, g); err != nil || len(list) > 0 {
			t.Errorf("%v %v", ids(list), err)
		}
	})
	t.Run("no such tree", func(t *testing.T) {
		o := options(s)
		o.UserTreeDN = "ou=No," + slapdtest.Suffix
		if list, err := open(t, o).Users(ctx, ""); err != nil || len(list) > 0 {
			t.Errorf("%v %v", list, err)
		}
	})
}

func TestLongLists(t *testing.T) {
	s := people(t)
	var uids []string
	for i := range 600 {
		uid := fmt.Sprintf("u%03d", i)
		uids = append(uids, uid)
		s.Add(slapdtest.Person(uid, "User "+uid, "pw"))
	}
	s.Add(slapdtest.Group("many", uids...))
	ctx := context.Background()
	o := options(s)
	if _, err := open(t, o).Users(ctx, ""); err == nil || !strings.Contains(err.Error(), "page_size") {
		t.Errorf("the server's limit: %v", err)
	}
	o.PageSize = 100
	d := open(t, o)
	list, err := d.Users(ctx, "")
	if err != nil || len(list) != 603 {
		t.Errorf("%d users in pages, %v", len(list), err)
	}
	g, err := d.Group(ctx, "many")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := d.Members(ctx, g); err != nil || len(list) != 600 {
		t.Errorf("%d members, %v", len(list), err)
	}
}

func TestWaysToConnect(t *testing.T) {
	s := people(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		change func(*conf.LDAP)
		good   bool
	}{
		"socket":              {func(o *conf.LDAP) { o.URL = s.LDAPI() }, true},
		"several":             {func(o *conf.LDAP) { o.URL, o.RandomizeURLs = "ldap://127.0.0.1:1, "+s.URL(), true }, true},
		"TLS":                 {func(o *conf.LDAP) { o.URL, o.CACertFile = s.Localhost("ldaps"), s.CA }, true},
		"TLS, unknown issuer": {func(o *conf.LDAP) { o.URL = s.Localhost("ldaps") }, false},
		"TLS, wrong name":     {func(o *conf.LDAP) { o.URL, o.CACertFile = "ldaps://"+s.TLS, s.CA }, false},
		"TLS, unchecked":      {func(o *conf.LDAP) { o.URL, o.ReqCert = "ldaps://"+s.TLS, "never" }, true},
		"StartTLS":            {func(o *conf.LDAP) { o.URL, o.StartTLS, o.CACertFile = s.Localhost("ldap"), true, s.CA }, true},
		"StartTLS, unknown":   {func(o *conf.LDAP) { o.URL, o.StartTLS = s.Localhost("ldap"), true }, false},
		"no pool":             {func(o *conf.LDAP) { o.Pool = false }, true},
		"wrong account":       {func(o *conf.LDAP) { o.Password = "wrong" }, false},
		"nobody":              {func(o *conf.LDAP) { o.URL = "ldap://127.0.0.1:1" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(s)
			o.PoolRetryDelay = 0
			c.change(&o)
			d := open(t, o)
			for range 2 {
				u, err := d.User(ctx, "alice")
				if c.good != (err == nil) {
					t.Fatalf("%+v %v", u, err)
				}
				if err != nil && (errors.Is(err, directory.ErrNotFound) || strings.Contains(err.Error(), slapdtest.Password)) {
					t.Errorf("%v", err)
				}
				if ok, err := d.Authenticate(ctx, slapdtest.UserDN("alice"), "wonder"); c.good && (!ok || err != nil) {
					t.Error(ok, err)
				}
			}
		})
	}
}

// A server that was away is found again, with connections that it has closed in the pool.
func TestComesBack(t *testing.T) {
	s := people(t)
	ctx := context.Background()
	d := open(t, options(s))
	if _, err := d.User(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Again()
	if _, err := d.User(ctx, "alice"); err != nil {
		t.Error(err)
	}
	if ok, err := d.Authenticate(ctx, slapdtest.UserDN("alice"), "wonder"); !ok || err != nil {
		t.Error(ok, err)
	}
}

// A server that takes connections and does not answer costs the first ones their time, and nobody more connections than the pool has.
func TestSilentServer(t *testing.T) {
	s := people(t)
	o := options(s)
	o.PoolTimeout, o.PoolSize, o.PoolRetryMax = 1, 2, 1
	d := open(t, o)
	s.Pause()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := d.User(context.Background(), "alice"); err == nil || errors.Is(err, directory.ErrNotFound) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	s.Resume()
}
