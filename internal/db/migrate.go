package db

import (
	"context"
	"embed"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

//go:embed schema/*.sql
var schemaFS embed.FS

type migration struct {
	version int
	name    string
	text    string
}

// migrations reads schema/NNNN_name.sql in order. A block between "-- only sqlite" (or postgres) and "-- end" is for
// that engine alone.
func migrations(e Engine) ([]migration, error) {
	entries, err := schemaFS.ReadDir("schema")
	if err != nil {
		return nil, err
	}
	var out []migration
	for _, f := range entries {
		num, name, ok := strings.Cut(strings.TrimSuffix(f.Name(), ".sql"), "_")
		v, err := strconv.Atoi(num)
		if !ok || err != nil {
			return nil, fmt.Errorf("schema file %s must be named NNNN_name.sql", f.Name())
		}
		b, err := schemaFS.ReadFile("schema/" + f.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, migration{v, name, forEngine(string(b), e)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].version < out[j].version })
	for i := 1; i < len(out); i++ {
		if out[i].version == out[i-1].version {
			return nil, fmt.Errorf("two schema files have the number %04d", out[i].version)
		}
	}
	return out, nil
}

func forEngine(text string, e Engine) string {
	var b strings.Builder
	only := ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "-- only "):
			only = strings.TrimPrefix(trimmed, "-- only ")
		case trimmed == "-- end":
			only = ""
		case only == "" || only == string(e):
			b.WriteString(line)
		}
	}
	return b.String()
}

// migrate applies what is missing, each migration in a transaction of its own. Two controllers that start together
// take turns.
func (d *DB) migrate(ctx context.Context) error {
	all, err := migrations(d.engine)
	if err != nil {
		return err
	}
	err = d.Write(ctx, func(t *Tx) error {
		_, err := t.Exec(`CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)`)
		return err
	})
	if err != nil && !IsConflict(err, "") { // two controllers made the table at once
		return fmt.Errorf("prepare schema: %w", err)
	}
	for _, m := range all {
		err := d.Write(ctx, func(t *Tx) error {
			if d.engine == Postgres {
				if _, err := t.Exec(`SELECT pg_advisory_xact_lock(727021)`); err != nil {
					return err
				}
			}
			if n, err := One(t, Value[int64], `SELECT count(*) FROM schema_migrations WHERE version = $1`, m.version); err != nil || n > 0 {
				return err
			}
			if _, err := t.q.exec(t.ctx, m.text+"\n;", nil); err != nil {
				return err
			}
			_, err := t.Exec(`INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1,$2,$3)`, m.version, m.name, t.NowMicros())
			return err
		})
		if err != nil {
			return fmt.Errorf("schema %04d_%s: %w", m.version, m.name, err)
		}
	}
	return nil
}
