package audit

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// Outcomes of an event.
const (
	Success = "success"
	Failure = "failure"
)

// Event is an entry of the log with the names of CADF (DMTF DSP0262) as pycadf and keystone/notifications.py write them; what they have
// no name for stands beside.
type Event struct {
	TypeURI     string      `json:"typeURI"`
	ID          string      `json:"id"`
	EventType   string      `json:"eventType"`
	EventTime   string      `json:"eventTime"`
	Action      string      `json:"action"`
	Outcome     string      `json:"outcome"`
	Reason      *Reason     `json:"reason,omitempty"`
	Initiator   Initiator   `json:"initiator"`
	Target      Target      `json:"target"`
	Observer    Observer    `json:"observer"`
	RequestPath string      `json:"requestPath,omitempty"`
	Changes     []db.Change `json:"-"`
	Changed     []Change    `json:"changes,omitempty"`
	More        int         `json:"moreChanges,omitempty"`
	// Count is how many refusals of the same kind this one stands for, the last of them at Until. 0: itself alone.
	Count int64  `json:"count,omitempty"`
	Until string `json:"until,omitempty"`
}

// Reason is why it ended so: the status, the policy rule that refused, and a sentence of ours.
type Reason struct {
	Type     string `json:"reasonType"`
	Code     string `json:"reasonCode"`
	PolicyID string `json:"policyId,omitempty"`
	Message  string `json:"message,omitempty"`
}

// Initiator is who asked, from where and with what.
type Initiator struct {
	TypeURI   string   `json:"typeURI"`
	ID        string   `json:"id"`
	Name      string   `json:"name,omitempty"`
	UserID    string   `json:"user_id,omitempty"`
	ActorID   string   `json:"impersonator_id,omitempty"` // the trustee behind an impersonating trust
	ProjectID string   `json:"project_id,omitempty"`
	DomainID  string   `json:"domain_id,omitempty"`
	System    string   `json:"system_scope,omitempty"`
	Roles     []string `json:"roles,omitempty"`
	RequestID string   `json:"request_id,omitempty"`
	Host      Host     `json:"host"`
	// Credential is nil without one.
	Credential *Credential `json:"credential,omitempty"`
}

// Host is where it came from.
type Host struct {
	Address string `json:"address,omitempty"`
	Agent   string `json:"agent,omitempty"`
}

// Credential tells which one was used, and never what it is: the token by its audit id.
type Credential struct {
	Type      string `json:"type"` // the authentication methods
	AuditID   string `json:"token_audit_id,omitempty"`
	AppCredID string `json:"application_credential_id,omitempty"`
	TrustID   string `json:"trust_id,omitempty"`
}

// Target is what was acted on.
type Target struct {
	TypeURI   string `json:"typeURI"`
	ID        string `json:"id"`
	ProjectID string `json:"project_id,omitempty"`
}

// Observer is the service that saw it.
type Observer struct {
	TypeURI string `json:"typeURI"`
	ID      string `json:"id"`
}

// Change is a resource that the transaction changed.
type Change struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Action string `json:"action"`
}

const (
	eventURI   = "http://schemas.dmtf.org/cloud/audit/1.0/event"
	accountURI = "service/security/account/user"
	unknown    = "unknown"
	timeLayout = "2006-01-02T15:04:05.000000Z"
	// changesMax bounds the changes named in an event: a request that deletes thousands of rows does not make a row of megabytes.
	changesMax = 50
	// textMax bounds whatever a client may have written.
	textMax = 255
)

func (e *Event) encode() string {
	for _, c := range e.Changes[:min(len(e.Changes), changesMax)] {
		if v := (Change{c.Kind, api.Redact(clip(c.ID)), c.Action}); !slices.Contains(e.Changed, v) {
			e.Changed = append(e.Changed, v)
		}
	}
	e.More = max(0, len(e.Changes)-changesMax)
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers encode
	}
	return string(b)
}

// describe makes the event of a request as far as it is known by now.
func describe(r *api.Request, at time.Time, outcome string, reason Reason, changes []db.Change) *Event {
	service := r.Service().Name
	e := &Event{
		TypeURI: eventURI, ID: uuid.NewString(), EventType: "activity", EventTime: at.UTC().Format(timeLayout),
		Action: actionOf(r), Outcome: outcome, Reason: &reason, Changes: changes,
		Initiator: initiatorOf(r), Target: Target{TypeURI: serviceURI(service), ID: unknown}, Observer: Observer{serviceURI(service), service},
	}
	rt := r.Route()
	if rt == nil {
		return e // a path that is not ours may hold anything, and is not kept
	}
	e.RequestPath = api.Redact(clip(r.HTTP.URL.Path))
	e.Target.TypeURI = targetURI(service, rt.Path)
	if r.Authenticates() {
		e.Target = Target{TypeURI: accountURI, ID: e.Initiator.ID}
		return e
	}
	noun := lastNoun(rt.Path)
	c, found := mainChange(changes, noun)
	if found {
		e.Target.ProjectID = c.ProjectID
	}
	switch id := lastParameter(r, rt.Path); {
	case r.Noted().Target != "":
		e.Target.ID = clip(r.Noted().Target)
	case id != "":
		e.Target.ID = api.Redact(clip(id))
	case found:
		e.Target.ID = api.Redact(clip(c.ID))
	}
	return e
}

