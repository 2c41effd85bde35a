// Package configdrive writes a config drive: an ISO 9660 file system with Rock Ridge names and the label config-2, as
// nova/virt/configdrive.py makes it. It must not know what the files say.
package configdrive

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// label is what guests look for.
const label = "config-2"

const sectorSize = 2048

// Write makes the drive at name with these files (path → content). After a crash it is there whole or not at all.
func Write(name string, files map[string][]byte) (err error) {
	part := name + ".part"
	workspace, err := os.MkdirTemp(path.Dir(name), ".configdrive-")
	if err != nil {
		return fmt.Errorf("config drive: %w", err)
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(workspace))
		if err != nil {
			_ = os.Remove(part)
			err = fmt.Errorf("config drive: %w", err)
		}
	}()
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := build(part, workspace, files); err != nil {
		return err
	}
	return os.Rename(part, name)
}

func build(part, workspace string, files map[string][]byte) (err error) {
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// The size is only a bound for the writer; the file ends where the data does.
	size := int64(1 << 20)
	for _, b := range files {
		size += int64(len(b)) + 2*sectorSize
	}
	fs, err := iso9660.Create(file.New(f, false), size, 0, sectorSize, workspace)
	if err != nil {
		return err
	}
	if err := fill(fs, files); err != nil {
		return err
	}
	if err := fs.Finalize(iso9660.FinalizeOptions{RockRidge: true, Joliet: true, VolumeIdentifier: label, PublisherIdentifier: "hanok"}); err != nil {
		return err
	}
	return f.Sync()
}

func fill(fs *iso9660.FileSystem, files map[string][]byte) error {
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if dir := path.Dir(n); dir != "." {
			if err := fs.Mkdir(dir); err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
		}
		w, err := fs.OpenFile(n, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		_, err = w.Write(files[n])
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}
