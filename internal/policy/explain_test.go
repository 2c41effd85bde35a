package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestPassing(t *testing.T) {
	for _, c := range []struct {
		rules  []Rule
		rule   string
		target Target
		want   string
	}{
		{Nova(), "os_compute_api:servers:show", Owned{ProjectID: "p1"}, "admin in any project, reader in project p1"},
		{Nova(), "os_compute_api:os-availability-zone:list", Owned{ProjectID: "p1"}, "any role in any project"},
		{Nova(), "os_compute_api:os-keypairs:show", Map{"user_id": "u1"}, "admin in any project, user u1 with any role in any project"},
		{Keystone(), "identity:get_user", Map{"target.user.id": "u1", "target.user.domain_id": "d1"},
			"admin in any project, user u1 with any role in any project, admin in any domain, reader in domain d1, reader in the system"},
		{Keystone(), "identity:create_region", nil, "admin in any project, admin in the system"},
		{Neutron(), "create_port:device_owner", Map{"project_id": "p2", "tenant_id": "p2", "network:tenant_id": "p1", "device_owner": "network:dhcp"},
			"admin in any project, service in any project, member in project p1"},
	} {
		e, err := New(c.rules)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(e.Passing(c.target, c.rule), ", "); got != c.want {
			t.Errorf("%s about %v:\n got %s\nwant %s", c.rule, c.target, got, c.want)
		}
	}
}

func TestWhy(t *testing.T) {
	e, err := New(Nova())
	if err != nil {
		t.Fatal(err)
	}
	c := &Creds{ProjectID: "p2", Roles: []string{"member", "reader"}}
	v, why := e.Why("os_compute_api:servers:delete", c, Owned{ProjectID: "p1"})
	if v != Refused || why.OK || len(why.Parts) != 2 {
		t.Fatal(v, why)
	}
	own := why.Parts[0]
	if own.Text != "rule:project_member_api" || len(own.Parts) != 2 || !own.Parts[0].OK || own.Parts[1].OK ||
		own.Parts[1].Note != "the caller's is p2; the target's project_id is p1" {
		t.Errorf("%+v", own)
	}
	if v, why := e.Why("os_compute_api:servers:delete", &Creds{SystemScope: "all", Roles: []string{"admin"}}, Owned{}); v != WrongScope || !strings.Contains(why.Note, "scope project") {
		t.Error(v, why)
	}
	if v, why := e.Why("nothing", c, nil); v != Refused || !strings.Contains(why.Note, "no such rule") {
		t.Error(v, why)
	}
	// What is told must be what is asked.
	for _, service := range services() {
		e, err := New(service)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range service {
			v, why := e.Why(r.Name, c, Owned{ProjectID: "p2", UserID: "u"})
			if want := e.Check(r.Name, c, Owned{ProjectID: "p2", UserID: "u"}); v != want || why.OK != want.OK() {
				t.Errorf("%s: %v %v, want %v", r.Name, v, why, want)
			}
			if ch, err := Parse(show(e.set.Load().rules[r.Name].n)); err != nil || show(ch.n) != show(e.set.Load().rules[r.Name].n) {
				t.Errorf("%s: %q is not what was parsed: %v", r.Name, show(ch.n), err)
			}
		}
	}
}

func TestListTellsOverrides(t *testing.T) {
	e, err := New([]Rule{{Name: "a", Check: "rule:helper or role:x"}, {Name: "helper", Check: "@"}, {Name: "new", Check: "!", Deprecated: &Deprecated{"old", "role:y"}}})
	if err != nil {
		t.Fatal(err)
	}
	before := e.Loaded()
	if err := e.LoadOverrides([]byte("a: role:z\n\nold: rule:mine\nmine: role:m\nmisspelt: '@'\n")); err != nil {
		t.Fatal(err)
	}
	if e.Loaded() == before {
		t.Error("the load is not counted")
	}
	if got := e.Unknown(); !slices.Equal(got, []string{"misspelt"}) {
		t.Errorf("unknown: %v", got)
	}
	var got []string
	for _, r := range e.List() {
		s := r.Name + "=" + r.Check
		if r.Overridden {
			s += " by " + r.By
		}
		got = append(got, s)
	}
	want := "a=role:z by a|helper=@|new=rule:mine by old|mine=role:m by mine|misspelt=@ by misspelt"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}
