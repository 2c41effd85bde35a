package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/hanok-cloud/hanok/internal/api/schema"
)

func ipProblem(v any) string {
	s, ok := v.(string)
	if !ok || strings.ContainsFunc(s, unicode.IsSpace) {
		return fmt.Sprintf("'%s' is not a valid IP address", str(v))
	}
	if _, err := parseIP(s); err == nil {
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
		if a, err := netip.ParseAddr(strings.Join(parts, ".")); err == nil {
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
