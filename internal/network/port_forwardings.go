package network

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// portRange are ports from start to end; 0 to 0: not given.
type portRange struct{ start, end int64 }

func (r portRange) String() string { return fmt.Sprintf("%d:%d", r.start, r.end) }

func (r portRange) overlaps(o portRange) bool {
	return max(r.start, o.start) <= min(r.end, o.end)
}

// portForwarding leads ports of a floating IP to ports of an internal address.
type portForwarding struct {
	standard
	FloatingID         string
	Protocol           string
	External, Internal portRange
	PortID, FixedIP    string
}

const portForwardingColumns = standardColumns + `, t.floatingip_id, t.protocol, t.external_port_start, t.external_port_end, t.internal_port_id, t.internal_ip_address,
	t.internal_port_start, t.internal_port_end`

func scanPortForwarding(r db.Row) (*portForwarding, error) {
	p := &portForwarding{}
	return p, r.Scan(p.scan(&p.FloatingID, &p.Protocol, &p.External.start, &p.External.end, &p.PortID, &p.FixedIP, &p.Internal.start, &p.Internal.end)...)
}

func (p *portForwarding) columns() []column {
	return []column{{"floatingip_id", p.FloatingID}, {"protocol", p.Protocol}, {"external_port_start", p.External.start}, {"external_port_end", p.External.end},
		{"internal_port_id", p.PortID}, {"internal_ip_address", p.FixedIP}, {"internal_port_start", p.Internal.start}, {"internal_port_end", p.Internal.end}}
}

// brief is what a floating IP's port_forwardings say. A range of several ports has no single one (neutron/objects/port_forwarding.py,
// _modify_single_ports_from_db).
func (p *portForwarding) brief() doc {
	d := doc{"id": p.ID, "protocol": p.Protocol, "internal_ip_address": p.FixedIP, "internal_port_id": p.PortID}
	if p.External.start == p.External.end {
		d["external_port"] = p.External.start
	}
	if p.Internal.start == p.Internal.end {
		d["internal_port"] = p.Internal.start
	}
	return d
}

func (p *portForwarding) doc() doc {
	d := p.brief()
	d["description"] = p.Description
	d["external_port_range"], d["internal_port_range"] = p.External.String(), p.Internal.String()
	return d
}

func portForwardingNotFound(id string) *fault.Error {
	return notFound("PortForwardingNotFound", "Port Forwarding %s could not be found.", id)
}

func badForwarding(format string, args ...any) *fault.Error {
	return badResource("port_forwarding", format, args...)
}

// forwardable are the protocols that the kernel's connection tracking translates ports of. Upstream's list has dccp, icmp and ipv6-icmp besides,
// for which its agent has no effect either.
var forwardable = []any{"sctp", "tcp", "udp"}

func (s *Service) portForwardings(floatingIPs *resource) *resource {
	port := func(name string) attr {
		return attr{name: name, post: true, put: true, def: nil, convert: intOrNone, validate: vPortOrNone}
	}
	external := port("external_port")
	external.column, external.sort, external.kind = "CASE WHEN t.external_port_start = t.external_port_end THEN t.external_port_start ELSE 0 END", true, integer
	return &resource{name: "floatingip_port_forwarding", member: "port_forwarding", collection: "port_forwardings", table: "net_port_forwardings", notFound: portForwardingNotFound,
		nested: &nested{floatingIPs, "floatingip_id"},
		scope:  func(*db.Where, *call) {}, // who knows the floating IP
		attrs: []attr{
			{name: "id", column: "t.id", sort: true},
			{name: "tenant_id", post: true, def: unset{}, validate: vString(255), hidden: true},
			{name: "project_id", post: true, def: unset{}, validate: vString(255), hidden: true},
			{name: "description", post: true, put: true, def: "", validate: vString(255), column: "t.description"},
			external, port("internal_port"),
			{name: "external_port_range", post: true, put: true, def: nil, convert: rangeText, validate: vPortRangeOrNone,
				column: "CAST(t.external_port_start AS TEXT) || ':' || CAST(t.external_port_end AS TEXT)", sort: true},
			{name: "internal_port_range", post: true, put: true, def: nil, convert: rangeText, validate: vPortRangeOrNone},
			{name: "internal_ip_address", post: true, put: true, required: true, validate: vIP},
			{name: "protocol", post: true, put: true, required: true, validate: vValues(forwardable...), column: "t.protocol", sort: true},
			{name: "internal_port_id", post: true, put: true, required: true, validate: vUUID, column: "t.internal_port_id", sort: true},
		},
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_port_forwardings", portForwardingColumns, scanPortForwarding)
		},
		create: createPortForwarding, update: updatePortForwarding, remove: removePortForwarding}
}

