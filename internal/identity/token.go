package identity

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// Token is what a token says by itself; what it is worth is looked up (session.go).
type Token struct {
	UserID    string
	Methods   []string
	ProjectID string
	DomainID  string
	System    bool
	TrustID   string
	AppCredID string
	// AccessTokenID is the OAuth 1.0 access token that the token was made with.
	AccessTokenID string
	// Thumbprint is of the client certificate that the token is bound to.
	Thumbprint string
	ExpiresAt  int64 // microseconds
	IssuedAt   int64
	AuditIDs   []string // its own, then its first ancestor's

	// The epochs of the user (with its domain's) and of the scope (with its domain's) when it was issued. Upstream compares
	// seconds instead, and so rejects what was issued in the second of a revocation (keystone/models/revoke_model.py).
	userEpoch, scopeEpoch int64

	// via is set in tokens of users who came through an identity provider, and in those made from them.
	via *federation
}

// Payload versions of keystone/token/token_formatters.py.
const (
	unscopedPayload = 0
	domainPayload   = 1
	projectPayload  = 2
	trustPayload    = 3
	fedPayload      = 4
	fedProject      = 5
	fedDomain       = 6
	oauthPayload    = 7
	systemPayload   = 8
	appCredPayload  = 9
	certPayload     = 10
)

// methodBits is the order of keystone's [auth] methods, which its payloads number. It stays the same whatever methods are configured.
var methodBits = [...]string{"external", "password", "token", "oauth1", "mapped", "application_credential", "totp"}

// What makes tokens without being a method of authentication has bits of its own (keystone/auth/plugins/core.py, _PSEUDO_METHOD_BITS): a token must
// not lose on its way that it is a delegated one.
const (
	ec2Method    = "ec2credential"
	oauth2Method = "oauth2_credential"
	ec2Bit       = 1 << 32
	oauth2Bit    = 1 << 33
)

func packMethods(methods []string) (n int64) {
	for _, m := range methods {
		switch m {
		case ec2Method:
			n |= ec2Bit
		case oauth2Method:
			n |= oauth2Bit
		}
		for i, name := range methodBits {
			if m == name {
				n |= 1 << i
			}
		}
	}
	return n
}

func unpackMethods(n int64) []string {
	methods := []string{}
	if n&oauth2Bit != 0 {
		methods = append(methods, oauth2Method)
	}
	if n&ec2Bit != 0 {
		methods = append(methods, ec2Method)
	}
	for i := len(methodBits) - 1; i >= 0; i-- {
		if n&(1<<i) != 0 {
			methods = append(methods, methodBits[i])
		}
	}
	return methods
}

// packID is (true, 16 bytes) for a UUID and (false, text) for other ids.
func packID(id string) []any {
	if b, err := hex.DecodeString(id); err == nil && len(b) == 16 && hex.EncodeToString(b) == id {
		return []any{true, b}
	}
	return []any{false, id}
}

// payload encodes the token. The epochs follow the members that upstream reads, which ignores what comes after them.
func (t *Token) payload() []byte {
	audits := make([]any, len(t.AuditIDs))
	for i, a := range t.AuditIDs {
		b, err := base64.RawURLEncoding.DecodeString(a)
		if err != nil {
			b = []byte(a)
		}
		audits[i] = b
	}
	head := []any{packID(t.UserID), packMethods(t.Methods)}
	tail := []any{float64(t.ExpiresAt) / 1e6, audits}
	var p []any
	bare := func(id string) any { return packID(id)[1] }
	switch {
	case t.System:
		p = append(append([]any{systemPayload}, head...), append([]any{"all"}, tail...)...)
	case t.TrustID != "":
		p = append(append([]any{trustPayload}, head...), append(append([]any{packID(t.ProjectID)}, tail...), bare(t.TrustID))...)
	case t.AccessTokenID != "":
		p = append(append([]any{oauthPayload}, head...), append([]any{packID(t.ProjectID), packID(t.AccessTokenID)}, tail...)...)
	case t.federated():
		p = t.federatedPayload(head, tail)
	case t.AppCredID != "":
		p = append(append([]any{appCredPayload}, head...), append(append([]any{packID(t.ProjectID)}, tail...), packID(t.AppCredID))...)
	case t.Thumbprint != "":
		none := []any{false, nil} // a domain, which upstream leaves room for and never gives
		p = append(append([]any{certPayload}, head...), append(append([]any{packID(t.ProjectID), none}, tail...), []any{false, t.Thumbprint})...)
	case t.ProjectID != "":
		p = append(append([]any{projectPayload}, head...), append([]any{packID(t.ProjectID)}, tail...)...)
	case t.DomainID != "":
		p = append(append([]any{domainPayload}, head...), append([]any{bare(t.DomainID)}, tail...)...)
	default:
		p = append(append([]any{unscopedPayload}, head...), tail...)
	}
	p = append(p, t.via.pack([]any{t.userEpoch, t.scopeEpoch}))
	return packAny(make([]byte, 0, 160), p)
}

