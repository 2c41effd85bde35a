package guest

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/agent"
)

// openTap attaches to a tap interface of this process's network namespace. QEMU gets the descriptor instead of the name: the user that
// guests run as needs no access to /dev/net/tun, which is root's alone where no udev has opened it to everybody.
func openTap(name string) (*os.File, error) {
	// Attaching to a name that is not there would make a device.
	if _, err := net.InterfaceByName(name); err != nil {
		return nil, agent.Final("Stop and start the server: its ports are made anew.", "attach to tap %s: %v", name, err)
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", name, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, req)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("attach to tap %s: %w", name, err)
	}
	return f, nil
}
