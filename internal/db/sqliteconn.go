package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// sqliteConn is one connection, used by one goroutine at a time, that prepares each statement once. It talks to the driver without
// database/sql: the pool's locks, contexts and reflection cost more than most of our statements do.
type sqliteConn struct {
	conn  driver.Conn
	stmts map[string]*sqliteStmt
	args  []driver.NamedValue // of the statement being started
}

type sqliteStmt struct {
	st     driver.Stmt
	values []driver.Value // one row; nil while a result is being read
}

// stmtMax bounds a connection's statement cache: lists with many filters make many texts.
const stmtMax = 1000

// sqliteDriver is the driver that knows our functions.
func sqliteDriver() (driver.Driver, error) {
	if err := registerFunctions(); err != nil {
		return nil, err
	}
	pool, err := sql.Open("sqlite", ":memory:") // opens nothing yet
	if err != nil {
		return nil, err
	}
	return pool.Driver(), pool.Close()
}

func openSQLiteConn(d driver.Driver, dsn string) (*sqliteConn, error) {
	c, err := d.Open(dsn)
	if err != nil {
		return nil, err
	}
	return &sqliteConn{conn: c, stmts: map[string]*sqliteStmt{}}, nil
}

func (c *sqliteConn) close() (err error) {
	for _, s := range c.stmts {
		err = errors.Join(err, s.st.Close())
	}
	return errors.Join(err, c.conn.Close())
}

func (c *sqliteConn) stmt(ctx context.Context, query string) (*sqliteStmt, error) {
	if s, ok := c.stmts[query]; ok {
		if s.values == nil {
			return nil, errors.New("the statement's result is being read already: a statement has one cursor")
		}
		return s, nil
	}
	if len(c.stmts) >= stmtMax {
		for q, s := range c.stmts {
			if s.values == nil {
				continue
			}
			if err := s.st.Close(); err != nil {
				return nil, err
			}
			delete(c.stmts, q)
		}
	}
	st, err := c.conn.(driver.ConnPrepareContext).PrepareContext(ctx, numbered(query))
	if err != nil {
		return nil, err
	}
	s := &sqliteStmt{st: st, values: []driver.Value{}}
	c.stmts[query] = s
	return s, nil
}

// named converts the arguments. The slice is good until the next statement starts: the driver copies what it binds.
func (c *sqliteConn) named(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, a := range args {
		v, err := stored(a)
		if err != nil {
			return nil, fmt.Errorf("argument $%d: %w", i+1, err)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args, nil
}

// stored is an argument as the driver takes it.
func stored(a any) (driver.Value, error) {
	switch v := a.(type) {
	case nil, string, int64, bool, []byte, float64:
		return v, nil
	case int:
		return int64(v), nil
	// The values of a row that is written arrive as pointers to its fields.
	case *string:
		if v == nil {
			return nil, nil
		}
		return *v, nil
	case *int64:
		if v == nil {
			return nil, nil
		}
		return *v, nil
	case *bool:
		if v == nil {
			return nil, nil
		}
		return *v, nil
	}
	return driver.DefaultParameterConverter.ConvertValue(a)
}

func (c *sqliteConn) exec(ctx context.Context, query string, args []any) (int64, error) {
	if len(args) == 0 && strings.Contains(query, ";") { // a migration: several statements
		r, err := c.conn.(driver.ExecerContext).ExecContext(ctx, query, nil)
		if err != nil {
			return 0, err
		}
		return r.RowsAffected()
	}
	s, err := c.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	values, err := c.named(args)
	if err != nil {
		return 0, err
	}
	r, err := s.st.(driver.StmtExecContext).ExecContext(ctx, values)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c *sqliteConn) query(ctx context.Context, query string, args []any) (rows, error) {
	s, err := c.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	values, err := c.named(args)
	if err != nil {
		return nil, err
	}
	r, err := s.st.(driver.StmtQueryContext).QueryContext(ctx, values)
	if err != nil {
		return nil, err
	}
	out := &sqliteRows{rows: r, stmt: s, values: s.values}
	s.values = nil
	if n := len(r.Columns()); len(out.values) != n {
		out.values = make([]driver.Value, n)
	}
	return out, nil
}

// sqliteRows reads a result.
type sqliteRows struct {
	rows   driver.Rows
	stmt   *sqliteStmt
	values []driver.Value
	err    error
	closed bool
}

func (r *sqliteRows) Next() bool {
	if r.closed || r.err != nil {
		return false
	}
	if r.err = r.rows.Next(r.values); errors.Is(r.err, io.EOF) {
		r.err = r.Close()
		return false
	}
	return r.err == nil
}

func (r *sqliteRows) Err() error { return r.err }

func (r *sqliteRows) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	err := r.rows.Close()
	clear(r.values)
	r.stmt.values = r.values
	return err
}

func (r *sqliteRows) Scan(dest ...any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("%d destinations for %d columns", len(dest), len(r.values))
	}
	for i, d := range dest {
		if err := assign(d, r.values[i]); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
	}
	return nil
}

