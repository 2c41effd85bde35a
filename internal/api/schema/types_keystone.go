package schema

// The types of keystone/common/validation/parameter_types.py.

// KeystoneBool is a boolean; keystone lists the values as well.
func KeystoneBool() *Schema { return Bool().Enum(true, false) }

// KeystoneName is a name with at least one character that is no space.
func KeystoneName() *Schema { return Str().Len(1, 255).Pattern(`[\S]+`) }

// KeystoneID is an id of letters, digits and dashes.
func KeystoneID() *Schema { return Str().Len(1, 64).Pattern(`^[a-zA-Z0-9-]+$`) }

// KeystoneExternalID is an id from elsewhere.
func KeystoneExternalID() *Schema { return Str().Len(1, 64) }

// KeystoneURL is an endpoint's URL.
func KeystoneURL() *Schema { return Str().Len(0, 225).Pattern("^[a-zA-Z0-9+.-]+:.+") }

// KeystoneEmail is a mail address.
func KeystoneEmail() *Schema { return Str().Format("email") }

// KeystoneTags is a project's list of tags (keystone/resource/schema.py, whose empty list of required names shows in messages).
func KeystoneTags() *Schema {
	return Array(Str().Len(1, 255).Pattern("^[^,/]*$")).Required().MaxItems(80).Unique()
}
