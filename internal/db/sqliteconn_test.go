package db

import (
	"strings"
	"testing"
)

func TestNumbered(t *testing.T) {
	for in, want := range map[string]string{
		`SELECT 1`: `SELECT 1`,
		`SELECT a FROM b WHERE c = $1 AND d = $2`:       `SELECT a FROM b WHERE c = ? AND d = ?`,
		`SELECT a FROM b WHERE c = $1 AND d = $1`:       `SELECT a FROM b WHERE c = ?1 AND d = ?1`,
		`UPDATE a SET b = $2 WHERE c = $1`:              `UPDATE a SET b = ?2 WHERE c = ?1`,
		`SELECT '$1', $1`:                               `SELECT '$1', ?`,
		`($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)`:          `(?,?,?,?,?,?,?,?,?,?,?)`,
		`SELECT $1 WHERE x IN ($2) ORDER BY y LIMIT $3`: `SELECT ? WHERE x IN (?) ORDER BY y LIMIT ?`,
	} {
		if got := numbered(in); got != want {
			t.Errorf("%s: %s, not %s", in, got, want)
		}
	}
}

// Columns are read as database/sql reads them.
func TestAssign(t *testing.T) {
	var s string
	var n int64
	var i int
	var b bool
	var f float64
	var raw []byte
	var p *string
	var pn *int64
	var a any
	for _, x := range []struct {
		dest any
		from any
		fail string
	}{
		{&s, "x", ""}, {&s, int64(3), ""}, {&s, nil, "NULL"}, {&n, int64(3), ""}, {&n, "12", ""}, {&n, "x", "convert"}, {&n, nil, "NULL"}, {&i, int64(4), ""},
		{&b, int64(1), ""}, {&b, "yes", "convert"}, {&b, nil, "NULL"}, {&f, 1.5, ""}, {&f, int64(2), ""}, {&raw, "abc", ""}, {&raw, nil, ""}, {&p, nil, ""},
		{&p, "q", ""}, {&pn, nil, ""}, {&pn, int64(9), ""}, {&a, int64(7), ""}, {new(struct{}), int64(7), "cannot be read"},
	} {
		err := assign(x.dest, x.from)
		if x.fail == "" && err != nil || x.fail != "" && (err == nil || !strings.Contains(err.Error(), x.fail)) {
			t.Errorf("%T from %v: %v, not %q", x.dest, x.from, err, x.fail)
		}
	}
	if s != "3" || n != 12 || i != 4 || !b || f != 2 || raw != nil || *p != "q" || *pn != 9 || a != int64(7) {
		t.Error(s, n, i, b, f, raw, *p, *pn, a)
	}
}
