package daemon

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hanok-cloud/hanok/internal/audit"
	"github.com/hanok-cloud/hanok/internal/db"
)

// lines collects what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// secretive is a client that knows which of what it sends and gets is secret, and collects the errors that it is answered with.
type secretive struct {
	t      *testing.T
	base   string
	token  string
	marks  map[string]string // secret → what it is
	errors bytes.Buffer
	last   http.Header
}

// mark makes a secret of 26 characters that can be told from everything else.
func (s *secretive) mark(what string) string {
	m := fmt.Sprintf("Zq7Secret%03dmarkedxYz0123!", len(s.marks))
	s.keep(m, what)
	return m
}

func (s *secretive) keep(secret, what string) {
	s.t.Helper()
	if len(secret) < 16 {
		s.t.Fatalf("%s: %q is too short to be looked for", what, secret)
	}
	s.marks[secret] = what
	s.marks[base64.StdEncoding.EncodeToString([]byte(secret))[:len(secret)]] = what + ", in base64"
}

// send wants a status and returns the body.
func (s *secretive) send(code int, method, path, body string, header ...string) map[string]any {
	s.t.Helper()
	req, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", s.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode >= 400 {
		s.errors.Write(b)
		s.errors.WriteByte('\n')
	}
	if resp.StatusCode != code {
		s.t.Errorf("%s %s: %d %s, want %d", method, path, resp.StatusCode, b, code)
	}
	s.last = resp.Header
	if t := resp.Header.Get("X-Subject-Token"); t != "" {
		s.keep(t, "a token")
	}
	var out map[string]any
	_ = json.Unmarshal(b, &out) // some answers have no body
	return out
}

// at reads a value by path.
func (s *secretive) at(v map[string]any, path ...string) string {
	s.t.Helper()
	var x any = v
	for _, p := range path {
		m, ok := x.(map[string]any)
		if !ok {
			s.t.Fatalf("no %v in %v", path, v)
		}
		x = m[p]
	}
	out, ok := x.(string)
	if !ok {
		s.t.Fatalf("no %v in %v", path, v)
	}
	return out
}

func (s *secretive) first(path, kind string) string {
	s.t.Helper()
	list, _ := s.send(200, "GET", path, "")[kind].([]any)
	if len(list) == 0 {
		s.t.Fatal("no ", kind)
	}
	m, _ := list[0].(map[string]any)
	return s.at(m, "id")
}

func passwordLogin(user, password, project string) string {
	scope := ""
	if project != "" {
		scope = fmt.Sprintf(`,"scope":{"project":{"id":%q}}`, project)
	}
	return fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":%q,"password":%q}}}%s}}`, user, password, scope)
}

