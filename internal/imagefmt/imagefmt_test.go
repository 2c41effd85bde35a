package imagefmt

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// header is a well-formed version 3 header for tests to break.
func header(change func(b []byte)) []byte {
	b := make([]byte, 4096)
	be := binary.BigEndian
	copy(b, qcowMagic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 16)
	be.PutUint64(b[24:], 1<<30)
	be.PutUint32(b[100:], 104)
	if change != nil {
		change(b)
	}
	return b
}

func TestQCOW2Headers(t *testing.T) {
	be := binary.BigEndian
	for _, c := range []struct {
		name   string
		change func(b []byte)
		want   string // in the error; empty: accepted
	}{
		{"plain", nil, ""},
		{"version 2", func(b []byte) { be.PutUint32(b[4:], 2) }, ""},
		{"version 4", func(b []byte) { be.PutUint32(b[4:], 4) }, "version 4"},
		{"clusters of 2^31", func(b []byte) { be.PutUint32(b[20:], 31) }, "clusters of 2^31"},
		{"negative size", func(b []byte) { be.PutUint64(b[24:], 1<<63) }, "impossible virtual size"},
		{"backing file", func(b []byte) {
			be.PutUint64(b[8:], 1024)
			be.PutUint32(b[16:], 11)
			copy(b[1024:], "/etc/passwd")
		}, `backing file ("/etc/passwd")`},
		{"backing offset without size", func(b []byte) { be.PutUint64(b[8:], 1024) }, "backing file"},
		{"backing name out of the cluster", func(b []byte) { be.PutUint64(b[8:], 1<<40); be.PutUint32(b[16:], 4) }, "impossible backing file name"},
		{"backing name too long", func(b []byte) { be.PutUint64(b[8:], 1024); be.PutUint32(b[16:], 1<<31) }, "impossible backing file name"},
		{"data file bit", func(b []byte) { be.PutUint64(b[72:], featureDataFile) }, "external data file"},
		{"data file name only", func(b []byte) {
			be.PutUint32(b[104:], extensionDataFile)
			be.PutUint32(b[108:], 9)
			copy(b[112:], "/dev/sda1")
		}, `external data file ("/dev/sda1")`},
		{"data file name behind another extension", func(b []byte) {
			be.PutUint32(b[104:], 0x6803f857)
			be.PutUint32(b[108:], 13)
			be.PutUint32(b[128:], extensionDataFile)
		}, "external data file"},
		{"extension longer than the cluster", func(b []byte) { be.PutUint32(b[104:], 7); be.PutUint32(b[108:], 1<<30) }, "longer"},
		{"unknown feature", func(b []byte) { be.PutUint64(b[72:], 1<<40) }, "unknown incompatible features"},
		{"known features", func(b []byte) { be.PutUint64(b[72:], featureDirty|featureCompression|featureExtendedL2) }, ""},
		{"corrupt", func(b []byte) { be.PutUint64(b[72:], featureCorrupt) }, "corrupt"},
		{"encrypted", func(b []byte) { be.PutUint32(b[32:], 2) }, "encrypted"},
		{"header length 0", func(b []byte) { be.PutUint32(b[100:], 0) }, "impossible length"},
		{"partition table in the header", func(b []byte) { b[510], b[511], b[450] = 0x55, 0xaa, 0x83 }, "at once"},
		{"virtual machine disk in the header", func(b []byte) { copy(b[0x40:], "\x7f\x10\xda\xbe") }, "at once"},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, err := Inspect(header(c.change))
			if err == nil {
				err = info.Check(QCOW2)
			}
			if c.want == "" && err != nil {
				t.Fatalf("refused: %v", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestFormats(t *testing.T) {
	at := func(offset int, s string) []byte {
		b := make([]byte, HeadSize)
		copy(b[offset:], s)
		return b
	}
	mbr := at(510, "\x55\xaa")
	mbr[446], mbr[450] = 0x80, 0x83
	for _, c := range []struct {
		name   string
		head   []byte
		format string
		raw    bool // may be used as raw
	}{
		{"empty", nil, Raw, true},
		{"zeros", make([]byte, HeadSize), Raw, true},
		{"short", []byte("QF"), Raw, true},
		{"file system", at(1080, "\x53\xef"), Raw, true},
		{"boot sector of a file system", at(510, "\x55\xaa"), Raw, true},
		{"mbr", mbr, GPT, true},
		{"gpt", at(512, "EFI PART"), GPT, true},
		{"iso", at(0x8001, "CD001"), ISO, true},
		{"vmdk", at(0, "KDMV"), VMDK, false},
		{"vmdk descriptor", at(0, "# Disk DescriptorFile\n"), VMDK, false},
		{"vdi", at(0x40, "\x7f\x10\xda\xbe"), VDI, false},
		{"vhd", at(0, "conectix"), VHD, false},
		{"vhdx", at(0, "vhdxfile"), VHDX, false},
		{"qed", at(0, "QED\x00"), QED, false},
		{"luks", at(0, "LUKS\xba\xbe\x00\x01"), LUKS, false},
		{"qcow1", at(0, "QFI\xfb\x00\x00\x00\x01"), QCOW1, false},
		{"qcow2", header(nil), QCOW2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, err := InspectReader(bytes.NewReader(c.head))
			if err != nil || info.Format != c.format {
				t.Fatalf("format %q, error %v; want %q", info.Format, err, c.format)
			}
			if err := info.Check(Raw); (err == nil) != c.raw {
				t.Errorf("as raw: %v", err)
			}
			if err := info.Check(QCOW2); (err == nil) != (c.format == QCOW2) {
				t.Errorf("as qcow2: %v", err)
			}
			if err := info.Check(VMDK); err == nil {
				t.Error("accepted as vmdk")
			}
		})
	}
}

// TestQemuImg compares with images that the real tool makes.
func TestQemuImg(t *testing.T) {
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is not installed")
	}
	dir := t.TempDir()
	base := filepath.Join(dir, "base.raw")
	if err := os.WriteFile(base, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"-f", "qcow2", "F", "3G"}, ""},
		{"compat 0.10", []string{"-f", "qcow2", "-o", "compat=0.10", "F", "3G"}, ""},
		{"extended l2, zstd", []string{"-f", "qcow2", "-o", "extended_l2=on,compression_type=zstd", "F", "3G"}, ""},
		{"overlay", []string{"-f", "qcow2", "-b", base, "-F", "raw", "F", "3G"}, "base.raw"},
		{"data file", []string{"-f", "qcow2", "-o", "data_file=" + filepath.Join(dir, "data.raw"), "F", "3G"}, "data.raw"},
		{"encrypted", []string{"-f", "qcow2", "--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "F", "3G"}, "encrypted"},
		{"vmdk", []string{"-f", "vmdk", "F", "3G"}, "vmdk"},
		{"vdi", []string{"-f", "vdi", "F", "3G"}, "vdi"},
		{"vpc", []string{"-f", "vpc", "F", "3G"}, "vhd"},
		{"vhdx", []string{"-f", "vhdx", "F", "3G"}, "vhdx"},
		{"qed", []string{"-f", "qed", "F", "3G"}, "qed"},
		{"parallels", []string{"-f", "parallels", "F", "3G"}, "ploop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
			args := append([]string{"create", "-q"}, c.args...)
			for i := range args {
				if args[i] == "F" {
					args[i] = path
				}
			}
			out, err := exec.Command(tool, args...).CombinedOutput()
			// LUKS measures its key derivation; a kernel that counts processor time in ticks may show none for it.
			for tries := 0; err != nil && tries < 50 && strings.Contains(string(out), "Unable to get accurate CPU usage"); tries++ {
				out, err = exec.Command(tool, args...).CombinedOutput()
			}
			if err != nil {
				t.Fatalf("qemu-img: %v: %s", err, out)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := InspectReader(f)
			if err == nil {
				err = info.Check(QCOW2)
			}
			if c.want == "" {
				if err != nil || info.QCOW2.VirtualSize != 3<<30 {
					t.Fatalf("info %+v, error %v", info.QCOW2, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(header(nil))
	f.Add(header(func(b []byte) {
		binary.BigEndian.PutUint64(b[8:], 1024)
		binary.BigEndian.PutUint32(b[16:], 11)
	}))
	f.Add(header(func(b []byte) {
		binary.BigEndian.PutUint32(b[104:], extensionDataFile)
		binary.BigEndian.PutUint32(b[108:], 9)
	}))
	f.Add([]byte("KDMV"))
	f.Fuzz(func(t *testing.T, head []byte) {
		info, err := Inspect(head)
		if err != nil {
			return
		}
		if info.Format == QCOW2 && info.Check(QCOW2) == nil {
			// What is accepted has neither of the two fields that make QEMU open another file.
			if binary.BigEndian.Uint64(head[8:]) != 0 {
				t.Fatal("accepted with a backing file offset")
			}
			if binary.BigEndian.Uint32(head[4:]) == 3 && binary.BigEndian.Uint64(head[72:])&featureDataFile != 0 {
				t.Fatal("accepted with an external data file")
			}
		}
	})
}
