// Package config is the one configuration file: its settings with their defaults and explanations, reading and checking it.
// It must not know what the settings are used for.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Config is the file. The tags are the settings' reference: `toml` names, `default` as written in TOML, `doc` explains.
type Config struct {
	API struct {
		Endpoint       string   `toml:"endpoint" default:"\"\"" doc:"Where clients reach the cloud, such as https://cloud.example.com:8443. Stands in the catalog and in links. Empty: the first listen address."`
		Listen         []string `toml:"listen" default:"[\"127.0.0.1:8780\"]" doc:"Addresses to serve on. Loopback may be plain HTTP; any other address is served with TLS."`
		TLSCert        string   `toml:"tls_cert" default:"\"\"" doc:"Certificate chain file (PEM). Empty: made by the cloud's own CA, whose certificate is pki/ca.pem in the data folder."`
		TLSKey         string   `toml:"tls_key" default:"\"\"" doc:"Private key file (PEM) for tls_cert."`
		TrustedProxies []string `toml:"trusted_proxies" default:"[]" doc:"Networks (CIDR) of reverse proxies whose X-Forwarded-Proto and X-Forwarded-Host are believed."`
		ClassicPorts   bool     `toml:"classic_ports" default:"false" doc:"Also serve each API at / of its classic port (5000, 8774, 8778, 9292, 9696) on the listen addresses' hosts."`
		Region         string   `toml:"region" default:"\"RegionOne\"" doc:"Name of the region in the catalog. Fixed at the first start."`
	} `toml:"api"`
	Database struct {
		URL string `toml:"url" default:"\"\"" doc:"postgres://user@host/name, or sqlite:/path. Empty: SQLite at hanok.db in the data folder."`
	} `toml:"database"`
	Data struct {
		Folder string `toml:"folder" default:"\"/var/lib/hanok\"" doc:"Where everything that must survive lives: database, keys, images, disks."`
	} `toml:"data"`
	Node struct {
		Name       string `toml:"name" default:"\"\"" doc:"Name of this node, as in the hypervisor list. Empty: the host name. Fixed once guests run on it."`
		QEMUUser   string `toml:"qemu_user" default:"\"hanok-qemu\"" doc:"System user that guests run as; made when missing."`
		ResumeBoot bool   `toml:"resume_guests_state_on_host_boot" default:"true" doc:"Start the guests that ran when the node reboots or loses power (upstream's option of that name)."`
	} `toml:"node"`
	LinuxBridge struct {
		PhysicalInterfaceMappings []string `toml:"physical_interface_mappings" default:"[\"provider:hanok-provider\"]" doc:"physical_network:interface pairs: which interface reaches which provider network. hanok-provider is made by hanok itself, with the host as its gateway."`
	} `toml:"linux_bridge"`
	VXLAN struct {
		EnableVXLAN  bool   `toml:"enable_vxlan" default:"true" doc:"Self-service networks over VXLAN."`
		LocalIP      string `toml:"local_ip" default:"\"\"" doc:"This node's address on the network that carries VXLAN. Empty: self-service networks end at this node."`
		L2Population bool   `toml:"l2_population" default:"true" doc:"Fill in forwarding and neighbour entries instead of flooding."`
	} `toml:"vxlan"`
	Network struct {
		MTU int `toml:"global_physnet_mtu" default:"1500" doc:"MTU of the physical networks. VXLAN networks get 50 less."`
	} `toml:"network"`
	Compute struct {
		CPURatio       float64 `toml:"cpu_allocation_ratio" default:"4.0" doc:"Virtual CPUs handed out per real one."`
		RAMRatio       float64 `toml:"ram_allocation_ratio" default:"1.0" doc:"Memory handed out per real memory."`
		DiskRatio      float64 `toml:"disk_allocation_ratio" default:"1.0" doc:"Disk handed out per real disk."`
		ReservedMemory int64   `toml:"reserved_host_memory_mb" default:"512" doc:"Memory kept for the host, in MiB."`
	} `toml:"compute"`
	Quota struct {
		Instances      int `toml:"instances" default:"10" doc:"Servers per project. -1 here and below: no limit."`
		Cores          int `toml:"cores" default:"20" doc:"Virtual CPUs per project."`
		RAM            int `toml:"ram" default:"51200" doc:"Memory per project, in MiB."`
		Networks       int `toml:"network" default:"100" doc:"Networks per project; subnets are limited to the same number."`
		Ports          int `toml:"port" default:"500" doc:"Ports per project."`
		FloatingIPs    int `toml:"floatingip" default:"50" doc:"Floating IPs per project."`
		SecurityGroups int `toml:"security_group" default:"10" doc:"Security groups per project; rules are limited to ten times as many."`
	} `toml:"quota"`
	Retention struct {
		Days int `toml:"days" default:"30" doc:"How long deleted servers, their actions, the event log and the audit log stay readable."`
	} `toml:"retention"`
	Log struct {
		Level string `toml:"level" default:"\"info\"" doc:"debug, info, warn or error."`
	} `toml:"log"`
}

