package identity

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/oidc"
)

// webLoginState is a web login under way. It travels in a cookie, encrypted with the token keys: any controller can go on with it, and nobody can
// fill the database by beginning logins.
type webLoginState struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Provider string `json:"provider"`
	Protocol string `json:"protocol"`
	Origin   string `json:"origin"`
}

const (
	// webLoginMark begins the cookie's content; no token's begins so.
	webLoginMark = "web login\n"
	// webLoginTime is how long a user may take at the identity provider.
	webLoginTime = 10 * time.Minute
)

// dashboard is the address that a web login returns to, which must be a trusted one (keystone/api/auth.py, _get_sso_origin_host).
func (s *Service) dashboard(r *api.Request) (string, error) {
	origin := r.Query().Get("origin")
	if origin == "" {
		return "", fault.BadRequest("Request must have an origin query parameter")
	}
	host, err := url.QueryUnescape(origin) // once more than HTTP does, as upstream
	if err != nil {
		return "", fault.BadRequest("The origin is not an address: %v", err)
	}
	for _, trusted := range s.o.Conf.Federation.TrustedDashboard {
		if host == lowerHost(trusted) {
			return host, nil
		}
	}
	return "", unauthorized(fmt.Errorf("%s is not a trusted dashboard host; [federation] trusted_dashboard in keystone.conf names those", host))
}

func lowerHost(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return address
	}
	host, path, slash := strings.Cut(rest, "/")
	if slash {
		path = "/" + path
	}
	return strings.ToLower(scheme) + "://" + strings.ToLower(host) + path
}

// webLogin begins a login at an identity provider, or ends it: the provider sends the browser back to the same address.
func (s *Service) webLogin(ctx context.Context, r *api.Request, _ api.None) (*api.Stream, error) {
	if r.Query().Has("state") {
		return s.endWebLogin(ctx, r)
	}
	origin, err := s.dashboard(r)
	if err != nil {
		return nil, err
	}
	return s.beginWebLogin(ctx, r, r.Path("idp_id"), r.Path("protocol_id"), origin)
}

// webLoginByProtocol is the same where only the protocol is named. Upstream takes the provider that Apache has made the browser log in to; where
// several are configured the user must say which.
func (s *Service) webLoginByProtocol(ctx context.Context, r *api.Request, _ api.None) (*api.Stream, error) {
	origin, err := s.dashboard(r)
	if err != nil {
		return nil, err
	}
	id := r.Path("protocol_id")
	ids, err := inRead(ctx, s, func(tx *db.Tx) ([]string, error) {
		return db.All(tx, db.Value[string], `SELECT p.idp_id FROM identity_protocols p JOIN identity_providers i ON i.id = p.idp_id WHERE p.id = $1 AND i.enabled = TRUE ORDER BY p.idp_id`, id)
	})
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return s.oidc[id] == nil })
	switch len(ids) {
	case 0:
		return nil, unauthorized(fmt.Errorf("no enabled identity provider with the protocol %s stands in keystone.conf", id))
	case 1:
		return s.beginWebLogin(ctx, r, ids[0], id, origin)
	}
	links := map[string]string{}
	for _, idp := range ids {
		links[idp] = webLoginURL(r, idp, id) + "?" + url.Values{"origin": {r.Query().Get("origin")}}.Encode()
	}
	return htmlPage(r, choicePage, links, "default-src 'none'")
}

// webLoginURL is where the provider sends the browser back to; it must be registered there.
func webLoginURL(r *api.Request, provider, protocol string) string {
	return base(r) + "/auth/OS-FEDERATION/identity_providers/" + url.PathEscape(provider) + "/protocols/" + url.PathEscape(protocol) + "/websso"
}

func randomText() (string, error) {
	var b [32]byte
	_, err := rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:]), err
}

func (s *Service) beginWebLogin(ctx context.Context, r *api.Request, provider, protocol, origin string) (*api.Stream, error) {
	w, err := s.findWayIn(ctx, provider, protocol)
	if err != nil {
		return nil, err
	}
	l := webLoginState{Provider: provider, Protocol: protocol, Origin: origin, Verifier: oidc.NewVerifier()}
	if l.State, err = randomText(); err != nil {
		return nil, err
	}
	if l.Nonce, err = randomText(); err != nil {
		return nil, err
	}
	to, err := w.client.LoginURL(ctx, oidc.Login{State: l.State, Nonce: l.Nonce, Verifier: l.Verifier, Redirect: webLoginURL(r, provider, protocol)})
	if err != nil {
		return nil, refusedByProvider(w, err)
	}
	b, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	sealed, err := s.tokens.keys()[0].seal(append([]byte(webLoginMark), b...), s.o.Now())
	if err != nil {
		return nil, err
	}
	setLoginCookie(r, l.State, sealed, int(webLoginTime.Seconds()))
	r.Header().Set("Location", to)
	r.Header().Set("Cache-Control", "no-store")
	r.SetStatus(http.StatusFound)
	return &api.Stream{Body: http.NoBody, ContentType: "text/html; charset=utf-8"}, nil
}

// cookieName is of a login's own, so that two logins in two windows do not disturb each other.
func cookieName(state string) string { return "hanok-login-" + hashed(state)[:16] }

func hashed(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:])
}

