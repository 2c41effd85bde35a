package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// journal keeps key → JSON on disk as an append-only file of lines, each with its checksum. A batch is on
// disk when append returns; batches of concurrent callers share one fsync. A torn line at the end is what
// a power cut leaves: nobody was told that it is kept, so it is cut off.
//
// A nil journal keeps nothing: a simulated node has no disk.
type journal struct {
	path string
	lock *os.File

	mu       sync.Mutex
	file     *os.File
	size     int64
	live     map[string]extent // where the newest value of each key stands
	liveSize int64
	pending  []entry
	flushing bool
	next     *batch
	broken   error // set when the file may end in something that we could not cut off
}

type extent struct{ offset, length int64 }

// entry is a change of one key; a nil Value removes it.
type entry struct {
	Key   string          `json:"k"`
	Value json.RawMessage `json:"v"`
}

type batch struct {
	done chan struct{}
	err  error
}

const (
	journalName = "journal"
	// compactAbove is the size from which a file that is mostly dead lines is written anew.
	compactAbove = 1 << 20
)

// openJournal opens the journal in dir and hands its entries to each, newest value per key, in no order.
func openJournal(dir string, each func(key string, value json.RawMessage) error) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the agent's state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the agent's state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another agent uses %s: stop it, or give this one its own state directory", dir)
	}
	j := &journal{path: filepath.Join(dir, journalName), lock: lock, live: map[string]extent{}, next: newBatch()}
	if err := j.load(each); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

func (j *journal) load(each func(string, json.RawMessage) error) error {
	// A left-over of a compaction that was cut off: the old file is still the valid one.
	if err := os.Remove(j.path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("journal: %w", err)
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.file = f
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading journal %s: %w", j.path, err)
		}
		e, ok := parseLine(line)
		if !ok {
			break
		}
		j.note(e, j.size, int64(len(line)))
		j.size += int64(len(line))
	}
	if err := f.Truncate(j.size); err != nil {
		return fmt.Errorf("cutting off the torn end of journal %s: %w", j.path, err)
	}
	return j.eachLive(func(e entry, _ []byte) error { return each(e.Key, e.Value) })
}

// note keeps the books about a line that stands at offset.
func (j *journal) note(e entry, offset, length int64) {
	j.liveSize -= j.live[e.Key].length
	delete(j.live, e.Key)
	if e.Value != nil {
		j.live[e.Key] = extent{offset, length}
		j.liveSize += length
	}
}

func (j *journal) eachLive(f func(e entry, line []byte) error) error {
	for key, x := range j.live {
		line := make([]byte, x.length)
		if _, err := j.file.ReadAt(line, x.offset); err != nil {
			return fmt.Errorf("reading %s from journal %s: %w", key, j.path, err)
		}
		e, ok := parseLine(line)
		if !ok {
			return fmt.Errorf("journal %s: the entry of %s changed under our hands", j.path, key)
		}
		if err := f(e, line); err != nil {
			return fmt.Errorf("journal %s: entry %s: %w", j.path, key, err)
		}
	}
	return nil
}

func formatLine(e entry) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	line := make([]byte, 0, len(body)+10)
	line = fmt.Appendf(line, "%08x ", crc32.ChecksumIEEE(body))
	line = append(line, body...)
	return append(line, '\n'), nil
}

func parseLine(line []byte) (entry, bool) {
	var e entry
	if len(line) < 10 || line[8] != ' ' || line[len(line)-1] != '\n' {
		return e, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	body := line[9 : len(line)-1]
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(body) || json.Unmarshal(body, &e) != nil {
		return e, false
	}
	if bytes.Equal(e.Value, []byte("null")) {
		e.Value = nil
	}
	return e, e.Key != ""
}

// put makes an entry that sets key to v.
func put(key string, v any) (entry, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return entry{}, fmt.Errorf("journal entry %s: %w", key, err)
	}
	return entry{Key: key, Value: b}, nil
}

// append returns when the entries are on disk.
func (j *journal) append(entries ...entry) error {
	if j == nil || len(entries) == 0 {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, entries...)
	mine := j.next
	if j.flushing {
		j.mu.Unlock()
		<-mine.done
		j.mu.Lock()
		return mine.err
	}
	j.flushing = true
	for len(j.pending) > 0 {
		b, todo := j.next, j.pending
		j.next, j.pending = newBatch(), nil
		j.mu.Unlock()
		b.err = j.flush(todo)
		close(b.done)
		j.mu.Lock()
	}
	j.flushing = false
	return mine.err
}

// flush is called by one goroutine at a time.
func (j *journal) flush(entries []entry) error {
	if j.broken != nil {
		return j.broken
	}
	var buf bytes.Buffer
	lengths := make([]int64, len(entries))
	for i, e := range entries {
		line, err := formatLine(e)
		if err != nil {
			return fmt.Errorf("journal entry %s: %w", e.Key, err)
		}
		lengths[i] = int64(len(line))
		buf.Write(line)
	}
	_, err := j.file.WriteAt(buf.Bytes(), j.size)
	if err == nil {
		err = unix.Fdatasync(int(j.file.Fd()))
	}
	if err != nil {
		if cut := j.file.Truncate(j.size); cut != nil {
			j.broken = fmt.Errorf("journal %s is unusable until the agent is restarted: %w", j.path, errors.Join(err, cut))
		}
		return fmt.Errorf("writing journal %s: %w", j.path, err)
	}
	for i, e := range entries {
		j.note(e, j.size, lengths[i])
		j.size += lengths[i]
	}
	if j.size > compactAbove && j.size > 4*j.liveSize {
		// The entries are safe; a compaction that fails is tried again with the next ones.
		_ = j.compact()
	}
	return nil
}

// compact writes the live lines to a new file and puts it in the old one's place.
func (j *journal) compact() error {
	f, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		f.Close()
		os.Remove(j.path + ".new")
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	live := make(map[string]extent, len(j.live))
	var size int64
	err = j.eachLive(func(e entry, line []byte) error {
		live[e.Key] = extent{size, int64(len(line))}
		size += int64(len(line))
		_, err := w.Write(line)
		return err
	})
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fail(err)
	}
	if err := os.Rename(j.path+".new", j.path); err != nil {
		return fail(err)
	}
	j.file.Close()
	j.file, j.live, j.size, j.liveSize = f, live, size, size
	return syncDir(filepath.Dir(j.path))
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	return errors.Join(err, j.lock.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
