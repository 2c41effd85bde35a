package network

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// The names and texts are upstream's (neutron_lib/exceptions, neutron/extensions): clients compare the type.

func invalidInput(format string, args ...any) *fault.Error {
	e := fault.New(http.StatusBadRequest, "InvalidInput", format, args...)
	e.Message = "Invalid input for operation: " + e.Message + "."
	return e
}

func httpBadRequest(format string, args ...any) *fault.Error {
	return fault.New(http.StatusBadRequest, "HTTPBadRequest", format, args...)
}

func badRequest(class, format string, args ...any) *fault.Error {
	return fault.New(http.StatusBadRequest, class, format, args...)
}

// badResource is neutron's BadRequest with the resource it is about.
func badResource(resource, format string, args ...any) *fault.Error {
	e := fault.New(http.StatusBadRequest, "BadRequest", format, args...)
	e.Message = "Bad " + resource + " request: " + e.Message + "."
	return e
}

func notFound(class, format string, args ...any) *fault.Error {
	return fault.New(http.StatusNotFound, class, format, args...)
}

func conflict(class, format string, args ...any) *fault.Error {
	return fault.New(http.StatusConflict, class, format, args...)
}

func networkNotFound(id string) *fault.Error {
	return notFound("NetworkNotFound", "Network %s could not be found.", id)
}

func subnetNotFound(id string) *fault.Error {
	return notFound("SubnetNotFound", "Subnet %s could not be found.", id)
}

func portNotFound(id string) *fault.Error {
	return notFound("PortNotFound", "Port %s could not be found.", id)
}

func routerNotFound(id string) *fault.Error {
	return notFound("RouterNotFound", "Router %s could not be found", id)
}

func securityGroupNotFound(id string) *fault.Error {
	return notFound("SecurityGroupNotFound", "Security group %s does not exist", id)
}

func ipInUse(networkID, ip string) *fault.Error {
	return conflict("IpAddressAlreadyAllocated", "IP address %s already allocated in subnet %s", ip, networkID)
}

func noMoreIPs(networkID string) *fault.Error {
	return conflict("IpAddressGenerationFailure", "No more IP addresses available on network %s.", networkID)
}

func resourceNotFound() *fault.Error {
	return notFound("HTTPNotFound", "The resource could not be found.")
}

func overQuota(resources ...string) *fault.Error {
	for i, r := range resources {
		resources[i] = "'" + r + "'"
	}
	return conflict("OverQuota", "Quota exceeded for resources: [%s].", strings.Join(resources, ", "))
}

// dialect writes {"NeutronError": {...}}; what keystonemiddleware answers has its own form.
func dialect() api.Dialect {
	return api.Dialect{
		WriteError: func(w http.ResponseWriter, _ *api.Request, e *fault.Error) {
			var body any = map[string]any{"NeutronError": map[string]string{"type": classOf(e), "message": messageOf(e), "detail": e.Detail}}
			if e.Status == http.StatusUnauthorized {
				body = map[string]any{"error": map[string]any{"code": e.Status, "title": "Unauthorized", "message": e.Message}}
			}
			b, err := json.Marshal(body)
			if err != nil {
				b = []byte("{}")
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(e.Status)
			_, _ = w.Write(b)
		},
		NotFound: func(*api.Request) *fault.Error { return resourceNotFound() },
		MethodNotAllowed: func(*api.Request) *fault.Error {
			return fault.New(http.StatusMethodNotAllowed, "HTTPMethodNotAllowed",
				"The server could not comply with the request since it is either malformed or otherwise incorrect.")
		},
		Forbidden: func(r *api.Request, rule string) *fault.Error { return forbidden(r.Service().Policy, r.Caller.Creds, rule) },
		BadJSON: func(*api.Request, error) *fault.Error {
			return httpBadRequest("Body contains invalid data")
		},
		TooLarge: func(*api.Request) *fault.Error {
			return fault.New(http.StatusRequestEntityTooLarge, "HTTPRequestEntityTooLarge", "Request is too large.")
		},
	}
}

// forbidden is what one rule's refusal says: neutron_lib/api/faults.py answers a token of the wrong scope with 403, too, and in other words.
func forbidden(e *policy.Enforcer, c *policy.Creds, rule string) *fault.Error {
	if e.Check(rule, c, nil) != policy.WrongScope {
		return disallowed("rule:" + rule)
	}
	return fault.New(http.StatusForbidden, "InvalidScope", "rule:%s requires a scope of ['%s'], request was made with %s scope.",
		rule, strings.Join(e.Scopes(rule), "', '"), c.Scope())
}

func disallowed(rules string) *fault.Error {
	return fault.New(http.StatusForbidden, "PolicyNotAuthorized", "%s is disallowed by policy", rules)
}

func classOf(e *fault.Error) string {
	switch {
	case e.Code != "":
		return e.Code
	case e.Status >= http.StatusInternalServerError:
		return "HTTPInternalServerError"
	case e.Status == http.StatusNotFound:
		return "HTTPNotFound"
	}
	return "HTTPBadRequest"
}

func messageOf(e *fault.Error) string {
	if e.Status >= http.StatusInternalServerError && e.Code == "" {
		return "Request Failed: internal server error while processing your request."
	}
	return e.Message
}
