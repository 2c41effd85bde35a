// Package guest runs guests as QEMU processes: it is the agent's guest driver for real nodes. A process is
// started already unprivileged and sandboxed, belongs to no session of ours and outlives us; a later agent finds it
// again by asking the kernel and the process itself, never by believing a file. It must not know the
// controller, nor networks beyond the name of a tap interface.
//
// On disk, per guest, in Dir/ID: disks.json (written last: its presence says that the disks are complete), the disks
// themselves, console.log and qemu.log. In RunDir/ID, which only root may enter: the sockets.
package guest
