package identity

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oauthRequest is a request that a consumer of OAuth 1.0 signed (RFC 5849).
type oauthRequest struct {
	method string
	urls   []string // what the client may have called the resource, without query
	query  url.Values
	params map[string]string // of the Authorization header
}

// readOAuth reads the parameters of an Authorization header; nil when it is not one of OAuth.
func readOAuth(header string) (map[string]string, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "OAuth") {
		return nil, nil
	}
	params := map[string]string{}
	for rest = strings.TrimSpace(rest); rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, errors.New("a parameter of the OAuth header has no value")
		}
		value := ""
		if strings.HasPrefix(after, `"`) {
			if value, rest, ok = strings.Cut(after[1:], `"`); !ok {
				return nil, errors.New("a quotation mark of the OAuth header is not closed")
			}
			_, rest, _ = strings.Cut(rest, ",")
		} else {
			value, rest, _ = strings.Cut(after, ",")
		}
		rest = strings.TrimSpace(rest)
		name, err := url.PathUnescape(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if name == "realm" {
			continue // any text, and never signed
		}
		if value, err = url.PathUnescape(strings.TrimSpace(value)); err != nil {
			return nil, err
		}
		if _, twice := params[name]; twice || name == "" {
			return nil, errors.New("a parameter of the OAuth header stands twice or has no name")
		}
		params[name] = value
	}
	return params, nil
}

// oauthWindow is how far a request's timestamp may be off.
const oauthWindow = 600 * time.Second

// complete tells what is wrong with the parameters, in oauthlib's words; "" when nothing is.
func (q oauthRequest) complete(now time.Time) string {
	for _, name := range []string{"oauth_signature", "oauth_consumer_key", "oauth_nonce", "oauth_timestamp", "oauth_signature_method"} {
		if q.params[name] == "" {
			return "Missing mandatory OAuth parameters."
		}
	}
	if v, given := q.params["oauth_version"]; given && v != "1.0" {
		return "Invalid OAuth version."
	}
	stamp := q.params["oauth_timestamp"]
	if len(stamp) != 10 {
		return "Invalid timestamp size"
	}
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return "Timestamp must be an integer."
	}
	if off := now.Sub(time.Unix(at, 0)); off > oauthWindow || off < -oauthWindow {
		return "Timestamp given is invalid, differ from allowed by over 600 seconds."
	}
	return ""
}

// verify checks the signature with the secrets of the consumer and of its token, which may be empty.
func (q oauthRequest) verify(consumer, token string) error {
	key := percent(consumer) + "&" + percent(token)
	given := q.params["oauth_signature"]
	if q.params["oauth_signature_method"] == "PLAINTEXT" {
		if same(key, given) {
			return nil
		}
		return errSignature
	}
	for _, u := range q.urls {
		want := ""
		switch text := q.base(u); q.params["oauth_signature_method"] {
		case "HMAC-SHA1":
			want = keyed64(sha1.New, key, text)
		case "HMAC-SHA256":
			want = keyed64(sha256.New, key, text)
		case "HMAC-SHA512":
			want = keyed64(sha512.New, key, text)
		default:
			return errors.New("the signature method is not offered")
		}
		if same(want, given) {
			return nil
		}
	}
	return errSignature
}

// base is the signature base string.
func (q oauthRequest) base(u string) string {
	var pairs [][2]string
	for name, v := range q.params {
		if name != "oauth_signature" {
			pairs = append(pairs, [2]string{percent(name), percent(v)})
		}
	}
	for name, values := range q.query {
		for _, v := range values {
			pairs = append(pairs, [2]string{percent(name), percent(v)})
		}
	}
	slices.SortFunc(pairs, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	var params []string
	for _, p := range pairs {
		params = append(params, p[0]+"="+p[1])
	}
	return strings.ToUpper(q.method) + "&" + percent(baseURL(u)) + "&" + percent(strings.Join(params, "&"))
}

// baseURL is an URL as it is signed: scheme and host in small letters, the scheme's own port left out.
func baseURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.RawQuery, u.Fragment = "", ""
	return u.String()
}
