package compute_test

import (
	"context"
	"testing"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// posted is a node whose guest posted a password.
type posted struct {
	host, guest, password string
	away                  bool
}

func (p *posted) Call(_ context.Context, node string, c nodeapi.Call) ([]byte, error) {
	if p.away || node != p.host || c.GuestID != p.guest {
		return nil, nodehub.ErrNotConnected
	}
	if c.Method == nodeapi.MethodClearPassword {
		p.password = ""
	}
	return []byte(p.password), nil
}

func TestServerPassword(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		c.node("n1", 4096)
		id := c.boot("vm")
		path := "/compute/v2.1/servers/" + id + "/os-server-password"
		c.do("member", "", "GET", path, "").must(200).says(`{"password":""}`) // it never ran
		c.report("n1", nodeapi.GuestStatus{ID: id, Generation: 1, Power: nodeapi.ObservedRunning})
		c.do("member", "", "GET", path, "").must(409).says("is not connected")
		node := &posted{host: "n1", guest: id, password: "c2VjcmV0"}
		c.compute.SetNodes(node)
		c.do("reader", "", "GET", path, "").must(200).says(`{"password":"c2VjcmV0"}`)
		c.do("other", "", "GET", path, "").must(404)
		c.do("other", "", "DELETE", path, "").must(404)
		c.do("reader", "", "DELETE", path, "").must(403)
		node.away = true
		c.do("member", "", "DELETE", path, "").must(409)
		node.away = false
		c.do("member", "", "GET", path, "").must(200).says(`{"password":"c2VjcmV0"}`)
		c.do("member", "", "DELETE", path, "").must(204)
		c.do("member", "", "GET", path, "").must(200).says(`{"password":""}`)
	})
}
