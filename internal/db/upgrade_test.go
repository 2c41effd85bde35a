package db_test

import (
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
)

// TestEveryReleaseUpgrades opens a database of each released version with this one: the schema is the same afterwards as that of a new
// database, nothing is damaged, and no row is lost from the tables that are still there.
func TestEveryReleaseUpgrades(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/releases/*.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(fixtures) == 0 {
		t.Skip("no version has been released yet")
	}
	for _, f := range fixtures {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".db.gz"), func(t *testing.T) { upgrade(t, unpack(t, f)) })
	}
}

// TestEveryEarlierSchemaUpgrades does the same from each step of the migrations, without rows.
func TestEveryEarlierSchemaUpgrades(t *testing.T) {
	full := filepath.Join(t.TempDir(), "full.db")
	closeDB(t, openFile(t, full))
	var versions []int64
	raw := rawOpen(t, full)
	rows, err := raw.Query(`SELECT version FROM schema_migrations ORDER BY version`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var v int64
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v)
	}
	if err := errors.Join(rows.Err(), rows.Close(), raw.Close()); err != nil {
		t.Fatal(err)
	}
	for i := range versions {
		t.Run(fmt.Sprintf("%04d", versions[i]), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "old.db")
			raw := rawOpen(t, path)
			if _, err := raw.Exec(`CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)`); err != nil {
				t.Fatal(err)
			}
			for _, v := range versions[:i+1] {
				name, text := schemaFile(t, v)
				if _, err := raw.Exec(text); err != nil {
					t.Fatal(err)
				}
				if _, err := raw.Exec(`INSERT INTO schema_migrations VALUES ($1, $2, 0)`, v, name); err != nil {
					t.Fatal(err)
				}
			}
			if err := raw.Close(); err != nil {
				t.Fatal(err)
			}
			upgrade(t, path)
		})
	}
}

func upgrade(t *testing.T, path string) {
	t.Helper()
	raw := rawOpen(t, path)
	before := tableCounts(t, raw)
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	old := openFile(t, path)
	if diff := cmp.Diff(schemaOf(t, dbtest.Memory(t)), schemaOf(t, old)); diff != "" {
		t.Errorf("the schema differs from that of a new database (-new +upgraded):\n%s", diff)
	}
	closeDB(t, old)
	raw = rawOpen(t, path)
	defer func() { _ = raw.Close() }()
	var integrity string
	if err := raw.QueryRow(`PRAGMA integrity_check`).Scan(&integrity); err != nil || integrity != "ok" {
		t.Errorf("integrity check: %s, error %v", integrity, err)
	}
	var table string
	if err := raw.QueryRow(`SELECT "table" FROM pragma_foreign_key_check`).Scan(&table); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("a row of %s refers to one that is missing (%v)", table, err)
	}
	after := tableCounts(t, raw)
	for name, n := range before {
		if m, there := after[name]; there && name != "schema_migrations" && m < n {
			t.Errorf("table %s had %d rows and has %d", name, n, m)
		}
	}
}

// schemaFile is one migration as SQLite gets it.
func schemaFile(t *testing.T, version int64) (name, text string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("schema/%04d_*.sql", version))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of schema %d: %v, error %v", version, files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	skip := false
	for line := range strings.Lines(string(b)) {
		switch strings.TrimSpace(line) {
		case "-- only postgres":
			skip = true
		case "-- end":
			skip = false
		}
		if !skip {
			out = append(out, line)
		}
	}
	_, name, _ = strings.Cut(strings.TrimSuffix(filepath.Base(files[0]), ".sql"), "_")
	return name, strings.Join(out, "")
}

// schemaOf is every table and index with its text, comments and white space apart.
func schemaOf(t *testing.T, d *db.DB) []string {
	t.Helper()
	var out []string
	err := d.Read(context.Background(), func(tx *db.Tx) error {
		out = nil
		return tx.Each(func(r db.Row) error {
			var name, text string
			if err := r.Scan(&name, &text); err != nil {
				return err
			}
			var words []string
			for line := range strings.Lines(text) {
				code, _, _ := strings.Cut(line, "--")
				words = append(words, strings.Fields(code)...)
			}
			out = append(out, name+": "+strings.Join(words, " "))
			return nil
		}, `SELECT name, coalesce(sql, '') FROM sqlite_master ORDER BY name`)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tableCounts(t *testing.T, raw *sql.DB) map[string]int64 {
	t.Helper()
	rows, err := raw.Query(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	out := map[string]int64{}
	for _, n := range names {
		var c int64
		if err := raw.QueryRow(`SELECT count(*) FROM "` + n + `"`).Scan(&c); err != nil {
			t.Fatal(err)
		}
		out[n] = c
	}
	return out
}

func unpack(t *testing.T, fixture string) string {
	t.Helper()
	in, err := os.Open(fixture)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hanok.db")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, z); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t *testing.T, path string) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), db.Options{URL: "sqlite:" + path})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeDB(t *testing.T, d *db.DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func rawOpen(t *testing.T, path string) *sql.DB {
	t.Helper()
	raw, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
