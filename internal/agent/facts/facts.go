// Package facts describes the machine that an agent runs on: processors, memory, disk, kernel boot id, QEMU. It only reads.
package facts

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Machine is what does not change while the machine runs.
type Machine struct {
	BootID      string
	CPUModel    string
	CPUVendor   string
	CPUFeatures []string
	VCPUs       int
	MemoryMiB   int64
	QEMUVersion int // 7002022 for 7.2.22
}

// Read looks at the machine. A missing QEMU is version 0.
func Read() (Machine, error) {
	m := Machine{VCPUs: runtime.NumCPU(), QEMUVersion: qemuVersion()}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return m, fmt.Errorf("read boot id: %w", err)
	}
	m.BootID = strings.TrimSpace(string(b))
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return m, fmt.Errorf("read memory: %w", err)
	}
	m.MemoryMiB = int64(si.Totalram) * int64(si.Unit) >> 20
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	defer func() { _ = f.Close() }()
	m.parseCPU(bufio.NewScanner(f))
	return m, nil
}

// parseCPU reads the first processor's entry.
func (m *Machine) parseCPU(s *bufio.Scanner) {
	s.Buffer(nil, 1<<20)
	for s.Scan() && s.Text() != "" {
		k, v, _ := strings.Cut(s.Text(), ":")
		v = strings.TrimSpace(v)
		switch strings.TrimSpace(k) {
		case "model name":
			m.CPUModel = v
		case "vendor_id":
			m.CPUVendor = v
		case "flags":
			m.CPUFeatures = strings.Fields(v)
		}
	}
}

var versionText = regexp.MustCompile(`version (\d+)\.(\d+)\.(\d+)`)

func qemuVersion() int {
	out, err := exec.Command("qemu-system-x86_64", "--version").Output()
	if err != nil {
		return 0
	}
	return parseVersion(string(out))
}

func parseVersion(text string) int {
	m := versionText.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n := 0
	for _, part := range m[1:] {
		v, _ := strconv.Atoi(part) // the expression lets digits through only
		n = n*1000 + v
	}
	return n
}

// Fill puts the machine, and its load and free disk in folder now, into n.
func (m Machine) Fill(n *nodeapi.Node, folder string) {
	n.Arch, n.BootID = "x86_64", m.BootID
	n.CPUModel, n.CPUVendor, n.CPUFeatures = m.CPUModel, m.CPUVendor, m.CPUFeatures
	n.VCPUs, n.MemoryMiB = m.VCPUs, m.MemoryMiB
	n.HypervisorType, n.HypervisorVersion = "QEMU", m.QEMUVersion
	n.Traits = m.traits()
	var st unix.Statfs_t
	if unix.Statfs(folder, &st) == nil {
		n.DiskGiB = int64(st.Blocks) * st.Bsize >> 30
		n.DiskFreeGiB = int64(st.Bavail) * st.Bsize >> 30
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		n.UptimeSeconds = si.Uptime
		for i, l := range si.Loads {
			n.LoadAverage[i] = float64(l) / 65536
		}
	}
}

// traits are placement's names for what the processor and the hypervisor can do.
func (m Machine) traits() []string {
	out := []string{
		"COMPUTE_NODE", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_NET_VIF_MODEL_VIRTIO",
		"COMPUTE_STORAGE_BUS_VIRTIO",
	}
	for flag, trait := range map[string]string{
		"sse4_2": "HW_CPU_X86_SSE42", "avx": "HW_CPU_X86_AVX", "avx2": "HW_CPU_X86_AVX2", "aes": "HW_CPU_X86_AESNI", "vmx": "HW_CPU_X86_VMX", "svm": "HW_CPU_X86_SVM",
	} {
		if slices.Contains(m.CPUFeatures, flag) {
			out = append(out, trait)
		}
	}
	slices.Sort(out)
	return out
}
