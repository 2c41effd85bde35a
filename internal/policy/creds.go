package policy

import "strings"

// Creds is who asks, as oslo.context hands it to the engine. An empty id is upstream's None. Roles holds names with implied roles already in.
type Creds struct {
	UserID, UserDomainID       string
	ProjectID, ProjectDomainID string
	DomainID, SystemScope      string
	Roles                      []string
	IsAdmin                    bool

	ServiceUserID, ServiceUserDomainID       string
	ServiceProjectID, ServiceProjectDomainID string
	ServiceRoles                             []string

	// Values holds whatever else rules may name, nested where the name is dotted: `token.domain.id` is Values["token"]["domain"]["id"]. A list
	// matches when one of its elements does.
	Values map[string]any
}

// Scope names the token's scope as rules' scope types do. An unscoped token counts as a project's: oslo.policy looks at system and domain only.
func (c *Creds) Scope() string {
	switch {
	case c.SystemScope != "":
		return "system"
	case c.DomainID != "":
		return "domain"
	}
	return "project"
}

// HasRole reports whether one of the roles is name, whatever its case.
func (c *Creds) HasRole(name string) bool {
	for _, r := range c.Roles {
		if strings.EqualFold(r, name) {
			return true
		}
	}
	return false
}

// field returns the getter of a credential that has a place in the struct.
func field(name string) (func(*Creds) string, bool) {
	switch name {
	case "user_id":
		return func(c *Creds) string { return c.UserID }, true
	case "user_domain_id":
		return func(c *Creds) string { return c.UserDomainID }, true
	case "project_id", "tenant_id":
		return func(c *Creds) string { return c.ProjectID }, true
	case "project_domain_id":
		return func(c *Creds) string { return c.ProjectDomainID }, true
	case "domain_id":
		return func(c *Creds) string { return c.DomainID }, true
	case "system_scope":
		return func(c *Creds) string { return c.SystemScope }, true
	case "service_user_id":
		return func(c *Creds) string { return c.ServiceUserID }, true
	case "service_user_domain_id":
		return func(c *Creds) string { return c.ServiceUserDomainID }, true
	case "service_project_id":
		return func(c *Creds) string { return c.ServiceProjectID }, true
	case "service_project_domain_id":
		return func(c *Creds) string { return c.ServiceProjectDomainID }, true
	}
	return nil, false
}
