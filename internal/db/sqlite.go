package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDB has one connection that writes and a few that read. Writes that arrive while a commit is under way share
// the next one: each runs under its own savepoint, and all are answered after the common fsync. Those of WriteSoon, when they are
// alone in a group, are answered before it.
type sqliteDB struct {
	d       *DB
	writer  *sqliteConn
	jobs    chan *writeJob
	readers chan *sqliteConn // nil when everything runs on the writer's connection (in memory)
	opened  int              // how many of them there are
	mu      sync.Mutex       // in memory: one transaction at a time
	closing chan struct{}
	done    chan struct{}
	once    sync.Once

	// The rest is the writer goroutine's. A commit is synced to the disk before it is answered, unless all of its group may wait for that.
	lax      bool      // what the connection's next commit is
	next     *writeJob // what may not wait and ended a group of such that may
	unsynced *time.Timer
	waits    bool         // something committed is not on the disk yet
	syncLog  func() error // brings the write-ahead log to the disk
}

// syncDelay is for how long a commit of WriteSoon may be in the kernel's memory alone.
const syncDelay = 50 * time.Millisecond

type writeJob struct {
	ctx      context.Context
	soon     bool
	fn       func(*Tx) error
	tx       *Tx
	err      error
	panicked any
	done     chan struct{}
}

// groupMax bounds a group, so that the first of it does not wait for long.
const groupMax = 128

var registerFunctions = sync.OnceValue(func() error {
	// PostgreSQL has regexp_like; SQLite leaves it to the program.
	return sqlite.RegisterDeterministicScalarFunction("regexp_like", 2, regexpLike)
})

var regexps sync.Map // pattern → *regexp.Regexp

func regexpLike(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
	text, ok := args[0].(string)
	if !ok {
		return nil, nil
	}
	pattern, ok := args[1].(string)
	if !ok {
		return nil, nil
	}
	re, ok := regexps.Load(pattern)
	if !ok {
		c, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err
		}
		if n := 0; true {
			regexps.Range(func(any, any) bool { n++; return n < 256 })
			if n >= 256 {
				regexps.Clear()
			}
		}
		regexps.Store(pattern, c)
		re = c
	}
	if re.(*regexp.Regexp).MatchString(text) {
		return int64(1), nil
	}
	return int64(0), nil
}

func openSQLite(d *DB, path string, readers int) (*sqliteDB, error) {
	if err := registerFunctions(); err != nil {
		return nil, err
	}
	memory := path == ":memory:"
	pragmas := url.Values{}
	for _, p := range []string{"busy_timeout(10000)", "foreign_keys(1)", "case_sensitive_like(1)", "temp_store(2)"} {
		pragmas.Add("_pragma", p)
	}
	if !memory {
		// SQLite would let everybody read a file that it makes, and the files beside it get this one's mode.
		if f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil {
			_ = f.Close()
		}
		for _, p := range []string{"journal_mode(WAL)", "synchronous(FULL)", "mmap_size(268435456)", "wal_autocheckpoint(4000)"} {
			pragmas.Add("_pragma", p)
		}
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas.Encode()
	if memory {
		dsn = ":memory:?" + pragmas.Encode()
	}
	driver, err := sqliteDriver()
	if err != nil {
		return nil, err
	}
	s := &sqliteDB{d: d, jobs: make(chan *writeJob, 1024), closing: make(chan struct{}), done: make(chan struct{}), unsynced: time.NewTimer(0)}
	s.unsynced.Stop()
	s.syncLog = func() error { return syncFile(path + "-wal") }
	if s.writer, err = openSQLiteConn(driver, dsn); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if memory {
		close(s.done)
		return s, nil
	}
	s.readers = make(chan *sqliteConn, readers)
	for range readers {
		c, err := openSQLiteConn(driver, dsn)
		if err != nil {
			return nil, errors.Join(err, s.closeConns())
		}
		s.readers <- c
		s.opened++
	}
	go s.run()
	return s, nil
}

func (s *sqliteDB) close() (err error) {
	s.once.Do(func() {
		close(s.closing)
		<-s.done
		err = s.closeConns()
	})
	return err
}

// closeConns waits for the reads under way and closes the connections.
func (s *sqliteDB) closeConns() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.writer.close()
	for range s.opened {
		err = errors.Join(err, (<-s.readers).close())
	}
	return err
}

// closed tells whether the database was closed; in memory s.mu must be held.
func (s *sqliteDB) closed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

var errClosed = errors.New("the database is closed")

func (s *sqliteDB) write(ctx context.Context, soon bool, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &writeJob{ctx: ctx, soon: soon, fn: fn, done: make(chan struct{})}
	if s.readers == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed() {
			return errClosed
		}
		s.group(j)
	} else {
		select {
		case s.jobs <- j:
		case <-s.closing:
			return errClosed
		}
		// No way out on ctx: once queued the write may happen, and the caller must learn its outcome.
		select {
		case <-j.done:
		case <-s.done:
			select {
			case <-j.done:
			default:
				return errClosed
			}
		}
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	if j.err == nil {
		j.tx.committed()
	}
	return j.err
}

