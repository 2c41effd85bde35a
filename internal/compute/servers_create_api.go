package compute

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// createSpec is a checked POST /servers.
type createSpec struct {
	name           string
	description    *string
	hostname       string
	flavorID       string
	imageID        string
	metadata       map[string]string
	userData       string
	keyName        string
	configDrive    bool
	accessIPv4     string
	accessIPv6     string
	autoDiskConfig bool
	adminPass      string
	securityGroups []string
	networks       []network.PortRequest
	auto, none     bool
	tags           []string
	trustedCerts   []string
	minCount       int
	maxCount       int
	hints          map[string]any
	personality    int

	az, host, node string // az as asked for, host and node when forced or requested
	forced         bool   // az:host:node, which passes the filters by
	zeroDisk       bool   // the caller may use a flavor without a disk
	admin          bool
}

func (s *Service) createServer(ctx context.Context, r *api.Request, in map[string]any) (any, error) {
	spec, err := s.parseCreate(r, in)
	if err != nil {
		return nil, err
	}
	made, err := s.createServers(ctx, r, spec)
	if err != nil {
		return nil, err
	}
	body := in["server"].(map[string]any)
	if anyBool(body["return_reservation_id"], false) {
		return map[string]string{"reservation_id": made[0].ReservationID}, nil
	}
	v := made[0]
	links := selfLinks(r, "servers", v.ID)
	groups := body["security_groups"]
	if groups == nil {
		groups = []map[string]string{{"name": "default"}}
	}
	r.Header().Set("Location", links[0].Href)
	return map[string]any{"server": map[string]any{
		"id": v.ID, "links": links, "OS-DCF:diskConfig": diskConfig(v.AutoDiskConfig), "security_groups": groups, "adminPass": spec.adminPass,
	}}, nil
}

// canonicalIP is an address as nova stores it.
func canonicalIP(s string) string {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.String()
	}
	return s
}

func diskConfig(auto bool) string {
	if auto {
		return "AUTO"
	}
	return "MANUAL"
}

// parseCreate reads the body in the order of nova/api/openstack/compute/servers.py, so that of several faults the same one is told.
func (s *Service) parseCreate(r *api.Request, in map[string]any) (*createSpec, error) {
	b := in["server"].(map[string]any)
	text := func(k string) string { t, _ := b[k].(string); return t }
	spec := &createSpec{
		name: strings.TrimSpace(text("name")), keyName: text("key_name"), userData: text("user_data"), adminPass: text("adminPass"),
		autoDiskConfig: text("OS-DCF:diskConfig") == "AUTO", accessIPv4: canonicalIP(text("accessIPv4")), accessIPv6: canonicalIP(text("accessIPv6")),
		configDrive: anyBool(b["config_drive"], false), metadata: texts(b["metadata"]), hostname: text("hostname"), admin: isAdmin(r),
	}
	if _, given := b["adminPass"]; !given {
		var err error
		if spec.adminPass, err = s.password(); err != nil {
			return nil, err
		}
	}
	spec.description = &spec.name
	if r.Since("2.19") {
		spec.description = nil
		if d, ok := b["description"].(string); ok {
			spec.description = &d
		}
	}
	for _, g := range list(b["security_groups"]) {
		if n, _ := g.(map[string]any)["name"].(string); n != "" {
			spec.securityGroups = appendNew(spec.securityGroups, n)
		}
	}
	for _, key := range []string{"OS-SCH-HNT:scheduler_hints", "os:scheduler_hints"} {
		if h, ok := in[key].(map[string]any); ok {
			spec.hints = h
		}
	}
	spec.minCount = countOf(b["min_count"], 1)
	spec.maxCount = countOf(b["max_count"], spec.minCount)
	if spec.minCount > spec.maxCount {
		return nil, fault.BadRequest("min_count must be <= max_count")
	}
	for _, t := range list(b["tags"]) {
		spec.tags = appendNew(spec.tags, t.(string))
	}
	for _, c := range list(b["trusted_image_certificates"]) {
		spec.trustedCerts = append(spec.trustedCerts, c.(string))
	}
	spec.personality = len(list(b["personality"]))
	az := text("availability_zone")
	target := policy.Map{"project_id": r.ProjectID(), "user_id": r.UserID(), "availability_zone": az}
	if err := r.Enforce(pServers+"create", target); err != nil {
		return nil, err
	}
	if len(spec.trustedCerts) > 0 {
		if err := r.Enforce(pServers+"create:trusted_certs", target); err != nil {
			return nil, err
		}
	}
	if err := spec.parseZone(r, az, target); err != nil {
		return nil, err
	}
	if err := spec.parseDestination(r, text("host"), text("hypervisor_hostname"), target); err != nil {
		return nil, err
	}
	if err := spec.parseImage(b); err != nil {
		return nil, err
	}
	if err := spec.parseNetworks(r, b, target); err != nil {
		return nil, err
	}
	switch f := b["flavorRef"].(type) {
	case string:
		spec.flavorID = lastPart(f)
	default:
		spec.flavorID = pyText(f)
	}
	if spec.userData != "" {
		if _, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(spec.userData)); err != nil {
			return nil, fault.BadRequest("User data needs to be valid base 64.")
		}
	}
	spec.zeroDisk = r.Can(pServers+"create:zero_disk_flavor", target)
	return spec, nil
}

