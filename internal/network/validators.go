package network

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"

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

func ipProblem(v any) string {
	s, ok := v.(string)
	if !ok || strings.ContainsFunc(s, unicode.IsSpace) {
		return fmt.Sprintf("'%s' is not a valid IP address", str(v))
	}
	a, err := parseIP(s)
	if err == nil {
		return ""
	}
	// Leading zeros are refused with the address that was probably meant.
	if parts := strings.Split(s, "."); len(parts) == 4 {
		for i, p := range parts {
			n, err := strconv.ParseUint(p, 10, 8)
			if err != nil {
				return fmt.Sprintf("'%s' is not a valid IP address", s)
			}
			parts[i] = strconv.FormatUint(n, 10)
		}
		if a, err = netip.ParseAddr(strings.Join(parts, ".")); err == nil {
			return fmt.Sprintf("'%s' is not an accepted IP address, '%s' is recommended", s, a)
		}
	}
	return fmt.Sprintf("'%s' is not a valid IP address", s)
}

func vIPOrNone(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	return ipProblem(v), nil
}

// subnetProblem wants a prefix length, and of IPv4 the form that netaddr writes (host bits may be set: the plugin clears them).
func subnetProblem(v any) string {
	s, ok := v.(string)
	if !ok || strings.ContainsFunc(s, unicode.IsSpace) {
		return fmt.Sprintf("'%s' is not a valid IP subnet", str(v))
	}
	p, err := parseNetwork(s)
	if err != nil {
		return fmt.Sprintf("'%s' is not a valid IP subnet", s)
	}
	if !strings.Contains(s, "/") || p.Addr().Is4() && p.String() != s {
		return fmt.Sprintf("'%s' isn't a recognized IP subnet cidr, '%s' is recommended", s, p.Masked())
	}
	return ""
}

func vSubnetOrNone(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	return subnetProblem(v), nil
}

func vSubnetList(v any) (string, error) { return listProblem(v, subnetProblem), nil }

func routeCIDRProblem(v any) string {
	s, ok := v.(string)
	if !ok || strings.ContainsFunc(s, unicode.IsSpace) {
		return fmt.Sprintf("'%s' is not a valid CIDR", str(v))
	}
	p, err := parseNetwork(s)
	switch {
	case err != nil:
		return fmt.Sprintf("'%s' is not a valid CIDR", s)
	case !strings.Contains(s, "/") || p.Masked().Addr() != p.Addr():
		return fmt.Sprintf("'%s' is not a recognized CIDR, '%s' is recommended", s, p.Masked())
	case p.Addr().IsLoopback():
		return fmt.Sprintf("'%s' is not a routable CIDR", s)
	}
	return ""
}

func keysProblem(v any, want ...string) string {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprintf("Invalid input. '%s' must be a dictionary with keys: ['%s']", str(v), strings.Join(want, "', '"))
	}
	same := len(m) == len(want)
	for _, k := range want {
		if _, ok := m[k]; !ok {
			same = false
		}
	}
	if same {
		return ""
	}
	var got []any
	for k := range m {
		got = append(got, k)
	}
	return fmt.Sprintf("Validation of dictionary's keys failed. Expected keys: {'%s'} Provided keys: %s", strings.Join(want, "', '"), pySet(got))
}

func pySet(l []any) string {
	if len(l) == 0 {
		return "set()"
	}
	r := schema.PyRepr(l)
	return "{" + r[1:len(r)-1] + "}"
}

func vPools(v any) (string, error) {
	l, ok := v.([]any)
	if !ok {
		return fmt.Sprintf("Invalid data format for IP pool: '%s'", str(v)), nil
	}
	for _, e := range l {
		if p := keysProblem(e, "start", "end"); p != "" {
			return p, nil
		}
		m := e.(map[string]any)
		for _, k := range []string{"start", "end"} {
			if p := ipProblem(m[k]); p != "" {
				return p, nil
			}
		}
	}
	return "", nil
}

