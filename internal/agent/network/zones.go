package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// zones numbers the networks for connection tracking. The numbers are kept in a file, because a restarted agent
// must go on with the zones that the guests' connections are tracked in.
type zones struct {
	file string
	byID map[string]uint16
	used map[uint16]bool
}

func loadZones(dir string) (*zones, error) {
	z := &zones{byID: map[string]uint16{}, used: map[uint16]bool{}}
	if dir == "" {
		return z, nil
	}
	z.file = filepath.Join(dir, "zones.json")
	b, err := os.ReadFile(z.file)
	if errors.Is(err, fs.ErrNotExist) {
		return z, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &z.byID); err != nil {
		return nil, fmt.Errorf("read %s: %w: remove the file; connections of running guests are then judged afresh", z.file, err)
	}
	for _, n := range z.byID {
		z.used[n] = true
	}
	return z, nil
}

// of numbers a network; 0 is the node's own zone.
func (z *zones) of(network string) (uint16, error) {
	if n, ok := z.byID[network]; ok {
		return n, nil
	}
	for n := 1; n <= 65535; n++ {
		if !z.used[uint16(n)] {
			z.byID[network], z.used[uint16(n)] = uint16(n), true
			return uint16(n), z.save()
		}
	}
	return 0, errors.New("this node has no conntrack zone left: it has 65535 networks")
}

func (z *zones) release(network string) error {
	n, ok := z.byID[network]
	if !ok {
		return nil
	}
	delete(z.byID, network)
	delete(z.used, n)
	return z.save()
}

func (z *zones) save() error {
	if z.file == "" {
		return nil
	}
	b, err := json.Marshal(z.byID)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(z.file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(z.file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(z.file+".new", z.file)
}
