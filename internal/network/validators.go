package network

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// The validators of neutron_lib/api/validators with their messages: an empty message means valid; an error is one of upstream's that
// ends the request with a type of its own.

type validator = func(any) (string, error)

func vString(limit int) validator {
	return func(v any) (string, error) { return stringProblem(v, limit), nil }
}

func stringProblem(v any, limit int) string {
	s, ok := v.(string)
	if !ok {
		return fmt.Sprintf("'%s' is not a valid string", str(v))
	}
	if limit > 0 && len([]rune(s)) > limit {
		return fmt.Sprintf("'%s' exceeds maximum length of %d", s, limit)
	}
	return ""
}

func vStringOrNone(limit int) validator {
	return func(v any) (string, error) {
		if v == nil {
			return "", nil
		}
		return stringProblem(v, limit), nil
	}
}

func vNotEmptyString(v any) (string, error) {
	if p := stringProblem(v, 0); p != "" {
		return p, nil
	}
	if strings.TrimSpace(v.(string)) == "" {
		return fmt.Sprintf("'%s' Blank strings are not permitted", v), nil
	}
	return "", nil
}

func vNameNotDefault(v any) (string, error) {
	if p := stringProblem(v, 255); p != "" {
		return p, nil
	}
	if strings.EqualFold(v.(string), "default") {
		return "", conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
	}
	return "", nil
}

func vNonNegative(v any) (string, error) {
	i, ok := pyInt(v)
	if !ok {
		return fmt.Sprintf("'%s' is not an integer", str(v)), nil
	}
	if i < 0 {
		return fmt.Sprintf("'%d' should be non-negative", i), nil
	}
	return "", nil
}

// vValues shows "valid_values" and not the values: upstream passes no display text.
func vValues(allowed ...any) validator {
	return func(v any) (string, error) {
		for _, a := range allowed {
			if a == v {
				return "", nil
			}
		}
		return fmt.Sprintf("%s is not in valid_values", str(v)), nil
	}
}

func vUUID(v any) (string, error) {
	if !isUUID(v) {
		return fmt.Sprintf("'%s' is not a valid UUID", str(v)), nil
	}
	return "", nil
}

func isUUID(v any) bool {
	s, ok := v.(string)
	if !ok || len(s) != 36 && len(s) != 32 {
		return false
	}
	_, err := uuid.Parse(s)
	return err == nil
}

func vUUIDOrNone(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	return vUUID(v)
}

func listProblem(v any, item func(any) string) string {
	l, ok := v.([]any)
	if !ok {
		return fmt.Sprintf("'%s' is not a list", str(v))
	}
	var seen, dups []string
	for _, e := range l {
		r := schema.PyRepr(e)
		if contains(seen, r) && !contains(dups, str(e)) {
			dups = append(dups, str(e))
			continue
		}
		seen = append(seen, r)
	}
	if len(dups) > 0 {
		return fmt.Sprintf("Duplicate items in the list: '%s'", strings.Join(dups, ", "))
	}
	for _, e := range l {
		if p := item(e); p != "" {
			return p
		}
	}
	return ""
}

func contains(l []string, s string) bool {
	for _, e := range l {
		if e == s {
			return true
		}
	}
	return false
}

func vUUIDList(v any) (string, error) {
	return listProblem(v, func(e any) string { p, _ := vUUID(e); return p }), nil
}

func vTags(v any) (string, error) {
	return listProblem(v, func(e any) string { return stringProblem(e, 255) }), nil
}

func vAZHints(v any) (string, error) {
	if p := listProblem(v, func(e any) string { return stringProblem(e, 0) }); p != "" {
		return p, nil
	}
	if len(schema.PyRepr(v)) > 255 {
		return "", invalidInput("Too many availability_zone_hints specified")
	}
	return "", nil
}

// maxAddressPairs is neutron's max_allowed_address_pair.
const maxAddressPairs = 10

func vAddressPairs(v any) (string, error) {
	l, ok := v.([]any)
	if !ok {
		return "", httpBadRequest("Allowed address pairs must be a list.")
	}
	if len(l) > maxAddressPairs {
		return "", badRequest("AllowedAddressPairExhausted", "The number of allowed address pair exceeds the maximum %d.", maxAddressPairs)
	}
	var seen []string
	for _, e := range l {
		m, ok := e.(map[string]any)
		if !ok {
			return fmt.Sprintf("'%s' is not a dictionary", str(e)), nil
		}
		if mac, ok := m["mac_address"]; ok {
			if p := macProblem(mac); p != "" {
				return "", httpBadRequest("%s", p)
			}
		}
		ip, ok := m["ip_address"]
		if !ok {
			return "", badRequest("AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address")
		}
		k := str(m["mac_address"]) + " " + str(ip)
		if contains(seen, k) {
			return "", badRequest("DuplicateAddressPairInRequest",
				"Request contains duplicate address pair: mac_address %s ip_address %s.", str(m["mac_address"]), str(ip))
		}
		seen = append(seen, k)
		for name := range m {
			if name != "mac_address" && name != "ip_address" {
				return "", httpBadRequest("Unrecognized attribute(s) '%s'", name)
			}
		}
		p := ipProblem(ip)
		if s, ok := ip.(string); ok && strings.Contains(s, "/") {
			p = subnetProblem(ip)
		}
		if p != "" {
			return "", httpBadRequest("%s", p)
		}
	}
	return "", nil
}

func vExtraDHCPOpts(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	var bad string
	if p := listProblem(v, func(e any) string {
		if !dhcpOptOK(e) && bad == "" {
			bad = schema.PyRepr(e)
		}
		return ""
	}); p != "" {
		return "", invalidInput("%s", p)
	}
	if bad != "" {
		return "", invalidInput("No valid key specs matched for: %s", bad)
	}
	return "", nil
}

func dhcpOptOK(e any) bool {
	m, ok := e.(map[string]any)
	if !ok {
		return false
	}
	name, hasName := m["opt_name"].(string)
	value, hasValue := m["opt_value"]
	if !hasName || !hasValue || stringProblem(name, 64) != "" || strings.TrimSpace(name) == "" || strings.ContainsAny(name, "\r\n") {
		return false
	}
	blankAllowed := name == "router" || name == "classless-static-route"
	if s, ok := value.(string); ok {
		if stringProblem(s, 255) != "" || !blankAllowed && (strings.TrimSpace(s) == "" || strings.ContainsAny(s, "\r\n")) {
			return false
		}
	} else if value != nil {
		return false
	}
	for k := range m {
		if k != "opt_name" && k != "opt_value" && k != "ip_version" {
			return false
		}
	}
	if ver, ok := m["ip_version"]; ok {
		n, isInt := pyInt(ver)
		if !isInt || n != 4 && n != 6 {
			return false
		}
		m["ip_version"] = n
	}
	return true
}
