// Package db is the one database of the cloud: SQLite in one file (or in memory) or PostgreSQL, behind one
// type and one SQL text. It offers transactions as closures, group commit, migrations, wake-ups after a
// commit and the outbox of changes. It must not know any resource: SQL of a resource lives with its service.
//
// Rules for callers. A closure given to Write or Read may run more than once and must do nothing but use its
// Tx: no I/O, no locks, no nested Write or Read. Placeholders are $1, $2, …; times are BIGINT microseconds
// (Micros); booleans are BOOLEAN; bytes are BYTEA; JSON is TEXT (JSON[T]). Statements that name one engine
// are a last resort and go through Tx.Engine.
package db

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Engine is the database behind a DB.
type Engine string

// Engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// ErrNotFound: One found no row.
var ErrNotFound = errors.New("no such row")

// ErrConflict wraps a violated unique or foreign key constraint. Constraint names it where the engine tells.
type ErrConflict struct {
	Constraint string
	Err        error
}

func (e *ErrConflict) Error() string { return e.Err.Error() }
func (e *ErrConflict) Unwrap() error { return e.Err }

// Options for Open.
type Options struct {
	// URL is sqlite:/path/to/file, sqlite::memory: or postgres://….
	URL    string
	Logger *slog.Logger
	// Readers is the number of SQLite connections for Read (default 3; more cost more CPU than they give).
	Readers int
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// BeforeCommit runs at the end of every closure of Write that succeeded, in its transaction; its error undoes the closure. The
	// audit log writes there, so that no change is without its entry. nil: nothing.
	BeforeCommit func(*Tx) error
	// Trace is told every statement before it runs, for tests that look at plans. nil: nobody is.
	Trace func(tx *Tx, query string, args []any)
}

// DB is an open database. It may be used from many goroutines.
type DB struct {
	engine  Engine
	now     func() time.Time
	log     *slog.Logger
	backend backend
	bus     bus

	beforeCommit func(*Tx) error
	trace        func(*Tx, string, []any)
}

// backend runs closures in transactions; commit has happened when write returns nil.
type backend interface {
	write(ctx context.Context, soon bool, fn func(*Tx) error) error
	read(ctx context.Context, fn func(*Tx) error) error
	query(ctx context.Context, fn func(*Tx) error) error
	close() error
}

// Open opens the database and brings its schema up to date.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Readers == 0 {
		o.Readers = 3
	}
	d := &DB{now: o.Now, log: o.Logger}
	var err error
	switch {
	case strings.HasPrefix(o.URL, "sqlite:"):
		d.engine = SQLite
		d.backend, err = openSQLite(d, strings.TrimPrefix(o.URL, "sqlite:"), o.Readers)
	case strings.HasPrefix(o.URL, "postgres://"), strings.HasPrefix(o.URL, "postgresql://"):
		d.engine = Postgres
		d.backend, err = openPostgres(ctx, d, o.URL)
	default:
		return nil, fmt.Errorf("database URL must start with sqlite: or postgres://")
	}
	if err != nil {
		return nil, err
	}
	if err := d.migrate(ctx); err != nil {
		_ = d.backend.close()
		return nil, err
	}
	d.beforeCommit, d.trace = o.BeforeCommit, o.Trace // now that the tables are there
	return d, nil
}

// Close waits for the writes under way and closes the database.
func (d *DB) Close() error { return d.backend.close() }

// Engine tells which database it is.
func (d *DB) Engine() Engine { return d.engine }

// Now is the database's clock, which every stored time comes from.
func (d *DB) Now() time.Time { return d.now() }

// Write runs fn in a transaction of its own and returns after its changes are durable. When fn returns an error
// nothing is changed and Write returns that error.
func (d *DB) Write(ctx context.Context, fn func(*Tx) error) error { return d.commit(ctx, false, fn) }

// WriteSoon is Write for what must not slow down its request: it returns when the changes are committed, so that everybody sees them and no end of
// this program loses them. The disk has them with the next Write or a fraction of a second later; until then a power cut may undo them.
func (d *DB) WriteSoon(ctx context.Context, fn func(*Tx) error) error { return d.commit(ctx, true, fn) }

