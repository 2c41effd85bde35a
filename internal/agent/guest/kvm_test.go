package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProbe: what is booted to see whether KVM works boots, leaves nothing, and tells a QEMU that fails and one that spins.
func TestProbe(t *testing.T) {
	n := newNode(t, blank(), "raw")
	if err := n.d.probe([]string{"-accel", "tcg"}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(n.o.Dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	for script, want := range map[string]string{
		"echo failed to set MSR; exit 134": "failed to set MSR",
		"while :; do :; done":              "did not boot within 2 s of processor time",
		"exit 0":                           "without having booted",
	} {
		n.d.o.QEMU = filepath.Join(shortDir(t), "qemu")
		if err := os.WriteFile(n.d.o.QEMU, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := n.d.probe(kvmAccel()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// TestProbeLeftBehind: an agent was killed while it probed.
func TestProbeLeftBehind(t *testing.T) {
	n := newNode(t, blank(), "raw")
	n.stop()
	if err := os.WriteFile(n.d.probeFile(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.start()
	if fileExists(n.d.probeFile()) {
		t.Error("it stays for ever")
	}
}