// TestNoSecretIsTold runs a session through all services that sends and gets secrets of all kinds, rightly and wrongly, with everything logged,
// and looks for them in the log, in the audit log and in the errors.
func TestNoSecretIsTold(t *testing.T) {
	t.Parallel()
	var log lines
	s := &secretive{t: t, marks: map[string]string{}}
	admin := s.mark("the admin's password")
	d, err := StartDev(context.Background(), DevOptions{Nodes: 1, AdminPassword: admin, LogTo: &log, Debug: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	s.base = strings.TrimSuffix(d.Access().AuthURL, "/identity/v3")
	login := s.send(201, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","password":%q,"domain":{"id":"default"}}}},
		"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`, admin))
	s.token = s.last.Get("X-Subject-Token")
	project := s.at(login, "token", "project", "id")
	for _, walk := range []func(*secretive, string){(*secretive).users, (*secretive).credentials, (*secretive).tokens, (*secretive).servers, (*secretive).elsewhere} {
		walk(s, project)
	}
	s.search(d, log.String())
}

func (s *secretive) users(project string) {
	user := func(member string) string { return `{"user":{"name":"kim",` + member + `}}` }
	pw := s.mark("a user's password")
	kim := s.at(s.send(201, "POST", "/identity/v3/users", user(fmt.Sprintf(`"password":%q`, pw))), "user", "id")
	role := ""
	roles, _ := s.send(200, "GET", "/identity/v3/roles?name=member", "")["roles"].([]any)
	if m, ok := roles[0].(map[string]any); ok {
		role = s.at(m, "id")
	}
	s.send(204, "PUT", fmt.Sprintf("/identity/v3/projects/%s/users/%s/roles/%s", project, kim, role), "")
	s.send(201, "POST", "/identity/v3/auth/tokens", passwordLogin(kim, pw, project))
	wrong := s.mark("a wrong password")
	s.send(401, "POST", "/identity/v3/auth/tokens", passwordLogin(kim, wrong, project))
	s.send(401, "POST", "/identity/v3/auth/tokens", passwordLogin("nobody", wrong, project))
	// A password where the name belongs.
	s.send(401, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"password":"x","domain":{"id":"default"}}}}}}`, wrong))
	// Passwords in bodies that are refused: a wrong type, a wrong form, a broken text, a name that is taken.
	inList := s.mark("a password in a list")
	s.send(400, "POST", "/identity/v3/users", user(fmt.Sprintf(`"password":[%q]`, inList)))
	s.send(400, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"password":{"user":{"id":"x","password":%q}}}}}`, inList))
	s.send(400, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"x","password":{"a":%q}}}}}}`, inList))
	s.send(400, "POST", "/identity/v3/users", user(fmt.Sprintf(`"password":%q`, s.mark("a password in a broken body")))[:60])
	s.send(409, "POST", "/identity/v3/users", user(fmt.Sprintf(`"password":%q`, s.mark("a password of a user that is there"))))
	next := s.mark("a next password")
	s.send(400, "POST", "/identity/v3/users/"+kim+"/password", fmt.Sprintf(`{"user":{"original_password":[%q],"password":%q}}`, pw, next))
	s.send(401, "POST", "/identity/v3/users/"+kim+"/password", fmt.Sprintf(`{"user":{"original_password":%q,"password":%q}}`, wrong, next))
	s.send(204, "POST", "/identity/v3/users/"+kim+"/password", fmt.Sprintf(`{"user":{"original_password":%q,"password":%q}}`, pw, next))
	s.send(200, "PATCH", "/identity/v3/users/"+kim, fmt.Sprintf(`{"user":{"password":%q}}`, s.mark("a password set by the admin")))
	s.send(204, "DELETE", "/identity/v3/users/"+kim, "")
}

func (s *secretive) credentials(project string) {
	me := s.at(s.send(200, "GET", "/identity/v3/auth/tokens", "", "X-Subject-Token", s.token), "token", "user", "id")
	given := s.mark("an application credential's secret")
	appCreds := "/identity/v3/users/" + me + "/application_credentials"
	id := s.at(s.send(201, "POST", appCreds, fmt.Sprintf(`{"application_credential":{"name":"a","secret":%q}}`, given)), "application_credential", "id")
	s.send(409, "POST", appCreds, fmt.Sprintf(`{"application_credential":{"name":"a","secret":%q}}`, given))
	s.send(400, "POST", appCreds, fmt.Sprintf(`{"application_credential":{"name":"b","secret":{"x":%q}}}`, given))
	s.keep(s.at(s.send(201, "POST", appCreds, `{"application_credential":{"name":"made"}}`), "application_credential", "secret"), "an application credential's secret that was made")
	by := func(secret string) string {
		return fmt.Sprintf(`{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":%q,"secret":%q}}}}`, id, secret)
	}
	s.send(201, "POST", "/identity/v3/auth/tokens", by(given))
	s.send(401, "POST", "/identity/v3/auth/tokens", by(s.mark("a wrong application credential's secret")))
	ec2 := s.send(201, "POST", "/identity/v3/users/"+me+"/credentials/OS-EC2", fmt.Sprintf(`{"tenant_id":%q}`, project))
	s.keep(s.at(ec2, "credential", "secret"), "an EC2 secret")
	s.send(200, "GET", "/identity/v3/users/"+me+"/credentials/OS-EC2/"+s.at(ec2, "credential", "access"), "")
	cred := func(kind, blob string) string {
		b, _ := json.Marshal(map[string]any{"credential": map[string]any{"type": kind, "user_id": me, "project_id": project, "blob": blob}})
		return string(b)
	}
	seed := s.mark("a TOTP seed")
	totp := s.at(s.send(201, "POST", "/identity/v3/credentials", cred("totp", seed)), "credential", "id")
	s.send(200, "PATCH", "/identity/v3/credentials/"+totp, fmt.Sprintf(`{"credential":{"blob":%q}}`, s.mark("another TOTP seed")))
	s.send(201, "POST", "/identity/v3/credentials", cred("ec2", fmt.Sprintf(`{"access":"access1","secret":%q}`, s.mark("an EC2 secret in a blob"))))
	s.send(400, "POST", "/identity/v3/credentials", cred("ec2", s.mark("a blob that is no JSON")))
	s.send(400, "POST", "/identity/v3/credentials", fmt.Sprintf(`{"credential":{"type":"cert","blob":[%q]}}`, s.mark("a blob of a wrong type")))
	s.keep(s.at(s.send(201, "POST", "/identity/v3/OS-OAUTH1/consumers", `{"consumer":{}}`), "consumer", "secret"), "a consumer's secret")
	domain := s.at(s.send(201, "POST", "/identity/v3/domains", `{"domain":{"name":"d"}}`), "domain", "id")
	s.send(201, "PUT", "/identity/v3/domains/"+domain+"/config", fmt.Sprintf(`{"config":{"identity":{"driver":"ldap"},"ldap":{"url":"ldap://x","password":%q}}}`, s.mark("a directory's password")))
	s.send(403, "PUT", "/identity/v3/domains/"+domain+"/config", fmt.Sprintf(`{"config":{"other":{"password":%q}}}`, s.mark("a directory's password in a wrong group")))
}