// actionOf follows keystonemiddleware/audit/_api.py (get_action): by the method, or what the handler says.
func actionOf(r *api.Request) string {
	switch {
	case r.Noted().Action != "":
		return clip(r.Noted().Action)
	case r.Authenticates():
		return "authenticate"
	}
	switch r.HTTP.Method {
	case http.MethodPost:
		// What is posted to a collection makes a member of it; what is posted to a member, or to a verb below it, changes the member.
		if rt := r.Route(); rt != nil && strings.Contains(rt.Path, "{") && !strings.HasSuffix(rt.Path, "s") {
			return "update"
		}
		return "create"
	case http.MethodPut, http.MethodPatch:
		return "update"
	case http.MethodDelete:
		return "delete"
	case http.MethodGet, http.MethodHead:
		return "read"
	}
	return unknown
}

func initiatorOf(r *api.Request) Initiator {
	i := Initiator{TypeURI: accountURI, ID: unknown, RequestID: r.ID,
		Host: Host{Address: clip(r.ClientAddr()), Agent: api.Redact(clip(r.HTTP.UserAgent()))}}
	c := r.Noted().Initiator
	if c == nil {
		c = r.Caller
	}
	if c == nil {
		return i
	}
	if c.UserID != "" {
		i.ID = c.UserID
	}
	i.Name, i.UserID, i.ActorID, i.ProjectID, i.DomainID, i.Roles = c.UserName, c.UserID, c.ActorID, c.ProjectID, c.DomainID, c.Roles
	if c.System {
		i.System = "all"
	}
	if c.AuditID != "" {
		i.Credential = &Credential{Type: strings.Join(c.Methods, ","), AuditID: c.AuditID, AppCredID: c.AppCredID, TrustID: c.TrustID}
	}
	return i
}

// refusal is the reason of an error. Messages about bad input repeat the input, which may be a password that is too short, so they
// are left out.
func refusal(r *api.Request, e *fault.Error) Reason {
	v := Reason{Type: "HTTP", Code: strconv.Itoa(e.Status), PolicyID: r.RefusedBy()}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict,
		http.StatusRequestEntityTooLarge, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		v.Message = api.Redact(clip(e.Message))
	}
	return v
}

// serviceURI is the observer's type in CADF's taxonomy (pycadf/cadftaxonomy.py).
func serviceURI(service string) string {
	switch service {
	case "identity":
		return "service/security"
	case "image":
		return "service/storage/image"
	case "block":
		return "service/storage/block"
	case "object":
		return "service/storage/object"
	}
	return "service/" + service
}

// identityURI are the types of keystone/notifications.py (CADF_TYPE_MAP).
func identityURI(noun string) string {
	switch noun {
	case "users", "password":
		return "data/security/account/user"
	case "groups":
		return "data/security/group"
	case "projects":
		return "data/security/project"
	case "roles":
		return "data/security/role"
	case "domains":
		return "data/security/domain"
	case "regions":
		return "data/security/region"
	case "endpoints":
		return "data/security/endpoint"
	case "services":
		return "data/security/service"
	case "policies":
		return "data/security/policy"
	case "trusts":
		return "data/security/trust"
	case "credentials", "application_credentials", "tokens", "access_rules", "OS-EC2":
		return "data/security/credential"
	case "consumers":
		return "data/security/account"
	}
	return ""
}

// targetURI is the type of what a route is about: service/network/ports/port, as keystonemiddleware/audit/_api.py builds it.
func targetURI(service, pattern string) string {
	if service == "identity" {
		if strings.Contains(pattern, "/roles/{") && (strings.Contains(pattern, "/users/{") || strings.Contains(pattern, "/groups/{")) {
			return "data/security/account/user/privilege"
		}
		if uri := identityURI(lastNoun(pattern)); uri != "" {
			return uri
		}
	}
	uri := serviceURI(service)
	last := ""
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		switch {
		case isVersion(part) || part == "":
		case strings.HasPrefix(part, "{"):
			if last != "" {
				uri += "/" + singular(last)
			}
			last = ""
		default:
			uri += "/" + part
			last = part
		}
	}
	return uri
}

func isVersion(part string) bool {
	return len(part) >= 2 && part[0] == 'v' && part[1] >= '0' && part[1] <= '9'
}

// lastNoun is the last element of a pattern that is no parameter.
func lastNoun(pattern string) string {
	parts := strings.Split(pattern, "/")
	for _, p := range slices.Backward(parts) {
		if p != "" && !strings.HasPrefix(p, "{") {
			return p
		}
	}
	return ""
}

func lastParameter(r *api.Request, pattern string) string {
	i := strings.LastIndexByte(pattern, '{')
	if i < 0 {
		return ""
	}
	name, _, _ := strings.Cut(pattern[i+1:], "}")
	return r.Path(strings.TrimSuffix(name, "..."))
}

func singular(noun string) string {
	switch {
	case strings.HasSuffix(noun, "ies"):
		return strings.TrimSuffix(noun, "ies") + "y"
	case strings.HasSuffix(noun, "sses"):
		return strings.TrimSuffix(noun, "es")
	}
	return strings.TrimSuffix(noun, "s")
}

// mainChange is the change that the request was made for: the one of its own kind, or else the first.
func mainChange(changes []db.Change, noun string) (db.Change, bool) {
	if len(changes) == 0 {
		return db.Change{}, false
	}
	want := strings.ReplaceAll(singular(noun), "-", "_")
	for _, c := range changes {
		if c.Kind == want {
			return c, true
		}
	}
	return changes[0], true
}

func clip(s string) string {
	if len(s) > textMax {
		s = strings.ToValidUTF8(s[:textMax], "") + "…"
	}
	return s
}
