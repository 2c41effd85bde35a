package identity_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/identity"
)

// load is controllers under clients that use tokens, while others revoke them. HANOK_IDENTITY_LOAD is how many rounds of revocations each user gets;
// the default is for every day.
type load struct {
	t        *testing.T
	urls     []string
	services []*identity.Service
	client   *http.Client
	admin    string
	failed   atomic.Bool
	used     atomic.Int64
}

// generation are the tokens of a user that one change ends together. Doomed is set before the change is asked for, dead after it was answered.
type generation struct {
	user         string
	doomed, dead atomic.Bool
}

// held is a token that clients use.
type held struct {
	id string
	of *generation
	// Its own revocation.
	doomed, dead atomic.Bool
}

func (h *held) isDead() bool   { return h.dead.Load() || h.of.dead.Load() }
func (h *held) isDoomed() bool { return h.doomed.Load() || h.of.doomed.Load() }

// victim is a user whose tokens are revoked all the time.
type victim struct {
	l                  *load
	id, name, password string
	grant              string // the path of its role
	now                *generation
	rnd                *rand.Rand
	mu                 sync.Mutex
	tokens             []*held
}

func (l *load) fail(format string, args ...any) {
	l.failed.Store(true)
	l.t.Errorf(format, args...)
}

// send asks a controller and gives the status and the token of the answer.
func (l *load) send(controller int, token, method, path, body, subject string) (int, string) {
	q, err := http.NewRequest(method, l.urls[controller]+"/identity/v3"+path, strings.NewReader(body))
	if err != nil {
		l.fail("%v", err)
		return 0, ""
	}
	q.Header.Set("X-Auth-Token", token)
	q.Header.Set("X-Subject-Token", subject)
	q.Header.Set("Content-Type", "application/json")
	r, err := l.client.Do(q)
	if err != nil {
		l.fail("%s %s: %v", method, path, err)
		return 0, ""
	}
	defer func() { _ = r.Body.Close() }()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		l.fail("%s %s: %v", method, path, err)
	}
	l.used.Add(1)
	return r.StatusCode, r.Header.Get("X-Subject-Token")
}

func (l *load) must(code, controller int, method, path, body, subject string) {
	if got, _ := l.send(controller, l.admin, method, path, body, subject); got != code {
		l.fail("%s %s was answered with %d, not %d", method, path, got, code)
	}
}

// use validates a token, or exchanges it for another one, which it gives. What is dead before must be refused, what is not doomed after it accepted.
func (l *load) use(h *held, controller int, exchange bool) string {
	dead := h.isDead()
	var code int
	var child string
	what := "validating"
	good := http.StatusOK
	if exchange {
		what, good = "exchanging", http.StatusCreated
		code, child = l.send(controller, "", "POST", "/auth/tokens", exchangeBody(h.id, project(h.of.user)), "")
	} else {
		code, _ = l.send(controller, l.admin, "GET", "/auth/tokens", "", h.id)
	}
	doomed := h.isDoomed()
	switch {
	case dead && code == good:
		l.fail("controller %d: %s a revoked token was answered with %d", controller, what, code)
	case !doomed && code != good:
		l.fail("controller %d: %s a good token was answered with %d", controller, what, code)
	case code != good && code != http.StatusNotFound && code != http.StatusUnauthorized:
		l.fail("controller %d: %s a token was answered with %d", controller, what, code)
	}
	return child
}

// some is one of the tokens that were handed out, most often a young one.
func (v *victim) some(rnd *rand.Rand) *held {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := len(v.tokens)
	return v.tokens[n-1-min(rnd.IntN(n), rnd.IntN(n))]
}

func (v *victim) hold(id string, of *generation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tokens = append(v.tokens, &held{id: id, of: of})
	if len(v.tokens) > 40 {
		v.tokens = v.tokens[10:]
	}
}

// login makes the first token of a new generation.
func (v *victim) login(controller int) *generation {
	code, token := v.l.send(controller, "", "POST", "/auth/tokens", authBody(v.name, v.password, project(v.name)), "")
	if code != http.StatusCreated {
		v.l.fail("the right password was answered with %d", code)
	}
	g := &generation{user: v.name}
	v.hold(token, g)
	return g
}

