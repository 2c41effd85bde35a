package daemon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// The matrix: every route of every service is asked by every persona, through HTTP, and must admit or refuse as upstream's own engine
// does with its 2025.1 defaults (testdata/matrix/golden.json, written by internal/policy/gen/matrix.py).
//
// testdata/matrix/SERVICE.txt has a row per route, and per action where one route serves many:
//
//	METHOD PATH[@MICROVERSIONS][#VARIANT] | RULES | TARGET | BODY | OPTIONS ; NOTE
//
// RULES all have to grant, each [SERVICE/]RULE[@TARGET]; `public` asks for no token and `any` for no rule. TARGET is one of golden.json's.
// OPTIONS: p.NAME=FIXTURE fills a path parameter (default: the fixture of the parameter's name), h.NAME= sets a header, q= the query,
// mv= the microversion, type= the content type; need=FIXTURE,… is made before each request, pre=METHOD is sent by an administrator
// before it, gone=FIXTURE,… are used up by a success; also=STATUS,… are answers of admitted requests besides 2xx; foreign=STATUS is the
// answer to those whom the rule lets pass but whose project does not own the object; outsider=STATUS: the same before any rule is asked; hide=no: upstream finds the object for everybody;
// scope=project: tokens of other scopes get
// 403; own=ANSWERS: what golden.json would say of a rule that upstream does not have; show=RULE: the network's rule that decides between 403 and 404 where it is not get_ and the kind of the row's rule; ownproject=any: who asks about the own project passes. The NOTE cites upstream where not the rule alone decides.

// row is one line of a matrix file.
type row struct {
	line                    int
	service                 string
	method, path            string
	mv, variant             string
	rules                   []string
	target, body            string
	note                    string
	options                 map[string]string
	params, headers         map[string]string
	need, gone, also, query []string
}

func (r *row) String() string {
	s := r.service + " " + r.method + " " + r.path
	if r.variant != "" {
		s += "#" + r.variant
	}
	return s
}

func (r *row) key() string { return r.method + " " + r.path + "@" + r.mv }

