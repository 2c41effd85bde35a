package identity

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/identity/mapping"
)

// A payload as Oauth2CredentialsScopedPayload packs it (keystone 27.0.0 as Debian 13 has it, keystone/token/token_formatters.py).
func TestUpstreamCertificatePayload(t *testing.T) {
	const payload = "980a92c2d940" + "61626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162" +
		"cf0000000200000000" + "92c3c41011111111111111111111111111111111" + "92c2c0" + "cb41dac1b370000000" + "91c410879cba8bccd24f3daa10d3d3d729ea45" +
		"92c2d92c3967527a55466d395175356e7746734b72396e4377505a684e54585034646c7647373347426a35556d77593d"
	b, err := hex.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parsePayload(b, time.Unix(100, 0))
	if err != nil {
		t.Fatal(err)
	}
	want := &Token{UserID: strings.Repeat("ab", 32), Methods: []string{"oauth2_credential"}, ProjectID: strings.Repeat("1", 32), Thumbprint: "9gRzUFm9Qu5nwFsKr9nCwPZhNTXP4dlvG73GBj5UmwY=",
		ExpiresAt: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).UnixMicro(), IssuedAt: 100e6, AuditIDs: []string{"h5y6i8zSTz2qENPT1ynqRQ"}}
	if d := cmp.Diff(want, got, allTokens); d != "" {
		t.Error(d)
	}
	// Ours is the same, with one member more.
	if ours := hex.EncodeToString(want.payload()); len(ours) <= len(payload) || ours[:2] != "99" || ours[2:len(payload)] != payload[2:] {
		t.Errorf("got  %s\nwant %s", ours, payload)
	}
	for what, spoilt := range map[string]string{
		"no thumbprint":    payload[:strings.Index(payload, "92c2d92c")] + "92c2a0",
		"no project":       strings.Replace(payload, "92c3c41011111111111111111111111111111111", "92c2c0", 1),
		"a domain as well": strings.Replace(payload, "92c2c0", "92c2a164", 1),
	} {
		b, err := hex.DecodeString(spoilt)
		if err != nil {
			t.Fatal(err)
		}
		if tok, err := parsePayload(b, time.Unix(100, 0)); err == nil {
			t.Errorf("%s: read as %+v", what, tok)
		}
	}
}

// A certificate with every kind of attribute and of character that upstream writes in another way.
const oddCertificate = `-----BEGIN CERTIFICATE-----
MIICQTCCAeegAwIBAgIBBzAKBggqhkjOPQQDAjBhMQswCQYDVQQGEwJKUDERMA8G
A1UECwwIQ2VydERlcHQxHjAcBgNVBAMMFXJvb3RfYS5vcGVuc3RhY2suaG9zdDET
MBEGCSqGSIb3DQEJARYEI2FAYjEKMAgGA1UEDAwBdDAeFw0yNjAxMDEwMDAwMDBa
Fw0zNjAxMDEwMDAwMDBaMIHyMTAwLgYKCZImiZPyLGQBAQwgODgzMTkxOTBhY2E1
NDM4M2EzOGI5NmViMGU3NTI2NmUxHjAcBgNVBAoMFURlZmF1bHQsIEluYzsgIngi
IDx5PjEXMBUGCgmSJomT8ixkARkWB2RlZmF1bHQxFjAUBgoJkiaJk/IsZAEZFgZz
ZWNvbmQxHDAaBgkqhkiG9w0BCQEWDXRlc3RAZGVtby5jb20xFTATBgNVBAMMDCBj
bGllbnQrMDFcIDELMAkGA1UEBRMCIDcxDTALBgNVBAkMBG1haW4xDzANBgNVBAgM
BuyEnOyauDELMAkGA1UEBwwCI3gwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASk
spZqJFjspJxH7mCj/H7MoX8lgoGN+TMqrTlQ5b3X+N3Tn/DRD85ZGUbu2+YOvc3M
wfA3+1949BTLYu2Nn5nHMAoGCCqGSM49BAMCA0gAMEUCIQCliK5j9kflrVwkm9YB
ulVz06uC5n4PaCmP7yOt/fv1QQIgW0LYd+ws0su5Oa/EgwJs+u+t/8tTh9Z0WQz9
0YwX/WY=
-----END CERTIFICATE-----
`