// Setting is one setting of the reference.
type Setting struct {
	Section, Name, Type, Default, Doc string
	// Value is what it is set to, in TOML.
	Value string
}

// Settings lists all settings of c in the file's order.
func (c *Config) Settings() []Setting {
	var out []Setting
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		section := v.Type().Field(i)
		for j := range section.Type.NumField() {
			f := section.Type.Field(j)
			out = append(out, Setting{
				Section: section.Tag.Get("toml"), Name: f.Tag.Get("toml"), Type: typeName(f.Type),
				Default: f.Tag.Get("default"), Doc: f.Tag.Get("doc"), Value: tomlValue(v.Field(i).Field(j)),
			})
		}
	}
	return out
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "list of text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "whole number"
	case reflect.Float64:
		return "number"
	}
	return "text"
}

func tomlValue(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = strconv.Quote(v.Index(i).String())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	return fmt.Sprint(v.Interface())
}

// Default is the configuration of an empty file.
func Default() *Config {
	var c Config
	var b strings.Builder
	section := ""
	for _, s := range c.Settings() {
		if s.Section != section {
			section = s.Section
			fmt.Fprintf(&b, "[%s]\n", section)
		}
		fmt.Fprintf(&b, "%s = %s\n", s.Name, s.Default)
	}
	if err := toml.Unmarshal([]byte(b.String()), &c); err != nil {
		panic("defaults of the configuration: " + err.Error())
	}
	return &c
}

// Load reads the file. A missing file is the default configuration only when optional.
func Load(path string, optional bool) (*Config, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && optional {
		return Default(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return c, nil
}

// Parse reads a file's text. Errors start with the line: "12: unknown setting …".
func Parse(text []byte) (*Config, error) {
	c := Default()
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) && len(strict.Errors) > 0 {
			e := strict.Errors[0]
			row, _ := e.Position()
			return nil, fmt.Errorf("%d: unknown setting %s; `hanok config explain` lists all settings", row, strings.Join(e.Key(), "."))
		}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			row, _ := de.Position()
			key := strings.Join(de.Key(), ".")
			for _, s := range c.Settings() {
				if key == s.Section+"."+s.Name { // it can be read, and is of another type
					return nil, fmt.Errorf("%d: %s: expects %s, such as %s", row, key, s.Type, s.Default)
				}
			}
			return nil, fmt.Errorf("%d: %s: %s", row, key, strings.TrimPrefix(de.Error(), "toml: "))
		}
		return nil, fmt.Errorf("1: %w", err)
	}
	if key, err := c.check(); err != nil {
		return nil, fmt.Errorf("%d: %s: %w", lineOf(text, key), key, err)
	}
	return c, nil
}

// lineOf finds the line of section.name, or 1.
func lineOf(text []byte, key string) int {
	section, name, _ := strings.Cut(key, ".")
	current := ""
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			current = strings.Trim(strings.SplitN(line, "]", 2)[0], "[ ")
		}
		k, _, ok := strings.Cut(line, "=")
		k = strings.TrimSpace(k)
		if ok && (current == section && k == name || current == "" && k == key) {
			return i + 1
		}
	}
	return 1
}

