package compute

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// faultNames is nova/api/openstack/wsgi.py's table; a status that is not in it is a computeFault.
var faultNames = map[int]string{
	400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 409: "conflictingRequest",
	413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}

type faultBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// htmlNotFound is what the router of upstream answers where no route is (webob's plain page).
const htmlNotFound = "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  The resource could not be found.<br /><br />\n\n\n\n </body>\n</html>"

// noRoute is the class of a 404 that comes from the router.
const noRoute = "no-route"

func dialect() api.Dialect {
	return api.Dialect{
		WriteError: writeError,
		NotFound: func(*api.Request) *fault.Error {
			return fault.New(http.StatusNotFound, noRoute, "The resource could not be found.")
		},
		// Upstream's router knows paths by method and answers 404 for the others too.
		MethodNotAllowed: func(r *api.Request) *fault.Error {
			r.Header().Del("Allow")
			return fault.New(http.StatusNotFound, noRoute, "The resource could not be found.")
		},
		Forbidden: func(_ *api.Request, rule string) *fault.Error {
			return fault.Forbidden("Policy doesn't allow %s to be performed.", rule)
		},
		BadJSON: func(_ *api.Request, err error) *fault.Error {
			if errors.Is(err, api.ErrNotObject) {
				return fault.BadRequest("The request body is not of type 'object'").Because(err)
			}
			return fault.BadRequest("Malformed request body").Because(err)
		},
		Invalid: func(_ *api.Request, e *schema.Error) *fault.Error { return fault.BadRequest("%s", e.Error()) },
		TooLarge: func(*api.Request) *fault.Error {
			return fault.New(http.StatusRequestEntityTooLarge, "", "Request is too large.")
		},
	}
}

func writeError(w http.ResponseWriter, r *api.Request, e *fault.Error) {
	h := w.Header()
	var b []byte
	switch {
	case e.Code == noRoute:
		h.Set("Content-Type", "text/html; charset=UTF-8")
		b = []byte(htmlNotFound)
	case e.Status == http.StatusUnauthorized:
		h.Set("Content-Type", "application/json")
		b, _ = api.Marshal(map[string]any{"error": map[string]any{"code": 401, "title": "Unauthorized", "message": e.Message}}, r.MV)
	default:
		name := faultNames[e.Status]
		if name == "" {
			name = "computeFault"
		}
		h.Set("Content-Type", "application/json; charset=UTF-8")
		message := e.Message
		if e.Status == http.StatusInternalServerError {
			message = "Unexpected API Error. Please report this to the operator of the cloud and quote the request id " + r.ID + "."
		}
		b, _ = api.Marshal(map[string]faultBody{name: {e.Status, message}}, r.MV)
	}
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(b) // a client that went away is no error of ours
}

// invalidState is nova's InstanceInvalidState as raise_http_conflict_for_instance_invalid_state words it.
func invalidState(action, id, attr, state string) error {
	return fault.Conflict("Cannot '%s' instance %s while it is in %s %s", action, id, attr, state)
}

func instanceNotFound(id string) error { return fault.NotFound("Instance %s could not be found.", id) }

func instanceLocked(id string) error { return fault.Conflict("Instance %s is locked", id) }

func notSupported() error {
	return fault.New(http.StatusNotImplemented, "", "The requested functionality is not supported.")
}
