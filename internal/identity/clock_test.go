package identity_test

import (
	"context"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// stepped runs a test on each engine in a cloud whose database goes by the stepped clock, too: for what ends by itself.
func stepped(t *testing.T, fn func(t *testing.T, c *cloud)) {
	run := func(t *testing.T, url string) {
		c := &cloud{t: t}
		d, err := db.Open(context.Background(), db.Options{URL: url, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		c.d = d
		c.svc, c.h = c.controller()
		if _, err := c.svc.Bootstrap(context.Background(), "secret"); err != nil {
			t.Fatal(err)
		}
		c.admin = c.login("admin", "secret", project("admin"))
		fn(t, c)
	}
	t.Run("memory", func(t *testing.T) { run(t, "sqlite::memory:") })
	t.Run("postgres", func(t *testing.T) { run(t, dbtest.PostgresURL(t)) })
}
