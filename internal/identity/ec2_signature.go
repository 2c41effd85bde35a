package identity

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// errSignature: a signed request does not prove that its sender has the secret.
var errSignature = errors.New("the signature is not the secret's")

// signedRequest is what a service that took a signed request passes on for the signature to be checked (the members of POST /v3/ec2tokens'
// credentials; keystoneclient/contrib/ec2/utils.py).
type signedRequest struct {
	signature              string
	verb, host, path, body string // body is its hash in hex
	params, headers        map[string]string
}

func readSignedRequest(d doc) signedRequest {
	return signedRequest{signature: str(d, "signature"), verb: str(d, "verb"), host: str(d, "host"), path: str(d, "path"), body: str(d, "body_hash"),
		params: printed(d["params"]), headers: printed(d["headers"])}
}

// printed are an object's members as Python prints them.
func printed(v any) map[string]string {
	m, _ := v.(map[string]any)
	out := make(map[string]string, len(m))
	for name, v := range m {
		switch v := v.(type) {
		case string:
			out[name] = v
		case json.Number:
			out[name] = v.String()
		case bool:
			out[name] = strings.ToUpper(strconv.FormatBool(v)[:1]) + strconv.FormatBool(v)[1:]
		case nil:
			out[name] = "None"
		}
	}
	return out
}

// verify checks the signature. It returns the time that was signed; "" when the signer left it out on purpose, as versions 1 and 2 allow. Only what
// the signature covers counts: upstream reads the first time that it finds anywhere in the request, so that a copied request with a fresh one beside
// the signed one is taken.
func (q signedRequest) verify(secret string) (signed string, err error) {
	want, signed, err := q.sign(secret)
	if err != nil {
		return "", err
	}
	if same(want, q.signature) {
		return signed, nil
	}
	// Some clients leave the port out of what they sign.
	u, err := url.Parse("//" + q.host)
	if err != nil || u.Port() == "" {
		return "", errSignature
	}
	q.host = u.Hostname()
	want, signed, err = q.sign(secret)
	if err != nil || !same(want, q.signature) {
		return "", errSignature
	}
	return signed, nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 && a != "" }

