package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/hanok-cloud/hanok/internal/db"
)

// exporter appends statements to the heads file, which the database's owner may be kept from writing: what was exported once cannot be
// taken back by changing the database.
type exporter struct {
	mu   sync.Mutex
	read bool
	last map[string]int64 // by kind, what the file has
}

// exportAtOnce bounds one read of the database.
const exportAtOnce = 1000

// Export appends the statements that the heads file lacks. Each controller has a file of its own with all of them; a file that was moved
// away is begun anew with those that the database still has.
func (l *Log) Export(ctx context.Context) error {
	if l.o.HeadsFile == "" {
		return nil
	}
	x := &l.exporter
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, err := os.Stat(l.o.HeadsFile); !x.read || errors.Is(err, os.ErrNotExist) {
		last, err := lastExported(l.o.HeadsFile)
		if err != nil {
			return err
		}
		x.last, x.read = last, true
	}
	for {
		var list []Statement
		var end state
		err := l.o.DB.Read(ctx, func(tx *db.Tx) (err error) {
			if end, err = readState(tx); err != nil {
				return err
			}
			list, err = db.All(tx, scanStatement, `SELECT `+statementColumns+` FROM audit_heads WHERE kind = '`+headKind+`' AND n > $1 OR kind = '`+baseKind+`' AND n > $2
				ORDER BY n, kind LIMIT $3`, x.last[headKind], x.last[baseKind], exportAtOnce)
			return err
		})
		if err != nil {
			return err
		}
		if end.n < x.last[headKind] {
			return fmt.Errorf("the audit log in the database ends at row %d, but a head of row %d was signed and exported to %s: rows were removed, or an older backup is in use; `hanok audit verify` tells more",
				end.n, x.last[headKind], l.o.HeadsFile)
		}
		if len(list) == 0 {
			return nil
		}
		var lines bytes.Buffer
		for _, s := range list {
			s.PublicKey = l.signer.public()
			if s.Key != l.signer.id {
				s.PublicKey = ""
			}
			b, err := json.Marshal(s)
			if err != nil {
				return err
			}
			lines.Write(append(b, '\n'))
			if l.o.Also != nil {
				if err := l.o.Also(string(b)); err != nil {
					l.o.Logger.Warn("a signed head of the audit log could not be sent on", "error", err)
				}
			}
		}
		if err := appendFile(l.o.HeadsFile, lines.Bytes()); err != nil {
			return fmt.Errorf("export heads of the audit log: %w", err)
		}
		for _, s := range list {
			x.last[s.Kind] = max(x.last[s.Kind], s.N)
		}
	}
}

func appendFile(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	// A line that a power failure cut is ended, so that the next one stands by itself.
	if end, err := f.Seek(0, io.SeekEnd); err == nil && end > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, end-1); err == nil && last[0] != '\n' {
			b = append([]byte{'\n'}, b...)
		}
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// lastExported reads how far the file goes.
func lastExported(name string) (map[string]int64, error) {
	last := map[string]int64{}
	_, err := ReadHeads(name, func(s Statement) { last[s.Kind] = max(last[s.Kind], s.N) })
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return last, err
}

// ReadHeads reads a heads file and returns how many of its lines are no statements.
func ReadHeads(name string, fn func(Statement)) (unreadable int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		s, err := parseStatement(lines.Bytes())
		if err != nil {
			unreadable++
			continue
		}
		fn(s)
	}
	return unreadable, lines.Err()
}

// parseStatement reads a line of a heads file. What syslog puts before it is skipped.
func parseStatement(line []byte) (s Statement, err error) {
	i := bytes.IndexByte(line, '{')
	if i < 0 {
		return s, errors.New("no statement")
	}
	if err := json.Unmarshal(line[i:], &s); err != nil {
		return s, err
	}
	if s.Kind != headKind && s.Kind != baseKind || s.N < 1 {
		return s, fmt.Errorf("unknown statement %q about row %d", s.Kind, s.N)
	}
	return s, nil
}
