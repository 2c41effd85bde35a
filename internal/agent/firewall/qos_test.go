package firewall

import (
	"context"
	"testing"

	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// The kernel takes whatever the API lets a tenant ask for: a limit that it refuses would keep the node's other rules from changing.
func TestLimitsAreTaken(t *testing.T) {
	node := nettest.New(t).Node("a").NS
	f := New(node, nil)
	ctx := context.Background()
	must(t, f.Prepare(ctx))
	must(t, f.Apply(ctx, Change{}, true))
	const most = 1<<31 - 1
	for _, rate := range []int64{0, 1, 1000, 1 << 20, most} {
		for _, burst := range []int64{0, 1, 1000, 1 << 20, most} {
			p := Port{ID: "p", Device: "tapp", MAC: mac(1), QoS: &nodeapi.QoS{Egress: nodeapi.Limit{KBits: rate, BurstKBits: burst},
				Ingress: nodeapi.Limit{KPackets: rate, BurstKPackets: burst}}}
			if err := f.Apply(ctx, Change{Ports: map[string]*Port{"p": &p}}, false); err != nil {
				t.Errorf("rate %d, burst %d: %v", rate, burst, err)
			}
		}
	}
}