func oddCert(t testing.TB) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(oddCertificate))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What keystone 27.0.0 makes of it (keystone/common/utils.py, get_certificate_subject_dn, get_certificate_issuer_dn, get_certificate_thumbprint).
func TestCertificateAttributes(t *testing.T) {
	c := oddCert(t)
	got, err := certificateAttributes(c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"SSL_CLIENT_SUBJECT_DN_UID": "88319190aca54383a38b96eb0e75266e", "SSL_CLIENT_SUBJECT_DN_O": `Default\, Inc\; \"x\" \<y\>`, "SSL_CLIENT_SUBJECT_DN_DC": "second",
		"SSL_CLIENT_SUBJECT_DN_EMAILADDRESS": "test@demo.com", "SSL_CLIENT_SUBJECT_DN_CN": `\ client\+01\\\ `, "SSL_CLIENT_SUBJECT_DN_2.5.4.5": `\ 7`,
		"SSL_CLIENT_SUBJECT_DN_STREET": "main", "SSL_CLIENT_SUBJECT_DN_ST": "서울", "SSL_CLIENT_SUBJECT_DN_L": `\#x`, "SSL_CLIENT_ISSUER_DN_C": "JP",
		"SSL_CLIENT_ISSUER_DN_OU": "CertDept", "SSL_CLIENT_ISSUER_DN_CN": "root_a.openstack.host", "SSL_CLIENT_ISSUER_DN_EMAILADDRESS": `\#a@b`, "SSL_CLIENT_ISSUER_DN_2.5.4.12": "t",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := api.CertThumbprint(c); got != "-E0xyT_rFi_H3pJtjL1tp5Chmq9fPRIqDX11lax_ATM=" {
		t.Error(got)
	}
	c.Subject.Names[0].Value = "a=b"
	if got, err := certificateAttributes(c); err == nil {
		t.Error("an equals sign in a value: ", got)
	}
}

func TestWhomACertificateIsFor(t *testing.T) {
	user, domain := doc{"id": "u", "name": "kim", "email": "kim@example.org"}, doc{"id": "d", "name": "Dom"}
	for _, c := range []struct {
		m  mapping.User
		ok bool
	}{
		{mapping.User{ID: "u"}, true},
		{mapping.User{ID: "v"}, false},
		{mapping.User{Name: "kim", Domain: &mapping.Domain{ID: "d"}}, true},
		{mapping.User{Name: "kim", Domain: &mapping.Domain{Name: "Dom"}}, true},
		{mapping.User{Name: "kim", Domain: &mapping.Domain{ID: "d", Name: "Other"}}, false},
		{mapping.User{Name: "kim", Domain: &mapping.Domain{ID: "e", Name: "Dom"}}, false},
		{mapping.User{Name: "lee", Domain: &mapping.Domain{ID: "d"}}, false},
		{mapping.User{ID: "u", Name: "lee"}, false},
		{mapping.User{ID: "u", Email: "kim@example.org"}, true},
		{mapping.User{ID: "u", Email: "lee@example.org"}, false},
		// Of these upstream would let anybody's certificate pass, or that of a namesake.
		{mapping.User{}, false},
		{mapping.User{Domain: &mapping.Domain{ID: "d"}}, false},
		{mapping.User{Email: "kim@example.org"}, false},
		{mapping.User{Name: "kim"}, false},
		{mapping.User{Name: "kim", Domain: &mapping.Domain{}}, false},
	} {
		if err := certifies(c.m, user, domain); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.m, err)
		}
	}
}

// Whatever a certificate says: attributes have names that mappings can ask for, and no value hides another attribute.
func FuzzCertificateAttributes(f *testing.F) {
	f.Add(oddCert(f).Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		got, err := certificateAttributes(c)
		if err != nil {
			return
		}
		for name, v := range got {
			if !strings.HasPrefix(name, "SSL_CLIENT_SUBJECT_DN_") && !strings.HasPrefix(name, "SSL_CLIENT_ISSUER_DN_") || strings.Contains(v, "=") {
				t.Errorf("%q: %q", name, v)
			}
		}
	})
}
