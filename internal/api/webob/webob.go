// Package webob writes errors as the services built on webob.exc do (image, placement): HTML, JSON or plain text by what the
// client accepts, around an explanation and a detail. It must not know any service; one that has its own JSON gives it.
//
// In a fault.Error, Message is the explanation and Detail the detail. HTTPForbidden(msg) in Python sets the detail and leaves
// the status's own explanation, HTTPForbidden(explanation=msg) replaces it: Detailed makes the first kind.
package webob

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// status is webob's title and explanation of a code (webob/exc.py).
type status struct{ title, explanation string }

var statuses = map[int]status{
	400: {"Bad Request", "The server could not comply with the request since it is either malformed or otherwise incorrect."},
	401: {"Unauthorized", "This server could not verify that you are authorized to access the document you requested. Either you supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials required."},
	403: {"Forbidden", "Access was denied to this resource."},
	404: {"Not Found", "The resource could not be found."},
	405: {"Method Not Allowed", ""},
	406: {"Not Acceptable", ""},
	409: {"Conflict", "There was a conflict when trying to complete your request."},
	410: {"Gone", "This resource is no longer available. No forwarding address is given."},
	413: {"Request Entity Too Large", "The body of your request was too large for this server."},
	415: {"Unsupported Media Type", ""},
	416: {"Request Range Not Satisfiable", "The Range requested is not available."},
	500: {"Internal Server Error", "The server has either erred or is incapable of performing the requested operation."},
	503: {"Service Unavailable", "The server is currently unavailable. Please try again at a later time."},
}

// Explanation is webob's own explanation of a status.
func Explanation(code int) string { return statuses[code].explanation }

// Plain is the status with webob's own explanation.
func Plain(code int) *fault.Error { return fault.New(code, "", "%s", Explanation(code)) }

// Detailed is the status with webob's own explanation and a detail below it.
func Detailed(code int, format string, args ...any) *fault.Error {
	e := Plain(code)
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// Page is an error about to be written.
type Page struct {
	Code   int
	Status string // "404 Not Found"
	Title  string // "Not Found"
	// Body is explanation, <br /> tags and detail, not escaped.
	Body string
}

// Writer makes a service's WriteError. jsonBody makes the JSON document; nil is webob's own.
func Writer(jsonBody func(r *api.Request, e *fault.Error, p Page) any) func(http.ResponseWriter, *api.Request, *fault.Error) {
	if jsonBody == nil {
		jsonBody = func(_ *api.Request, _ *fault.Error, p Page) any {
			return struct {
				Message string `json:"message"`
				Code    string `json:"code"`
				Title   string `json:"title"`
			}{p.Body, p.Status, p.Title}
		}
	}
	return func(w http.ResponseWriter, r *api.Request, e *fault.Error) {
		s, ok := statuses[e.Status]
		if !ok {
			s = status{title: http.StatusText(e.Status)}
		}
		p := Page{Code: e.Status, Status: fmt.Sprintf("%d %s", e.Status, s.title), Title: s.title}
		if e.Status >= 500 && e.Cause != nil {
			e = &fault.Error{Status: e.Status, Message: s.explanation}
		}
		h := w.Header()
		var b []byte
		switch accepted(r.HTTP.Header.Get("Accept")) {
		case "html":
			h.Set("Content-Type", "text/html; charset=UTF-8")
			b = []byte("<html>\n <head>\n  <title>" + p.Status + "</title>\n </head>\n <body>\n  <h1>" + p.Status + "</h1>\n  " + body(r, e, escape) + "\n </body>\n</html>")
		case "json":
			h.Set("Content-Type", "application/json")
			p.Body = body(r, e, func(s string) string { return s })
			b = encode(jsonBody(r, e, p))
		default:
			h.Set("Content-Type", "text/plain; charset=UTF-8")
			b = []byte(p.Status + "\n\n" + Strip(body(r, e, func(s string) string { return s })))
		}
		h.Set("Content-Length", strconv.Itoa(len(b)))
		w.WriteHeader(e.Status)
		if r.HTTP.Method != http.MethodHead {
			_, _ = w.Write(b) // a client that went away is no error of ours
		}
	}
}

// encode leaves < and > as they are, as Python does.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // texts and numbers always encode
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func escape(s string) string {
	return strings.NewReplacer("&#34;", "&quot;", "&#39;", "&#x27;").Replace(html.EscapeString(s))
}

// body fills the template of the status.
func body(r *api.Request, e *fault.Error, esc func(string) string) string {
	switch e.Status {
	case http.StatusMethodNotAllowed:
		return "The method " + esc(r.HTTP.Method) + " is not allowed for this resource. <br /><br />\n" + esc(e.Detail)
	case http.StatusUnsupportedMediaType:
		media := r.HTTP.Header.Get("Content-Type")
		if media == "" {
			media = "${CONTENT_TYPE}" // webob leaves the place in its template
		}
		return "The request media type " + esc(media) + " is not supported by this server.\n<br /><br />\n" + esc(e.Detail)
	case http.StatusNotAcceptable:
		return "The resource could not be generated that was acceptable to your browser\n(content of type " + esc(r.HTTP.Header.Get("Accept")) + ". <br /><br />\n" + esc(e.Detail)
	}
	return esc(e.Message) + "<br /><br />\n" + esc(e.Detail) + "\n\n"
}

var (
	breakTag   = regexp.MustCompile(`(?i)<br.*?>`)
	commentTag = regexp.MustCompile(`(?s)<!--.*?-->`)
	anyTag     = regexp.MustCompile(`<.*?>`)
)

// Strip is webob's strip_tags: how HTML becomes text.
func Strip(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "\r", "")
	s = breakTag.ReplaceAllString(s, "\n")
	return anyTag.ReplaceAllString(commentTag.ReplaceAllString(s, ""), "")
}

// accepted picks html, json or neither; html wins a tie, and an absent or broken header accepts everything.
func accepted(header string) string {
	if strings.TrimSpace(header) == "" {
		return "html"
	}
	best, bestQ := "", 0.0
	for _, offer := range []struct{ name, typ, sub string }{{"html", "text", "html"}, {"json", "application", "json"}} {
		q, specific := 0.0, -1
		for part := range strings.SplitSeq(header, ",") {
			media, params, _ := strings.Cut(strings.TrimSpace(part), ";")
			typ, sub, ok := strings.Cut(strings.ToLower(strings.TrimSpace(media)), "/")
			if !ok {
				return "html"
			}
			s := -1
			switch {
			case typ == offer.typ && sub == offer.sub:
				s = 2
			case typ == offer.typ && sub == "*":
				s = 1
			case typ == "*" && sub == "*":
				s = 0
			}
			if s > specific {
				specific, q = s, quality(params)
			}
		}
		if q > bestQ {
			best, bestQ = offer.name, q
		}
	}
	return best
}

func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if v, ok := strings.CutPrefix(strings.ReplaceAll(p, " ", ""), "q="); ok {
			if q, err := strconv.ParseFloat(v, 64); err == nil {
				return q
			}
		}
	}
	return 1
}

// Accepts tells whether the Accept header allows JSON.
func Accepts(header, typ, sub string) bool {
	if strings.TrimSpace(header) == "" {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		media, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		t, s, ok := strings.Cut(strings.ToLower(strings.TrimSpace(media)), "/")
		if !ok {
			return true
		}
		if (t == typ || t == "*") && (s == sub || s == "*") && quality(params) > 0 {
			return true
		}
	}
	return false
}
