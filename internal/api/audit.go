package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/hanok-cloud/hanok/internal/fault"
)

// Auditor keeps the log of who did what. A plain read that was answered costs it nothing: it is not told.
type Auditor interface {
	// Begin is told of a request that may change something or proves an identity, once its route and caller are known and before its
	// rule is asked. The context that it returns is the handler's and so that of its transactions.
	Begin(ctx context.Context, r *Request) context.Context
	// Succeeded is told before the answer of such a request goes out. Its error becomes the answer.
	Succeeded(ctx context.Context, r *Request) error
	// Refused is told of every request that ended in an error, reads too. The route may be unknown.
	Refused(r *Request, e *fault.Error)
}

// Authenticates marks a route by which a client proves who it is. The log has its successes and failures, GET or not.
func Authenticates() Option { return func(r *Route) { r.authenticates = true } }

// ProvesForChange marks a route that needs no token, since the body proves who it is, and is no login: it changes something.
func ProvesForChange() Option { return func(r *Route) { r.provesForChange = true } }

// Authenticates tells whether a client proves who it is here. What changes something and needs no token does nothing else, unless it says so.
func (r *Request) Authenticates() bool {
	return r.route != nil && (r.route.authenticates || r.route.Rule.public && !r.route.provesForChange && r.Mutates())
}

type unrecordedKey struct{}

// Unrecorded keeps the audit log out of transactions that are not what the request is about: counting a wrong password, say.
func Unrecorded(ctx context.Context) context.Context {
	return context.WithValue(ctx, unrecordedKey{}, true)
}

// IsUnrecorded tells whether a context is of Unrecorded.
func IsUnrecorded(ctx context.Context) bool { return ctx.Value(unrecordedKey{}) != nil }

// Mutates tells whether the method is one that may change something.
func (r *Request) Mutates() bool {
	switch r.HTTP.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return true
}

// Route is what the request matched, or nil.
func (r *Request) Route() *Route { return r.route }

// RefusedBy is the policy rule that refused, or empty.
func (r *Request) RefusedBy() string { return r.refusedBy }

// Note is what a handler tells the audit log beyond what the kit sees. It must hold no secret.
type Note struct {
	// Action is CADF's word with what it was more precisely: update/reboot. Empty: after the method.
	Action string
	// Target is the id of what is acted on; empty: the last one in the path, or what the transaction made.
	Target string
	// Initiator is who proved to be somebody, or whose account was tried in vain. nil: the caller.
	Initiator *Caller
}

// Note adds to what the audit log says of the request.
func (r *Request) Note(n Note) {
	if n.Action != "" {
		r.note.Action = n.Action
	}
	if n.Target != "" {
		r.note.Target = n.Target
	}
	if n.Initiator != nil {
		r.note.Initiator = n.Initiator
	}
}

// Noted is what Note was told.
func (r *Request) Noted() Note { return r.note }

// ClientAddr is the address that the request came from. What X-Forwarded-For says counts as far as trusted proxies have written it:
// each appends its peer, so the last address that is not one of theirs is the client's; what stands before it anybody may have sent.
func (r *Request) ClientAddr() string {
	addr := r.HTTP.RemoteAddr
	if host, _, err := net.SplitHostPort(addr); err == nil {
		addr = host
	}
	if r.trusts == nil || !r.trusts(r.HTTP.RemoteAddr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.HTTP.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap().String()
		if !r.trusts(net.JoinHostPort(addr, "0")) {
			break
		}
	}
	return addr
}