// round ends tokens in one of the ways and looks at both controllers, before the next ones are made.
func (v *victim) round(kind int, now *generation) *generation {
	l, at := v.l, v.rnd.IntN(len(v.l.urls))
	others := func(token string, want int) {
		for c := range l.urls {
			if code, _ := l.send(c, l.admin, "GET", "/auth/tokens", "", token); code != want {
				l.fail("controller %d: after way %d of revoking by controller %d a token was answered with %d, not %d", c, kind, at, code, want)
			}
		}
	}
	v.mu.Lock()
	last := v.tokens[len(v.tokens)-1]
	v.mu.Unlock()
	switch kind {
	case 0:
		now.doomed.Store(true)
		l.must(200, at, "PATCH", "/users/"+v.id, `{"user":{"enabled":false}}`, "")
		now.dead.Store(true)
		others(last.id, 404)
		l.must(200, v.rnd.IntN(len(l.urls)), "PATCH", "/users/"+v.id, `{"user":{"enabled":true}}`, "")
		others(last.id, 404)
	case 1:
		next := fmt.Sprintf("password-%d", v.rnd.Int64())
		now.doomed.Store(true)
		l.must(204, at, "POST", "/users/"+v.id+"/password", `{"user":{"original_password":"`+v.password+`","password":"`+next+`"}}`, "")
		now.dead.Store(true)
		for c := range l.urls {
			if code, _ := l.send(c, "", "POST", "/auth/tokens", authBody(v.name, v.password, ""), ""); code != 401 {
				l.fail("controller %d: the old password was answered with %d", c, code)
			}
		}
		v.password = next
		others(last.id, 404)
	case 2:
		last.doomed.Store(true)
		l.must(204, at, "DELETE", "/auth/tokens", "", last.id)
		last.dead.Store(true)
		others(last.id, 404)
		return now // the others are good still
	case 3:
		// The tokens are good again with the next grant, so that the clients cannot know; this one does.
		now.doomed.Store(true)
		l.must(204, at, "DELETE", v.grant, "", "")
		others(last.id, 404)
		l.must(204, v.rnd.IntN(len(l.urls)), "PUT", v.grant, "", "")
	}
	return v.login(v.rnd.IntN(len(l.urls)))
}

func (l *load) run(c *cloud, users, clients, rounds int) {
	var victims []*victim
	member := c.role("member")
	for i := range users {
		v := &victim{l: l, name: fmt.Sprint("victim-", i), password: "pw-victim-" + fmt.Sprint(i), rnd: rand.New(rand.NewPCG(4, uint64(i)))}
		user, project := c.tenant(v.name)
		v.id, v.grant = user, "/projects/"+project+"/users/"+user+"/roles/"+member
		v.now = v.login(0)
		victims = append(victims, v)
	}
	done := make(chan struct{})
	var using, revoking sync.WaitGroup
	for i := range clients {
		using.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(i)))
			for {
				select {
				case <-done:
					return
				default:
				}
				v := victims[rnd.IntN(len(victims))]
				h, c := v.some(rnd), rnd.IntN(len(l.urls))
				switch rnd.IntN(8) {
				case 0: // a token of no key at hand makes the controller look for new keys
					if code, _ := l.send(c, l.admin, "GET", "/auth/tokens", "", h.id[:20]+"A"+h.id[21:]); code != 404 && h.id[20] != 'A' {
						l.fail("a token that nobody made was answered with %d", code)
					}
				case 1, 2:
					if child := l.use(h, c, true); child != "" {
						v.hold(child, h.of)
					}
				default:
					l.use(h, c, false)
				}
			}
		})
	}
	for _, v := range victims {
		revoking.Go(func() {
			for n := range rounds {
				if l.failed.Load() {
					return
				}
				v.now = v.round(n%4, v.now)
				if err := l.services[v.rnd.IntN(len(l.services))].RotateKeys(context.Background()); err != nil {
					l.fail("%v", err)
				}
			}
		})
	}
	revoking.Wait()
	close(done)
	using.Wait()
	l.t.Logf("%d requests", l.used.Load())
}

// What is revoked by one controller is refused by all from then on, and nothing else is refused, however much goes on.
func TestRevocationUnderLoad(t *testing.T) {
	rounds := 8
	if v := os.Getenv("HANOK_IDENTITY_LOAD"); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	run := func(t *testing.T, url string, controllers int) {
		l := &load{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
		defer l.client.CloseIdleConnections()
		var first *cloud
		for range controllers {
			d, err := db.Open(t.Context(), db.Options{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close() }()
			c := newCloud(t, d)
			srv := httptest.NewServer(c.h)
			defer srv.Close()
			l.urls, l.services = append(l.urls, srv.URL), append(l.services, c.svc)
			if first == nil {
				first = c
			}
		}
		l.admin = first.admin
		l.run(first, 4, 16, rounds)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, "sqlite:"+filepath.Join(t.TempDir(), "hanok.db"), 1) })
	t.Run("postgres", func(t *testing.T) { run(t, dbtest.PostgresURL(t), 2) })
}
