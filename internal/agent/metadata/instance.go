package metadata

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// openstackVersions are the dated versions of the OpenStack tree, oldest first, and what each one brought
// (OPENSTACK_VERSIONS in nova/api/metadata/base.py).
const (
	folsom    = "2012-08-10"
	grizzly   = "2013-04-04" // password, random_seed
	havana    = "2013-10-17" // vendor_data.json
	liberty   = "2015-10-15" // network_data.json, project_id
	newtonOne = "2016-06-30" // devices
	newtonTwo = "2016-10-06" // vendor_data2.json
	ocata     = "2017-02-22" // VLAN of devices
	rocky     = "2018-08-27" // trusted virtual functions
	victoria  = "2020-10-14" // dedicated_cpus
)

// OpenStackVersions lists the OpenStack tree's versions, oldest first, without "latest".
func OpenStackVersions() []string {
	return []string{folsom, grizzly, havana, liberty, newtonOne, newtonTwo, ocata, rocky, victoria}
}

// EC2Versions lists the EC2 tree's versions, oldest first, without "latest".
func EC2Versions() []string {
	return []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15",
		"2008-02-01", "2008-09-01", "2009-04-04"}
}

// skippedOnConfigDrive are the EC2 versions that a config drive leaves out: the default of nova's
// config_drive_skip_versions.
func skippedOnConfigDrive() []string {
	return EC2Versions()[:len(EC2Versions())-1]
}

const latest = "latest"

// Interface is one network interface of an instance with what its network says.
type Interface struct {
	Port    nodeapi.Port
	Network nodeapi.Network
}

// Instance is everything that the trees are made of.
type Instance struct {
	Guest nodeapi.Guest
	// Interfaces in the order the guest sees them.
	Interfaces []Interface
	// VendorData is the operator's static vendor data (nova's vendordata_jsonfile_path), a JSON object; nil is {}.
	VendorData json.RawMessage
	// Password is the encrypted administrator password that the guest posted; the service alone has it.
	Password []byte
}

// Interfaces joins a guest's NICs with the ports and networks they name, in the guest's order; a NIC
// whose port or network is not known yet is left out.
func Interfaces(guest nodeapi.Guest, port func(id string) (nodeapi.Port, bool), network func(id string) (nodeapi.Network, bool)) []Interface {
	var all []Interface
	for _, nic := range guest.NICs {
		p, ok := port(nic.PortID)
		if !ok {
			continue
		}
		n, ok := network(p.NetworkID)
		if !ok {
			continue
		}
		all = append(all, Interface{Port: p, Network: n})
	}
	return all
}

// Render returns the files of a config drive, by path: what metadata_for_config_drive yields in
// nova/api/metadata/base.py. AdminPass appears here and never in the service's answers.
func Render(in Instance) map[string][]byte {
	files := map[string][]byte{}
	for _, v := range append(EC2Versions(), latest) {
		if slices.Contains(skippedOnConfigDrive(), v) {
			continue
		}
		tree, _ := in.ec2Tree(v)
		if ud, ok := tree.child("user-data"); ok {
			files["ec2/"+v+"/user-data"] = ud.text
		}
		if md, ok := tree.child("meta-data"); ok {
			files["ec2/"+v+"/meta-data.json"] = md.json()
		}
	}
	for _, v := range append(OpenStackVersions(), latest) {
		dir := "openstack/" + v + "/"
		for _, name := range in.openstackListing(v) {
			if name == passwordFile {
				continue // not a file: the guest posts to it
			}
			files[dir+name], _ = in.openstackFile(v, name, true)
		}
	}
	return files
}

// Answer is what the service says to one GET.
type Answer struct {
	Body []byte
	Type string // media type without parameters
}

// Lookup finds a path of the service. Paths that do not begin with /openstack belong to the EC2 tree, as
// upstream's lookup has it; the password is the HTTP handler's, since it can be posted.
func (in Instance) Lookup(p string) (Answer, bool) {
	tokens := strings.Split(path.Clean("/" + p)[1:], "/")
	switch {
	case tokens[0] == "openstack":
		return in.lookupOpenStack(tokens[1:])
	case tokens[0] == "ec2":
		tokens = tokens[1:]
	case tokens[0] == "":
		tokens = nil
	}
	if len(tokens) == 0 {
		return listing(append(EC2Versions(), latest)), true
	}
	tree, ok := in.ec2Tree(tokens[0])
	if !ok {
		return Answer{}, false
	}
	n, ok := tree.find(tokens[1:])
	if !ok {
		return Answer{}, false
	}
	return Answer{Body: n.print(), Type: "text/plain"}, true
}

func listing(names []string) Answer {
	return Answer{Body: []byte(strings.Join(names, "\n")), Type: "text/plain"}
}

// marshal is JSON without HTML escapes: keys and names reach the guest as they were given.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("metadata: a document that cannot be encoded: " + err.Error()) // our own types only
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
