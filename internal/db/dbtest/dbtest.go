// Package dbtest opens databases for tests: SQLite always, PostgreSQL when HANOK_TEST_POSTGRES names a server
// (a URL whose user may create databases; `make test` starts one). It must not know any service.
package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/hanok-cloud/hanok/internal/db"
)

// Each runs the test on every engine at hand, each with a new empty database.
func Each(t *testing.T, fn func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { fn(t, open(t, "sqlite::memory:")) })
	t.Run("sqlite", func(t *testing.T) { fn(t, open(t, "sqlite:"+filepath.Join(t.TempDir(), "hanok.db"))) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// Traced is Each for a file and a server, with somebody who is told every statement.
func Traced(t *testing.T, trace func(tx *db.Tx, query string, args []any), fn func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		fn(t, openWith(t, db.Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "hanok.db"), Trace: trace}))
	})
	t.Run("postgres", func(t *testing.T) { fn(t, openWith(t, db.Options{URL: PostgresURL(t), Trace: trace})) })
}

// Memory opens an empty in-memory database: the quickest, for tests of rules that do not depend on the engine.
func Memory(t testing.TB) *db.DB {
	t.Helper()
	return open(t, "sqlite::memory:")
}

// PostgresURL makes an empty database and returns its URL, or skips when no server is named.
func PostgresURL(t testing.TB) string {
	t.Helper()
	admin := os.Getenv("HANOK_TEST_POSTGRES")
	if admin == "" {
		if os.Getenv("HANOK_TEST_REQUIRE") != "" {
			t.Fatal("HANOK_TEST_POSTGRES is not set")
		}
		t.Skip("HANOK_TEST_POSTGRES is not set")
	}
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	pool, err := sql.Open("pgx", admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec("CREATE DATABASE " + name + " TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := pool.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop test database: %v", err)
		}
		_ = pool.Close()
	})
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(fmt.Errorf("HANOK_TEST_POSTGRES: %w", err))
	}
	u.Path = "/" + name
	return u.String()
}

// Postgres opens an empty PostgreSQL database, or skips.
func Postgres(t testing.TB) *db.DB {
	t.Helper()
	return open(t, PostgresURL(t))
}

func open(t testing.TB, url string) *db.DB {
	t.Helper()
	return openWith(t, db.Options{URL: url})
}

func openWith(t testing.TB, o db.Options) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
