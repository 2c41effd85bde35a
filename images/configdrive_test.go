package images

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"golang.org/x/crypto/ssh"
)

// configDrive writes an ISO 9660 image with Rock Ridge names, as Nova's config_drive_format=iso9660 gives it.
func configDrive(t *testing.T, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.iso")
	d, err := diskfs.Create(path, 4<<20, diskfs.SectorSize(2048))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: "config-2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Mkdir("openstack/latest"); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		f, err := fs.OpenFile("openstack/latest/"+name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := fs.(*iso9660.FileSystem).Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "config-2"}); err != nil {
		t.Fatal(err)
	}
	return path
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// newKey makes a key pair and its authorized_keys line.
func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " test@house"
}

// TestConfigDrive boots without a metadata service, one interface static and one with QEMU's built-in DHCP server: all that the guest knows it knows from the drive, and all
// that the test knows it reads on the console, where the user data prints it.
func TestConfigDrive(t *testing.T) {
	t.Parallel()
	image(t)
	_, key := newKey(t)
	userData := strings.ReplaceAll(`Content-Type: multipart/mixed; boundary="==abc=="
MIME-Version: 1.0

--==abc==
Content-Type: text/cloud-config; charset="us-ascii"

#cloud-config
fqdn: other.example.org
hostname: other
ssh_authorized_keys:
- ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000 second
write_files:
  - path: /etc/house/plan.txt
    permissions: '0640'
    content: |
      first "line"
        second\tline # kept
  - {ignored: flow maps}
  - path: /etc/house/coded
    encoding: b64
    content: "aGVsbG8K"
runcmd:
  - echo "runcmd one: $(cat /etc/house/coded)"
  - [ echo, "runcmd two:", 'it''s  fine' ]
package_update: true

--==abc==
Content-Type: text/x-shellscript

#!/bin/sh
echo "host=$(hostname) keys=$(wc -l < /home/hanok/.ssh/authorized_keys) root=$(wc -l < /root/.ssh/authorized_keys)"
echo "plan=$(stat -c %a /etc/house/plan.txt) $(md5sum < /etc/house/plan.txt)"
echo "mib=$(df -m / | awk 'NR == 2 { print $2 }')"
echo "addr=$(ip -4 -o addr show eth0 | awk '{ print $4 }') mtu=$(cat /sys/class/net/eth0/mtu) via=$(ip route show default dev eth0 | awk '{ print $3 }')"
echo "addr1=$(ip -4 -o addr show eth1 | awk '{ print $4 }')"
echo "addr6=$(ip -6 -o addr show eth0 scope global | awk '{ print $4 }')"
echo "dns=$(awk '{ print $2 }' /etc/resolv.conf | xargs)"
echo "drive=$(blkid -L config-2 -o device) user=$(sudo -u hanok blkid -L config-2 -o device)"
exit 7
--==abc==--
`, "\n", "\r\n")
	drive := configDrive(t, map[string]string{
		"meta_data.json": toJSON(t, map[string]any{
			"uuid": "0b5d4c6e-1111-4222-8333-444455556666", "hostname": "house.novalocal", "name": "house \"한옥\"",
			"public_keys": map[string]string{"my.key": key + "\n"}, "random_seed": "c2VlZA==",
		}),
		"network_data.json": toJSON(t, map[string]any{
			"links": []any{map[string]any{"id": "tap1", "type": "ovs", "mtu": 1400, "ethernet_mac_address": "FA:16:3e:00:00:01", "vif_id": "x"},
				map[string]any{"id": "tap2", "type": "ovs", "mtu": nil, "ethernet_mac_address": "fa:16:3e:00:00:04", "vif_id": "y"}},
			"networks": []any{
				map[string]any{"id": "network0", "type": "ipv4", "link": "tap1", "ip_address": "10.7.0.5", "netmask": "255.255.240.0",
					"routes": []any{map[string]any{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.7.0.1"}}},
				map[string]any{"id": "network2", "type": "ipv4_dhcp", "link": "tap2"},
				map[string]any{"id": "network1", "type": "ipv6", "link": "tap1", "ip_address": "fd00::5", "netmask": "ffff:ffff:ffff:ffff::"},
			},
			"services": []any{map[string]any{"type": "dns", "address": "10.7.0.2"}},
		}),
		"user_data": userData,
	})
	g := boot(t, 96, "2G",
		"-drive", "file="+drive+",if=none,id=cd,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=cd",
		"-netdev", "hubport,hubid=1,id=n0", "-device", "virtio-net-pci,netdev=n0,mac=fa:16:3e:00:00:01,romfile=",
		"-netdev", "user,id=n1,restrict=on", "-device", "virtio-net-pci,netdev=n1,mac=fa:16:3e:00:00:04,romfile=")
	g.waitConsole(t, `hanok-guest: user data 001 ended with status`, 0)
	g.waitConsole(t, `login: `, 0)
	text := g.text()
	for _, want := range []string{
		"hanok-guest: metadata from the config drive /dev/vdb: instance 0b5d4c6e-1111-4222-8333-444455556666, host name other, 1 key(s)\n",
		"hanok-guest: eth0: address 10.7.0.5/20 as network_data.json says\n",
		"-----BEGIN SSH HOST KEY FINGERPRINTS-----\n256 SHA256:",
		"root@other (ED25519)\n-----END SSH HOST KEY FINGERPRINTS-----\n",
		`hanok-guest: cloud-config: "package_update" is not supported by this small guest`,
		"host=other keys=2 root=2\n",
		// The sum of what write_files gives; the backslash in it is one, as literal blocks have no escapes.
		"plan=640 5f10fd019a2570eae7765c38a93c09b1  -\n",
		"addr=10.7.0.5/20 mtu=1400 via=10.7.0.1\n",
		"addr6=fd00::5/64\n",
		"addr1=10.0.2.15/24\n",
		"dns=10.7.0.2\n",
		"drive=/dev/vdb user=/dev/vdb\n",
		"runcmd one: hello\n",
		"runcmd two: it's  fine\n",
		"ended with status 7\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the console does not show %q", want)
		}
	}
	if m := g.waitConsole(t, `mib=(\d+)`, 0); len(m[1]) < 4 {
		t.Errorf("the root file system of the 2 GiB disk has %s MiB", m[1])
	}
	t.Logf("login prompt after %v of CPU time", g.cpu())
}