func keyed(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func keyed64(h func() hash.Hash, secret, text string) string {
	return base64.StdEncoding.EncodeToString(keyed(h, []byte(secret), text))
}

func (q signedRequest) sign(secret string) (signature, signed string, err error) {
	version, given := q.params["SignatureVersion"]
	switch {
	case version == "0":
		action, ok := q.params["Action"]
		at, timed := q.params["Timestamp"]
		if !ok || !timed {
			return "", "", errSignature
		}
		return keyed64(sha1.New, secret, action+at), at, nil
	case version == "1":
		return keyed64(sha1.New, secret, q.stringV1()), q.params["Timestamp"], nil
	case version == "2":
		return keyed64(sha256.New, secret, q.stringV2()), q.params["Timestamp"], nil
	case q.isV4():
		return q.signV4(secret)
	case given:
		return "", "", errors.New("unknown signature version")
	}
	return "", "", errors.New("unexpected signature format")
}

func (q signedRequest) stringV1() string {
	names := slices.SortedFunc(maps.Keys(q.params), func(a, b string) int {
		if c := strings.Compare(strings.ToLower(a), strings.ToLower(b)); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n + q.params[n])
	}
	return b.String()
}

func (q signedRequest) stringV2() string {
	params := maps.Clone(q.params)
	params["SignatureMethod"] = "HmacSHA256"
	return q.verb + "\n" + q.host + "\n" + q.path + "\n" + canonicalQuery(params)
}

// canonicalQuery sorts and encodes parameters as both of Amazon's schemes want it.
func canonicalQuery(params map[string]string) string {
	var pairs []string
	for _, n := range slices.Sorted(maps.Keys(params)) {
		pairs = append(pairs, percent(n)+"="+percent(params[n]))
	}
	return strings.Join(pairs, "&")
}

// percent encodes all but RFC 3986's unreserved characters.
func percent(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

const algorithmV4 = "AWS4-HMAC-SHA256"

func (q signedRequest) isV4() bool {
	if auth, ok := q.headers["Authorization"]; ok {
		return strings.HasPrefix(auth, algorithmV4)
	}
	return q.params["X-Amz-Algorithm"] == algorithmV4
}

// authParam is a part of the Authorization header, or of the query of a request that was signed in advance.
func (q signedRequest) authParam(name string) string {
	auth, ok := q.headers["Authorization"]
	if !ok {
		return q.params["X-Amz-"+name]
	}
	_, rest, _ := strings.Cut(auth, name+"=")
	v, _, _ := strings.Cut(rest, ",")
	return v
}

func (q signedRequest) signV4(secret string) (signature, signed string, err error) {
	credential := strings.Split(q.authParam("Credential"), "/")
	if len(credential) < 4 {
		return "", "", errors.New("the credential scope is incomplete")
	}
	signed, ok := q.headers["X-Amz-Date"]
	if !ok {
		signed = q.params["X-Amz-Date"]
	}
	date, region, service := credential[1], credential[2], credential[3]
	if signed == "" || !strings.HasPrefix(signed, date) {
		return "", "", errors.New("the request's date is not the credential scope's")
	}
	sum := sha256.Sum256([]byte(q.canonicalV4()))
	text := strings.Join([]string{algorithmV4, signed, strings.Join(credential[1:], "/"), hex.EncodeToString(sum[:])}, "\n")
	return hex.EncodeToString(keyed(sha256.New, keyV4(secret, date, region, service), text)), signed, nil
}

// keyV4 derives the key of a day, region and service.
func keyV4(secret, date, region, service string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{date, region, service, "aws4_request"} {
		key = keyed(sha256.New, key, part)
	}
	return key
}

// oldBoto signed the host without its port (boto before 2.9.3).
func oldBoto(agent string) bool {
	ok, err := regexp.MatchString(`^Boto/2\.[0-9]\.[0-2]`, agent)
	return ok && err == nil
}

// canonicalV4 is the canonical request. The parameters of a POST are in its body, so in the body's hash.
func (q signedRequest) canonicalV4() string {
	verb := strings.ToUpper(q.verb)
	query := ""
	if verb != "POST" {
		query = canonicalQuery(q.params)
	}
	headers := make(map[string]string, len(q.headers))
	for _, n := range slices.Sorted(maps.Keys(q.headers)) {
		headers[strings.ToLower(strings.TrimSpace(n))] = strings.TrimSpace(q.headers[n])
	}
	names := q.authParam("SignedHeaders")
	var lines []string
	for n := range strings.SplitSeq(names, ";") {
		v, ok := headers[n]
		if !ok {
			continue
		}
		if n == "host" && oldBoto(headers["user-agent"]) {
			v, _, _ = strings.Cut(v, ":")
		}
		lines = append(lines, n+":"+v)
	}
	return strings.Join([]string{verb, q.path, query, strings.Join(lines, "\n") + "\n", names, q.body}, "\n")
}

// verifyS3 checks the signature of a request to an object store, which passes on the string to sign, in base64 (keystone/api/s3tokens.py). Its
// time is the object store's to check: a URL signed in advance is good for days.
func verifyS3(token, signature, secret string) error {
	text, err := base64.URLEncoding.DecodeString(token)
	if err != nil {
		return err
	}
	want := ""
	if strings.HasPrefix(string(text), "AWS4") {
		if want, err = signS3V4(string(text), secret); err != nil {
			return err
		}
	} else {
		want = keyed64(sha1.New, secret, string(text))
	}
	if !same(want, signature) {
		return errSignature
	}
	return nil
}

func signS3V4(text, secret string) (string, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != algorithmV4 {
		return "", errSignature
	}
	scope := strings.Split(lines[2], "/")
	if len(scope) != 4 || scope[3] != "aws4_request" || !slices.Contains([]string{"s3", "iam", "sts"}, scope[2]) {
		return "", errSignature
	}
	return hex.EncodeToString(keyed(sha256.New, keyV4(secret, scope[0], scope[1], scope[2]), text)), nil
}