func (s *secretive) tokens(project string) {
	s.send(201, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["token"],"token":{"id":%q}},"scope":{"project":{"id":%q}}}}`, s.token, project))
	made := s.last.Get("X-Subject-Token")
	s.send(200, "GET", "/identity/v3/auth/tokens", "", "X-Subject-Token", made)
	s.send(204, "DELETE", "/identity/v3/auth/tokens", "", "X-Subject-Token", made)
	s.send(404, "GET", "/identity/v3/auth/tokens", "", "X-Subject-Token", made)
	s.send(404, "DELETE", "/identity/v3/auth/tokens", "", "X-Subject-Token", made)
	s.send(404, "GET", "/identity/v3/auth/tokens", "", "X-Subject-Token", s.mark("what is no token"))
	s.send(401, "GET", "/identity/v3/users", "", "X-Auth-Token", made)
	s.send(401, "POST", "/compute/v2.1/servers", "{}", "X-Auth-Token", s.mark("a token that nobody made"))
	s.send(404, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["token"],"token":{"id":%q}}}}`, made))
	s.send(400, "POST", "/identity/v3/auth/tokens", fmt.Sprintf(`{"auth":{"identity":{"methods":["token"],"token":{"id":[%q]}}}}`, made))
	// A token in a path, as people put it there.
	s.send(404, "DELETE", "/identity/v3/users/"+made, "")
	s.send(404, "DELETE", "/network/v2.0/ports/"+made, "")
	s.send(404, "POST", "/image/v2/"+made, "")
}

func (s *secretive) servers(string) {
	flavor, image := s.first("/compute/v2.1/flavors", "flavors"), s.first("/image/v2/images", "images")
	network := s.first("/network/v2.0/networks?name=private", "networks")
	server := func(more string) string {
		return fmt.Sprintf(`{"server":{"name":"s","flavorRef":%q,"imageRef":%q,"networks":[{"uuid":%q}],%s}}`, flavor, image, network, more)
	}
	coded := func(what string) string { return base64.StdEncoding.EncodeToString([]byte(s.mark(what))) }
	made := s.send(202, "POST", "/compute/v2.1/servers", server(fmt.Sprintf(`"user_data":%q,"adminPass":%q`, coded("user data"), s.mark("a server's password"))))
	id := s.at(made, "server", "id")
	s.keep(s.at(s.send(202, "POST", "/compute/v2.1/servers", server(`"max_count":1`)), "server", "adminPass")+strings.Repeat("-", 8), "a server's password that was made")
	s.send(202, "POST", "/compute/v2.1/servers", server(fmt.Sprintf(`"personality":[{"path":"/a","contents":%q}]`, coded("a file's contents"))))
	s.send(400, "POST", "/compute/v2.1/servers", server(fmt.Sprintf(`"user_data":%q`, "?"+s.mark("user data that is not base64"))))
	s.send(400, "POST", "/compute/v2.1/servers", server(fmt.Sprintf(`"user_data":[%q]`, s.mark("user data of a wrong type"))))
	s.send(400, "POST", "/compute/v2.1/servers", server(fmt.Sprintf(`"adminPass":{"a":%q}`, s.mark("a server's password of a wrong type"))))
	s.send(400, "POST", "/compute/v2.1/servers", server(fmt.Sprintf(`"personality":[{"path":"/a","contents":%q,"x":1}]`, coded("a file's contents beside what does not belong there"))))
	s.send(400, "POST", "/compute/v2.1/servers", server(fmt.Sprintf(`"adminPass":%q,"unknown":1`, s.mark("a server's password beside what does not belong there"))))
	action := func(code int, body string) { s.send(code, "POST", "/compute/v2.1/servers/"+id+"/action", body) }
	action(400, fmt.Sprintf(`{"changePassword":{"adminPass":[%q]}}`, s.mark("a new server's password of a wrong type")))
	action(400, fmt.Sprintf(`{"rebuild":{"imageRef":1,"adminPass":%q}}`, s.mark("a rebuilt server's password in a wrong body")))
	// The guest has no agent that could set it.
	s.sendAny("POST", "/compute/v2.1/servers/"+id+"/action", fmt.Sprintf(`{"changePassword":{"adminPass":%q}}`, s.mark("a new server's password")))
	s.sendAny("POST", "/compute/v2.1/servers/"+id+"/action", fmt.Sprintf(`{"rebuild":{"imageRef":%q,"adminPass":%q}}`, image, s.mark("a rebuilt server's password")))
	key := s.at(s.send(200, "POST", "/compute/v2.1/os-keypairs", `{"keypair":{"name":"k"}}`), "keypair", "private_key")
	s.keep(strings.Split(key, "\n")[2], "a private key")
	s.send(204, "DELETE", "/compute/v2.1/servers/"+id, "")
}

