// Package nodelink carries nodeapi between a controller and a node on another machine: HTTP/2 with mutual TLS, dialled by the node, on
// the controller's one port under /node/v1/. Both ends look the same to their callers as in one process. It must not know what it carries
// means.
package nodelink

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Prefix is the path under which a controller serves nodes.
const Prefix = "/node/v1/"

// subjectPrefix stands before the node's name in its certificate's common name.
const subjectPrefix = "node:"

// Subject is the common name of a node's certificate.
func Subject(node string) string { return subjectPrefix + node }

// bodyLimit bounds a report: some thousand guests with faults.
const bodyLimit = 64 << 20

// Verify gives the client certificate of a request if the cloud's own CA has signed it: the listener takes certificates of other authorities as well,
// and one of those may bear any name.
type Verify func(*http.Request) (*x509.Certificate, error)

// Handler serves c to nodes. A node is who its verified client certificate says; it may speak for itself only. The end of ctx ends
// the watches, which otherwise stay open while the cloud runs.
func Handler(ctx context.Context, c nodeapi.Controller, verify Verify, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(w http.ResponseWriter, r *http.Request, node string) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			node, err := nodeOf(r, verify)
			if err != nil {
				log.Info("not a node", "remote", r.RemoteAddr, "path", r.URL.Path, "error", err)
				http.Error(w, "a node certificate of this cloud is needed", http.StatusUnauthorized)
				return
			}
			if err := h(w, r, node); err != nil && r.Context().Err() == nil {
				log.Warn("node request failed", "node", node, "path", r.URL.Path, "error", err)
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("POST "+Prefix+"heartbeat", func(w http.ResponseWriter, r *http.Request, node string) error {
		var n nodeapi.Node
		if !decode(w, r, &n) {
			return nil
		}
		n.Name = node
		return c.Heartbeat(r.Context(), n)
	})
	handle("POST "+Prefix+"report", func(w http.ResponseWriter, r *http.Request, node string) error {
		var rep nodeapi.Report
		if !decode(w, r, &rep) {
			return nil
		}
		rep.Node = node
		return c.Report(r.Context(), rep)
	})
	handle("GET "+Prefix+"watch", func(w http.ResponseWriter, r *http.Request, node string) error {
		enc := json.NewEncoder(w)
		rc := http.NewResponseController(w)
		w.Header().Set("Content-Type", "application/jsonl")
		watch, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return c.Watch(watch, node, func(d nodeapi.Delta) error {
			return errors.Join(enc.Encode(d), rc.Flush())
		})
	})
	handle("GET "+Prefix+"images/{id}", func(w http.ResponseWriter, r *http.Request, node string) error {
		body, err := c.ImageData(r.Context(), node, r.PathValue("id"))
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		w.Header().Set("Content-Type", "application/octet-stream")
		if _, err := io.Copy(w, body); err != nil {
			panic(http.ErrAbortHandler) // half an image must not look like a whole one
		}
		return nil
	})
	return mux
}

// nodeOf is the node's name from its certificate.
func nodeOf(r *http.Request, verify Verify) (string, error) {
	cert, err := verify(r)
	if err != nil {
		return "", err
	}
	if cert == nil {
		return "", errors.New("it shows no certificate")
	}
	name, ok := strings.CutPrefix(cert.Subject.CommonName, subjectPrefix)
	if !ok || name == "" {
		return "", fmt.Errorf("its certificate is for %q, which is no node", cert.Subject.CommonName)
	}
	return name, nil
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit)).Decode(v); err != nil {
		http.Error(w, "the body is not what a node sends: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
