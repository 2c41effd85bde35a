package configdrive

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

func TestDriveReadsBack(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config.iso")
	files := map[string][]byte{
		"openstack/latest/meta_data.json":       []byte(`{"uuid": "x"}`),
		"openstack/latest/user_data":            bytes.Repeat([]byte("0123456789abcdef"), 4096),
		"openstack/2012-08-10/meta_data.json":   []byte(`{}`),
		"ec2/2009-04-04/meta-data.json":         []byte(`{"a":1}`),
		"openstack/content/0000":                {},
		"openstack/latest/vendor_data2.json":    []byte(`{}`),
		"openstack/latest/network_data.json":    []byte(`{"links":[]}`),
		"openstack/2016-06-30/meta_data.json":   []byte(`{}`),
		"openstack/2018-08-27/meta_data.json":   []byte(`{}`),
		"openstack/2020-10-14/meta_data.json":   []byte(`{}`),
		"openstack/2013-10-17/vendor_data.json": []byte(`{}`),
	}
	for range 2 { // a second write replaces the first
		if err := Write(name, files); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := iso9660.Read(file.New(f, true), st.Size(), 0, sectorSize)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimRight(fs.Label(), "\x00 "); got != label {
		t.Errorf("label %q", got)
	}
	for n, want := range files {
		got, err := fs.ReadFile(n)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d (%v)", n, len(got), len(want), err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v %v", left, err)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	err := Write(filepath.Join(dir, "config.iso"), map[string][]byte{"a": nil, "a/b": nil})
	left, _ := os.ReadDir(dir)
	if err == nil || len(left) != 0 {
		t.Errorf("error %v, left %v", err, left)
	}
}
