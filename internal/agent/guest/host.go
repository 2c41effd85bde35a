package guest

import (
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// checkMemory refuses a guest that the machine has no memory for: otherwise the kernel ends another one.
func (d *Driver) checkMemory(g *nodeapi.Guest) error {
	free, err := availableMiB()
	if err != nil {
		return err
	}
	if need := g.MemoryMiB + d.o.ReservedMemoryMiB; free < need {
		return agent.Final("Stop or delete servers on the node, or start this one elsewhere.",
			"guest %s: the node has %d MiB of memory left, and the guest needs %d besides the %d that stay in reserve", g.ID, free, g.MemoryMiB, d.o.ReservedMemoryMiB)
	}
	return nil
}

var memAvailable = regexp.MustCompile(`(?m)^MemAvailable:\s+(\d+) kB$`)

func availableMiB() (int64, error) {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	m := memAvailable.FindSubmatch(raw)
	if m == nil {
		return 0, errors.New("/proc/meminfo tells no MemAvailable")
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kib >> 10, err
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// User is who guests run as; taps belong to it. 0, 0 is the agent's own user.
func (d *Driver) User() (uid, gid int) {
	if d.account == nil {
		return 0, 0
	}
	return int(d.account.uid), int(d.account.gid)
}
