package nodelink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/clientcert"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/pki"
)

// echo is a controller that remembers what it was told.
type echo struct {
	beats   []nodeapi.Node
	reports []nodeapi.Report
	deltas  []nodeapi.Delta
}

func (e *echo) Heartbeat(_ context.Context, n nodeapi.Node) error {
	e.beats = append(e.beats, n)
	return nil
}

func (e *echo) Report(_ context.Context, r nodeapi.Report) error {
	e.reports = append(e.reports, r)
	return nil
}

func (e *echo) Watch(ctx context.Context, node string, deliver func(nodeapi.Delta) error) error {
	for _, d := range e.deltas {
		if err := deliver(d); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (e *echo) ImageData(_ context.Context, node, id string) (io.ReadCloser, error) {
	switch id {
	case "none":
		return nil, errors.New("image none has no data")
	case "broken":
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), errReader{})), nil
	}
	return io.NopCloser(strings.NewReader("bytes of " + id + " for " + node)), nil
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("disk error") }

func link(t *testing.T, c nodeapi.Controller, issuer func(served *pki.CA) *pki.CA) *Client {
	t.Helper()
	ca, err := pki.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	serverCert, err := ca.Certificate("api", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	own := clientcert.Of(ca.Pool(), time.Now)
	srv := httptest.NewUnstartedServer(Handler(t.Context(), c, func(r *http.Request) (*x509.Certificate, error) { return own.Verified(r.TLS) }, slog.New(slog.DiscardHandler)))
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{*serverCert}, ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	cert, key, err := issuer(ca).Issue(Subject("compute1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	bundle := bytes.Join([][]byte{cert, key}, nil)
	cl, node, err := Dial(srv.Listener.Addr().String(), bundle)
	if err != nil || node != "compute1" {
		t.Fatal(node, err)
	}
	t.Cleanup(cl.http.CloseIdleConnections)
	return cl
}

func sameCA(ca *pki.CA) *pki.CA { return ca }

func TestEverythingArrives(t *testing.T) {
	e := &echo{deltas: []nodeapi.Delta{{Generation: 1, Full: true, Set: nodeapi.Items{Guests: []nodeapi.Guest{{ID: "g"}}}}, {Generation: 2}}}
	c := link(t, e, sameCA)
	ctx := t.Context()
	if err := c.Heartbeat(ctx, nodeapi.Node{Name: "somebody-else", VCPUs: 2}); err != nil {
		t.Fatal(err)
	}
	if err := c.Report(ctx, nodeapi.Report{Generation: 7}); err != nil {
		t.Fatal(err)
	}
	if len(e.beats) != 1 || e.beats[0].Name != "compute1" || e.reports[0].Node != "compute1" || e.reports[0].Generation != 7 {
		t.Errorf("a node speaks for itself only: %+v %+v", e.beats, e.reports)
	}
	var got []nodeapi.Delta
	enough := errors.New("enough")
	err := c.Watch(ctx, "", func(d nodeapi.Delta) error {
		if got = append(got, d); len(got) == 2 {
			return enough
		}
		return nil
	})
	if err != enough || !cmp.Equal(got, e.deltas) {
		t.Errorf("watch: %v %s", err, cmp.Diff(e.deltas, got))
	}
	body, err := c.ImageData(ctx, "", "cirros")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	_ = body.Close()
	if err != nil || string(b) != "bytes of cirros for compute1" {
		t.Errorf("image: %q %v", b, err)
	}
}

func TestFailuresShow(t *testing.T) {
	c := link(t, &echo{}, sameCA)
	if _, err := c.ImageData(t.Context(), "", "none"); err == nil || !strings.Contains(err.Error(), "image none has no data") {
		t.Errorf("the cause must reach the node: %v", err)
	}
	body, err := c.ImageData(t.Context(), "", "broken")
	if err == nil {
		_, err = io.ReadAll(body)
		_ = body.Close()
	}
	if err == nil {
		t.Error("half an image was taken for a whole one")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	stranger := func(*pki.CA) *pki.CA {
		ca, err := pki.Open(t.TempDir(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	e := &echo{}
	if err := link(t, e, stranger).Heartbeat(t.Context(), nodeapi.Node{}); err == nil || len(e.beats) > 0 {
		t.Error("a certificate of another CA was accepted")
	}
	rec := httptest.NewRecorder()
	none := func(*http.Request) (*x509.Certificate, error) { return nil, nil }
	Handler(t.Context(), e, none, slog.New(slog.DiscardHandler)).ServeHTTP(rec, httptest.NewRequest("POST", Prefix+"heartbeat", strings.NewReader("{}")))
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("without a certificate: %d", rec.Code)
	}
}
