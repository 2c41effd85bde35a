package arch

import (
	"slices"
	"strings"
	"testing"
)

// layer is a part of the tree and what its packages may import from this module besides themselves. "*" is everything.
type layer struct {
	dir  string
	may  []string
	why  string
	deep bool // packages below dir may import each other
}

// kit is what every service is written with.
func kit(more ...string) []string {
	return append([]string{"internal/fault", "internal/db", "internal/policy", "internal/api"}, more...)
}

// nodes is what a service needs that tells nodes what to do.
func nodes(more ...string) []string {
	return kit(append([]string{"internal/nodeapi", "internal/nodehub"}, more...)...)
}

// layers goes from the bottom up. The most precise dir counts for a package.
func layers() []layer {
	return []layer{
		{dir: "internal/fault", why: "errors are below everything"},
		{dir: "internal/config", why: "settings do not know what they are used for"},
		{dir: "internal/pki", why: "certificates know nothing of the cloud"},
		{dir: "internal/clientcert", deep: true, why: "who is trusted for what is the caller's business"},
		{dir: "internal/imagefmt", why: "controller and node share it"},
		{dir: "internal/nodeapi", may: []string{"internal/fault"}, why: "it is the contract between controller and node"},
		{dir: "internal/policy", deep: true, why: "the engine knows no service"},
		{dir: "internal/db", deep: true, may: []string{"internal/fault"}, why: "SQL of a resource lives with its service"},
		{dir: "internal/api", deep: true, may: []string{"internal/fault", "internal/policy"}, why: "the HTTP kit knows no service and no SQL"},
		{dir: "internal/job", may: []string{"internal/api"}, why: "what a job does is its service's business"},
		{dir: "internal/policylog", may: []string{"internal/api", "internal/db", "internal/policy"}, why: "a refusal is the same for every service"},
		{dir: "internal/nodehub", deep: true, may: []string{"internal/db", "internal/fault", "internal/nodeapi"}, why: "it carries items and does not read them"},
		{dir: "internal/nodelink", deep: true, may: []string{"internal/fault", "internal/nodeapi", "internal/pki"}, why: "it carries the node protocol over the wire"},

		{dir: "internal/identity/conf", why: "options do not know what they are used for"},
		{dir: "internal/identity", deep: true, may: kit(), why: "every other service stands on it"},
		{dir: "internal/audit", may: kit("internal/identity"), why: "services need not know that they are watched"},
		{dir: "internal/image", deep: true, may: kit("internal/identity", "internal/imagefmt"), why: "it does not know who uses images"},
		{dir: "internal/placement", deep: true, may: kit("internal/identity"), why: "it does not know what consumes its inventories"},
		{dir: "internal/network", deep: true, may: nodes("internal/identity", "internal/image", "internal/placement"), why: "it does not know servers"},
		{dir: "internal/block", deep: true, may: nodes("internal/identity", "internal/image", "internal/placement"), why: "it does not know servers"},
		{dir: "internal/compute", deep: true, may: nodes("internal/identity", "internal/image", "internal/placement", "internal/network", "internal/block"), why: "it is the last of the core services"},
		{dir: "internal/loadbalancer", deep: true, may: nodes("internal/identity", "internal/image", "internal/placement", "internal/network", "internal/block", "internal/compute")},
		{dir: "internal/orchestration", deep: true, may: nodes("internal/identity", "internal/image", "internal/placement", "internal/network", "internal/block", "internal/compute", "internal/loadbalancer")},

		{dir: "internal/agent", deep: true, may: []string{"internal/nodeapi", "internal/fault", "internal/imagefmt"}, why: "a node knows what it is told, and no database and no service"},

		{dir: "internal/client", why: "it knows the public API alone"},
		{dir: "internal/demo", may: []string{"internal/client", "internal/pki"}, why: "it knows the public API alone"},
		{dir: "internal/dashboard", deep: true, may: []string{"internal/client"}, why: "it is a client of the public API"},
		{dir: "internal/doctor", may: []string{"internal/config"}, why: "it looks at the machine, before a cloud is there"},
		{dir: "internal/compat", deep: true, may: []string{"internal/api", "internal/policy"}, why: "it reads route tables, whoever made them"},
		{dir: "internal/compat/gen", may: []string{"*"}, why: "it makes every service to read its routes"},
		{dir: "internal/arch", why: "it reads source text only"},

		{dir: "internal/daemon", may: []string{"*"}, why: "it puts the parts together"},
		{dir: "internal/testcloud", may: []string{"*"}},
		{dir: "cmd", deep: true, may: []string{"internal/config", "internal/daemon", "internal/doctor", "internal/compat", "internal/client", "internal/identity/conf"}, why: "commands are flags and wiring; what they do lives in internal/"},
		{dir: "hanoktest", may: []string{"internal/daemon"}, why: "it is the program in one line"},
		{dir: "images", deep: true, why: "the guest image is built without the cloud"},
		{dir: "test", deep: true, may: []string{"*"}},
		{dir: "bench", deep: true, may: []string{"*"}},
	}
}

