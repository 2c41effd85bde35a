package identity_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// What the real Keystone answered to the requests of testdata/upstream/*.txt stands in testdata/upstream/golden.json; this cloud has to
// answer the same. The form of the scripts is told in upstream_script_test.go, what of an answer counts in upstream_answer_test.go.
//
// To record anew, start a Keystone with an empty database, `keystone-manage bootstrap --bootstrap-password secret` with a region, the
// [auth] methods of upstreamConf and public_endpoint as KEYSTONE_URL, and run the command below.
// On SQLite, `PRAGMA journal_mode=WAL` keeps it from locking itself out, and the [cache] backend dogpile.cache.memory_pickle makes it quick.
//
//	KEYSTONE_URL=http://127.0.0.1:5000 KEYSTONE_VERSION='27.0.0 (2025.1)' go test ./internal/identity -run TestUpstream -update

var updateUpstream = flag.Bool("update", false, "record what the Keystone at KEYSTONE_URL answers")

const (
	upstreamFolder = "testdata/upstream"
	upstreamGolden = upstreamFolder + "/golden.json"
	upstreamConf   = "[auth]\nmethods = external,password,token,oauth1,mapped,application_credential,totp\n"
)

type goldenFile struct {
	Note     string   `json:"note"`
	Keystone string   `json:"keystone"`
	Answers  []answer `json:"-"`
}

func readGolden(t *testing.T) (string, []answer) {
	t.Helper()
	raw, err := os.ReadFile(upstreamGolden)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	var head goldenFile
	if err := json.Unmarshal([]byte(lines[0]), &head); err != nil {
		t.Fatal(err)
	}
	answers := make([]answer, len(lines)-1)
	for i, line := range lines[1:] {
		if err := json.Unmarshal([]byte(line), &answers[i]); err != nil {
			t.Fatalf("%s:%d: %v", upstreamGolden, i+2, err)
		}
	}
	return head.Keystone, answers
}

func writeGolden(t *testing.T, version string, answers []answer) {
	t.Helper()
	var b strings.Builder
	line := func(v any) {
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	line(goldenFile{Note: "Recorded by TestUpstream -update; do not edit.", Keystone: version})
	for _, a := range answers {
		line(a)
	}
	if err := os.WriteFile(upstreamGolden, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUpstream(t *testing.T) {
	steps := readScripts(t, upstreamFolder)
	if *updateUpstream {
		recordUpstream(t, steps)
		return
	}
	version, want := readGolden(t)
	if version == "" || len(want) != len(steps) {
		t.Fatalf("%s (%q) has %d answers to %d requests: record anew", upstreamGolden, version, len(want), len(steps))
	}
	for _, name := range regexp.MustCompile(`(?m)^- \*\*([a-z0-9-]+)\*\*`).FindAllStringSubmatch(differencesFile(t), -1) {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.reason == name[1] }) {
			t.Errorf("differences.md explains %q, which no request shows any more", name[1])
		}
	}
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloudWith(t, d, upstreamConf)
		p := newPlayer(endpoint+"/identity", func(r *http.Request) *http.Response {
			in := httptest.NewRequest(r.Method, r.URL.RequestURI(), r.Body)
			in.Header = r.Header
			w := httptest.NewRecorder()
			c.h.ServeHTTP(w, in)
			return w.Result()
		})
		for i, s := range steps {
			if want[i].Request != s.text {
				t.Fatalf("%s: %s stands for another request: record anew", s.at, upstreamGolden)
			}
			got, err := p.play(s)
			if err != nil && want[i].Status == got.Status {
				t.Fatalf("%s: %s: %v", s.at, s.text, err)
			}
			judge(t, s, want[i], got)
		}
	})
}

