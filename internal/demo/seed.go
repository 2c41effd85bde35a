package demo

import (
	"bytes"
	"context"
	"fmt"

	"github.com/hanok-cloud/hanok/internal/client"
)

// Seed makes what test suites expect to find in an empty cloud of simulated nodes: the flavors, two public images (bytes that no
// guest boots), the external network `public`, and the admin's network `private`.
func Seed(ctx context.Context, admin *client.Client) error {
	s := &setup{admin: admin, demo: admin}
	if err := s.flavors(ctx); err != nil {
		return fmt.Errorf("flavors: %w", err)
	}
	for _, name := range []string{"cirros", "cirros-alt"} {
		image := obj{"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
		if err := ensureImage(ctx, admin, image, bytes.NewReader(make([]byte, 1<<20))); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
	}
	if err := s.publicNetwork(ctx); err != nil {
		return fmt.Errorf("network %s: %w", PublicNet, err)
	}
	private, _, err := ensure(ctx, admin, "network", "/v2.0/networks", "networks", "network", "private", obj{})
	if err == nil {
		_, _, err = ensure(ctx, admin, "network", "/v2.0/subnets", "subnets", "subnet", "private-subnet", obj{"network_id": private, "ip_version": 4, "cidr": "10.20.0.0/24"})
	}
	if err != nil {
		return fmt.Errorf("network private: %w", err)
	}
	return nil
}
