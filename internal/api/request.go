package api

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Request is one request on its way through a handler.
type Request struct {
	HTTP   *http.Request
	ID     string  // req-…; also on every log line, event and node spec that it causes
	Caller *Caller // nil only on public routes without a token
	MV     Version
	Log    *slog.Logger

	service  *Service
	route    *Route
	w        http.ResponseWriter
	blocks   *sync.Pool // of *[]byte to gather output in
	base     string     // public endpoint, no final slash
	query    url.Values
	asked    bool // a rule was asked
	refusal  *Refusal
	no       question
	status   int
	writable bool

	trusts      func(remoteAddr string) bool // nil: no proxy is trusted
	certificate func(*http.Request) (*x509.Certificate, error)
	refusedBy   string // a rule
	note        Note
}

// Path is a path parameter.
func (r *Request) Path(name string) string { return r.HTTP.PathValue(name) }

// Query is the parsed query string.
func (r *Request) Query() url.Values {
	if r.query == nil {
		r.query = r.HTTP.URL.Query()
	}
	return r.query
}

// Since tells whether the request's microversion is v or later.
func (r *Request) Since(v string) bool { return !r.MV.Before(MustVersion(v)) }

// ProjectID is the token's project, or empty.
func (r *Request) ProjectID() string {
	if r.Caller == nil {
		return ""
	}
	return r.Caller.ProjectID
}

// UserID is the token's user, or empty.
func (r *Request) UserID() string {
	if r.Caller == nil {
		return ""
	}
	return r.Caller.UserID
}

// BaseURL is the cloud's public endpoint, such as https://cloud.example:8443, without a final slash.
func (r *Request) BaseURL() string { return r.base }

// ServiceURL is the public URL of this service: BaseURL plus its prefix.
func (r *Request) ServiceURL() string { return r.base + r.service.Prefix }

// Service is the service that answers.
func (r *Request) Service() *Service { return r.service }

// Header is the answer's header.
func (r *Request) Header() http.Header { return r.w.Header() }

// SetStatus answers with another success code than the route's.
func (r *Request) SetStatus(code int) { r.status = code }

// Enforce asks a rule about a target; a refusal is the dialect's 403.
func (r *Request) Enforce(rule string, target policy.Target) error {
	if r.Can(rule, target) {
		return nil
	}
	r.Denied(target, rule)
	return r.Refused(rule)
}

// Can asks a rule about a target.
func (r *Request) Can(rule string, target policy.Target) bool {
	r.asked = true
	if r.Caller != nil && r.service.Policy.Allowed(rule, r.Caller.Creds, target) {
		return true
	}
	r.no = question{rule, target}
	return false
}

// Asked says that the handler decided on its own who may do this (its query was limited to the caller's project, say).
func (r *Request) Asked() { r.asked = true }

// Refused is the dialect's answer to a rule that refuses.
func (r *Request) Refused(rule string) *fault.Error {
	r.refusedBy = rule
	if f := r.service.Dialect.Forbidden; f != nil {
		return f(r, rule)
	}
	return fault.Forbidden("Policy doesn't allow %s to be performed.", rule)
}

// Self is the caller's own project and user as a target.
func (r *Request) Self() policy.Target {
	return policy.Owned{ProjectID: r.ProjectID(), UserID: r.UserID()}
}

// TakeYourTime lifts the limit on how long the body may take, for a handler that reads a stream.
func (r *Request) TakeYourTime() {
	rc := http.NewResponseController(r.w)
	_ = rc.SetReadDeadline(time.Time{}) // a test's recorder has none
	_ = rc.SetWriteDeadline(time.Time{})
}

// decode reads, validates and decodes the body.
func (r *Request) decode(in any, rt Route) error {
	limit := r.service.BodyLimit
	if limit == 0 {
		limit = 1 << 20
	}
	body, err := io.ReadAll(http.MaxBytesReader(r.w, r.HTTP.Body, limit))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			if f := r.service.Dialect.TooLarge; f != nil {
				return f(r)
			}
			return fault.New(http.StatusRequestEntityTooLarge, "", "The request is larger than %d bytes.", limit)
		}
		return fault.BadRequest("the request body broke off").Because(err)
	}
	switch plain, typ := r.service.Plain, r.HTTP.Header.Get("Content-Type"); {
	case plain && len(body) == 0:
		body = []byte("{}")
	case typ != "" && r.service.Dialect.NotJSON != nil && !isJSON(typ):
		return r.service.Dialect.NotJSON(r)
	}
	var generic any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	err = dec.Decode(&generic)
	if err == nil {
		if _, e := dec.Token(); e != io.EOF {
			err = errors.New("more than one JSON value")
		}
	}
	if _, object := generic.(map[string]any); err == nil && !object {
		err = ErrNotObject
	}
	if err != nil {
		return r.badJSON(err)
	}
	for _, s := range rt.Schemas {
		if s.MV == (Range{}) || s.MV.Has(r.MV) {
			// Decoded once more: the validator wants the members in the order of the text.
			ordered, err := schema.Decode(body)
			if err != nil {
				return r.badJSON(err)
			}
			if e := r.service.Schema.Validate(s.Schema, ordered); e != nil {
				return r.invalid(e)
			}
		}
	}
	switch p := in.(type) {
	case *map[string]any:
		*p = generic.(map[string]any)
		return nil
	case *json.RawMessage:
		*p = body
		return nil
	}
	if err := json.Unmarshal(body, in); err != nil {
		return r.badJSON(err)
	}
	return nil
}

// isJSON tells of a content type what Flask's is_json does.
func isJSON(contentType string) bool {
	typ, _, err := mime.ParseMediaType(contentType)
	return err == nil && (typ == "application/json" || strings.HasPrefix(typ, "application/") && strings.HasSuffix(typ, "+json"))
}

// ErrNotObject: the body is JSON but not an object.
var ErrNotObject = errors.New("the body is not a JSON object")

func (r *Request) badJSON(err error) error {
	if f := r.service.Dialect.BadJSON; f != nil {
		return f(r, err)
	}
	return fault.BadRequest("The body is not valid JSON: %v", err)
}

type requestKey struct{}

// RequestID is the request id in ctx, or empty. Background work makes its own with WithRequestID.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// WithRequestID puts a request id into ctx.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}
