package sim

import (
	"bytes"
	"fmt"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// consoleText is the log of a guest's last boots. It is made when asked for: a node with thousands of guests
// keeps none.
func consoleText(g *nodeapi.Guest, boots int) []byte {
	const kept = 4
	var b bytes.Buffer
	for n := max(1, boots-kept+1); n <= boots; n++ {
		bootText(&b, g, n)
	}
	return b.Bytes()
}

func bootText(b *bytes.Buffer, g *nodeapi.Guest, boot int) {
	p := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	p("[    0.000000] Linux version 6.1.0-cloud-amd64 (simulated) #%d SMP PREEMPT_DYNAMIC", boot)
	p("[    0.000000] Command line: root=/dev/vda1 console=tty0 console=ttyS0")
	p("[    0.000000] DMI: OpenStack Foundation OpenStack Nova, BIOS 1.16.2 04/01/2014")
	p("[    0.004000] smpboot: Allowing %d CPUs, 0 hotplug CPUs", g.VCPUs)
	p("[    0.012000] Memory: %dK/%dK available", g.MemoryMiB*1024*9/10, g.MemoryMiB*1024)
	p("[    0.310000] virtio_blk virtio1: [vda] %d 512-byte logical blocks (%d GiB)", g.Root.SizeGiB<<21, g.Root.SizeGiB)
	for i, nic := range g.NICs {
		p("[    0.%d0000] virtio_net virtio%d eth%d: link up, mtu %d, address %s", 34+i, 2+i, i, nic.MTU, nic.MAC)
	}
	p("[    0.520000] EXT4-fs (vda1): mounted filesystem with ordered data mode")
	p("Starting network: OK")
	p("checking http://169.254.169.254/2009-04-04/instance-id")
	p("instance-id: i-%.8s", g.ID)
	p("Starting dropbear sshd: OK")
	for _, k := range g.Metadata.Keys {
		p("authorized key: %s", k.Name)
	}
	p("")
	p("simulated guest: nobody can log in")
	fmt.Fprintf(b, "%s login: ", hostname(g))
	b.WriteByte('\n')
}

// hostname is the first label of the guest's name.
func hostname(g *nodeapi.Guest) string {
	name, _, _ := bytes.Cut([]byte(g.Metadata.Hostname), []byte("."))
	if len(name) == 0 {
		return "cirros"
	}
	return string(name)
}
