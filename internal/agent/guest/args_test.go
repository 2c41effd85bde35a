package guest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

var update = flag.Bool("update", false, "write the golden files")

func nic(i int, mtu int) agent.NICDevice {
	return agent.NICDevice{NIC: nodeapi.NIC{PortID: fmt.Sprintf("%08d-1111-4111-8111-111111111111", i), MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", i), MTU: mtu},
		PortDevice: agent.PortDevice{Tap: fmt.Sprintf("tap%08d-11", i)}}
}

func TestArguments(t *testing.T) {
	set := diskSet{RebuildSeq: 2, Base: "img.qcow2", BaseFormat: "qcow2", Root: "root-2.qcow2"}
	small := machine{ID: "0b5d4c6e-1111-4222-8333-444455556666", Name: "instance-0000002a", VCPUs: 1, MemoryMiB: 128, TBSizeMiB: 64,
		Disks: set.arguments("/var/lib/hanok/guests/G", "/var/lib/hanok/images"), Console: "/var/lib/hanok/guests/G/console.log", QMPFD: 3, SerialFD: 4, TapFD: 5,
		NICs: []agent.NICDevice{nic(1, 1450)}}
	large := small
	large.VCPUs, large.MemoryMiB, large.KVM = 4, 8192, true
	full := diskSet{Base: "raw,image.raw", BaseFormat: "raw", Root: "root-0.qcow2", Ephemeral: "ephemeral0-0.raw", Swap: "swap-0.raw", Config: "config-0.iso"}
	large.Disks = full.arguments("/srv/a,b", "/srv/images")
	large.NICs = nil
	for i := range 12 {
		large.NICs = append(large.NICs, nic(i, 0))
	}
	for name, m := range map[string]machine{"small": small, "large": large} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(m.arguments(), "\n") + "\n"
			path := filepath.Join("testdata", name+".args")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("run with -update if this is meant:\n%s", diff)
			}
		})
	}
}

func TestSafeName(t *testing.T) {
	if got := safeName("instance-0000002a"); got != "instance-0000002a" {
		t.Error(got)
	}
	if got := safeName("a,debug=1 \"x\""); got != "a_debug_1__x_" {
		t.Error(got)
	}
}

func TestCheckID(t *testing.T) {
	if err := checkID("0b5d4c6e-1111-4222-8333-444455556666"); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "..", "0b5d4c6e-1111-4222-8333-44445555666/", "0B5D4C6E-1111-4222-8333-444455556666"} {
		if checkID(id) == nil {
			t.Errorf("%q accepted", id)
		}
	}
}