func layerOf(dir string) (layer, bool) {
	var best layer
	found := false
	for _, l := range layers() {
		if under(dir, l.dir) && (!found || len(l.dir) > len(best.dir)) {
			best, found = l, true
		}
	}
	return best, found
}

// allowed tells whether the layer of a package may import another package of this module.
func (l layer) allowed(from, to string) bool {
	if from == to || l.deep && under(to, l.dir) {
		return true
	}
	return slices.ContainsFunc(l.may, func(m string) bool { return m == "*" || under(to, m) })
}

// TestImportDirection keeps the packages in their order: a lower one never learns of a higher one. Test files may import more
// (a service's tests open databases and start its neighbours), but an agent's tests must not need a controller.
func TestImportDirection(t *testing.T) {
	s := load(t)
	for _, dir := range s.dirs() {
		l, ok := layerOf(dir)
		if !ok {
			t.Errorf("package %s stands in no layer: add it to layers() with what it may import", dir)
			continue
		}
		for _, f := range s.packages[dir].files {
			if f.test && !under(dir, "internal/agent") {
				continue
			}
			own, _ := f.imports()
			for _, imp := range own {
				if !l.allowed(dir, imp) {
					t.Errorf("%s imports %s; %s may import only %s and what is outside of the module (%s)",
						f.path, imp, l.dir, strings.Join(append([]string{"itself"}, l.may...), ", "), l.why)
				}
			}
		}
	}
}

// Helpers for tests must not end up in the program.
func TestProgramKnowsNoTestHelpers(t *testing.T) {
	s := load(t)
	helper := func(p string) bool {
		return strings.HasSuffix(p, "test") || p == "testing" || strings.HasPrefix(p, "testing/")
	}
	for _, dir := range s.dirs() {
		if helper(dir) || under(dir, "test") {
			continue
		}
		for _, f := range s.packages[dir].files {
			if f.test {
				continue
			}
			own, all := f.imports()
			for _, imp := range append(own, all...) {
				if imp != module && helper(imp) {
					t.Errorf("%s imports %s, which is for tests", f.path, imp)
				}
			}
		}
	}
}

// What would make the layers pointless: a rule that allows a cycle.
func TestLayersHaveAnOrder(t *testing.T) {
	all := layers()
	at := func(dir string) int { return slices.IndexFunc(all, func(l layer) bool { return l.dir == dir }) }
	for i, l := range all {
		if len(l.may) == 1 && l.may[0] == "*" {
			continue
		}
		for _, m := range l.may {
			j := at(m)
			if j < 0 {
				t.Errorf("%s may import %s, which is no layer", l.dir, m)
				continue
			}
			if slices.Contains(all[j].may, l.dir) {
				t.Errorf("%s and %s may import each other", l.dir, m)
			}
			if j > i && !under(l.dir, "internal/db") {
				t.Errorf("%s may import %s, which stands higher in the list", l.dir, m)
			}
		}
	}
}