func (s *sqliteDB) run() {
	defer close(s.done)
	for {
		if j := s.next; j != nil {
			s.next = nil
			s.group(j)
			continue
		}
		select {
		case j := <-s.jobs:
			s.group(j)
		case <-s.unsynced.C:
			s.sync()
		case <-s.closing:
			select {
			case j := <-s.jobs:
				s.group(j)
			default:
				s.sync()
				return
			}
		}
	}
}

// sync brings to the disk what was committed without.
func (s *sqliteDB) sync() {
	if !s.waits {
		return
	}
	if err := s.syncLog(); err != nil {
		s.d.log.Error("the database's log could not be synced; what was written in the last moments may be lost by a power cut", "error", err)
		s.unsynced.Reset(syncDelay)
		return
	}
	s.waits = false
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// relax sets whether the next commit is answered before it is on the disk.
func (s *sqliteDB) relax(lax bool) error {
	if s.lax == lax || s.readers == nil { // nothing in memory is on a disk
		return nil
	}
	// The semicolon keeps it out of the statement cache: SQLite carries this pragma out when it is prepared.
	query := "PRAGMA synchronous = FULL;"
	if lax {
		query = "PRAGMA synchronous = NORMAL;"
	}
	if _, err := s.writer.exec(context.Background(), query, nil); err != nil {
		return err
	}
	s.lax = lax
	return nil
}

// committed notes what is on the disk after a commit.
func (s *sqliteDB) committed() {
	switch {
	case !s.lax: // with it all that was committed before
		s.waits = false
		s.unsynced.Stop()
	case !s.waits:
		s.waits = true
		s.unsynced.Reset(syncDelay)
	}
}

// group runs first and whatever else is waiting in one SQLite transaction and commits it.
func (s *sqliteDB) group(first *writeJob) {
	bg := context.Background()
	jobs := []*writeJob{first}
	finish := func(err error) {
		for _, j := range jobs {
			if err != nil && j.err == nil {
				j.err = err
			}
			close(j.done)
		}
	}
	if err := s.relax(first.soon); err != nil {
		finish(fmt.Errorf("begin: %w", err))
		return
	}
	if _, err := s.writer.exec(bg, "BEGIN IMMEDIATE", nil); err != nil {
		finish(fmt.Errorf("begin: %w", err))
		return
	}
	s.savepoint(first)
	for len(jobs) < groupMax && s.next == nil {
		select {
		case j := <-s.jobs:
			if first.soon && !j.soon {
				s.next = j
				continue
			}
			jobs = append(jobs, j)
			s.savepoint(j)
			continue
		default:
		}
		break
	}
	if _, err := s.writer.exec(bg, "COMMIT", nil); err != nil {
		_, _ = s.writer.exec(bg, "ROLLBACK", nil)
		finish(fmt.Errorf("commit: %w", err))
		return
	}
	s.committed()
	finish(nil)
}

// savepoint runs one closure; what it did is undone when it fails.
func (s *sqliteDB) savepoint(j *writeJob) {
	// Statements run to their end: interrupting one would roll back the whole group, not just this closure.
	bg := context.WithoutCancel(j.ctx)
	if j.err = j.ctx.Err(); j.err != nil {
		return
	}
	if _, j.err = s.writer.exec(bg, "SAVEPOINT j", nil); j.err != nil {
		return
	}
	j.tx = s.d.begin(bg, s.writer)
	func() {
		defer func() {
			if p := recover(); p != nil {
				j.panicked = p
				j.err = fmt.Errorf("panic in transaction: %v", p)
			}
		}()
		j.err = j.fn(j.tx)
	}()
	if j.err != nil {
		if _, err := s.writer.exec(bg, "ROLLBACK TO j", nil); err != nil {
			j.err = errors.Join(j.err, err)
		}
	}
	if _, err := s.writer.exec(bg, "RELEASE j", nil); err != nil {
		j.err = errors.Join(j.err, err)
	}
}

func (s *sqliteDB) query(ctx context.Context, fn func(*Tx) error) error { return s.read(ctx, fn) }

func (s *sqliteDB) read(ctx context.Context, fn func(*Tx) error) (err error) {
	c := s.writer
	if s.readers == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed() {
			return errClosed
		}
	} else {
		select {
		case c = <-s.readers:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return errClosed
		}
		defer func() { s.readers <- c }()
	}
	bg := context.WithoutCancel(ctx)
	if _, err := c.exec(bg, "BEGIN", nil); err != nil {
		return err
	}
	defer func() {
		if _, e := c.exec(bg, "ROLLBACK", nil); e != nil {
			err = errors.Join(err, e)
		}
	}()
	return fn(s.d.begin(bg, c))
}

// sqliteConstraint reads the violated constraint out of an error: "UNIQUE constraint failed: users.name".
func sqliteConstraint(err error) (string, bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_CONSTRAINT {
		return "", false
	}
	_, name, _ := strings.Cut(e.Error(), "constraint failed: ")
	return name, true
}
