package api

import (
	"net/http"
	"regexp"
	"strings"
)

// AccessRule is one request that an application credential allows (keystonemiddleware's access rules).
type AccessRule struct{ Service, Method, Path string }

// AccessRules are what a token is limited to; nil means no limit, an empty list allows nothing.
type AccessRules []AccessRule

var accessPart = regexp.MustCompile(`\{[^}]*\}|\*\*|\*|[^{}*]+|[{}]`)

// accessPattern turns /v2.1/servers/{id}/** into an expression: * and {tag} stand for one path element, ** for any number.
func accessPattern(path string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteByte('^')
	for _, part := range accessPart.FindAllString(path, -1) {
		switch {
		case part == "**":
			b.WriteString(".*")
		case part == "*", len(part) > 1 && part[0] == '{':
			b.WriteString(`[^/]+`)
		default:
			b.WriteString(regexp.QuoteMeta(part))
		}
	}
	b.WriteByte('$')
	return regexp.Compile(b.String())
}

// allow tells whether a request to a service is among the rules, by its path below the service or the whole path.
func (a AccessRules) allow(service string, r *http.Request, inner string) bool {
	// A token can always be validated (keystonemiddleware/auth_token).
	if service == "identity" && r.Method == http.MethodGet && strings.HasSuffix(inner, "/v3/auth/tokens") {
		return true
	}
	for _, rule := range a {
		if rule.Service != service || rule.Method != r.Method {
			continue
		}
		re, err := accessPattern(rule.Path)
		if err == nil && (re.MatchString(inner) || re.MatchString(r.URL.Path)) {
			return true
		}
	}
	return false
}
