package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// receiptHeader carries a receipt both ways (keystone/common/authorization.py).
const receiptHeader = "Openstack-Auth-Receipt"

// receipt says which methods a user has proved who needs more of them.
type receipt struct {
	user      string
	methods   []string
	expiresAt int64 // microseconds
	issuedAt  int64
	// epoch is the user's: a receipt is void after what voids tokens. Upstream's survives a change of the password.
	epoch int64
}

// payload encodes a receipt as keystone/receipt/receipt_formatters.py does, with the epoch after it.
func (t *receipt) payload() []byte {
	return packAny(nil, []any{packID(t.user), packMethods(t.methods), float64(t.expiresAt) / 1e6, t.epoch})
}

// parseReceipt decodes what payload encodes.
func parseReceipt(b []byte, issued time.Time) (*receipt, error) {
	v, rest, err := unpackAny(b, 0)
	if err != nil || len(rest) > 0 {
		return nil, errMsgpack
	}
	list, ok := v.([]any)
	if !ok || len(list) != 4 {
		return nil, errMsgpack
	}
	r := &reader{p: list}
	t := &receipt{user: r.id(), methods: unpackMethods(r.integer()), issuedAt: issued.UnixMicro()}
	at, ok := r.next().(float64)
	if !ok || !(at > 0 && at < 1e11) {
		return nil, errMsgpack
	}
	t.expiresAt = int64(at*1e6 + 0.5)
	t.epoch = r.integer()
	if r.bad || t.user == "" {
		return nil, errMsgpack
	}
	return t, nil
}

type wireReceipt struct {
	Methods   []string    `json:"methods"`
	User      receiptUser `json:"user"`
	ExpiresAt string      `json:"expires_at"`
	IssuedAt  string      `json:"issued_at"`
}

type receiptUser struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Domain named  `json:"domain"`
}

// receiptAnswer is the 401 that hands out a receipt (keystone/receipt/handlers.py), as the cause of one.
type receiptAnswer struct {
	Receipt  wireReceipt `json:"receipt"`
	Required [][]string  `json:"required_auth_methods"`
}

func (*receiptAnswer) Error() string { return "the user's rules want more methods" }

// errMoreMethods tells that the methods proved do not satisfy the user's rules.
var errMoreMethods = errors.New("the user's rules want more methods")

// issueReceipt is the answer to an authentication that needs more methods.
func (s *Service) issueReceipt(ctx context.Context, p *authentication, methods []string) error {
	now := s.o.Now().Truncate(time.Second)
	t := &receipt{user: p.user, methods: methods, issuedAt: now.UnixMicro(), expiresAt: now.Add(s.o.Conf.Receipt.Expiration).UnixMicro()}
	a := &receiptAnswer{Receipt: wireReceipt{Methods: t.methods, ExpiresAt: isoTime(t.expiresAt), IssuedAt: isoTime(t.issuedAt)}}
	err := s.read(ctx, func(tx *db.Tx) error {
		u, err := readAccount(tx, p.user)
		if err != nil {
			return err
		}
		if err := p.current(u.epoch); err != nil {
			return err
		}
		t.epoch = u.epoch
		a.Receipt.User = receiptUser{u.ID, u.Name, u.domain}
		d, err := s.user.get(tx, p.user)
		a.Required = requiredMethods(s.mfaRules(d), methods)
		return err
	})
	if errors.Is(err, errRefused) {
		return unauthorized(err)
	}
	if err != nil {
		return err
	}
	id, err := s.tokens.keys()[0].seal(t.payload(), now)
	if err != nil {
		return err
	}
	e := unauthorized(a)
	e.Header = http.Header{receiptHeader: {id}}
	return e
}

// useReceipt adds the methods of the request's receipt, where there is one.
func (s *Service) useReceipt(ctx context.Context, r *api.Request, p *authentication) error {
	id := r.HTTP.Header.Get(receiptHeader)
	if id == "" {
		return nil
	}
	refuse := func(cause error) error {
		return fault.Unauthorized("Could not find auth receipt: %s.", id).Because(cause)
	}
	epoch, err := s.epochOf(ctx, r)
	if err != nil {
		return err
	}
	payload, issued, err := s.unseal(ctx, id, epoch)
	if errors.Is(err, errFernet) {
		return refuse(err)
	}
	if err != nil {
		return err
	}
	t, err := parseReceipt(payload, issued)
	if err != nil {
		return refuse(err)
	}
	u, err := inRead(ctx, s, func(tx *db.Tx) (account, error) { return readAccount(tx, t.user) })
	switch {
	case errors.Is(err, errRefused):
		return refuse(err)
	case err != nil:
		return err
	case t.user != p.user:
		return refuse(errors.New("the receipt is another user's"))
	case s.o.Now().UnixMicro() >= t.expiresAt:
		return refuse(errors.New("the receipt has expired"))
	case t.epoch != u.epoch:
		return refuse(errors.New("the receipt was made before a change that revoked it"))
	}
	p.sees(t.epoch)
	p.methods = append(p.methods, t.methods...)
	return nil
}

// writeReceipt sends the answer that hands out a receipt; its header is set already.
func writeReceipt(w http.ResponseWriter, a *receiptAnswer) {
	b, err := json.Marshal(a)
	if err != nil { // strings always encode
		b = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "X-Auth-Token")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write(b)
}
