package identity

// TOTPCode is the passcode of a secret at a step, for tests that log in with it.
func TOTPCode(secret string, step int64) string {
	key, err := decodeTOTP(secret)
	if err != nil {
		panic(err)
	}
	return totpCode(key, step)
}
