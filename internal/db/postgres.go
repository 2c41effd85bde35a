package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresDB runs writes READ COMMITTED and reads on a repeatable snapshot. Wake-ups cross controllers by NOTIFY.
type postgresDB struct {
	d      *DB
	pool   *sql.DB
	url    string
	cancel context.CancelFunc
	done   chan struct{}
}

// notifyChannel carries the topics of a commit, separated by newlines.
const notifyChannel = "hanok"

func openPostgres(ctx context.Context, d *DB, url string) (*postgresDB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(32)
	pool.SetMaxIdleConns(16)
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL at %s: %w", cfg.Host, err)
	}
	lctx, cancel := context.WithCancel(context.Background())
	p := &postgresDB{d: d, pool: pool, url: url, cancel: cancel, done: make(chan struct{})}
	go p.listen(lctx)
	return p, nil
}

func (p *postgresDB) close() error {
	p.cancel()
	<-p.done
	return p.pool.Close()
}

func (p *postgresDB) write(ctx context.Context, soon bool, work func(*Tx) error) error {
	fn := work
	if soon {
		fn = func(tx *Tx) error {
			// PostgreSQL writes its log to the disk by itself every 0.2 s (wal_writer_delay).
			if _, err := tx.Exec(`SET LOCAL synchronous_commit = off`); err != nil {
				return err
			}
			return work(tx)
		}
	}
	for attempt := 0; ; attempt++ {
		err := p.once(ctx, nil, fn)
		var pg *pgconn.PgError
		retry := errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
		if !retry || attempt == 20 || ctx.Err() != nil {
			return err
		}
		// The other transaction has committed by now or will soon; a short growing pause avoids meeting it again.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(attempt) * 2 * time.Millisecond):
		}
	}
}

func (p *postgresDB) read(ctx context.Context, fn func(*Tx) error) error {
	return p.once(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, fn)
}

func (p *postgresDB) query(ctx context.Context, fn func(*Tx) error) error {
	return fn(p.d.begin(ctx, pgQuerier{p.pool}))
}

func (p *postgresDB) once(ctx context.Context, o *sql.TxOptions, fn func(*Tx) error) error {
	tx, err := p.pool.BeginTx(ctx, o)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	t := p.d.begin(ctx, pgQuerier{tx})
	if err := fn(t); err != nil {
		return err
	}
	if len(t.topics) > 0 {
		if _, err := tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, notifyChannel, notifyPayload(t.topics)); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	t.committed()
	return nil
}

// notifyPayload joins topics; PostgreSQL takes under 8,000 bytes, and "*" wakes everybody.
func notifyPayload(topics []string) string {
	seen := map[string]bool{}
	var uniq []string
	for _, t := range topics {
		if !seen[t] {
			seen[t] = true
			uniq = append(uniq, t)
		}
	}
	s := strings.Join(uniq, "\n")
	if len(s) > 7900 {
		return "*"
	}
	return s
}

// listen passes NOTIFY on to this process's subscribers. After a break it wakes everybody once, since what
// was missed is unknown.
func (p *postgresDB) listen(ctx context.Context) {
	defer close(p.done)
	for ctx.Err() == nil {
		if err := p.listenOnce(ctx); err != nil && ctx.Err() == nil {
			p.d.log.Warn("listening for wake-ups broke; trying again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

func (p *postgresDB) listenOnce(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(ctx, "LISTEN "+notifyChannel); err != nil {
		return err
	}
	p.d.bus.publishAll()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if n.Payload == "*" {
			p.d.bus.publishAll()
		} else {
			p.d.bus.publish(strings.Split(n.Payload, "\n"))
		}
	}
}

func (b *bus) publishAll() {
	b.mu.Lock()
	topics := make([]string, 0, len(b.subs))
	for t := range b.subs {
		topics = append(topics, t)
	}
	b.mu.Unlock()
	b.publish(topics)
}

// pgQuerier asks in a transaction, or without one when on is the pool.
type pgQuerier struct {
	on interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func (q pgQuerier) exec(ctx context.Context, query string, args []any) (int64, error) {
	r, err := q.on.ExecContext(ctx, query, storable(args)...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (q pgQuerier) query(ctx context.Context, query string, args []any) (rows, error) {
	r, err := q.on.QueryContext(ctx, query, storable(args)...)
	if err != nil {
		return nil, err // a nil *sql.Rows would be a rows that is not nil
	}
	return r, nil
}

// constraint reads the violated constraint out of either engine's error.
func constraint(err error) (string, bool) {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if strings.HasPrefix(pg.Code, "23") {
			return pg.TableName + "." + pg.ConstraintName, true
		}
		return "", false
	}
	return sqliteConstraint(err)
}
