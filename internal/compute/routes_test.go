package compute

import (
	"testing"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func TestRouteTableMounts(t *testing.T) {
	s, err := New(Options{DB: dbtest.Memory(t)})
	if err != nil {
		t.Fatal(err)
	}
	api.NewServer(api.Options{Services: []*api.Service{s.API()}}) // panics on a route without a rule or a clash
}
