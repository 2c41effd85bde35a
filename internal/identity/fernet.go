package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// fernetKey is a Fernet key: 16 bytes that sign, 16 that encrypt.
type fernetKey [32]byte

var errFernet = errors.New("not a token of ours")

func newFernetKey() (k fernetKey, err error) {
	_, err = rand.Read(k[:])
	return k, err
}

func (k fernetKey) mac(b []byte) []byte {
	h := hmac.New(sha256.New, k[:16])
	h.Write(b)
	return h.Sum(nil)
}

// seal makes a Fernet token without its final '=' signs, as keystone sends them.
func (k fernetKey) seal(payload []byte, at time.Time) (string, error) {
	block, err := aes.NewCipher(k[16:])
	if err != nil {
		return "", err
	}
	pad := aes.BlockSize - len(payload)%aes.BlockSize
	b := make([]byte, 25+len(payload)+pad, 25+len(payload)+pad+sha256.Size)
	b[0] = 0x80
	binary.BigEndian.PutUint64(b[1:9], uint64(at.Unix()))
	if _, err := rand.Read(b[9:25]); err != nil {
		return "", err
	}
	copy(b[25:], payload)
	for i := 25 + len(payload); i < len(b); i++ {
		b[i] = byte(pad)
	}
	cipher.NewCBCEncrypter(block, b[9:25]).CryptBlocks(b[25:], b[25:])
	return base64.RawURLEncoding.EncodeToString(append(b, k.mac(b)...)), nil
}

// maxToken bounds what is decoded at all; keystone's own tokens stay below 255 characters, but for those that carry groups.
const maxToken = 16 << 10

// open checks and decrypts a token.
func (k fernetKey) open(token []byte) (payload []byte, at time.Time, err error) {
	n := len(token) - sha256.Size
	if n < 25+aes.BlockSize || (n-25)%aes.BlockSize != 0 || token[0] != 0x80 {
		return nil, at, errFernet
	}
	if !hmac.Equal(k.mac(token[:n]), token[n:]) {
		return nil, at, errFernet
	}
	block, err := aes.NewCipher(k[16:])
	if err != nil {
		return nil, at, err
	}
	out := make([]byte, n-25)
	cipher.NewCBCDecrypter(block, token[9:25]).CryptBlocks(out, token[25:n])
	pad := int(out[len(out)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, at, errFernet
	}
	for _, x := range out[len(out)-pad:] {
		if int(x) != pad {
			return nil, at, errFernet
		}
	}
	return out[:len(out)-pad], time.Unix(int64(binary.BigEndian.Uint64(token[1:9])), 0).UTC(), nil
}

func decodeToken(s string) ([]byte, error) {
	if len(s) > maxToken {
		return nil, errFernet
	}
	for len(s) > 0 && s[len(s)-1] == '=' {
		s = s[:len(s)-1]
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFernet, err)
	}
	return b, nil
}

// decodeBlob is decodeToken for credentials, which may be long.
func decodeBlob(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }
