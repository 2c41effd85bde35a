package arch

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

// caches are package variables that change and may: they remember what follows from their key alone, so that nobody can
// tell whether they are there. Anything else that changes belongs in a value that its user makes.
func caches() map[string]string {
	return map[string]string{
		"internal/api.plans":  "how to encode a type, by type",
		"internal/db.regexps": "compiled patterns, by pattern; SQLite calls a plain function",
	}
}

func TestNoInitFunctions(t *testing.T) {
	s := load(t)
	for _, dir := range s.dirs() {
		for _, f := range s.packages[dir].files {
			for _, d := range f.ast.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init function: wire things in cmd/ or in a constructor, where a reader sees it", s.fset.Position(fn.Pos()))
				}
			}
		}
	}
}

// TestNoMutablePackageState finds package variables that code changes: registries, counters, switches, locks.
func TestNoMutablePackageState(t *testing.T) {
	s := load(t)
	allowed := caches()
	used := map[string]bool{}
	for _, dir := range s.dirs() {
		for _, v := range changing(s, s.packages[dir]) {
			name := strings.TrimPrefix(dir+"."+v.name, ".")
			if allowed[name] != "" {
				used[name] = true
				continue
			}
			t.Errorf("%s: package variable %s changes while the program runs: keep it in a value that its user makes", s.fset.Position(v.pos), name)
		}
	}
	for name := range allowed {
		if !used[name] {
			t.Errorf("%s is allowed to change and does not: remove it from caches()", name)
		}
	}
}

type variable struct {
	name string
	pos  token.Pos
}

// changing lists the package variables (outside of tests) that are assigned, have elements assigned or deleted, have their address
// taken, or are of a type of sync that is there to change. Imported packages are not loaded: names are enough to find the variables.
func changing(s *source, p *pkg) []variable {
	var files []*ast.File
	for _, f := range p.files {
		if !f.test {
			files = append(files, f.ast)
		}
	}
	if len(files) == 0 {
		return nil
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: nothing{}, Error: func(error) {}}
	tp, _ := conf.Check(p.dir, s.fset, files, info)
	found := map[string]variable{}
	note := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
				continue
			case *ast.SelectorExpr:
				e = x.X
				continue
			case *ast.StarExpr:
				e = x.X
				continue
			case *ast.ParenExpr:
				e = x.X
				continue
			}
			break
		}
		id, ok := e.(*ast.Ident)
		if !ok {
			return
		}
		if v, ok := info.Uses[id].(*types.Var); ok && v.Parent() == tp.Scope() {
			found[v.Name()] = variable{v.Name(), id.Pos()}
		}
	}
	for _, f := range files {
		compared := map[ast.Expr]bool{} // an address that is only compared changes nothing
		ast.Inspect(f, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.BinaryExpr:
				if x.Op == token.EQL || x.Op == token.NEQ {
					compared[x.X], compared[x.Y] = true, true
				}
			case *ast.AssignStmt:
				if x.Tok != token.DEFINE {
					for _, e := range x.Lhs {
						note(e)
					}
				}
			case *ast.RangeStmt:
				if x.Tok == token.ASSIGN {
					note(x.Key)
					if x.Value != nil {
						note(x.Value)
					}
				}
			case *ast.IncDecStmt:
				note(x.X)
			case *ast.UnaryExpr:
				if x.Op == token.AND && !compared[x] {
					note(x.X)
				}
			case *ast.CallExpr:
				if id, ok := x.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(x.Args) > 0 {
					note(x.Args[0])
				}
			}
			return true
		})
		for _, v := range locks(f) {
			found[v.name] = v
		}
	}
	var out []variable
	for _, v := range found {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b variable) int { return strings.Compare(a.name, b.name) })
	return out
}

// locks lists the package variables whose declared type is sync.X or atomic.X.
func locks(f *ast.File) []variable {
	var out []variable
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			vs := spec.(*ast.ValueSpec)
			sel, ok := vs.Type.(*ast.SelectorExpr)
			if !ok {
				continue
			}
			if from, ok := sel.X.(*ast.Ident); ok && (from.Name == "sync" || from.Name == "atomic") {
				for _, n := range vs.Names {
					out = append(out, variable{n.Name, n.Pos()})
				}
			}
		}
	}
	return out
}

// nothing imports empty packages.
type nothing struct{}

func (nothing) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, path[strings.LastIndexByte(path, '/')+1:])
	p.MarkComplete()
	return p, nil
}
