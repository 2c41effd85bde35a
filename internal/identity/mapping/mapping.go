// Package mapping is the rule language of keystone/federation/utils.py: it turns what an identity provider says of somebody into a user, groups
// and projects. It is pure: it must not know the database, HTTP, or which of the groups and projects exist.
package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Versions of the rules' schema. With the second, projects may name a domain, and the domain at a rule's root counts for user and projects.
const (
	Version1 = "1.0"
	Version2 = "2.0"
)

// User types: an ephemeral user is made at its first login, a local one must exist.
const (
	Ephemeral = "ephemeral"
	Local     = "local"
)

// ErrNoMatch is wrapped by errors that say that the assertion does not get its sender in. All other errors are faults of the mapping itself.
var ErrNoMatch = errors.New("the assertion maps to nobody")

func noMatch(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNoMatch, fmt.Sprintf(format, args...))
}

// Domain is a domain by id or name; the id counts.
type Domain struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// User is who the assertion speaks of.
type User struct {
	ID     string  `json:"id,omitempty"`
	Name   string  `json:"name,omitempty"`
	Email  string  `json:"email,omitempty"`
	Domain *Domain `json:"domain,omitempty"`
	Type   string  `json:"type,omitempty"`
}

// Group is a group by name.
type Group struct {
	Name   string `json:"name"`
	Domain Domain `json:"domain"`
}

// Project is a project that the user is to have with these roles; without a domain it is in the identity provider's.
type Project struct {
	Name   string   `json:"name"`
	Roles  []string `json:"roles"`
	Domain *Domain  `json:"domain,omitempty"`
}

// Result is what an assertion maps to.
type Result struct {
	User       User      `json:"user"`
	GroupIDs   []string  `json:"group_ids"`
	GroupNames []Group   `json:"group_names"`
	Projects   []Project `json:"projects"`
}

// Mapping is a set of rules, ready to be applied; it may be used by many at once.
type Mapping struct {
	version string
	rules   []rule
}

type rule struct {
	local  []any // objects as they were given
	remote []requirement
}

// New compiles rules that Validate has found good.
func New(version string, rules any) (*Mapping, error) {
	if version != Version1 && version != Version2 {
		return nil, fmt.Errorf("schema_version %q is not known; %s and %s are", version, Version1, Version2)
	}
	list, ok := rules.([]any)
	if !ok {
		return nil, errors.New("rules are not a list")
	}
	m := &Mapping{version: version}
	for i, r := range list {
		obj, _ := r.(map[string]any)
		local, _ := obj["local"].([]any)
		remote, _ := obj["remote"].([]any)
		out := rule{local: local}
		for j, raw := range remote {
			q, err := compileRequirement(raw)
			if err != nil {
				return nil, fmt.Errorf("rules[%d].remote[%d]: %w", i, j, err)
			}
			out.remote = append(out.remote, q)
		}
		m.rules = append(m.rules, out)
	}
	return m, nil
}

// Apply maps an assertion: attributes by name, several values of one joined by semicolons.
func (m *Mapping) Apply(assertion map[string]string) (*Result, error) {
	values := make(map[string][]string, len(assertion))
	for name, v := range assertion {
		values[name] = strings.Split(v, ";")
	}
	var identities []map[string]any
	for i, r := range m.rules {
		direct, ok, err := r.match(values)
		if err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		if !ok {
			continue
		}
		for j, l := range r.local {
			v, err := substitute(l, direct)
			if err != nil {
				return nil, fmt.Errorf("rules[%d].local[%d]: %w", i, j, err)
			}
			obj, _ := v.(map[string]any)
			identities = append(identities, obj)
		}
	}
	return m.transform(identities)
}

// substitute replaces {0}, {1}, … in every string of a local part.
func substitute(v any, direct []any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			s, err := substitute(e, direct)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			out[k] = s
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			s, err := substitute(e, direct)
			if err != nil {
				return nil, err
			}
			out[i] = s
		}
		return out, nil
	case string:
		return format(v, direct)
	}
	return v, nil
}

