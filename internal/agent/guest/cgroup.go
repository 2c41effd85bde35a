package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// cgroups puts each guest into control groups of its own, under hanok/: so its share of processor time follows its
// virtual processors, its memory is bounded, and stopping the agent's service does not end it. All of it is done as
// far as the machine allows: a machine without control groups runs guests as well.
type cgroups struct {
	v2 string   // hanok/ in the unified tree with cpu and memory; empty: none
	v1 []string // hanok/ in each tree of version 1 that is there, and in a unified tree without controllers
}

const cgroupParent = "hanok"

func findCgroups(root string) cgroups {
	var c cgroups
	if raw, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil {
		have := " " + strings.TrimSpace(string(raw)) + " "
		parent := filepath.Join(root, cgroupParent)
		if strings.Contains(have, " cpu ") && strings.Contains(have, " memory ") && os.MkdirAll(parent, 0o755) == nil {
			for _, dir := range []string{root, parent} {
				_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu +memory"), 0o644)
			}
			c.v2 = parent
		}
		return c
	}
	for _, tree := range []string{"cpu", "memory", "systemd", "unified"} {
		if fileExists(filepath.Join(root, tree, "cgroup.procs")) {
			c.v1 = append(c.v1, filepath.Join(root, tree, cgroupParent))
		}
	}
	return c
}

// overheadMiB is what a process takes besides the guest's memory: devices, I/O buffers, page cache in use.
const overheadMiB = 512

// prepare makes the guest's groups. The file returned is the group of version 2 for the process to be born in.
func (c cgroups) prepare(g *nodeapi.Guest, tbSize int) *os.File {
	limit := fmt.Sprint((g.MemoryMiB + overheadMiB + int64(tbSize)) << 20)
	shares := max(1, g.VCPUs)
	if c.v2 != "" {
		dir := filepath.Join(c.v2, g.ID)
		if os.MkdirAll(dir, 0o755) != nil {
			return nil
		}
		_ = os.WriteFile(filepath.Join(dir, "cpu.weight"), []byte(fmt.Sprint(min(10000, 100*shares))), 0o644)
		_ = os.WriteFile(filepath.Join(dir, "memory.max"), []byte(limit), 0o644)
		f, err := os.Open(dir)
		if err != nil {
			return nil
		}
		return f
	}
	for _, parent := range c.v1 {
		dir := filepath.Join(parent, g.ID)
		if os.MkdirAll(dir, 0o755) != nil {
			continue
		}
		// Trees without such a file are there for the membership alone.
		_ = writeExisting(filepath.Join(dir, "cpu.shares"), fmt.Sprint(1024*shares))
		_ = writeExisting(filepath.Join(dir, "memory.limit_in_bytes"), limit)
	}
	return nil
}

func writeExisting(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// enter moves a process into the groups of version 1.
func (c cgroups) enter(id string, pid int) {
	for _, parent := range c.v1 {
		_ = writeExisting(filepath.Join(parent, id, "cgroup.procs"), fmt.Sprint(pid))
	}
}

// remove removes the guest's groups, which the kernel allows when nothing is in them.
func (c cgroups) remove(id string) {
	for _, parent := range c.parents() {
		_ = os.Remove(filepath.Join(parent, id))
	}
}

// parents are hanok/ in every tree.
func (c cgroups) parents() []string {
	if c.v2 != "" {
		return append(slices.Clip(c.v1), c.v2)
	}
	return c.v1
}
