package audit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The heads file may come from anywhere.
func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(`Nov 25 10:00:00 host hanok-audit[1]: {"kind":"head","n":7,"hash":"ab","at":1,"key":"audit-1","signature":"c2ln"}`))
	f.Add([]byte(`{"kind":"base","n":1}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := parseStatement(line)
		if err != nil {
			return
		}
		if s.N < 1 || s.Kind != headKind && s.Kind != baseKind {
			t.Fatalf("%+v", s)
		}
		if s.signedBy(nil) {
			t.Fatal("nobody signed it")
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseStatement(b); err != nil || again != s {
			t.Fatalf("%+v %+v %v", s, again, err)
		}
	})
}

// Rows are what somebody put into the database: nothing may stop the chain or disturb a terminal.
func FuzzEvent(f *testing.F) {
	f.Add(`{"eventTime":"2030-01-02T03:04:05.000000Z","action":"create","initiator":{"id":"u","user_id":"u","name":"\u001b[2J"},"target":{"id":"t"},"observer":{"id":"s"}}`)
	f.Add(`{"eventTime":"\u0007","action":"\u001b[2J","outcome":"\n"}`)
	f.Add("late")
	f.Add(`{"initiator":[]}`)
	f.Fuzz(func(t *testing.T, event string) {
		columnsOf(event)
		text := Row{N: 1, Event: json.RawMessage(event)}.Text()
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Fatalf("%q", text)
		}
	})
}

func TestReadHeads(t *testing.T) {
	name := filepath.Join(t.TempDir(), "heads")
	text := `{"kind":"head","n":1,"hash":"a"}
{"kind":"head","n":2,"ha
Jan  1 host hanok-audit[7]: {"kind":"base","n":3,"hash":"c"}

{"kind":"other","n":4}
`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []int64
	bad, err := ReadHeads(name, func(s Statement) { got = append(got, s.N) })
	if err != nil || bad != 3 || len(got) != 2 || got[1] != 3 {
		t.Error(got, bad, err)
	}
	// A line that was cut does not spoil the next.
	if err := appendFile(name, []byte(`{"kind":"head","n":5`)); err != nil {
		t.Fatal(err)
	}
	if err := appendFile(name, []byte("{\"kind\":\"head\",\"n\":6,\"hash\":\"f\"}\n")); err != nil {
		t.Fatal(err)
	}
	got = nil
	if bad, err := ReadHeads(name, func(s Statement) { got = append(got, s.N) }); err != nil || bad != 4 || got[len(got)-1] != 6 {
		t.Error(got, bad, err)
	}
}
