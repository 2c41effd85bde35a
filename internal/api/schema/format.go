package schema

import (
	"net/netip"
	"regexp/syntax"
	"strings"
	"time"
)

// format returns the check that a dialect has for a format, nil if it has none and the keyword means nothing.
func (d Dialect) format(name string) FormatFunc {
	switch d {
	case Glance:
		return nil // jsonschema.validate() without a format checker
	case Nova:
		if fn := novaFormat(name); fn != nil {
			return fn
		}
	case Cinder:
		if fn := cinderFormat(name); fn != nil {
			return fn
		}
	case Placement:
		if name == "uuid" {
			return plain(isUUIDLike)
		}
	case KeystoneAPI:
		switch name {
		case "uuid":
			// Ids of users from directories and providers are SHA-256, which 2025.1's schema of credentials forgot: it refuses them all credentials.
			return lenient(func(s string) bool { return isUUIDLike(s) || isHex64(s) })
		case "date-time":
			return lenient(isISOTime)
		}
	}
	return libraryFormat(name)
}

// plain makes a format of a check that strings alone can pass.
func plain(ok func(string) bool) FormatFunc {
	return func(v any) (bool, string) {
		s, is := v.(string)
		return is && ok(s), ""
	}
}

// lenient makes a format of a check that values other than strings pass: jsonschema's own are like that.
func lenient(ok func(string) bool) FormatFunc {
	return func(v any) (bool, string) {
		s, is := v.(string)
		return !is || ok(s), ""
	}
}

// libraryFormat returns jsonschema's own checks (jsonschema/_format.py), as far as the schemas use them.
func libraryFormat(name string) FormatFunc {
	switch name {
	case "email", "idn-email":
		return lenient(func(s string) bool { return strings.Contains(s, "@") })
	case "ipv4":
		return lenient(isIPv4)
	case "ipv6":
		return lenient(isIPv6)
	case "uuid":
		return lenient(isUUID)
	case "date":
		return lenient(func(s string) bool { _, err := time.Parse(time.DateOnly, s); return err == nil })
	case "regex":
		return lenient(isRegex)
	case "date-time":
		return lenient(func(s string) bool {
			_, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
			return err == nil
		})
	}
	return nil
}

func isIPv4(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}

// isUUID is jsonschema's: Python's UUID() reads it and the dashes stand in their places.
func isUUID(s string) bool {
	for _, i := range []int{8, 13, 18, 23} {
		if i >= len(s) || s[i] != '-' {
			return false
		}
	}
	return isHex32(uuidHex(s))
}

// isUUIDLike is oslo.utils': any spelling that Python's UUID() reads.
func isUUIDLike(s string) bool {
	return isHex32(uuidHex(s))
}

func isHex64(s string) bool { return len(s) == 64 && isHex32(s[:32]) && isHex32(s[32:]) }

// uuidHex strips what Python's UUID() strips.
func uuidHex(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "urn:", ""), "uuid:", "")
	return strings.ReplaceAll(strings.Trim(s, "{}"), "-", "")
}

func isHex32(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20
		if (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// isRegex approximates re.compile by Go's parser, which knows no look-around or back references; those are let through.
func isRegex(s string) bool {
	if _, err := syntax.Parse(s, syntax.Perl); err != nil {
		code := err.(*syntax.Error).Code
		return code == syntax.ErrInvalidPerlOp || code == syntax.ErrInvalidEscape && strings.ContainsAny(s, "123456789Z")
	}
	return true
}
