package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// malformed ends keystone's ValidationError (keystone/exception.py).
const malformed = " The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error."

// expecting is keystone's ValidationError(attribute, target).
func expecting(attribute, target string) *fault.Error {
	return fault.BadRequest("Expecting to find %s in %s."+malformed, attribute, target)
}

// unauthorized is keystone's 401, which never says why; the cause goes to the log.
func unauthorized(cause error) *fault.Error {
	return fault.Unauthorized("The request you have made requires authentication.").Because(cause)
}

// forbidden is keystone's plain Forbidden: a SecurityError keeps its reason to itself.
func forbidden(cause error) *fault.Error {
	return fault.Forbidden("You are not authorized to perform the requested action.").Because(cause)
}

func forbiddenAction(action string) *fault.Error {
	return fault.Forbidden("You are not authorized to perform the requested action: %s.", action)
}

func conflict(what, details string) *fault.Error {
	return fault.Conflict("Conflict occurred attempting to store %s - %s.", what, details)
}

func duplicate(what, field, value string) *fault.Error {
	return conflict(what, "Duplicate entry found with "+field+" "+value)
}

// dialect is keystone's way of wording and writing errors (keystone/server/flask/application.py).
func dialect() api.Dialect {
	return api.Dialect{
		WriteError:   writeError,
		Unauthorized: func(*api.Request) *fault.Error { return unauthorized(nil) },
		Forbidden:    func(_ *api.Request, rule string) *fault.Error { return forbiddenAction(rule) },
		NotFound: func(*api.Request) *fault.Error {
			return fault.NotFound("The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.").Because(noPage{})
		},
		MethodNotAllowed: func(r *api.Request) *fault.Error {
			e := fault.New(http.StatusMethodNotAllowed, "", "The method is not allowed for the requested URL.")
			if p := strings.Trim(r.HTTP.URL.Path, "/"); strings.HasSuffix("/"+p, "/v3") || p == "identity" {
				return e.Because(noPage{})
			}
			return e
		},
		NotJSON: func(*api.Request) *fault.Error { return expecting("application/json", "Content-Type header") },
		BadJSON: func(*api.Request, error) *fault.Error { return expecting("valid JSON", "request body") },
		Invalid: func(_ *api.Request, e *schema.Error) *fault.Error { return fault.BadRequest("%s", e.Error()) },
		TooLarge: func(*api.Request) *fault.Error {
			return fault.New(http.StatusRequestEntityTooLarge, "", "Request is too large.")
		},
	}
}

type wireError struct {
	Error wireErrorBody `json:"error"`
}

type wireErrorBody struct {
	Code     int      `json:"code"`
	Identity authHint `json:"identity,omitzero"`
	Message  string   `json:"message"`
	Title    string   `json:"title"`
}

// authHint is what keystone adds to the errors of authentication plugins, as the cause of one.
type authHint map[string][]string

func (authHint) Error() string { return "the method of authentication cannot be used" }

// noPage is the cause of errors that Flask writes, as a page, for no code of keystone's has seen the request.
type noPage struct{}

func (noPage) Error() string { return "there is nothing at this path" }

func (noPage) write(w http.ResponseWriter, r *api.Request, e *fault.Error) {
	title := http.StatusText(e.Status)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(e.Status)
	if r.HTTP.Method != http.MethodHead {
		_, _ = fmt.Fprintf(w, "<!doctype html>\n<html lang=en>\n<title>%d %s</title>\n<h1>%s</h1>\n<p>%s</p>\n", e.Status, title, title, e.Message)
	}
}

func writeError(w http.ResponseWriter, r *api.Request, e *fault.Error) {
	if a := new(receiptAnswer); errors.As(e.Cause, &a) {
		writeReceipt(w, a)
		return
	}
	if p := (noPage{}); errors.As(e.Cause, &p) {
		p.write(w, r, e)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Keystone uri="`+base(r)+`"`)
	}
	var hint authHint
	errors.As(e.Cause, &hint)
	var body any = wireError{wireErrorBody{e.Status, hint, e.Message, http.StatusText(e.Status)}}
	switch {
	case e.Status >= http.StatusInternalServerError && e.Status != http.StatusServiceUnavailable:
		body = wireError{wireErrorBody{e.Status, nil, "An unexpected error prevented the server from fulfilling your request.", http.StatusText(e.Status)}}
	case e.Status == http.StatusMethodNotAllowed: // flask-restful writes this one
		body = map[string]string{"message": "The method is not allowed for the requested URL."}
	}
	b, err := json.Marshal(body)
	if err != nil {
		b = nil
	}
	w.WriteHeader(e.Status)
	if r.HTTP.Method != http.MethodHead {
		_, _ = w.Write(b)
	}
}

// base is where the v3 API is: links start with it.
func base(r *api.Request) string { return r.BaseURL() + "/identity/v3" }
