package metadata

import (
	"encoding/json"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

func web() Instance {
	return Instance{
		Guest: nodeapi.Guest{
			ID: "6c1f0a52-0000-4000-8000-000000000001", Name: "instance-0000002a", EphemeralGiB: 1, SwapMiB: 64,
			NICs: []nodeapi.NIC{{PortID: "aaaaaaaa-bbbb-4000-8000-000000000001", MAC: "fa:16:3e:00:00:01", Tag: "front"}},
			Metadata: nodeapi.Metadata{
				Hostname: "web.novalocal", DisplayName: "web & co", AvailabilityZone: "nova", ProjectID: "p1", LaunchIndex: 1,
				Meta: map[string]string{"role": "front"}, Keys: []nodeapi.MetadataKey{{Name: "k", Type: "ssh", Data: "ssh-ed25519 AAAA me"}},
				UserData: []byte("#!/bin/sh\n"), AdminPass: "s3cret", RandomSeed: []byte{1, 2, 3}, ReservationID: "r-1",
				InstanceType: "m1.tiny", ImageID: "0badcafe-0000-4000-8000-000000000009", SecurityGroups: []string{"default", "web"},
				PublicIPv4: "203.0.113.7",
			},
		},
		Interfaces: []Interface{{
			Port: nodeapi.Port{ID: "aaaaaaaa-bbbb-4000-8000-000000000001", MAC: "fa:16:3e:00:00:01",
				FixedIPs: []nodeapi.FixedIP{{SubnetID: "s4", IP: "10.0.0.5"}, {SubnetID: "s6", IP: "fd00::5"}}},
			Network: nodeapi.Network{ID: "n1", MTU: 1450, Subnets: []nodeapi.Subnet{
				{ID: "s4", CIDR: "10.0.0.0/24", GatewayIP: "10.0.0.1", DNS: []string{"192.0.2.53"},
					HostRoutes: []nodeapi.Route{{Destination: "192.168.0.0/16", NextHop: "10.0.0.9"}}},
				{ID: "s6", CIDR: "fd00::/64", GatewayIP: "fd00::1", IPv6AddressMode: "slaac"},
			}},
		}},
	}
}

func TestLookup(t *testing.T) {
	in := web()
	for path, want := range map[string]string{
		"/":                                               "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n2009-04-04\nlatest",
		"/openstack":                                      "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n2018-08-27\n2020-10-14\nlatest",
		"/openstack/latest":                               "meta_data.json\nuser_data\npassword\nvendor_data.json\nnetwork_data.json\nvendor_data2.json",
		"/openstack/2012-08-10/":                          "meta_data.json\nuser_data",
		"/openstack/latest/user_data":                     "#!/bin/sh\n",
		"/openstack/latest/vendor_data.json":              "{}",
		"/openstack/latest/vendor_data2.json":             `{"static":{}}`,
		"/openstack/2012-08-10/vendor_data.json":          "404",
		"/openstack/2099-01-01":                           "404",
		"/openstack/latest/content/0000":                  "404",
		"/latest":                                         "meta-data/\nuser-data",
		"/latest/user-data":                               "#!/bin/sh\n",
		"/2009-04-04/meta-data/instance-id":               "i-0000002a",
		"/ec2/latest/meta-data/ami-id":                    "ami-0badcafe",
		"/latest/meta-data/public-keys/":                  "0=k",
		"/latest/meta-data/public-keys/0/":                "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":     "ssh-ed25519 AAAA me",
		"/latest/meta-data/local-ipv4":                    "10.0.0.5",
		"/latest/meta-data/public-ipv4":                   "203.0.113.7",
		"/latest/meta-data/security-groups":               "default\nweb",
		"/latest/meta-data/block-device-mapping/":         "ami\nephemeral0\nroot\nswap",
		"/latest/meta-data/block-device-mapping/swap":     "/dev/vdc",
		"/latest/meta-data/placement/availability-zone":   "nova",
		"/1.0/meta-data/placement":                        "404",
		"/latest/meta-data/hostname/deeper":               "404",
		"/latest/api/token":                               "404",
		"/latest/meta-data/../meta-data/ami-launch-index": "1",
		"/2009-04-04/meta-data/":                          "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nhostname\ninstance-action\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nplacement/\npublic-hostname\npublic-ipv4\npublic-keys/\nreservation-id\nsecurity-groups",
		"/openstack/2015-10-15/network_data.json":         networkJSON,
		"/openstack/2012-08-10/meta_data.json":            `{"uuid":"6c1f0a52-0000-4000-8000-000000000001","meta":{"role":"front"},"public_keys":{"k":"ssh-ed25519 AAAA me"},"keys":[{"name":"k","type":"ssh","data":"ssh-ed25519 AAAA me"}],"hostname":"web.novalocal","name":"web & co","launch_index":1,"availability_zone":"nova"}`,
		"/openstack/latest/meta_data.json":                `{"uuid":"6c1f0a52-0000-4000-8000-000000000001","meta":{"role":"front"},"public_keys":{"k":"ssh-ed25519 AAAA me"},"keys":[{"name":"k","type":"ssh","data":"ssh-ed25519 AAAA me"}],"hostname":"web.novalocal","name":"web & co","launch_index":1,"availability_zone":"nova","random_seed":"AQID","project_id":"p1","devices":[{"vf_trusted":false,"type":"nic","mac":"fa:16:3e:00:00:01","bus":"none","address":"none","tags":["front"]}],"dedicated_cpus":[]}`,
	} {
		a, ok := in.Lookup(path)
		got := string(a.Body)
		if !ok {
			got = "404"
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", path, d)
		}
	}
}

const networkJSON = `{"links":[{"id":"tapaaaaaaaa-bb","vif_id":"aaaaaaaa-bbbb-4000-8000-000000000001","type":"bridge","mtu":1450,"ethernet_mac_address":"fa:16:3e:00:00:01"}],` +
	`"networks":[{"id":"network0","type":"ipv4","link":"tapaaaaaaaa-bb","ip_address":"10.0.0.5","netmask":"255.255.255.0","routes":[{"network":"0.0.0.0","netmask":"0.0.0.0","gateway":"10.0.0.1"},{"network":"192.168.0.0","netmask":"255.255.0.0","gateway":"10.0.0.9"}],"network_id":"n1","services":[{"type":"dns","address":"192.0.2.53"}]},` +
	`{"id":"network1","type":"ipv6_slaac","link":"tapaaaaaaaa-bb","ip_address":"fd00::5","netmask":"ffff:ffff:ffff:ffff::","routes":[{"network":"::","netmask":"::","gateway":"fd00::1"}],"network_id":"n1","services":[]}],"services":[{"type":"dns","address":"192.0.2.53"}]}`

func TestNetworkDataWithDHCP(t *testing.T) {
	in := web()
	in.Interfaces[0].Network.Subnets[0].EnableDHCP = true
	in.Interfaces[0].Port.FixedIPs = in.Interfaces[0].Port.FixedIPs[:1]
	want := `{"links":[{"id":"tapaaaaaaaa-bb","vif_id":"aaaaaaaa-bbbb-4000-8000-000000000001","type":"bridge","mtu":null,"ethernet_mac_address":"fa:16:3e:00:00:01"}],` +
		`"networks":[{"id":"network0","type":"ipv4_dhcp","link":"tapaaaaaaaa-bb","network_id":"n1"}],"services":[{"type":"dns","address":"192.0.2.53"}]}`
	if d := cmp.Diff(want, string(marshal(in.networkData()))); d != "" {
		t.Error(d)
	}
}

func TestRender(t *testing.T) {
	files := Render(web())
	var names []string
	for n := range files {
		if strings.HasPrefix(n, "ec2/") || strings.HasPrefix(n, "openstack/latest/") || strings.HasPrefix(n, "openstack/2012") {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	want := []string{
		"ec2/2009-04-04/meta-data.json", "ec2/2009-04-04/user-data", "ec2/latest/meta-data.json", "ec2/latest/user-data",
		"openstack/2012-08-10/meta_data.json", "openstack/2012-08-10/user_data",
		"openstack/latest/meta_data.json", "openstack/latest/network_data.json", "openstack/latest/user_data",
		"openstack/latest/vendor_data.json", "openstack/latest/vendor_data2.json",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	var md struct {
		AdminPass string `json:"admin_pass"`
	}
	if err := json.Unmarshal(files["openstack/latest/meta_data.json"], &md); err != nil || md.AdminPass != "s3cret" {
		t.Errorf("admin_pass on the drive: %q, %v", md.AdminPass, err)
	}
	if a, _ := web().Lookup("/openstack/latest/meta_data.json"); strings.Contains(string(a.Body), "s3cret") {
		t.Error("the service hands out the administrator's password")
	}
	var ec2 map[string]any
	if err := json.Unmarshal(files["ec2/latest/meta-data.json"], &ec2); err != nil || ec2["ami-launch-index"] != 1.0 {
		t.Errorf("ec2: %v %v", ec2["ami-launch-index"], err)
	}
}

// FuzzLookup: whatever path a guest asks for, there is an answer or none.
func FuzzLookup(f *testing.F) {
	for _, p := range []string{"/", "/openstack/latest/meta_data.json", "/latest/meta-data/public-keys/0/openssh-key", "//..//openstack/./", "/ec2/\x00/%2e"} {
		f.Add(p)
	}
	in := web()
	f.Fuzz(func(t *testing.T, path string) {
		a, ok := in.Lookup(path)
		if ok && a.Type == "" {
			t.Errorf("%q: an answer without a type", path)
		}
		if strings.Contains(string(a.Body), in.Guest.Metadata.AdminPass) {
			t.Errorf("%q: hands out the administrator's password", path)
		}
	})
}
