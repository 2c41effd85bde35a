package metadata

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// node is one place in the EC2 tree: a directory (sub not nil), a list or a text.
type node struct {
	sub  map[string]node
	list []string
	text []byte
	// name replaces the key in its parent's listing: public keys are listed as 0=name (ec2_md_print).
	name string
	// number: the JSON of a config drive has it as a number.
	number bool
}

func text(s string) node { return node{text: []byte(s)} }

func (n node) child(key string) (node, bool) {
	c, ok := n.sub[key]
	return c, ok
}

// find walks down; below a leaf there is nothing.
func (n node) find(tokens []string) (node, bool) {
	for _, t := range tokens {
		c, ok := n.child(t)
		if !ok {
			return node{}, false
		}
		n = c
	}
	return n, true
}

// print is the service's text: a directory lists its keys, sorted, with a slash after directories.
func (n node) print() []byte {
	switch {
	case n.sub != nil:
		var lines []string
		for k, c := range n.sub {
			switch {
			case c.name != "":
				k = c.name
			case c.sub != nil:
				k += "/"
			}
			lines = append(lines, k)
		}
		sort.Strings(lines)
		return []byte(strings.Join(lines, "\n"))
	case n.list != nil:
		return []byte(strings.Join(n.list, "\n"))
	}
	return n.text
}

// json is the config drive's form of the same.
func (n node) json() []byte { return marshal(n.value()) }

func (n node) value() any {
	switch {
	case n.sub != nil:
		m := map[string]any{}
		for k, c := range n.sub {
			m[k] = c.value()
		}
		return m
	case n.list != nil:
		return n.list
	case n.number:
		i, _ := strconv.Atoi(string(n.text))
		return i
	}
	return string(n.text)
}

// ec2Tree is get_ec2_metadata of nova/api/metadata/base.py.
func (in Instance) ec2Tree(v string) (node, bool) {
	all := EC2Versions()
	if v == latest {
		v = all[len(all)-1]
	}
	if !slices.Contains(all, v) {
		return node{}, false
	}
	g, md := in.Guest, in.Guest.Metadata
	m := map[string]node{
		"ami-id":            text(in.imageEC2ID()),
		"ami-launch-index":  {text: []byte(strconv.Itoa(md.LaunchIndex)), number: true},
		"ami-manifest-path": text("FIXME"), // upstream's literal value
		"instance-id":       text(in.instanceEC2ID()),
		"hostname":          text(md.Hostname),
		"local-ipv4":        text(in.fixedIPv4()),
		"reservation-id":    text(md.ReservationID),
		"security-groups":   {list: append([]string{}, md.SecurityGroups...)},
	}
	if len(md.Keys) > 0 {
		m["public-keys"] = node{sub: map[string]node{"0": {
			name: "0=" + md.Keys[0].Name,
			sub:  map[string]node{"openssh-key": text(md.Keys[0].Data)},
		}}}
	}
	if v >= "2007-01-19" {
		m["local-hostname"] = text(md.Hostname)
		m["public-hostname"] = text(md.Hostname)
		m["public-ipv4"] = text(md.PublicIPv4)
	}
	if v >= "2007-08-29" {
		m["instance-type"] = text(md.InstanceType)
	}
	if v >= "2007-12-15" {
		m["block-device-mapping"] = node{sub: in.blockDevices()}
	}
	if v >= "2008-02-01" {
		m["placement"] = node{sub: map[string]node{"availability-zone": text(md.AvailabilityZone)}}
	}
	if v >= "2008-09-01" {
		m["instance-action"] = text("none")
	}
	tree := node{sub: map[string]node{"meta-data": {sub: m}}}
	if len(g.Metadata.UserData) > 0 {
		tree.sub["user-data"] = node{text: g.Metadata.UserData}
	}
	return tree, true
}

// instanceEC2ID is i- and the number that the instance's name carries: instance-0000002a is i-0000002a.
func (in Instance) instanceEC2ID() string {
	_, n, ok := strings.Cut(in.Guest.Name, "instance-")
	if !ok {
		n = first8(in.Guest.ID)
	}
	return "i-" + n
}

// imageEC2ID is of upstream's form; the number is the beginning of the image's id, since nothing here
// numbers images.
func (in Instance) imageEC2ID() string { return "ami-" + first8(in.Guest.Metadata.ImageID) }

func first8(id string) string {
	if len(id) < 8 {
		return "00000000"
	}
	return id[:8]
}

func (in Instance) fixedIPv4() string {
	for _, i := range in.Interfaces {
		for _, f := range i.Port.FixedIPs {
			if a, err := netip.ParseAddr(f.IP); err == nil && a.Is4() {
				return f.IP
			}
		}
	}
	return ""
}

// blockDevices is instance_block_mapping of nova/block_device.py for virtio disks: the root disk, then an
// ephemeral one, then swap, in the order the node attaches them.
func (in Instance) blockDevices() map[string]node {
	m := map[string]node{"ami": text("vda"), "root": text("/dev/vda")}
	next := 'b'
	add := func(key string, size int64) {
		if size > 0 {
			m[key] = text(fmt.Sprintf("/dev/vd%c", next))
			next++
		}
	}
	add("ephemeral0", in.Guest.EphemeralGiB)
	add("swap", in.Guest.SwapMiB)
	return m
}
