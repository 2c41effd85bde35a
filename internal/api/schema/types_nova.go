package schema

import "math"

// NovaBool is what nova takes for a boolean (nova/api/validation/parameter_types.py, as everything in this file).
func NovaBool() *Schema {
	return Types("boolean", "string").Enum(true, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
		false, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no")
}

// NovaName is the name of a server, flavor, aggregate and so on.
func NovaName() *Schema { return Str().Len(1, 255).Format("name") }

// NovaNameOrNone is a name or null.
func NovaNameOrNone() *Schema { return OneOf(Str().Len(1, 255), Null()) }

// NovaAZName is the name of an availability zone.
func NovaAZName() *Schema { return Str().Len(1, 255).Format("az_name") }

// NovaKeypairName is a key pair's name; letters is keypair_name_20 before microversion 2.92 and keypair_name_292 from it on.
func NovaKeypairName(letters string) *Schema {
	return AllOf(NovaName(), Str().Len(1, 255).Format(letters))
}

// NovaDescription is a description or null.
func NovaDescription() *Schema {
	return Types("string", "null").Len(0, 255).with("pattern", novaDescriptionPattern())
}

// NovaPositive and NovaNonNegative are integers, also as digits.
func NovaPositive() *Schema {
	return Types("integer", "string").Pattern("^[0-9]*$").Min(1).MinLen(1)
}

// NovaNonNegative is zero or a positive integer, also as digits.
func NovaNonNegative() *Schema {
	return Types("integer", "string").Pattern("^[0-9]*$").Min(0).MinLen(1)
}

// NovaVolumeSize is a positive 32-bit integer, also as digits; flavors' sizes are alike.
func NovaVolumeSize() *Schema {
	return Types("integer", "string").Pattern("^[0-9]+$").Range(1, math.MaxInt32)
}

// NovaFlavorNonNegative is a flavor's size that may be zero.
func NovaFlavorNonNegative() *Schema { return NovaVolumeSize().Min(0) }

// NovaHostname is one label of a host's name.
func NovaHostname() *Schema {
	return Str().Len(2, 63).Pattern("^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$")
}

// NovaFQDN is the name of a compute host.
func NovaFQDN() *Schema { return Str().Len(1, 255).Pattern("^[a-zA-Z0-9-._]*$") }

// NovaProjectID is a project's id.
func NovaProjectID() *Schema { return Str().Len(1, 255).Pattern("^[a-zA-Z0-9-]*$") }

// UUID is an id of the form of a UUID; servers, images, volumes, networks and ports have it.
func UUID() *Schema { return Str().Format("uuid") }

// NovaImageIDOrEmpty is an image's id or the empty string.
func NovaImageIDOrEmpty() *Schema { return OneOf(UUID(), Str().MaxLen(0)) }

// NovaFlavorRef is a flavor's id.
func NovaFlavorRef() *Schema { return Types("string", "integer").MinLen(1) }

// NovaMetadata is metadata; NovaMetadataWithNull has null to remove an item.
func NovaMetadata() *Schema {
	return Types("object").PatternProps(P("^[a-zA-Z0-9-_:. ]{1,255}$", Str().MaxLen(255))).Closed()
}

// NovaMetadataWithNull is metadata in which null removes an item.
func NovaMetadataWithNull() *Schema {
	return Types("object").PatternProps(P("^[a-zA-Z0-9-_:. ]{1,255}$", Types("string", "null").MaxLen(255))).Closed()
}

// NovaMAC is a MAC address.
func NovaMAC() *Schema { return Str().Pattern("^([0-9a-fA-F]{2})(:[0-9a-fA-F]{2}){5}$") }

// NovaIP is an address of either version.
func NovaIP() *Schema { return Str().OneOf(Any().Format("ipv4"), Any().Format("ipv6")) }

// NovaDiskConfig is OS-DCF:diskConfig.
func NovaDiskConfig() *Schema { return Str().Enum("AUTO", "MANUAL") }

// NovaPersonality is a list of files to inject.
func NovaPersonality() *Schema {
	return Array(Object(P("path", Str()), P("contents", Str().Format("base64"))).Closed())
}

// NovaTag is a server's tag.
func NovaTag() *Schema { return Str().Len(1, 60).Pattern("^[^,/]*$") }

// NovaTrustedCerts is a list of certificate ids or null.
func NovaTrustedCerts() *Schema {
	return Types("array", "null").MinItems(1).MaxItems(50).Unique().Items(Str().MinLen(1))
}

// Multi is a query parameter that may be repeated, Single one that may not.
func Multi(s *Schema) *Schema { return Array(s) }

// Single is a query parameter that may be given once.
func Single(s *Schema) *Schema { return Array(s).MaxItems(1) }

// NovaQuery and NovaQueryRegex are nova's usual query parameters.
func NovaQuery() *Schema { return Multi(Str()) }

// NovaQueryRegex is a query parameter that is matched as a regular expression.
func NovaQueryRegex() *Schema { return Multi(Str().Format("regex")) }

// NovaPage returns the parameters limit and marker.
func NovaPage() []Property {
	return []Property{P("limit", Multi(NovaNonNegative())), P("marker", Multi(Str()))}
}
