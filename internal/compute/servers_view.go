package compute

import (
	"encoding/json"
	"strconv"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// serverView is what a server's document depends on besides the server: the encoding, the fields that the caller may see, and for a
// single server what the operation adds (nova/api/openstack/compute/views/servers.py).
type serverView struct {
	mv         api.Version
	base       string // the service's public URL
	extended   bool   // OS-EXT-SRV-ATTR:* fields
	extraSpecs bool   // of the embedded flavor
	faultText  bool   // the fault's details
	// hostStatus: "" nobody may see it, "all", or "unknown" when only UNKNOWN may be told.
	hostStatus string
	// short is the answer of update and rebuild before 2.75: without what reads other tables.
	short    bool
	keyName  bool // rebuild tells the key even when short
	userData bool
	groups   bool // server_groups, on a single server
}

// since tells whether the encoding is v or later.
func (w *serverView) since(minor int) bool { return w.mv.Minor >= minor }

// viewOf asks the rules that decide on fields. target is nil for lists, which ask about the caller's own project.
func viewOf(r *api.Request, target policy.Target) serverView {
	if target == nil {
		target = r.Self()
	}
	v := serverView{mv: r.MV, base: r.ServiceURL(), extended: r.Can(pExtended, target), faultText: isAdmin(r), userData: true}
	v.extraSpecs = v.since(47) && r.Can(pServers+"show:flavor-extra-specs", target)
	if v.since(16) {
		switch {
		case r.Can(pServers+"show:host_status", target):
			v.hostStatus = "all"
		case r.Can(pServers+"show:host_status:unknown-only", target):
			v.hostStatus = "unknown"
		}
	}
	return v
}

// cacheKey names the view in the cache of documents. A host's status is no part of the server's revision, so it is part of the key.
func (w *serverView) cacheKey(hostStatus string) string {
	b := make([]byte, 0, 80)
	b = append(b, "servers/detail/"...)
	b = strconv.AppendInt(b, int64(w.mv.Minor), 10)
	for _, f := range []bool{w.extended, w.extraSpecs, w.faultText} {
		if f {
			b = append(b, '+')
		} else {
			b = append(b, '-')
		}
	}
	b = append(b, hostStatus...)
	b = append(b, ' ')
	return string(append(b, w.base...))
}

// hostStatusOf is the host_status field, or empty when it is not shown (nova/compute/api.py, get_instance_host_status).
func (w *serverView) hostStatusOf(host string, hosts map[string]computeHost) string {
	if w.hostStatus == "" {
		return ""
	}
	status := "UNKNOWN"
	if host == "" {
		status = ""
	} else if h, ok := hosts[host]; ok {
		switch {
		case h.ForcedDown:
			status = "DOWN"
		case h.Disabled:
			status = "MAINTENANCE"
		case h.heard:
			status = "UP"
		}
	}
	if w.hostStatus == "unknown" && status != "UNKNOWN" {
		return ""
	}
	if status == "" {
		return "-" // shown as an empty text
	}
	return status
}

func (w *docWriter) links(base, id string) {
	w.key("links")
	w.b = append(w.b, `[{"rel":"self","href":"`...)
	w.b = append(w.b, base...)
	w.b = append(w.b, `/v2.1/servers/`...)
	w.b = append(w.b, id...)
	w.b = append(w.b, `"},{"rel":"bookmark","href":"`...)
	w.b = append(w.b, base...)
	w.b = append(w.b, `/servers/`...)
	w.b = append(w.b, id...)
	w.b = append(w.b, `"}]`...)
}

func bookmark(base, collection, id string) string {
	return `{"id":"` + id + `","links":[{"rel":"bookmark","href":"` + base + `/` + collection + `/` + id + `"}]}`
}

// basic is the document of GET /servers.
func (w *serverView) basic(v *Server) []byte {
	d := docWriter{b: make([]byte, 0, 300)}
	d.open()
	d.str("id", v.ID)
	d.str("name", v.Name)
	d.links(w.base, v.ID)
	d.shut()
	return d.b
}

// detail is the full document.
func (w *serverView) detail(v *Server, ports []network.Port, hostStatus string) []byte {
	d := docWriter{b: make([]byte, 0, 2200)}
	d.open()
	w.head(&d, v)
	w.flavor(&d, v)
	d.str("created", zulu(v.CreatedAt))
	d.str("updated", zulu(v.UpdatedAt))
	d.key("addresses")
	d.open()
	if v.VMState != vmBuilding {
		writeAddresses(&d, ports, !w.short)
	}
	d.shut()
	d.str("accessIPv4", v.AccessIPv4)
	d.str("accessIPv6", v.AccessIPv6)
	d.links(w.base, v.ID)
	d.str("OS-DCF:diskConfig", diskConfig(v.AutoDiskConfig))
	w.fault(&d, v)
	if s := v.Status(); s == "ACTIVE" || s == "BUILD" || s == "REBUILD" || s == "RESIZE" || s == "VERIFY_RESIZE" || s == "MIGRATING" {
		d.int("progress", 0)
	}
	if !w.short {
		w.rest(&d, v, ports)
	} else if w.keyName {
		d.strOrNull("key_name", v.KeyName)
	}
	w.later(&d, v, hostStatus)
	d.shut()
	return d.b
}

func (w *serverView) head(d *docWriter, v *Server) {
	d.str("id", v.ID)
	d.str("name", v.Name)
	d.str("status", v.Status())
	d.str("tenant_id", v.ProjectID)
	d.str("user_id", v.UserID)
	d.texts("metadata", v.Metadata.V)
	d.str("hostId", hostID(v.Host, v.ProjectID))
	if v.ImageID == "" {
		d.raw("image", `""`)
	} else {
		image := bookmark(w.base, "images", v.ImageID)
		if w.since(98) {
			image = image[:len(image)-1] + `,"properties":` + textsJSON(v.Image.V.Properties) + `}`
		}
		d.raw("image", image)
	}
}

func textsJSON(m map[string]string) string {
	var d docWriter
	d.texts("x", m)
	return string(d.b[len(`"x":`):])
}

func (w *serverView) flavor(d *docWriter, v *Server) {
	f := &v.Flavor.V
	if !w.since(47) {
		d.raw("flavor", bookmark(w.base, "flavors", f.ID))
		return
	}
	d.key("flavor")
	d.open()
	d.int("vcpus", f.VCPUs)
	d.int("ram", f.RAM)
	d.int("disk", f.Disk)
	d.int("ephemeral", f.Ephemeral)
	d.int("swap", f.Swap)
	d.str("original_name", f.Name)
	if w.extraSpecs {
		d.texts("extra_specs", f.ExtraSpecs)
	}
	d.shut()
}

func (w *serverView) fault(d *docWriter, v *Server) {
	if s := v.Status(); v.FaultCode == 0 || s != "ERROR" && s != "DELETED" {
		return
	}
	d.key("fault")
	d.open()
	d.int("code", v.FaultCode)
	d.str("created", zulu(v.FaultAt))
	d.str("message", v.FaultMessage)
	// Upstream shows details of a 500 to admins alone, since they hold tracebacks. Ours hold the step, the cause and what to do.
	if v.FaultDetails != "" {
		d.str("details", v.FaultDetails)
	}
	d.shut()
}

// rest is what update and rebuild leave out before 2.75.
func (w *serverView) rest(d *docWriter, v *Server, ports []network.Port) {
	d.str("OS-EXT-AZ:availability_zone", v.AvailabilityZone)
	drive := ""
	if v.ConfigDrive {
		drive = "True"
	}
	d.str("config_drive", drive)
	d.strOrNull("key_name", v.KeyName)
	d.ptr("OS-SRV-USG:launched_at", isoOrNull(v.LaunchedAt))
	d.ptr("OS-SRV-USG:terminated_at", isoOrNull(v.TerminatedAt))
	if names := groupNames(ports); len(names) > 0 {
		d.key("security_groups")
		d.b = append(d.b, '[')
		for i, n := range names {
			if i > 0 {
				d.b = append(d.b, ',')
			}
			d.open()
			d.str("name", n)
			d.shut()
		}
		d.b = append(d.b, ']')
	}
	if w.extended {
		w.extendedAttributes(d, v)
	}
	d.strOrNull("OS-EXT-STS:task_state", v.TaskState)
	d.str("OS-EXT-STS:vm_state", v.VMState)
	d.int("OS-EXT-STS:power_state", v.PowerState)
	d.raw("os-extended-volumes:volumes_attached", "[]")
}

func (w *serverView) extendedAttributes(d *docWriter, v *Server) {
	const p = "OS-EXT-SRV-ATTR:"
	d.strOrNull(p+"host", v.Host)
	d.str(p+"instance_name", v.instanceName())
	d.strOrNull(p+"hypervisor_hostname", v.Host)
	if !w.since(3) {
		return
	}
	d.str(p+"reservation_id", v.ReservationID)
	d.int(p+"launch_index", v.LaunchIndex)
	d.str(p+"hostname", v.Hostname)
	d.str(p+"kernel_id", "")
	d.str(p+"ramdisk_id", "")
	d.str(p+"root_device_name", "/dev/vda")
	if w.userData {
		d.strOrNull(p+"user_data", v.UserData)
	}
}

// later is what microversions added at the end.
func (w *serverView) later(d *docWriter, v *Server, hostStatus string) {
	if hostStatus != "" && !(w.short) {
		if hostStatus == "-" {
			hostStatus = ""
		}
		d.str("host_status", hostStatus)
	}
	if w.since(9) {
		d.bool("locked", v.LockedBy != "")
	}
	if w.since(73) {
		d.ptr("locked_reason", v.LockedReason)
	}
	if w.since(19) {
		d.ptr("description", v.Description)
	}
	if w.since(26) {
		d.list("tags", v.Tags.V)
	}
	if w.since(63) {
		if len(v.TrustedCerts.V) == 0 {
			d.raw("trusted_image_certificates", "null")
		} else {
			d.list("trusted_image_certificates", v.TrustedCerts.V)
		}
	}
	if w.since(90) && !w.extended {
		d.str("OS-EXT-SRV-ATTR:hostname", v.Hostname)
	}
	if w.since(96) {
		d.strOrNull("pinned_availability_zone", v.RequestedAZ)
	}
	if w.since(100) {
		hints, err := json.Marshal(v.Hints.V)
		if err != nil || len(v.Hints.V) == 0 {
			hints = []byte("{}")
		}
		d.raw("scheduler_hints", string(hints))
	}
	if w.groups && w.since(71) {
		var g []string
		if v.GroupID != "" {
			g = []string{v.GroupID}
		}
		d.list("server_groups", g)
	}
}

// writeAddresses writes the members of "addresses": networks by name in the order of the interfaces.
func writeAddresses(d *docWriter, ports []network.Port, extended bool) {
	var order []string
	by := map[string][]network.Port{}
	for _, p := range ports {
		if _, ok := by[p.NetworkName]; !ok {
			order = append(order, p.NetworkName)
		}
		by[p.NetworkName] = append(by[p.NetworkName], p)
	}
	first := true
	for _, name := range order {
		if !first {
			d.b = append(d.b, ',')
		}
		first = false
		d.text(name)
		d.b = append(d.b, ':', '[')
		one := func(p network.Port, ip string, version int, kind string) {
			if d.b[len(d.b)-1] != '[' {
				d.b = append(d.b, ',')
			}
			d.open()
			d.int("version", int64(version))
			d.str("addr", ip)
			if extended {
				d.str("OS-EXT-IPS:type", kind)
				d.str("OS-EXT-IPS-MAC:mac_addr", p.MAC)
			}
			d.shut()
		}
		for _, p := range by[name] {
			for _, ip := range p.FixedIPs {
				one(p, ip.IP, ip.Version, "fixed")
			}
		}
		for _, p := range by[name] {
			for _, ip := range p.FixedIPs {
				for _, f := range ip.Floating {
					one(p, f, 4, "floating")
				}
			}
		}
		d.b = append(d.b, ']')
	}
}
