package image

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func (s *Service) download(ctx context.Context, r *api.Request, _ api.None) (*api.Stream, error) {
	var img Image
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if img, err = s.known(tx, r, r.Path("image_id")); err != nil {
			return err
		}
		if img.Status == Deactivated && !s.isAdmin(r.Caller) {
			return fault.Forbidden("The requested image has been deactivated. Image data download is forbidden.")
		}
		return enforce(r, "download_image", img)
	})
	if err != nil {
		return nil, err
	}
	if img.Status != Active && img.Status != Deactivated {
		r.SetStatus(http.StatusNoContent)
		return &api.Stream{Body: http.NoBody, Size: -1}, nil
	}
	from, to, part, err := requestedRange(r.HTTP.Header, *img.Size)
	if err != nil {
		return nil, err
	}
	f, err := s.files.open(img)
	if err != nil {
		return nil, err
	}
	h := r.Header()
	h.Set("Content-MD5", *img.Checksum)
	if part {
		r.SetStatus(http.StatusPartialContent)
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, *img.Size))
	}
	return &api.Stream{Body: section{io.NewSectionReader(f, from, to-from), f}, Size: to - from, ContentType: "application/octet-stream"}, nil
}

// section reads a part of a file and closes the file.
type section struct {
	*io.SectionReader
	f *os.File
}

func (s section) Close() error { return s.f.Close() }

var (
	rangeHeader        = regexp.MustCompile(`^bytes\s*=\s*(\d*)\s*-\s*(\d*)$`)
	contentRangeHeader = regexp.MustCompile(`^bytes\s+(\d+)-(\d+)/(\d+|\*)$`)
)

// requestedRange reads Range, and Content-Range, which older clients send (glance/common/wsgi.py, get_range_from_request).
func requestedRange(h http.Header, size int64) (from, to int64, part bool, err error) {
	bad := func(format string, args ...any) error {
		return webob.Detailed(http.StatusRequestedRangeNotSatisfiable, format, args...)
	}
	if v := h.Get("Range"); v != "" {
		if strings.Contains(v, ",") {
			return 0, 0, false, fault.BadRequest("Requests with multiple ranges are not supported in Glance. You may make multiple single-range requests instead.")
		}
		m := rangeHeader.FindStringSubmatch(strings.TrimSpace(v))
		if m == nil || m[1] == "" && m[2] == "" {
			return 0, 0, false, bad("Invalid Range header.")
		}
		a, errA := strconv.ParseInt(m[1], 10, 64)
		b, errB := strconv.ParseInt(m[2], 10, 64)
		switch {
		case m[1] == "": // the last b bytes
			if errB != nil {
				return 0, 0, false, bad("Invalid Range header.")
			}
			if b == 0 {
				b = size // upstream sends everything
			}
			return max(0, size-b), size, true, nil
		case errA != nil || a >= size:
			return 0, 0, false, bad("Invalid start position in Range header. Start position MUST be in the inclusive range [0, %d].", size-1)
		case m[2] == "" || errB != nil || b >= size:
			return a, size, true, nil
		case b < a:
			return 0, 0, false, bad("Invalid Range header.")
		}
		return a, b + 1, true, nil
	}
	if v := h.Get("Content-Range"); v != "" {
		m := contentRangeHeader.FindStringSubmatch(strings.TrimSpace(v))
		if m == nil {
			return 0, 0, false, bad("Invalid Content-Range header.")
		}
		a, errA := strconv.ParseInt(m[1], 10, 64)
		b, errB := strconv.ParseInt(m[2], 10, 64)
		if errA != nil || errB != nil || b < a {
			return 0, 0, false, bad("Invalid Content-Range header.")
		}
		if b >= size {
			return 0, 0, false, bad("Invalid stop position in Content-Range header. The stop position MUST be in the inclusive range [0, %d].", size-1)
		}
		return a, b + 1, true, nil
	}
	return 0, size, false, nil
}
