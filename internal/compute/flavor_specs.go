package compute

import (
	"regexp"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/fault"
)

// specChecks are the extra specs that nova knows and what they may hold (nova/api/validation/extra_specs). Other names are refused inside
// of the namespaces listed there and free outside of them.
var specChecks = []struct {
	name  string // with * for a number or a trait
	value *regexp.Regexp
}{
	{"hw:cpu_policy", oneOf("dedicated", "shared", "mixed")},
	{"hw:cpu_thread_policy", oneOf("isolate", "prefer", "require")},
	{"hw:cpu_realtime", boolean}, {"hw:cpu_sockets", number}, {"hw:cpu_cores", number}, {"hw:cpu_threads", number},
	{"hw:cpu_max_sockets", number}, {"hw:cpu_max_cores", number}, {"hw:cpu_max_threads", number},
	{"hw:boot_menu", boolean}, {"hw:mem_page_size", regexp.MustCompile(`^(small|large|any|\d+([kKMGT]?[bB]|[kKMGT])?)$`)},
	{"hw:mem_encryption", boolean}, {"hw:numa_nodes", number}, {"hw:pmu", boolean}, {"hw:watchdog_action", oneOf("none", "pause", "poweroff", "reset", "disabled")},
	{"hw:hide_hypervisor_id", boolean}, {"hw:serial_port_count", number}, {"hw:tpm_model", oneOf("tpm-tis", "tpm-crb")}, {"hw:tpm_version", oneOf("1.2", "2.0")},
	{"hw:emulator_threads_policy", oneOf("isolate", "share")}, {"hw:vif_multiqueue_enabled", boolean}, {"hw:cpu_dedicated_mask", anything},
	{"hw:cpu_realtime_mask", anything}, {"hw:numa_cpus.*", anything}, {"hw:numa_mem.*", number}, {"hw:pci_numa_affinity_policy", oneOf("required", "preferred", "legacy", "socket")},
	{"hw:video_ram", anything}, {"hw_video:ram_max_mb", number}, {"hw_rng:allowed", boolean}, {"hw_rng:rate_bytes", number}, {"hw_rng:rate_period", number},
	{"quota:cpu_shares", number}, {"quota:cpu_period", number}, {"quota:cpu_quota", number}, {"quota:disk_read_bytes_sec", number}, {"quota:disk_read_iops_sec", number},
	{"quota:disk_write_bytes_sec", number}, {"quota:disk_write_iops_sec", number}, {"quota:disk_total_bytes_sec", number}, {"quota:disk_total_iops_sec", number},
	{"quota:vif_inbound_average", number}, {"quota:vif_inbound_burst", number}, {"quota:vif_inbound_peak", number}, {"quota:vif_outbound_average", number},
	{"quota:vif_outbound_burst", number}, {"quota:vif_outbound_peak", number}, {"quota:cpu_limit", number}, {"quota:cpu_reservation", number}, {"quota:memory_limit", number},
	{"os:secure_boot", oneOf("disabled", "optional", "required")}, {"pci_passthrough:alias", anything},
}

var (
	boolean  = regexp.MustCompile(`(?i)^(0|1|t|f|true|false|on|off|y|n|yes|no)$`)
	number   = regexp.MustCompile(`^-?\d+$`)
	anything = regexp.MustCompile(``)
	// specRanged are names that hold a class or trait: resources<group>:CLASS, trait<group>:NAME.
	specResource = regexp.MustCompile(`^resources([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+$`)
	specTrait    = regexp.MustCompile(`^trait([a-zA-Z0-9_-]{1,64})?:[A-Z0-9_]+$`)
	// specNamespaces are the ones in which only known names may stand.
	specNamespaces = []string{"accel", "aggregate_instance_extra_specs", "capabilities", "hw", "hw_rng", "hw_video", "os", "pci_passthrough", "powervm", "quota", "resources", "trait", "vmware"}
)

func oneOf(values ...string) *regexp.Regexp {
	return regexp.MustCompile("^(" + strings.Join(values, "|") + ")$")
}

// checkSpec is the validation since 2.86.
func checkSpec(name, value string) error {
	for _, c := range specChecks {
		prefix, numbered := strings.CutSuffix(c.name, "*")
		if name == c.name || numbered && strings.HasPrefix(name, prefix) && number.MatchString(name[len(prefix):]) {
			if !c.value.MatchString(value) {
				return fault.BadRequest("Validation failed; '%s' is not a valid value for extra spec '%s'.", value, name)
			}
			return nil
		}
	}
	ns, _, scoped := strings.Cut(name, ":")
	switch {
	case specResource.MatchString(name):
		if !number.MatchString(value) {
			return fault.BadRequest("Validation failed; '%s' is not a valid value for extra spec '%s'.", value, name)
		}
		return nil
	case specTrait.MatchString(name):
		if value != "required" && value != "forbidden" {
			return fault.BadRequest("Validation failed; '%s' is not a valid value for extra spec '%s'.", value, name)
		}
		return nil
	case ns == "capabilities" || ns == "aggregate_instance_extra_specs":
		return nil
	case scoped && slices.Contains(specNamespaces, ns):
		return fault.BadRequest("Validation failed; extra spec '%s' does not appear to be a valid extra spec.", name)
	}
	return nil
}
