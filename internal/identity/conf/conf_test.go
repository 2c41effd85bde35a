package conf

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaults(t *testing.T) {
	c := Default()
	if c.Token.Expiration != time.Hour || c.Token.AllowExpiredWindow != 48*time.Hour || !c.Token.AllowRescopeScoped || c.SecurityCompliance.LockoutDuration != 30*time.Minute ||
		c.SecurityCompliance.FailureAttempts != 0 || c.Credential.AuthTTL != 15*time.Minute || len(c.Auth.Methods) != 6 || c.UnifiedLimit.EnforcementModel != "flat" {
		t.Errorf("%+v", c)
	}
	for _, o := range optionsOf(c) {
		if o.Section == "" || o.Name == "" || !strings.HasSuffix(o.Doc, ".") || o.text() != o.Default {
			t.Errorf("[%s] %s: doc %q, default %q, value %q", o.Section, o.Name, o.Doc, o.Default, o.text())
		}
	}
	if name, err := c.check(); err != nil {
		t.Error(name, err)
	}
}

func TestFile(t *testing.T) {
	text := "# comment\n[auth]\nmethods = password, token,totp\n; another\n[token]\nexpiration: 600\nallow_rescope_scoped_token=no\n\n[security_compliance]\n" +
		"password_regex = ^(?=.*\\d)(?=.*[a-zA-Z]).{7,}$\npassword_regex_description = \"Seven characters,\"\npassword_regex_description = Seven characters,\n  a letter and a digit\n" +
		"lockout_duration =\nlockout_failure_attempts = 3\n\n[federation]\ntrusted_dashboard = https://a/x\ntrusted_dashboard = https://b/$$y\n[totp]\nincluded_previous_windows=0\n"
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Auth.Methods = []string{"password", "token", "totp"}
	want.Token.Expiration, want.Token.AllowRescopeScoped = 10*time.Minute, false
	want.SecurityCompliance.PasswordRegex = `^(?=.*\d)(?=.*[a-zA-Z]).{7,}$`
	want.SecurityCompliance.PasswordRegexWords = "Seven characters,\na letter and a digit"
	want.SecurityCompliance.LockoutDuration, want.SecurityCompliance.FailureAttempts = 0, 3
	want.Federation.TrustedDashboard = []string{"https://a/x", "https://b/$y"}
	want.TOTP.IncludedPreviousWindows = 0
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestWrongFilesAreRefusedWithTheirLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown section", "\n[database]\nconnection = x\n", "3: unknown section [database]"},
		{"unknown option", "[token]\n# x\nprovider = fernet\n", "3: unknown option provider in [token]"},
		{"option before any section", "expiration = 1\n", "1: unknown option expiration in [DEFAULT]"},
		{"not a number", "[token]\nexpiration = 1h\n", `2: [token] expiration: "1h" is not a whole number`},
		{"too small", "[security_compliance]\npassword_expires_days = 0\n", "2: [security_compliance] password_expires_days: 0 is less than 1"},
		{"too large", "[totp]\nincluded_previous_windows = 11\n", "2: [totp] included_previous_windows: 11 is more than 10"},
		{"not a boolean", "[trust]\nallow_redelegation = maybe\n", `2: [trust] allow_redelegation: "maybe" is not true or false`},
		{"not a choice", "[unified_limit]\nenforcement_model = none\n", `2: [unified_limit] enforcement_model: "none" is none of flat, strict_two_level`},
		{"unknown method", "[auth]\nmethods = password,kerberos\n", `2: [auth] methods: "kerberos" is none of`},
		{"no method", "[auth]\nmethods =\n", `2: [auth] methods: needs at least one`},
		{"bad expression", "[security_compliance]\n\npassword_regex = (\n", "3: [security_compliance] password_regex: not a regular expression"},
		{"provider without a client", "[token]\n[oidc:keycloak]\nissuer = https://k/r\n", "1: [oidc:keycloak] client_id: is needed"},
		{"unknown option of a provider", "[oidc:keycloak]\nsecret = x\n", "2: unknown option secret in [oidc:keycloak]"},
		{"provider without a name", "[oidc:]\nissuer = x\n", "2: unknown section [oidc:]"},
		{"never changeable", "[security_compliance]\npassword_expires_days = 1\nminimum_password_age = 1\n", "3: [security_compliance] minimum_password_age: must be less"},
		{"reference", "[federation]\nassertion_prefix = $state\n", "2: [federation] assertion_prefix: \"$state\" refers to"},
		{"continuation of nothing", "[token]\n expiration = 1\n", "2: the line begins with a blank"},
		{"section without end", "[token\n", "1: the section's name must end with ]"},
		{"section without name", "[]\n", "1: the section has no name"},
		{"no assignment", "[token]\nexpiration\n", `2: "expiration" is not name = value`},
		{"no name", "[token]\n= 1\n", "2: the value has no name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.text)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s…", err, c.want)
			}
		})
	}
}

