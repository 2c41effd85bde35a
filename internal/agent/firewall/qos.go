package firewall

import (
	"fmt"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// minBurst is the least that a limit of bits lets through at once: a packet that segmentation offload has put together counts as one, and one
// that is larger than the burst would never pass.
const minBurst = 64<<10 + 1514

// Beyond these no port of this machine gets, and the kernel computes with nanoseconds times rate and burst in 64 bits (net/netfilter/nft_limit.c).
const (
	mostKBits    = 80e6
	mostKPackets = 1e6
)

// qosPiece is a port's limits and marks. Rates are policed where frames enter and leave the bridge, so they hold for ports without port security, too,
// and for what the node itself sends. Upstream's counterpart is neutron/agent/linux/tc_lib.py; its default burst is 80 % of the rate
// (neutron_lib/services/qos/constants.py, DEFAULT_BURST_RATE).
func qosPiece(p Port) piece {
	if p.QoS == nil {
		return piece{}
	}
	out := newPiece()
	from := limitText(p.QoS.Egress)
	if p.QoS.DSCP != nil {
		from = append(from, fmt.Sprintf("ip dscp set %d", *p.QoS.DSCP), fmt.Sprintf("ip6 dscp set %d", *p.QoS.DSCP))
	}
	for _, side := range []struct {
		name, set string
		rules     []string
	}{{"from", "qos_from_guest_ports", from}, {"to", "qos_to_guest_ports", limitText(p.QoS.Ingress)}} {
		if len(side.rules) == 0 {
			continue
		}
		chain := "q-" + p.ID + "-" + side.name
		out.chains["bridge "+chain] = side.rules
		out.add("bridge", side.set, quote(p.Device), elem{val: "jump " + chain, key: ifname(p.Device), chain: chain})
	}
	return out
}

func limitText(l nodeapi.Limit) []string {
	var out []string
	if l.KBits > 0 && l.KBits <= mostKBits {
		burst := l.BurstKBits
		if burst <= 0 {
			burst = l.KBits * 8 / 10
		}
		out = append(out, fmt.Sprintf("limit rate over %d bytes/second burst %d bytes drop", l.KBits*125, min(max(burst*125, minBurst), 1<<32-1)))
	}
	if l.KPackets > 0 && l.KPackets <= mostKPackets {
		burst := l.BurstKPackets * 1000
		if burst <= 0 {
			burst = l.KPackets * 800
		}
		out = append(out, fmt.Sprintf("limit rate over %d/second burst %d packets drop", l.KPackets*1000, min(burst, 1<<32-1)))
	}
	return out
}
