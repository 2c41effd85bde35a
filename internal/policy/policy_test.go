package policy

import (
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	for check, why := range map[string]string{
		"http://x/y":                       "remote server",
		"role":                             "neither @, ! nor kind:match",
		"role:admin and":                   "ends where",
		"(role:admin":                      "not closed",
		"role:admin)":                      "expected",
		"role:a role:b":                    "expected",
		"project_id:%(project_id)d":        "%(name)s",
		"project_id:%x":                    "neither",
		"   ":                              "ends where",
		"'quoted'":                         "neither",
		"field:networks":                   "field:resource:attribute=value",
		"field:port:name=~(":               "missing closing",
		strings.Repeat("not ", 1000) + "@": "nested deeper",
	} {
		_, err := Parse(check)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("Parse(%q) = %v, want an error with %q", check, err, why)
		}
	}
}

func TestOverrides(t *testing.T) {
	e, err := New([]Rule{
		{Name: "admin", Check: "role:admin"},
		{Name: "get", Check: "rule:admin or project_id:%(project_id)s", ScopeTypes: []string{"project"}},
		{Name: "new", Check: "rule:admin", Deprecated: &Deprecated{Name: "old", Check: "rule:admin"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	reader := &Creds{ProjectID: "p", Roles: []string{"reader"}}
	mine, other := Owned{ProjectID: "p"}, Owned{ProjectID: "q"}
	if !e.Allowed("get", reader, mine) || e.Allowed("get", reader, other) || e.Allowed("absent", reader, mine) {
		t.Error("defaults")
	}
	if v := e.Check("get", &Creds{SystemScope: "all", Roles: []string{"admin"}}, mine); v != WrongScope {
		t.Errorf("system scope: %v", v)
	}
	for file, why := range map[string]string{
		"get: (role:x":                 "line 1: rule \"get\"",
		"# c\nget: \"rule:nowhere\"":   "line 2: rule \"get\"",
		"a: rule:b\nb: rule:a":         "leads back",
		"get: role:x\nget: role:y":     "line 2",
		"- get":                        "mapping",
		"get: [role:x]":                "must be text",
		"get: role:x\n  bad: [":        "line 2",
		"get: http://localhost/policy": "remote server",
		"get: 3":                       "must be text",
	} {
		err := e.LoadOverrides([]byte(file))
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", file, err, why)
		}
		if !e.Allowed("get", reader, mine) {
			t.Fatalf("%q: the rules before are lost", file)
		}
	}
	if err := e.LoadOverrides([]byte("get: \"!\"\nold: role:reader\nown: '@'\n")); err != nil {
		t.Fatal(err)
	}
	if e.Allowed("get", reader, mine) || !e.Allowed("new", reader, mine) || !e.Allowed("own", reader, nil) {
		t.Error("overrides are not in force")
	}
	if err := e.LoadOverrides(nil); err != nil || !e.Allowed("get", reader, mine) {
		t.Error("an empty file restores the defaults:", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("(rule:a and not role:b) or 'x':%(target.y)s or field:networks:shared=True")
	f.Add("tenant_id:%(network:tenant_id)s or user.domain.id:%(a)s and is_admin:True or True:%(b)s")
	f.Add("role:%(x)s or !")
	f.Fuzz(func(t *testing.T, s string) {
		ch, err := Parse(s)
		if err != nil {
			return
		}
		fn, err := compile(ch.n, func(string) *compiled { return &compiled{fn: grant} })
		if err != nil {
			t.Fatal(err)
		}
		fn(&Creds{Values: map[string]any{"user": map[string]any{"domain": []any{"x"}}}}, Map{"a": "b", "x": nil})
		fn(&Creds{}, nil)
	})
}

// TestParentAttributes: a target resolves what belongs to the parent only when a rule asks for it.
func TestParentAttributes(t *testing.T) {
	e, err := New(Neutron())
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	port := TargetFunc(func(name string) (any, bool) {
		asked[name]++
		v, ok := map[string]any{"project_id": "p2", "tenant_id": "p2", "network:tenant_id": "p1", "network:shared": true}[name]
		return v, ok
	})
	owner := &Creds{ProjectID: "p1", Roles: []string{"member", "reader"}}
	if !e.Allowed("network_owner", owner, port) || !e.Allowed("shared", owner, port) {
		t.Error("the network's owner and sharing must count")
	}
	if v := e.CheckAll(owner, port, "create_port", "create_port:mac_address"); v != Refused {
		t.Errorf("another project's port: %v", v)
	}
	clear(asked)
	if !e.Allowed("create_network", owner, Owned{ProjectID: "p1"}) || len(asked) != 0 {
		t.Error("a network of one's own needs no parent", asked)
	}
}
