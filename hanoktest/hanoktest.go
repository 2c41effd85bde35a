// Package hanoktest starts a cloud inside a Go test: the real control plane in memory with simulated nodes, on a port of its own.
//
//	cloud := hanoktest.Start(t)
//	// point gophercloud, or any OpenStack client, at cloud.AuthURL
//
// The cloud stops with the test. It starts with flavors, two images, an external network `public` and a network `private` in the
// admin's project.
package hanoktest

import (
	"context"
	"testing"
	"time"

	"github.com/hanok-cloud/hanok/internal/daemon"
)

// Cloud is how to reach a running cloud as its administrator.
type Cloud struct {
	AuthURL    string // http://127.0.0.1:PORT/identity/v3
	Username   string
	Password   string
	Project    string
	DomainName string // of user and project
	Region     string
}

// Option changes the cloud that Start makes.
type Option func(*daemon.DevOptions)

// Nodes sets the number of simulated nodes (default 2).
func Nodes(n int) Option { return func(o *daemon.DevOptions) { o.Nodes = n } }

// BootTime makes guests take that long to boot (default: no time).
func BootTime(d time.Duration) Option { return func(o *daemon.DevOptions) { o.BootTime = d } }

// FailRate makes that share of boots fail, 0 to 1.
func FailRate(share float64) Option { return func(o *daemon.DevOptions) { o.FailRate = share } }

// Empty leaves out the flavors, images and networks.
func Empty() Option { return func(o *daemon.DevOptions) { o.Empty = true } }

// Start starts a cloud that stops when the test ends. A cloud that does not start fails the test.
func Start(t testing.TB, options ...Option) *Cloud {
	t.Helper()
	o := daemon.DevOptions{LogTo: logger{t}}
	for _, f := range options {
		f(&o)
	}
	d, err := daemon.StartDev(context.Background(), o)
	if err != nil {
		t.Fatalf("start a cloud: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("stop the cloud: %v", err)
		}
	})
	a := d.Access()
	return &Cloud{AuthURL: a.AuthURL, Username: a.User, Password: a.Password, Project: a.Project, DomainName: "Default", Region: a.Region}
}

// logger shows the cloud's warnings and errors with the test's output.
type logger struct{ t testing.TB }

func (l logger) Write(b []byte) (int, error) {
	l.t.Logf("cloud: %s", b)
	return len(b), nil
}
