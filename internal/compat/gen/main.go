// Command gen prints docs/compat.md: it makes every service on a database in memory and reads their route tables. It knows the
// services' constructors and nothing of what they do.
//
//	go run ./internal/compat/gen > docs/compat.md
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/compat"
	"github.com/hanok-cloud/hanok/internal/compute"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity"
	"github.com/hanok-cloud/hanok/internal/image"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/placement"
)

func main() {
	page, err := render(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen: "+err.Error())
		os.Exit(1)
	}
	fmt.Print(page)
}

func render(ctx context.Context) (page string, err error) {
	d, err := db.Open(ctx, db.Options{URL: "sqlite::memory:"})
	if err != nil {
		return "", err
	}
	defer func() { _ = d.Close() }()
	folder, err := os.MkdirTemp("", "hanok-gen-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	ids, err := identity.New(identity.Options{DB: d, KEK: make([]byte, 32), PublicEndpoint: "http://localhost"})
	if err != nil {
		return "", err
	}
	images, err := image.New(image.Options{DB: d, DataDir: folder})
	if err != nil {
		return "", err
	}
	providers, err := placement.New(placement.Options{DB: d})
	if err != nil {
		return "", err
	}
	networks, err := network.New(network.Options{DB: d})
	if err != nil {
		return "", err
	}
	servers, err := compute.New(compute.Options{DB: d, Projects: ids, Network: networks})
	if err != nil {
		return "", err
	}
	return compat.Markdown([]*api.Service{ids.API(), images.API(), providers.API(), networks.API(), servers.API()}), nil
}
