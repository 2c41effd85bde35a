package api

import (
	"net/http"
	"time"

	"github.com/hanok-cloud/hanok/internal/policy"
)

// Refusal is a request that policy refused, with what is needed to explain it later: the answer itself says little on purpose.
type Refusal struct {
	At        time.Time `json:"at"`
	RequestID string    `json:"request_id"`
	Service   string    `json:"service"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Status    int       `json:"status"` // 403, or the 404 that hides one
	// Rules were all to grant; Target is what they look at of the object.
	Rules  []string   `json:"rules"`
	Target policy.Map `json:"target"`

	UserID              string   `json:"user_id"`
	UserName            string   `json:"user_name"`
	UserDomainID        string   `json:"user_domain_id"`
	ProjectID           string   `json:"project_id,omitempty"`
	ProjectDomainID     string   `json:"project_domain_id,omitempty"`
	DomainID            string   `json:"domain_id,omitempty"`
	System              bool     `json:"system,omitempty"`
	Roles               []string `json:"roles"`
	ServiceUserID       string   `json:"service_user_id,omitempty"`
	ServiceProjectID    string   `json:"service_project_id,omitempty"`
	ServiceUserDomainID string   `json:"service_user_domain_id,omitempty"`
	ServiceProjDomain   string   `json:"service_project_domain_id,omitempty"`
	ServiceRoles        []string `json:"service_roles,omitempty"`
}

// question is a rule that was asked about a target.
type question struct {
	rule   string
	target policy.Target
}

// Denied notes which rules refused the request, and about what. Enforce does so by itself; a handler that asks the engine on its own or
// hides the object behind a 404 says it here, while the target can still be read.
func (r *Request) Denied(target policy.Target, rules ...string) {
	if r.Caller != nil {
		r.refusal = &Refusal{Rules: rules, Target: r.service.Policy.Snapshot(target, rules...)}
	}
}

// tellRefusal reports a request that ends with a refusal. A rule that said no to Can counts for a 403 only: before a 404 it may have
// been about a detail.
func (srv *Server) tellRefusal(r *Request, status int) {
	if srv.o.Refused == nil || r.Caller == nil || status != http.StatusForbidden && status != http.StatusNotFound {
		return
	}
	if r.refusal == nil && r.no.rule != "" && status == http.StatusForbidden {
		r.Denied(r.no.target, r.no.rule)
	}
	f := r.refusal
	if f == nil {
		return
	}
	c := r.Caller
	f.At, f.RequestID, f.Service, f.Method, f.Path, f.Status = time.Now(), r.ID, r.service.Name, r.HTTP.Method, r.HTTP.URL.Path, status
	f.UserID, f.UserName, f.UserDomainID = c.UserID, c.UserName, c.UserDomainID
	f.ProjectID, f.ProjectDomainID, f.DomainID, f.System, f.Roles = c.ProjectID, c.ProjectDomainID, c.DomainID, c.System, c.Roles
	f.ServiceUserID, f.ServiceUserDomainID = c.Creds.ServiceUserID, c.Creds.ServiceUserDomainID
	f.ServiceProjectID, f.ServiceProjDomain, f.ServiceRoles = c.Creds.ServiceProjectID, c.Creds.ServiceProjectDomainID, c.Creds.ServiceRoles
	srv.o.Refused(*f)
}

// Creds is who asked, for asking again.
func (f *Refusal) Creds() *policy.Creds {
	c := &policy.Creds{
		UserID: f.UserID, UserDomainID: f.UserDomainID, ProjectID: f.ProjectID, ProjectDomainID: f.ProjectDomainID, DomainID: f.DomainID, Roles: f.Roles,
		ServiceUserID: f.ServiceUserID, ServiceUserDomainID: f.ServiceUserDomainID,
		ServiceProjectID: f.ServiceProjectID, ServiceProjectDomainID: f.ServiceProjDomain, ServiceRoles: f.ServiceRoles,
	}
	token := map[string]any{}
	switch {
	case f.System:
		c.SystemScope = "all"
	case f.DomainID != "":
		token["domain"] = map[string]any{"id": f.DomainID}
	case f.ProjectID != "":
		token["project"] = map[string]any{"id": f.ProjectID, "domain": map[string]any{"id": f.ProjectDomainID}}
	}
	c.Values = map[string]any{"token": token}
	return c
}
