package placement

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// Codes of errors, shown from 1.23 on (placement/errors.py).
const (
	codeUndefined        = "placement.undefined_code"
	codeInventoryInUse   = "placement.inventory.inuse"
	codeConcurrentUpdate = "placement.concurrent_update"
	codeDuplicateName    = "placement.duplicate_name"
	codeProviderInUse    = "placement.resource_provider.inuse"
	codeDeleteParent     = "placement.resource_provider.cannot_delete_parent"
	codeNoProvider       = "placement.resource_provider.not_found"
	codeDuplicateKey     = "placement.query.duplicate_key"
	codeBadValue         = "placement.query.bad_value"
	codeMissingValue     = "placement.query.missing_value"
)

// codeVersion marks the refusal of a microversion, which names the range instead of a code. It is not shown.
const codeVersion = "microversion"

// refuse is an error in placement's words: they go below the status's own explanation.
func refuse(status int, format string, args ...any) *fault.Error {
	return webob.Detailed(status, format, args...)
}

func badRequest(format string, args ...any) *fault.Error {
	return refuse(http.StatusBadRequest, format, args...)
}

func notFound(format string, args ...any) *fault.Error {
	return refuse(http.StatusNotFound, format, args...)
}

func conflict(code, format string, args ...any) *fault.Error {
	e := refuse(http.StatusConflict, format, args...)
	e.Code = code
	return e
}

type errorView struct {
	Status     int    `json:"status"`
	Title      string `json:"title"`
	Detail     string `json:"detail"`
	Code       string `json:"code,omitempty"`
	RequestID  string `json:"request_id"`
	MaxVersion string `json:"max_version,omitempty"`
	MinVersion string `json:"min_version,omitempty"`
}

// errorDocument is placement's JSON (placement/util.py, json_error_formatter).
func errorDocument(r *api.Request, e *fault.Error, p webob.Page) any {
	v := errorView{Status: p.Code, Title: p.Title, Detail: webob.Strip(p.Body), RequestID: r.ID}
	switch {
	case e.Code == codeVersion:
		if p.Code == http.StatusNotAcceptable {
			v.MinVersion, v.MaxVersion = minVersion, maxVersion
		}
	case r.MV != api.Version{} && r.Since("1.23"):
		v.Code = e.Code
		if v.Code == "" {
			v.Code = codeUndefined
		}
	}
	return map[string][]errorView{"errors": {v}}
}

func dialect() api.Dialect {
	write := webob.Writer(errorDocument)
	return api.Dialect{
		WriteError: func(w http.ResponseWriter, r *api.Request, e *fault.Error) {
			if e.Status == http.StatusUnauthorized {
				writeUnauthorized(w, r)
				return
			}
			// microversion_parse's middleware makes JSON the default where the client does not care.
			if a := strings.TrimSpace(r.HTTP.Header.Get("Accept")); a == "" || a == "*/*" {
				r.HTTP.Header.Set("Accept", "application/json")
			}
			write(w, r, e)
		},
		NotFound:         func(*api.Request) *fault.Error { return webob.Plain(404) },
		MethodNotAllowed: func(*api.Request) *fault.Error { return methodNotAllowed() },
		Forbidden: func(_ *api.Request, rule string) *fault.Error {
			return refuse(http.StatusForbidden, "Policy does not allow %s to be performed.", rule)
		},
		TooLarge: func(*api.Request) *fault.Error { return webob.Plain(413) },
		Invalid:  func(_ *api.Request, e *schema.Error) *fault.Error { return badRequest("%s", e.Error()) },
	}
}

func methodNotAllowed() *fault.Error {
	return refuse(http.StatusMethodNotAllowed, "The method specified is not allowed for this resource.")
}

// writeUnauthorized is the answer of keystonemiddleware, which stands before placement.
func writeUnauthorized(w http.ResponseWriter, r *api.Request) {
	h := w.Header()
	h.Set("Www-Authenticate", `Keystone uri="`+r.BaseURL()+`/identity"`)
	h.Set("Content-Type", "application/json")
	b, _ := json.Marshal(map[string]any{"error": map[string]any{"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}})
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write(b) // a client that went away is no error of ours
}

func invalidVersion(header string) *fault.Error {
	e := badRequest("Invalid microversion: invalid version string: %s; invalid literal for int() with base 10: '%s'", header, header)
	e.Code = codeVersion
	return e
}

func versionNotSupported(v api.Version) *fault.Error {
	e := refuse(http.StatusNotAcceptable, "Invalid microversion: Unacceptable version header: %s", v)
	e.Code = codeVersion
	return e
}

// body reads, decodes and validates a JSON body.
func body(r *api.Request, in *api.Stream, s *schema.Schema) (any, error) {
	if media, _, _ := strings.Cut(in.ContentType, ";"); strings.TrimSpace(media) != "application/json" {
		if strings.TrimSpace(media) == "" {
			media = "None"
			if in.Size > 0 {
				return nil, badRequest("content-type header required when content-length > 0")
			}
		}
		return nil, refuse(http.StatusUnsupportedMediaType, "The media type %s is not supported, use application/json", media)
	}
	b, err := readBody(in)
	if err != nil {
		return nil, err
	}
	v, err := schema.Decode(b)
	if err != nil {
		return nil, badRequest("Malformed JSON: %s", err)
	}
	if e := schema.Placement.Validate(s, v); e != nil {
		return nil, badRequest("%s", e.PlacementMessage())
	}
	if hasNUL(v) {
		return nil, badRequest("JSON does not validate: a text contains a NUL character")
	}
	return v, nil
}

// jsonOnly refuses a client that accepts no JSON.
func jsonOnly(r *api.Request) error {
	if webob.Accepts(r.HTTP.Header.Get("Accept"), "application", "json") {
		return nil
	}
	return refuse(http.StatusNotAcceptable, "Only application/json is provided")
}

// queryArgs validates the query string and returns the last value of each parameter.
func queryArgs(r *api.Request, s *schema.Schema) (map[string]string, error) {
	args := map[string]string{}
	for name, values := range r.Query() {
		for _, v := range append(values, name) {
			if strings.ContainsRune(v, 0) || strings.ToValidUTF8(v, "") != v {
				return nil, badRequest("Invalid query string parameters: they must be UTF-8 text without NUL characters")
			}
		}
		args[name] = values[len(values)-1]
	}
	if e := schema.Placement.ValidateQuery(s, r.Query()); e != nil {
		return nil, badRequest("%s", e.Error())
	}
	return args, nil
}
