// Package client is a small client of the public OpenStack APIs for our own commands (the first cloud of `make up`, `hanok
// status`). It must not know anything that another client could not know.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Options for New.
type Options struct {
	AuthURL  string // https://host:port/identity/v3
	User     string
	Password string
	Project  string
	Domain   string // of user and project, by name; empty: Default
	CACert   string // PEM file; empty: the system's
	// Dial opens connections; nil: the usual way.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client speaks to one cloud as one user. It gets a token at the first request and a new one when that has expired.
type Client struct {
	o       Options
	http    *http.Client
	token   string
	catalog map[string]string // type → public URL without final slash
	// ProjectID and UserID are the token's; set after the first request.
	ProjectID, UserID string
}

// New makes a client; it does not connect yet.
func New(o Options) (*Client, error) {
	if o.Domain == "" {
		o.Domain = "Default"
	}
	t := &http.Transport{MaxIdleConnsPerHost: 8, DialContext: o.Dial}
	if o.CACert != "" {
		pem, err := os.ReadFile(o.CACert)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", o.CACert)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Client{o: o, http: &http.Client{Transport: t}}, nil
}

// AuthURL is where the client logs in.
func (c *Client) AuthURL() string { return c.o.AuthURL }

// Error is an answer with a status of 400 or more.
type Error struct {
	Method, URL string
	Status      int
	Body        string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.URL, e.Status, http.StatusText(e.Status), strings.TrimSpace(e.Body))
}

type ref struct {
	Name string `json:"name"`
}

// login gets a token and the catalog.
func (c *Client) login(ctx context.Context) error {
	domain := ref{c.o.Domain}
	body := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": c.o.User, "domain": domain, "password": c.o.Password}}},
		"scope": map[string]any{"project": map[string]any{"name": c.o.Project, "domain": domain}},
	}}
	var out struct {
		Token struct {
			Project struct{ ID string } `json:"project"`
			User    struct{ ID string } `json:"user"`
			Catalog []struct {
				Type      string `json:"type"`
				Endpoints []struct {
					Interface string `json:"interface"`
					URL       string `json:"url"`
				} `json:"endpoints"`
			} `json:"catalog"`
		} `json:"token"`
	}
	h, err := c.send(ctx, "POST", c.o.AuthURL+"/auth/tokens", body, &out)
	if err != nil {
		return fmt.Errorf("log in as %s: %w", c.o.User, err)
	}
	c.token = h.Get("X-Subject-Token")
	c.ProjectID, c.UserID = out.Token.Project.ID, out.Token.User.ID
	c.catalog = map[string]string{}
	for _, s := range out.Token.Catalog {
		for _, e := range s.Endpoints {
			if e.Interface == "public" {
				c.catalog[s.Type] = strings.TrimRight(e.URL, "/")
			}
		}
	}
	return nil
}

// Login makes sure that there is a token.
func (c *Client) Login(ctx context.Context) error {
	if c.token != "" {
		return nil
	}
	return c.login(ctx)
}

// Do sends a request to a service of the catalog; in and out may be nil. in may be an io.Reader with a raw body.
func (c *Client) Do(ctx context.Context, method, service, path string, in, out any) error {
	if err := c.Login(ctx); err != nil {
		return err
	}
	base, ok := c.catalog[service]
	if !ok {
		return fmt.Errorf("the catalog has no %s service", service)
	}
	_, err := c.send(ctx, method, base+path, in, out)
	if e, ok := err.(*Error); ok && e.Status == http.StatusUnauthorized {
		if _, stream := in.(io.Reader); stream {
			return err // cannot be sent twice
		}
		if err := c.login(ctx); err != nil {
			return err
		}
		_, err = c.send(ctx, method, base+path, in, out)
	}
	return err
}

func (c *Client) send(ctx context.Context, method, url string, in, out any) (http.Header, error) {
	var body io.Reader
	contentType := "application/json"
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body, contentType = v, "application/octet-stream"
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("OpenStack-API-Version", "compute 2.60")
	if c.token != "" {
		req.Header.Set("X-Auth-Token", c.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 {
		return nil, &Error{method, url, resp.StatusCode, string(answer)}
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			return nil, fmt.Errorf("%s %s: the answer is not as expected: %w", method, url, err)
		}
	}
	return resp.Header, nil
}

// WaitHealthy returns when the cloud at endpoint answers /healthz, or with ctx.
func WaitHealthy(ctx context.Context, endpoint, caCert string) error {
	c, err := New(Options{CACert: caCert})
	if err != nil {
		return err
	}
	for {
		_, err := c.send(ctx, "GET", endpoint+"/healthz", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", endpoint, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