// assign stores a column in the variable that dest points to. SQLite gives int64, float64, string, []byte or nil.
func assign(dest any, v driver.Value) error {
	switch d := dest.(type) {
	case *string:
		if s, ok := v.(string); ok {
			*d = s
			return nil
		}
	case *int64:
		if n, ok := v.(int64); ok {
			*d = n
			return nil
		}
	case *int:
		if n, ok := v.(int64); ok {
			*d = int(n)
			return nil
		}
	case *bool:
		if n, ok := v.(int64); ok {
			*d = n != 0
			return nil
		}
	case **string:
		switch s := v.(type) {
		case nil:
			*d = nil
			return nil
		case string:
			*d = &s
			return nil
		}
	case sql.Scanner:
		return d.Scan(v)
	}
	return assignOther(dest, v)
}

// assignOther does as database/sql does, through its own type for optional values, which converts as Rows.Scan does.
func assignOther(dest any, v driver.Value) error {
	switch d := dest.(type) {
	case *any:
		*d = v
		return nil
	case *string:
		return converted(d, v)
	case *int64:
		return converted(d, v)
	case *int:
		return converted(d, v)
	case *int32:
		return converted(d, v)
	case *uint32:
		return converted(d, v)
	case *uint64:
		return converted(d, v)
	case *bool:
		return converted(d, v)
	case *float64:
		return converted(d, v)
	case *[]byte:
		if v == nil {
			*d = nil
			return nil
		}
		return converted(d, v)
	case **int64:
		return optional(d, v)
	case **bool:
		return optional(d, v)
	}
	return fmt.Errorf("a %T cannot be read into %T", v, dest)
}

func converted[T any](dest *T, v driver.Value) error {
	var n sql.Null[T]
	if err := n.Scan(v); err != nil {
		return err
	}
	if !n.Valid {
		return fmt.Errorf("NULL cannot be read into %T", dest)
	}
	*dest = n.V
	return nil
}

func optional[T any](dest **T, v driver.Value) error {
	*dest = nil
	if v == nil {
		return nil
	}
	*dest = new(T)
	return converted(*dest, v)
}

// numbered turns $1 into what SQLite takes by number; to it "$1" is a name, numbered by where it first stands. Where the numbers stand in
// order a bare ? will do, which the driver binds much faster than one with a number, since that is a name too.
func numbered(q string) string {
	var b, bare strings.Builder
	quoted, ordered, next := false, true, 1
	for i := 0; i < len(q); i++ {
		ch := q[i]
		if ch == '\'' {
			quoted = !quoted
		}
		if ch != '$' || quoted || i+1 >= len(q) || q[i+1] < '0' || q[i+1] > '9' {
			b.WriteByte(ch)
			bare.WriteByte(ch)
			continue
		}
		j := i + 1
		for j < len(q) && q[j] >= '0' && q[j] <= '9' {
			j++
		}
		if n, err := strconv.Atoi(q[i+1 : j]); err != nil || n != next {
			ordered = false
		}
		next++
		b.WriteString("?" + q[i+1:j])
		bare.WriteByte('?')
		i = j - 1
	}
	if ordered {
		return bare.String()
	}
	return b.String()
}
