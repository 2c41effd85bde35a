package metadata

import (
	"encoding/base64"
	"encoding/json"
	"slices"
)

// Files of the OpenStack tree.
const (
	metaDataFile    = "meta_data.json"
	userDataFile    = "user_data"
	passwordFile    = "password"
	vendorDataFile  = "vendor_data.json"
	networkDataFile = "network_data.json"
	vendorData2File = "vendor_data2.json"
)

type metaData struct {
	UUID             string            `json:"uuid"`
	Meta             map[string]string `json:"meta,omitempty"`
	AdminPass        string            `json:"admin_pass,omitempty"`
	PublicKeys       map[string]string `json:"public_keys,omitempty"`
	Keys             []metaKey         `json:"keys,omitempty"`
	Hostname         string            `json:"hostname"`
	Name             string            `json:"name"`
	LaunchIndex      int               `json:"launch_index"`
	AvailabilityZone string            `json:"availability_zone"`
	RandomSeed       string            `json:"random_seed,omitempty"`
	ProjectID        *string           `json:"project_id,omitempty"`
	Devices          *[]metaDevice     `json:"devices,omitempty"`
	DedicatedCPUs    *[]int            `json:"dedicated_cpus,omitempty"`
}

type metaKey struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

// metaDevice is a tagged device. The bus address is not known to the control plane, so it is "none", as
// upstream says where its driver did not record one.
type metaDevice struct {
	VFTrusted *bool    `json:"vf_trusted,omitempty"`
	Type      string   `json:"type"`
	MAC       string   `json:"mac"`
	Bus       string   `json:"bus"`
	Address   string   `json:"address"`
	Tags      []string `json:"tags"`
}

// resolveVersion turns latest into the newest version.
func resolveVersion(v string) (string, bool) {
	all := OpenStackVersions()
	if v == latest {
		return all[len(all)-1], true
	}
	return v, slices.Contains(all, v)
}

func (in Instance) lookupOpenStack(tokens []string) (Answer, bool) {
	if len(tokens) == 0 {
		return listing(append(OpenStackVersions(), latest)), true
	}
	v, ok := resolveVersion(tokens[0])
	if !ok {
		return Answer{}, false
	}
	switch len(tokens) {
	case 1:
		return listing(in.openstackListing(v)), true
	case 2:
		// upstream has a route of this name; it answers what the directory does
		if tokens[1] == "version" {
			return listing(in.openstackListing(v)), true
		}
		if body, ok := in.openstackFile(v, tokens[1], false); ok {
			return Answer{Body: body, Type: mediaType(tokens[1])}, true
		}
	}
	return Answer{}, false
}

// mediaType follows upstream, which serves network_data.json as plain text.
func mediaType(name string) string {
	switch name {
	case metaDataFile, vendorDataFile, vendorData2File:
		return "application/json"
	}
	return "text/plain"
}

// openstackListing is what a version holds, in upstream's order.
func (in Instance) openstackListing(v string) []string {
	v, _ = resolveVersion(v)
	names := []string{metaDataFile}
	if len(in.Guest.Metadata.UserData) > 0 {
		names = append(names, userDataFile)
	}
	for _, f := range []struct{ since, name string }{
		{grizzly, passwordFile}, {havana, vendorDataFile}, {liberty, networkDataFile}, {newtonTwo, vendorData2File},
	} {
		if v >= f.since {
			names = append(names, f.name)
		}
	}
	return names
}

// openstackFile is one file of a version. On the drive the administrator's password is part of meta_data.json.
// network_data.json is served in every version although only newer ones list it, as upstream does.
func (in Instance) openstackFile(v, name string, drive bool) ([]byte, bool) {
	v, _ = resolveVersion(v)
	switch {
	case name == metaDataFile:
		return marshal(in.metaData(v, drive)), true
	case name == userDataFile && len(in.Guest.Metadata.UserData) > 0:
		return in.Guest.Metadata.UserData, true
	case name == networkDataFile:
		return marshal(in.networkData()), true
	case name == vendorDataFile && v >= havana:
		return in.vendorData(), true
	case name == vendorData2File && v >= newtonTwo:
		return marshal(struct {
			Static json.RawMessage `json:"static"`
		}{in.vendorData()}), true
	}
	return nil, false
}

func (in Instance) vendorData() json.RawMessage {
	if in.VendorData == nil {
		return json.RawMessage("{}")
	}
	return in.VendorData
}

func (in Instance) metaData(v string, drive bool) metaData {
	md := in.Guest.Metadata
	out := metaData{
		UUID: in.Guest.ID, Meta: md.Meta, Hostname: md.Hostname, Name: md.DisplayName,
		LaunchIndex: md.LaunchIndex, AvailabilityZone: md.AvailabilityZone,
	}
	if drive {
		out.AdminPass = md.AdminPass
	}
	for _, k := range md.Keys {
		if out.PublicKeys == nil {
			out.PublicKeys = map[string]string{}
		}
		out.PublicKeys[k.Name] = k.Data
		out.Keys = append(out.Keys, metaKey{Name: k.Name, Type: k.Type, Data: k.Data})
	}
	if v >= grizzly && len(md.RandomSeed) > 0 {
		out.RandomSeed = base64.StdEncoding.EncodeToString(md.RandomSeed)
	}
	if v >= liberty {
		out.ProjectID = &md.ProjectID
	}
	if v >= newtonOne {
		d := in.devices(v)
		out.Devices = &d
	}
	if v >= victoria {
		out.DedicatedCPUs = &[]int{}
	}
	return out
}

func (in Instance) devices(v string) []metaDevice {
	all := []metaDevice{}
	for _, nic := range in.Guest.NICs {
		if nic.Tag == "" {
			continue
		}
		d := metaDevice{Type: "nic", MAC: nic.MAC, Bus: "none", Address: "none", Tags: []string{nic.Tag}}
		if v >= rocky {
			d.VFTrusted = new(bool)
		}
		all = append(all, d)
	}
	return all
}
