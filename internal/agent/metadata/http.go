package metadata

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// maxPassword is what upstream stores: 4 chunks of 255 (nova/api/metadata/password.py).
const maxPassword = 4 * 255

// Handler serves the trees to the guests of one network or router.
type Handler struct {
	// Find tells who asks: the instance that has the source address here.
	Find func(source netip.Addr) (Instance, bool)
	// Passwords keeps what guests post; nil: posting is refused.
	Passwords *Passwords
	// Random fills random_seed where the instance has none.
	Random io.Reader
}

// NewServer wraps the handler with limits that fit a guest that means harm.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
}

// ServeHTTP answers as nova/api/metadata/handler.py does.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		notFound(w)
		return
	}
	in, ok := h.Find(from.Addr().Unmap())
	if !ok {
		notFound(w)
		return
	}
	if isPassword(r.URL.Path) {
		h.password(w, r, in.Guest.ID)
		return
	}
	if len(in.Guest.Metadata.RandomSeed) == 0 && h.Random != nil {
		seed := make([]byte, 512)
		if _, err := io.ReadFull(h.Random, seed); err == nil {
			in.Guest.Metadata.RandomSeed = seed
		}
	}
	a, ok := in.Lookup(r.URL.Path)
	if !ok {
		notFound(w)
		return
	}
	t := a.Type
	if strings.HasPrefix(t, "text/") {
		t += "; charset=UTF-8"
	}
	w.Header().Set("Content-Type", t)
	_, _ = w.Write(a.Body)
}

func isPassword(p string) bool {
	tokens := strings.Split(path.Clean("/" + p)[1:], "/")
	if len(tokens) != 3 || tokens[0] != "openstack" || tokens[2] != passwordFile {
		return false
	}
	v, ok := resolveVersion(tokens[1])
	return ok && v >= grizzly
}

// password lets a guest store its encrypted administrator password once.
func (h *Handler) password(w http.ResponseWriter, r *http.Request, guest string) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	if h.Passwords == nil {
		notFound(w)
		return
	}
	old, err := h.Passwords.Get(guest)
	if err != nil {
		fail(w, http.StatusInternalServerError, "The password cannot be read on this node.")
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		_, _ = w.Write(old)
	case http.MethodPost:
		if len(old) > 0 {
			fail(w, http.StatusConflict, "There was a conflict when trying to complete your request.")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPassword))
		if err != nil {
			fail(w, http.StatusBadRequest, "Request is too large.")
			return
		}
		if err := h.Passwords.Set(guest, body); err != nil {
			fail(w, http.StatusInternalServerError, "The password cannot be stored on this node.")
		}
	default:
		fail(w, http.StatusBadRequest, "GET and POST only are supported.")
	}
}

func notFound(w http.ResponseWriter) {
	fail(w, http.StatusNotFound, "The resource could not be found.")
}

// fail writes WebOb's error page.
func fail(w http.ResponseWriter, status int, message string) {
	title := http.StatusText(status)
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(status)
	code := string(rune('0'+status/100)) + string(rune('0'+status/10%10)) + string(rune('0'+status%10))
	_, _ = io.WriteString(w, "<html>\n <head>\n  <title>"+code+" "+title+"</title>\n </head>\n <body>\n  <h1>"+code+" "+title+
		"</h1>\n  "+message+"<br /><br />\n\n\n\n </body>\n</html>")
}

// Passwords keeps posted passwords in a folder, a file per guest. They are encrypted by the guest with its
// owner's public key.
type Passwords struct {
	Dir string
}

func (p *Passwords) file(guest string) string {
	return filepath.Join(p.Dir, filepath.Base(guest))
}

// Get returns a guest's password; nil: none yet.
func (p *Passwords) Get(guest string) ([]byte, error) {
	b, err := os.ReadFile(p.file(guest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Set stores it.
func (p *Passwords) Set(guest string, password []byte) error {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return err
	}
	f := p.file(guest)
	if err := os.WriteFile(f+".new", password, 0o600); err != nil {
		return err
	}
	return os.Rename(f+".new", f)
}

// Clear forgets it: the guest may post another.
func (p *Passwords) Clear(guest string) error {
	if err := os.Remove(p.file(guest)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Keep forgets the passwords of guests that are gone.
func (p *Passwords) Keep(there func(guestID string) bool) error {
	entries, err := os.ReadDir(p.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !there(e.Name()) {
			errs = append(errs, os.Remove(filepath.Join(p.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
