package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/db"
)

// Whoever changes the own password proves to be somebody by the old one. That is no login: the entry is the change's.
func TestAuditOfAnOwnPassword(t *testing.T) {
	t.Parallel()
	d, err := StartDev(t.Context(), DevOptions{Empty: true, AdminPassword: "before"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var admin string
	read := func(query string) []string {
		t.Helper()
		var out []string
		if err := d.ctl.db.Read(t.Context(), func(tx *db.Tx) (err error) {
			out, err = db.All(tx, db.Value[string], query)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	admin = read(`SELECT id FROM identity_users WHERE name = 'admin'`)[0]
	change := func(old string, want int) {
		t.Helper()
		body := `{"user":{"original_password":"` + old + `","password":"after"}}`
		r := httptest.NewRequest("POST", "/identity/v3/users/"+admin+"/password", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		d.ctl.handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Fatal(w.Code, w.Body)
		}
	}
	change("wrong", 401)
	change("before", 204)
	if err := d.ctl.audit.Flush(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	entries := strings.Join(read(`SELECT event FROM audit_inbox UNION ALL SELECT event FROM audit_log`), "\n")
	var told []string
	for line := range strings.SplitSeq(entries, "\n") {
		if !strings.Contains(line, "/password") {
			continue
		}
		var e struct {
			Action, Outcome   string
			Initiator, Target struct{ ID string }
			Changes           []any
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err, line)
		}
		told = append(told, fmt.Sprintf("%s %s by %v of %v, %v changes", e.Action, e.Outcome, e.Initiator.ID == admin, e.Target.ID == admin, len(e.Changes)))
	}
	slices.Sort(told)
	if want := []string{"update failure by true of true, 0 changes", "update success by true of true, 2 changes"}; !slices.Equal(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
}

// The log is searched and verified through the running cloud and in its database, and a change of the database shows.
func TestAuditCommands(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	paths := Paths{Data: t.TempDir()}
	cfg := config.Default()
	cfg.Data.Folder = paths.Data
	kek, err := paths.kek()
	if err != nil {
		t.Fatal(err)
	}
	ctl, err := newController(ctx, controllerOptions{
		Config: cfg, DatabaseURL: cfg.DatabaseURL(), KEK: kek, ImageDir: filepath.Join(paths.Data, "images"), BcryptCost: bcrypt.MinCost,
		AuditHeads: paths.AuditHeads(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ctl.bootstrap(ctx, "secret"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r := httptest.NewRequest("POST", "/identity/v3/auth/tokens", strings.NewReader(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","password":"wrong","domain":{"id":"default"}}}}}}`))
		w := httptest.NewRecorder()
		ctl.handler.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Fatal(w.Code, w.Body)
		}
	}
	if _, err := ctl.resetPassword(ctx, paths, "Default", "admin"); err != nil {
		t.Fatal(err)
	}
	search := func(q AuditQuery, limit int) (out []string) {
		t.Helper()
		if err := SearchAudit(ctx, cfg, paths, q, limit, func(r AuditRow) error { out = append(out, r.Text()); return nil }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if err := paths.claim(); err != nil {
		t.Fatal(err)
	}
	if err := (control{audit: ctl.audit.Search}).serve(ctx, paths.Control()); err != nil {
		t.Fatal(err)
	}
	if got := search(AuditQuery{Action: "authenticate", Outcome: "failure"}, 0); len(got) != 3 || !strings.Contains(got[0], "401") {
		t.Errorf("through the socket: %q", got)
	}
	if got := search(AuditQuery{}, 2); len(got) != 2 {
		t.Errorf("%q, want two rows", got)
	}
	if got := search(AuditQuery{Target: "Default/admin"}, 0); len(got) != 1 || !strings.Contains(got[0], "by local-administrator from localhost") {
		t.Errorf("the administrator of the machine: %q", got)
	}
	if err := ctl.audit.Export(ctx); err != nil {
		t.Fatal(err)
	}
	good := func() {
		t.Helper()
		if text, err := VerifyAudit(ctx, cfg, paths, nil); err != nil || !strings.Contains(text, "rows 1 to 4, 1 signed heads") {
			t.Errorf("%s %v", text, err)
		}
	}
	good() // while it runs
	if err := ctl.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(paths.PIDFile()); err != nil {
		t.Fatal(err)
	}
	if got := search(AuditQuery{Action: "authenticate"}, 0); len(got) != 3 {
		t.Errorf("in the database: %q", got)
	}
	good()
	d, err := db.Open(ctx, db.Options{URL: cfg.DatabaseURL()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(ctx, func(tx *db.Tx) error { _, err := tx.Exec(`DELETE FROM audit_log WHERE n = 2`); return err }); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := VerifyAudit(ctx, cfg, paths, nil); !errors.Is(err, ErrTampered) || !strings.Contains(text, "first bad row 2") {
		t.Errorf("%s %v", text, err)
	}
	if _, err := VerifyAudit(ctx, cfg, paths, []string{filepath.Join(paths.Data, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := VerifyAudit(ctx, cfg, Paths{Data: t.TempDir()}, nil); err == nil {
		t.Error("there is no cloud")
	}
}
