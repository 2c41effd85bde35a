package image

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// storeName is the name of the one store there is.
const storeName = "file"

// view is an image on the wire, without its custom properties.
type view struct {
	Name            *string  `json:"name"`
	DiskFormat      *string  `json:"disk_format"`
	ContainerFormat *string  `json:"container_format"`
	Visibility      string   `json:"visibility"`
	Size            *int64   `json:"size"`
	VirtualSize     *int64   `json:"virtual_size"`
	Status          string   `json:"status"`
	Checksum        *string  `json:"checksum"`
	Protected       bool     `json:"protected"`
	MinRAM          int64    `json:"min_ram"`
	MinDisk         int64    `json:"min_disk"`
	Owner           *string  `json:"owner"`
	Hidden          bool     `json:"os_hidden"`
	HashAlgo        *string  `json:"os_hash_algo"`
	HashValue       *string  `json:"os_hash_value"`
	ID              string   `json:"id"`
	CreatedAt       string   `json:"created_at"`
	UpdatedAt       string   `json:"updated_at"`
	Tags            []string `json:"tags"`
	Self            string   `json:"self"`
	File            string   `json:"file"`
	Schema          string   `json:"schema"`
	Stores          string   `json:"stores,omitempty"`
}

func isoTime(micros int64) string { return db.Time(micros).Format(time.RFC3339) }

// document is the image's encoded JSON: the custom properties first, as upstream prints them.
func document(i Image) ([]byte, error) {
	v := view{Name: i.Name, DiskFormat: i.DiskFormat, ContainerFormat: i.ContainerFormat, Visibility: i.Visibility, Size: i.Size,
		VirtualSize: i.VirtualSize, Status: i.Status, Checksum: i.Checksum, Protected: i.Protected, MinRAM: i.MinRAM, MinDisk: i.MinDisk,
		Owner: i.Owner, Hidden: i.Hidden, HashAlgo: i.HashAlgo, HashValue: i.HashValue, ID: i.ID, CreatedAt: isoTime(i.CreatedAt),
		UpdatedAt: isoTime(i.UpdatedAt), Tags: i.Tags, Self: "/v2/images/" + i.ID, File: "/v2/images/" + i.ID + "/file", Schema: "/v2/schemas/image"}
	if i.Status == Active || i.Status == Deactivated {
		v.Stores = storeName
	}
	b, err := api.Marshal(v, api.Version{})
	if err != nil || len(i.Properties) == 0 {
		return b, err
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for _, name := range slices.Sorted(maps.Keys(i.Properties)) {
		k, err := api.Marshal(name, api.Version{})
		if err != nil {
			return nil, err
		}
		val, err := api.Marshal(i.Properties[name], api.Version{})
		if err != nil {
			return nil, err
		}
		out.Write(k)
		out.WriteByte(':')
		out.Write(val)
		out.WriteByte(',')
	}
	out.Write(b[1:])
	return out.Bytes(), nil
}

// doc is document through the cache.
func (s *Service) doc(i Image) ([]byte, error) {
	k := api.DocKey{ID: i.ID, Revision: i.Revision}
	if b := s.docs.Get(k); b != nil {
		return b, nil
	}
	b, err := document(i)
	if err == nil {
		s.docs.Put(k, b)
	}
	return b, err
}

var (
	errMalformed = fault.BadRequest("Malformed JSON in request body.")
	errNoBody    = fault.BadRequest("Body expected in request.")
)

// maxBody is the largest JSON body.
const maxBody = 1 << 20

// readJSON reads and decodes a body. Upstream looks at neither its type nor its shape here.
func readJSON(r *api.Request, in *api.Stream) (any, error) {
	b, err := readAll(r, in)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, errNoBody
	}
	v, err := schema.Decode(b)
	if err != nil || !utf8.Valid(b) || bytes.Contains(b, []byte(`\u0000`)) {
		// A NUL cannot be stored on every engine, and upstream's databases refuse it as well.
		return nil, errMalformed
	}
	return v, nil
}

func readAll(r *api.Request, in *api.Stream) ([]byte, error) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(http.MaxBytesReader(nil, in.Body, maxBody)); err != nil {
		if strings.Contains(err.Error(), "too large") {
			return nil, fault.New(http.StatusRequestEntityTooLarge, "", "The body of your request was too large for this server.")
		}
		r.Log.Info("the body broke off", "error", err)
		return nil, errMalformed
	}
	return b.Bytes(), nil
}

// text reads a nullable string of a validated document.
func text(v any) *string {
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

// integer reads an integer of a validated document; Python's True passes for none here, and 3.0 is an integer.
func integer(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	if i, err := n.Int64(); err == nil {
		return i, true
	}
	f, err := n.Float64()
	if err != nil || f != float64(int64(f)) || f > 1<<53 || f < -(1<<53) {
		return 0, false
	}
	return int64(f), true
}