func readRows(t *testing.T, service string) []*row {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "matrix", service+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []*row
	for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		cols := strings.SplitN(line, " | ", 4)
		if len(cols) != 4 {
			t.Fatalf("%s.txt:%d: %q has not five columns", service, i+1, line)
		}
		at := strings.LastIndex(cols[3], " |")
		if at < 0 {
			t.Fatalf("%s.txt:%d: %q has not five columns", service, i+1, line)
		}
		r := &row{line: i + 1, service: service, rules: strings.Split(cols[1], ","), target: cols[2], body: cols[3][:at],
			options: map[string]string{}, params: map[string]string{}, headers: map[string]string{}}
		r.method, r.path, _ = strings.Cut(cols[0], " ")
		r.path, r.variant, _ = strings.Cut(r.path, "#")
		r.path, r.mv, _ = strings.Cut(r.path, "@")
		options, note, _ := strings.Cut(cols[3][at+2:], ";")
		r.note = strings.TrimSpace(note)
		for _, o := range strings.Fields(options) {
			k, v, ok := strings.Cut(o, "=")
			list := strings.Split(v, ",")
			switch name, isParam := strings.CutPrefix(k, "p."); {
			case !ok:
				t.Fatalf("%s.txt:%d: option %q", service, i+1, o)
			case isParam:
				r.params[name] = v
			case strings.HasPrefix(k, "h."):
				r.headers[k[2:]] = v
			case k == "need":
				r.need = list
			case k == "gone":
				r.gone = list
			case k == "also":
				r.also = list
			case k == "q":
				r.query = append(r.query, v)
			default:
				r.options[k] = v
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// goldenMatrix is upstream's answers: service, target, rule, a character per persona.
type goldenMatrix struct {
	Personas []string
	Services map[string]map[string]map[string]string
}

func upstreamName(service string) string {
	return map[string]string{"identity": "keystone", "compute": "nova", "network": "neutron", "image": "glance", "placement": "placement"}[service]
}

// granted is upstream's answer to [service/]rule[@target] of a row.
func (g *goldenMatrix) granted(t *testing.T, r *row, rule string, persona int) bool {
	t.Helper()
	service, target := r.service, r.target
	if s, rest, ok := strings.Cut(rule, "/"); ok {
		service, rule = s, rest
	}
	if name, tg, ok := strings.Cut(rule, "@"); ok {
		rule, target = name, tg
	}
	answers := r.options["own"]
	if answers == "" {
		answers = g.Services[upstreamName(service)][target][rule]
	}
	if len(answers) != len(g.Personas) || answers[persona] == '?' {
		t.Fatalf("%s: golden.json has no answer of %s about %q", r, rule, target)
	}
	return answers[persona] == 'g'
}

// standing is what matters of a persona besides its rules.
type standing struct {
	name           string
	admin, inP1    bool
	serviceAccount bool
}

func standingOf(persona string) standing {
	return standing{name: persona, admin: slices.Contains([]string{"admin", "domain_admin", "system_admin"}, persona),
		inP1: slices.Contains([]string{"reader", "member", "manager", "admin"}, persona), serviceAccount: persona == "service"}
}

// answerOf is what a row's request must be answered: a status, 0 when it is admitted, and for a 403 the rule that the body has to name.
type answerOf struct {
	status int
	rule   string
}

// expect is the answer that upstream gives a persona.
func (g *goldenMatrix) expect(t *testing.T, r *row, persona int) answerOf {
	t.Helper()
	who := standingOf(g.Personas[persona])
	any := r.rules[0] == "any"
	if any && r.options["outsider"] == "" || r.options["ownproject"] == "any" && who.inP1 {
		return answerOf{}
	}
	if r.options["scope"] == "project" && who.scopeless() {
		return answerOf{status: http.StatusForbidden}
	}
	if r.service == "network" && r.method == "POST" && !strings.Contains(r.path, "/{id}/") && !strings.Contains(r.body, `"project_id"`) && who.scopeless() {
		return answerOf{status: http.StatusBadRequest} // neutron_lib/api/attributes.py, populate_project_id: a new object needs a project before any rule is asked
	}
	if s := r.options["outsider"]; s != "" && !who.admin && !who.inP1 && !who.serviceAccount {
		return answerOf{status: atoi(t, s)}
	}
	if any {
		return answerOf{}
	}
	if hidden(r, who) {
		return answerOf{status: http.StatusNotFound}
	}
	for _, rule := range r.rules {
		if !g.granted(t, r, rule, persona) {
			a := answerOf{status: g.refusal(t, r, rule, persona)}
			if a.status == http.StatusForbidden {
				a.rule, _, _ = strings.Cut(strings.TrimPrefix(rule, "image/"), "@")
			}
			return a
		}
	}
	if s, ok := r.options["foreign"]; ok && !who.admin && !who.inP1 {
		return answerOf{status: atoi(t, s)}
	}
	return answerOf{}
}

// says tells whether a 403's body words the refusal of a rule as upstream's service does.
func says(service, body, rule string) bool {
	switch service {
	case "identity": // keystone/exception.py, ForbiddenAction
		return strings.Contains(body, `"message":"You are not authorized to perform the requested action: `+rule+`."`) && strings.Contains(body, `"title":"Forbidden"`)
	case "compute": // nova/exception.py, PolicyNotAuthorized; an image's refusal is the image service's
		return strings.Contains(body, `{"forbidden":{"code":403,"message":"Policy doesn't allow `+rule+` to be performed."}}`) || strings.Contains(rule, "image")
	case "placement": // placement/exception.py, PolicyNotAuthorized
		return strings.Contains(body, "Policy does not allow "+rule+" to be performed.")
	case "image": // glance/common/exception.py, Forbidden
		return strings.Contains(body, "You are not authorized to complete "+rule+" action.")
	case "network": // oslo_policy/policy.py, PolicyNotAuthorized and InvalidScope
		return strings.Contains(body, "rule:"+rule) && (strings.Contains(body, `is disallowed by policy","type":"PolicyNotAuthorized"`) ||
			strings.Contains(body, "requires a scope of ['project'], request was made with") && strings.Contains(body, `"type":"InvalidScope"`)) ||
			rule == "context_is_admin" && (strings.Contains(body, `"type":"AdminRequired"`) || strings.Contains(body, `"type":"NotAuthorized"`))
	}
	return false
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// scopeless tells whether the persona's token has no project.
func (s standing) scopeless() bool {
	return strings.HasPrefix(s.name, "domain_") || strings.HasPrefix(s.name, "system_")
}

// hidden tells whether upstream's database layer hides the row's object from a persona before any rule is asked.
func hidden(r *row, who standing) bool {
	if who.admin || who.inP1 || r.options["hide"] == "no" {
		return false
	}
	image := r.service == "image" || strings.HasPrefix(r.rules[0], "image/")
	switch {
	case image: // glance/db/utils.py, is_image_visible; the shared image's member sees it
		return r.target == "own" || r.target == "namespace" || strings.HasSuffix(r.rules[0], "@own") || r.target == "member" && who.name != "other"
	case r.service == "compute": // nova/db/main/api.py, project_only; nova/objects/instance_group.py
		return strings.HasPrefix(r.path, "/v2.1/servers/{id}") || r.path == "/v2.1/os-server-groups/{id}"
	case r.service == "network": // neutron_lib/db/utils.py, model_query_scope_is_project
		return r.target == "own" && !who.serviceAccount
	}
	return false
}

// refusal is the status of a refused rule: 403, or the 404 that hides the object from those who may not see it.
func (g *goldenMatrix) refusal(t *testing.T, r *row, rule string, persona int) int {
	t.Helper()
	show := ""
	switch name := strings.TrimPrefix(rule, "image/"); {
	case name == "publicize_image" || name == "communitize_image": // asked before the image's own rule and never hidden
	case strings.Contains(name, "metadef"): // glance/api/v2/policy.py, MetadefAPIPolicy
		show = "get_metadef_namespace"
	case (r.service == "image" || name != rule) && (r.target != "self" && r.target != "none" && !strings.HasSuffix(name, "@self")): // ImageAPIPolicy
		show = "image/get_image"
		if _, target, ok := strings.Cut(name, "@"); ok {
			show += "@" + target
		}
	case r.service == "network" && r.method != "POST" && r.options["hide"] != "no": // neutron/pecan_wsgi/hooks/policy_enforcement.py
		_, what, _ := strings.Cut(strings.Split(r.rules[0], ":")[0], "_")
		if show = "get_" + what; strings.HasPrefix(r.path, "/v2.0/routers/") {
			show = "get_router"
		}
		if s := r.options["show"]; s != "" {
			show = s
		}
	}
	if show != "" && (show == rule || !g.granted(t, r, show, persona)) {
		return http.StatusNotFound
	}
	return http.StatusForbidden
}

// routesOf are a service's routes by the rows' key: with microversions only where the same method and path stand several times.
func routesOf(s *api.Service) map[string]*api.Route {
	times := map[string]int{}
	for _, r := range s.Routes {
		times[r.Method+" "+r.Path]++
	}
	out := map[string]*api.Route{}
	for i := range s.Routes {
		r := &s.Routes[i]
		key := r.Method + " " + strings.TrimSuffix(r.Path, "{$}") + "@"
		if times[r.Method+" "+r.Path] > 1 {
			mv := r.MV.String()
			key += mv
		}
		out[key] = r
	}
	return out
}

func TestMatrix(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "matrix", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g goldenMatrix
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	c := newMatrixCloud(t)
	asked, services := 0, 0
	for _, s := range c.dev.ctl.services {
		t.Run(s.Name, func(t *testing.T) {
			c.t = t
			services++
			routes, seen := routesOf(s), map[string]bool{}
			for _, r := range readRows(t, s.Name) {
				route := routes[r.key()]
				if route == nil {
					t.Errorf("%s.txt:%d: there is no route %s", s.Name, r.line, r.key())
					continue
				}
				seen[r.key()] = true
				checkOperation(t, s, r)
				asked += c.ask(t, &g, s, route, r)
			}
			for key := range routes {
				if !seen[key] {
					t.Errorf("%s %s has no row: add one to internal/daemon/testdata/matrix/%s.txt", s.Name, key, s.Name)
				}
			}
		})
	}
	if services == len(c.dev.ctl.services) && asked < 5000 {
		t.Errorf("only %d questions", asked)
	}
}

// ask sends a row's request as every persona and returns how many.
func (c *matrixCloud) ask(t *testing.T, g *goldenMatrix, s *api.Service, route *api.Route, r *row) int {
	t.Helper()
	check := func(persona string, a answerOf) {
		t.Helper()
		want := a.status
		for _, n := range r.need {
			c.need(n)
		}
		q := c.request(s, route, r)
		if pre := r.options["pre"]; pre != "" {
			p := q
			p.method = pre
			c.send(c.admin, p)
		}
		got, body := c.send(c.tokens[persona], q)
		ok := got/100 == 2 || slices.Contains(r.also, strconv.Itoa(got))
		if want == 0 && !ok || want != 0 && got != want {
			t.Errorf("%s.txt:%d: %s as %s: %d, want %s\n%s %s\n%.300s", s.Name, r.line, r, persona, got, wanted(want, r), q.method, q.path, body)
		}
		if a.rule != "" && got == a.status && r.method != "HEAD" && !says(s.Name, body, a.rule) {
			t.Errorf("%s.txt:%d: %s as %s: the refusal of %s is not upstream's: %.300s", s.Name, r.line, r, persona, a.rule, body)
		}
		if got/100 == 2 {
			for _, n := range r.gone {
				c.forget(n)
			}
			if r.method == "DELETE" {
				for _, n := range r.params {
					if strings.HasPrefix(n, "spare_") {
						c.forget(n)
					}
				}
				for _, v := range r.headers {
					c.forget(strings.TrimPrefix(v, "$"))
				}
			}
		}
	}
	if r.rules[0] == "public" {
		check("anonymous", answerOf{})
		return 1
	}
	check("anonymous", answerOf{status: http.StatusUnauthorized})
	// The refused ones first: they leave everything as it is.
	for _, admitted := range []bool{false, true} {
		for i, p := range g.Personas {
			if want := g.expect(t, r, i); (want.status == 0) == admitted {
				check(p, want)
			}
		}
	}
	return 1 + len(g.Personas)
}

func wanted(status int, r *row) string {
	if status != 0 {
		return fmt.Sprint(status)
	}
	return "2xx " + strings.Join(r.also, " ")
}

// checkOperation compares a row with the requests that upstream documents with its rules: a row whose rules name another request
// must say in a note why they are asked all the same.
func checkOperation(t *testing.T, s *api.Service, r *row) {
	t.Helper()
	if r.note != "" || r.rules[0] == "any" || r.rules[0] == "public" {
		return
	}
	param := regexp.MustCompile(`\{[^}]*\}|/project_id\b`)
	plain := func(p string) string {
		p, _, _ = strings.Cut(p, " ")
		p, _, _ = strings.Cut(p, "?")
		return strings.TrimSuffix(param.ReplaceAllString(p, "{}"), "/")
	}
	short := r.path
	for _, prefix := range []string{"/v2.1", "/v2.0"} {
		short = strings.TrimPrefix(short, prefix)
	}
	for _, rule := range r.rules {
		for _, d := range s.Policy.Rules() {
			if d.Name != rule {
				continue
			}
			if slices.ContainsFunc(d.Operations, func(o policy.Operation) bool {
				return strings.Contains(o.Method, r.method) && (plain(o.Path) == plain(short) || plain(o.Path) == plain(r.path))
			}) {
				return
			}
		}
	}
	t.Errorf("%s.txt:%d: upstream documents none of the rules %v with %s %s; cite in a note where they are asked", s.Name, r.line, r.rules, r.method, r.path)
}