func (d *DB) commit(ctx context.Context, soon bool, fn func(*Tx) error) error {
	if d.beforeCommit == nil {
		return d.backend.write(ctx, soon, fn)
	}
	return d.backend.write(ctx, soon, func(tx *Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return d.beforeCommit(tx)
	})
}

// Read runs fn on one consistent snapshot.
func (d *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	return d.backend.read(ctx, fn)
}

// Query runs fn, which asks a single query, on what is committed now. On PostgreSQL that is one round trip, where Read takes three.
func (d *DB) Query(ctx context.Context, fn func(*Tx) error) error {
	return d.backend.query(ctx, fn)
}

// Tx is a running transaction. It is good only inside its closure.
type Tx struct {
	ctx      context.Context
	db       *DB
	q        querier
	now      time.Time
	topics   []string
	onCommit []func()
	// revision is the last number drawn, revisionEnd the last one that is the transaction's.
	revision, revisionEnd int64
	changes               []Change
}

// querier is a connection that prepares each statement once.
type querier interface {
	exec(ctx context.Context, query string, args []any) (int64, error)
	query(ctx context.Context, query string, args []any) (rows, error)
}

// rows is a result being read.
type rows interface {
	Row
	Next() bool
	Err() error
	Close() error
}

// Context is the transaction's context.
func (t *Tx) Context() context.Context { return t.ctx }

// Engine tells which database it is.
func (t *Tx) Engine() Engine { return t.db.engine }

// Now is the time of the transaction: the same for every call in it.
func (t *Tx) Now() time.Time { return t.now }

// NowMicros is Now in microseconds.
func (t *Tx) NowMicros() int64 { return t.now.UnixMicro() }

// Exec runs a statement and returns how many rows it changed.
func (t *Tx) Exec(query string, args ...any) (int64, error) {
	if t.db.trace != nil {
		t.db.trace(t, query, args)
	}
	n, err := t.q.exec(t.ctx, query, args)
	return n, classify(err, query)
}

// Row is what a scan function reads from.
type Row interface{ Scan(dest ...any) error }

