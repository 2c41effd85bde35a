package arch

import (
	"go/ast"
	"strings"
	"testing"
)

// longest is where a file has certainly gathered a second subject.
const longest = 700

func TestNoGiantFiles(t *testing.T) {
	s := load(t)
	for _, dir := range s.dirs() {
		for _, f := range s.packages[dir].files {
			if f.lines > longest && !f.generated {
				t.Errorf("%s has %d lines (at most %d): split it by subject", f.path, f.lines, longest)
			}
		}
	}
}

// Every package says once what it is for and what it must not know.
func TestEveryPackageHasADocComment(t *testing.T) {
	s := load(t)
	for _, dir := range s.dirs() {
		var with []string
		code := false
		for _, f := range s.packages[dir].files {
			code = code || !f.test
			if f.ast.Doc == nil || f.test {
				continue
			}
			with = append(with, f.path)
			text, name := f.ast.Doc.Text(), f.ast.Name.Name
			want := "Package " + name + " "
			if name == "main" {
				want = "Command "
			}
			if !strings.HasPrefix(text, want) {
				t.Errorf("%s: the package comment must begin with %q", f.path, want)
			}
		}
		if code && len(with) == 0 {
			t.Errorf("package %s has no doc comment", dir)
		}
		if len(with) > 1 {
			t.Errorf("package %s has several doc comments: %s", dir, strings.Join(with, ", "))
		}
	}
}

// TestTestsDoNotSleep: a test that sleeps to wait for a state is slow on a quick machine and wrong on a slow one. Inside of
// testing/synctest a sleep takes no time and is exact.
func TestTestsDoNotSleep(t *testing.T) {
	s := load(t)
	for _, dir := range s.dirs() {
		for _, f := range s.packages[dir].files {
			if !f.test && !strings.HasSuffix(dir, "test") {
				continue
			}
			_, all := f.imports()
			if strings.Contains(strings.Join(all, " "), "testing/synctest") {
				continue
			}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if from, ok := sel.X.(*ast.Ident); ok && from.Name == "time" && sel.Sel.Name == "Sleep" {
					t.Errorf("%s sleeps: wait for the event", s.fset.Position(sel.Pos()))
				}
				return true
			})
		}
	}
}
