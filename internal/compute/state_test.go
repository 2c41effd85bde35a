package compute

import (
	"slices"
	"testing"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func TestDerive(t *testing.T) {
	running := state{Power: nodeapi.PowerRunning, Generation: 1, HasHost: true, Launched: true, SeenGeneration: 1, SeenPower: nodeapi.ObservedRunning, SeenStable: nodeapi.ObservedRunning}
	change := func(f func(*state)) state { s := running; f(&s); return s }
	for _, c := range []struct {
		name     string
		s        state
		vm, task string
		power    int64
		status   string
	}{
		{"accepted", state{Power: nodeapi.PowerRunning, Generation: 1}, vmBuilding, "scheduling", 0, "BUILD"},
		{"placed", state{Power: nodeapi.PowerRunning, Generation: 1, HasHost: true}, vmBuilding, "spawning", 0, "BUILD"},
		{"wiring", state{Power: nodeapi.PowerRunning, Generation: 1, HasHost: true, SeenPower: nodeapi.ObservedPending, SeenStep: "network"}, vmBuilding, "networking", 0, "BUILD"},
		{"no place", state{Power: nodeapi.PowerRunning, Generation: 1, Unplaced: true}, vmError, "", 0, "ERROR"},
		{"given up", state{Power: nodeapi.PowerRunning, Generation: 1, HasHost: true, FaultGeneration: 1}, vmError, "", 0, "ERROR"},
		{"runs", running, vmActive, "", 1, "ACTIVE"},
		{"a fault of before", change(func(s *state) { s.Generation, s.FaultGeneration, s.Intent = 2, 1, intentStart }), vmActive, "powering-on", 1, "ACTIVE"},
		{"stopping", change(func(s *state) { s.Generation, s.Power, s.Intent = 2, nodeapi.PowerStopped, intentStop }), vmActive, "powering-off", 1, "ACTIVE"},
		{"soft reboot", change(func(s *state) { s.Generation, s.RebootSeq, s.Intent = 2, 1, intentReboot }), vmActive, "rebooting", 1, "REBOOT"},
		{"hard reboot", change(func(s *state) { s.Generation, s.RebootSeq, s.RebootHard, s.Intent = 2, 1, true, intentReboot }), vmActive, "rebooting_hard", 1, "HARD_REBOOT"},
		{"applied but not rebooted", change(func(s *state) { s.RebootSeq, s.Intent = 1, intentReboot }), vmActive, "rebooting", 1, "REBOOT"},
		{"rebuilding", change(func(s *state) { s.Generation, s.RebuildSeq, s.Intent = 2, 1, intentRebuild }), vmActive, "rebuilding", 1, "REBUILD"},
		{"rebuild's disk", change(func(s *state) { s.Generation, s.RebuildSeq, s.Intent, s.SeenStep = 2, 1, intentRebuild, "disk" }), vmActive, "rebuild_block_device_mapping", 1, "REBUILD"},
		{"another name shows no task", change(func(s *state) { s.Generation = 2 }), vmActive, "", 1, "ACTIVE"},
		{"crashed", change(func(s *state) { s.SeenPower, s.SeenStable = nodeapi.ObservedCrashed, nodeapi.ObservedCrashed }), vmStopped, "", 4, "SHUTOFF"},
		{"powered off from inside", change(func(s *state) { s.SeenPower, s.SeenStable = nodeapi.ObservedStopped, nodeapi.ObservedStopped }), vmStopped, "", 4, "SHUTOFF"},
		{"paused", change(func(s *state) {
			s.Power, s.SeenPower, s.SeenStable = nodeapi.PowerPaused, nodeapi.ObservedPaused, nodeapi.ObservedPaused
		}), vmPaused, "", 3, "PAUSED"},
		{"suspended", change(func(s *state) {
			s.Power, s.SeenPower, s.SeenStable, s.Intent = nodeapi.PowerSuspended, nodeapi.ObservedPaused, nodeapi.ObservedPaused, intentSuspend
		}), vmSuspended, "", 4, "SUSPENDED"},
		{"resuming", change(func(s *state) {
			s.Generation, s.SeenPower, s.SeenStable, s.Intent = 2, nodeapi.ObservedPaused, nodeapi.ObservedPaused, intentResume
		}), vmSuspended, "resuming", 4, "SUSPENDED"},
		{"deleting", change(func(s *state) { s.Generation, s.Power = 2, nodeapi.PowerAbsent }), vmActive, "deleting", 1, "ACTIVE"},
		{"deleted", change(func(s *state) { s.Deleted = true }), vmDeleted, "", 0, "DELETED"},
		{"reset to error", change(func(s *state) { s.Forced = vmError }), vmError, "", 1, "ERROR"},
		{"reset to active", change(func(s *state) { s.Forced, s.FaultGeneration = vmActive, 1 }), vmActive, "", 1, "ACTIVE"},
	} {
		vm, task, power := c.s.derive()
		if vm != c.vm || task != c.task || power != c.power || statusOf(vm, task) != c.status {
			t.Errorf("%s: %s %q %d %s, want %s %q %d %s", c.name, vm, task, power, statusOf(vm, task), c.vm, c.task, c.power, c.status)
		}
	}
}

func TestStatesOf(t *testing.T) {
	for _, c := range []struct {
		status string
		vms    []string
		free   bool // the task does not matter
	}{{"active", []string{vmActive}, true}, {"ERROR", []string{vmError}, true}, {"REBUILD", []string{vmActive, vmError, vmStopped}, false}, {"nonsense", nil, false}} {
		vms, tasks := statesOf([]string{c.status})
		if !slices.Equal(vms, c.vms) || slices.Contains(tasks, "") != c.free {
			t.Errorf("%s: %v %v", c.status, vms, tasks)
		}
	}
}

func TestFilterHosts(t *testing.T) {
	hosts := []hostFact{
		{Host: "a", Up: true, AZ: "nova", Arch: "x86_64"},
		{Host: "b", Up: true, AZ: "east", Arch: "x86_64", Aggregates: []map[string]string{{"ssd": "true"}}},
		{Host: "c", Up: false, AZ: "nova"},
		{Host: "d", Up: true, Disabled: true, AZ: "east"},
	}
	for _, c := range []struct {
		name   string
		in     filterInput
		passed string
		says   string
	}{
		{"anything", filterInput{}, "ab", "ComputeFilter turned down 2; nearest: c has not been heard of for a minute"},
		{"zone", filterInput{AZ: "east"}, "b", "ComputeFilter turned down 2, AvailabilityZoneFilter turned down 1; nearest: a is in zone nova, not east"},
		{"a host", filterInput{Host: "a"}, "a", "requested host turned down 3; nearest: b is not a"},
		{"forced onto one that is down", filterInput{Host: "c", Forced: true, AZ: "x"}, "c", "requested host turned down 3; nearest: a is not c"},
		{"aggregate", filterInput{ExtraSpecs: map[string]string{"aggregate_instance_extra_specs:ssd": "true"}}, "b", "ComputeFilter turned down 2, AggregateInstanceExtraSpecsFilter turned down 1; nearest: a is in no aggregate with ssd true"},
		{"architecture", filterInput{Image: map[string]string{"hw_architecture": "aarch64"}}, "", "ComputeFilter turned down 2, ImagePropertiesFilter turned down 2; nearest: a has the architecture x86_64, not aarch64"},
		{"different", filterInput{Different: []string{"a"}}, "b", "ComputeFilter turned down 2, DifferentHostFilter turned down 1; nearest: a hosts a server that the hint different_host names"},
		{"same", filterInput{SameAsked: true, Same: []string{"b"}}, "b", "ComputeFilter turned down 2, SameHostFilter turned down 1; nearest: a hosts none of the servers that the hint same_host names"},
		{"anti-affinity", filterInput{Policy: "anti-affinity", Members: map[string]int{"a": 1}}, "b", "ComputeFilter turned down 2, ServerGroupAntiAffinityFilter turned down 1; nearest: a hosts a server of the group already"},
		{"anti-affinity with two a host", filterInput{Policy: "anti-affinity", MaxPerHost: 2, Members: map[string]int{"a": 1}}, "ab", "ComputeFilter turned down 2; nearest: c has not been heard of for a minute"},
		{"affinity", filterInput{Policy: "affinity", Members: map[string]int{"b": 1}}, "b", "ComputeFilter turned down 2, ServerGroupAffinityFilter turned down 1; nearest: a hosts no server of the group"},
	} {
		v := filterHosts(hosts, c.in)
		passed := ""
		for _, h := range v.passed {
			passed += h.Host
		}
		if passed != c.passed || v.String() != c.says {
			t.Errorf("%s: %q %s\nwant %q %s", c.name, passed, v, c.passed, c.says)
		}
	}
}

func TestResources(t *testing.T) {
	got := resources(Flavor{VCPUs: 2, RAM: 512, Disk: 10, Ephemeral: 1, Swap: 1025, ExtraSpecs: map[string]string{"resources:VCPU": "0", "resources:CUSTOM_X": "3"}})
	want := map[string]int64{"MEMORY_MB": 512, "DISK_GB": 13, "CUSTOM_X": 3}
	if len(got) != len(want) {
		t.Fatal(got)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %d, want %d", k, got[k], v)
		}
	}
}

func TestSanitizeHostname(t *testing.T) {
	for name, want := range map[string]string{"Web 1": "web-1", "a_b.c": "a-b-c", "한옥": "server-x", "-a-": "a", "tempest": "tempest"} {
		if got := sanitizeHostname(name, "Server-x"); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzSSHKey(f *testing.F) {
	f.Add("ssh", "ssh-rsa AAAA x")
	f.Add("x509", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----")
	f.Fuzz(func(t *testing.T, kind, key string) {
		if fp, err := fingerprintOf(kind, key); err == nil && len(fp) < 47 {
			t.Errorf("%q has the fingerprint %q", key, fp)
		}
	})
}
