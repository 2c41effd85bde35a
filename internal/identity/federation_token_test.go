package identity

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Payloads as keystone/token/token_formatters.py packs them.
func TestUpstreamFederatedPayloads(t *testing.T) {
	const user = "92c2d940" + "61626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162"
	const groups, end = "9292c3c4100123456789abcdef0123456789abcdef92c2a56e616d6564", "92c2a4636f7270a66f70656e6964cb41dac1b37000000091c410879cba8bccd24f3daa10d3d3d729ea45"
	for _, c := range []struct{ name, payload, project, domain string }{
		{"unscoped", "9804" + user + "14" + groups + end, "", ""},
		{"project", "9905" + user + "14" + "92c3c41011111111111111111111111111111111" + groups + end, strings.Repeat("1", 32), ""},
		{"domain", "9906" + user + "14" + "92c2a764656661756c74" + groups + end, "", "default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(c.payload)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parsePayload(b, time.Unix(100, 0))
			if err != nil {
				t.Fatal(err)
			}
			want := &Token{UserID: strings.Repeat("ab", 32), Methods: []string{"mapped", "token"}, ProjectID: c.project, DomainID: c.domain,
				ExpiresAt: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).UnixMicro(), IssuedAt: 100e6, AuditIDs: []string{"h5y6i8zSTz2qENPT1ynqRQ"},
				via: &federation{provider: "corp", protocol: "openid", groups: []string{"0123456789abcdef0123456789abcdef", "named"}}}
			if d := cmp.Diff(want, got, allTokens); d != "" {
				t.Error(d)
			}
			// Ours is the same, with one member more.
			if ours := hex.EncodeToString(want.payload()); ours[2:len(c.payload)] != c.payload[2:] {
				t.Errorf("got  %s\nwant %s", ours, c.payload)
			}
		})
	}
}

// Tokens made from federated ones, and those with many groups, come back whole.
func TestFederatedPayloads(t *testing.T) {
	via := &federation{provider: "corp", protocol: "openid", epoch: 7}
	for range 300 {
		via.groups = append(via.groups, strings.Repeat("3", 32))
	}
	bare := &federation{provider: "corp", protocol: "openid", epoch: 7}
	base := Token{UserID: "u", Methods: []string{"mapped"}, ExpiresAt: 1795392000000000, AuditIDs: []string{"h5y6i8zSTz2qENPT1ynqRQ"}, userEpoch: 3, scopeEpoch: 70000}
	for name, change := range map[string]func(*Token){
		"unscoped": func(t *Token) { t.via = via },
		"project":  func(t *Token) { t.via, t.ProjectID = via, "p" },
		"system":   func(t *Token) { t.via, t.System = bare, true },
		"trust":    func(t *Token) { t.via, t.TrustID, t.ProjectID = bare, "t", "p" },
	} {
		want := base
		change(&want)
		got, err := parsePayload(want.payload(), time.Unix(0, 0))
		if err != nil {
			t.Fatal(name, err)
		}
		got.IssuedAt = 0
		if d := cmp.Diff(&want, got, allTokens); d != "" {
			t.Error(name, d)
		}
	}
	forged := base
	forged.via = bare
	p := forged.payload()
	i := strings.LastIndex(string(p), "corp")
	p[i] = 'x'
	if _, err := parsePayload(p, time.Unix(0, 0)); err == nil {
		t.Error("a token of two providers is read")
	}
}
