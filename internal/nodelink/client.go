package nodelink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Client is a controller elsewhere.
type Client struct {
	base string
	http *http.Client
}

var _ nodeapi.Controller = (*Client)(nil)

// Dial prepares a client for the controller at host:port with a node's bundle: its certificate, its key and the cloud's CA, in PEM. It
// returns the node's name, too, and connects with the first call.
func Dial(hostPort string, bundle []byte) (c *Client, node string, err error) {
	pair, err := tls.X509KeyPair(bundle, bundle)
	if err != nil {
		return nil, "", fmt.Errorf("node bundle: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, "", fmt.Errorf("node bundle: %w", err)
	}
	node, ok := strings.CutPrefix(leaf.Subject.CommonName, subjectPrefix)
	if !ok {
		return nil, "", fmt.Errorf("node bundle: the certificate is for %q, not for a node", leaf.Subject.CommonName)
	}
	pool := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, "", fmt.Errorf("node bundle: %w", err)
		}
		pool.AddCert(ca)
	}
	t := &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, ResponseHeaderTimeout: time.Minute,
		TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS13},
		// A controller that vanished without closing is noticed by pings, also while the watch is silent.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
	return &Client{base: "https://" + hostPort + Prefix, http: &http.Client{Transport: t}}, node, nil
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("controller: %s: %d %s", path, resp.StatusCode, strings.TrimSpace(string(text)))
	}
	return resp, nil
}

func (c *Client) post(ctx context.Context, path string, in any) error {
	resp, err := c.send(ctx, "POST", path, in)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// Heartbeat implements nodeapi.Controller, as the methods below.
func (c *Client) Heartbeat(ctx context.Context, n nodeapi.Node) error {
	return c.post(ctx, "heartbeat", n)
}

// Report hands over observed state.
func (c *Client) Report(ctx context.Context, r nodeapi.Report) error {
	return c.post(ctx, "report", r)
}

// Watch delivers deltas until the connection breaks.
func (c *Client) Watch(ctx context.Context, _ string, deliver func(nodeapi.Delta) error) error {
	resp, err := c.send(ctx, "GET", "watch", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	dec := json.NewDecoder(resp.Body)
	for {
		var d nodeapi.Delta
		if err := dec.Decode(&d); err != nil {
			if err == io.EOF {
				return errors.New("the controller closed the watch")
			}
			return err
		}
		if err := deliver(d); err != nil {
			return err
		}
	}
}

// ImageData streams an image.
func (c *Client) ImageData(ctx context.Context, _, imageID string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, "GET", "images/"+imageID, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
