package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDB has one connection that writes and a few that read. Writes that arrive while a commit is under way share
// the next one: each runs under its own savepoint, and all are answered after the common fsync.
type sqliteDB struct {
	d       *DB
	pool    *sql.DB
	writer  *sqliteConn
	jobs    chan *writeJob
	readers chan *sqliteConn // nil when everything runs on the writer's connection (in memory)
	mu      sync.Mutex       // in memory: one transaction at a time
	closing chan struct{}
	done    chan struct{}
	once    sync.Once
}

type writeJob struct {
	ctx      context.Context
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

func openSQLite(ctx context.Context, d *DB, path string, readers int) (*sqliteDB, error) {
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
	pool, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+pragmas.Encode())
	if memory {
		pool, err = sql.Open("sqlite", ":memory:?"+pragmas.Encode())
	}
	if err != nil {
		return nil, err
	}
	pool.SetMaxIdleConns(readers + 1)
	s := &sqliteDB{d: d, pool: pool, jobs: make(chan *writeJob, 1024), closing: make(chan struct{}), done: make(chan struct{})}
	if s.writer, err = newSQLiteConn(ctx, pool); err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if memory {
		close(s.done)
		return s, nil
	}
	s.readers = make(chan *sqliteConn, readers)
	for range readers {
		c, err := newSQLiteConn(ctx, pool)
		if err != nil {
			_ = pool.Close()
			return nil, err
		}
		s.readers <- c
	}
	go s.run()
	return s, nil
}

func (s *sqliteDB) close() error {
	s.once.Do(func() { close(s.closing) })
	<-s.done
	return s.pool.Close()
}

var errClosed = errors.New("the database is closed")

func (s *sqliteDB) write(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &writeJob{ctx: ctx, fn: fn, done: make(chan struct{})}
	if s.readers == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
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
		select {
		case j := <-s.jobs:
			s.group(j)
		case <-s.closing:
			for {
				select {
				case j := <-s.jobs:
					s.group(j)
				default:
					return
				}
			}
		}
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
	if _, err := s.writer.exec(bg, "BEGIN IMMEDIATE", nil); err != nil {
		finish(fmt.Errorf("begin: %w", err))
		return
	}
	s.savepoint(first)
	for len(jobs) < groupMax {
		select {
		case j := <-s.jobs:
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

func (s *sqliteDB) read(ctx context.Context, fn func(*Tx) error) (err error) {
	c := s.writer
	if s.readers == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
	} else {
		select {
		case c = <-s.readers:
		case <-ctx.Done():
			return ctx.Err()
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

// sqliteConn prepares each statement once per connection.
type sqliteConn struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// stmtMax bounds a connection's statement cache: lists with many filters make many texts.
const stmtMax = 1000

func newSQLiteConn(ctx context.Context, pool *sql.DB) (*sqliteConn, error) {
	c, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &sqliteConn{conn: c, stmts: map[string]*sql.Stmt{}}, nil
}

func (c *sqliteConn) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := c.stmts[query]; ok {
		return st, nil
	}
	if len(c.stmts) >= stmtMax {
		for _, st := range c.stmts {
			_ = st.Close()
		}
		clear(c.stmts)
	}
	st, err := c.conn.PrepareContext(ctx, numbered(query))
	if err != nil {
		return nil, err
	}
	c.stmts[query] = st
	return st, nil
}

func (c *sqliteConn) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	if len(args) == 0 && strings.Contains(query, ";") { // a migration: several statements
		return c.conn.ExecContext(ctx, query)
	}
	st, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

func (c *sqliteConn) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	st, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// numbered turns $1 into ?1: to SQLite "$1" is a name, numbered by where it first stands.
func numbered(q string) string {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(q); i++ {
		switch ch := q[i]; {
		case ch == '\'':
			quoted = !quoted
			b.WriteByte(ch)
		case ch == '$' && !quoted && i+1 < len(q) && q[i+1] >= '0' && q[i+1] <= '9':
			b.WriteByte('?')
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
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
