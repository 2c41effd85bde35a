package daemon

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/hanok-cloud/hanok/internal/config"
)

// On a machine without a cable to the provider network hanok makes one: a pair of interfaces, one end for the provider bridge, the
// other with the provider network's gateway address, so that the host reaches floating IPs.
const (
	providerInterface = "hanok-provider"
	providerGateway   = "hanok-gateway"
	gatewayAddress    = "203.0.113.1/24"
)

func wantsProvider(c *config.Config) bool {
	for _, i := range c.Mappings() {
		if i == providerInterface {
			return true
		}
	}
	return false
}

// ensureProvider makes the pair where the configuration names it; what is there already is kept.
func ensureProvider(c *config.Config) error {
	if !wantsProvider(c) {
		return nil
	}
	host, err := netlink.LinkByName(providerGateway)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = providerInterface, c.Network.MTU
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: providerGateway}); err != nil {
			return fmt.Errorf("make interface %s: %w", providerInterface, err)
		}
		host, err = netlink.LinkByName(providerGateway)
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", providerGateway, err)
	}
	addr, err := netlink.ParseAddr(gatewayAddress)
	if err != nil {
		return err
	}
	if err := netlink.AddrReplace(host, addr); err != nil {
		return fmt.Errorf("give %s the address %s: %w", providerGateway, gatewayAddress, err)
	}
	for _, name := range []string{providerGateway, providerInterface} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("bring up %s: %w", name, err)
		}
	}
	return nil
}

// removeProvider removes the pair.
func removeProvider() error {
	l, err := netlink.LinkByName(providerGateway)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(l); err != nil {
		return fmt.Errorf("remove interface %s: %w", providerGateway, err)
	}
	return nil
}

// loopbackUp: a new network namespace has its loopback interface down, and then nothing here could listen.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil || lo.Attrs().Flags&net.FlagUp != 0 {
		return err
	}
	return netlink.LinkSetUp(lo)
}
