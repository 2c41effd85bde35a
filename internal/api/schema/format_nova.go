package schema

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// novaFormat returns a check of nova/api/validation/validators.py.
func novaFormat(name string) FormatFunc {
	switch name {
	case "regex":
		return plain(func(s string) bool { return s != "" && isRegex(s) })
	case "date-time":
		return plain(isISOTime)
	case "base64":
		return plain(isBase64)
	case "cidr":
		return plain(isCIDR)
	case "uuid":
		return plain(isUUIDLike)
	case "uri":
		return plain(isURI)
	case "name":
		return novaName(func(s string) bool { return trimmedName(s, false) }, "printable characters. Can not start or end with whitespace.")
	case "name_with_leading_trailing_spaces":
		return novaName(func(s string) bool { return spacedName(s, false) }, "printable characters with at least one non space character")
	case "az_name":
		return novaName(func(s string) bool { return trimmedName(s, true) }, "printable characters except :.Can not start or end with whitespace.")
	case "az_name_with_leading_trailing_spaces":
		return novaName(func(s string) bool { return spacedName(s, true) },
			"printable characters except :, with at least one non space character")
	case "keypair_name_20":
		return keypairName("_- " + digitsAndLetters)
	case "keypair_name_292":
		return keypairName("@._- " + digitsAndLetters)
	}
	return nil
}

const digitsAndLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func novaName(ok func(string) bool, reason string) FormatFunc {
	return func(v any) (bool, string) {
		if s, is := v.(string); is && ok(s) {
			return true, ""
		}
		return false, "An invalid 'name' value was provided. The name must be: " + reason
	}
}

func keypairName(safe string) FormatFunc {
	return novaName(func(s string) bool { return strings.Trim(s, safe) == "" || allIn(s, safe) }, "Only expected characters: ["+safe+"]")
}

func allIn(s, safe string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(safe, r) }) < 0
}

// printable is nova's idea of it, which ends at the basic plane (nova/api/validation/parameter_types.py, _build_regex_range).
func printable(r rune) bool {
	return r < 0xFFFF && (unicode.IsPrint(r) || unicode.Is(unicode.Zs, r))
}

// trimmedName accepts printable characters without a space at either end, and a line feed behind them, since the expression ends with `$`.
func trimmedName(s string, noColon bool) bool {
	s = strings.TrimSuffix(s, "\n")
	rs := []rune(s)
	for i, r := range rs {
		if !printable(r) || noColon && r == ':' && i > 0 && i < len(rs)-1 {
			return false
		}
		if (i == 0 || i == len(rs)-1) && unicode.Is(unicode.Zs, r) {
			return false
		}
		if noColon && r == ':' {
			return false
		}
	}
	return true
}

// spacedName accepts printable characters of which at least one is no space.
func spacedName(s string, noColon bool) bool {
	some := false
	for _, r := range strings.TrimSuffix(s, "\n") {
		if !printable(r) || noColon && r == ':' {
			return false
		}
		some = some || !unicode.Is(unicode.Zs, r)
	}
	return some
}

// isISOTime is oslo.utils' parse_isotime: the iso8601 module's forms of a date.
func isISOTime(s string) bool {
	m := isoTime.FindStringSubmatch(strings.TrimSuffix(s, "\n"))
	if m == nil {
		return false
	}
	n := func(s string, absent int) int {
		if s == "" {
			return absent
		}
		i, _ := strconv.Atoi(strings.TrimPrefix(s, "-"))
		return i
	}
	year, month, day := n(m[1], 0), n(m[2], 1), n(m[3], 1)
	if year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return false
	}
	if len(m[2]) == 2 && m[2][0] != '-' && m[3] == "" { // YYYYMM alone is not a date
		return false
	}
	zone := n(m[7], 0)*60 + n(m[8], 0)
	return n(m[4], 0) < 24 && n(m[5], 0) < 60 && n(m[6], 0) < 60 && zone < 24*60
}

var isoTime = regexp.MustCompile(`^([0-9]{4})(?:(-[0-9]{1,2}|[0-9]{2})(?:(-[0-9]{1,2}|[0-9]{2})` +
	`(?:[ T]([0-9]{2})(?::?([0-9]{2}))?(?::?([0-9]{1,2})(?:[.,][0-9]+)?)?(?:Z|[-+]([0-9]{2}):?([0-9]{2})?)?)?)?)?$`)

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// isBase64 follows binascii.a2b_base64: foreign characters are skipped, the padding must come out.
func isBase64(s string) bool {
	quad, pads := 0, 0
	for i := range len(s) {
		c := s[i]
		if c == '=' {
			if quad >= 2 {
				if pads++; quad+pads >= 4 {
					return true // whatever follows is not read
				}
			}
			continue
		}
		if c >= 0x80 {
			return false
		}
		if strings.IndexByte(digitsAndLetters+"+/", c) < 0 {
			continue
		}
		pads = 0
		quad = (quad + 1) % 4
	}
	return quad == 0
}

// isCIDR is netaddr's IPNetwork with a prefix: the address may be a partial IPv4 one, the prefix a netmask or a host mask.
func isCIDR(s string) bool {
	addr, prefix, ok := strings.Cut(s, "/")
	if !ok || strings.ContainsFunc(s, isSpace) {
		return false
	}
	bits := 128
	if !isIPv6(addr) {
		bits = 32
		octets := strings.Split(addr, ".")
		if len(octets) > 4 {
			return false
		}
		for _, o := range octets {
			if n, err := strconv.Atoi(o); err != nil || n < 0 || n > 255 || o[0] == '+' {
				return false
			}
		}
	}
	if n, err := strconv.Atoi(prefix); err == nil {
		return n >= 0 && n <= bits && prefix[0] != '+'
	}
	mask, err := netip.ParseAddr(prefix)
	if err != nil || mask.BitLen() != bits {
		return false
	}
	return isMask(mask.AsSlice())
}

// isMask reports whether the bits are all ones and then all zeros, or the other way round.
func isMask(b []byte) bool {
	changes := 0
	for i := 1; i < len(b)*8; i++ {
		if b[i/8]>>(7-i%8)&1 != b[(i-1)/8]>>(7-(i-1)%8)&1 {
			changes++
		}
	}
	return changes <= 1
}

// uriForm captures the host. The parts behind it are escaped before upstream looks at them, so that little can be wrong in them.
var uriForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://` +
	`(?P<user>(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?` +
	`(?P<host>\[[0-9A-Fa-f:.]+(?:%25(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+)?\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?` +
	`(?:/[^?#\[\]]*)?(?:\?[^#\[\]]*)?(?:#[^#\[\]\n]*)?$`)

// isURI demands a scheme and a host, as nova's rfc3986 validator does.
func isURI(s string) bool {
	m := uriForm.FindStringSubmatch(s)
	if m == nil || m[1]+m[2] == "" {
		return false
	}
	if octets := strings.Split(m[2], "."); len(octets) == 4 && strings.Trim(m[2], "0123456789.") == "" {
		return isIPv4(m[2])
	}
	return true
}
