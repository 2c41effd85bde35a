package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/mapping"
	"github.com/hanok-cloud/hanok/internal/identity/oidc"
)

// newOIDC makes the clients of the providers that keystone.conf names.
func newOIDC(o Options) (map[string]*oidc.Provider, error) {
	var configs []oidc.Config
	for _, id := range slices.Sorted(maps.Keys(o.Conf.OIDC)) {
		c := o.Conf.OIDC[id]
		configs = append(configs, oidc.Config{Name: id, Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: c.Scopes, Audiences: c.Audiences, CAFile: c.CAFile})
	}
	return oidc.New(configs, oidc.Options{Now: o.Now, Logger: o.Logger})
}

// issuerAttribute names the provider in an assertion, unless the protocol or keystone.conf says otherwise.
const issuerAttribute = "HTTP_OIDC_ISS"

// wayIn is an identity provider with a protocol, ready for a login.
type wayIn struct {
	provider, protocol string
	domain             string
	remoteIDs          []string
	remoteID           string // the attribute that must be one of them
	memberFor          int64  // microseconds
	mappingID          string
	rules              *mapping.Mapping
	client             *oidc.Provider
	delimiter          string
}

// findWayIn reads what a login by an identity provider and a protocol needs. What is missing is 404 and a disabled provider 403 to anybody, as
// upstream has it.
func (s *Service) findWayIn(ctx context.Context, provider, protocolID string) (*wayIn, error) {
	w, err := recall(ctx, s, nil, fmt.Sprintf("way in|%q|%q", provider, protocolID), func(*wayIn) int { return 8000 }, func(tx *db.Tx) (*wayIn, error) {
		idp, err := s.fed.provider.get(tx, provider)
		if err != nil {
			return nil, err
		}
		if !truth(idp, "enabled") {
			return nil, forbidden(fmt.Errorf("identity provider %s is disabled", provider))
		}
		p, err := getProtocol(tx, provider, protocolID)
		if err != nil {
			return nil, err
		}
		m, err := s.fed.mapping.get(tx, p.mapping)
		if err != nil {
			return nil, err
		}
		w := &wayIn{provider: provider, protocol: protocolID, domain: str(idp, "domain_id"), remoteIDs: texts(idp["remote_ids"]), mappingID: p.mapping,
			memberFor: s.membershipTime(idp["authorization_ttl"])}
		w.remoteID, _ = p.remoteID.(string)
		w.rules, err = mapping.New(str(m, "schema_version"), m["rules"])
		return w, err
	})
	if err != nil {
		return nil, err
	}
	out := *w
	if out.remoteID == "" {
		out.remoteID = s.o.Conf.Federation.RemoteID
	}
	if out.remoteID == "" {
		out.remoteID = issuerAttribute
	}
	if c := s.o.Conf.OIDC[provider]; c != nil {
		out.delimiter = c.ClaimDelimiter
	}
	if out.client = s.oidc[provider]; out.client == nil {
		return nil, unauthorized(fmt.Errorf("identity provider %s has no section [oidc:%s] in keystone.conf, so nobody can come by it", provider, provider))
	}
	return &out, nil
}

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, e := range list {
		if t, ok := e.(string); ok {
			out = append(out, t)
		}
	}
	return out
}

