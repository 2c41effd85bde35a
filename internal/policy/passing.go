package policy

import "strings"

// Passing tells who passes all rules about a target, as texts for people: "admin in any project", "member in project 3f…". Each role of
// the usual hierarchy is tried in each scope that the target knows; of several roles that pass in one scope only the least is named.
func (e *Enforcer) Passing(t Target, rules ...string) []string {
	var out []string
	anywhere := map[string]bool{} // who passes whatever the project, domain or system
	add := func(who string, sc triedScope) {
		if !anywhere[who+sc.kind()] {
			out = append(out, who+" "+sc.text)
			anywhere[who+sc.kind()] = sc.project == elsewhere || sc.domain == elsewhere
		}
	}
	self := ownerOf(t)
	for _, sc := range scopesOf(t) {
		least := ""
		for _, roles := range ladder() {
			if e.CheckAll(sc.creds(roles, ""), t, rules...) == Granted {
				least = roles[0]
				break
			}
		}
		if least != "" {
			add(least, sc)
		}
		if least != anyRole && e.CheckAll(sc.creds([]string{"service"}, ""), t, rules...) == Granted {
			add("service", sc)
		}
		for _, roles := range ladder() {
			if roles[0] == least || self == "" {
				break
			}
			if e.CheckAll(sc.creds(roles, self), t, rules...) == Granted {
				if who := "user " + self + " with " + roles[0]; !anywhere[who] {
					add(who, sc)
					anywhere[who] = sc.project == elsewhere
				}
				break
			}
		}
	}
	return out
}

// elsewhere is an id that no target has.
const (
	elsewhere = "\x00elsewhere"
	anyRole   = "any role"
)

// ladder is the roles as a token bears them, the least first.
func ladder() [][]string {
	return [][]string{{anyRole}, {"reader"}, {"member", "reader"}, {"manager", "member", "reader"}, {"admin", "manager", "member", "reader"}}
}

type triedScope struct {
	text            string
	project, domain string
	system          bool
}

func (s triedScope) kind() string {
	switch {
	case s.system:
		return " system"
	case s.domain != "":
		return " domain"
	}
	return " project"
}

func (s triedScope) creds(roles []string, user string) *Creds {
	c := &Creds{UserID: elsewhere, UserDomainID: elsewhere, ProjectID: s.project, DomainID: s.domain, Roles: roles}
	if user != "" {
		c.UserID = user
	}
	token := map[string]any{}
	switch {
	case s.system:
		c.SystemScope = "all"
	case s.domain != "":
		c.UserDomainID = s.domain
		token["domain"] = map[string]any{"id": s.domain}
	default:
		c.ProjectDomainID = elsewhere
		token["project"] = map[string]any{"id": s.project, "domain": map[string]any{"id": c.ProjectDomainID}}
	}
	c.Values = map[string]any{"token": token}
	return c
}

// scopesOf are the scopes worth trying: one that has nothing to do with the target, and those that its attributes name.
func scopesOf(t Target) []triedScope {
	out := []triedScope{{text: "in any project", project: elsewhere}}
	names := map[string]bool{}
	named := func(attrs ...string) (ids []string) {
		for _, a := range attrs {
			if v, ok := attr(t, a); ok && v != nil {
				if id := text(v); id != "" && id != "None" && !names[id] {
					names[id] = true
					ids = append(ids, id)
				}
			}
		}
		return ids
	}
	for _, id := range named("project_id", "tenant_id", "owner", "member_id", "target.project.id", "target.limit.project_id", "network:tenant_id",
		"network:project_id", "ext_parent:tenant_id", "ext_parent:project_id", "security_group:tenant_id", "security_group:project_id") {
		out = append(out, triedScope{text: "in project " + id, project: id})
	}
	out = append(out, triedScope{text: "in any domain", domain: elsewhere})
	for _, id := range named("target.domain.id", "target.domain_id", "target.user.domain_id", "target.group.domain_id", "target.project.domain_id",
		"target.role.domain_id", "target.limit.domain.id", "target.limit.project.domain_id", "target.token.user.domain.id", "domain_id") {
		out = append(out, triedScope{text: "in domain " + id, domain: id})
	}
	return append(out, triedScope{text: "in the system", system: true})
}

// ownerOf is the user that a target belongs to, or empty.
func ownerOf(t Target) string {
	for _, a := range []string{"user_id", "target.user.id", "target.credential.user_id", "target.trust.trustor_user_id", "target.token.user_id"} {
		if v, ok := attr(t, a); ok && v != nil {
			if id := text(v); id != "None" && !strings.HasPrefix(id, "\x00") {
				return id
			}
		}
	}
	return ""
}
