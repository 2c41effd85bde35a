package identity_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/identity"
)

// step is one request of a script. A line of one is
//
//	PERSONA METHOD PATH [BODY] [-> NAME=WHERE …]
//
// PERSONA is a saved token or - for none. WHERE is a path into the answer's body (user.id, roles.0.id), `token` or `receipt`.
// ${NAME} is a saved value and ${FUNCTION ARGUMENT…} one of functions, in a path with commas for blanks; both may stand in path, body and headers.
// Lines that begin with two blanks belong to the step above:
//
//	Name: value      a header, or without it if the value is empty
//	shape            only members and types count, not values, e.g. of lists with what a new cloud has
//	! STATUS WHY     this cloud answers otherwise on purpose, with STATUS, for a reason of differences.md; it must stay so
type step struct {
	at                          string // file:line
	text                        string // the line
	persona, method, path, body string
	headers                     [][2]string
	save                        []saved
	shape                       bool
	code                        int
	reason                      string
}

type saved struct{ name, path string }

// readScripts reads the scripts in the order of their names.
func readScripts(t *testing.T, folder string) []step {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var steps []step
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(raw), "\n") {
			at := fmt.Sprintf("%s:%d", filepath.Base(file), i+1)
			switch {
			case strings.TrimSpace(line) == "" || line[0] == '#':
			case strings.HasPrefix(line, "  "):
				steps[len(steps)-1].option(t, at, strings.TrimSpace(line))
			default:
				steps = append(steps, parseStep(t, at, line))
			}
		}
	}
	return steps
}

func parseStep(t *testing.T, at, line string) step {
	t.Helper()
	s := step{at: at, text: line}
	request, save, _ := strings.Cut(line, " -> ")
	for _, f := range strings.Fields(save) {
		name, path, ok := strings.Cut(f, "=")
		if !ok {
			t.Fatalf("%s: %q saves nothing", at, f)
		}
		s.save = append(s.save, saved{name, path})
	}
	parts := strings.SplitN(request, " ", 4)
	if len(parts) < 3 {
		t.Fatalf("%s: %q is no request", at, line)
	}
	s.persona, s.method, s.path = parts[0], parts[1], parts[2]
	if len(parts) == 4 {
		s.body = parts[3]
	}
	return s
}

func (s *step) option(t *testing.T, at, line string) {
	t.Helper()
	name, value, isHeader := strings.Cut(line, ":")
	switch exception, is := strings.CutPrefix(line, "! "); {
	case is:
		code, reason, _ := strings.Cut(exception, " ")
		var err error
		if s.code, err = strconv.Atoi(code); err != nil || !knownReason(reason) {
			t.Fatalf("%s: an exception needs a status and a reason that differences.md explains", at)
		}
		s.reason = reason
	case line == "shape":
		s.shape = true
	case isHeader:
		s.headers = append(s.headers, [2]string{name, strings.TrimSpace(value)})
		s.text += " [" + line + "]" // it is part of the request
	default:
		t.Fatalf("%s: %q is no option", at, line)
	}
}

func knownReason(name string) bool {
	raw, err := os.ReadFile("differences.md")
	return err == nil && name != "" && strings.Contains(string(raw), "- **"+name+"**: ")
}

var reference = regexp.MustCompile(`\$\{[^}]*\}`)

// expand puts in saved values and the results of functions.
func (p *player) expand(s string) (string, error) {
	var failed error
	out := reference.ReplaceAllStringFunc(s, func(ref string) string {
		args := strings.FieldsFunc(ref[2:len(ref)-1], func(r rune) bool { return r == ' ' || r == ',' })
		fn, isFunction := functions[args[0]]
		for i, a := range args {
			if v, ok := p.vars[a]; ok {
				args[i] = v
			} else if i == 0 && !isFunction {
				failed = fmt.Errorf("nothing is called %s", ref)
			}
		}
		if isFunction {
			return fn(p, args[1:])
		}
		return args[0]
	})
	return out, failed
}

// functions make what clients compute. Arguments are names of saved values, or texts.
var functions = map[string]func(*player, []string) string{
	// now OFFSET LAYOUT
	"now": func(_ *player, a []string) string {
		d, err := time.ParseDuration(a[0])
		if err != nil {
			return err.Error()
		}
		return time.Now().UTC().Add(d).Format(a[1])
	},
	// totp SECRET
	"totp": func(_ *player, a []string) string { return identity.TOTPCode(a[0], time.Now().Unix()/30) },
	// repeat TEXT TIMES
	"repeat": func(_ *player, a []string) string {
		n, err := strconv.Atoi(a[1])
		if err != nil {
			return err.Error()
		}
		return strings.Repeat(a[0], n)
	},
	// ec2 ACCESS SECRET
	"ec2": func(_ *player, a []string) string { return ec2Body(a[0], a[1], time.Now()) },
	// s3 ACCESS SECRET
	"s3": func(_ *player, a []string) string { return s3Body(a[0], a[1], "GET\n\n\n\n/b/o") },
	// basic USER PASSWORD
	"basic": func(_ *player, a []string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(a[0]+":"+a[1]))
	},
	"oauth1": oauth1Header,
}

// oauth1Header is oauth1 PATH CONSUMER SECRET TOKENSECRET [NAME=VALUE…]; a dash stands for no secret of a token.
func oauth1Header(p *player, a []string) string {
	v := url.Values{"oauth_consumer_key": {a[1]}, "oauth_nonce": {fmt.Sprint(time.Now().UnixNano())}, "oauth_timestamp": {fmt.Sprint(time.Now().Unix())}, "oauth_signature_method": {"HMAC-SHA1"}, "oauth_version": {"1.0"}}
	for _, pair := range a[4:] {
		name, value, _ := strings.Cut(pair, "=")
		if saved, ok := p.vars[value]; ok {
			value = saved
		}
		v.Set(name, value)
	}
	h := hmac.New(sha1.New, []byte(a[2]+"&"+strings.TrimPrefix(a[3], "-")))
	h.Write([]byte("POST&" + url.QueryEscape(p.base+a[0]) + "&" + url.QueryEscape(v.Encode())))
	v.Set("oauth_signature", base64.StdEncoding.EncodeToString(h.Sum(nil)))
	var out []string
	for name := range v {
		out = append(out, name+`="`+url.QueryEscape(v.Get(name))+`"`)
	}
	slices.Sort(out)
	return "OAuth " + strings.Join(out, ", ")
}