// sendAny is for what may be answered in several ways.
func (s *secretive) sendAny(method, path, body string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 400 {
		s.errors.Write(b)
	}
}

// elsewhere has secrets where none belongs: in names, in query strings, in headers.
func (s *secretive) elsewhere(string) {
	stray := s.mark("a secret in a query string")
	s.send(200, "GET", "/network/v2.0/ports?name="+stray, "")
	s.send(401, "GET", "/network/v2.0/ports?token="+stray, "", "X-Auth-Token", stray)
	s.send(400, "POST", "/network/v2.0/ports?password="+stray, `{"port":{}}`)
	s.send(200, "GET", "/image/v2/images?owner="+stray, "")
	s.send(200, "GET", "/placement/resource_providers?name="+stray, "")
	s.send(401, "GET", "/identity/v3/projects", "", "X-Auth-Token", stray, "Authorization", "Bearer "+stray)
}

// search looks for the secrets.
func (s *secretive) search(d *Dev, log string) {
	ctx := context.Background()
	rows := 0
	texts := map[string]string{"the log": log, "an error": s.errors.String()}
	for marker := int64(0); ; {
		page, err := d.ctl.audit.Search(ctx, audit.Query{Marker: marker})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range page {
			texts["the audit log"] += string(r.Event) + "\n" + r.Text() + "\n"
			marker = r.N
		}
		rows += len(page)
		if len(page) < audit.PageMax {
			break
		}
	}
	if rows < 60 || !strings.Contains(log, "level=DEBUG") || len(texts["an error"]) < 1000 {
		s.t.Errorf("%d entries, %d bytes of log, %d of errors: that was no session", rows, len(log), len(texts["an error"]))
	}
	texts["the database"] = s.dump(d.ctl.db, "audit_inbox", "audit_log", "audit_heads", "audit_state", "events")
	for secret, what := range s.marks {
		secret = strings.TrimRight(secret, "-")
		for where, text := range texts {
			if i := strings.Index(text, secret); i >= 0 {
				s.t.Errorf("%s stands in %s: …%s…", what, where, text[max(0, i-300):min(len(text), i+len(secret)+100)])
			}
		}
	}
}

// dump is everything in the tables.
func (s *secretive) dump(d *db.DB, tables ...string) string {
	var b strings.Builder
	err := d.Read(context.Background(), func(tx *db.Tx) error {
		for _, table := range tables {
			cols, err := db.All(tx, db.Value[string], `SELECT name FROM pragma_table_info($1)`, table)
			if err != nil {
				return err
			}
			for _, col := range cols {
				if err := tx.Each(func(r db.Row) error {
					v, err := db.Value[string](r)
					fmt.Fprintf(&b, "%s ", v)
					return err
				}, `SELECT CAST(coalesce(`+col+`, '') AS TEXT) FROM `+table); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}