func vIP(v any) (string, error) {
	if v == nil {
		return "'None' is not a valid IP address", nil
	}
	return vIPOrNone(v)
}

func vPortOrNone(v any) (string, error) {
	n, ok := v.(int64)
	switch {
	case !ok:
		return "", nil
	case n < 1:
		return fmt.Sprintf("'%d' is too small - must be at least '1'", n), nil
	case n > 65535:
		return fmt.Sprintf("'%d' is too large - must be no larger than '65535'", n), nil
	}
	return "", nil
}

// rangeText takes a number for a range of one port.
func rangeText(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	return str(v), nil
}

func vPortRangeOrNone(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", nil
	}
	_, problem := parsePortRange(s)
	return problem, nil
}

// parsePortRange reads "80" and "80:90" (neutron_lib/api/validators, validate_port_range_or_none).
func parsePortRange(s string) (portRange, string) {
	first, last, two := strings.Cut(s, ":")
	if !two {
		last = first
	}
	if first == "" || last == "" || strings.Contains(last, ":") {
		return portRange{}, "Port range must be two integers separated by a colon"
	}
	var r portRange
	for _, x := range []struct {
		text string
		to   *int64
	}{{first, &r.start}, {last, &r.end}} {
		n, err := strconv.ParseUint(x.text, 10, 16)
		if err != nil {
			return portRange{}, "Invalid port: " + x.text
		}
		if n < 1 {
			return portRange{}, fmt.Sprintf("Invalid port: %s, the port must be in the range [1, 65535]", x.text)
		}
		*x.to = int64(n)
	}
	if r.start > r.end {
		return portRange{}, "First port in a port range must be lower than the second port"
	}
	return r, ""
}

// ports takes one side's port or range out of a request; a single port goes first, as it does upstream.
func (v values) ports(side string, was portRange) portRange {
	if n, ok := v[side+"_port"].(int64); ok {
		return portRange{n, n}
	}
	if s, ok := v[side+"_port_range"].(string); ok {
		r, _ := parsePortRange(s)
		return r
	}
	return was
}

func (p *portForwarding) take(v values) {
	p.standard.take(v)
	p.External, p.Internal = v.ports("external", p.External), v.ports("internal", p.Internal)
	if v.has("protocol") {
		p.Protocol = v.str("protocol")
	}
	if v.has("internal_port_id") {
		p.PortID = v.str("internal_port_id")
	}
	if v.has("internal_ip_address") {
		if a, err := parseIP(v.str("internal_ip_address")); err == nil {
			p.FixedIP = ipString(a)
		}
	}
}

func createPortForwarding(c *call, v values) (object, error) {
	p := &portForwarding{standard: newStandard(c.tx, v), FloatingID: v.str("floatingip_id")}
	p.take(v)
	f, err := c.floatingOf(p)
	if err != nil {
		return nil, err
	}
	if f.PortID != "" {
		return nil, conflict("FloatingIPPortAlreadyAssociated",
			"Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.", f.Address, f.ID, p.PortID, p.FixedIP, f.NetworkID)
	}
	if err := c.settle(f, p); err != nil {
		return nil, err
	}
	if err := insert(c.tx, "port_forwarding", "net_port_forwardings", &p.standard, p.columns()...); err != nil {
		return nil, err
	}
	return p, c.forwardingChanged(f, p.PortID)
}