// parseZone reads zone, zone:host, zone:host:node and zone::node.
func (c *createSpec) parseZone(r *api.Request, az string, target policy.Map) error {
	parts := strings.Split(az, ":")
	switch len(parts) {
	case 1:
		c.az = az
		return nil
	case 2:
		c.az, c.host = parts[0], parts[1]
	case 3:
		c.az, c.host, c.node = parts[0], parts[1], parts[2]
	default:
		return fault.BadRequest("Invalid input received: Unable to parse availability_zone")
	}
	if c.host == "" && c.node == "" {
		return nil
	}
	c.forced = true
	return r.Enforce(pServers+"create:forced_host", target)
}

func (c *createSpec) parseDestination(r *api.Request, host, node string, target policy.Map) error {
	if !r.Since("2.74") || host == "" && node == "" {
		return nil
	}
	if err := r.Enforce("compute:servers:create:requested_destination", target); err != nil {
		return err
	}
	if c.forced {
		return fault.BadRequest("One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually exclusive.")
	}
	c.host, c.node = host, node
	return nil
}

// parseImage reads imageRef and the block device mapping. Only an image on the local disk can be booted until there are volumes.
func (c *createSpec) parseImage(b map[string]any) error {
	c.imageID, _ = b["imageRef"].(string)
	legacy, v2 := list(b["block_device_mapping"]), list(b["block_device_mapping_v2"])
	if len(legacy) > 0 && len(v2) > 0 {
		return fault.BadRequest("Using different block_device_mapping syntaxes is not allowed in the same request.")
	}
	if len(legacy) > 0 {
		return noVolumes()
	}
	for _, e := range v2 {
		m := e.(map[string]any)
		source, _ := m["source_type"].(string)
		dest, _ := m["destination_type"].(string)
		if dest == "" {
			dest = map[bool]string{true: "local", false: "volume"}[source == "image" || source == "blank"]
		}
		if source != "image" || dest != "local" {
			return noVolumes()
		}
		id, _ := m["uuid"].(string)
		if id == "" {
			return fault.BadRequest("Block Device Mapping is Invalid: Missing device UUID.")
		}
		if i := anyInt(m["boot_index"], -1); i != 0 {
			return fault.BadRequest("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
		}
		if c.imageID != "" && c.imageID != id {
			return fault.BadRequest("Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid.")
		}
		c.imageID = id
	}
	if c.imageID == "" {
		return fault.BadRequest("Missing imageRef attribute")
	}
	return nil
}

func noVolumes() error {
	return fault.BadRequest("Block Device Mapping is Invalid: this cloud has no volume service; boot from an image on the local disk (source_type image, destination_type local, boot_index 0).")
}

// parseNetworks reads networks: "auto", "none" or a list. Without any, the project's only network is taken.
func (c *createSpec) parseNetworks(r *api.Request, b map[string]any, target policy.Map) error {
	v, given := b["networks"]
	if !given || v == nil {
		return nil
	}
	if t, ok := v.(string); ok {
		c.auto, c.none = t == "auto", t == "none"
		return nil
	}
	if err := r.Enforce(pServers+"create:attach_network", target); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range list(v) {
		m := e.(map[string]any)
		p := network.PortRequest{}
		p.PortID, _ = m["port"].(string)
		p.FixedIP, _ = m["fixed_ip"].(string)
		p.Tag, _ = m["tag"].(string)
		switch {
		case p.PortID != "":
			if seen[p.PortID] {
				return fault.BadRequest("Port ID '%s' was specified twice: you cannot attach a port multiple times.", p.PortID)
			}
			seen[p.PortID] = true
			if p.FixedIP != "" {
				return fault.BadRequest("Specified Fixed IP '%s' cannot be used with port '%s': the two cannot be specified together.", p.FixedIP, p.PortID)
			}
		default:
			id, ok := m["uuid"].(string)
			if !ok {
				return fault.BadRequest("Bad network format: missing 'uuid'")
			}
			if !isUUID(id) {
				return fault.BadRequest("Bad networks format: network uuid is not in proper format (%s)", id)
			}
			p.NetworkID = id
		}
		if p.FixedIP != "" {
			if _, err := netip.ParseAddr(p.FixedIP); err != nil {
				return fault.BadRequest("Bad networks format")
			}
		}
		c.networks = append(c.networks, p)
	}
	return nil
}

// countOf reads a number of servers. One that is too large for anybody's quota is cut, so that sums with it do not overflow.
func countOf(v any, otherwise int) int {
	const huge = 1 << 30
	text := strings.Trim(pyText(v), `"`)
	switch n, err := strconv.ParseInt(text, 10, 64); {
	case err == nil:
		return int(min(n, huge))
	case errors.Is(err, strconv.ErrRange):
		return huge
	}
	return otherwise
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func texts(v any) map[string]string {
	out := map[string]string{}
	m, _ := v.(map[string]any)
	for k, e := range m {
		out[k], _ = e.(string)
	}
	return out
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}
