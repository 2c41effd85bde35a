package identity

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

const oauthHeader = `OAuth realm="x y%", oauth_nonce="abc123", oauth_timestamp="1795000000", oauth_version="1.0", oauth_signature_method="METHOD", oauth_consumer_key="0123456789abcdef0123456789abcdef",
	oauth_token="fedcba9876543210fedcba9876543210",oauth_verifier="aBcD2345", oauth_signature="SIGNATURE"`

func oauthRequestOf(t testing.TB, method, signature string) oauthRequest {
	t.Helper()
	params, err := readOAuth(strings.NewReplacer("METHOD", method, "SIGNATURE", signature).Replace(oauthHeader))
	if err != nil || len(params) != 8 {
		t.Fatal(params, err)
	}
	return oauthRequest{method: "post", urls: []string{"http://elsewhere/", "HTTPS://Cloud.Example:443/identity/v3/a%20b?x=y"}, query: url.Values{"z": {"2", "1"}, "a": {"ü 1"}}, params: params}
}

// What oauthlib makes of the same requests.
func TestOAuthSignatures(t *testing.T) {
	for method, signature := range map[string]string{
		"HMAC-SHA1":   "SxdEqmlqmvtTPvKujyiFYcBHPLQ%3D",
		"HMAC-SHA256": "SAWU90c6XGBbSeDnckQmwDe5IOzWc6vOQkS41yBX5gM%3D",
		"HMAC-SHA512": "wtVjeysvS0nZCVVnJCy9ZzVA7scWqmZaGfiTTZEMRYhBtVt1JxohSlhGZuW60ser%2FXr97ITK%2F7vNaeEBLAdZPg%3D%3D",
		"PLAINTEXT":   "c%2526s%2520%2525%26t%252Fs",
	} {
		q := oauthRequestOf(t, method, signature)
		if err := q.verify("c&s %", "t/s"); err != nil {
			t.Errorf("%s: %v in %s", method, err, q.base(q.urls[1]))
		}
		for _, wrong := range [][2]string{{"c&s", "t/s"}, {"c&s %", ""}, {"", ""}} {
			if q.verify(wrong[0], wrong[1]) == nil {
				t.Errorf("%s: the secrets %q were taken", method, wrong)
			}
		}
		if method != "PLAINTEXT" {
			q.query.Set("z", "3")
			if q.verify("c&s %", "t/s") == nil {
				t.Errorf("%s: another query", method)
			}
		}
	}
	for _, method := range []string{"RSA-SHA1", "", "none"} {
		if oauthRequestOf(t, method, "x").verify("c", "t") == nil {
			t.Error(method)
		}
	}
}

func TestOAuthParameters(t *testing.T) {
	now := time.Unix(1795000300, 0)
	if problem := oauthRequestOf(t, "PLAINTEXT", "x").complete(now); problem != "" {
		t.Error(problem)
	}
	for name, bad := range map[string][2]string{
		"oauth_nonce": {"", "Missing mandatory OAuth parameters."}, "oauth_signature": {"", "Missing mandatory OAuth parameters."}, "oauth_version": {"2.0", "Invalid OAuth version."},
	} {
		q := oauthRequestOf(t, "PLAINTEXT", "x")
		if q.params[name] = bad[0]; q.complete(now) != bad[1] {
			t.Error(name, q.complete(now))
		}
	}
	for stamp, want := range map[string]string{"17950003": "Invalid timestamp size", "179500030x": "Timestamp must be an integer.", "1794999699": "Timestamp given is invalid, differ from allowed by over 600 seconds.",
		"1795000901": "Timestamp given is invalid, differ from allowed by over 600 seconds.", "1795000900": ""} {
		q := oauthRequestOf(t, "PLAINTEXT", "x")
		if q.params["oauth_timestamp"] = stamp; q.complete(now) != want {
			t.Error(stamp, q.complete(now))
		}
	}
	for _, header := range []string{`OAuth a`, `OAuth a="b`, `OAuth a="%zz"`, `OAuth %zz="b"`, `OAuth a="b", a="c"`, `OAuth ="b"`} {
		if p, err := readOAuth(header); err == nil {
			t.Errorf("%s: %v", header, p)
		}
	}
	for _, header := range []string{"", "Basic x", "Bearer a=b"} {
		if p, err := readOAuth(header); p != nil || err != nil {
			t.Errorf("%s: %v %v", header, p, err)
		}
	}
	if p, err := readOAuth(`oauth a=b,c="d,e" , f=""`); err != nil || p["a"] != "b" || p["c"] != "d,e" || len(p) != 3 {
		t.Error(p, err)
	}
}

func FuzzOAuth(f *testing.F) {
	f.Add(oauthHeader, "http://h/p?a=b")
	f.Add(`OAuth a="b", c=d`, "::")
	f.Fuzz(func(t *testing.T, header, u string) {
		params, err := readOAuth(header)
		if err != nil || params == nil {
			return
		}
		q := oauthRequest{method: "POST", urls: []string{u}, params: params}
		_ = q.complete(time.Unix(1795000000, 0))
		if q.verify("no such secret", "none") == nil && params["oauth_signature_method"] != "PLAINTEXT" {
			t.Fatal("a signature by chance")
		}
		if strings.Count(q.base(u), "&") != 2 {
			t.Fatal(q.base(u))
		}
	})
}