// check finds the first setting with a wrong value.
func (c *Config) check() (key string, err error) {
	if len(c.API.Listen) == 0 {
		return "api.listen", errors.New("needs at least one address")
	}
	for _, l := range c.API.Listen {
		host, port, err := net.SplitHostPort(l)
		if err != nil {
			return "api.listen", fmt.Errorf("%q is not host:port", l)
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
			return "api.listen", fmt.Errorf("%q: the host must be an IP address", l)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return "api.listen", fmt.Errorf("%q: the port must be a number up to 65535", l)
		}
	}
	if c.API.Endpoint != "" {
		u, err := url.Parse(c.API.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return "api.endpoint", fmt.Errorf("%q is not like https://host:port", c.API.Endpoint)
		}
	}
	if (c.API.TLSCert == "") != (c.API.TLSKey == "") {
		return "api.tls_cert", errors.New("tls_cert and tls_key go together")
	}
	for _, p := range c.API.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			return "api.trusted_proxies", fmt.Errorf("%q is not a network such as 10.0.0.0/24", p)
		}
	}
	if c.API.Region == "" {
		return "api.region", errors.New("must not be empty")
	}
	if u := c.Database.URL; u != "" && !strings.HasPrefix(u, "sqlite:") && !strings.HasPrefix(u, "postgres://") && !strings.HasPrefix(u, "postgresql://") {
		return "database.url", errors.New("must start with sqlite: or postgres://")
	}
	if !strings.HasPrefix(c.Data.Folder, "/") {
		return "data.folder", errors.New("must be an absolute path")
	}
	for _, m := range c.LinuxBridge.PhysicalInterfaceMappings {
		if n, i, ok := strings.Cut(m, ":"); !ok || n == "" || i == "" || len(i) > 15 {
			return "linux_bridge.physical_interface_mappings", fmt.Errorf("%q is not physical_network:interface", m)
		}
	}
	if ip := c.VXLAN.LocalIP; ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			return "vxlan.local_ip", fmt.Errorf("%q is not an IP address", ip)
		}
	}
	if c.Network.MTU < 1280 || c.Network.MTU > 9216 {
		return "network.global_physnet_mtu", errors.New("must be 1280 to 9216")
	}
	for name, r := range map[string]float64{"cpu_allocation_ratio": c.Compute.CPURatio, "ram_allocation_ratio": c.Compute.RAMRatio, "disk_allocation_ratio": c.Compute.DiskRatio} {
		if r <= 0 || r > 100 {
			return "compute." + name, errors.New("must be above 0 and at most 100")
		}
	}
	if c.Compute.ReservedMemory < 0 {
		return "compute.reserved_host_memory_mb", errors.New("must not be negative")
	}
	for _, s := range c.Settings() {
		if n, err := strconv.Atoi(s.Value); s.Section == "quota" && err == nil && n < -1 {
			return "quota." + s.Name, errors.New("must be -1 or more")
		}
	}
	if c.Retention.Days < 1 {
		return "retention.days", errors.New("must be at least 1")
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		return "log.level", fmt.Errorf("%q is not debug, info, warn or error", c.Log.Level)
	}
	return "", nil
}

// Endpoint is the public endpoint without a final slash.
func (c *Config) Endpoint() string {
	if c.API.Endpoint != "" {
		return strings.TrimRight(c.API.Endpoint, "/")
	}
	scheme := "https"
	if Loopback(c.API.Listen[0]) {
		scheme = "http"
	}
	return scheme + "://" + c.API.Listen[0]
}

// Loopback tells whether a listen address is reachable from this machine alone.
func Loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Mappings is physical_interface_mappings as a map.
func (c *Config) Mappings() map[string]string {
	m := map[string]string{}
	for _, s := range c.LinuxBridge.PhysicalInterfaceMappings {
		n, i, _ := strings.Cut(s, ":")
		m[n] = i
	}
	return m
}

// DatabaseURL is the database's URL with the default filled in.
func (c *Config) DatabaseURL() string {
	if c.Database.URL != "" {
		return c.Database.URL
	}
	return "sqlite:" + c.Data.Folder + "/hanok.db"
}

// Explain writes the reference of all settings with their present values, as `hanok config explain` prints it.
func (c *Config) Explain() string {
	var b strings.Builder
	section := ""
	for _, s := range c.Settings() {
		if s.Section != section {
			section = s.Section
			fmt.Fprintf(&b, "[%s]\n", section)
		}
		fmt.Fprintf(&b, "# %s (%s; default %s)\n%s = %s\n\n", s.Doc, s.Type, s.Default, s.Name, s.Value)
	}
	return b.String()
}

// Reference is docs/config.md.
func Reference() string {
	var b strings.Builder
	b.WriteString("<!-- Generated by `hanok config reference`; do not edit. -->\n# Settings\n\n" +
		"One file in TOML, `/etc/hanok/hanok.toml` unless `--config` names another. An unknown or wrong setting is refused with its line.\n" +
		"`hanok config explain` prints this with the values in force.\n")
	section := ""
	for _, s := range Default().Settings() {
		if s.Section != section {
			section = s.Section
			fmt.Fprintf(&b, "\n## [%s]\n\n| setting | type | default | meaning |\n|---|---|---|---|\n", section)
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", s.Name, s.Type, s.Default, s.Doc)
	}
	return b.String()
}
