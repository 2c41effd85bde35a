package imagefmt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	qcowMagic         = "QFI\xfb"
	qcow2V2Header     = 72
	qcow2V3Header     = 104
	maxBackingName    = 1023 // qemu/block/qcow2.c refuses longer ones
	extensionEnd      = 0
	extensionBackFmt  = 0xe2792aca
	extensionDataFile = 0x44415441
)

// Incompatible feature bits of version 3 (qemu/docs/interop/qcow2.txt).
const (
	featureDirty uint64 = 1 << iota
	featureCorrupt
	featureDataFile
	featureCompression
	featureExtendedL2
	featuresKnown = 1<<iota - 1
)

// QCOW2Info is what a qcow2 header says.
type QCOW2Info struct {
	Version     uint32
	VirtualSize int64 // bytes
	ClusterSize int64 // bytes
	// BackingFile: the header refers to another file; BackingName is its name if it stands in the bytes seen.
	BackingFile bool
	BackingName string
	// DataFile: the guest's data stands in another file; DataName is its name if seen.
	DataFile  bool
	DataName  string
	Encrypted bool
	Corrupt   bool
	// UnknownFeatures are incompatible feature bits that nobody knows yet: what they would make QEMU
	// do cannot be judged.
	UnknownFeatures uint64
}

// Check says why the image must not be opened.
func (q *QCOW2Info) Check() error {
	switch {
	case q.BackingFile:
		return fmt.Errorf("the qcow2 image has a backing file%s: flatten it with qemu-img convert", quoted(q.BackingName))
	case q.DataFile:
		return fmt.Errorf("the qcow2 image has an external data file%s: flatten it with qemu-img convert", quoted(q.DataName))
	case q.UnknownFeatures != 0:
		return fmt.Errorf("the qcow2 image has unknown incompatible features %#x", q.UnknownFeatures)
	case q.Encrypted:
		return errors.New("the qcow2 image is encrypted")
	case q.Corrupt:
		return errors.New("the qcow2 image is marked as corrupt: repair it with qemu-img check -r")
	}
	return nil
}

func quoted(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", name)
}

// parseQCOW2 reads a header of version 2 or later. It refuses what QEMU would refuse on opening.
func parseQCOW2(head []byte) (*QCOW2Info, error) {
	be := binary.BigEndian
	if len(head) < qcow2V2Header {
		return nil, fmt.Errorf("the qcow2 header is cut off after %d bytes", len(head))
	}
	q := &QCOW2Info{Version: be.Uint32(head[4:])}
	if q.Version != 2 && q.Version != 3 {
		return nil, fmt.Errorf("the qcow2 header has version %d; 2 and 3 are known", q.Version)
	}
	clusterBits := be.Uint32(head[20:])
	if clusterBits < 9 || clusterBits > 21 {
		return nil, fmt.Errorf("the qcow2 header has clusters of 2^%d bytes; 2^9 to 2^21 are possible", clusterBits)
	}
	q.ClusterSize = 1 << clusterBits
	size := be.Uint64(head[24:])
	if size > 1<<62 {
		return nil, fmt.Errorf("the qcow2 header has an impossible virtual size of %d bytes", size)
	}
	q.VirtualSize = int64(size)
	q.Encrypted = be.Uint32(head[32:]) != 0

	headerLength := uint64(qcow2V2Header)
	if q.Version == 3 {
		if len(head) < qcow2V3Header {
			return nil, fmt.Errorf("the qcow2 header is cut off after %d bytes", len(head))
		}
		features := be.Uint64(head[72:])
		q.Corrupt = features&featureCorrupt != 0
		q.DataFile = features&featureDataFile != 0
		q.UnknownFeatures = features &^ featuresKnown
		headerLength = uint64(be.Uint32(head[100:]))
		if headerLength < qcow2V3Header || headerLength > uint64(q.ClusterSize) {
			return nil, fmt.Errorf("the qcow2 header has an impossible length of %d bytes", headerLength)
		}
	}
	if err := q.parseBacking(head, be.Uint64(head[8:]), be.Uint32(head[16:])); err != nil {
		return nil, err
	}
	return q, q.parseExtensions(head, headerLength)
}

func (q *QCOW2Info) parseBacking(head []byte, offset uint64, size uint32) error {
	// An offset alone makes QEMU look for a name, so either field counts.
	if offset == 0 && size == 0 {
		return nil
	}
	q.BackingFile = true
	if size > maxBackingName || offset > uint64(q.ClusterSize) {
		return fmt.Errorf("the qcow2 header has an impossible backing file name (%d bytes at %d)", size, offset)
	}
	if end := offset + uint64(size); offset != 0 && end <= uint64(len(head)) {
		q.BackingName = string(head[offset:end])
	}
	return nil
}

// parseExtensions walks the header extensions as far as bytes were given. A data file's name without its
// feature bit is counted, too: a repair of the header may set the bit.
func (q *QCOW2Info) parseExtensions(head []byte, at uint64) error {
	be := binary.BigEndian
	for at+8 <= uint64(len(head)) && at+8 <= uint64(q.ClusterSize) {
		kind, length := be.Uint32(head[at:]), uint64(be.Uint32(head[at+4:]))
		at += 8
		if kind == extensionEnd {
			return nil
		}
		if length > uint64(q.ClusterSize)-at {
			return fmt.Errorf("the qcow2 header extension %#x is longer (%d bytes) than its cluster", kind, length)
		}
		switch kind {
		case extensionBackFmt:
			// A backing format without a backing file is left by qemu-img rebase; it is harmless.
		case extensionDataFile:
			q.DataFile = true
			if at+length <= uint64(len(head)) {
				q.DataName = string(head[at : at+length])
			}
		}
		at += (length + 7) &^ 7
	}
	return nil
}
