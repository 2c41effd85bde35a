package api

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// CertThumbprint is how a token names the client certificate that it is bound to. Upstream hashes the PEM text, with its line breaks, where RFC 8705
// says DER, and leaves the padding on (keystone/common/utils.py, get_certificate_thumbprint; keystonemiddleware/oauth2_mtls_token.py).
func CertThumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	return base64.URLEncoding.EncodeToString(sum[:])
}

// ClientCertificate is the certificate that the client has shown on this connection. It is nil without an error when it has shown none; one that does not
// count is an error that says why.
func (r *Request) ClientCertificate() (*x509.Certificate, error) {
	if r.certificate == nil {
		return nil, nil
	}
	return r.certificate(r.HTTP)
}

// holds tells whether the client may use the caller's token: one that is bound to a certificate is worth nothing without it.
func (r *Request) holds(c *Caller) bool {
	if c == nil || c.BoundTo == "" {
		return true
	}
	cert, err := r.ClientCertificate()
	switch {
	case err != nil:
	case cert == nil:
		err = errors.New("the client shows no certificate; behind a proxy that ends TLS nobody does")
	case CertThumbprint(cert) != c.BoundTo:
		err = fmt.Errorf("the client shows another certificate, %s", cert.Subject)
	default:
		return true
	}
	r.Log.Info("a token is bound to a client certificate and was refused", "user", c.UserID, "cause", err)
	return false
}
