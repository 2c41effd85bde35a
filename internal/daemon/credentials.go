package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hanok-cloud/hanok/internal/demo"
	"github.com/hanok-cloud/hanok/internal/pki"
)

// Access is what a client needs to know of the cloud.
type Access struct {
	AuthURL, User, Password, Project, Region, CACert string
}

// Env is a shell file that sets the OS_* variables.
func (a Access) Env() string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"OS_AUTH_URL", a.AuthURL}, {"OS_IDENTITY_API_VERSION", "3"}, {"OS_USERNAME", a.User}, {"OS_PASSWORD", a.Password},
		{"OS_PROJECT_NAME", a.Project}, {"OS_USER_DOMAIN_NAME", "Default"}, {"OS_PROJECT_DOMAIN_NAME", "Default"},
		{"OS_REGION_NAME", a.Region}, {"OS_INTERFACE", "public"}, {"OS_CACERT", a.CACert},
	} {
		if kv[1] != "" {
			fmt.Fprintf(&b, "export %s=%s\n", kv[0], kv[1])
		}
	}
	return b.String()
}

// cloudYAML is one entry of clouds.yaml.
func (a Access) cloudYAML(name string) string {
	s := fmt.Sprintf(`  %s:
    auth:
      auth_url: %s
      username: %s
      password: %s
      project_name: %s
      user_domain_name: Default
      project_domain_name: Default
    region_name: %s
    interface: public
    identity_api_version: 3
`, name, a.AuthURL, a.User, a.Password, a.Project, a.Region)
	if a.CACert != "" {
		s += "    cacert: " + a.CACert + "\n"
	}
	return s
}

// writeAccess writes openrc (the admin's) and clouds.yaml (hanok-admin and, once there is a demo user, hanok). Both are for root alone.
func (p Paths) writeAccess(admin Access, demoPassword string) error {
	if err := pki.WriteFile(p.OpenRC(), []byte(admin.Env()), 0o600); err != nil {
		return err
	}
	text := "clouds:\n" + admin.cloudYAML("hanok-admin")
	if demoPassword != "" {
		d := admin
		d.User, d.Project, d.Password = demo.User, demo.Project, demoPassword
		text += d.cloudYAML("hanok")
	}
	return pki.WriteFile(p.CloudsYAML(), []byte(text), 0o600)
}

// readAccess reads openrc back.
func (p Paths) readAccess() (Access, error) {
	b, err := os.ReadFile(p.OpenRC())
	if err != nil {
		return Access{}, fmt.Errorf("the admin's access: %w; `hanok admin reset-password` makes it anew", err)
	}
	v := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, val, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		if ok {
			v[k] = val
		}
	}
	return Access{v["OS_AUTH_URL"], v["OS_USERNAME"], v["OS_PASSWORD"], v["OS_PROJECT_NAME"], v["OS_REGION_NAME"], v["OS_CACERT"]}, nil
}

// secretFile reads a small secret, or makes it.
func secretFile(path string, fresh func() []byte) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		b = fresh()
		return b, pki.WriteFile(path, b, 0o600)
	}
	return b, err
}

// kek reads the key-encryption key, or makes it at the first start.
func (p Paths) kek() ([]byte, error) {
	b, err := secretFile(p.KEKFile(), func() []byte { return RandomKey() })
	if err == nil && len(b) != 32 {
		err = fmt.Errorf("%s must hold 32 bytes; without the right key the secrets in the database cannot be read", p.KEKFile())
	}
	return b, err
}

// RandomKey is 32 random bytes.
func RandomKey() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return b
}
