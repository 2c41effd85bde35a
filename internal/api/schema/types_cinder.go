package schema

import "math"

// The types of cinder/api/validation/parameter_types.py.

// CinderBool is what cinder takes for a boolean.
func CinderBool() *Schema {
	return Types("boolean", "string").Enum(true, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t",
		false, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f")
}

// CinderName is a name that is not blank.
func CinderName() *Schema { return Str().Len(1, 255).Format("name") }

// CinderNameOrNull is a name that may be empty or null.
func CinderNameOrNull() *Schema { return Types("string", "null").Len(0, 255) }

// CinderDescription is a description or null.
func CinderDescription() *Schema {
	return Types("string", "null").Len(0, 255).with("pattern", novaDescriptionPattern())
}

// CinderUUIDOrNull is an id or null.
func CinderUUIDOrNull() *Schema { return OneOf(UUID(), Null()) }

// CinderExtraSpecs is metadata or extra specs.
func CinderExtraSpecs() *Schema {
	return Types("object").PatternProps(P("^[a-zA-Z0-9-_:. /]{1,255}$", Str().MaxLen(255))).Closed()
}

// CinderMetadataOrNull is metadata or null.
func CinderMetadataOrNull() *Schema {
	return Types("object", "null").PatternProps(P("^[a-zA-Z0-9-_:. /]{1,255}$", Str().MaxLen(255))).Closed()
}

// CinderVolumeSize is a size in GiB, also as digits.
func CinderVolumeSize() *Schema {
	return Types("integer", "string").Pattern("^[0-9]+$").Range(1, math.MaxInt32)
}

// CinderAZ is the name of an availability zone or null.
func CinderAZ() *Schema { return Types("string", "null").Len(1, 255) }
