package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/qmp"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

const (
	// detachTimeout is how long one attempt waits for the guest to let go; detachEvery repeats the request, which
	// a guest that boots overlooks (nova asks up to 8 times with 20 s each).
	detachTimeout = 60 * time.Second
	detachEvery   = 5 * time.Second
)

// nics asks QEMU which ports' devices the guest has.
func nics(ctx context.Context, mon *qmp.Client) ([]string, error) {
	var devices []struct{ Name string }
	if err := mon.Do(ctx, "qom-list", map[string]any{"path": "/machine/peripheral"}, &devices); err != nil {
		return nil, err
	}
	var ports []string
	for _, dev := range devices {
		if strings.HasPrefix(dev.Name, nicDevice("")) {
			ports = append(ports, portOfNIC(dev.Name))
		}
	}
	slices.Sort(ports)
	return ports, nil
}

// pciDevice is a part of query-pci's answer.
type pciDevice struct {
	ID     string `json:"qdev_id"`
	Bridge *struct {
		Devices []pciDevice `json:"devices"`
	} `json:"pci_bridge"`
}

// freeSlot finds a root port that holds nothing.
func freeSlot(ctx context.Context, mon *qmp.Client) (string, error) {
	var buses []struct {
		Devices []pciDevice `json:"devices"`
	}
	if err := mon.Do(ctx, "query-pci", nil, &buses); err != nil {
		return "", err
	}
	for _, bus := range buses {
		for _, dev := range bus.Devices {
			if strings.HasPrefix(dev.ID, "slot") && dev.Bridge != nil && len(dev.Bridge.Devices) == 0 {
				return dev.ID, nil
			}
		}
	}
	return "", agent.Final("Stop and start the server: it gets new slots then.", "the guest has no free PCI slot for another interface")
}

// AttachNIC plugs a NIC into a running guest.
func (d *Driver) AttachNIC(ctx context.Context, want *nodeapi.Guest, nic agent.NICDevice) error {
	g := d.guest(want.ID)
	mon, err := d.monitor(ctx, g)
	if err != nil {
		return err
	}
	ports, err := nics(ctx, mon)
	if err != nil {
		return fmt.Errorf("guest %s: %w", g.id, err)
	}
	if !slices.Contains(ports, nic.PortID) {
		if err := plug(ctx, mon, nic); err != nil {
			if agent.IsFinal(err) {
				return err
			}
			return fmt.Errorf("guest %s: port %s: %w", g.id, nic.PortID, err)
		}
		ports = append(ports, nic.PortID)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ports = ports
	return nil
}

func plug(ctx context.Context, mon *qmp.Client, nic agent.NICDevice) error {
	slot, err := freeSlot(ctx, mon)
	if err != nil {
		return err
	}
	// An attempt that was cut off here before, or a device that let go of it a moment ago, still has the tap.
	if err := removeNetdev(ctx, mon, nic.PortID); err != nil {
		return err
	}
	tap, err := openTap(nic.Tap)
	if err != nil {
		return err
	}
	defer tap.Close()
	fd := "tap-" + nic.PortID
	if err := mon.SendFile(ctx, fd, tap); err != nil {
		return err
	}
	if err := mon.Do(ctx, "netdev_add", netdevArgs(nic, fd), nil); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTimeout)
		defer cancel()
		_ = mon.Do(undo, "closefd", map[string]any{"fdname": fd}, nil) // not there any more when QEMU got as far as taking it
		return err
	}
	if err := mon.Do(ctx, "device_add", nicArgs(nic, slot), nil); err != nil {
		// Undone even when ctx has ended: a netdev keeps the tap.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), quitTimeout)
		defer cancel()
		_ = removeNetdev(undo, mon, nic.PortID)
		return err
	}
	return nil
}

// removeNetdev lets go of a port's tap. It is no error when QEMU does not have it.
func removeNetdev(ctx context.Context, mon *qmp.Client, portID string) error {
	err := mon.Do(ctx, "netdev_del", map[string]any{"id": nicNetdev(portID)}, nil)
	var refused *qmp.Error
	if errors.As(err, &refused) && strings.Contains(refused.Desc, "not found") {
		return nil
	}
	return err
}

// DetachNIC pulls a NIC out of a running guest and waits until the guest has let go of it.
func (d *Driver) DetachNIC(ctx context.Context, id, portID string) error {
	g := d.guest(id)
	mon, err := d.monitor(ctx, g)
	if err != nil {
		return err
	}
	ports, err := nics(ctx, mon)
	if err != nil {
		return fmt.Errorf("guest %s: %w", id, err)
	}
	if slices.Contains(ports, portID) {
		if err := g.unplug(ctx, mon, nicDevice(portID)); err != nil {
			return fmt.Errorf("guest %s: port %s: %w", id, portID, err)
		}
	}
	if err := removeNetdev(ctx, mon, portID); err != nil {
		return fmt.Errorf("guest %s: port %s: %w", id, portID, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ports = slices.DeleteFunc(g.ports, func(p string) bool { return p == portID })
	return nil
}

// unplug asks for a device until its DEVICE_DELETED comes.
func (g *guest) unplug(ctx context.Context, mon *qmp.Client, device string) error {
	gone := make(chan struct{})
	g.mu.Lock()
	if g.deleted == nil {
		g.deleted = map[string]chan struct{}{}
	}
	g.deleted[device] = gone
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.deleted, device)
		g.mu.Unlock()
	}()
	deadline := time.NewTimer(detachTimeout)
	defer deadline.Stop()
	again := time.NewTicker(detachEvery)
	defer again.Stop()
	var last error
	for {
		err := mon.Do(ctx, "device_del", map[string]any{"id": device}, nil)
		var refused *qmp.Error
		switch {
		case errors.As(err, &refused) && refused.Class == "DeviceNotFound":
			return nil
		case errors.As(err, &refused):
			last = err // most often: it is already being unplugged
		case err != nil:
			return err
		}
		select {
		case <-gone:
			return nil
		case <-again.C:
		case <-deadline.C:
			if last != nil {
				return last
			}
			return fmt.Errorf("the guest did not let go of the device %s within %v: it is still booting, or its system knows no hot-plug", device, detachTimeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
