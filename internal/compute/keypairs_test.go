package compute_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

func TestKeypairs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		c := newCloud(t, d)
		const path = "/compute/v2.1/os-keypairs"
		const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGgFHKZ3vAvVHy6m2Zl8UAH/S0fTbJdcQqEQpAUMtBNp me"
		c.do("member", "2.2", "POST", path, `{"keypair":{"name":"imported","public_key":"`+key+`"}}`).must(201).says(`"type":"ssh"`).says(`"fingerprint":"`)
		c.do("member", "2.2", "POST", path, `{"keypair":{"name":"imported","public_key":"`+key+`"}}`).must(409).says("Key pair 'imported' already exists.")
		c.do("member", "2.2", "POST", path, `{"keypair":{"name":"bad","public_key":"no key"}}`).must(400).says("Keypair data is invalid: failed to generate fingerprint")
		c.do("member", "2.92", "POST", path, `{"keypair":{"name":"generated"}}`).must(400)
		made := c.do("member", "2.1", "POST", path, `{"keypair":{"name":"generated"}}`).must(200)
		signer, err := ssh.ParsePrivateKey([]byte(made.text("keypair", "private_key")))
		if err != nil || ssh.FingerprintLegacyMD5(signer.PublicKey()) != made.text("keypair", "fingerprint") {
			t.Errorf("%v: %s", err, made.body)
		}
		c.do("member", "2.35", "GET", path+"?limit=1", "").must(200).says(`"name":"generated"`).says(`limit=1&marker=generated`)
		c.do("member", "2.35", "GET", path+"?marker=generated", "").must(200).says(`"name":"imported"`)
		c.do("other", "", "GET", path+"/imported", "").must(404).says("Keypair imported not found for user bbbb")
		c.do("admin", "2.10", "GET", path+"/imported?user_id="+userOf, "").must(200).says(`"user_id":"` + userOf)
		c.do("member", "2.10", "GET", path+"?user_id=bbbb", "").must(403)
		c.do("member", "", "DELETE", path+"/imported", "").must(202)
		c.do("member", "2.2", "DELETE", path+"/generated", "").must(204)
		c.do("member", "", "GET", path, "").must(200).says(`{"keypairs":[]}`)
	})
}

func TestGeneratedCertificateOpens(t *testing.T) {
	c := newCloud(t, dbtest.Memory(t))
	made := c.do("member", "2.2", "POST", "/compute/v2.1/os-keypairs", `{"keypair":{"name":"w","type":"x509"}}`).must(201).says("-----BEGIN CERTIFICATE-----")
	p12, err := base64.StdEncoding.DecodeString(made.text("keypair", "private_key"))
	if err != nil {
		t.Fatal(err)
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl to read the PKCS #12 file")
	}
	file := filepath.Join(t.TempDir(), "w.p12")
	if err := os.WriteFile(file, p12, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(openssl, "pkcs12", "-in", file, "-passin", "pass:", "-nodes").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