// reader takes a payload apart; the first wrong member spoils it.
type reader struct {
	p   []any
	bad bool
}

func (r *reader) next() any {
	if len(r.p) == 0 {
		r.bad = true
		return nil
	}
	v := r.p[0]
	r.p = r.p[1:]
	return v
}

func (r *reader) bareID() string { return r.idOf(r.next()) }

func (r *reader) idOf(v any) string {
	switch v := v.(type) {
	case []byte:
		if len(v) == 16 {
			return hex.EncodeToString(v)
		}
		return string(v)
	case string:
		return v
	}
	r.bad = true
	return ""
}

func (r *reader) id() string {
	pair, ok := r.next().([]any)
	if !ok || len(pair) != 2 {
		r.bad = true
		return ""
	}
	if pair[1] == nil { // a trust without a project
		return ""
	}
	return r.idOf(pair[1])
}

func (r *reader) integer() int64 {
	n, ok := r.next().(int64)
	r.bad = r.bad || !ok
	return n
}

// parsePayload decodes what payload encodes, and upstream's own payloads, whose epochs count as 0.
func parsePayload(b []byte, issued time.Time) (*Token, error) {
	v, rest, err := unpackAny(b, 0)
	if err != nil || len(rest) > 0 {
		return nil, errMsgpack
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errMsgpack
	}
	r := &reader{p: list}
	t := &Token{IssuedAt: issued.UnixMicro()}
	version := r.integer()
	t.UserID = r.id()
	t.Methods = unpackMethods(r.integer())
	switch version {
	case unscopedPayload:
	case domainPayload:
		t.DomainID = r.bareID()
	case projectPayload, trustPayload, appCredPayload:
		t.ProjectID = r.id()
	case certPayload:
		t.ProjectID = r.id()
		r.bad = r.id() != "" || t.ProjectID == "" || r.bad
	case oauthPayload:
		t.ProjectID, t.AccessTokenID = r.id(), r.id()
	case fedPayload, fedProject, fedDomain:
		t.readFederated(r, version)
	case systemPayload:
		t.System = r.bareID() == "all"
		r.bad = r.bad || !t.System
	default:
		return nil, fmt.Errorf("%w: version %d", errMsgpack, version)
	}
	switch at := r.next().(type) {
	case float64:
		if !(at > 0 && at < 1e11) {
			return nil, errMsgpack
		}
		t.ExpiresAt = int64(at*1e6 + 0.5)
	case int64:
		if at < 0 || at > 1e11 {
			return nil, errMsgpack
		}
		t.ExpiresAt = at * 1e6
	default:
		return nil, errMsgpack
	}
	audits, ok := r.next().([]any)
	if !ok || len(audits) == 0 || len(audits) > 2 {
		return nil, errMsgpack
	}
	for _, a := range audits {
		raw, ok := a.([]byte)
		if !ok {
			return nil, errMsgpack
		}
		t.AuditIDs = append(t.AuditIDs, base64.RawURLEncoding.EncodeToString(raw))
	}
	switch version {
	case trustPayload:
		t.TrustID = r.bareID()
	case appCredPayload:
		t.AppCredID = r.id()
	case certPayload:
		t.Thumbprint = r.id()
		r.bad = r.bad || t.Thumbprint == "" // it would be anybody's
	}
	if len(r.p) > 0 {
		if e, ok := r.p[0].([]any); ok && len(e) >= 2 {
			er := &reader{p: e}
			t.userEpoch, t.scopeEpoch = er.integer(), er.integer()
			t.readVia(er)
			r.bad = r.bad || er.bad
		}
	}
	if r.bad || t.UserID == "" {
		return nil, errMsgpack
	}
	return t, nil
}