// bearer is the token in a request's Authorization header.
func bearer(r *api.Request) string {
	scheme, token, _ := strings.Cut(r.HTTP.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// federatedAuth answers …/auth: the token of an identity provider is exchanged for one of this cloud. In upstream's deployments Apache checks the
// former and keystone sees what it says.
func (s *Service) federatedAuth(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	p := &authentication{}
	user, err := s.proveAssertion(ctx, r, r.Path("idp_id"), r.Path("protocol_id"), p)
	if err != nil {
		return nil, err
	}
	p.user = user
	se, err := s.mint(ctx, nil, p)
	if err != nil {
		return nil, err
	}
	r.Note(api.Note{Initiator: se.caller})
	b, err := s.render(ctx, se, r.BaseURL(), true)
	if err != nil {
		return nil, err
	}
	h := r.Header()
	h.Set("X-Subject-Token", se.id)
	h.Set("Vary", "X-Auth-Token")
	return b, nil
}

// proveAssertion finds the user of the bearer token that comes with a request.
func (s *Service) proveAssertion(ctx context.Context, r *api.Request, provider, protocolID string, p *authentication) (string, error) {
	w, err := s.findWayIn(ctx, provider, protocolID)
	if err != nil {
		return "", err
	}
	claims, err := w.client.Verify(ctx, bearer(r))
	if err != nil {
		return "", refusedByProvider(w, err)
	}
	return s.admit(ctx, w, claims, p)
}

// refusedByProvider is the answer when a provider says no, or nothing.
func refusedByProvider(w *wayIn, err error) error {
	switch {
	case errors.Is(err, oidc.ErrUnreachable):
		return fault.New(http.StatusServiceUnavailable, "", "The identity provider %s cannot be asked at present. Please try again later.", w.provider).Because(err)
	case errors.Is(err, oidc.ErrRefused):
		return unauthorized(err)
	}
	return err
}

// admit maps what a provider says of somebody to a user here, and notes in p how the user has come.
func (s *Service) admit(ctx context.Context, w *wayIn, claims oidc.Claims, p *authentication) (string, error) {
	assertion := oidc.Attributes(claims, w.delimiter)
	if prefix := s.o.Conf.Federation.AssertionPrefix; prefix != "" {
		maps.DeleteFunc(assertion, func(name, _ string) bool { return !strings.HasPrefix(name, prefix) })
	}
	if len(w.remoteIDs) > 0 {
		id, given := assertion[w.remoteID]
		if !given {
			return "", unauthorized(fmt.Errorf("the assertion has no %s, which names the identity provider", w.remoteID))
		}
		if !slices.Contains(w.remoteIDs, id) {
			return "", forbidden(fmt.Errorf("%q is none of the remote ids of identity provider %s", id, w.provider))
		}
	}
	found, err := w.rules.Apply(assertion)
	if errors.Is(err, mapping.ErrNoMatch) {
		return "", unauthorized(fmt.Errorf("mapping %s: %w", w.mappingID, err))
	}
	if err != nil {
		return "", fmt.Errorf("mapping %s: %w", w.mappingID, err)
	}
	p.methods = append([]string{mappedMethod}, p.methods...)
	if found.User.Type == mapping.Local {
		return inRead(ctx, s, func(tx *db.Tx) (string, error) { return s.localUser(tx, found.User) })
	}
	user, groups, err := s.shadow(ctx, w, found, claims.Text("sub"))
	if err != nil {
		return "", err
	}
	p.via = &federation{provider: w.provider, protocol: w.protocol, groups: groups}
	return user, s.loggedIn(ctx, user)
}

// localUser finds the user of this cloud that a mapping names.
func (s *Service) localUser(tx *db.Tx, u mapping.User) (string, error) {
	ref := doc{"id": u.ID, "name": u.Name}
	if u.Domain != nil {
		ref["domain"] = doc{"id": u.Domain.ID, "name": u.Domain.Name}
	}
	if u.ID == "" && u.Name == "" {
		return "", unauthorized(errors.New("the mapping names no local user"))
	}
	found, err := s.findUser(tx, ref)
	if err == nil && !found.enabled {
		err = unauthorized(errors.New("there is no such local user, or it or its domain is disabled"))
	}
	served := ""
	if err == nil {
		served, err = servedProject(tx, found.id)
	}
	if err == nil && served != "" {
		err = unauthorized(fmt.Errorf("the local user is the service identity of project %s, which has application credentials alone", served))
	}
	return found.id, err
}

// proveMapped is the method mapped: a federated token is exchanged, or the request brings an identity provider's own.
func (s *Service) proveMapped(ctx context.Context, r *api.Request, data, auth doc, p *authentication) (string, error) {
	if _, given := data["id"]; !given {
		for _, name := range []string{"identity_provider", "protocol"} {
			if str(data, name) == "" {
				return "", expecting(name, mappedMethod)
			}
		}
		return s.proveAssertion(ctx, r, str(data, "identity_provider"), str(data, "protocol"), p)
	}
	was := p.methods
	user, err := s.proveToken(ctx, r, data, auth, p)
	if err != nil {
		return "", err
	}
	if p.via == nil {
		return "", unauthorized(errors.New("the method mapped takes a federated token"))
	}
	p.methods = append([]string{mappedMethod}, was...)
	return user, nil
}

// membershipsOf answers GET /users/{user_id}/groups' question when the user's memberships end.
func membershipsOf(tx *db.Tx, user string) (map[string]int64, error) {
	out := map[string]int64{}
	err := tx.Each(func(r db.Row) error {
		var group string
		var at int64
		err := r.Scan(&group, &at)
		out[group] = max(out[group], at)
		return err
	}, `SELECT group_id, expires_at FROM identity_expiring_members WHERE user_id = $1 AND expires_at > $2
		AND group_id NOT IN (SELECT group_id FROM identity_members WHERE user_id = $1)`, user, tx.NowMicros())
	return out, err
}

// membershipList lists the groups of a user with when each membership ends.
func (s *Service) membershipList(user string, ends map[string]int64) listing {
	k := *s.group
	k.singular, k.wire = "membership", func(_ *Service, d doc) { setDefault(d, "membership_expires_at", nil) }
	l := listing{kind: &k, filters: []string{"name"}, exprs: map[string]string{"name": groupName}}
	if len(ends) == 0 {
		l.where.Add("id IN (SELECT group_id FROM identity_members WHERE user_id = ?)", user)
		return l
	}
	groups := slices.Sorted(maps.Keys(ends))
	w := (&db.Where{}).In("id", groups)
	l.where.Add("id IN (SELECT group_id FROM identity_members WHERE user_id = ?) OR id IN (?"+strings.Repeat(", ?", len(groups)-1)+")", append([]any{user}, w.Args()...)...)
	l.keep = func(d doc) bool {
		if at := ends[str(d, "id")]; at != 0 {
			d["membership_expires_at"] = db.Time(at).Format("2006-01-02T15:04:05.000000") // upstream's has no zone
		}
		return true
	}
	return l
}

// narrowUsers applies the filters by what federated users are at their provider and by the name that they show.
func narrowUsers(r *api.Request, l *listing) {
	cond, args := "", []any{}
	for _, name := range []string{"idp_id", "protocol_id", "unique_id"} {
		for _, v := range r.Query()[name] {
			cond += " AND " + name + " = ?"
			args = append(args, v)
		}
	}
	if cond != "" {
		l.where.Add("id IN (SELECT user_id FROM identity_federated_users WHERE 1 = 1"+cond+")", args...)
	}
	// usersNamed finds them by index; this is what it finds.
	l.exprs = map[string]string{"name": userName}
}

// usersNamed are the ids of the users who show a name.
func usersNamed(tx *db.Tx, name string) ([]string, error) {
	return db.All(tx, db.Value[string], `SELECT id FROM identity_users WHERE name = $1 AND federated_name = ''
		UNION SELECT id FROM identity_users WHERE federated_name = $1 AND federated_name <> '' ORDER BY 1`, name)
}
