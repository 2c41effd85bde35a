package identity_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// column reads the first column of a query as text.
func (c *cloud) column(query string, args ...any) []string {
	c.t.Helper()
	var out []string
	err := c.d.Read(context.Background(), func(tx *db.Tx) (err error) {
		out, err = db.All(tx, db.Value[string], query, args...)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *cloud) keys(purpose string) []string {
	return c.column(`SELECT id FROM identity_keys WHERE purpose = $1 ORDER BY created_at`, purpose)
}

func TestCredentialKeyRotation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		user, proj := c.tenant("kim")
		const many = 120 // more than one turn takes
		for i := range many {
			c.must(201, "POST", "/v3/credentials", blobOf(user, proj, fmt.Sprint("k", i), ""))
		}
		sealed := func() string { return strings.Join(c.column(`SELECT blob FROM identity_credentials ORDER BY id`), " ") }
		readable := func() {
			t.Helper()
			r := c.must(200, "GET", "/v3/credentials", "")
			if n := len(r.at("credentials").([]any)); n != many || strings.Count(r.raw, `\"secret\":\"s\"`) != many {
				t.Fatal("credentials are lost: ", n)
			}
		}
		if strings.Contains(sealed(), "secret") {
			t.Fatal("a blob stands in clear")
		}
		for turn := range 3 {
			before := sealed()
			n, err := c.svc.RotateCredentialKeys(context.Background())
			if err != nil || n != many {
				t.Fatal(n, err)
			}
			for b := range strings.SplitSeq(sealed(), " ") {
				if strings.Contains(before, b) {
					t.Fatal("a blob was not encrypted again")
				}
			}
			readable()
			if got, want := len(c.keys("credential")), min(turn+2, 2); got != want {
				t.Errorf("%d keys after %d rotations, want %d", got, turn+1, want)
			}
		}
		// What does not open stays, and stops nothing.
		c.exec(`UPDATE identity_credentials SET blob = 'AAAA' WHERE id = (SELECT min(id) FROM identity_credentials)`)
		if n, err := c.svc.RotateCredentialKeys(context.Background()); err != nil || n != many-1 {
			t.Error(n, err)
		}
	})
}

func (c *cloud) exec(query string, args ...any) {
	c.t.Helper()
	if err := c.d.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
}

// A controller that has not heard of a rotation reads and writes credentials as before, with the new key.
func TestCredentialKeysOfTwoControllers(t *testing.T) {
	c := newCloud(t, dbtest.Postgres(t))
	other, h := c.controller()
	user, proj := c.tenant("kim")
	id := c.must(201, "POST", "/v3/credentials", blobOf(user, proj, "a", "")).str("credential.id")
	for range 3 {
		if _, err := c.svc.RotateCredentialKeys(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if r := c.sendTo(h, c.admin, "GET", "/v3/credentials/"+id, ""); r.code != 200 {
		t.Error(r.raw)
	}
	r := c.sendTo(h, c.admin, "POST", "/v3/credentials", blobOf(user, proj, "b", ""))
	if r.code != 201 {
		t.Fatal(r.raw)
	}
	if n, err := other.RotateCredentialKeys(context.Background()); err != nil || n != 2 {
		t.Error(n, err)
	}
	c.must(200, "GET", "/v3/credentials/"+r.str("credential.id"), "")
}

// Tokens are made and validated on two controllers while keys rotate: none is refused.
func TestTokenKeyRotationLosesNoRequest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		handlers := []func(token, method, path, body string, header ...string) reply{c.send, c.send}
		rotate := []interface{ RotateKeys(context.Context) error }{c.svc, c.svc}
		if d.Engine() == db.Postgres {
			other, h := c.controller()
			handlers[1] = func(token, method, path, body string, header ...string) reply {
				return c.sendTo(h, token, method, path, body, header...)
			}
			rotate[1] = other
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					r := handlers[i%2]("", "POST", "/v3/auth/tokens", authBody("admin", "secret", project("admin")))
					if r.code != 201 {
						t.Error(r.code, r.raw)
						return
					}
					tok := r.header.Get("X-Subject-Token")
					for _, h := range handlers {
						if r := h(tok, "GET", "/v3/auth/tokens", "", "X-Subject-Token", tok); r.code != 200 {
							t.Error(r.code, r.raw)
							return
						}
					}
				}
			})
		}
		for i := range 12 {
			if err := rotate[i%2].RotateKeys(context.Background()); err != nil {
				t.Error(err)
			}
		}
		close(stop)
		wg.Wait()
		if c.valid(c.admin) != 200 {
			t.Error("a token from before")
		}
	})
}

// Keys rotate by themselves when they are due; a controller that only makes tokens takes the new one in time.
func TestDueKeys(t *testing.T) {
	stepped(t, func(t *testing.T, c *cloud) {
		ctx := context.Background()
		user, proj := c.tenant("kim")
		cred := c.must(201, "POST", "/v3/credentials", blobOf(user, proj, "a", "")).str("credential.id")
		other, h := c.controller()
		due := func(tokens, credentials int) {
			t.Helper()
			if err := c.svc.RotateDueKeys(ctx); err != nil {
				t.Fatal(err)
			}
			if got := []int{len(c.keys("token")), len(c.keys("credential"))}; got[0] != tokens || got[1] != credentials {
				t.Errorf("keys: %v, want %d and %d", got, tokens, credentials)
			}
		}
		due(1, 1)
		c.shift.Store(int64(8 * 24 * time.Hour))
		due(2, 1)
		due(2, 1)
		if err := other.RotateDueKeys(ctx); err != nil || len(c.keys("token")) != 2 {
			t.Error("the other controller has to find it done: ", err)
		}
		// A week later the first key is of no use any more. The other controller has never read the second one.
		for week := range 14 {
			c.shift.Store(int64(time.Duration(15+7*week+week/7) * 24 * time.Hour))
			if err := c.svc.RotateDueKeys(ctx); err != nil {
				t.Fatal(err)
			}
			r := c.sendTo(h, "", "POST", "/v3/auth/tokens", authBody("admin", "secret", project("admin")))
			if c.admin = r.header.Get("X-Subject-Token"); r.code != 201 || c.d.Engine() == db.Postgres && c.valid(c.admin) != 200 {
				t.Fatal("week ", week, ": a token of the other controller is refused: ", r.raw)
			}
		}
		if got := len(c.keys("token")); got > 3 {
			t.Error("token keys heap up: ", got)
		}
		if got := len(c.keys("credential")); got != 2 {
			t.Error("credential keys: ", got)
		}
		c.admin = c.login("admin", "secret", project("admin"))
		if r := c.must(200, "GET", "/v3/credentials/"+cred, ""); !strings.Contains(r.raw, "secret") {
			t.Error(r.raw)
		}
	})
}
