package oidc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// errTooSoon: the keys were asked for a moment ago, in vain.
var errTooSoon = errors.New("the keys could not be fetched a moment ago")

// guard bounds what a provider is asked and what is read of its answers. Its keys, which any request with a token of an unknown key asks for, are
// fetched once in keyRest at most.
type guard struct {
	next http.RoundTripper
	now  func() time.Time

	mu   sync.Mutex
	keys string // their URL; empty before discovery
	at   time.Time
	body []byte // of the last good answer; nil: none
}

func (g *guard) watch(keys string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys != keys {
		g.keys, g.at, g.body = keys, time.Time{}, nil
	}
}

// RoundTrip sends a request, or answers for the keys with what was fetched a moment ago.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	isKeys := g.keys != "" && r.URL.String() == g.keys
	if isKeys && g.now().Sub(g.at) < keyRest && !g.at.IsZero() {
		defer g.mu.Unlock()
		if g.body == nil {
			return nil, errTooSoon
		}
		return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(g.body)), ContentLength: int64(len(g.body))}, nil
	}
	if isKeys {
		g.at, g.body = g.now(), nil
	}
	g.mu.Unlock()
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err != nil {
		return nil, err
	}
	if len(b) > answerLimit {
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", r.URL.Host, answerLimit)
	}
	if isKeys && resp.StatusCode == http.StatusOK {
		g.mu.Lock()
		g.body = b
		g.mu.Unlock()
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, nil
}