func TestSectionsWithNames(t *testing.T) {
	c, err := Parse("[oidc:b]\nissuer = https://b\nclient_id = c\nclient_secret = hush\naudience = x, y\n[oidc:a:1]\nissuer = https://a\nclient_id = d\nclaim_delimiter = |\n")
	if err != nil {
		t.Fatal(err)
	}
	scopes := []string{"openid", "email", "profile"}
	want := map[string]*OIDC{
		"b":   {Issuer: "https://b", ClientID: "c", ClientSecret: "hush", Scopes: scopes, Audiences: []string{"x", "y"}, ClaimDelimiter: ";"},
		"a:1": {Issuer: "https://a", ClientID: "d", Scopes: scopes, ClaimDelimiter: "|"},
	}
	if d := cmp.Diff(want, c.OIDC); d != "" {
		t.Error(d)
	}
	text := c.Explain()
	if strings.Contains(text, "hush") || !strings.Contains(text, "# client_secret is set, and not shown") {
		t.Error("a secret shows: ", text)
	}
	c.OIDC["b"].ClientSecret = ""
	if again, err := Parse(text); err != nil || cmp.Diff(c, again) != "" {
		t.Error(err, cmp.Diff(c, again))
	}
}

func TestLoad(t *testing.T) {
	path := t.TempDir() + "/keystone.conf"
	if c, err := Load(path, true); err != nil || cmp.Diff(c, Default()) != "" {
		t.Error("a missing file is all defaults: ", err)
	}
	if _, err := Load(path, false); err == nil {
		t.Error("a file that was asked for must be there")
	}
	if err := os.WriteFile(path, []byte("[token]\nexpiration = -1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, true); err == nil || err.Error() != path+":2: [token] expiration: -1 is less than 1" {
		t.Error(err)
	}
}

func TestPasswordPattern(t *testing.T) {
	s := SecurityCompliance{PasswordRegex: `(?=.*\d)[a-z]`}
	p, err := s.PasswordPattern()
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"a1": true, "a": false, "1a": false} {
		if got, err := p.MatchString(password); got != want || err != nil {
			t.Error(password, got, err)
		}
	}
	s.PasswordRegex = `(a+)+$`
	if p, err = s.PasswordPattern(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.MatchString(strings.Repeat("a", 50) + "b"); err == nil {
		t.Error("a pattern that explodes must be given up")
	}
}

// What Explain writes must say the same when it is read.
func TestExplainIsAFile(t *testing.T) {
	c := Default()
	c.SecurityCompliance.PasswordRegex, c.Federation.TrustedDashboard, c.Trust.AllowRedelegation = "a$b", []string{"https://x", "https://$y"}, true
	got, err := Parse(c.Explain())
	if err != nil {
		t.Fatal(err, c.Explain())
	}
	if d := cmp.Diff(c, got); d != "" {
		t.Error(d)
	}
}

func TestReferencePageIsCurrent(t *testing.T) {
	b, err := os.ReadFile("../../../docs/keystone-conf.md")
	if err != nil || string(b) != Reference() {
		t.Errorf("docs/keystone-conf.md is not what `hanok config keystone --reference` prints (%v)", err)
	}
}

// A file that is read says the same after Explain has written it; nothing may panic, and every refusal names a line of the file.
func FuzzParse(f *testing.F) {
	f.Add("[token]\nexpiration = 600\n")
	f.Add("[security_compliance]\npassword_regex = \"a$$b\"\n x\n")
	f.Add("[auth]\nmethods=password\n[federation]\ntrusted_dashboard=a\ntrusted_dashboard:b\n")
	f.Add("a\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			le, ok := err.(*LineError)
			if !ok || le.Line < 1 || le.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if name, err := c.check(); err != nil {
			t.Fatal(name, err)
		}
	})
}
