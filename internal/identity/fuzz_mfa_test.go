package identity

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var allReceipts = cmp.Options{cmp.AllowUnexported(receipt{}), cmpopts.EquateEmpty()}

func sampleReceipts() []*receipt {
	return []*receipt{
		{user: "0123456789abcdef0123456789abcdef", methods: []string{"password"}, expiresAt: 1795392300000000, issuedAt: 1795392000000000, epoch: 3},
		{user: "a user by another name", methods: []string{"totp", "password"}, expiresAt: 1, epoch: 1 << 40},
	}
}

func TestReceiptPayloads(t *testing.T) {
	for _, want := range sampleReceipts() {
		got, err := parseReceipt(want.payload(), time.UnixMicro(want.issuedAt))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, allReceipts); d != "" {
			t.Error(d)
		}
	}
	for _, tok := range sampleTokens() {
		if _, err := parseReceipt(tok.payload(), time.Unix(0, 0)); err == nil {
			t.Errorf("a token was taken for a receipt: %+v", tok)
		}
	}
	for _, r := range sampleReceipts() {
		if _, err := parsePayload(r.payload(), time.Unix(0, 0)); err == nil {
			t.Errorf("a receipt was taken for a token: %+v", r)
		}
	}
}

// What parses must survive being packed and parsed again, and is no token.
func FuzzReceipt(f *testing.F) {
	for _, r := range sampleReceipts() {
		f.Add(r.payload())
	}
	f.Add(sampleTokens()[0].payload())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReceipt(b, time.Unix(0, 0))
		if err != nil {
			return
		}
		if r.user == "" || r.expiresAt <= 0 {
			t.Fatalf("a receipt of nobody or of no time: %+v", r)
		}
		again, err := parseReceipt(r.payload(), time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if again.user != r.user || again.expiresAt != r.expiresAt || again.epoch != r.epoch {
			t.Fatalf("%+v became %+v", r, again)
		}
		if _, err := parsePayload(b, time.Unix(0, 0)); err == nil {
			t.Fatal("the same bytes are a token")
		}
	})
}

// RFC 6238, appendix B, cut to six digits.
func TestTOTPCodes(t *testing.T) {
	key, err := decodeTOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
	if err != nil || string(key) != "12345678901234567890" {
		t.Fatal(key, err)
	}
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := totpCode(key, at/30); got != want {
			t.Errorf("%d: %s, want %s", at, got, want)
		}
	}
}

// A secret that decodes makes passcodes of six digits; padding changes nothing.
func FuzzTOTP(f *testing.F) {
	for _, s := range []string{"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "GEZDGNBVGY3TQOJQGEZDGNBVGY======", "0", "gezd", "GEZDGNBVGY3TQOJQ\nGEZDGNBVGY3TQOJQ", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, blob string) {
		key, err := decodeTOTP(blob)
		if err != nil {
			return
		}
		if len(key) < 16 || strings.Trim(blob, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=") != "" {
			t.Fatalf("%q was read as %d bytes", blob, len(key))
		}
		again, err := decodeTOTP(strings.TrimRight(blob, "=") + "==")
		if err != nil || string(again) != string(key) {
			t.Fatalf("%q: padding changed the key: %v", blob, err)
		}
		now := time.Unix(1795392000, 0)
		code := totpCode(key, now.Unix()/30)
		if step, ok := totpMatch(key, code, now, 1, 0); !ok || len(code) != 6 || step > now.Unix()/30 {
			t.Fatalf("%q: its own passcode %s does not match", blob, code)
		}
	})
}