func setLoginCookie(r *api.Request, state, value string, age int) {
	c := http.Cookie{Name: cookieName(state), Value: value, Path: "/identity/v3/auth/OS-FEDERATION", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(r.BaseURL(), "https://")}
	r.Header().Add("Set-Cookie", c.String())
}

// readLogin finds the login that a state belongs to in the browser's cookie: only the browser that began a login may end it.
func (s *Service) readLogin(ctx context.Context, r *api.Request) (*webLoginState, error) {
	state := r.Query().Get("state")
	c, err := r.HTTP.Cookie(cookieName(state))
	if err != nil {
		return nil, unauthorized(errors.New("the browser has no cookie of this login: it was begun elsewhere, under another host name than the public endpoint's, or too long ago"))
	}
	epoch, err := s.epochOf(ctx, nil)
	if err != nil {
		return nil, err
	}
	b, at, err := s.unseal(ctx, c.Value, epoch)
	if err != nil {
		return nil, unauthorized(fmt.Errorf("the cookie of this login: %w", err))
	}
	b, marked := bytes.CutPrefix(b, []byte(webLoginMark))
	var l webLoginState
	if !marked || json.Unmarshal(b, &l) != nil || l.State != state {
		return nil, unauthorized(errors.New("the cookie is of another login"))
	}
	if s.o.Now().Sub(at) > webLoginTime+time.Second {
		return nil, unauthorized(errors.New("the login has taken too long"))
	}
	if l.Provider != r.Path("idp_id") || l.Protocol != r.Path("protocol_id") {
		return nil, unauthorized(errors.New("the login was begun at another identity provider"))
	}
	return &l, nil
}

func (s *Service) endWebLogin(ctx context.Context, r *api.Request) (*api.Stream, error) {
	l, err := s.readLogin(ctx, r)
	if err != nil {
		return nil, err
	}
	setLoginCookie(r, l.State, "", -1)
	q := r.Query()
	w, err := s.findWayIn(ctx, l.Provider, l.Protocol)
	if err != nil {
		return nil, err
	}
	if said := q.Get("error"); said != "" {
		return nil, unauthorized(fmt.Errorf("identity provider %s: %.100q %.200q", l.Provider, said, q.Get("error_description")))
	}
	if iss := q.Get("iss"); iss != "" && iss != w.client.Issuer() { // RFC 9207: the answer of another provider
		return nil, unauthorized(fmt.Errorf("the answer is of the issuer %.200q", iss))
	}
	claims, err := w.client.Finish(ctx, oidc.Login{State: l.State, Nonce: l.Nonce, Verifier: l.Verifier, Redirect: webLoginURL(r, l.Provider, l.Protocol)}, q.Get("code"))
	if err != nil {
		return nil, refusedByProvider(w, err)
	}
	if err := s.useUp(ctx, l.State); err != nil {
		return nil, err
	}
	p := &authentication{}
	if p.user, err = s.admit(ctx, w, claims, p); err != nil {
		return nil, err
	}
	se, err := s.mint(ctx, nil, p)
	if err != nil {
		return nil, err
	}
	r.Note(api.Note{Initiator: se.caller})
	return htmlPage(r, tokenPage, map[string]string{"Host": l.Origin, "Token": se.id}, "default-src 'none'; script-src 'sha256-"+submitHash()+"'")
}

// useUp notes that a login has ended, which it may do once. Providers should give out nothing for the same code again; this does not rely on it.
func (s *Service) useUp(ctx context.Context, state string) error {
	return s.o.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := tx.Exec(`DELETE FROM identity_finished_logins WHERE used_at < $1`, s.o.Now().Add(-2*webLoginTime).UnixMicro()); err != nil {
			return err
		}
		n, err := tx.Exec(`INSERT INTO identity_finished_logins (state, used_at) VALUES ($1, $2) ON CONFLICT (state) DO NOTHING`, hashed(state), s.o.Now().UnixMicro())
		if err == nil && n == 0 {
			err = unauthorized(errors.New("the login has ended before"))
		}
		return err
	})
}

// submitScript sends the form on; its hash is what lets it run.
const submitScript = `window.onload=function(){document.forms["sso"].submit()}`

func submitHash() string {
	sum := sha256.Sum256([]byte(submitScript))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tokenPage hands the token to the dashboard: a form with a field "token", sent at once (upstream's sso_callback_template).
const tokenPage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Login</title></head>
<body><form id="sso" name="sso" action="{{.Host}}" method="post">
<p>Please wait...</p><input type="hidden" name="token" id="token" value="{{.Token}}">
<noscript><button type="submit">Continue</button></noscript>
</form><script>` + submitScript + `</script></body></html>
`

// choicePage lists identity providers.
const choicePage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Login</title></head>
<body><p>Log in with</p><ul>{{range $id, $url := .}}<li><a href="{{$url}}">{{$id}}</a></li>{{end}}</ul></body></html>
`

// htmlPage answers with HTML.
func htmlPage(r *api.Request, text string, data map[string]string, security string) (*api.Stream, error) {
	t, err := template.New("page").Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, err
	}
	h := r.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", security)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	return &api.Stream{Body: io.NopCloser(&b), Size: int64(b.Len()), ContentType: "text/html; charset=utf-8"}, nil
}
