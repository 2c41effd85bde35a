package identity

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// federation is by which identity provider and protocol a user has come, and what groups the mapping has given for the token's lifetime.
type federation struct {
	provider, protocol string
	groups             []string
	// epoch is the provider's and the protocol's when the token was made; a later one means that its tokens have ended.
	epoch int64
}

// mappedMethod stands in a payload for the protocol, whose id is the method's name on the wire.
const mappedMethod = "mapped"

// federated tells whether the token is a federated one on the wire. Upstream's payloads of system-scoped tokens and those of delegations do not
// say by which provider the user came; ours do, after what upstream reads, so that they end with it too.
func (t *Token) federated() bool {
	return t.via != nil && !t.System && t.TrustID == "" && t.AppCredID == "" && t.AccessTokenID == ""
}

// actor is whom the token's roles are assigned to.
func (t *Token) actor() actor {
	a := actor{user: t.UserID}
	if t.federated() {
		a.groups = t.via.groups
	}
	return a
}

// actorOf is the caller as roles are assigned.
func actorOf(r *api.Request) actor {
	if se := sessionOf(r); se != nil && se.UserID == r.UserID() {
		return se.actor()
	}
	return actor{user: r.UserID()}
}

// federatedPayload is one of keystone's payloads 4, 5 and 6 (keystone/token/token_formatters.py).
func (t *Token) federatedPayload(head, tail []any) []any {
	groups := make([]any, len(t.via.groups))
	for i, g := range t.via.groups {
		groups[i] = packID(g)
	}
	p := []any{fedPayload}
	switch {
	case t.ProjectID != "":
		p = append(append([]any{fedProject}, head...), packID(t.ProjectID))
	case t.DomainID != "":
		p = append(append([]any{fedDomain}, head...), packID(t.DomainID))
	default:
		p = append(p, head...)
	}
	return append(append(p, groups, packID(t.via.provider), t.via.protocol), tail...)
}

// readFederated reads what stands between the methods and the end of such a payload.
func (t *Token) readFederated(r *reader, version int64) {
	switch version {
	case fedProject:
		t.ProjectID = r.id()
	case fedDomain:
		t.DomainID = r.id()
	}
	via := &federation{}
	list, ok := r.next().([]any)
	r.bad = r.bad || !ok
	for _, g := range list {
		one := &reader{p: []any{g}}
		via.groups = append(via.groups, one.id())
		r.bad = r.bad || one.bad
	}
	via.provider = r.id()
	via.protocol = r.bareID()
	r.bad = r.bad || via.provider == "" || via.protocol == ""
	t.via = via
}

// pack adds to the members that are ours alone.
func (f *federation) pack(own []any) []any {
	if f == nil {
		return own
	}
	return append(own, f.epoch, f.provider, f.protocol)
}

// readVia reads what pack has added.
func (t *Token) readVia(r *reader) {
	if len(r.p) == 0 {
		return
	}
	epoch, provider, protocol := r.integer(), r.bareID(), r.bareID()
	if t.via == nil {
		t.via = &federation{}
	} else if t.via.provider != provider || t.via.protocol != protocol {
		r.bad = true
	}
	t.via.provider, t.via.protocol, t.via.epoch = provider, protocol, epoch
	r.bad = r.bad || provider == "" || protocol == "" || len(r.p) > 0
}

// key tells federations apart among what is remembered.
func (f *federation) key() string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%d %q", f.epoch, append([]string{f.provider, f.protocol}, f.groups...))
}

// outdated tells whether a membership that counted for the session has ended since.
func (se *session) outdated(now int64) bool { return se.until != 0 && now >= se.until }

// membershipEnd is when the first of a user's memberships ends by itself; 0: none does.
func membershipEnd(tx *db.Tx, user string) (int64, error) {
	return db.One(tx, db.Value[int64], `SELECT coalesce(min(expires_at), 0) FROM identity_expiring_members WHERE user_id = $1 AND expires_at > $2`, user, tx.NowMicros())
}

// resolveFederation refuses a token whose way in is closed: its identity provider is disabled, or it, the protocol or the mapping is gone, now or
// in between. Upstream finds out about some of these only when the token expires.
func resolveFederation(tx *db.Tx, t *Token, minting bool) error {
	if t.via == nil {
		return nil
	}
	var enabled bool
	now, err := db.One(tx, func(r db.Row) (n int64, err error) { err = r.Scan(&n, &enabled); return n, err },
		`SELECT i.epoch + p.epoch, i.enabled FROM identity_providers i JOIN identity_protocols p ON p.idp_id = i.id JOIN identity_mappings m ON m.id = p.mapping_id
		WHERE i.id = $1 AND p.id = $2`, t.via.provider, t.via.protocol)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return refused("the identity provider %s, its protocol %s or that one's mapping is gone", t.via.provider, t.via.protocol)
	case err != nil:
		return err
	case !enabled:
		return refused("the identity provider %s is disabled", t.via.provider)
	}
	if minting && t.via.epoch == 0 { // else it is a token's, which is exchanged for another one
		via := *t.via
		via.epoch = now
		t.via = &via
	}
	if t.via.epoch != now {
		return refused("the identity provider %s or its protocol %s has been closed since", t.via.provider, t.via.protocol)
	}
	return nil
}

// federatedBody is user.OS-FEDERATION of a token.
type federatedBody struct {
	Groups           []idRef `json:"groups"`
	IdentityProvider idRef   `json:"identity_provider"`
	Protocol         idRef   `json:"protocol"`
}

func (f *federation) body() *federatedBody {
	b := &federatedBody{Groups: []idRef{}, IdentityProvider: idRef{f.provider}, Protocol: idRef{f.protocol}}
	for _, g := range f.groups {
		b.Groups = append(b.Groups, idRef{g})
	}
	return b
}

// wireMethods are a token's methods by the names that clients know.
func (t *Token) wireMethods() []string {
	if !t.federated() {
		return t.Methods
	}
	out := slices.Clone(t.Methods)
	for i, m := range out {
		if m == mappedMethod {
			out[i] = t.via.protocol
		}
	}
	return out
}
