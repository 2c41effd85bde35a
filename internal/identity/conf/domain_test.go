package conf

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDomainOptions(t *testing.T) {
	var given map[string]any
	if err := json.Unmarshal([]byte(`{"url":"ldap://a,ldap://b","page_size":100,"use_tls":true,"use_pool":"False","user_attribute_ignore":["a","b"],"pool_retry_delay":0.5,"suffix":null,"debug_level":0,"chase_referrals":false}`), &given); err != nil {
		t.Fatal(err)
	}
	list := []DomainOption{{"identity", "driver", "ldap"}}
	for name, v := range given {
		list = append(list, DomainOption{"ldap", name, v})
	}
	d, err := DomainOf(list)
	if err != nil {
		t.Fatal(err)
	}
	l := d.LDAP
	if d.Identity.Driver != "ldap" || l.URL != "ldap://a,ldap://b" || l.PageSize != 100 || !l.StartTLS || l.Pool || strings.Join(l.UserIgnore, "|") != "a|b" || l.PoolRetryDelay != 0.5 || l.Suffix != "cn=example,cn=com" ||
		l.DebugLevel != "0" || l.Chase != "false" || l.UserID != "cn" || l.AuthPoolSize != 100 {
		t.Errorf("%+v", d)
	}
	for _, o := range []DomainOption{{"ldap", "page_size", "x"}, {"ldap", "page_size", -1.0}, {"ldap", "page_size", 1.5}, {"ldap", "use_tls", "maybe"}, {"ldap", "nothing", "x"}, {"token", "expiration", 1}, {"identity", "driver", "kvs"},
		{"ldap", "url", map[string]any{}}, {"ldap", "user_attribute_ignore", []any{1}}} {
		if d, err := DomainOf([]DomainOption{o}); err == nil {
			t.Errorf("%v: %+v", o, d)
		}
	}
	if _, err := DomainOf([]DomainOption{{"ldap", "password", map[string]any{"s3cret": 1}}}); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

func TestDomainFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("keystone.corp.conf", "[identity]\ndriver = ldap\n[ldap]\nurl = ldap://a\nuser_filter = (&(a=b)(c=d))\n")
	write("below/keystone.with.dots.conf", "[ldap]\nuse_tls = yes\n")
	write("keystone.conf", "nonsense")
	write("other.conf", "nonsense")
	all, err := LoadDomains(dir)
	if err != nil || len(all) != 2 || all["corp"].LDAP.UserFilter != "(&(a=b)(c=d))" || !all["with.dots"].LDAP.StartTLS || all["with.dots"].Identity.Driver != "sql" {
		t.Errorf("%v %v", all, err)
	}
	write("keystone.bad.conf", "[ldap]\n\nuse_tls = perhaps\n")
	if _, err := LoadDomains(dir); err == nil || !strings.Contains(err.Error(), "keystone.bad.conf:3: [ldap] use_tls") {
		t.Error(err)
	}
	if _, err := LoadDomains(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there is no folder without domains")
	}
}

func FuzzDomain(f *testing.F) {
	f.Add("[ldap]\nurl = ldap://a\nuse_pool = off\n", `{"page_size":3}`)
	f.Fuzz(func(t *testing.T, file, options string) {
		_, _ = ParseDomain(file)
		var given map[string]any
		if json.Unmarshal([]byte(options), &given) != nil {
			return
		}
		for name, v := range given {
			_, _ = DomainOf([]DomainOption{{"ldap", name, v}})
		}
	})
}
