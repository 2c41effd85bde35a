// Package bridge makes layer 2 on a node: one Linux bridge per network with its uplink (the physical
// interface, a VLAN of it, or a VXLAN device with the forwarding entries of the other nodes) and the tap
// devices of guests. Names are those of upstream's Linux bridge agent. It must not know about addresses
// of guests beyond what L2 population installs, nor about rules.
package bridge

import (
	"crypto/sha256"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Name is the bridge of a network (neutron/plugins/ml2/drivers/linuxbridge: brq and 11 characters).
func Name(networkID string) string { return "brq" + short(networkID) }

// TapName is the node's end of a port: a guest's tap device, or the veth that leads to a router's or DHCP
// service's namespace.
func TapName(portID string) string { return "tap" + short(portID) }

// VXLANName is the VXLAN device of a network.
func VXLANName(vni int) string { return "vxlan-" + strconv.Itoa(vni) }

// VLANName is the VLAN device of a network, named as upstream does.
func VLANName(physical string, vid int) string { return fmt.Sprintf("%s.%d", physical, vid) }

// short is the part of an id that fits into an interface's name.
func short(id string) string { return id[:min(11, len(id))] }

// IsBridge, IsTap and IsVXLAN tell whether a link's name is one that this package gives. Only such links
// are ever removed, so the patterns are strict: an operator's own tap0 or vxlan-mgmt is not ours.
func IsBridge(name string) bool { return hasShortID(name, "brq") }

// IsTap is IsBridge for taps and veth ends.
func IsTap(name string) bool { return hasShortID(name, "tap") }

// IsVXLAN is IsBridge for VXLAN devices.
func IsVXLAN(name string) bool {
	n, ok := strings.CutPrefix(name, "vxlan-")
	if !ok {
		return false
	}
	vni, err := strconv.Atoi(n)
	return err == nil && vni >= 0 && vni < 1<<24 && strconv.Itoa(vni) == n
}

// hasShortID matches a prefix and the first 11 characters of a UUID: 8 hex digits, a hyphen, 2 more.
func hasShortID(name, prefix string) bool {
	id, ok := strings.CutPrefix(name, prefix)
	if !ok || len(id) != 11 || id[8] != '-' {
		return false
	}
	for i, c := range []byte(id) {
		if i != 8 && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return false
		}
	}
	return true
}

// MAC is the fixed address of a bridge without a physical interface. A bridge otherwise takes the lowest
// address among its ports and changes it as they come and go.
func MAC(networkID string) net.HardwareAddr {
	h := sha256.Sum256([]byte("bridge " + networkID))
	return net.HardwareAddr{0x02, h[0], h[1], h[2], h[3], h[4]}
}