// Each calls fn for every row.
func (t *Tx) Each(fn func(Row) error, query string, args ...any) (err error) {
	if t.db.trace != nil {
		t.db.trace(t, query, args)
	}
	rows, err := t.q.query(t.ctx, query, args)
	if err != nil {
		return classify(err, query)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return classify(rows.Err(), query)
}

// One returns the first row, or ErrNotFound.
func One[T any](t *Tx, scan func(Row) (T, error), query string, args ...any) (T, error) {
	var out T
	found := false
	err := t.Each(func(r Row) error {
		if found {
			return nil
		}
		found = true
		var err error
		out, err = scan(r)
		return err
	}, query, args...)
	if err == nil && !found {
		err = ErrNotFound
	}
	return out, err
}

// All returns every row.
func All[T any](t *Tx, scan func(Row) (T, error), query string, args ...any) ([]T, error) {
	var out []T
	err := t.Each(func(r Row) error {
		v, err := scan(r)
		if err == nil {
			out = append(out, v)
		}
		return err
	}, query, args...)
	return out, err
}

// Value scans a row of one column: db.One(tx, db.Value[int64], "SELECT count(*) …").
func Value[T any](r Row) (T, error) {
	var v T
	err := r.Scan(&v)
	return v, err
}

// Wake wakes the subscribers of topic after the commit, on every controller.
func (t *Tx) Wake(topic string) { t.topics = append(t.topics, topic) }

// OnCommit runs fn in this process after the commit.
func (t *Tx) OnCommit(fn func()) { t.onCommit = append(t.onCommit, fn) }

// NextRevision draws a number that grows over all resources. Draw it after the row is locked (an UPDATE or
// INSERT of it in this transaction), so that a row's revisions grow in the order of its commits.
func (t *Tx) NextRevision() (int64, error) {
	if t.db.engine == Postgres {
		return One(t, Value[int64], `SELECT nextval('revision')`)
	}
	// SQLite has one writer at a time, so a transaction may take several at once; those that it leaves over are never used.
	if t.revision == t.revisionEnd {
		end, err := One(t, Value[int64], `UPDATE counters SET value = value + 8 WHERE name = 'revision' RETURNING value`)
		if err != nil {
			return 0, err
		}
		t.revision, t.revisionEnd = end-8, end
	}
	t.revision++
	return t.revision, nil
}

// Change is one entry of the outbox.
type Change struct {
	Kind      string // server, port, …
	ID        string
	ProjectID string
	Action    string // create, update, delete
	RequestID string
}

// Note tells BeforeCommit of a change that no reader of the outbox needs.
func (t *Tx) Note(c Change) { t.changes = append(t.changes, c) }

// Changes are those of this transaction so far, noted or emitted.
func (t *Tx) Changes() []Change { return t.changes }

// Emit appends a change to the outbox.
func (t *Tx) Emit(c Change) error {
	t.Note(c)
	rev, err := t.NextRevision()
	if err != nil {
		return err
	}
	_, err = t.Exec(`INSERT INTO events (seq, kind, resource_id, project_id, action, request_id, at) VALUES ($1,$2,$3,$4,$5,$6,$7)`,
		rev, c.Kind, c.ID, c.ProjectID, c.Action, c.RequestID, t.NowMicros())
	t.Wake("events")
	return err
}

// LockQuota makes transactions that count the same resource of the same project wait for each other. Take it before
// counting. SQLite has one writer, so only PostgreSQL does something here.
func (t *Tx) LockQuota(projectID, resource string) error {
	if t.db.engine == SQLite {
		return nil
	}
	_, err := t.Exec(`INSERT INTO quota_locks (project_id, resource) VALUES ($1,$2) ON CONFLICT (project_id, resource) DO UPDATE SET resource = excluded.resource`, projectID, resource)
	return err
}

func (t *Tx) committed() {
	t.db.bus.publish(t.topics)
	for _, fn := range t.onCommit {
		fn()
	}
}

// begin makes the Tx that a closure gets.
func (d *DB) begin(ctx context.Context, q querier) *Tx {
	return &Tx{ctx: ctx, db: d, q: q, now: d.now()}
}

// classify makes constraint violations recognisable and says which statement failed.
func classify(err error, query string) error {
	if err == nil {
		return nil
	}
	if c, ok := constraint(err); ok {
		return &ErrConflict{Constraint: c, Err: fmt.Errorf("%w (in: %s)", err, head(query))}
	}
	return fmt.Errorf("%w (in: %s)", err, head(query))
}

func head(q string) string {
	q = strings.Join(strings.Fields(q), " ")
	if len(q) > 120 {
		q = q[:120] + "…"
	}
	return q
}

// IsConflict tells whether err is a violated constraint; an empty name means any, else the constraint or column
// text must contain name.
func IsConflict(err error, name string) bool {
	var c *ErrConflict
	return errors.As(err, &c) && strings.Contains(c.Constraint, name)
}

// bus wakes goroutines of this process.
type bus struct {
	mu   sync.Mutex
	subs map[string]map[*Subscription]struct{}
}

// Subscription receives wake-ups of its topics. Wake-ups that come while one is waiting to be read are merged.
type Subscription struct {
	C      <-chan struct{}
	c      chan struct{}
	bus    *bus
	topics []string
}

// Subscribe starts listening; call Close in the end.
func (d *DB) Subscribe(topics ...string) *Subscription {
	c := make(chan struct{}, 1)
	s := &Subscription{C: c, c: c, bus: &d.bus, topics: topics}
	d.bus.mu.Lock()
	defer d.bus.mu.Unlock()
	if d.bus.subs == nil {
		d.bus.subs = map[string]map[*Subscription]struct{}{}
	}
	for _, t := range topics {
		if d.bus.subs[t] == nil {
			d.bus.subs[t] = map[*Subscription]struct{}{}
		}
		d.bus.subs[t][s] = struct{}{}
	}
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	for _, t := range s.topics {
		delete(s.bus.subs[t], s)
		if len(s.bus.subs[t]) == 0 {
			delete(s.bus.subs, t)
		}
	}
}

func (b *bus) publish(topics []string) {
	if len(topics) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range topics {
		for s := range b.subs[t] {
			select {
			case s.c <- struct{}{}:
			default:
			}
		}
	}
}
