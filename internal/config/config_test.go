package config

import (
	"os"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	c, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Settings()); n > 30 {
		t.Errorf("%d settings; at most 30", n)
	}
	for _, s := range c.Settings() {
		if s.Doc == "" || s.Default != s.Value {
			t.Errorf("%s.%s: doc %q, default %s, value %s", s.Section, s.Name, s.Doc, s.Default, s.Value)
		}
	}
	if _, err := Parse([]byte(c.Explain())); err != nil {
		t.Errorf("what `config explain` prints must be a valid file: %v", err)
	}
}

func TestWrongSettingsAreRefusedWithTheirLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown setting", "[api]\n\nlisten_on = 1\n", "3: unknown setting api.listen_on"},
		{"unknown section", "[apo]\nx = 1\n", "1: unknown setting apo"},
		{"wrong type", "[compute]\ncpu_allocation_ratio = \"x\"\n", "2: compute.cpu_allocation_ratio: expects number, such as 4.0"},
		{"one instead of several", "[api]\nlisten = 5\n", "2: api.listen: expects list of text, such as [\"127.0.0.1:8780\"]"},
		{"fraction", "[quota]\n\ncores = 1.5\n", "3: quota.cores: expects whole number, such as 20"},
		{"not TOML", "[api\n", "1:"},
		{"wrong value", "# c\n[log]\nlevel = \"loud\"\n", "3: log.level: \"loud\" is not debug"},
		{"name as host", "[api]\nlisten = [\"cloud:80\"]\n", "2: api.listen: \"cloud:80\": the host must be an IP address"},
		{"mapping", "[linux_bridge]\nphysical_interface_mappings = [\"eth1\"]\n", "2: linux_bridge.physical_interface_mappings: \"eth1\" is not"},
		{"local_ip", "[vxlan]\nlocal_ip = \"x\"\n", "2: vxlan.local_ip:"},
		{"quota", "[quota]\ncores = -2\n", "2: quota.cores:"},
		{"certificate without key", "[api]\ntls_cert = \"/x\"\n", "2: api.tls_cert: tls_cert and tls_key go together"},
		{"endpoint with a path", "[api]\nendpoint = \"http://h/x\"\n", "2: api.endpoint:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s…", err, c.want)
			}
		})
	}
}

func TestReferencePageIsCurrent(t *testing.T) {
	b, err := os.ReadFile("../../docs/config.md")
	if err != nil || string(b) != Reference() {
		t.Errorf("docs/config.md is not what `hanok config reference` prints (%v)", err)
	}
}

func TestEndpoint(t *testing.T) {
	for listen, want := range map[string]string{"127.0.0.1:80": "http://127.0.0.1:80", "10.0.0.11:8443": "https://10.0.0.11:8443", "[::1]:80": "http://[::1]:80"} {
		c := Default()
		c.API.Listen = []string{listen}
		if got := c.Endpoint(); got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
	}
}