func vFixedIPs(v any) (string, error) {
	l, ok := v.([]any)
	if !ok {
		return fmt.Sprintf("Invalid data format for fixed IP: '%s'", str(v)), nil
	}
	var ips []string
	for _, e := range l {
		m, ok := e.(map[string]any)
		if !ok {
			return fmt.Sprintf("Invalid data format for fixed IP: '%s'", str(e)), nil
		}
		if ip, ok := m["ip_address"]; ok {
			if contains(ips, str(ip)) {
				return fmt.Sprintf("Duplicate IP address '%s'", str(ip)), nil
			}
			if p := ipProblem(ip); p != "" {
				return p, nil
			}
			ips = append(ips, str(ip))
		}
		if id, ok := m["subnet_id"]; ok && !isUUID(id) {
			return fmt.Sprintf("'%s' is not a valid UUID", str(id)), nil
		}
	}
	return "", nil
}

func vNameservers(v any) (string, error) {
	l, ok := v.([]any)
	if !ok {
		return fmt.Sprintf("Invalid data format for nameserver: '%s'", str(v)), nil
	}
	var hosts []string
	for _, e := range l {
		if p := ipProblem(e); p != "" {
			return fmt.Sprintf("'%s' is not a valid nameserver. %s", str(e), p), nil
		}
		if contains(hosts, e.(string)) {
			return fmt.Sprintf("Duplicate nameserver '%s'", e), nil
		}
		hosts = append(hosts, e.(string))
	}
	return "", nil
}

func vHostRoutes(v any) (string, error) {
	l, ok := v.([]any)
	if !ok {
		return fmt.Sprintf("Invalid data format for hostroute: '%s'", str(v)), nil
	}
	var seen []string
	for _, e := range l {
		if p := keysProblem(e, "destination", "nexthop"); p != "" {
			return p, nil
		}
		m := e.(map[string]any)
		if p := routeCIDRProblem(m["destination"]); p != "" {
			return p, nil
		}
		if p := ipProblem(m["nexthop"]); p != "" {
			return p, nil
		}
		k := str(m["destination"]) + " " + str(m["nexthop"])
		if contains(seen, k) {
			return fmt.Sprintf("Duplicate hostroute '%s'", schema.PyRepr(e)), nil
		}
		seen = append(seen, k)
	}
	return "", nil
}

func macProblem(v any) string {
	s, ok := v.(string)
	if ok && !strings.ContainsFunc(s, unicode.IsSpace) {
		if m, ok := parseMAC(s); ok && m != "00:00:00:00:00:00" {
			return ""
		}
	}
	return fmt.Sprintf("'%s' is not a valid MAC address", str(v))
}

func vMAC(v any) (string, error) { return macProblem(v), nil }

func vDictOrNone(v any) (string, error) {
	if _, ok := v.(map[string]any); ok || v == nil {
		return "", nil
	}
	return fmt.Sprintf("'%s' is not a dictionary", str(v)), nil
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

var dnsLabel = regexp.MustCompile(`^([a-zA-Z0-9-]{1,63})$`)

// dnsProblem is neutron_lib/api/validators/dns.py, _validate_dns_format.
func dnsProblem(s string) string {
	trimmed := strings.TrimSuffix(s, ".")
	reason := ""
	switch labels := strings.Split(trimmed, "."); {
	case s == "":
		return ""
	case len(trimmed) > 255:
		reason = fmt.Sprintf("'%s' exceeds the 255 character FQDN limit", trimmed)
	default:
		for _, l := range labels {
			switch {
			case l == "":
				reason = "Encountered an empty component"
			case strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-"):
				reason = fmt.Sprintf("Name '%s' must not start or end with a hyphen", l)
			case !dnsLabel.MatchString(l):
				reason = fmt.Sprintf("Name '%s' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen", l)
			}
			if reason != "" {
				break
			}
		}
		if last := labels[len(labels)-1]; reason == "" && len(labels) > 1 && strings.Trim(last, "0123456789") == "" {
			reason = fmt.Sprintf("TLD '%s' must not be all numeric", last)
		}
	}
	if reason == "" {
		return ""
	}
	return fmt.Sprintf("'%s' not a valid PQDN or FQDN. Reason: %s", s, reason)
}
