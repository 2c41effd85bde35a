// Package imagefmt tells from the first bytes of a disk image which format it really has and whether a
// hypervisor may open it. Images come from tenants: nothing here trusts a length or an offset, and nothing
// is ever opened by guessing (QEMU is always told the format). It must not know where images are stored
// nor who asks: the image service checks uploads with it, the node's cache checks downloads.
package imagefmt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Formats, by upstream's disk_format names where it has one.
const (
	Raw   = "raw" // no format that we know: bytes of a disk
	QCOW2 = "qcow2"
	QCOW1 = "qcow"
	VMDK  = "vmdk"
	VDI   = "vdi"
	VHD   = "vhd"
	VHDX  = "vhdx"
	ISO   = "iso"
	QED   = "qed"
	LUKS  = "luks"
	Ploop = "ploop" // Parallels
	// GPT is a raw disk with a partition table, MBR or GPT; it is a raw image for all purposes.
	GPT = "gpt"
)

// HeadSize is how many of an image's first bytes Inspect wants to see; a shorter image is given whole.
const HeadSize = 64 << 10

// Info is what the first bytes say.
type Info struct {
	// Format is the format found first in order of danger: container formats before ISO before partition
	// tables before Raw.
	Format string
	// Also are other formats whose signatures are there as well: a file that is two things at once is
	// how checks are dodged.
	Also []string
	// QCOW2 is set when Format is QCOW2.
	QCOW2 *QCOW2Info
}

// signatures in the order in which Format is chosen.
var signatures = []struct {
	format string
	offset int
	magic  string
}{
	{VMDK, 0, "KDMV"},
	{VMDK, 0, "COWD"},
	{VMDK, 0, "# Disk DescriptorFile"},
	{VDI, 0x40, "\x7f\x10\xda\xbe"},
	{VHDX, 0, "vhdxfile"},
	{VHD, 0, "conectix"},
	{QED, 0, "QED\x00"},
	{LUKS, 0, "LUKS\xba\xbe"},
	{Ploop, 0, "WithoutFreeSpace"},
	{Ploop, 0, "WithouFreSpacExt"},
	{ISO, 0x8001, "CD001"},
	{ISO, 0x8001, "BEA01"},
	{GPT, 512, "EFI PART"},
}

// Inspect looks at the first bytes of an image: HeadSize of them, or all there are. An error means that the
// image claims to be qcow2 and its header is broken.
func Inspect(head []byte) (Info, error) {
	var found []string
	add := func(format string) {
		for _, f := range found {
			if f == format {
				return
			}
		}
		found = append(found, format)
	}
	var info Info
	if bytes.HasPrefix(head, []byte(qcowMagic)) && len(head) >= 8 {
		if binary.BigEndian.Uint32(head[4:]) == 1 {
			add(QCOW1)
		} else {
			q, err := parseQCOW2(head)
			if err != nil {
				return Info{Format: QCOW2}, err
			}
			info.QCOW2 = q
			add(QCOW2)
		}
	}
	for _, s := range signatures {
		if len(head) >= s.offset+len(s.magic) && string(head[s.offset:s.offset+len(s.magic)]) == s.magic {
			add(s.format)
		}
	}
	if hasMBR(head) {
		add(GPT)
	}
	if len(found) == 0 {
		found = []string{Raw}
	}
	info.Format, info.Also = found[0], found[1:]
	return info, nil
}

// InspectReader is Inspect of what stands at the beginning of r.
func InspectReader(r io.ReaderAt) (Info, error) {
	head := make([]byte, HeadSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Info{}, fmt.Errorf("reading the image's header: %w", err)
	}
	return Inspect(head[:n])
}

// hasMBR is true for a boot sector with at least one used and well-formed partition entry; a file system's
// boot sector carries the same two final bytes.
func hasMBR(head []byte) bool {
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xaa {
		return false
	}
	used := false
	for i := range 4 {
		entry := head[446+16*i : 462+16*i]
		if entry[0] != 0 && entry[0] != 0x80 {
			return false
		}
		used = used || entry[4] != 0
	}
	return used
}

// Check says why an image whose declared format is raw or qcow2 must not be given to a hypervisor; nil when
// nothing speaks against it.
func (i Info) Check(declared string) error {
	switch declared {
	case Raw:
		if i.Format != Raw && i.Format != GPT && i.Format != ISO {
			return fmt.Errorf("the image is declared as raw, but its content is %s", i.Format)
		}
	case QCOW2:
		if i.Format != QCOW2 {
			return fmt.Errorf("the image is declared as qcow2, but its content is %s", i.Format)
		}
		if len(i.Also) > 0 {
			return fmt.Errorf("the image is qcow2 and %s at once", i.Also[0])
		}
		return i.QCOW2.Check()
	default:
		return fmt.Errorf("images of format %s cannot be run here: convert the image to qcow2 or raw", declared)
	}
	return nil
}
