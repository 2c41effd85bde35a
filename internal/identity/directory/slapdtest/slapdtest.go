// Package slapdtest starts OpenLDAP's server for a test: on loopback and a socket, with data of its own, ended by its process id. It must not know
// how the program reads directories.
package slapdtest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Suffix is where everything is, and Admin who may do everything there.
const (
	Suffix   = "dc=example,dc=org"
	Admin    = "cn=admin," + Suffix
	Password = "the%directory's secret"
)

// Server is a running slapd.
type Server struct {
	Addr string // host:port of ldap://
	TLS  string // host:port of ldaps://
	Sock string // ldapi's socket
	CA   string // file with the certificate

	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	conn *ldap.Conn
}

// Start starts a server with the entries that a test gives as DN, then attributes: one "name: value" per line.
func Start(t testing.TB, entries ...string) *Server {
	t.Helper()
	slapd, err := exec.LookPath("slapd")
	if err != nil {
		slapd = "/usr/sbin/slapd"
		if _, err := os.Stat(slapd); err != nil {
			if os.Getenv("HANOK_TEST_REQUIRE") != "" {
				t.Fatal("slapd is missing: deploy/packages.sh test installs it")
			}
			t.Skip("slapd is not installed")
		}
	}
	// A socket's path may have 108 bytes.
	dir, err := os.MkdirTemp("", "slapd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, dir: dir, Sock: filepath.Join(dir, "ldapi"), CA: filepath.Join(dir, "cert.pem")}
	s.Addr, s.TLS = freeAddr(t), freeAddr(t)
	s.certificate()
	config := fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
sizelimit 500
allow bind_anon_cred bind_anon_dn
database mdb
directory %[1]s/data
suffix "%[2]s"
rootdn "%[3]s"
rootpw "%[4]s"
index objectClass eq
limits dn.exact="cn=reader,%[2]s" size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=reader,%[2]s" read by * none
`, dir, Suffix, Admin, Password)
	write(t, filepath.Join(dir, "slapd.conf"), config)
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.run(slapd)
	t.Cleanup(s.Stop)
	s.open()
	s.Add("dn: "+Suffix+"\nobjectClass: dcObject\nobjectClass: organization\no: example",
		"dn: cn=reader,"+Suffix+"\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: "+Password,
		"dn: ou=Users,"+Suffix+"\nobjectClass: organizationalUnit\nou: Users", "dn: ou=UserGroups,"+Suffix+"\nobjectClass: organizationalUnit\nou: UserGroups")
	s.Add(entries...)
	return s
}

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func write(t testing.TB, name, text string) {
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) certificate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	write(s.t, s.CA, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(s.t, filepath.Join(s.dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// run starts the program and waits until it says that it is ready.
func (s *Server) run(slapd string) {
	s.t.Helper()
	s.cmd = exec.Command(slapd, "-d", "stats", "-f", filepath.Join(s.dir, "slapd.conf"), "-h", "ldap://"+s.Addr+"/ ldaps://"+s.TLS+"/ "+s.LDAPI()+"/")
	out, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "slapd starting") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
		said = append(said, lines.Text())
	}
	_ = s.cmd.Wait()
	s.t.Fatalf("slapd does not start:\n%s", strings.Join(said, "\n"))
}

func (s *Server) open() {
	// It says that it is starting a moment before it listens.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	c, err := ldap.DialURL(s.URL())
	for range 1000 {
		if err == nil {
			break
		}
		<-again.C
		c, err = ldap.DialURL(s.URL())
	}
	if err == nil {
		err = c.Bind(Admin, Password)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.conn = c
}

// URL is ldap:// to the server.
func (s *Server) URL() string { return "ldap://" + s.Addr }

// LDAPI is ldapi:// to it.
func (s *Server) LDAPI() string { return "ldapi://" + url.PathEscape(s.Sock) }

// Localhost is an address by the name that the certificate has.
func (s *Server) Localhost(scheme string) string {
	addr := s.Addr
	if scheme == "ldaps" {
		addr = s.TLS
	}
	_, port, _ := net.SplitHostPort(addr)
	return scheme + "://localhost:" + port
}

// Stop ends the server and waits for its end.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT) // a test may have failed after Pause
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Again starts it anew with the data that it had.
func (s *Server) Again() {
	s.t.Helper()
	s.run("/usr/sbin/slapd")
	s.open()
}

// Pause stops the process in its tracks: it is there, and does not answer. Resume lets it go on.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for range 10000 { // a signal takes effect a moment after it was sent
		if s.stopped() {
			return
		}
		<-again.C
	}
	s.t.Fatal("slapd does not stop")
}

// stopped tells whether all threads are.
func (s *Server) stopped() bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, task := range tasks {
		if b, err := os.ReadFile(task); err == nil && !strings.Contains(string(b), "State:\tT") {
			return false
		}
	}
	return true
}

// Resume ends Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Add adds entries.
func (s *Server) Add(entries ...string) {
	s.t.Helper()
	for _, text := range entries {
		var req *ldap.AddRequest
		attributes := map[string][]string{}
		var order []string
		for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch {
			case name == "dn":
				req = ldap.NewAddRequest(value, nil)
				continue
			case attributes[name] == nil:
				order = append(order, name)
			}
			attributes[name] = append(attributes[name], value)
		}
		for _, name := range order {
			req.Attribute(name, attributes[name])
		}
		if err := s.conn.Add(req); err != nil {
			s.t.Fatalf("add %s: %v", text, err)
		}
	}
}

// Set replaces an attribute's values; without values it goes.
func (s *Server) Set(dn, attribute string, values ...string) {
	s.t.Helper()
	req := ldap.NewModifyRequest(dn, nil)
	req.Replace(attribute, values)
	if err := s.conn.Modify(req); err != nil {
		s.t.Fatalf("modify %s: %v", dn, err)
	}
}

// Delete removes an entry.
func (s *Server) Delete(dn string) {
	s.t.Helper()
	if err := s.conn.Del(ldap.NewDelRequest(dn, nil)); err != nil {
		s.t.Fatalf("delete %s: %v", dn, err)
	}
}

// Person is an entry of a user with uid, name and password.
func Person(uid, name, password string, more ...string) string {
	return strings.Join(append([]string{"dn: uid=" + uid + ",ou=Users," + Suffix, "objectClass: inetOrgPerson", "uid: " + uid, "cn: " + name, "sn: " + name, "mail: " + uid + "@example.org", "userPassword: " + password}, more...), "\n")
}

// Group is an entry of a group of those users.
func Group(cn string, uids ...string) string {
	lines := []string{"dn: cn=" + cn + ",ou=UserGroups," + Suffix, "objectClass: groupOfNames", "cn: " + cn, "description: the " + cn}
	for _, u := range uids {
		lines = append(lines, "member: "+UserDN(u))
	}
	return strings.Join(lines, "\n")
}

// UserDN is the DN of a Person.
func UserDN(uid string) string { return "uid=" + uid + ",ou=Users," + Suffix }

// GroupDN is the DN of a Group.
func GroupDN(cn string) string { return "cn=" + cn + ",ou=UserGroups," + Suffix }