func differencesFile(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("differences.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// judge compares an answer to upstream's. A difference that the script explains has to be there, with the status that it names.
func judge(t *testing.T, s step, want, got answer) {
	t.Helper()
	diff := want.differs(got, s.shape)
	switch {
	case diff == "" && s.reason != "":
		t.Errorf("%s: %s: answers as upstream; its exception is stale: %s", s.at, s.text, s.reason)
	case diff != "" && s.reason == "":
		t.Errorf("%s: %s\n%s", s.at, s.text, diff)
	case s.reason != "" && got.Status != s.code:
		t.Errorf("%s: %s\n%d, and its exception says %d: %s\n%s", s.at, s.text, got.Status, s.code, s.reason, diff)
	}
}

func recordUpstream(t *testing.T, steps []step) {
	t.Helper()
	base, version := os.Getenv("KEYSTONE_URL"), os.Getenv("KEYSTONE_VERSION")
	if base == "" || version == "" {
		t.Fatal("KEYSTONE_URL and KEYSTONE_VERSION must name a fresh Keystone")
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	p := newPlayer(strings.TrimSuffix(base, "/"), func(r *http.Request) *http.Response {
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s %s: %v", r.Method, r.URL, err)
		}
		return resp
	})
	var answers []answer
	for _, s := range steps {
		a, err := p.play(s)
		if err != nil {
			t.Errorf("%s: %s: %v; upstream answered %d %s", s.at, s.text, err, a.Status, a.raw)
		}
		answers = append(answers, a)
	}
	if !t.Failed() {
		writeGolden(t, version, answers)
	}
}

// player sends the steps of scripts one after the other and keeps what they save.
type player struct {
	base  string
	send  func(*http.Request) *http.Response
	vars  map[string]string
	names []string // of vars, in the order of their first use
}

func newPlayer(base string, send func(*http.Request) *http.Response) *player {
	return &player{base: base, send: send, vars: map[string]string{"base": base}}
}

func (p *player) save(name, value string) {
	if _, ok := p.vars[name]; !ok {
		p.names = append(p.names, name)
	}
	p.vars[name] = value
}

func (p *player) play(s step) (answer, error) {
	body, path := "", ""
	var err error
	if body, err = p.expand(s.body); err != nil {
		return answer{}, err
	}
	if path, err = p.expand(s.path); err != nil {
		return answer{}, err
	}
	r, err := http.NewRequest(s.method, p.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.persona != "-" {
		token, ok := p.vars[s.persona]
		if !ok {
			return answer{}, fmt.Errorf("nobody is called %q", s.persona)
		}
		r.Header.Set("X-Auth-Token", token)
	}
	for _, h := range s.headers {
		value, err := p.expand(h[1])
		if err != nil {
			return answer{}, err
		}
		if r.Header.Del(h[0]); value != "" {
			r.Header.Set(h[0], value)
		}
	}
	resp := p.send(r)
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	if err := resp.Body.Close(); err != nil {
		return answer{}, err
	}
	err = p.saveAll(s, resp, raw)
	a := p.answer(resp, raw)
	a.Request = s.text
	return a, err
}

// saveAll keeps what the step wants of the answer.
func (p *player) saveAll(s step, resp *http.Response, raw []byte) error {
	for _, v := range s.save {
		value := ""
		switch v.path {
		case "token":
			value = resp.Header.Get("X-Subject-Token")
		case "receipt":
			value = resp.Header.Get("Openstack-Auth-Receipt")
		default:
			value = lookUp(raw, v.path)
		}
		if value == "" {
			return fmt.Errorf("the answer (%d) has no %s", resp.StatusCode, v.path)
		}
		p.save(v.name, value)
	}
	return nil
}

// lookUp reads a value by path, user.id or roles.0.id, out of JSON or a form.
func lookUp(raw []byte, path string) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return formValue(string(raw), path)
	}
	s, _ := (reply{body: map[string]any{"": v}}).at("." + path).(string)
	return s
}

func formValue(form, name string) string {
	for pair := range strings.SplitSeq(form, "&") {
		if k, v, ok := strings.Cut(pair, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// longestFirst are the saved values that may stand in an answer, each with its name.
func (p *player) longestFirst() []string {
	names := slices.Clone(p.names)
	slices.SortStableFunc(names, func(a, b string) int { return len(p.vars[b]) - len(p.vars[a]) })
	return names
}