func updatePortForwarding(c *call, o object, v values) (object, error) {
	p := o.(*portForwarding)
	f, err := c.floatingOf(p)
	if err != nil {
		return nil, err
	}
	before := p.PortID
	p.take(v)
	if err := c.settle(f, p); err != nil {
		return nil, err
	}
	if err := save(c.tx, "port_forwarding", "net_port_forwardings", &p.standard, p.columns()...); err != nil {
		return nil, err
	}
	if before != p.PortID {
		if err := bump(c.tx, "net_ports", before, true); err != nil {
			return nil, err
		}
	}
	return p, c.forwardingChanged(f, p.PortID)
}

// floatingOf locks and loads a forwarding's floating IP.
func (c *call) floatingOf(p *portForwarding) (*floatingIP, error) {
	if err := c.lockFloating(&floatingIP{standard: standard{ID: p.FloatingID}}); err != nil {
		return nil, err
	}
	o, err := c.one(c.s.res.floatingIPs, p.FloatingID)
	if err != nil {
		return nil, err
	}
	return o.(*floatingIP), nil
}

// settle checks a forwarding as it is to be, and finds the router that carries it (neutron/services/portforwarding/pf_plugin.py).
func (c *call) settle(f *floatingIP, p *portForwarding) error {
	if p.External.start == 0 || p.Internal.start == 0 {
		return badForwarding("Both an external and an internal port, or range of ports, are required")
	}
	if n := p.Internal.end - p.Internal.start; n > 0 && n != p.External.end-p.External.start {
		return badForwarding("Invalid ranges of internal and/or external ports. The relation between internal and external ports must be N-N or 1-N")
	}
	o, _, err := c.find(c.s.res.ports, p.PortID)
	if err != nil {
		return err
	}
	inner := o.(*port)
	// The port's row is locked by its new revision: forwardings of several floating IPs that lead there are compared with each other.
	if err := bump(c.tx, "net_ports", inner.ID, true); err != nil {
		return err
	}
	if err := c.noForwardingLike(p); err != nil {
		return err
	}
	bound, err := db.One(c.tx, scanFloatingIP, `SELECT `+floatingIPColumns+` FROM net_floatingips t WHERE t.port_id = $1 ORDER BY t.id LIMIT 1`, p.PortID)
	if err == nil {
		return conflict("PortHasBindingFloatingIP", "Cannot create port forwarding to floating IP %s (%s) with port %s using fixed IP %s, as that port already has a binding floating IP.",
			bound.Address, bound.ID, p.PortID, p.FixedIP)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	routerID, err := c.forwardingRouter(f, p, inner)
	if err != nil {
		return err
	}
	if f.RouterID != "" && f.RouterID != routerID {
		return badForwarding("The Floating IP %s had been set on router %s, the internal Neutron port %s can not reach it", f.ID, f.RouterID, p.PortID)
	}
	f.RouterID = routerID
	return nil
}

// forwardingRouter is the router between the floating IP and the internal address.
func (c *call) forwardingRouter(f *floatingIP, p *portForwarding, inner *port) (string, error) {
	var v4 []any
	subnetID := ""
	for _, x := range inner.FixedIPs {
		if a, err := parseIP(x.IP); err == nil && a.Is4() {
			v4 = append(v4, map[string]any{"subnet_id": x.SubnetID, "ip_address": x.IP})
			if x.IP == p.FixedIP {
				subnetID = x.SubnetID
			}
		}
	}
	switch {
	case len(v4) == 0:
		return "", badForwarding("Requested internal port %s must allocate an IPv4 address at least", p.PortID)
	case subnetID == "":
		return "", badForwarding("Requested internal IP address %s is not suitable for internal neutron port %s, as its fixed_ips are %s", p.FixedIP, p.PortID, schema.PyRepr(v4))
	}
	s, err := c.subnet(subnetID)
	if err != nil {
		return "", err
	}
	id, err := c.routerFor(f, inner, s)
	if e := fault.As(err); err != nil && e.Code == "ExternalGatewayForFloatingIPNotFound" {
		return "", badForwarding("External network %s is not reachable from subnet %s. Cannot set Port forwarding for port %s with Floating IP %s", f.NetworkID, s.ID, p.PortID, f.ID)
	}
	return id, err
}

// noForwardingLike refuses ranges that others have already, outside or inside.
func (c *call) noForwardingLike(p *portForwarding) error {
	others, err := c.forwardings(`(t.floatingip_id = $1 OR t.internal_port_id = $2 AND t.internal_ip_address = $3) AND t.protocol = $4 AND t.id <> $5`,
		p.FloatingID, p.PortID, p.FixedIP, p.Protocol, p.ID)
	if err != nil {
		return err
	}
	collide := func(key string, theirs, ours portRange) error {
		return badForwarding("There is a port collision with the %s. The following ranges collides: %s and %s", key, theirs, ours)
	}
	for _, o := range others {
		if o.PortID == p.PortID && o.FixedIP == p.FixedIP && o.Internal.overlaps(p.Internal) {
			return collide("internal_port_range", o.Internal, p.Internal)
		}
		if o.FloatingID == p.FloatingID && o.External.overlaps(p.External) {
			return collide("external_port_range", o.External, p.External)
		}
	}
	return nil
}

func (c *call) forwardings(where string, args ...any) ([]*portForwarding, error) {
	return db.All(c.tx, scanPortForwarding, `SELECT `+portForwardingColumns+` FROM net_port_forwardings t WHERE `+where+` ORDER BY t.created_at, t.id`, args...)
}

// forwardingChanged writes what a floating IP has of its forwardings: its router as long as it has any, and a new revision.
func (c *call) forwardingChanged(f *floatingIP, portID string) error {
	left, err := c.forwardings(`t.floatingip_id = $1`, f.ID)
	if err != nil {
		return err
	}
	if err := c.wakeRouter(f.RouterID); err != nil {
		return err
	}
	f.Forwardings, f.Status = left, "DOWN"
	if len(left) == 0 {
		f.RouterID = ""
	} else if err := c.floatingActive(f); err != nil {
		return err
	}
	return save(c.tx, "floatingip", "net_floatingips", &f.standard, f.columns()...)
}

func removePortForwarding(c *call, o object) error {
	p := o.(*portForwarding)
	f, err := c.floatingOf(p)
	if err != nil {
		return err
	}
	if err := erase(c.tx, "port_forwarding", "net_port_forwardings", &p.standard); err != nil {
		return err
	}
	if err := bump(c.tx, "net_ports", p.PortID, true); err != nil {
		return err
	}
	return c.forwardingChanged(f, p.PortID)
}

// dropForwardings removes the forwardings to a port, all or those to one fixed address.
func (c *call) dropForwardings(portID, fixed string) error {
	all, err := c.forwardings(`t.internal_port_id = $1 AND ($2 = '' OR t.internal_ip_address = $2)`, portID, fixed)
	for _, p := range all {
		if err == nil {
			err = removePortForwarding(c, p)
		}
	}
	return err
}

// notForwarded refuses to give away or delete a floating IP whose ports are forwarded.
func (f *floatingIP) notForwarded() error {
	if len(f.Forwardings) > 0 {
		return conflict("FipInUseByPortForwarding", "Floating IP %s in use by Port Forwarding resources.", f.ID)
	}
	return nil
}

func (p *portForwarding) item(floating string) nodeapi.PortForwarding {
	return nodeapi.PortForwarding{ID: p.ID, Floating: floating, Fixed: p.FixedIP, Protocol: p.Protocol,
		External: nodeapi.PortRange{Min: int(p.External.start), Max: int(p.External.end)}, Internal: nodeapi.PortRange{Min: int(p.Internal.start), Max: int(p.Internal.end)}}
}