// transform gathers what the rules that applied have said.
func (m *Mapping) transform(identities []map[string]any) (*Result, error) {
	if len(identities) == 0 {
		return nil, noMatch("no rule applies to it")
	}
	out := &Result{GroupIDs: []string{}, GroupNames: []Group{}, Projects: []Project{}}
	var user map[string]any
	for _, id := range identities {
		if u, _ := id["user"].(map[string]any); len(user) == 0 {
			user = u // of several users the first counts
		}
		if err := out.addGroups(id); err != nil {
			return nil, err
		}
		if list, ok := id["projects"].([]any); ok {
			// The last rule with projects counts, as upstream has it.
			out.Projects = readProjects(list)
			if m.version == Version2 {
				for i := range out.Projects {
					if p := &out.Projects[i]; p.Domain == nil {
						p.Domain = readDomain(id["domain"])
					}
				}
			}
		}
	}
	out.User = User{ID: str(user, "id"), Name: str(user, "name"), Email: str(user, "email"), Domain: readDomain(user["domain"]), Type: str(user, "type")}
	switch _, given := user["type"]; {
	case !given:
		out.User.Type = Ephemeral
	case out.User.Type != Ephemeral && out.User.Type != Local:
		return nil, noMatch("User type %s not supported", out.User.Type)
	}
	if m.version == Version2 && out.User.Domain == nil {
		// Only the last rule's root domain counts here (normalize_user in keystone/federation/utils.py).
		out.User.Domain = readDomain(identities[len(identities)-1]["domain"])
	}
	return out, nil
}

func str(d map[string]any, name string) string {
	s, _ := d[name].(string)
	return s
}

// readDomain is nil where no domain is named.
func readDomain(v any) *Domain {
	d, _ := v.(map[string]any)
	if len(d) == 0 {
		return nil
	}
	return &Domain{ID: str(d, "id"), Name: str(d, "name")}
}

func readProjects(list []any) []Project {
	out := make([]Project, 0, len(list))
	for _, e := range list {
		d, _ := e.(map[string]any)
		p := Project{Name: str(d, "name"), Roles: []string{}, Domain: readDomain(d["domain"])}
		roles, _ := d["roles"].([]any)
		for _, r := range roles {
			if role, ok := r.(map[string]any); ok {
				p.Roles = append(p.Roles, str(role, "name"))
			}
		}
		out = append(out, p)
	}
	return out
}

func (out *Result) addGroupID(id string) {
	if !slices.Contains(out.GroupIDs, id) {
		out.GroupIDs = append(out.GroupIDs, id)
	}
}

func (out *Result) addGroup(g Group) {
	if !slices.Contains(out.GroupNames, g) {
		out.GroupNames = append(out.GroupNames, g)
	}
}

// addGroups reads group, groups and group_ids of one local part.
func (out *Result) addGroups(id map[string]any) error {
	if g, ok := id["group"].(map[string]any); ok {
		if gid, ok := g["id"].(string); ok {
			out.addGroupID(gid)
		} else if name, ok := g["name"].(string); ok {
			d := readDomain(g["domain"])
			if d == nil {
				return errors.New("a group is named without its domain")
			}
			out.addGroup(Group{name, *d})
		}
	}
	if text, ok := id["groups"].(string); ok {
		list, err := namedGroups(text, id)
		if err != nil {
			return err
		}
		for _, g := range list {
			out.addGroup(g)
		}
	}
	if text, ok := id["group_ids"].(string); ok {
		for _, gid := range literalList(text) {
			out.addGroupID(gid)
		}
	}
	return nil
}

// namedGroups reads "groups": one name, the text of a Python list of names, or (if "name" stands anywhere in it) JSON objects after "JSON:".
func namedGroups(text string, id map[string]any) ([]Group, error) {
	const both = "both 'groups' and 'domain' keywords must be specified"
	var out []Group
	if !strings.Contains(text, "name") {
		d := readDomain(id["domain"])
		if _, given := id["domain"]; !given {
			return nil, noMatch(both)
		}
		if d == nil {
			return nil, errors.New("groups are named and their domain is empty")
		}
		for _, name := range literalList(text) {
			out = append(out, Group{name, *d})
		}
		return out, nil
	}
	for _, e := range literalList(text) {
		if !strings.HasPrefix(e, "JSON:") {
			return nil, noMatch(both)
		}
		var g map[string]any
		// Upstream strips these letters in any number.
		if err := json.Unmarshal([]byte(strings.TrimLeft(e, "JSON:")), &g); err != nil {
			return nil, fmt.Errorf("group %q is not a JSON object: %w", e, err)
		}
		if _, given := g["domain"]; !given {
			return nil, noMatch(both)
		}
		d := readDomain(g["domain"])
		if d == nil || str(g, "name") == "" {
			return nil, fmt.Errorf("group %q lacks a name or a domain", e)
		}
		out = append(out, Group{str(g, "name"), *d})
	}
	return out, nil
}
