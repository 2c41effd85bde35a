package facts

import (
	"slices"
	"testing"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func TestFill(t *testing.T) {
	m, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	var n nodeapi.Node
	m.Fill(&n, "/")
	if n.VCPUs < 1 || n.MemoryMiB < 1 || n.BootID == "" || n.CPUModel == "" || n.UptimeSeconds < 1 || n.DiskFreeGiB > n.DiskGiB {
		t.Errorf("%+v", n)
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]int{
		"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u16)\n": 7002022, "QEMU emulator version 10.0.2": 10000002, "garbage": 0,
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestTraitsFollowTheProcessor(t *testing.T) {
	with := Machine{CPUFeatures: []string{"fpu", "avx2"}}.traits()
	if !slices.Contains(with, "HW_CPU_X86_AVX2") || slices.Contains(with, "HW_CPU_X86_AVX") {
		t.Error(with)
	}
}
