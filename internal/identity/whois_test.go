package identity_test

import (
	"context"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/identity"
)

// A revocation of all of a user's tokens names no audit id. It must not count for the question what a user would be worth now.
func TestCallerOfAfterRevocations(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		id := c.create("user", `{"name":"kim","password":"p0"}`)
		c.ownPassword(id, "p0", "p1", 204, "")
		for _, user := range []string{"kim", id, "admin"} {
			got, err := c.svc.CallerOf(context.Background(), identity.Who{User: user})
			if err != nil {
				t.Errorf("%s: %v", user, err)
			} else if user != "admin" && got.UserID != id {
				t.Errorf("%s: is %s", user, got.UserID)
			}
		}
	})
}
