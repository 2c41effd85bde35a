package network

import (
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// The conversions of neutron_lib/api/converters.py and neutron/extensions/securitygroup.py.

func toBool(v any) (any, error) {
	s := strings.ToLower(strings.TrimSpace(str(v)))
	switch s {
	case "1", "t", "true", "on", "y", "yes":
		return true, nil
	case "0", "f", "false", "off", "n", "no":
		return false, nil
	}
	return nil, invalidInput("'%s' cannot be converted to boolean", str(v))
}

// pyInt is Python's int(): of numbers, booleans and decimal text.
func pyInt(v any) (int64, bool) {
	switch x := v.(type) {
	case int64:
		return x, true
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) || math.Abs(x) > math.MaxInt64/2 {
			return 0, false
		}
		return int64(x), true
	case string:
		i, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimSpace(x), "_", ""), 10, 64)
		return i, err == nil
	case json.Number:
		return 0, false
	}
	return 0, false
}

func toInt(v any) (any, error) {
	i, ok := pyInt(v)
	if !ok {
		return nil, invalidInput("'%s' is not an integer", str(v))
	}
	return i, nil
}

func noneToList(v any) (any, error) {
	if v == nil {
		return []any{}, nil
	}
	return v, nil
}

// canonicalIP shortens an IPv6 address; anything else stays for the validator.
func canonicalIP(v any) (any, error) {
	if s, ok := v.(string); ok {
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() && a.Zone() == "" {
			return ipString(a), nil
		}
	}
	return v, nil
}

func canonicalCIDR(v any) (any, error) {
	s, ok := v.(string)
	if ok {
		if p, err := parseNetwork(s); err == nil {
			return ipString(p.Addr()) + "/" + strconv.Itoa(p.Bits()), nil
		}
	}
	return nil, invalidInput("%s is not in a CIDR format", str(v))
}

// sanitizedMAC brings the forms that netaddr knows to aa:bb:cc:dd:ee:ff.
func sanitizedMAC(v any) (any, error) {
	if s, ok := v.(string); ok {
		if m, ok := parseMAC(s); ok {
			return m, nil
		}
	}
	return v, nil
}

// parseMAC reads aa:bb:…, aa-bb-…, aabb.ccdd.eeff and bare digits.
func parseMAC(s string) (string, bool) {
	var hex string
	switch {
	case strings.Count(s, ":") == 5, strings.Count(s, "-") == 5:
		for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '-' }) {
			if len(p) == 1 {
				p = "0" + p
			}
			if len(p) != 2 {
				return "", false
			}
			hex += p
		}
	case strings.Count(s, ".") == 2:
		hex = strings.ReplaceAll(s, ".", "")
	default:
		hex = s
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	if err != nil || len(hex) != 12 {
		return "", false
	}
	var b [17]byte
	const digits = "0123456789abcdef"
	for i := range 6 {
		octet := byte(n >> (8 * (5 - i)))
		b[3*i], b[3*i+1] = digits[octet>>4], digits[octet&15]
		if i < 5 {
			b[3*i+2] = ':'
		}
	}
	return string(b[:]), true
}

// protocols are neutron_lib's IP_PROTOCOL_MAP, in its order: the message of a refusal lists them.
var protocolOrder = []string{"ah", "dccp", "egp", "esp", "gre", "hopopt", "icmp", "igmp", "ip", "ipip", "ipv6-encap", "ipv6-frag", "ipv6-icmp", "icmpv6",
	"ipv6-nonxt", "ipv6-opts", "ipv6-route", "ospf", "pgm", "rsvp", "sctp", "tcp", "udp", "udplite", "vrrp"}

var protocolNumber = map[string]int{"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0, "ipip": 4, "ipv6-encap": 41,
	"ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46,
	"sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112}

func toProtocol(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	if i, ok := pyInt(v); ok && i >= 0 && i <= 255 {
		return str(v), nil
	} else if !ok {
		if s, isText := v.(string); isText {
			if _, known := protocolNumber[strings.ToLower(s)]; known {
				return strings.ToLower(s), nil
			}
		}
	}
	return nil, badRequest("SecurityGroupRuleInvalidProtocol",
		"Security group rule protocol %s not supported. Only protocol values [None, '%s'] and integer representations [0 to 255] are supported.",
		str(v), strings.Join(protocolOrder, "', '"))
}

func toEtherType(v any) (any, error) {
	if s, ok := v.(string); ok {
		switch strings.ToLower(s) {
		case "ipv4":
			return "IPv4", nil
		case "ipv6":
			return "IPv6", nil
		}
	}
	return nil, badRequest("SecurityGroupRuleInvalidEtherType",
		"Security group rule for ethertype '%s' not supported. Allowed values are ['IPv4', 'IPv6'].", str(v))
}

func toPortValue(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	if i, ok := pyInt(v); ok && i >= 0 && i <= 65535 {
		return i, nil
	}
	return nil, badRequest("SecurityGroupInvalidPortValue", "Invalid value for port %s", str(v))
}

func toIPPrefix(v any) (any, error) {
	if v == nil || v == "" || v == false {
		return nil, nil
	}
	if s, ok := v.(string); ok {
		if p, err := parseNetwork(s); err == nil {
			return ipString(p.Addr()) + "/" + strconv.Itoa(p.Bits()), nil
		}
	}
	return nil, badRequest("InvalidCIDR", "Invalid CIDR %s given as IP prefix.", str(v))
}

func chain(fns ...func(any) (any, error)) func(any) (any, error) {
	return func(v any) (any, error) {
		var err error
		for _, f := range fns {
			if v, err = f(v); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
}
