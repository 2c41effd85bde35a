package identity

// WrapKey encrypts a key of another package for the database, with the key-encryption key and bound to its id.
func WrapKey(kek []byte, id string, key [32]byte) (string, error) {
	return wrap(kek, id, fernetKey(key))
}

// UnwrapKey is the reverse of WrapKey.
func UnwrapKey(kek []byte, id, wrapped string) ([32]byte, error) {
	k, err := unwrap(kek, id, wrapped)
	return [32]byte(k), err
}
