package placement

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
)

// maxBody is the largest body; a reshape of a large cloud is the longest there is.
const maxBody = 8 << 20

func readBody(in *api.Stream) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, in.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, webob.Plain(http.StatusRequestEntityTooLarge)
	case err != nil:
		return nil, badRequest("the request body broke off").Because(err)
	}
	return b, nil
}

// hasNUL tells whether a text anywhere holds a NUL, which PostgreSQL cannot store.
func hasNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		for _, e := range v {
			if hasNUL(e) {
				return true
			}
		}
	case *schema.Dict:
		for _, n := range v.Names() {
			e, _ := v.Get(n)
			if strings.ContainsRune(n, 0) || hasNUL(e) {
				return true
			}
		}
	}
	return false
}

// The getters read a validated document.

func dict(v any, name string) *schema.Dict {
	e, _ := v.(*schema.Dict).Get(name)
	d, _ := e.(*schema.Dict)
	return d
}

func str(v any, name string) (string, bool) {
	e, _ := v.(*schema.Dict).Get(name)
	s, ok := e.(string)
	return s, ok
}

// num reads an integer, also one that is written 3.0; out of range it is the nearest number.
func num(v any, name string) (int64, bool) {
	e, _ := v.(*schema.Dict).Get(name)
	n, ok := e.(json.Number)
	if !ok {
		return 0, false
	}
	return toInt(n), true
}

func toInt(n json.Number) int64 {
	if i, err := n.Int64(); err == nil {
		return i
	}
	const most = 1 << 62
	f, _ := n.Float64()
	switch {
	case f >= most:
		return most
	case f <= -most:
		return -most
	}
	return int64(f)
}

func strs(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		out = append(out, e.(string))
	}
	return out
}

// normalUUID is the text as 8-4-4-4-12 digits, which clients may write otherwise (oslo_utils.uuidutils.is_uuid_like).
func normalUUID(s string) (string, bool) {
	digits := strings.ToLower(strings.ReplaceAll(strings.Trim(strings.NewReplacer("urn:", "", "uuid:", "").Replace(s), "{}"), "-", ""))
	u, err := uuid.Parse(digits)
	if err != nil || len(digits) != 32 {
		return "", false
	}
	return u.String(), true
}

// stamp sets the headers that answers have since 1.15.
func stamp(r *api.Request, micros int64) {
	if r.Since("1.15") {
		h := r.Header()
		h.Set("Last-Modified", db.Time(micros).Format(http.TimeFormat))
		h.Set("Cache-Control", "no-cache")
	}
}

func (s *Service) stampNow(r *api.Request) { stamp(r, s.db.Now().UnixMicro()) }

// path is a URL of this service without scheme and host, as placement links.
func path(elements ...string) string { return "/placement/" + strings.Join(elements, "/") }

func location(r *api.Request, elements ...string) {
	r.Header().Set("Location", r.BaseURL()+path(elements...))
}

type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

func jsonInt(n int64) string { return strconv.FormatInt(n, 10) }
