package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hanok-cloud/hanok/internal/agent"
)

const (
	// consoleMax is the size from which a log is cut; a guest writes less than that between two looks.
	consoleMax = 1 << 20
	// consoleKept is what is kept of it, and what is handed out at most (MAX_CONSOLE_BYTES in nova/virt/libvirt/driver.py).
	consoleKept = 100 << 10
)

// ConsoleLog is the end of what the guest's serial port printed.
func (d *Driver) ConsoleLog(_ context.Context, id string, lines int) ([]byte, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	path := filepath.Join(d.dir(id), consoleFile)
	text, err := tail(path, consoleKept)
	if err == nil && len(text) < consoleKept {
		var before []byte
		if before, err = tail(path+".1", consoleKept-len(text)); err == nil {
			text = append(before, text...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("console log of guest %s: %w", id, err)
	}
	return agent.TailLines(text, lines), nil
}

// tail reads the last bytes of a file; nothing of one that is not there.
func tail(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, min(int64(n), st.Size()))
	read, err := f.ReadAt(buf, st.Size()-int64(len(buf)))
	if read < len(buf) && err != nil && st.Size() == 0 {
		err = nil
	}
	return buf[:read], ignoreEOF(err)
}

// trimLogs cuts logs that have grown: a guest must not fill the node's disk by printing.
func (d *Driver) trimLogs() {
	d.mu.Lock()
	ids := make([]string, 0, len(d.m))
	for id := range d.m {
		ids = append(ids, id)
	}
	d.mu.Unlock()
	for _, id := range ids {
		path := filepath.Join(d.dir(id), consoleFile)
		if st, err := os.Stat(path); err == nil && st.Size() > consoleMax {
			if err := cut(path); err != nil {
				d.o.Logger.Warn("a console log could not be cut", "guest", id, "error", err)
			}
		}
		log := filepath.Join(d.dir(id), qemuLog)
		if st, err := os.Stat(log); err == nil && st.Size() > consoleMax {
			_ = os.Truncate(log, 0) // opened for appending as well
		}
	}
}

// cut keeps the end of a log in a file beside it and empties the log. QEMU has it open for appending, so that
// it goes on at the new end; what it prints between our two steps is lost.
func cut(path string) error {
	end, err := tail(path, consoleKept)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".1", end, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}
