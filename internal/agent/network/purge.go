package network

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/hanok-cloud/hanok/internal/agent/bridge"
	"github.com/hanok-cloud/hanok/internal/agent/firewall"
	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/router"
)

// Purge removes every bridge, VXLAN device, namespace, tap and nft table of ours from the calling thread's
// network namespace, gives physical interfaces their addresses back and forgets the zones. What guests posted
// stays: they may start again. It does what it can and reports all that failed.
func Purge(ctx context.Context, o Options) error {
	if o.NetnsDir == "" {
		o.NetnsDir = netns.DefaultDir
	}
	node, err := netns.Current()
	if err != nil {
		return err
	}
	defer node.Close()
	bridges, err := bridge.New(node, bridgeOptions(o))
	if err != nil {
		return err
	}
	none := func(string) bool { return false }
	routers := router.New(node, o.NetnsDir, nil, o.Logger)
	errs := []error{
		routers.Sweep(none),
		sweepServices(o.NetnsDir, none),
		bridges.Sweep(none),
		bridges.RestorePhysical(),
		firewall.Remove(ctx, node),
	}
	if o.StateDir != "" {
		errs = append(errs, os.RemoveAll(filepath.Join(o.StateDir, "zones.json")))
	}
	return errors.Join(errs...)
}
