package schema

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// cinderFormat returns a check of cinder/api/validation/validators.py. The statuses and quotas, which depend on the service's own tables, are given with
// FormatFunc where they are used.
func cinderFormat(name string) FormatFunc {
	switch name {
	case "date-time":
		return plain(isISOTime)
	case "base64":
		return plain(isBase64)
	case "uuid":
		return plain(isUUIDLike)
	case "name":
		return cinderName(false)
	case "name_skip_leading_trailing_spaces":
		return cinderName(true)
	case "name_non_mandatory_remove_white_spaces":
		return cinderText("name", 0)
	case "description_non_mandatory_remove_white_spaces":
		return cinderText("description", 0)
	case "disabled_reason":
		return cinderText("disabled_reason", 1)
	case "availability_zone":
		return func(v any) (bool, string) {
			if v == nil {
				return true, ""
			}
			if v == "" {
				return false, "The 'availability_zone' can not be None."
			}
			return cinderText("availability_zone", 1)(v)
		}
	case "key_size":
		return func(v any) (bool, string) {
			switch v := v.(type) {
			case nil:
				return true, ""
			case string:
				if n, err := strconv.Atoi(v); err == nil && strconv.Itoa(n) == v {
					return true, ""
				}
			default:
				if n, ok := asNumber(v); ok && n.isInt() {
					return true, ""
				}
			}
			return false, "Invalid input received: key_size must be an integer."
		}
	}
	return nil
}

func cinderName(limit bool) FormatFunc {
	return func(v any) (bool, string) {
		s, _ := v.(string)
		reason := ""
		switch trimmed := strings.TrimFunc(s, isSpace); {
		case s == "":
			reason = "The 'name' can not be None."
		case trimmed == "":
			reason = "The 'name' can not be empty."
		case limit && utf8.RuneCountInString(trimmed) > 255:
			reason = "The 'name' can not be greater than 255 characters."
		default:
			return true, ""
		}
		return false, "An invalid 'name' value was provided. " + reason
	}
}

// cinderText bounds a trimmed text's length; an absent or empty one passes (cinder/utils.py, check_string_length).
func cinderText(name string, least int) FormatFunc {
	return func(v any) (bool, string) {
		s, ok := v.(string)
		if !ok || s == "" {
			return true, ""
		}
		n := utf8.RuneCountInString(strings.TrimFunc(s, isSpace))
		switch {
		case n < least:
			return false, fmt.Sprintf("Invalid input received: %s has %d characters, less than %d.", name, n, least)
		case n > 255:
			return false, fmt.Sprintf("Invalid input received: %s has %d characters, more than 255.", name, n)
		}
		return true, ""
	}
}
