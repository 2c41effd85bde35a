package compute

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// Schemas by microversion, as routes.go and the schemas_*.go files write them.

func since(mv string, s *schema.Schema) api.VersionedSchema {
	return api.VersionedSchema{MV: api.MustRange(mv), Schema: s}
}

func always(s *schema.Schema) api.VersionedSchema { return api.VersionedSchema{Schema: s} }

func body(v []api.VersionedSchema) api.Option {
	return func(r *api.Route) { r.Schemas = append(r.Schemas, v...) }
}

func query(v []api.VersionedSchema) api.Option {
	return func(r *api.Route) { r.Query = append(r.Query, v...) }
}

// Times on the wire. Nova prints some with a Z and some as Python's isoformat without one.

func zulu(micros int64) string { return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05Z") }

func isoMicros(micros int64) string {
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000")
}

// isoOrNull is null for a time that has not come.
func isoOrNull(micros int64) *string {
	if micros == 0 {
		return nil
	}
	s := isoMicros(micros)
	return &s
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// link is one of a resource's links.
type link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
	Type string `json:"type,omitempty"`
}

// selfLinks are the versioned and the bookmark link of nova/api/openstack/common.py.
func selfLinks(r *api.Request, collection, id string) []link {
	return []link{
		{Rel: "self", Href: r.ServiceURL() + "/v2.1/" + collection + "/" + id},
		{Rel: "bookmark", Href: r.ServiceURL() + "/" + collection + "/" + id},
	}
}

// nextLink is the "next" link of a full page: the query with the last item as marker.
func nextLink(r *api.Request, collection, last string) []link {
	q := url.Values{}
	for k, v := range r.Query() {
		if len(v) > 0 {
			q.Set(k, v[0])
		}
	}
	q.Set("marker", last)
	return []link{{Rel: "next", Href: r.ServiceURL() + "/v2.1/" + collection + "?" + q.Encode()}}
}

// maxLimit is nova's api.max_limit.
const maxLimit = 1000

// page reads limit and marker (nova/api/openstack/common.py, get_limit_and_marker).
func page(r *api.Request) (limit int, marker string, err error) {
	limit = maxLimit
	if q := r.Query(); q.Has("limit") {
		n, err := strconv.Atoi(q.Get("limit"))
		if err != nil || n < 0 {
			return 0, "", fault.BadRequest("limit must be an integer")
		}
		limit = min(limit, n)
	}
	return limit, r.Query().Get("marker"), nil
}

func markerNotFound(marker string) error {
	return fault.BadRequest("marker [%s] not found", marker)
}

// boolOf is oslo's bool_from_string, not strict.
func boolOf(s string, otherwise bool) bool {
	if v, ok := strictBool(s); ok {
		return v
	}
	return otherwise
}

func strictBool(s string) (v, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "t", "true", "on", "y", "yes":
		return true, true
	case "0", "f", "false", "off", "n", "no":
		return false, true
	}
	return false, false
}

func unrecognizedBool(s string) error {
	return fault.BadRequest("Unrecognized value '%s', acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'", s)
}

// anyBool reads a boolean that NovaBool has let through.
func anyBool(v any, otherwise bool) bool {
	switch b := v.(type) {
	case bool:
		return b
	case string:
		return boolOf(b, otherwise)
	}
	return otherwise
}

// anyInt reads an integer that the schema lets be a text too.
func anyInt(v any, otherwise int64) int64 {
	var s string
	switch n := v.(type) {
	case nil:
		return otherwise
	case float64:
		return int64(n)
	case string:
		s = n
	case interface{ Int64() (int64, error) }:
		if i, err := n.Int64(); err == nil {
			return i
		}
		return otherwise
	default:
		return otherwise
	}
	i, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return otherwise
	}
	return i
}

func isUUID(s string) bool {
	if len(s) != 36 && len(s) != 32 {
		return false
	}
	_, err := uuid.Parse(s)
	return err == nil
}

// lastPart is the id in a reference that may be a URL (get_id_from_href).
func lastPart(ref string) string {
	if u, err := url.Parse(ref); err == nil {
		ref = u.Path
	}
	return ref[strings.LastIndexByte(ref, '/')+1:]
}

// hostID hides the host's name from a project (nova/utils.py, generate_hostid).
func hostID(host, project string) string {
	if host == "" {
		return ""
	}
	sum := sha256.Sum224([]byte(project + host))
	return hex.EncodeToString(sum[:])
}

// randText draws n letters out of an alphabet.
func (s *Service) randText(n int, alphabet string) (string, error) {
	b := make([]byte, n)
	for i := range b {
		k, err := rand.Int(s.rand, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", err
		}
		b[i] = alphabet[k.Int64()]
	}
	return string(b), nil
}

// passwordLetters leaves out what is easily misread (nova/utils.py, DEFAULT_PASSWORD_SYMBOLS).
const passwordLetters = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

func (s *Service) password() (string, error) { return s.randText(12, passwordLetters) }

func (s *Service) reservationID() (string, error) {
	id, err := s.randText(8, "0123456789abcdefghijklmnopqrstuvwxyz")
	return "r-" + id, err
}
