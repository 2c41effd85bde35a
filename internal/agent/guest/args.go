package guest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/agent"
)

// machine is what a QEMU process is started with; arguments turns it into a command line.
type machine struct {
	ID        string
	Name      string // instance-0000002a
	VCPUs     int
	MemoryMiB int64
	KVM       bool
	TBSizeMiB int // TCG's translation buffer
	Disks     []diskArgs
	NICs      []agent.NICDevice
	Console   string // log file of the serial port
	// QMPFD and SerialFD are listening sockets that the process inherits: their paths need not be
	// reachable for it. TapFD and those after it are the NICs' taps.
	QMPFD, SerialFD, TapFD int
}

// diskArgs is one disk, in the order the guest sees them.
type diskArgs struct {
	Node     string // root, ephemeral0, swap, config
	Path     string
	Format   string
	ReadOnly bool
	Boot     bool
	Serial   string
	Base     *baseArgs
}

// baseArgs is the image that an overlay lies over. It is named here in full, so that QEMU never follows a
// name that stands in a file.
type baseArgs struct {
	Path   string
	Format string
}

// spareSlots is how many more interfaces can be plugged in while a guest runs. Each costs the guest's
// firmware and kernel some milliseconds at boot.
const spareSlots = 5

// rootPorts is how many PCI Express slots a machine has; every NIC stands in one, so that it can be pulled out.
func (m machine) rootPorts() int { return min(len(m.NICs)+spareSlots, maxSlots) }

// maxSlots fills four devices of the root complex with eight functions each.
const maxSlots = 32

func rootPort(i int) string       { return "slot" + strconv.Itoa(i) }
func nicDevice(id string) string  { return "nic-" + id }
func nicNetdev(id string) string  { return "net-" + id }
func portOfNIC(dev string) string { return dev[len("nic-"):] }

// arguments is QEMU's command line. Values that are not ours go through JSON or are checked before: a comma in
// an option would begin another one.
func (m machine) arguments() []string {
	args := []string{
		"-name", "guest=" + m.Name + ",debug-threads=on",
		"-uuid", m.ID,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", "q35,usb=off,vmport=off,dump-guest-core=off",
	}
	if m.KVM {
		args = append(args, kvmAccel()...)
	} else {
		args = append(args, "-accel", fmt.Sprintf("tcg,thread=multi,tb-size=%d", m.TBSizeMiB), "-cpu", "qemu64")
	}
	args = append(args,
		"-smp", fmt.Sprintf("cpus=%d,sockets=%d,cores=1,threads=1", m.VCPUs, m.VCPUs),
		"-m", fmt.Sprintf("size=%dM", m.MemoryMiB),
		"-rtc", "base=utc",
		// ds-identify turns cloud-init off unless the product is this one.
		"-smbios", fmt.Sprintf("type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,version=Hanok,serial=%s,uuid=%s,family=Virtual Machine", m.ID, m.ID),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", m.QMPFD),
		"-mon", "chardev=qmp,mode=control",
		"-chardev", fmt.Sprintf("socket,id=serial0,fd=%d,server=on,wait=off,logfile=%s,logappend=on", m.SerialFD, strings.ReplaceAll(m.Console, ",", ",,")),
		"-serial", "chardev:serial0",
		"-object", "rng-random,id=rng0,filename=/dev/urandom",
		"-device", "virtio-rng-pci,rng=rng0",
	)
	for i := range m.rootPorts() {
		port := fmt.Sprintf("pcie-root-port,id=%s,chassis=%d,bus=pcie.0,addr=0x%x.0x%x", rootPort(i), i+1, 0x10+i/8, i%8)
		if i%8 == 0 {
			port += ",multifunction=on"
		}
		args = append(args, "-device", port)
	}
	for _, d := range m.Disks {
		args = append(args, d.arguments()...)
	}
	for i, n := range m.NICs {
		args = append(args, "-netdev", jsonArg(netdevArgs(n, strconv.Itoa(m.TapFD+i))), "-device", jsonArg(nicArgs(n, rootPort(i))))
	}
	return args
}

// kvmAccel runs the guest on the processor itself.
func kvmAccel() []string { return []string{"-accel", "kvm", "-cpu", "host"} }

func (d diskArgs) arguments() []string {
	node := map[string]any{
		"node-name": d.Node, "driver": d.Format, "read-only": d.ReadOnly, "discard": "unmap",
		"file": map[string]any{"driver": "file", "filename": d.Path, "read-only": d.ReadOnly, "discard": "unmap"},
	}
	if d.Base != nil {
		base := map[string]any{
			"node-name": d.Node + "-base", "driver": d.Base.Format, "read-only": true,
			"file": map[string]any{"driver": "file", "filename": d.Base.Path, "read-only": true},
		}
		if d.Base.Format == "qcow2" {
			base["backing"] = nil
		}
		node["backing"] = base
	} else if d.Format == "qcow2" {
		node["backing"] = nil
	}
	dev := map[string]any{"driver": "virtio-blk-pci", "id": "disk-" + d.Node, "drive": d.Node}
	if d.Boot {
		dev["bootindex"] = 1
	}
	if d.Serial != "" {
		dev["serial"] = d.Serial
	}
	return []string{"-blockdev", jsonArg(node), "-device", jsonArg(dev)}
}

// netdevArgs and nicArgs are arguments of the command line and of netdev_add and device_add alike. fd is the tap's descriptor, or the name
// that SendFile gave it.
func netdevArgs(n agent.NICDevice, fd string) map[string]any {
	return map[string]any{"type": "tap", "id": nicNetdev(n.PortID), "fd": fd}
}

func nicArgs(n agent.NICDevice, bus string) map[string]any {
	args := map[string]any{
		"driver": "virtio-net-pci", "id": nicDevice(n.PortID), "netdev": nicNetdev(n.PortID), "mac": n.MAC, "bus": bus,
		"romfile": "", // no network boot: it costs seconds
	}
	if n.MTU > 0 {
		args["host_mtu"] = n.MTU
	}
	return args
}

func jsonArg(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("guest: arguments that are no JSON: " + err.Error()) // maps of plain values only
	}
	return string(b)
}
