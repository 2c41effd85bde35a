package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hanok-cloud/hanok"

// source is the module's Go code: packages by folder, "" being the top.
type source struct {
	fset     *token.FileSet
	packages map[string]*pkg
}

type pkg struct {
	dir   string
	files []*file
}

type file struct {
	path      string // from the module's root
	test      bool
	generated bool
	lines     int
	ast       *ast.File
}

// imports are the packages of this module that the file imports, as folders; all also lists the others.
func (f *file) imports() (own, all []string) {
	for _, s := range f.ast.Imports {
		p, _ := strconv.Unquote(s.Path.Value)
		all = append(all, p)
		if p == module {
			own = append(own, "")
		} else if rest, ok := strings.CutPrefix(p, module+"/"); ok {
			own = append(own, rest)
		}
	}
	return own, all
}

func (s *source) dirs() []string {
	var out []string
	for d := range s.packages {
		out = append(out, d)
	}
	sort.Strings(out)
	return out
}

// load parses the whole module. Folders with a go.mod of their own, testdata and folders without Go code do not belong to it.
func load(t *testing.T) *source {
	t.Helper()
	s := &source{fset: token.NewFileSet(), packages: map[string]*pkg{}}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == "." {
				return nil
			}
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			if base := d.Name(); base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		return s.add(name, rel)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.packages) < 10 {
		t.Fatalf("only %d packages found below %s", len(s.packages), root)
	}
	return s
}

func (s *source) add(name, rel string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	tree, err := parser.ParseFile(s.fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(rel)
	if dir == "." {
		dir = ""
	}
	if s.packages[dir] == nil {
		s.packages[dir] = &pkg{dir: dir}
	}
	s.packages[dir].files = append(s.packages[dir].files, &file{
		path: rel, test: strings.HasSuffix(rel, "_test.go"), generated: ast.IsGenerated(tree),
		lines: strings.Count(string(text), "\n"), ast: tree,
	})
	return nil
}

// under tells whether folder d is p or lies below it.
func under(d, p string) bool { return d == p || strings.HasPrefix(d, p+"/") }
